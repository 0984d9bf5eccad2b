/*
 * Max pooling on tensors whose channels lie in blocks: all channels of a block at once, and one byte for each stored
 * output that says which element of its window it was. The library's own takes four to ten times as long without
 * vectors of 512 bits. Plain layouts and windows of more than 255 elements are the library's.
 *
 * Padded channels are zero and stay zero. Of equals the first is taken, as in the reference.
 */
#include "exec/cpu/cpu.h"

#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum { LANES = 8 }; /* blocks are multiples of it */
typedef float lanes __attribute__((vector_size(32), aligned(4)));
typedef int32_t lane_bits __attribute__((vector_size(32), aligned(4)));
typedef uint8_t marks __attribute__((vector_size(8), aligned(1)));

struct geometry {
    int H, W, P, Q, K, stride, pad; /* input H x W, output P x Q */
    size_t images, block;           /* images of one block of channels each */
};

static struct geometry geometry_of(const struct cpu_model *model, int l)
{
    const struct sp_layer *layer = &model->network->layers[l];
    size_t block = (size_t)model->layers[l].block;
    return (struct geometry){.H = layer->in.h,
                             .W = layer->in.w,
                             .P = layer->out.h,
                             .Q = layer->out.w,
                             .K = layer->settings.kernel,
                             .stride = layer->settings.stride,
                             .pad = layer->settings.pad,
                             .images = (size_t)model->batch * (((size_t)layer->in.c + block - 1) / block),
                             .block = block};
}

/* The part of a window that lies within the image: rows r0 to r1 and columns s0 to s1, ends excluded. */
struct window {
    int r0, r1, s0, s1;
    int h, w; /* of its element (0, 0), which may lie outside */
};

INLINE int at_least(int a, int b)
{
    return a > b ? a : b;
}

INLINE int at_most(int a, int b)
{
    return a < b ? a : b;
}

INLINE struct window window_of(const struct geometry *g, int p, int q)
{
    int h = p * g->stride - g->pad, w = q * g->stride - g->pad;
    return (struct window){at_least(0, -h), at_most(g->K, g->H - h), at_least(0, -w), at_most(g->K, g->W - w), h, w};
}

INLINE size_t element(const struct geometry *g, struct window it, int r, int s)
{
    return ((size_t)(it.h + r) * (size_t)g->W + (size_t)(it.w + s)) * g->block;
}

/* The low bytes of eight lanes, one behind another. */
INLINE void write_marks(lane_bits where, uint8_t *mark)
{
    typedef uint8_t bytes __attribute__((vector_size(32)));
    const bytes low = {0, 4, 8, 12, 16, 20, 24, 28};
    bytes packed = __builtin_shuffle((bytes)where, low);
    memcpy(mark, &packed, LANES);
}

/* Eight channels of one output; K is the window's, known where it is common. */
INLINE void pool_one(const struct geometry *g, int K, struct window it, const float *x, float *y, uint8_t *mark)
{
    lanes best = *(const lanes *)(x + element(g, it, it.r0, it.s0));
    lane_bits where = (lane_bits){0} + (it.r0 * K + it.s0);
    for (int r = it.r0; r < it.r1; r++) {
        lane_bits here = (lane_bits){0} + (r * K + it.s0);
        for (int s = it.s0; s < it.s1; s++, here += 1) {
            lanes value = *(const lanes *)(x + element(g, it, r, s));
            lane_bits larger = value > best;
            best = (lanes)((larger & (lane_bits)value) | (~larger & (lane_bits)best));
            where = (larger & here) | (~larger & where);
        }
    }
    *(lanes *)y = best;
    if (mark != NULL)
        write_marks(where, mark);
}

/* The gradient of eight channels of one output goes where its maximum was. With `apart`, windows do not overlap. */
INLINE void spread_one(const struct geometry *g, int K, struct window it, bool apart, const float *dy,
                       const uint8_t *mark, float *dx)
{
    lane_bits gradient = *(const lane_bits *)dy, where = __builtin_convertvector(*(const marks *)mark, lane_bits);
    for (int r = it.r0; r < it.r1; r++) {
        lane_bits here = (lane_bits){0} + (r * K + it.s0);
        for (int s = it.s0; s < it.s1; s++, here += 1) {
            lanes *to = (lanes *)(dx + element(g, it, r, s)), part = (lanes)((where == here) & gradient);
            *to = apart ? part : *to + part;
        }
    }
}

static bool is_whole(struct window it, int K)
{
    return it.r0 == 0 && it.s0 == 0 && it.r1 == K && it.s1 == K;
}

/* `mark` may be NULL. */
VECTORISED static void forward(const struct geometry *g, const float *x, float *y, uint8_t *mark)
{
    const struct window two = {.r1 = 2, .s1 = 2};
    size_t image = (size_t)g->H * (size_t)g->W * g->block, at = 0;
    for (size_t i = 0; i < g->images; i++, x += image)
        for (int p = 0; p < g->P; p++)
            for (int q = 0; q < g->Q; q++) {
                struct window it = window_of(g, p, q);
                bool common = g->K == 2 && is_whole(it, 2);
                const float *from = x + (common ? element(g, it, 0, 0) : 0);
                for (size_t c = 0; c < g->block; c += LANES, at += LANES)
                    if (common)
                        pool_one(g, 2, two, from + c, y + at, mark == NULL ? NULL : mark + at);
                    else
                        pool_one(g, g->K, it, from + c, y + at, mark == NULL ? NULL : mark + at);
            }
}

VECTORISED static void backward(const struct geometry *g, bool apart, const float *dy, const uint8_t *mark, float *dx)
{
    const struct window two = {.r1 = 2, .s1 = 2};
    size_t image = (size_t)g->H * (size_t)g->W * g->block, at = 0;
    for (size_t i = 0; i < g->images; i++, dx += image)
        for (int p = 0; p < g->P; p++)
            for (int q = 0; q < g->Q; q++) {
                struct window it = window_of(g, p, q);
                bool common = apart && g->K == 2 && is_whole(it, 2);
                float *to = dx + (common ? element(g, it, 0, 0) : 0);
                for (size_t c = 0; c < g->block; c += LANES, at += LANES)
                    if (common)
                        spread_one(g, 2, two, true, dy + at, mark + at, to + c);
                    else
                        spread_one(g, g->K, it, apart, dy + at, mark + at, to + c);
            }
}

static sp_status compile(struct cpu_model *model, int l, struct sp_error *err)
{
    const struct sp_layer *layer = &model->network->layers[l];
    struct cpu_layer *it = &model->layers[l];
    int x = layer->inputs[0], K = layer->settings.kernel;
    enum cpu_layout layout;
    if (!cpu_find_block(model, x, &it->block, &layout) || it->block % LANES != 0 || K * K > UINT8_MAX) {
        it->kind = &cpu_pool;
        return cpu_pool.compile(model, l, err);
    }
    SP_TRY(cpu_image_md(model, layer->out, layout, &model->tensors[l + 1], err));
    it->saved_bytes = cpu_md_bytes(&model->tensors[l + 1]) / sizeof(float);
    return SP_OK;
}

static sp_status run(struct cpu_model *model, int l, enum sp_pass pass, const struct exec_io *io, struct sp_error *err)
{
    (void)err;
    struct geometry g = geometry_of(model, l);
    bool apart = g.stride >= g.K && g.pad == 0;
    bool covered = apart && g.stride == g.K && g.P * g.K == g.H && g.Q * g.K == g.W;
    if (pass != SP_PASS_BACKWARD) {
        forward(&g, io->input[0], io->output, pass == SP_PASS_FORWARD ? io->saved : NULL);
    } else if (io->input_gradient[0] != NULL) {
        if (!covered)
            memset(io->input_gradient[0], 0, cpu_md_bytes(&model->tensors[model->network->layers[l].inputs[0]]));
        backward(&g, apart, io->output_gradient, io->saved, io->input_gradient[0]);
    }
    return SP_OK;
}

const struct cpu_kind cpu_max_pool = {.compile = compile, .run = run};
