/* Whisper's encoder: convolutions in float32, then layers with int8 matrices and float32 between them. */

#include "attention.h"
#include "matrices.h"

#define TOGETHER 256 /* positions between two large matrices, which stay in the processor's cache (layers.py) */

typedef struct {
    norm attn_norm, mlp_norm;
    matrix qkv, out, rise, fall;
    int64_t n_state, n_head;
} layer;

/* Positions (n, n_state) of sound, and keys and values of what was heard before (2, n_head, n_kept, HEAD), which get
   theirs from `start` on. They ask those from `first` on up to their own, of which the first `n_silent` count
   e^`weight` times. */
typedef struct {
    float *x, *kept;
    int64_t n, n_kept, start, first, n_silent;
    float weight;
} sound;

typedef struct {
    const layer *l;
    const sound *s;
    const float *qkv;
    float *packs, *out;
    _Atomic int failed;
} hearing;

INLINE float *kept_of(const hearing *h, int64_t half, int64_t head) {
    return h->s->kept + (half * h->l->n_head + head) * h->s->n_kept * HEAD;
}

static void keep_heads(void *of, int64_t first, int64_t end) {
    hearing *h = of;
    int64_t n_state = h->l->n_state, n_keys = h->s->start + h->s->n - h->s->first;
    for (int64_t head = first; head < end; head++) {
        for (int64_t half = 0; half < 2; half++)
            for (int64_t row = 0; row < h->s->n; row++)
                memcpy(
                    kept_of(h, half, head) + (h->s->start + row) * HEAD,
                    h->qkv + row * 3 * n_state + (half + 1) * n_state + head * HEAD, HEAD * sizeof(float));
        pack_keys(kept_of(h, 0, head) + h->s->first * HEAD, n_keys, h->packs + head * padded(n_keys) * HEAD);
    }
}

#define QUERIES (16 * MOST_ROWS) /* of one head at once */

static void attend_parts(void *of, int64_t first, int64_t end) {
    hearing *h = of;
    int64_t n_state = h->l->n_state, n_keys = h->s->start + h->s->n - h->s->first;
    int64_t n_parts = (h->s->n + QUERIES - 1) / QUERIES;
    float *scores = allocate(MOST_ROWS * padded(n_keys) * sizeof(float));
    if (!scores) {
        h->failed = 1;
        return;
    }
    for (int64_t part = first; part < end; part++) {
        int64_t head = part / n_parts, row = part % n_parts * QUERIES;
        asked a = {
            h->packs + head * padded(n_keys) * HEAD,
            kept_of(h, 1, head) + h->s->first * HEAD,
            n_keys,
            h->s->n_silent,
            h->s->weight,
            scores,
            padded(n_keys)};
        const float *query = h->qkv + row * 3 * n_state + head * HEAD;
        attend(
            &a, query, 3 * n_state, smaller(QUERIES, h->s->n - row), NULL, h->out + row * n_state + head * HEAD,
            n_state);
    }
    free(scores);
}

typedef struct {
    const norm *of;
    const float *x;
    int64_t n;
    float *y;
} normalising;

static void normalise_rows(void *of, int64_t first, int64_t end) {
    const normalising *n = of;
    normalise(n->of, n->x + first * n->n, end - first, n->n, n->y + first * n->n);
}

static void normalise_all(const norm *of, const float *x, int64_t n_rows, int64_t n, float *y) {
    normalising all = {of, x, n, y};
    share(normalise_rows, &all, n_rows, ROWS_AT_ONCE);
}

static int is_possible(const sound *s) {
    int64_t n_keys = s->start + s->n - s->first;
    return s->n > 0 && s->first >= 0 && s->start >= s->first && s->start + s->n <= s->n_kept && s->n_silent >= 0 &&
           s->n_silent <= n_keys;
}

/* x becomes what the next layer hears. Returns 0, NO_MEMORY (then x is of no use) or IMPOSSIBLE. */
int hear(const layer *l, const sound *s, int64_t threads) {
    if (!is_possible(s)) return IMPOSSIBLE;
    int64_t n = s->n, n_state = l->n_state, n_keys = s->start + n - s->first, together = smaller(n, TOGETHER);
    int64_t wide = larger(3 * n, 4 * together), packs = l->n_head * padded(n_keys) * HEAD;
    int64_t room = larger(room_of(n, n_state), room_of(together, 4 * n_state));
    float *normed = allocate((n * n_state + wide * n_state + packs) * sizeof(float) + room);
    if (!normed) return NO_MEMORY;
    float *broad = normed + n * n_state, *packed = broad + wide * n_state, *rest = packed + packs;
    gather(threads);
    normalise_all(&l->attn_norm, s->x, n, n_state, normed);
    multiply_with(&l->qkv, normed, n, KEEP, broad, rest);
    hearing h = {l, s, broad, packed, normed, 0};
    share(keep_heads, &h, l->n_head, 1);
    share(attend_parts, &h, l->n_head * ((n + QUERIES - 1) / QUERIES), 1);
    multiply_with(&l->out, normed, n, ADD, s->x, rest);
    for (int64_t first = 0; first < n; first += TOGETHER) {
        int64_t rows = smaller(TOGETHER, n - first);
        float *x = s->x + first * n_state;
        normalise_all(&l->mlp_norm, x, rows, n_state, normed);
        multiply_with(&l->rise, normed, rows, GELU, broad, rest);
        multiply_with(&l->fall, broad, rows, ADD, x, rest);
    }
    disband();
    free(normed);
    return h.failed ? NO_MEMORY : 0;
}

/* Over three frames. Weights (n_out / WIDTH, 3 * n_in, WIDTH). */
typedef struct {
    const float *weights, *bias;
    int64_t n_in, n_out, stride;
} convolution;

typedef struct {
    const convolution *c;
    const float *frames; /* as many as `y` needs, with one before them and one behind */
    int64_t n;
    float *y; /* (n, n_out) */
} convolving;

#define FRAMES (8 * MOST_ROWS) /* of a block of outputs at once */

INLINE void convolve_rows(const convolving *c, int64_t block, int64_t first, const int rows) {
    vector sums[MOST_ROWS][COLUMNS];
    int64_t step = c->c->stride * c->c->n_in, n = 3 * c->c->n_in, n_out = c->c->n_out;
    add_up(c->frames + first * step, step, c->c->weights + block * n * WIDTH, n, sums, rows);
    for (int row = 0; row < rows; row++) {
        const float *whole = (const float *)sums[row], *bias = c->c->bias + block * WIDTH;
        float *y = c->y + (first + row) * n_out + block * WIDTH;
        for (int i = 0; i < WIDTH; i++) y[i] = gelu(whole[i] + bias[i]);
    }
}

static void convolve_parts(void *of, int64_t first, int64_t end) {
    const convolving *c = of;
    int64_t n_blocks = c->c->n_out / WIDTH;
    for (int64_t part = first; part < end; part++) {
        int64_t block = part % n_blocks, begin = part / n_blocks * FRAMES, stop = smaller(begin + FRAMES, c->n);
        for (int64_t row = begin; row < stop; row += MOST_ROWS) {
            int rows = (int)smaller(MOST_ROWS, stop - row);
            WITH_ROWS(rows, convolve_rows, c, block, row)
        }
    }
}

static void convolve(const convolution *of, const float *frames, int64_t n, float *y) {
    convolving c = {of, frames, n, y};
    share(convolve_parts, &c, (n + FRAMES - 1) / FRAMES * (of->n_out / WIDTH), 1);
}

/* Log-mel (n_mels, 2 * n) of any frames → what the first layer hears (n, n_state), with `positions` (n, n_state) added.
   Returns 0 or NO_MEMORY. */
int embed(
    const convolution *first, const convolution *second, const float *mel, const float *positions, int64_t n, float *x,
    int64_t threads) {
    int64_t n_mels = first->n_in, n_state = second->n_in, n_frames = 2 * n;
    float *frames = allocate((n_frames + 2) * (n_mels + n_state) * sizeof(float));
    if (!frames) return NO_MEMORY;
    float *felt = frames + (n_frames + 2) * n_mels, *last = felt + (n_frames + 1) * n_state;
    memset(frames, 0, n_mels * sizeof(float));
    memset(
        felt - n_mels, 0,
        (n_mels + n_state) * sizeof(float)); /* behind the last of one, before the first of the other */
    memset(last, 0, n_state * sizeof(float));
    for (int64_t frame = 0; frame < n_frames; frame++)
        for (int64_t i = 0; i < n_mels; i++) frames[(frame + 1) * n_mels + i] = mel[i * n_frames + frame];
    gather(threads);
    convolve(first, frames, n_frames, felt + n_state);
    convolve(second, felt, n, x);
    disband();
    for (int64_t i = 0; i < n * n_state; i++) x[i] += positions[i];
    free(frames);
    return 0;
}
