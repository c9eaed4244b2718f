/* The layers of Whisper's encoder: int8 matrices, float32 between them. Attention multiplies in bfloat16 where there
   are tiles, else in 16 bits. */

#include "matrices.h"
#include "short_attention.h"
#include "tiled_attention.h"

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
    packed_head *heads; /* n_head */
    uint8_t *packs;     /* what they point to: room_of_head of each */
    float *out;
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
        const float *keys = kept_of(h, 0, head) + h->s->first * HEAD;
        const float *values = kept_of(h, 1, head) + h->s->first * HEAD;
        h->heads[head] = pack_head(keys, values, n_keys, h->packs + head * room_of_head(n_keys));
    }
}

#define QUERIES (96 / ASKING * ASKING) /* of one head in a piece of work */

static void attend_part(const hearing *h, int64_t head, int64_t row, void *room) {
    int64_t n_state = h->l->n_state, n_rows = smaller(QUERIES, h->s->n - row);
    const float *query = h->qkv + row * 3 * n_state + head * HEAD;
    float *out = h->out + row * n_state + head * HEAD;
    asked_by_many a = {h->heads + head, h->s->n_silent, h->s->weight, room};
    for (int64_t first = 0; first < n_rows; first += ASKING, query += ASKING * 3 * n_state, out += ASKING * n_state)
        attend_by_many(&a, query, 3 * n_state, smaller(ASKING, n_rows - first), out, n_state);
}

static void attend_parts(void *of, int64_t first, int64_t end) {
    hearing *h = of;
    int64_t n_keys = h->s->start + h->s->n - h->s->first, n_parts = (h->s->n + QUERIES - 1) / QUERIES;
    void *room = allocate(room_to_ask(n_keys));
    if (!room) {
        h->failed = 1;
        return;
    }
    begin_tiles();
    for (int64_t part = first; part < end; part++) attend_part(h, part / n_parts, part % n_parts * QUERIES, room);
    end_tiles();
    free(room);
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
    int64_t wide = larger(3 * n, 4 * together), packs = l->n_head * room_of_head(n_keys);
    int64_t room = whole_lines(larger(room_of(n, n_state), room_of(together, 4 * n_state))),
            of_heads = l->n_head * sizeof(packed_head);
    float *normed = allocate((n + wide) * n_state * sizeof(float) + packs + of_heads + room);
    if (!normed) return NO_MEMORY;
    float *broad = normed + n * n_state;
    uint8_t *packed = (uint8_t *)(broad + wide * n_state), *rest = packed + packs;
    packed_head *heads = (packed_head *)(rest + room);
    gather(threads);
    normalise_all(&l->attn_norm, s->x, n, n_state, normed);
    multiply_with(&l->qkv, normed, n, KEEP, broad, rest);
    hearing h = {l, s, broad, heads, packed, normed, 0};
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
