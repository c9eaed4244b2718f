/* Products of 16 bits, of which a processor multiplies twice as many at once as of float32. */

#pragma once

#include "numbers.h"

#define LEFT_MOST 16383
#define RIGHT_MOST 2047
#define SUMMED 64 /* so many products fit into 32 bits: 64 × 16383 × 2047 = 2,146,304,064 */

typedef int32_t integers __attribute__((vector_size(4 * LANES), may_alias));

/* What brings the loudest of n numbers to `most`. */
INLINE float scale_to(float most, const float *x, int64_t n) {
    return most / fmaxf(fmaxf(largest(x, n), -smallest(x, n)), 1e-6f);
}

/* What is not a number becomes 0. */
INLINE void round_to_shorts(const float *restrict x, int64_t n, float scale, int16_t *restrict y) {
    for (int64_t i = 0; i < n; i++) y[i] = (int16_t)(int32_t)rintf(x[i] * scale);
}

/* Of each lane both products. */
#if LANES == 16
INLINE integers add_pairs(integers sum, integers left, integers right) {
    return (integers)_mm512_dpwssd_epi32((__m512i)sum, (__m512i)left, (__m512i)right);
}
#else
INLINE integers add_pairs(integers sum, integers left, integers right) {
    return sum + (integers)_mm256_madd_epi16((__m256i)left, (__m256i)right);
}
#endif

/* Sums of products of `rows` rows of n numbers, so many apart, with a pack of columns (n / 2, WIDTH, 2). */
INLINE void add_up_shorts(
    const int16_t *x, int64_t stride, const int16_t *pack, int64_t n, vector sums[][COLUMNS], const int rows) {
    for (int row = 0; row < rows; row++)
        for (int column = 0; column < COLUMNS; column++) sums[row][column] = (vector){0};
    for (int64_t first = 0; first < n; first += SUMMED) {
        integers some[MOST_ROWS][COLUMNS];
        for (int row = 0; row < rows; row++)
            for (int column = 0; column < COLUMNS; column++) some[row][column] = (integers){0};
        int64_t end = smaller(first + SUMMED, n);
        UNROLL for (int64_t i = first; i < end; i += 2) {
            integers columns[COLUMNS];
            for (int column = 0; column < COLUMNS; column++)
                memcpy(columns + column, pack + i * WIDTH + column * 2 * LANES, sizeof columns[0]);
            for (int row = 0; row < rows; row++) {
                int32_t two;
                memcpy(&two, x + row * stride + i, sizeof two);
                for (int column = 0; column < COLUMNS; column++)
                    some[row][column] = add_pairs(some[row][column], two - (integers){0}, columns[column]);
            }
        }
        for (int row = 0; row < rows; row++)
            for (int column = 0; column < COLUMNS; column++)
                sums[row][column] += __builtin_convertvector(some[row][column], vector);
    }
}
