/* Attention of queries to keys that many of them ask. Keys are packed so that sums of products stand side by side. */

#pragma once

#include "numbers.h"

#define SIZE_OF(kind) ((int64_t)((kind) == OF_FLOATS ? sizeof(float) : sizeof(bfloat)))

INLINE int64_t padded(int64_t n_keys) { return (n_keys + WIDTH - 1) / WIDTH * WIDTH; }

/* Keys (n, HEAD) → packs (padded(n) / WIDTH, HEAD, WIDTH), with zeros for those that are missing. */
#define PACK_KEYS(name, number) \
    INLINE void name(const number *keys, int64_t n, number *packs) { \
        for (int64_t first = 0; first < n; first += WIDTH, keys += WIDTH * HEAD, packs += HEAD * WIDTH) { \
            int64_t width = smaller(WIDTH, n - first); \
            if (width < WIDTH) memset(packs, 0, HEAD * WIDTH * sizeof(number)); \
            for (int64_t i = 0; i < HEAD; i++) \
                for (int64_t key = 0; key < width; key++) packs[i * WIDTH + key] = keys[key * HEAD + i]; \
        } \
    }
PACK_KEYS(pack_keys, float)
PACK_KEYS(pack_short_keys, bfloat)

/* What some queries ask: keys, packed, and values (n, HEAD), of which the first `n_heavy` count e^`weight` times.
   `scores` has room for padded(n) of MOST_ROWS queries. */
typedef struct {
    const void *packs, *values;
    int64_t n, n_heavy;
    float weight;
    float *scores;
    int64_t n_padded;
} asked;

INLINE void score(const asked *a, const float *queries, const int kind, const int rows) {
    vector sums[MOST_ROWS][COLUMNS];
    for (int64_t first = 0; first < a->n; first += WIDTH) {
        const char *pack = (const char *)a->packs + first * HEAD * SIZE_OF(kind);
        add_up(queries, HEAD, pack, HEAD, sums, kind, rows);
        for (int row = 0; row < rows; row++)
            for (int column = 0; column < COLUMNS; column++)
                *(vector *)(a->scores + row * a->n_padded + first + column * LANES) = sums[row][column];
    }
}

INLINE void mix(const asked *a, const float *shares, float *out, int64_t out_stride, const int kind, const int rows) {
    for (int64_t part = 0; part < HEAD; part += WIDTH) {
        vector sums[MOST_ROWS][COLUMNS];
        for (int row = 0; row < rows; row++)
            for (int column = 0; column < COLUMNS; column++) sums[row][column] = (vector){0};
        for (int64_t i = 0; i < a->n; i++) {
            vector values[COLUMNS];
            for (int column = 0; column < COLUMNS; column++)
                values[column] = numbers_at(a->values, i * HEAD + part + column * LANES, kind);
            for (int row = 0; row < rows; row++)
                for (int column = 0; column < COLUMNS; column++)
                    sums[row][column] += a->scores[row * a->n_padded + i] * values[column];
        }
        for (int row = 0; row < rows; row++)
            for (int column = 0; column < COLUMNS; column++)
                *(vector *)(out + row * out_stride + part + column * LANES) = shares[row] * sums[row][column];
    }
}

/* x becomes its softmax times what is returned. */
INLINE float soften(float *x, int64_t n) {
    float most = largest(x, n), sum = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i] = exponential(x[i] - most);
    return sum;
}

/* One head of up to MOST_ROWS queries, rows so many floats apart → out, likewise. `told` (rows, n) gets what they are
   before the softmax, where it is asked for. */
INLINE void attend_rows(
    const asked *a, const float *query, int64_t query_stride, float *told, float *out, int64_t out_stride,
    const int kind, const int rows) {
    float queries[MOST_ROWS * HEAD], shares[MOST_ROWS];
    for (int row = 0; row < rows; row++)
        for (int i = 0; i < HEAD; i++) queries[row * HEAD + i] = query[row * query_stride + i] * 0.125f; /* 1 / √HEAD */
    score(a, queries, kind, rows);
    for (int row = 0; row < rows; row++) {
        float *scores = a->scores + row * a->n_padded;
        for (int64_t i = 0; i < a->n_heavy; i++) scores[i] += a->weight;
        if (told) memcpy(told + row * a->n, scores, a->n * sizeof(float));
        shares[row] = 1.0f / soften(scores, a->n);
    }
    mix(a, shares, out, out_stride, kind, rows);
}

INLINE void attend(
    const asked *a, const float *query, int64_t query_stride, int64_t n_rows, float *told, float *out,
    int64_t out_stride, const int kind) {
    for (int64_t row = 0; row < n_rows; row += MOST_ROWS) {
        const float *here = query + row * query_stride;
        float *to = told ? told + row * a->n : NULL, *answer = out + row * out_stride;
        int rows = (int)smaller(MOST_ROWS, n_rows - row);
        WITH_ROWS(rows, attend_rows, a, here, query_stride, to, answer, out_stride, kind)
    }
}
