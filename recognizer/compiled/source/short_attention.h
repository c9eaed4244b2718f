/* Attention of many queries where there are no tiles: products of 16 bits, sums of them and the softmax in float32. */

#pragma once

#include "attention.h"
#include "shorts.h"
#include "tiles.h"

#if !HAS_TILES

#define ASKING MOST_ROWS /* queries at once */

/* Keys of a head: packs (padded(n) / WIDTH, HEAD / 2, WIDTH, 2). Values: (HEAD / WIDTH, padded(n) / 2, WIDTH, 2), two
   keys side by side. Numbers that are missing are zeros; each is so many times what it was. */
struct packed_head {
    const int16_t *keys, *values;
    float key_scale, value_scale;
    int64_t n;
};

INLINE int64_t room_of_head(int64_t n_keys) { return padded(n_keys) * HEAD * 2 * (int64_t)sizeof(int16_t); }

static packed_head pack_head(const float *keys, const float *values, int64_t n, void *room) {
    int64_t n_padded = padded(n);
    int16_t *of_keys = room, *of_values = of_keys + n_padded * HEAD, rows[2][HEAD];
    packed_head head = {
        of_keys, of_values, scale_to(RIGHT_MOST, keys, n * HEAD), scale_to(RIGHT_MOST, values, n * HEAD), n};
    memset(room, 0, room_of_head(n));
    for (int64_t key = 0; key < n; key++) {
        int16_t *to = of_keys + key / WIDTH * WIDTH * HEAD + key % WIDTH * 2;
        round_to_shorts(keys + key * HEAD, HEAD, head.key_scale, rows[0]);
        for (int64_t i = 0; i < HEAD; i += 2) memcpy(to + i * WIDTH, rows[0] + i, 2 * sizeof(int16_t));
    }
    for (int64_t key = 0; key < n; key += 2) {
        memset(rows, 0, sizeof rows);
        for (int64_t row = 0; row < smaller(2, n - key); row++)
            round_to_shorts(values + (key + row) * HEAD, HEAD, head.value_scale, rows[row]);
        for (int64_t part = 0; part < HEAD; part += WIDTH) {
            int16_t *to = of_values + part * n_padded + key * WIDTH;
            for (int64_t i = 0; i < WIDTH; i++) to[2 * i] = rows[0][part + i], to[2 * i + 1] = rows[1][part + i];
        }
    }
    return head;
}

INLINE int64_t room_to_ask(int64_t n_keys) {
    return ASKING * padded(n_keys) * (int64_t)(sizeof(float) + sizeof(int16_t));
}

INLINE void attend_some(
    const asked_by_many *a, const float *query, int64_t query_stride, float *out, int64_t out_stride, const int rows) {
    const packed_head *head = a->head;
    int64_t n = head->n, n_padded = padded(n);
    float *scores = a->room, scales[MOST_ROWS];
    int16_t *shares = (int16_t *)(scores + ASKING * n_padded), queries[MOST_ROWS * HEAD];
    vector sums[MOST_ROWS][COLUMNS];
    for (int row = 0; row < rows; row++) {
        float scale = scale_to(LEFT_MOST, query + row * query_stride, HEAD);
        round_to_shorts(query + row * query_stride, HEAD, scale, queries + row * HEAD);
        scales[row] = 0.125f / (scale * head->key_scale); /* 1 / √HEAD */
    }
    for (int64_t first = 0; first < n; first += WIDTH) {
        add_up_shorts(queries, HEAD, head->keys + first * HEAD, HEAD, sums, rows);
        for (int row = 0; row < rows; row++)
            for (int column = 0; column < COLUMNS; column++)
                *(vector *)(scores + row * n_padded + first + column * LANES) = sums[row][column] * scales[row];
    }
    for (int row = 0; row < rows; row++) {
        float *here = scores + row * n_padded;
        for (int64_t i = 0; i < a->n_heavy; i++) here[i] += a->weight;
        scales[row] = 1.0f / (soften(here, n) * LEFT_MOST * head->value_scale);
        memset(here + n, 0, (n_padded - n) * sizeof(float));
        round_to_shorts(here, n_padded, LEFT_MOST, shares + row * n_padded); /* the largest is 1 */
    }
    for (int64_t part = 0; part < HEAD; part += WIDTH) {
        add_up_shorts(shares, n_padded, head->values + part * n_padded, n + n % 2, sums, rows);
        for (int row = 0; row < rows; row++)
            for (int column = 0; column < COLUMNS; column++)
                *(vector *)(out + row * out_stride + part + column * LANES) = sums[row][column] * scales[row];
    }
}

/* One head of up to ASKING queries, rows so many floats apart → out, likewise. */
static void attend_by_many(
    const asked_by_many *a, const float *query, int64_t query_stride, int64_t n_rows, float *out, int64_t out_stride) {
    WITH_ROWS(n_rows, attend_some, a, query, query_stride, out, out_stride)
}

#endif
