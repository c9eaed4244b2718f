/* Where tokens listen, and the way through that: what recognizer/alignment.py has in torch and NumPy. */

#include "attention.h"

#define NEIGHBOURS 7 /* of which the median is taken (alignment.py) */
#define HALF (NEIGHBOURS / 2)
#define ALL_AT_ONCE _Pragma("GCC unroll 8") /* else they are no registers */

/* Scores (n, n_positions), rows so many floats apart → their softmax, rows `width` apart. */
static void soften_rows(
    const float *scores, int64_t stride, int64_t n, int64_t n_positions, float *rows, int64_t width) {
    for (int64_t row = 0; row < n; row++, scores += stride, rows += width) {
        memcpy(rows, scores, n_positions * sizeof(float));
        float share = 1.0f / soften(rows, n_positions);
        for (int64_t i = 0; i < n_positions; i++) rows[i] *= share;
    }
}

/* At each position, of all rows: their mean, and one by their deviation and `least`. */
static void measure(
    const float *rows, int64_t n, int64_t n_positions, int64_t width, float least, float *mean, float *inverse) {
    memset(mean, 0, n_positions * sizeof(float));
    memset(inverse, 0, n_positions * sizeof(float));
    for (int64_t row = 0; row < n; row++)
        for (int64_t i = 0; i < n_positions; i++) mean[i] += rows[row * width + i];
    for (int64_t i = 0; i < n_positions; i++) mean[i] /= n;
    for (int64_t row = 0; row < n; row++)
        for (int64_t i = 0; i < n_positions; i++) {
            float apart = rows[row * width + i] - mean[i];
            inverse[i] += apart * apart;
        }
    for (int64_t i = 0; i < n_positions; i++) inverse[i] = 1.0f / (sqrtf(inverse[i] / n) + least);
}

/* The smaller one first. */
INLINE void exchange(float *both) {
    float one = both[0], other = both[1];
    both[0] = one < other ? one : other;
    both[1] = one < other ? other : one;
}

/* y grows by the median of each NEIGHBOURS of x, which has HALF more at each side. All places at once, by exchange of
   neighbours (odd-even transposition: Knuth, TAOCP 3, 5.3.4). */
static void add_medians(const float *restrict x, int64_t n, float *restrict y) {
    for (int64_t i = 0; i < n; i++) {
        float values[NEIGHBOURS];
        for (int of = 0; of < NEIGHBOURS; of++) values[of] = x[i + of];
        ALL_AT_ONCE for (int sweep = 0; sweep < NEIGHBOURS; sweep++)
            ALL_AT_ONCE for (int of = sweep % 2; of < NEIGHBOURS - 1; of += 2) exchange(values + of);
        y[i] += values[HALF];
    }
}

/* What is beyond an edge is as before it, in a mirror. */
static void mirror(float *x, int64_t n) {
    for (int64_t i = 1; i <= HALF; i++) x[-i] = x[i], x[n - 1 + i] = x[n - 1 - i];
}

/* Scores (n_heads, n, n_all) of `n` tokens → how much those from `first` on listen to each of the first `n_positions`
   (n - first, n_positions), as alignment.py says. Returns 0, NO_MEMORY or IMPOSSIBLE. */
int listening(
    const float *scores, int64_t n_heads, int64_t n, int64_t n_all, int64_t n_positions, int64_t first, float least,
    float *out) {
    if (n_heads < 1 || first < 0 || first >= n || n_positions < 1 || n_positions > n_all) return IMPOSSIBLE;
    int64_t width = n_positions + 2 * HALF;
    float *rows = allocate((n * width + 2 * n_positions) * sizeof(float));
    if (!rows) return NO_MEMORY;
    float *mean = rows + n * width, *inverse = mean + n_positions;
    memset(out, 0, (n - first) * n_positions * sizeof(float));
    for (int64_t head = 0; head < n_heads; head++, scores += n * n_all) {
        soften_rows(scores, n_all, n, n_positions, rows + HALF, width);
        if (n > 1) measure(rows + HALF, n, n_positions, width, least, mean, inverse);
        for (int64_t row = first; row < n; row++) {
            float *x = rows + row * width + HALF, *y = out + (row - first) * n_positions;
            if (n > 1)
                for (int64_t i = 0; i < n_positions; i++) x[i] = (x[i] - mean[i]) * inverse[i];
            if (n_positions > HALF) {
                mirror(x, n_positions);
                add_medians(x - HALF, n_positions, y);
            } else {
                for (int64_t i = 0; i < n_positions; i++) y[i] += x[i];
            }
        }
    }
    for (int64_t i = 0; i < (n - first) * n_positions; i++) out[i] /= n_heads;
    free(rows);
    return 0;
}

/* Dynamic time warping: the path through `cost` (n_rows, n_columns) from corner to corner that costs least, as the
   first column of each row. Of ways that cost the same, the one from above left is first, that from above second.
   Returns 0 or NO_MEMORY. */
int warp(const float *cost, int64_t n_rows, int64_t n_columns, int64_t *firsts) {
    float *totals = allocate((n_columns + 1) * sizeof(float) + n_rows * n_columns);
    if (!totals) return NO_MEMORY;
    uint8_t *steps = (uint8_t *)(totals + n_columns + 1);
    for (int64_t column = 0; column <= n_columns; column++) totals[column] = column ? INFINITY : 0;
    for (int64_t row = 0; row < n_rows; row++) {
        float above_left = totals[0];
        totals[0] = INFINITY;
        for (int64_t column = 0; column < n_columns; column++) {
            float above = totals[column + 1], left = totals[column], least = above_left;
            uint8_t step = 0;
            if (above < least) least = above, step = 1;
            if (left < least) least = left, step = 2;
            steps[row * n_columns + column] = step;
            totals[column + 1] = cost[row * n_columns + column] + least;
            above_left = above;
        }
    }
    for (int64_t row = n_rows - 1, column = n_columns - 1; row >= 0 && column >= 0;) {
        firsts[row] = column;
        uint8_t step = steps[row * n_columns + column];
        row -= step != 2;
        column -= step != 1;
    }
    free(totals);
    return 0;
}
