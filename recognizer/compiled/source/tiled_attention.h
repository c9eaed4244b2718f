/* Attention of many queries by tiles: products in bfloat16, sums and the softmax in float32. */

#pragma once

#include "attention.h"
#include "tiles.h"

#if HAS_TILES

#define ASKING SQUARE /* queries at once */
#define HALVES (HEAD / BFLOATS)

/* Keys (n, HEAD) → tiles (padded(n) / TILE, HALVES) of pairs of numbers (TILE, TILE keys, 2), those that are missing
   of zeros. */
static void tile_keys(const float *keys, int64_t n, bfloat *packs) {
    int32_t pairs[TILE][HEAD / 2], *to = (int32_t *)packs;
    for (int64_t first = 0; first < padded(n); first += TILE, to += HALVES * TILE * TILE) {
        memset(pairs, 0, sizeof pairs);
        for (int64_t key = 0; key < smaller(TILE, n - first); key++)
            for (int64_t i = 0; i < HEAD; i += BFLOATS) {
                const float *x = keys + (first + key) * HEAD + i;
                __m512bh both = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(x + TILE), _mm512_loadu_ps(x));
                _mm512_storeu_si512(pairs[key] + i / 2, (__m512i)both);
            }
        for (int64_t i = 0; i < HEAD / 2; i++)
            for (int64_t key = 0; key < TILE; key++) to[i * TILE + key] = pairs[key][i];
    }
}

/* Values (n, HEAD) → tiles (padded(n) / BFLOATS, HEAD / TILE) of pairs of keys (TILE, TILE numbers, 2), likewise. */
static void tile_values(const float *values, int64_t n, bfloat *packs) {
    static const float none[HEAD];
    for (int64_t key = 0; key < padded(n); key += 2) {
        const float *one = key < n ? values + key * HEAD : none,
                    *other = key + 1 < n ? values + (key + 1) * HEAD : none;
        bfloat *to = packs + key / BFLOATS * BFLOATS * HEAD + key % BFLOATS * TILE;
        for (int64_t i = 0; i < HEAD; i += TILE, to += TILE_BYTES / sizeof(bfloat))
            _mm512_storeu_si512(to, interleaved(_mm512_loadu_ps(one + i), _mm512_loadu_ps(other + i)));
    }
}

/* Keys and values of a head, as above. */
struct packed_head {
    const bfloat *keys, *values;
    int64_t n;
};

INLINE int64_t room_of_head(int64_t n_keys) { return padded(n_keys) * HEAD * 2 * (int64_t)sizeof(bfloat); }

static packed_head pack_head(const float *keys, const float *values, int64_t n, void *room) {
    bfloat *of_keys = room, *of_values = of_keys + padded(n) * HEAD;
    tile_keys(keys, n, of_keys);
    tile_values(values, n, of_values);
    return (packed_head){of_keys, of_values, n};
}

INLINE int64_t room_to_ask(int64_t n_keys) { return ASKING * padded(n_keys) * (int64_t)sizeof(float); }

/* Scores (n) become their softmax times what is returned, in bfloat16 at the same place, with zeros up to padded(n). */
INLINE float soften_to_bfloats(float *scores, int64_t n) {
    float sum = soften(scores, n);
    memset(scores + n, 0, (padded(n) - n) * sizeof(float));
    bfloat *to = (bfloat *)scores;
    for (int64_t i = 0; i < padded(n); i += TILE)
        _mm256_storeu_si256((__m256i *)(to + i), rounded(_mm512_loadu_ps(scores + i)));
    return sum;
}

/* One head of up to ASKING queries, rows so many floats apart → out, likewise. */
static void attend_by_many(
    const asked_by_many *a, const float *query, int64_t query_stride, int64_t n_rows, float *out, int64_t out_stride) {
    bfloat queries[2][HALVES][TILE][BFLOATS] __attribute__((aligned(64)));
    float sums[SQUARE][SQUARE] __attribute__((aligned(64))), shares[SQUARE], *all = a->room;
    int64_t n_keys = padded(a->head->n), scores_row = n_keys * (int64_t)sizeof(float);
    int is_half = n_rows <= TILE;
    memset(queries, 0, sizeof queries);
    for (int64_t row = 0; row < n_rows; row++)
        for (int64_t i = 0; i < HEAD; i += TILE) {
            __m512 x =
                _mm512_mul_ps(_mm512_loadu_ps(query + row * query_stride + i), _mm512_set1_ps(0.125f)); /* 1 / √HEAD */
            bfloat *to = &queries[row / TILE][i / BFLOATS][row % TILE][i % BFLOATS];
            _mm256_store_si256((__m256i *)to, rounded(x));
        }
    tiles asking = {queries, TILE_ROW, sizeof queries[0], TILE_BYTES};
    for (int64_t key = 0; key < n_keys; key += SQUARE) {
        tiles keys = {a->head->keys + key * HEAD, TILE_ROW, HALVES * TILE_BYTES, TILE_BYTES};
        multiply_tiles(&asking, &keys, HALVES, is_half, all + key, scores_row, OF_BFLOATS);
    }
    for (int64_t row = 0; row < n_rows; row++) {
        float *scores = all + row * n_keys;
        for (int64_t i = 0; i < a->n_heavy; i++) scores[i] += a->weight;
        shares[row] = 1.0f / soften_to_bfloats(scores, a->head->n);
    }
    tiles mixing = {all, scores_row, TILE * scores_row, TILE_ROW};
    for (int64_t part = 0; part < HEAD; part += SQUARE) {
        tiles values = {a->head->values + part * BFLOATS, TILE_ROW, TILE_BYTES, HEAD / TILE * TILE_BYTES};
        multiply_tiles(&mixing, &values, n_keys / BFLOATS, is_half, sums, sizeof sums[0], OF_BFLOATS);
        for (int64_t row = 0; row < n_rows; row++)
            for (int i = 0; i < SQUARE; i++) out[row * out_stride + part + i] = shares[row] * sums[row][i];
    }
}

#endif
