/* Whisper's encoder up to its first layer: two convolutions. By tiles they multiply in bfloat16, else in 16 bits. */

#include "shorts.h"
#include "team.h"
#include "tiles.h"

/* Over three frames. Weights in 16 bits (n_out / WIDTH, 3 * n_in / 2, WIDTH, 2), counted in units of each output; or in
   bfloat16 (n_out / SQUARE, BLOCKS, 2, TILE, TILE, 2), where each block has as much of three frames as the row of a
   tile, and each unit is 1. */
typedef struct {
    const void *weights;
    const float *units, *bias;
    int64_t n_in, n_out, stride;
} convolution;

#if HAS_TILES
typedef bfloat number;
#define OUTPUTS SQUARE
#else
typedef int16_t number;
#define OUTPUTS WIDTH
#endif

typedef struct {
    const convolution *c;
    const number *frames; /* as many as `y` needs, with one before them and one behind */
    float unit;           /* of their numbers */
    int64_t n;
    float *y; /* (n, n_out) */
} convolving;

#define FRAMES 96 /* of a block of outputs in a piece of work: some of MOST_ROWS, of SQUARE */

INLINE void finish_row(const convolving *c, const float *sums, int64_t row, int64_t first) {
    const float *units = c->c->units + first, *bias = c->c->bias + first;
    float *y = c->y + row * c->c->n_out + first;
    for (int i = 0; i < OUTPUTS; i += LANES) {
        vector unit = c->unit * *(const vector *)(units + i);
        *(vector *)(y + i) = gelu(*(const vector *)(sums + i) * unit + *(const vector *)(bias + i));
    }
}

#if HAS_TILES
INLINE int64_t blocks_of(int64_t n_in) { return (3 * n_in + BFLOATS - 1) / BFLOATS; }

/* Frames that are looked at for n of these outputs: those of whole tiles. */
INLINE int64_t frames_for(const convolution *c, int64_t n) {
    return ((n + SQUARE - 1) / SQUARE * SQUARE) * c->stride + 3;
}

static void convolve_some(const convolving *c, int64_t first, int64_t begin, int64_t stop) {
    float sums[SQUARE][SQUARE] __attribute__((aligned(64)));
    int64_t n_in = c->c->n_in, n = blocks_of(n_in), row_bytes = c->c->stride * n_in * (int64_t)sizeof(bfloat);
    tiles right = {(const bfloat *)c->c->weights + first * n * BFLOATS, TILE_ROW, TILE_BYTES, 2 * TILE_BYTES};
    begin_tiles();
    for (int64_t row = begin; row < stop; row += SQUARE) {
        tiles left = {c->frames + row * c->c->stride * n_in, row_bytes, TILE * row_bytes, TILE_ROW};
        multiply_tiles(&left, &right, n, stop - row <= TILE, sums, sizeof sums[0], OF_BFLOATS);
        for (int64_t i = 0; i < smaller(SQUARE, stop - row); i++) finish_row(c, sums[i], row + i, first);
    }
    end_tiles();
}
#else
INLINE int64_t frames_for(const convolution *c, int64_t n) { return n * c->stride + 2; }

INLINE void convolve_rows(const convolving *c, int64_t first, int64_t row, const int rows) {
    vector sums[MOST_ROWS][COLUMNS];
    int64_t step = c->c->stride * c->c->n_in, n = 3 * c->c->n_in;
    add_up_shorts(c->frames + row * step, step, (const int16_t *)c->c->weights + first * n, n, sums, rows);
    for (int i = 0; i < rows; i++) finish_row(c, (const float *)sums[i], row + i, first);
}

static void convolve_some(const convolving *c, int64_t first, int64_t begin, int64_t stop) {
    for (int64_t row = begin; row < stop; row += MOST_ROWS) {
        int rows = (int)smaller(MOST_ROWS, stop - row);
        WITH_ROWS(rows, convolve_rows, c, first, row)
    }
}
#endif

static void convolve_parts(void *of, int64_t first, int64_t end) {
    const convolving *c = of;
    int64_t n_blocks = c->c->n_out / OUTPUTS;
    for (int64_t part = first; part < end; part++) {
        int64_t begin = part / n_blocks * FRAMES;
        convolve_some(c, part % n_blocks * OUTPUTS, begin, smaller(begin + FRAMES, c->n));
    }
}

/* What n numbers are counted in. */
INLINE float unit_of(const float *x, int64_t n) { return HAS_TILES ? 1.0f : 1.0f / scale_to(LEFT_MOST, x, n); }

INLINE void copy_frames(const float *x, int64_t n, float unit, number *frames) {
#if HAS_TILES
    (void)unit;
    round_to_bfloats(x, n, frames);
#else
    round_to_shorts(x, n, 1.0f / unit, frames);
#endif
}

static void convolve(const convolution *of, const number *frames, float unit, int64_t n, float *y) {
    convolving c = {of, frames, unit, n, y};
    share(convolve_parts, &c, (n + FRAMES - 1) / FRAMES * (of->n_out / OUTPUTS), 1);
}

/* Log-mel (n_mels, 2 * n) of any frames → what the first layer hears (n, n_state), with `positions` (n, n_state) added.
   Returns 0 or NO_MEMORY. */
int embed(
    const convolution *first, const convolution *second, const float *mel, const float *positions, int64_t n, float *x,
    int64_t threads) {
    int64_t n_mels = first->n_in, n_state = second->n_in, n_frames = 2 * n;
    int64_t of_mel = frames_for(first, n_frames) * n_mels, of_felt = frames_for(second, n) * n_state;
    float *felt = allocate(n_frames * n_state * sizeof(float) + larger(of_mel, of_felt) * sizeof(number));
    if (!felt) return NO_MEMORY;
    number *frames = (number *)(felt + n_frames * n_state);
    float unit = unit_of(mel, n_mels * n_frames);
    memset(frames, 0, of_mel * sizeof(number));
    for (int64_t frame = 0; frame < n_frames; frame++) {
        for (int64_t i = 0; i < n_mels; i++) felt[i] = mel[i * n_frames + frame];
        copy_frames(felt, n_mels, unit, frames + (frame + 1) * n_mels);
    }
    gather(threads);
    convolve(first, frames, unit, n_frames, felt);
    memset(frames, 0, of_felt * sizeof(number));
    unit = unit_of(felt, n_frames * n_state);
    copy_frames(felt, n_frames * n_state, unit, frames + n_state);
    convolve(second, frames, unit, n, x);
    disband();
    for (int64_t i = 0; i < n * n_state; i++) x[i] += positions[i];
    free(felt);
    return 0;
}
