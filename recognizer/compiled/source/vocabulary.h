/* Logits of the whole vocabulary in two stages: of every token by weights of four bits, and of those that are among the
   best by weights of eight. Reading weights is what a step of the decoder takes, and of eight bits half were these.

   What all embeddings share moves all logits of a row alike. Without it four bits are enough: what comes out as the
   sixth best is among the first 80 (docs/benchmarks.md).

   What a token is where it comes in has eight bits more. */

#pragma once

#include "matrices.h"

#define BEST 128 /* at least so many tokens are looked at twice */

/* Weights (n_out / WIDTH, n_in / 8, WIDTH, 4), n_in a multiple of 64, the last block filled up: of eight inputs the
   first four in the lower halves of bytes, from 1 to 15, which stand for -7 to 7. */
typedef struct {
    const uint8_t *weights;
    const float *scales;      /* n_out, filled up */
    const int32_t *sums;      /* of each output's weights, filled up */
    const int8_t *fine;       /* (n_out, n_in) */
    const float *fine_scales; /* n_out */
    const int8_t *rest;       /* (n_out, n_in): what those leave, of so many parts */
    const float *shared;      /* n_in: what all embeddings had more */
    int64_t n_in, n_out;
} vocabulary;

#define PARTS 254
#define STANDS_FOR_0 8
#define LOWER_HALF 0x0f

/* Sums of products of `rows` rows of q with a block of outputs, as if a weight were what its half byte says. */
#if LANES == 16
INLINE void dots_of_halves(
    const vocabulary *v, int64_t block, const uint8_t *q, int32_t sums[][WIDTH], const int rows) {
    int64_t n_in = v->n_in;
    const uint8_t *weights = v->weights + block * WIDTH * n_in / 2;
    __m512i sum[MOST_ROWS][COLUMNS], lower = _mm512_set1_epi8(LOWER_HALF);
    for (int row = 0; row < rows; row++)
        for (int part = 0; part < COLUMNS; part++) sum[row][part] = _mm512_setzero_si512();
    for (int64_t k = 0; k < n_in; k += 8, weights += 4 * WIDTH)
        for (int half = 0; half < 2; half++) {
            __m512i w[COLUMNS];
            for (int part = 0; part < COLUMNS; part++) {
                if (!half) _mm_prefetch((const char *)weights + 64 * part + AHEAD, _MM_HINT_T1);
                __m512i both = _mm512_loadu_si512(weights + 64 * part);
                w[part] = _mm512_and_si512(half ? _mm512_srli_epi16(both, 4) : both, lower);
            }
            add_products(sum, q + k + 4 * half, n_in, w, rows);
        }
    for (int row = 0; row < rows; row++)
        for (int part = 0; part < COLUMNS; part++) _mm512_storeu_si512(sums[row] + 16 * part, sum[row][part]);
}
#else
/* Four products are added in 16 bits, into which they fit: 4 × 255 × 15. */
INLINE void dots_of_halves(
    const vocabulary *v, int64_t block, const uint8_t *q, int32_t sums[][WIDTH], const int rows) {
    int64_t n_in = v->n_in;
    const uint8_t *weights = v->weights + block * WIDTH * n_in / 2;
    __m256i sum[MOST_ROWS][COLUMNS], ones = _mm256_set1_epi16(1), lower = _mm256_set1_epi8(LOWER_HALF);
    for (int row = 0; row < rows; row++) sum[row][0] = sum[row][1] = _mm256_setzero_si256();
    UNROLL for (int64_t k = 0; k < n_in; k += 8, weights += 4 * WIDTH) {
        __m256i first[COLUMNS], second[COLUMNS];
        for (int part = 0; part < COLUMNS; part++) {
            _mm_prefetch((const char *)weights + 32 * part + AHEAD, _MM_HINT_T1);
            __m256i both = _mm256_loadu_si256((const __m256i *)(weights + 32 * part));
            first[part] = _mm256_and_si256(both, lower);
            second[part] = _mm256_and_si256(_mm256_srli_epi16(both, 4), lower);
        }
        for (int row = 0; row < rows; row++) {
            __m256i in = in_each_lane(q + row * n_in + k), next = in_each_lane(q + row * n_in + k + 4);
            for (int part = 0; part < COLUMNS; part++) {
                __m256i fours =
                    _mm256_add_epi16(_mm256_maddubs_epi16(in, first[part]), _mm256_maddubs_epi16(next, second[part]));
                sum[row][part] = _mm256_add_epi32(sum[row][part], _mm256_madd_epi16(fours, ones));
            }
        }
    }
    for (int row = 0; row < rows; row++)
        for (int part = 0; part < COLUMNS; part++)
            _mm256_storeu_si256((__m256i *)(sums[row] + 8 * part), sum[row][part]);
}
#endif

INLINE float added_up(const vector *x, const int n) {
    vector whole = x[0];
    float sum = 0;
    for (int i = 1; i < n; i++) whole += x[i];
    for (int i = 0; i < LANES; i++) sum += whole[i];
    return sum;
}

INLINE float dot(const float *x, const float *y, int64_t n) {
    vector sums[4] = {{0}, {0}, {0}, {0}};
    for (int64_t i = 0; i < n; i += 4 * LANES)
        for (int part = 0; part < 4; part++)
            sums[part] += *(const vector *)(x + i + part * LANES) * *(const vector *)(y + i + part * LANES);
    return added_up(sums, 4);
}

INLINE float share_of(const vocabulary *v, const float *x) { return dot(x, v->shared, v->n_in); }

/* Of a row x that has so much of what all tokens share. */
INLINE float logit_of(const vocabulary *v, const float *x, float shared, int64_t token) {
    vector sums[4] = {{0}, {0}, {0}, {0}};
    const int8_t *weights = v->fine + token * v->n_in;
    for (int64_t i = 0; i < v->n_in; i += 4 * LANES)
        for (int part = 0; part < 4; part++) {
#if LANES == 16
            __m512i w = _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(weights + i + part * LANES)));
            vector numbers = (vector)_mm512_cvtepi32_ps(w);
#else
            __m256i w = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(weights + i + part * LANES)));
            vector numbers = (vector)_mm256_cvtepi32_ps(w);
#endif
            sums[part] += *(const vector *)(x + i + part * LANES) * numbers;
        }
    return added_up(sums, 4) * v->fine_scales[token] + shared;
}

/* A token at its position → x (n_in). */
INLINE void embed_token(const vocabulary *v, int64_t token, const float *position, float *x) {
    const int8_t *fine = v->fine + token * v->n_in, *rest = v->rest + token * v->n_in;
    float scale = v->fine_scales[token] / PARTS;
    for (int64_t i = 0; i < v->n_in; i++) x[i] = scale * (PARTS * fine[i] + rest[i]) + v->shared[i] + position[i];
}

/* What is foretold of rows x (n_rows, n_in): their logits, and the best of each block of them. */
typedef struct {
    const vocabulary *v;
    const incoming *in;
    int64_t n_rows, n_blocks;
    const float *shared;  /* n_rows */
    const int32_t *whole; /* n_rows: all of q */
    float *logits, *best_of_blocks;
} foretelling;

static void foretell_blocks(void *of, int64_t first, int64_t end) {
    const foretelling *f = of;
    const vocabulary *v = f->v;
    int32_t sums[MOST_ROWS][WIDTH], zero = f->in->range.zero;
    float scale = f->in->range.scale, logits[WIDTH];
    for (int64_t block = first; block < end; block++) {
        const float *scales = v->scales + block * WIDTH;
        const int32_t *of_weights = v->sums + block * WIDTH;
        int64_t width = smaller(WIDTH, v->n_out - block * WIDTH);
        for (int64_t row = 0; row < f->n_rows; row += MOST_ROWS) {
            int rows = (int)smaller(MOST_ROWS, f->n_rows - row);
            WITH_ROWS(rows, dots_of_halves, v, block, f->in->q + row * v->n_in, sums)
            for (int64_t i = 0; i < rows; i++) {
                float of_row = scale * f->in->loudest[row + i], shared = f->shared[row + i];
                int32_t zeros = STANDS_FOR_0 * f->whole[row + i];
                for (int j = 0; j < WIDTH; j++)
                    logits[j] = (float)(sums[i][j] - zeros - zero * of_weights[j]) * (of_row * scales[j]) + shared;
                memcpy(f->logits + (row + i) * v->n_out + block * WIDTH, logits, width * sizeof(float));
                f->best_of_blocks[(row + i) * f->n_blocks + block] = largest(logits, width);
            }
        }
    }
}

/* A number that at least BEST of n reach, if there are so many, and not many more. */
static float bar_of(const float *x, int64_t n) {
    float low = -INFINITY, middle = smallest(x, n), high = largest(x, n);
    for (int turn = 0; turn < 24; turn++) {
        int64_t n_above = 0;
        for (int64_t i = 0; i < n; i++) n_above += x[i] >= middle;
        if (n_above >= BEST)
            low = middle;
        else
            high = middle;
        if (low == -INFINITY || (n_above >= BEST && n_above < BEST + BEST / 8)) break;
        middle = (low + high) / 2;
    }
    return low;
}

#define PENDING 4 /* tokens whose weights are fetched meanwhile */

/* Tokens that are looked at twice, the last of them. */
typedef struct {
    const vocabulary *v;
    const float *x;
    float shared, *logits;
    int64_t n, tokens[PENDING];
} asking;

INLINE void answer(asking *a, int64_t n) {
    int64_t token = a->tokens[n % PENDING];
    a->logits[token] = logit_of(a->v, a->x, a->shared, token);
}

INLINE void ask_for(asking *a, int64_t token) {
    const int8_t *weights = a->v->fine + token * a->v->n_in;
    for (int64_t i = 0; i < a->v->n_in; i += 64) _mm_prefetch((const char *)(weights + i), _MM_HINT_T0);
    if (a->n >= PENDING) answer(a, a->n);
    a->tokens[a->n++ % PENDING] = token;
}

/* The best of a row, once more. */
static void foretell_best(void *of, int64_t first_row, int64_t end_row) {
    const foretelling *f = of;
    const vocabulary *v = f->v;
    for (int64_t row = first_row; row < end_row; row++) {
        const float *best = f->best_of_blocks + row * f->n_blocks;
        float *logits = f->logits + row * v->n_out, bar = bar_of(best, f->n_blocks);
        asking a = {v, f->in->x + row * v->n_in, f->shared[row], logits, 0, {0}};
        for (int64_t block = 0; block < f->n_blocks; block++) {
            if (!(best[block] >= bar)) continue;
            for (int64_t first = block * WIDTH; first < (block + 1) * WIDTH; first += LANES) {
                int64_t end = smaller(first + LANES, v->n_out);
                if (!(largest(logits + first, end - first) >= bar)) continue;
                for (int64_t token = first; token < end; token++)
                    if (logits[token] >= bar) ask_for(&a, token);
            }
        }
        for (int64_t n = larger(0, a.n - PENDING); n < a.n; n++) answer(&a, n);
    }
}

INLINE int64_t blocks_of(const vocabulary *v) { return (v->n_out + WIDTH - 1) / WIDTH; }

/* Bytes that foretelling so many rows needs beside them. */
INLINE int64_t room_to_foretell(const vocabulary *v, int64_t n_rows) {
    return room_of(n_rows, v->n_in) + n_rows * (blocks_of(v) + 2) * (int64_t)sizeof(float);
}

/* x (n_rows, n_in) → logits (n_rows, n_out), by way of `room`. */
static void foretell(const vocabulary *v, const float *x, int64_t n_rows, float *logits, void *room) {
    float *shared = room, *best_of_blocks = shared + n_rows, *least = best_of_blocks + n_rows * blocks_of(v);
    float *most = least + n_rows, *loudest = most + n_rows;
    int32_t *whole = (int32_t *)(loudest + n_rows);
    incoming in = {x, v->n_in, 1, 0, least, most, loudest, {0, 0}, (uint8_t *)(whole + n_rows)};
    quantise(&in, n_rows);
    for (int64_t row = 0; row < n_rows; row++) {
        shared[row] = share_of(v, x + row * v->n_in);
        whole[row] = 0;
        for (int64_t i = 0; i < v->n_in; i++) whole[row] += in.q[row * v->n_in + i];
    }
    foretelling f = {v, &in, n_rows, blocks_of(v), shared, whole, logits, best_of_blocks};
    share(foretell_blocks, &f, f.n_blocks, f.n_blocks < 64 ? 1 : 8);
    share(foretell_best, &f, n_rows, 1);
}
