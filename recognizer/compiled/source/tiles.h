/* Products by AMX, where the set of instructions has it. A tile has 16 rows of 64 bytes, and two of them give sums of
   16 rows and 16 columns (Intel, "Architecture Instruction Set Extensions Programming Reference", chapter 3). */

#pragma once

#include "numbers.h"

#define TILE 16     /* rows, and columns of sums */
#define TILE_ROW 64 /* bytes: 64 of int8, 32 of bfloat16 */
#define TILE_BYTES (TILE * TILE_ROW)
#define SQUARE (2 * TILE) /* rows and columns that are multiplied at once: two tiles each way */

#if defined(__AMX_INT8__) && defined(__AMX_BF16__) && defined(__AVX512BF16__)
#define HAS_TILES 1

enum { OF_BFLOATS, OF_BYTES }; /* what is multiplied */

#define BFLOATS (TILE_ROW / (int64_t)sizeof(bfloat)) /* in the row of a tile */

/* Tiles of one factor, so many bytes apart: rows of a tile, the second of two tiles, the next two. In those of the
   right one, a row has what is multiplied with the same four bytes of the left one. */
typedef struct {
    const void *first;
    int64_t row, other, next;
} tiles;

INLINE const uint8_t *at(const tiles *of, int64_t index) { return (const uint8_t *)of->first + index * of->next; }

/* The compiler does not know that instructions of tiles read and write memory. */
#define MEMORY_IS_READ __asm__ volatile("" ::: "memory")

/* A thread that multiplies tiles says so, and that it has done so: until then each of its switches copies them. */
INLINE void begin_tiles(void) {
    static const struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } all_whole = {1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};
    _tile_loadconfig(&all_whole);
}

INLINE void end_tiles(void) { _tile_release(); }

#define MULTIPLY(sum, left, right) \
    if (kind == OF_BYTES) \
        _tile_dpbusd(sum, left, right); \
    else \
        _tile_dpbf16ps(sum, left, right);

/* Sums (SQUARE, SQUARE), int32 or float, rows so many bytes apart, of n tiles; with `is_half`, of the first TILE rows
   only. */
INLINE void multiply_tiles(
    const tiles *left, const tiles *right, int64_t n, int is_half, void *sums, int64_t sums_row, const int kind) {
    MEMORY_IS_READ;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t i = 0; i < n; i++) {
        const uint8_t *a = at(left, i), *b = at(right, i);
        _tile_loadd(6, b, right->row);
        _tile_loadd(4, a, left->row);
        MULTIPLY(0, 4, 6)
        _tile_loadd(7, b + right->other, right->row);
        MULTIPLY(1, 4, 7)
        if (is_half) continue;
        _tile_loadd(5, a + left->other, left->row);
        MULTIPLY(2, 5, 6)
        MULTIPLY(3, 5, 7)
    }
    uint8_t *to = sums;
    _tile_stored(0, to, sums_row);
    _tile_stored(1, to + 4 * TILE, sums_row);
    if (!is_half) {
        _tile_stored(2, to + TILE * sums_row, sums_row);
        _tile_stored(3, to + TILE * sums_row + 4 * TILE, sums_row);
    }
    MEMORY_IS_READ;
}

/* 16 numbers, rounded to bfloat16. */
INLINE __m256i rounded(__m512 x) { return (__m256i)_mm512_cvtneps_pbh(x); }

/* 16 numbers of each, side by side: the first of both, then the second. */
INLINE __m512i interleaved(__m512 x, __m512 y) {
    __m512i low = _mm512_cvtepu16_epi32(rounded(x)), high = _mm512_cvtepu16_epi32(rounded(y));
    return _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}

#else
#define HAS_TILES 0

INLINE void begin_tiles(void) {}
INLINE void end_tiles(void) {}
#endif
