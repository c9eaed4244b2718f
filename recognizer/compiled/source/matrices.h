/* Matrices of int8: integers are those of int8.py, but for a tie here and there where rows are scaled.

   Reading the weights is what multiplying a few rows takes, so they lie in the order in which they are read. */

#pragma once

#include "numbers.h"
#include "team.h"
#include "tiles.h"

/* Weights (n_out / WIDTH, n_in / 4, WIDTH, 4), n_in a multiple of 8, the last block filled up with zeros.
   `scales_rows`: each row of what comes in is divided by its loudest. */
typedef struct {
    const int8_t *weights;
    const float *scales;                             /* n_out, filled up */
    const int32_t *sums;                             /* of each output's weights, filled up */
    const float *bias;                               /* n_out, filled up */
    const int8_t *outliers;                          /* (n, WIDTH, 4), what `take_out` took */
    const int32_t *outlier_inputs, *outliers_before; /* the first input of each; how many stand before a block */
    int64_t n_in, n_out, scales_rows;
} matrix;

typedef struct {
    float scale;
    int32_t zero;
} quantisation;

/* As torch's ChooseQuantizationParams for 0 to 255. */
static quantisation range_of(float least, float most) {
    least = least > 0 ? 0 : least;
    most = most < 0 ? 0 : most;
    float scale = (float)(((double)most - least) / 255);
    if (scale == 0.0f || isinf(1.0f / scale)) scale = 0.1f;
    double zero = nearbyint(-(double)least / scale);
    scale = fmaxf(scale, 6.1e-5f); /* torch's smallest; what is as soft is rounded more coarsely */
    return (quantisation){scale, zero < 0 ? 0 : zero > 255 ? 255 : (int32_t)zero};
}

#define ROWS_AT_ONCE TILE

/* x (n_rows, n) becomes q: each row is divided by its own loudest where the matrix scales rows. In tiles, q is
   (n_rows / TILE, n / TILE_ROW, TILE, TILE_ROW), whose last rows may be of nothing. */
typedef struct {
    const float *x;
    int64_t n, scales_rows, is_tiled;
    float *least, *most, *loudest; /* n_rows */
    quantisation range;
    uint8_t *q;
} incoming;

static void look_at_rows(void *of, int64_t first, int64_t end) {
    incoming *in = of;
    for (int64_t row = first; row < end; row++) {
        const float *x = in->x + row * in->n;
        float least = smallest(x, in->n), most = largest(x, in->n);
        if (in->scales_rows) {
            float peak = in->loudest[row] = fmaxf(fmaxf(most, -least), 1e-6f);
            least /= peak, most /= peak;
        }
        in->least[row] = least, in->most[row] = most;
    }
}

INLINE void round_numbers(const float *restrict x, int64_t n, float inverse, float zero, uint8_t *restrict q) {
    for (int64_t i = 0; i < n; i++) {
        float value = rintf(fmaf(x[i], inverse, zero));
        value = value < 0 ? 0 : value;
        q[i] = (uint8_t)(int32_t)(value > 255 ? 255 : value);
    }
}

static void round_rows(void *of, int64_t first, int64_t end) {
    const incoming *in = of;
    float zero = (float)in->range.zero;
    for (int64_t row = first; row < end; row++) {
        const float *x = in->x + row * in->n;
        float inverse = 1.0f / (in->scales_rows ? in->range.scale * in->loudest[row] : in->range.scale);
        if (in->is_tiled) {
            uint8_t *q = in->q + row / TILE * TILE * in->n + row % TILE * TILE_ROW;
            for (int64_t i = 0; i < in->n; i += TILE_ROW, q += TILE_BYTES)
                round_numbers(x + i, TILE_ROW, inverse, zero, q);
        } else {
            round_numbers(x, in->n, inverse, zero, in->q + row * in->n);
        }
    }
}

static void quantise(incoming *in, int64_t n_rows) {
    share(look_at_rows, in, n_rows, ROWS_AT_ONCE);
    float least = smallest(in->least, n_rows), most = largest(in->most, n_rows);
    in->range = range_of(least, most);
    share(round_rows, in, n_rows, ROWS_AT_ONCE);
}

#define AHEAD 8192        /* bytes, which are fetched meanwhile */
#define MOST_TOGETHER 128 /* of four weights, of one sign, where products are added in 16 bits: 255 × 128 fits */

/* Sums of products of `rows` rows of q with a block of outputs. */
#if LANES == 16
#define HAS_OUTLIERS 0

/* Of four inputs each, with four weights of each output. */
INLINE void add_products(__m512i sum[][COLUMNS], const uint8_t *q, int64_t n_in, const __m512i *w, const int rows) {
    for (int row = 0; row < rows; row++) {
        int32_t four;
        memcpy(&four, q + row * n_in, 4);
        __m512i in = _mm512_set1_epi32(four);
        for (int part = 0; part < COLUMNS; part++) sum[row][part] = _mm512_dpbusd_epi32(sum[row][part], in, w[part]);
    }
}

INLINE void dots(const matrix *m, int64_t block, const uint8_t *q, int32_t sums[][WIDTH], const int rows) {
    int64_t n_in = m->n_in;
    const int8_t *weights = m->weights + block * WIDTH * n_in;
    __m512i sum[MOST_ROWS][COLUMNS];
    for (int row = 0; row < rows; row++)
        for (int part = 0; part < COLUMNS; part++) sum[row][part] = _mm512_setzero_si512();
    UNROLL for (int64_t k = 0; k < n_in; k += 4, weights += 4 * WIDTH) {
        __m512i w[COLUMNS];
        for (int part = 0; part < COLUMNS; part++) {
            _mm_prefetch((const char *)weights + 64 * part + AHEAD, _MM_HINT_T1);
            w[part] = _mm512_loadu_si512(weights + 64 * part);
        }
        add_products(sum, q + k, n_in, w, rows);
    }
    for (int row = 0; row < rows; row++)
        for (int part = 0; part < COLUMNS; part++) _mm512_storeu_si512(sums[row] + 16 * part, sum[row][part]);
}
#else
#define HAS_OUTLIERS 1

INLINE __m256i in_each_lane(const uint8_t *q) {
    int32_t four;
    memcpy(&four, q, 4);
    return _mm256_set1_epi32(four);
}

/* Four products are added in 16 bits, into which they fit without the outliers. */
INLINE void dots(const matrix *m, int64_t block, const uint8_t *q, int32_t sums[][WIDTH], const int rows) {
    __m256i sum[MOST_ROWS][COLUMNS], ones = _mm256_set1_epi16(1);
    int64_t n_in = m->n_in;
    const int8_t *weights = m->weights + block * WIDTH * n_in;
    for (int row = 0; row < rows; row++) sum[row][0] = sum[row][1] = _mm256_setzero_si256();
    UNROLL for (int64_t k = 0; k < n_in; k += 8, weights += 8 * WIDTH) {
        __m256i w[2][COLUMNS];
        for (int half = 0; half < 2; half++)
            for (int part = 0; part < COLUMNS; part++) {
                const int8_t *here = weights + 4 * WIDTH * half + 32 * part;
                _mm_prefetch((const char *)here + AHEAD, _MM_HINT_T1);
                w[half][part] = _mm256_loadu_si256((const __m256i *)here);
            }
        for (int row = 0; row < rows; row++) {
            __m256i in = in_each_lane(q + row * n_in + k), next = in_each_lane(q + row * n_in + k + 4);
            for (int part = 0; part < COLUMNS; part++) {
                __m256i fours =
                    _mm256_add_epi16(_mm256_maddubs_epi16(in, w[0][part]), _mm256_maddubs_epi16(next, w[1][part]));
                sum[row][part] = _mm256_add_epi32(sum[row][part], _mm256_madd_epi16(fours, ones));
            }
        }
    }
    for (int32_t i = m->outliers_before[block]; i < m->outliers_before[block + 1]; i++)
        for (int part = 0; part < COLUMNS; part++) {
            __m256i w = _mm256_loadu_si256((const __m256i *)(m->outliers + i * 4 * WIDTH + 32 * part));
            for (int row = 0; row < rows; row++) {
                __m256i twos = _mm256_maddubs_epi16(in_each_lane(q + row * n_in + m->outlier_inputs[i]), w);
                sum[row][part] = _mm256_add_epi32(sum[row][part], _mm256_madd_epi16(twos, ones));
            }
        }
    for (int row = 0; row < rows; row++)
        for (int part = 0; part < COLUMNS; part++)
            _mm256_storeu_si256((__m256i *)(sums[row] + 8 * part), sum[row][part]);
}
#endif

/* What is done with what comes out of a matrix. */
enum { KEEP, ADD, GELU };

typedef struct {
    const matrix *m;
    const incoming *in;
    int64_t n_rows, then;
    float *y;
} multiplication;

/* `width` outputs of one row, from `first` on: what is added up → y. */
INLINE void finish(const multiplication *p, int64_t row, int64_t first, const int32_t *sums, const int width) {
    const matrix *m = p->m;
    const float *scales = m->scales + first, *bias = m->bias + first;
    const int32_t *of_weights = m->sums + first, zero = p->in->range.zero;
    float scale = p->in->range.scale, louder = m->scales_rows ? p->in->loudest[row] : 1.0f, whole[WIDTH];
    float *y = p->y + row * m->n_out + first;
    for (int i = 0; i < width; i++)
        whole[i] = (float)(sums[i] - zero * of_weights[i]) * (scale * scales[i]) * louder + bias[i];
    if (p->then == GELU)
        for (int i = 0; i < width; i += LANES) *(vector *)(whole + i) = gelu(*(vector *)(whole + i));
    if (m->n_out - first < width) {
        for (int64_t i = 0; i < m->n_out - first; i++) y[i] = p->then == ADD ? y[i] + whole[i] : whole[i];
    } else if (p->then == ADD) {
        for (int i = 0; i < width; i++) y[i] += whole[i];
    } else {
        memcpy(y, whole, width * sizeof(float));
    }
}

static void multiply_blocks(void *of, int64_t first, int64_t end) {
    const multiplication *p = of;
    int64_t n_in = p->m->n_in;
    int32_t sums[MOST_ROWS][WIDTH];
    for (int64_t block = first; block < end; block++)
        for (int64_t row = 0; row < p->n_rows; row += MOST_ROWS) {
            int rows = (int)smaller(MOST_ROWS, p->n_rows - row);
            WITH_ROWS(rows, dots, p->m, block, p->in->q + row * n_in, sums)
            for (int i = 0; i < rows; i++) finish(p, row + i, block * WIDTH, sums[i], WIDTH);
        }
}

#if HAS_TILES
/* The same sums, of many rows. */
static void multiply_blocks_by_tiles(void *of, int64_t first, int64_t end) {
    const multiplication *p = of;
    int64_t n_in = p->m->n_in, n_rows = p->n_rows;
    int32_t sums[SQUARE][SQUARE] __attribute__((aligned(64)));
    begin_tiles();
    for (int64_t column = first * WIDTH; column < end * WIDTH; column += SQUARE) {
        const int8_t *weights = p->m->weights + column / WIDTH * WIDTH * n_in + column % WIDTH * 4;
        tiles right = {weights, 4 * WIDTH, TILE_ROW, TILE * 4 * WIDTH};
        for (int64_t row = 0; row < n_rows; row += SQUARE) {
            tiles left = {p->in->q + row * n_in, TILE_ROW, TILE * n_in, TILE_BYTES};
            multiply_tiles(&left, &right, n_in / TILE_ROW, n_rows - row <= TILE, sums, sizeof sums[0], OF_BYTES);
            int64_t rows = smaller(SQUARE, n_rows - row);
            for (int64_t i = 0; i < rows; i++) finish(p, row + i, column, sums[i], SQUARE);
        }
    }
    end_tiles();
}
#endif

/* Bytes that multiplying `n_rows` of so many numbers needs beside them. */
INLINE int64_t room_of(int64_t n_rows, int64_t n_in) {
    int64_t whole = (n_rows + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE * ROWS_AT_ONCE;
    return whole * n_in + n_rows * 3 * (int64_t)sizeof(float);
}

/* Whether so many rows are worth tiles. */
INLINE int64_t are_tiled(int64_t n_rows, int64_t n_in) { return HAS_TILES && n_rows >= TILE && n_in % TILE_ROW == 0; }

/* x (n_rows, n_in) as matrices like this take it, by way of `room`. */
static incoming taken(const matrix *m, const float *x, int64_t n_rows, void *room) {
    float *least = room, *most = least + n_rows, *loudest = most + n_rows;
    incoming in = {x,    m->n_in, m->scales_rows, are_tiled(n_rows, m->n_in),   least,
                   most, loudest, {0, 0},         (uint8_t *)(loudest + n_rows)};
    quantise(&in, n_rows);
    return in;
}

/* → y (n_rows, n_out). */
static void multiply_taken(const matrix *m, const incoming *in, int64_t n_rows, int64_t then, float *y) {
    multiplication p = {m, in, n_rows, then, y};
    int64_t n_blocks = (m->n_out + WIDTH - 1) / WIDTH;
#if HAS_TILES
    if (in->is_tiled) {
        share(multiply_blocks_by_tiles, &p, n_blocks, 1);
        return;
    }
#endif
    share(multiply_blocks, &p, n_blocks, n_blocks < 64 ? 1 : 8);
}

/* Both: x (n_rows, n_in) → y (n_rows, n_out), by way of `room`. */
static void multiply_with(const matrix *m, const float *x, int64_t n_rows, int64_t then, float *y, void *room) {
    incoming in = taken(m, x, n_rows, room);
    multiply_taken(m, &in, n_rows, then, y);
}
