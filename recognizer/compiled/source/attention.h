/* Attention of queries to keys that many of them ask. Keys are packed so that sums of products stand side by side. */

#pragma once

#include "numbers.h"

INLINE int64_t padded(int64_t n_keys) { return (n_keys + WIDTH - 1) / WIDTH * WIDTH; }

/* Keys (n, HEAD) → packs (padded(n) / WIDTH, HEAD, WIDTH), with zeros for those that are missing. */
INLINE void pack_keys(const bfloat *keys, int64_t n, bfloat *packs) {
    for (int64_t first = 0; first < n; first += WIDTH, keys += WIDTH * HEAD, packs += HEAD * WIDTH) {
        int64_t width = smaller(WIDTH, n - first);
        if (width < WIDTH) memset(packs, 0, HEAD * WIDTH * sizeof(bfloat));
        for (int64_t i = 0; i < HEAD; i++)
            for (int64_t key = 0; key < width; key++) packs[i * WIDTH + key] = keys[key * HEAD + i];
    }
}

/* What some queries ask: keys, packed, and values (n, HEAD). `scores` has room for padded(n) of MOST_ROWS queries. */
typedef struct {
    const bfloat *packs, *values;
    int64_t n;
    float *scores;
    int64_t n_padded;
} asked;

/* Sums of products of `rows` rows of n numbers, so many apart, with as many rows of WIDTH columns, so many apart. */
INLINE void add_up(
    const float *x, int64_t x_stride, const bfloat *columns, int64_t columns_stride, int64_t n, vector sums[][COLUMNS],
    const int rows) {
    for (int row = 0; row < rows; row++)
        for (int column = 0; column < COLUMNS; column++) sums[row][column] = (vector){0};
    for (int64_t i = 0; i < n; i++) {
        vector here[COLUMNS];
        for (int column = 0; column < COLUMNS; column++)
            here[column] = numbers_at(columns + i * columns_stride + column * LANES);
        for (int row = 0; row < rows; row++)
            for (int column = 0; column < COLUMNS; column++) sums[row][column] += x[row * x_stride + i] * here[column];
    }
}

INLINE void score(const asked *a, const float *queries, const int rows) {
    vector sums[MOST_ROWS][COLUMNS];
    for (int64_t first = 0; first < a->n; first += WIDTH) {
        add_up(queries, HEAD, a->packs + first * HEAD, WIDTH, HEAD, sums, rows);
        for (int row = 0; row < rows; row++)
            for (int column = 0; column < COLUMNS; column++)
                *(vector *)(a->scores + row * a->n_padded + first + column * LANES) = sums[row][column];
    }
}

INLINE void mix(const asked *a, const float *shares, float *out, int64_t out_stride, const int rows) {
    vector sums[MOST_ROWS][COLUMNS];
    for (int64_t part = 0; part < HEAD; part += WIDTH) {
        add_up(a->scores, a->n_padded, a->values + part, HEAD, a->n, sums, rows);
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
    const int rows) {
    float queries[MOST_ROWS * HEAD], shares[MOST_ROWS];
    for (int row = 0; row < rows; row++)
        for (int i = 0; i < HEAD; i++) queries[row * HEAD + i] = query[row * query_stride + i] * 0.125f; /* 1 / √HEAD */
    score(a, queries, rows);
    for (int row = 0; row < rows; row++) {
        float *scores = a->scores + row * a->n_padded;
        if (told) memcpy(told + row * a->n, scores, a->n * sizeof(float));
        shares[row] = 1.0f / soften(scores, a->n);
    }
    mix(a, shares, out, out_stride, rows);
}

INLINE void attend(
    const asked *a, const float *query, int64_t query_stride, int64_t n_rows, float *told, float *out,
    int64_t out_stride) {
    for (int64_t row = 0; row < n_rows; row += MOST_ROWS) {
        const float *here = query + row * query_stride;
        float *to = told ? told + row * a->n : NULL, *answer = out + row * out_stride;
        int rows = (int)smaller(MOST_ROWS, n_rows - row);
        WITH_ROWS(rows, attend_rows, a, here, query_stride, to, answer, out_stride)
    }
}

/* What many queries ask of a head, of whose keys the first `n_heavy` count e^`weight` times; by tiles, or in 16 bits.
 */
typedef struct packed_head packed_head;
typedef struct {
    const packed_head *head;
    int64_t n_heavy;
    float weight;
    void *room; /* room_to_ask */
} asked_by_many;
