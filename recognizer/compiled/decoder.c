/* Whisper's decoder: int8 matrices, float32 between them.

   Compiled by build.py for each set of instructions that it names, and called through ctypes. A step of a few
   hypotheses is bound by the reading of its weights, so each matrix lies in the order in which it is read.
   The arithmetic of the matrices is that of int8.py, to the bit up to the last rounding. */

#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__AVX512VNNI__)
#define LANES 16
#define BLOCK 64    /* outputs whose weights lie together */
#define MOST_ROWS 6 /* as many as there are registers for */
#elif defined(__AVX2__) && defined(__FMA__)
#define LANES 8
#define BLOCK 16
#define MOST_ROWS 5
#else
#error "needs AVX-512 with VNNI, or AVX2 and FMA"
#endif

#define HEAD 64 /* of every Whisper model */
#define PARTS (HEAD / LANES)
#define INLINE static inline __attribute__((always_inline))

typedef float vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

/* Weights (n_out / BLOCK, n_in / 4, BLOCK, 4), the last block filled up with zeros. `scales_rows`: each row of what
   comes in is divided by its loudest. */
typedef struct {
    const int8_t *weights;
    const float *scales; /* n_out, filled up */
    const int32_t *sums; /* of each output's weights, filled up */
    const float *bias;   /* n_out, filled up */
    int64_t n_in, n_out, scales_rows;
} matrix;

typedef struct {
    const float *weight, *bias;
    double eps;
} norm;

typedef struct {
    norm attn_norm, cross_norm, mlp_norm;
    matrix qkv, attn_out, cross_query, cross_out, rise, fall;
} layer;

/* What a layer listens to: (n_head, n, HEAD), heads so many floats apart. */
typedef struct {
    const float *keys, *values;
    int64_t keys_stride, values_stride, n;
} heard;

typedef struct {
    const float *embedding, *positions;
    const layer *layers;
    norm last_norm;
    matrix vocabulary;
    const int64_t *alignment; /* (n_alignment, 2): layer and head */
    int64_t n_alignment;
    int64_t n_layer, n_state, n_head, n_ctx, n_rows; /* of the memory */
} decoder;

enum { NO_MEMORY = 1, IMPOSSIBLE = 2 }; /* what functions return that cannot do it */

int64_t outputs_of_a_block(void) { return BLOCK; }

/* --- numbers ------------------------------------------------------------------------------ */

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

/* With the error function of Abramowitz and Stegun, 7.1.26: off by at most 1.5e-7. */
INLINE float gelu(float x) {
    float z = fabsf(x) * 0.70710678f;
    float t = 1.0f / (1.0f + 0.3275911f * z);
    float p = 1.061405429f;
    p = p * t - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    float erf = 1.0f - p * t * exponential(-z * z);
    return 0.5f * x * (1.0f + (x < 0 ? -erf : erf));
}

static void normalise(const norm *of, const float *x, int64_t n_rows, int64_t n, float *y) {
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

static void softmax(float *x, int64_t n) {
    float most = largest(x, n), sum = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i] = exponential(x[i] - most);
    for (int64_t i = 0; i < n; i++) x[i] *= 1.0f / sum;
}

/* --- matrices ------------------------------------------------------------------------------ */

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

/* x (n_rows, n) → q; where `loudest` is given, each row is divided by its own, which is put there. */
static quantisation quantise(float *x, int64_t n_rows, int64_t n, float *loudest, uint8_t *q) {
    float least = 0, most = 0;
    for (int64_t row = 0; row < n_rows; row++) {
        float *values = x + row * n, low = smallest(values, n), high = largest(values, n);
        if (loudest) {
            float peak = fmaxf(fmaxf(high, -low), 1e-6f);
            loudest[row] = peak;
            for (int64_t i = 0; i < n; i++) values[i] /= peak;
            low /= peak, high /= peak;
        }
        least = fminf(least, low), most = fmaxf(most, high);
    }
    quantisation range = range_of(least, most);
    float inverse = 1.0f / range.scale;
    for (int64_t i = 0; i < n_rows * n; i++) {
        int32_t value = (int32_t)rintf(fmaf(x[i], inverse, (float)range.zero));
        q[i] = (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
    }
    return range;
}

/* Sums of products of `rows` rows of q with a block of outputs. */
#if LANES == 16
INLINE void dots(const int8_t *weights, const uint8_t *q, int64_t n_in, const int rows, int32_t sums[][BLOCK]) {
    __m512i sum[MOST_ROWS][4];
    for (int row = 0; row < rows; row++)
        for (int part = 0; part < 4; part++) sum[row][part] = _mm512_setzero_si512();
    for (int64_t k = 0; k < n_in; k += 4, weights += 4 * BLOCK) {
        __m512i w[4];
        for (int part = 0; part < 4; part++) {
            _mm_prefetch((const char *)weights + 64 * part + 3072, _MM_HINT_T0);
            w[part] = _mm512_loadu_si512(weights + 64 * part);
        }
        for (int row = 0; row < rows; row++) {
            int32_t four;
            memcpy(&four, q + row * n_in + k, 4);
            __m512i in = _mm512_set1_epi32(four);
            for (int part = 0; part < 4; part++) sum[row][part] = _mm512_dpbusd_epi32(sum[row][part], in, w[part]);
        }
    }
    for (int row = 0; row < rows; row++)
        for (int part = 0; part < 4; part++) _mm512_storeu_si512(sums[row] + 16 * part, sum[row][part]);
}
#else
INLINE void dots(const int8_t *weights, const uint8_t *q, int64_t n_in, const int rows, int32_t sums[][BLOCK]) {
    __m256i sum[MOST_ROWS][2], ones = _mm256_set1_epi16(1);
    for (int row = 0; row < rows; row++) sum[row][0] = sum[row][1] = _mm256_setzero_si256();
    for (int64_t k = 0; k < n_in; k += 4, weights += 4 * BLOCK) {
        __m256i w[2];
        for (int part = 0; part < 2; part++) {
            _mm_prefetch((const char *)weights + 32 * part + 2048, _MM_HINT_T0);
            w[part] = _mm256_loadu_si256((const __m256i *)(weights + 32 * part));
        }
        for (int row = 0; row < rows; row++) {
            int32_t four;
            memcpy(&four, q + row * n_in + k, 4);
            __m256i in = _mm256_set1_epi32(four);
            for (int part = 0; part < 2; part++) /* two products fit into 16 bits, as weights have 7 */
                sum[row][part] =
                    _mm256_add_epi32(sum[row][part], _mm256_madd_epi16(_mm256_maddubs_epi16(in, w[part]), ones));
        }
    }
    for (int row = 0; row < rows; row++)
        for (int part = 0; part < 2; part++) _mm256_storeu_si256((__m256i *)(sums[row] + 8 * part), sum[row][part]);
}
#endif

static void dots_of(const int8_t *weights, const uint8_t *q, int64_t n_in, int rows, int32_t sums[][BLOCK]) {
    switch (rows) { /* each with its own registers */
    case 1:
        dots(weights, q, n_in, 1, sums);
        break;
    case 2:
        dots(weights, q, n_in, 2, sums);
        break;
    case 3:
        dots(weights, q, n_in, 3, sums);
        break;
    case 4:
        dots(weights, q, n_in, 4, sums);
        break;
    case 5:
        dots(weights, q, n_in, 5, sums);
        break;
#if MOST_ROWS > 5
    case 6:
        dots(weights, q, n_in, 6, sums);
        break;
#endif
    }
}

/* x (n_rows, n_in), which is changed → y (n_rows, n_out). `q` has room for all of x, `loudest` for its rows. */
static void multiply_with(const matrix *m, float *x, int64_t n_rows, float *y, uint8_t *q, float *loudest) {
    quantisation range = quantise(x, n_rows, m->n_in, m->scales_rows ? loudest : NULL, q);
    int32_t sums[MOST_ROWS][BLOCK];
    for (int64_t first = 0; first < m->n_out; first += BLOCK) {
        int64_t width = m->n_out - first < BLOCK ? m->n_out - first : BLOCK;
        const float *scales = m->scales + first, *bias = m->bias + first;
        const int32_t *of_weights = m->sums + first;
        for (int64_t row = 0; row < n_rows; row += MOST_ROWS) {
            int rows = n_rows - row < MOST_ROWS ? (int)(n_rows - row) : MOST_ROWS;
            dots_of(m->weights + first * m->n_in, q + row * m->n_in, m->n_in, rows, sums);
            for (int r = 0; r < rows; r++) {
                float *out = y + (row + r) * m->n_out + first;
                float scale = range.scale, louder = m->scales_rows ? loudest[row + r] : 1.0f, whole[BLOCK];
                for (int i = 0; i < BLOCK; i++)
                    whole[i] =
                        (float)(sums[r][i] - range.zero * of_weights[i]) * (scale * scales[i]) * louder + bias[i];
                memcpy(out, whole, width * sizeof(float));
            }
        }
    }
}

/* x (n_rows, n_in) → y (n_rows, n_out); 0 or NO_MEMORY. */
int multiply(const matrix *m, const float *x, int64_t n_rows, float *y) {
    int64_t n = n_rows * m->n_in;
    float *copy = malloc(n * (sizeof(float) + 1) + n_rows * sizeof(float));
    if (!copy) return NO_MEMORY;
    memcpy(copy, x, n * sizeof(float));
    float *loudest = copy + n;
    multiply_with(m, copy, n_rows, y, (uint8_t *)(loudest + n_rows), loudest);
    free(copy);
    return 0;
}

/* --- attention ------------------------------------------------------------------------------ */

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

/* One head of `rows` queries, `query_stride` floats apart, over n keys and values (n, HEAD) → out, likewise.
   `scores` has room for rows * n; what they are before the softmax is told where it is asked for. */
INLINE void attend_with(
    const float *query, int64_t query_stride, const float *keys, const float *values, int64_t n, const int rows,
    float *scores, float *told, float *out, int64_t out_stride) {
    vector q[MOST_ROWS][PARTS];
    for (int row = 0; row < rows; row++)
        for (int part = 0; part < PARTS; part++)
            q[row][part] = *(const vector *)(query + row * query_stride + part * LANES) * 0.125f; /* 1 / √HEAD */
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int row = 0; row < rows; row++) *(vector *)(scores + row * n + i) = products(q[row], keys + i * HEAD);
    for (; i < n; i++)
        for (int row = 0; row < rows; row++) scores[row * n + i] = product(q[row], keys + i * HEAD);
    if (told) memcpy(told, scores, rows * n * sizeof(float));
    vector mixed[MOST_ROWS][PARTS];
    for (int row = 0; row < rows; row++) {
        softmax(scores + row * n, n);
        for (int part = 0; part < PARTS; part++) mixed[row][part] = (vector){0};
    }
    for (i = 0; i < n; i++) {
        vector value[PARTS];
        for (int part = 0; part < PARTS; part++) value[part] = *(const vector *)(values + i * HEAD + part * LANES);
        for (int row = 0; row < rows; row++)
            for (int part = 0; part < PARTS; part++) mixed[row][part] += scores[row * n + i] * value[part];
    }
    for (int row = 0; row < rows; row++)
        for (int part = 0; part < PARTS; part++) *(vector *)(out + row * out_stride + part * LANES) = mixed[row][part];
}

static void attend(
    const float *query, int64_t query_stride, const float *keys, const float *values, int64_t n, int64_t n_rows,
    float *scores, float *told, float *out, int64_t out_stride) {
    int64_t row = 0, rows = 1;
    for (; row < n_rows; row += rows) {
        const float *asked = query + row * query_stride;
        float *to = told ? told + row * n : NULL, *answer = out + row * out_stride;
        rows = 1;
#if LANES == 16
        if (row + 5 <= n_rows) {
            attend_with(asked, query_stride, keys, values, n, 5, scores, to, answer, out_stride);
            rows = 5;
            continue;
        }
#endif
        attend_with(asked, query_stride, keys, values, n, 1, scores, to, answer, out_stride);
    }
}

/* --- the decoder ------------------------------------------------------------------------------ */

static void add(float *x, const float *more, int64_t n) {
    for (int64_t i = 0; i < n; i++) x[i] += more[i];
}

/* What tokens are computed for: one more of each of n hypotheses, all at position `offset` (`is_text` 0), or n of one
   text, which begin there. `memory` (n_layer, 2, n_rows, n_head, n_ctx, HEAD) has keys and values of the tokens before,
   and gets these; a text is in its first row. `sounds`: what each layer listens to. */
typedef struct {
    const int64_t *tokens;
    float *memory;
    const heard *sounds;
    int64_t n, offset, is_text;
} task;

/* What a layer's tokens tell each other: keys and values of qkv (n, 3 * n_state) are remembered. */
static void
attend_to_text(const decoder *d, const task *of, int64_t layer, const float *qkv, float *scores, float *out) {
    int64_t n_state = d->n_state, of_head = d->n_ctx * HEAD, of_row = d->n_head * of_head;
    float *keys = of->memory + 2 * layer * d->n_rows * of_row, *values = keys + d->n_rows * of_row;
    for (int64_t row = 0; row < of->n; row++)
        for (int64_t head = 0; head < d->n_head; head++) {
            int64_t first = (of->is_text ? 0 : row) * of_row + head * of_head;
            int64_t place = of->offset + (of->is_text ? row : 0);
            const float *query = qkv + row * 3 * n_state + head * HEAD;
            memcpy(keys + first + place * HEAD, query + n_state, HEAD * sizeof(float));
            memcpy(values + first + place * HEAD, query + 2 * n_state, HEAD * sizeof(float));
            attend(
                query, 0, keys + first, values + first, place + 1, 1, scores, NULL, out + row * n_state + head * HEAD,
                0);
        }
}

/* What they hear. `told` (n_alignment, n, n of the sound) gets the scores of the alignment heads. */
static void attend_to_sound(
    const decoder *d, const task *of, int64_t layer, const float *query, float *scores, float *told, float *out) {
    const heard *sound = of->sounds + layer;
    for (int64_t head = 0; head < d->n_head; head++) {
        float *place = NULL;
        for (int64_t i = 0; told && i < d->n_alignment; i++)
            if (d->alignment[2 * i] == layer && d->alignment[2 * i + 1] == head) place = told + i * of->n * sound->n;
        attend(
            query + head * HEAD, d->n_state, sound->keys + head * sound->keys_stride,
            sound->values + head * sound->values_stride, sound->n, of->n, scores, place, out + head * HEAD, d->n_state);
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

/* Logits (n_places, n_vocab) of those rows; `told` as of attend_to_sound, or NULL. Returns 0, NO_MEMORY or IMPOSSIBLE.
 */
int run(const decoder *d, const task *of, const int64_t *places, int64_t n_places, float *logits, float *told) {
    if (!is_possible(d, of, places, n_places)) return IMPOSSIBLE;
    int64_t n = of->n, n_state = d->n_state, size = n * n_state, longest = of->offset + n;
    for (int64_t index = 0; index < d->n_layer; index++)
        longest = of->sounds[index].n > longest ? of->sounds[index].n : longest;
    float *x = malloc((6 * size + MOST_ROWS * longest + n) * sizeof(float) + 4 * size);
    if (!x) return NO_MEMORY;
    float *normed = x + size, *wide = normed + size, *scores = wide + 4 * size, *loudest = scores + MOST_ROWS * longest;
    uint8_t *q = (uint8_t *)(loudest + n);
    for (int64_t row = 0; row < n; row++) {
        const float *position = d->positions + (of->offset + (of->is_text ? row : 0)) * n_state;
        for (int64_t i = 0; i < n_state; i++)
            x[row * n_state + i] = d->embedding[of->tokens[row] * n_state + i] + position[i];
    }
    for (int64_t index = 0; index < d->n_layer; index++) {
        const layer *here = d->layers + index;
        normalise(&here->attn_norm, x, n, n_state, normed);
        multiply_with(&here->qkv, normed, n, wide, q, loudest);
        attend_to_text(d, of, index, wide, scores, normed);
        multiply_with(&here->attn_out, normed, n, wide, q, loudest);
        add(x, wide, size);
        normalise(&here->cross_norm, x, n, n_state, normed);
        multiply_with(&here->cross_query, normed, n, wide, q, loudest);
        attend_to_sound(d, of, index, wide, scores, told, normed);
        multiply_with(&here->cross_out, normed, n, wide, q, loudest);
        add(x, wide, size);
        normalise(&here->mlp_norm, x, n, n_state, normed);
        multiply_with(&here->rise, normed, n, wide, q, loudest);
        for (int64_t i = 0; i < 4 * size; i++) wide[i] = gelu(wide[i]);
        multiply_with(&here->fall, wide, n, normed, q, loudest);
        add(x, normed, size);
    }
    if (n_places) {
        for (int64_t place = 0; place < n_places; place++)
            normalise(&d->last_norm, x + places[place] * n_state, 1, n_state, normed + place * n_state);
        multiply_with(&d->vocabulary, normed, n_places, logits, q, loudest);
    }
    free(x);
    return 0;
}

/* Row i of the memory goes on from what row sources[i] of n had, from token `first` up to `end`. Returns as `run`. */
int rearrange(const decoder *d, float *memory, const int64_t *sources, int64_t n, int64_t first, int64_t end) {
    int64_t size = (end - first) * HEAD, of_head = d->n_ctx * HEAD, of_row = d->n_head * of_head;
    if (n > d->n_rows || first < 0 || end > d->n_ctx || first > end) return IMPOSSIBLE;
    for (int64_t row = 0; row < n; row++)
        if (sources[row] < 0 || sources[row] >= n) return IMPOSSIBLE;
    float *before = malloc(n * size * sizeof(float) + 1);
    if (!before) return NO_MEMORY;
    for (int64_t half = 0; half < 2 * d->n_layer; half++)
        for (int64_t head = 0; head < d->n_head; head++) {
            float *rows = memory + half * d->n_rows * of_row + head * of_head + first * HEAD;
            for (int64_t row = 0; row < n; row++)
                memcpy(before + row * size, rows + row * of_row, size * sizeof(float));
            for (int64_t row = 0; row < n; row++)
                if (sources[row] != row)
                    memcpy(rows + row * of_row, before + sources[row] * size, size * sizeof(float));
        }
    free(before);
    return 0;
}

/* Of each row of logits (n_rows, n) the k best log-probabilities and where they are, best first. */
void best(const float *logits, int64_t n_rows, int64_t n, int64_t k, float *values, int64_t *indices) {
    for (int64_t row = 0; row < n_rows; row++, logits += n, values += k, indices += k) {
        float most = largest(logits, n), sum = 0;
        for (int64_t i = 0; i < n; i++) sum += exponential(logits[i] - most);
        for (int64_t place = 0; place < k; place++) values[place] = -INFINITY, indices[place] = 0;
        for (int64_t first = 0; first < n; first += BLOCK) {
            int64_t end = first + BLOCK < n ? first + BLOCK : n;
            if (!(largest(logits + first, end - first) > values[k - 1])) continue;
            for (int64_t i = first; i < end; i++) {
                int64_t place = k;
                while (place && logits[i] > values[place - 1]) place--;
                if (place == k) continue;
                memmove(values + place + 1, values + place, (k - 1 - place) * sizeof(float));
                memmove(indices + place + 1, indices + place, (k - 1 - place) * sizeof(int64_t));
                values[place] = logits[i], indices[place] = i;
            }
        }
        for (int64_t place = 0; place < k; place++) values[place] -= most + logf(sum);
    }
}

/* Dynamic time warping: the path through `cost` (n_rows, n_columns) from corner to corner that costs least, as the
   first column of each row. Of ways that cost the same, the one from above left is first, that from above second.
   Returns 0 or NO_MEMORY. */
int warp(const float *cost, int64_t n_rows, int64_t n_columns, int64_t *firsts) {
    float *totals = malloc((n_columns + 1) * sizeof(float) + n_rows * n_columns);
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
