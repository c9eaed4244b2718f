/* Float32: vectors of the processor, and what is between matrices.

   Compiled by build.py for each set of instructions that it names. */

#pragma once

#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__AVX512VNNI__)
#define LANES 16
#define COLUMNS 4 /* vectors side by side: sums of as many rows as MOST_ROWS have a register each */
#define MOST_ROWS 6
#elif defined(__AVX2__) && defined(__FMA__)
#define LANES 8
#define COLUMNS 2
#define MOST_ROWS 5
#else
#error "needs AVX-512 with VNNI, or AVX2 and FMA"
#endif

#define WIDTH (COLUMNS * LANES) /* of what lies together: outputs of a matrix, keys */
#define HEAD 64                 /* of every Whisper model */
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 4") /* without it GCC copies all sums at each turn */

typedef float vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint16_t bfloat; /* the upper half of a float */

enum { NO_MEMORY = 1, IMPOSSIBLE = 2 }; /* what functions return that cannot do it */

/* `function` of arguments and a number of rows, 1 to MOST_ROWS, that the compiler knows: each has its own registers. */
#define WITH_ROWS(rows, function, ...) \
    switch (rows) { \
    case 1: \
        function(__VA_ARGS__, 1); \
        break; \
    case 2: \
        function(__VA_ARGS__, 2); \
        break; \
    case 3: \
        function(__VA_ARGS__, 3); \
        break; \
    case 4: \
        function(__VA_ARGS__, 4); \
        break; \
    case 5: \
        function(__VA_ARGS__, 5); \
        break; \
    default: \
        function(__VA_ARGS__, MOST_ROWS); \
    }

INLINE int64_t whole_lines(int64_t n_bytes) { return (n_bytes + 63) / 64 * 64; } /* of the processor's cache */

/* Memory that begins where a vector does: how a sum is cut must not depend on who computes it. */
INLINE void *allocate(int64_t n_bytes) { return aligned_alloc(64, whole_lines(n_bytes + 1)); }

/* A vector of numbers from there on. */
INLINE vector numbers_at(const bfloat *x) {
#if LANES == 16
    return (vector)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)x)), 16);
#else
    return (vector)_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)x)), 16);
#endif
}

/* n numbers, each to the nearest, to an even one of two as near. */
INLINE void round_to_bfloats(const float *restrict x, int64_t n, bfloat *restrict y) {
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        y[i] = (bfloat)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
    }
}

INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

/* e^x, off by some 1e-7 of it, as Cephes' expf (Moshier, 1989); the compiler may not change the order of an fmaf. */
INLINE float exponential(float x) {
    x = x < -87.0f ? -87.0f : x;
    float n = rintf(x * 1.44269504f);
    float r = fmaf(n, 2.12194440e-4f, fmaf(n, -0.693359375f, x));
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    union {
        int32_t i;
        float f;
    } power = {((int32_t)n + 127) << 23};
    return p * power.f;
}

/* Up to ±most, and no further. */
INLINE vector within(vector x, float most) {
#if LANES == 16
    return (vector)_mm512_min_ps(_mm512_max_ps((__m512)x, _mm512_set1_ps(-most)), _mm512_set1_ps(most));
#else
    return (vector)_mm256_min_ps(_mm256_max_ps((__m256)x, _mm256_set1_ps(-most)), _mm256_set1_ps(most));
#endif
}

/* x Φ(x), where Φ(x) = 1/2 + x P(2 x² / 5² - 1) up to ±5, and goes no further; P is of least squares, weighted until no
   error stood out: off by at most 3e-6 and 3e-7 |x|. Without a division, which takes as long as all of this. */
INLINE vector gelu(vector x) {
    vector near = within(x, 5.0f);
    vector u = near * near * 0.08f - 1.0f;
    vector p = u * 4.955268814e-4f - 1.517424244e-3f;
    p = p * u + 1.997067360e-3f;
    p = p * u - 2.908816561e-3f;
    p = p * u + 6.168297958e-3f;
    p = p * u - 1.097831503e-2f;
    p = p * u + 1.649714635e-2f;
    p = p * u - 2.333513647e-2f;
    p = p * u + 3.142618760e-2f;
    p = p * u - 4.043314606e-2f;
    p = p * u + 5.152143165e-2f;
    p = p * u - 7.029664516e-2f;
    p = p * u + 1.413637847e-1f;
    return x * (0.5f + near * p);
}

typedef struct {
    const float *weight, *bias;
    double eps;
} norm;

INLINE void normalise(const norm *of, const float *x, int64_t n_rows, int64_t n, float *y) {
    for (int64_t row = 0; row < n_rows; row++, x += n, y += n) {
        float sum = 0, squares = 0;
        for (int64_t i = 0; i < n; i++) sum += x[i];
        float mean = sum / n;
        for (int64_t i = 0; i < n; i++) squares += (x[i] - mean) * (x[i] - mean);
        float scale = 1.0f / sqrtf(squares / n + (float)of->eps);
        for (int64_t i = 0; i < n; i++) y[i] = (x[i] - mean) * scale * of->weight[i] + of->bias[i];
    }
}

INLINE float largest(const float *x, int64_t n) {
    float most = -INFINITY;
#pragma omp simd reduction(max : most)
    for (int64_t i = 0; i < n; i++) most = x[i] > most ? x[i] : most;
    return most;
}

INLINE float smallest(const float *x, int64_t n) {
    float least = INFINITY;
#pragma omp simd reduction(min : least)
    for (int64_t i = 0; i < n; i++) least = x[i] < least ? x[i] : least;
    return least;
}

/* The logarithm of the sum of e^x. */
INLINE float log_sum(const float *x, int64_t n) {
    float most = largest(x, n), sum = 0;
    for (int64_t i = 0; i < n; i++) sum += exponential(x[i] - most);
    return most + logf(sum);
}
