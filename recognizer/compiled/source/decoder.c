/* Whisper's decoder: int8 matrices, float32 between them. Called through ctypes. */

#include "attention.h"
#include "matrices.h"
#include "vocabulary.h"

typedef struct {
    norm attn_norm, cross_norm, mlp_norm;
    matrix qkv, attn_out, cross_query, cross_out, rise, fall;
} layer;

/* What a layer listens to, in bfloat16, as a step takes as long as reading it: packs of n keys (n_head,
   padded(n) / WIDTH, HEAD, WIDTH), and values (n_head, n, HEAD), heads so many numbers apart. */
typedef struct {
    const bfloat *packs, *values;
    int64_t values_stride, n;
} heard;

typedef struct {
    const float *positions;
    const layer *layers;
    norm last_norm;
    vocabulary vocabulary;
    const int64_t *alignment; /* (n_alignment, 2): layer and head */
    int64_t n_alignment;
    int64_t n_layer, n_state, n_head, n_ctx, n_rows; /* of the memory */
} decoder;

int64_t width(void) { return WIDTH; }

/* Four weights whose products are added: two neighbours, and the two that stand four inputs later. What is too large is
   taken from the latter; returns whether there is anything. */
static int take_excess(int8_t *weights, int8_t *excess) {
    int8_t *later = weights + 4 * WIDTH;
    int is_any = 0;
    for (int sign = -1; sign <= 1; sign += 2) {
        int a = sign * later[0], b = sign * later[1], sum = larger(sign * weights[0], 0) + larger(sign * weights[1], 0);
        int over = sum + (int)larger(a, 0) + (int)larger(b, 0) - MOST_TOGETHER;
        if (over <= 0) continue;
        is_any = 1;
        if (!excess) continue;
        int first = (int)smaller(over, larger(a, 0));
        excess[0] += sign * first, excess[1] += sign * (over - first);
    }
    if (is_any && excess) later[0] -= excess[0], later[1] -= excess[1];
    return is_any;
}

/* Take what is too large to be added in 16 bits out of weights as a matrix has them → its outliers, as FBGEMM does
   (Khudia et al., 2021, arXiv 2101.05615). Returns how many there are; without room for them it only counts. */
int64_t take_out(int8_t *weights, int64_t n_blocks, int64_t n_in, int8_t *outliers, int32_t *inputs, int32_t *before) {
    int64_t n = 0;
    for (int64_t block = 0; HAS_OUTLIERS && block < n_blocks; block++) {
        if (outliers) before[block] = (int32_t)n;
        for (int64_t k = 0; k < n_in; k += 8, weights += 8 * WIDTH) {
            int8_t *here = outliers ? outliers + n * 4 * WIDTH : NULL;
            int is_any = 0;
            for (int i = 0; i < 4 * WIDTH; i += 2) is_any |= take_excess(weights + i, here ? here + i : NULL);
            if (is_any && outliers) inputs[n] = (int32_t)k + 4;
            n += is_any;
        }
    }
    if (outliers) before[n_blocks] = (int32_t)n;
    return n;
}

/* x (n_rows, n_in) → y (n_rows, n_out); 0 or NO_MEMORY. */
int multiply(const matrix *m, const float *x, int64_t n_rows, float *y, int64_t threads) {
    void *room = allocate(room_of(n_rows, m->n_in));
    if (!room) return NO_MEMORY;
    gather(threads);
    multiply_with(m, x, n_rows, KEEP, y, room);
    disband();
    free(room);
    return 0;
}

/* The same of the vocabulary: logits. */
int weigh_vocabulary(const vocabulary *v, const float *x, int64_t n_rows, float *logits, int64_t threads) {
    void *room = allocate(room_to_foretell(v, n_rows));
    if (!room) return NO_MEMORY;
    gather(threads);
    foretell(v, x, n_rows, logits, room);
    disband();
    free(room);
    return 0;
}

/* --- attention of one query ------------------------------------------------------------------------------ */

#define PARTS (HEAD / LANES)

/* The sums of LANES vectors, side by side: neighbours are added, then neighbours of these. */
#if LANES == 16
INLINE __m512 totals(const vector *x) {
    __m512 fours[4];
    for (int i = 0; i < 4; i++) {
        __m512 a = x[4 * i], b = x[4 * i + 1], c = x[4 * i + 2], d = x[4 * i + 3];
        __m512d ab = _mm512_castps_pd(_mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b)));
        __m512d cd = _mm512_castps_pd(_mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d)));
        fours[i] =
            _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd)), _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd)));
    }
    __m512 eights[2];
    for (int i = 0; i < 2; i++)
        eights[i] = _mm512_add_ps(
            _mm512_shuffle_f32x4(fours[2 * i], fours[2 * i + 1], 0x88),
            _mm512_shuffle_f32x4(fours[2 * i], fours[2 * i + 1], 0xdd));
    return _mm512_add_ps(
        _mm512_shuffle_f32x4(eights[0], eights[1], 0x88), _mm512_shuffle_f32x4(eights[0], eights[1], 0xdd));
}
#else
INLINE __m256 totals(const vector *x) {
    __m256 low = _mm256_hadd_ps(_mm256_hadd_ps(x[0], x[1]), _mm256_hadd_ps(x[2], x[3]));
    __m256 high = _mm256_hadd_ps(_mm256_hadd_ps(x[4], x[5]), _mm256_hadd_ps(x[6], x[7]));
    return _mm256_add_ps(_mm256_permute2f128_ps(low, high, 0x20), _mm256_permute2f128_ps(low, high, 0x31));
}
#endif

/* The products of a query with LANES keys. */
INLINE vector products(const vector *query, const float *keys) {
    vector sums[LANES];
    for (int i = 0; i < LANES; i++) {
        sums[i] = query[0] * *(const vector *)(keys + i * HEAD);
        for (int part = 1; part < PARTS; part++)
            sums[i] += query[part] * *(const vector *)(keys + i * HEAD + part * LANES);
    }
    return (vector)totals(sums);
}

INLINE float product(const vector *query, const float *key) {
    float sum = 0;
    for (int i = 0; i < HEAD; i++) sum += ((const float *)query)[i] * key[i];
    return sum;
}

/* One head of a query over n keys and values (n, HEAD) → out. `scores` has room for n. */
static void attend_alone(
    const float *query, const float *keys, const float *values, int64_t n, float *scores, float *out) {
    vector q[PARTS], mixed[PARTS];
    for (int part = 0; part < PARTS; part++)
        q[part] = *(const vector *)(query + part * LANES) * 0.125f, mixed[part] = (vector){0}; /* 1 / √HEAD */
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) *(vector *)(scores + i) = products(q, keys + i * HEAD);
    for (; i < n; i++) scores[i] = product(q, keys + i * HEAD);
    float whole = soften(scores, n);
    for (i = 0; i < n; i++)
        for (int part = 0; part < PARTS; part++)
            mixed[part] += scores[i] * *(const vector *)(values + i * HEAD + part * LANES);
    for (int part = 0; part < PARTS; part++) *(vector *)(out + part * LANES) = mixed[part] / whole;
}

/* What a layer is to listen to: keys (n_head, n, HEAD), heads so many numbers apart → packs of heard. */
void pack(const bfloat *keys, int64_t keys_stride, int64_t n_head, int64_t n, bfloat *packs) {
    for (int64_t head = 0; head < n_head; head++)
        pack_keys(keys + head * keys_stride, n, packs + head * padded(n) * HEAD);
}

/* --- the decoder ------------------------------------------------------------------------------ */

/* What tokens are computed for: one more of each of n hypotheses, all at position `offset` (`is_text` 0), or n of one
   text, which begin there. `memory` (n_layer, 2, n_rows, n_head, n_ctx, HEAD) has keys and values of the tokens before,
   and gets these; a text is in its first row. `sounds`: what each layer listens to. */
typedef struct {
    const int64_t *tokens;
    float *memory;
    const heard *sounds;
    int64_t n, offset, is_text;
} task;

typedef struct {
    const float *both; /* (n, 2 * n_head * HEAD) */
    int64_t n, n_head, is_packed;
    bfloat *keys, *values;
} splitting;

static void split_heads(void *of, int64_t first, int64_t end) {
    const splitting *s = of;
    bfloat some[WIDTH * HEAD];
    int64_t n_kept = s->is_packed ? padded(s->n) : s->n;
    for (int64_t head = first; head < end; head++) /* of keys, then of values */
        for (int64_t begin = 0; begin < s->n; begin += WIDTH) {
            int64_t n = smaller(WIDTH, s->n - begin);
            for (int64_t row = 0; row < n; row++)
                round_to_bfloats(s->both + ((begin + row) * 2 * s->n_head + head) * HEAD, HEAD, some + row * HEAD);
            if (head >= s->n_head)
                memcpy(s->values + ((head - s->n_head) * s->n + begin) * HEAD, some, n * HEAD * sizeof(bfloat));
            else if (s->is_packed)
                pack_keys(some, n, s->keys + (head * n_kept + begin) * HEAD);
            else
                memcpy(s->keys + (head * n_kept + begin) * HEAD, some, n * HEAD * sizeof(bfloat));
        }
}

/* Sound (n, n_in) → keys of it for each layer (n_matrices, n_head, n, HEAD), or packs of them (n_matrices, n_head,
   padded(n) / WIDTH, HEAD, WIDTH), and values (n_matrices, n_head, n, HEAD), in bfloat16. Returns 0 or NO_MEMORY. */
int listen_to(
    const matrix *matrices, int64_t n_matrices, const float *sound, int64_t n, int64_t n_head, int64_t is_packed,
    bfloat *keys, bfloat *values, int64_t threads) {
    int64_t made = n * matrices->n_out, of_values = n * n_head * HEAD;
    int64_t of_keys = (is_packed ? padded(n) : n) * n_head * HEAD;
    float *both = allocate(made * sizeof(float) + room_of(n, matrices->n_in));
    if (!both) return NO_MEMORY;
    gather(threads);
    incoming in = taken(matrices, sound, n, both + made);
    for (int64_t index = 0; index < n_matrices; index++) {
        multiply_taken(matrices + index, &in, n, KEEP, both);
        splitting s = {both, n, n_head, is_packed, keys + index * of_keys, values + index * of_values};
        share(split_heads, &s, 2 * n_head, 1);
    }
    disband();
    free(both);
    return 0;
}

/* A layer's attention, head by head. `scores` has room for `n_scores` of each. */
typedef struct {
    const decoder *d;
    const task *of;
    int64_t layer;
    const float *query;
    float *scores;
    int64_t n_scores;
    float *told, *out;
} attending;

/* What a layer's tokens tell each other: keys and values of qkv (n, 3 * n_state) are remembered. */
static void attend_to_text(void *of_heads, int64_t first_head, int64_t end_head) {
    const attending *a = of_heads;
    const decoder *d = a->d;
    const task *of = a->of;
    int64_t n_state = d->n_state, of_head = d->n_ctx * HEAD, of_row = d->n_head * of_head;
    float *keys = of->memory + 2 * a->layer * d->n_rows * of_row, *values = keys + d->n_rows * of_row;
    for (int64_t head = first_head; head < end_head; head++)
        for (int64_t row = 0; row < of->n; row++) {
            int64_t first = (of->is_text ? 0 : row) * of_row + head * of_head;
            int64_t place = of->offset + (of->is_text ? row : 0);
            const float *query = a->query + row * 3 * n_state + head * HEAD;
            memcpy(keys + first + place * HEAD, query + n_state, HEAD * sizeof(float));
            memcpy(values + first + place * HEAD, query + 2 * n_state, HEAD * sizeof(float));
            attend_alone(
                query, keys + first, values + first, place + 1, a->scores + head * a->n_scores,
                a->out + row * n_state + head * HEAD);
        }
}

/* What they hear. `told` (n_alignment, n, n of the sound) gets the scores of the alignment heads. */
static void attend_to_sound(void *of_heads, int64_t first_head, int64_t end_head) {
    const attending *a = of_heads;
    const decoder *d = a->d;
    const heard *sound = a->of->sounds + a->layer;
    for (int64_t head = first_head; head < end_head; head++) {
        float *told = NULL;
        for (int64_t i = 0; a->told && i < d->n_alignment; i++)
            if (d->alignment[2 * i] == a->layer && d->alignment[2 * i + 1] == head)
                told = a->told + i * a->of->n * sound->n;
        const bfloat *packs = sound->packs + head * padded(sound->n) * HEAD;
        const bfloat *values = sound->values + head * sound->values_stride;
        asked of = {packs, values, sound->n, a->scores + head * a->n_scores, padded(sound->n)};
        attend(&of, a->query + head * HEAD, d->n_state, a->of->n, told, a->out + head * HEAD, d->n_state);
    }
}

/* Whether the memory has room for it, and all numbers are of something. */
static int is_possible(const decoder *d, const task *of, const int64_t *places, int64_t n_places) {
    if (of->n < 1 || of->offset < 0 || of->offset + (of->is_text ? of->n : 1) > d->n_ctx) return 0;
    if (!of->is_text && of->n > d->n_rows) return 0;
    for (int64_t row = 0; row < of->n; row++)
        if (of->tokens[row] < 0 || of->tokens[row] >= d->vocabulary.n_out) return 0;
    for (int64_t place = 0; place < n_places; place++)
        if (places[place] < 0 || places[place] >= of->n) return 0;
    return n_places <= of->n;
}

/* What is worked with: x (n, n_state) between the layers, and room. */
typedef struct {
    float *x, *normed, *wide, *scores;
    int64_t n_scores;
    void *room;
} desk;

/* Tokens at their positions, of which so many are foretold at once; 0 or NO_MEMORY. Whoever has it frees x. */
static int begin(const decoder *d, const task *of, int64_t n_foretold, desk *at) {
    int64_t n = of->n, n_state = d->n_state, size = n * n_state, n_scores = of->offset + n;
    for (int64_t index = 0; index < d->n_layer; index++)
        n_scores = larger(n_scores, MOST_ROWS * padded(of->sounds[index].n));
    int64_t room = larger(room_of(n, 4 * n_state), room_to_foretell(&d->vocabulary, n_foretold));
    float *x = allocate((6 * size + d->n_head * n_scores) * sizeof(float) + room);
    if (!x) return NO_MEMORY;
    float *scores = x + 6 * size;
    *at = (desk){x, x + size, x + 2 * size, scores, n_scores, scores + d->n_head * n_scores};
    for (int64_t row = 0; row < n; row++) {
        const float *position = d->positions + (of->offset + (of->is_text ? row : 0)) * n_state;
        embed_token(&d->vocabulary, of->tokens[row], position, x + row * n_state);
    }
    return 0;
}

/* x → what leaves the last layer; `told` as of attend_to_sound, or NULL. */
static void pass_layers(const decoder *d, const task *of, const desk *at, float *told) {
    int64_t n = of->n, n_state = d->n_state;
    float *x = at->x, *normed = at->normed, *wide = at->wide;
    for (int64_t index = 0; index < d->n_layer; index++) {
        const layer *here = d->layers + index;
        attending a = {d, of, index, wide, at->scores, at->n_scores, told, normed};
        normalise(&here->attn_norm, x, n, n_state, normed);
        multiply_with(&here->qkv, normed, n, KEEP, wide, at->room);
        share(attend_to_text, &a, d->n_head, 1);
        multiply_with(&here->attn_out, normed, n, ADD, x, at->room);
        normalise(&here->cross_norm, x, n, n_state, normed);
        multiply_with(&here->cross_query, normed, n, KEEP, wide, at->room);
        share(attend_to_sound, &a, d->n_head, 1);
        multiply_with(&here->cross_out, normed, n, ADD, x, at->room);
        normalise(&here->mlp_norm, x, n, n_state, normed);
        multiply_with(&here->rise, normed, n, GELU, wide, at->room);
        multiply_with(&here->fall, wide, n, ADD, x, at->room);
    }
}

/* Logits (n_places, n_vocab) of those rows; `told` as of attend_to_sound, or NULL. Returns 0, NO_MEMORY or IMPOSSIBLE.
 */
int run(
    const decoder *d, const task *of, const int64_t *places, int64_t n_places, float *logits, float *told,
    int64_t threads) {
    desk at;
    if (!is_possible(d, of, places, n_places)) return IMPOSSIBLE;
    if (begin(d, of, n_places, &at)) return NO_MEMORY;
    gather(threads);
    pass_layers(d, of, &at, told);
    if (n_places) {
        for (int64_t place = 0; place < n_places; place++)
            normalise(&d->last_norm, at.x + places[place] * d->n_state, 1, d->n_state, at.normed + place * d->n_state);
        foretell(&d->vocabulary, at.normed, n_places, logits, at.room);
    }
    disband();
    free(at.x);
    return 0;
}

typedef struct {
    const float *logits; /* (n, n_vocab) */
    int64_t n_vocab, n_among;
    const int64_t *tokens;
    float *logprobs;
} weighing;

static void weigh_rows(void *of, int64_t first, int64_t end) {
    const weighing *w = of;
    for (int64_t row = first; row < end; row++) {
        const float *logits = w->logits + row * w->n_vocab;
        w->logprobs[row] = logits[w->tokens[row]] - log_sum(logits, w->n_among);
    }
}

#define READ_AT_ONCE TILE /* tokens whose logits are there: of all of a long text they would be tens of megabytes */

/* Log-probabilities of a text's tokens from `first` up to `end`, each behind those before it and among the first
   `n_among` of the vocabulary; `told` and what is returned as of `run`. */
int read_back(
    const decoder *d, const task *of, int64_t first, int64_t end, int64_t n_among, float *logprobs, float *told,
    int64_t threads) {
    int64_t n_vocab = d->vocabulary.n_out, n_state = d->n_state, n_rows = end - first;
    desk at;
    if (!is_possible(d, of, NULL, 0) || first < 1 || first >= end || end > of->n) return IMPOSSIBLE;
    for (int64_t token = first; token < end; token++)
        if (of->tokens[token] >= smaller(n_among, n_vocab)) return IMPOSSIBLE;
    int64_t n_foretold = smaller(READ_AT_ONCE, n_rows);
    float *logits = allocate(n_foretold * n_vocab * sizeof(float));
    if (!logits || begin(d, of, n_foretold, &at)) {
        free(logits);
        return NO_MEMORY;
    }
    gather(threads);
    pass_layers(d, of, &at, told);
    normalise(&d->last_norm, at.x + (first - 1) * n_state, n_rows, n_state, at.normed);
    for (int64_t row = 0; row < n_rows; row += READ_AT_ONCE) {
        int64_t n = smaller(n_foretold, n_rows - row);
        const float *x = at.normed + row * n_state;
        foretell(&d->vocabulary, x, n, logits, at.room);
        for (int64_t i = 0; i < n; i++) {
            const float *of_row = x + i * n_state;
            int64_t token = of->tokens[first + row + i];
            logits[i * n_vocab + token] = logit_of(&d->vocabulary, of_row, share_of(&d->vocabulary, of_row), token);
        }
        weighing w = {logits, n_vocab, smaller(n_among, n_vocab), of->tokens + first + row, logprobs + row};
        share(weigh_rows, &w, n, 1);
    }
    disband();
    free(at.x);
    free(logits);
    return 0;
}

typedef struct {
    const decoder *d;
    float *memory;
    const int64_t *sources;
    int64_t n, first, end;
    float *before; /* of each head, n of what is moved */
} moving;

static void move_heads(void *of, int64_t first_head, int64_t end_head) {
    const moving *m = of;
    int64_t size = (m->end - m->first) * HEAD, of_head = m->d->n_ctx * HEAD, of_row = m->d->n_head * of_head;
    for (int64_t head = first_head; head < end_head; head++) {
        float *before = m->before + head * m->n * size;
        for (int64_t half = 0; half < 2 * m->d->n_layer; half++) {
            float *rows = m->memory + half * m->d->n_rows * of_row + head * of_head + m->first * HEAD;
            for (int64_t row = 0; row < m->n; row++)
                memcpy(before + row * size, rows + row * of_row, size * sizeof(float));
            for (int64_t row = 0; row < m->n; row++)
                if (m->sources[row] != row)
                    memcpy(rows + row * of_row, before + m->sources[row] * size, size * sizeof(float));
        }
    }
}

/* Row i of the memory goes on from what row sources[i] of n had, from token `first` up to `end`. Returns as `run`. */
int rearrange(
    const decoder *d, float *memory, const int64_t *sources, int64_t n, int64_t first, int64_t end, int64_t threads) {
    if (n > d->n_rows || first < 0 || end > d->n_ctx || first > end) return IMPOSSIBLE;
    for (int64_t row = 0; row < n; row++)
        if (sources[row] < 0 || sources[row] >= n) return IMPOSSIBLE;
    float *before = allocate(d->n_head * n * (end - first) * HEAD * sizeof(float) + 1);
    if (!before) return NO_MEMORY;
    moving m = {d, memory, sources, n, first, end, before};
    gather(threads);
    share(move_heads, &m, d->n_head, 1);
    disband();
    free(before);
    return 0;
}

typedef struct {
    const float *logits;
    int64_t n, k;
    float *values;
    int64_t *indices;
} choosing;

static void choose_rows(void *of, int64_t first_row, int64_t end_row) {
    const choosing *c = of;
    for (int64_t row = first_row; row < end_row; row++) {
        const float *logits = c->logits + row * c->n;
        float *values = c->values + row * c->k, whole = log_sum(logits, c->n);
        int64_t *indices = c->indices + row * c->k;
        for (int64_t place = 0; place < c->k; place++) values[place] = -INFINITY, indices[place] = 0;
        for (int64_t first = 0; first < c->n; first += WIDTH) {
            int64_t end = smaller(first + WIDTH, c->n);
            if (!(largest(logits + first, end - first) > values[c->k - 1])) continue;
            for (int64_t i = first; i < end; i++) {
                int64_t place = c->k;
                while (place && logits[i] > values[place - 1]) place--;
                if (place == c->k) continue;
                memmove(values + place + 1, values + place, (c->k - 1 - place) * sizeof(float));
                memmove(indices + place + 1, indices + place, (c->k - 1 - place) * sizeof(int64_t));
                values[place] = logits[i], indices[place] = i;
            }
        }
        for (int64_t place = 0; place < c->k; place++) values[place] -= whole;
    }
}

/* Of each row of logits (n_rows, n) the k best log-probabilities and where they are, best first. */
void best(const float *logits, int64_t n_rows, int64_t n, int64_t k, float *values, int64_t *indices, int64_t threads) {
    choosing c = {logits, n, k, values, indices};
    gather(threads);
    share(choose_rows, &c, n_rows, 1);
    disband();
}
