/*
 * Residual add on blocked or plain tensors. Blocks of channels that the shortcut does not have are copied; padded
 * channels are zero in both and stay so. A ReLU behind is done on the way, in both directions. A shortcut in another
 * layout is brought into the main path's first.
 */
#include "exec/cpu/cpu.h"

#include <string.h>

/* Two images; or two tensors of one shape that are laid out in the same way, whatever their layout speaks of. */
bool cpu_add_suits(struct cpu_model *model, int l)
{
    const struct sp_network *network = model->network;
    int x = network->layers[l].inputs[0], z = network->layers[l].inputs[1], block;
    enum cpu_layout layout;
    bool alike = memcmp(&network->shapes[x], &network->shapes[z], sizeof *network->shapes) == 0 &&
                 cpu_md_same(&model->tensors[x], &model->tensors[z]);
    return cpu_find_block(model, x, &block, &layout) && (alike || (cpu_is_image(model, x) && cpu_is_image(model, z)));
}

static sp_status compile(struct cpu_model *model, int l, struct sp_error *err)
{
    const struct sp_layer *layer = &model->network->layers[l];
    struct cpu_layer *it = &model->layers[l];
    int x = layer->inputs[0], z = layer->inputs[1];
    enum cpu_layout layout;
    struct cpu_md same = model->tensors[z];
    cpu_keep_layout(model, l);
    it->with_relu = x != 0 && cpu_relu_follows(model, l);
    (void)cpu_find_block(model, x, &it->block, &layout);
    if (!cpu_md_same(&model->tensors[x], &same))
        SP_TRY(cpu_image_md(model, model->images[z], layout, &same, err));
    for (int pass = 0; pass < SP_PASS_COUNT; pass++)
        if (pass != SP_PASS_BACKWARD)
            SP_TRY(cpu_copy_compile(model, it, (enum sp_pass)pass, &model->tensors[z], &same, false,
                                    &it->shortcut_copy[pass], err));
    return cpu_copy_compile(model, it, SP_PASS_BACKWARD, &same, &model->tensors[z], true, &it->shortcut_gradient_copy,
                            err);
}

/* Rows of blocks: the main path's and the shortcut's geometry. */
struct rows {
    int N, blocks, shortcut_blocks, H, W, shortcut_H, shortcut_W, step, block;
};

static struct rows rows_of(const struct cpu_model *model, int l)
{
    const struct sp_layer *layer = &model->network->layers[l];
    struct sp_shape out = model->images[l + 1], z = model->images[layer->inputs[1]];
    int block = model->layers[l].block;
    return (struct rows){model->batch,
                         (out.c + block - 1) / block,
                         (z.c + block - 1) / block,
                         out.h,
                         out.w,
                         z.h,
                         z.w,
                         layer->settings.stride,
                         block};
}

static size_t shortcut_row(const struct rows *r, int n, int c, int h)
{
    return (((size_t)n * r->shortcut_blocks + c) * r->shortcut_H + (size_t)h * r->step) * r->shortcut_W * r->block;
}

/* One row: what the ReLU lets through of x + z, z every `step` blocks of `block`. */
VECTORISED static void add_row(float *y, const float *x, const float *z, int W, int step, int block, bool relu)
{
    for (int w = 0; w < W; w++)
        for (int b = 0; b < block; b++) {
            float sum = x[w * block + b] + z[w * step * block + b];
            y[w * block + b] = relu && !(sum > 0) ? 0 : sum;
        }
}

/* The same for whole rows that lie one behind another in both. */
VECTORISED static void add_all(float *y, const float *x, const float *z, size_t count, bool relu)
{
    if (relu)
#pragma GCC ivdep
        for (size_t i = 0; i < count; i++)
            y[i] = x[i] + z[i] > 0 ? x[i] + z[i] : 0;
    else
#pragma GCC ivdep
        for (size_t i = 0; i < count; i++)
            y[i] = x[i] + z[i];
}

VECTORISED static void relu_row(float *y, const float *x, size_t count, bool relu)
{
#pragma GCC ivdep
    for (size_t i = 0; i < count; i++)
        y[i] = relu && !(x[i] > 0) ? 0 : x[i];
}

static bool is_whole(const struct rows *r)
{
    return r->step == 1 && r->blocks == r->shortcut_blocks && r->H == r->shortcut_H && r->W == r->shortcut_W;
}

static void forward(const struct rows *r, bool relu, const float *x, const float *z, float *y)
{
    size_t row = (size_t)r->W * (size_t)r->block;
    if (is_whole(r)) {
        add_all(y, x, z, (size_t)r->N * (size_t)r->blocks * (size_t)r->H * row, relu);
        return;
    }
    for (int n = 0; n < r->N; n++)
        for (int c = 0; c < r->blocks; c++)
            for (int h = 0; h < r->H; h++) {
                size_t at = (((size_t)n * r->blocks + c) * r->H + h) * row;
                if (c >= r->shortcut_blocks)
                    relu_row(y + at, x + at, row, relu);
                else
                    add_row(y + at, x + at, z + shortcut_row(r, n, c, h), r->W, r->step, r->block, relu);
            }
}

static void backward_shortcut(const struct rows *r, const float *dy, float *dz)
{
    size_t row = (size_t)r->W * r->block;
    if (is_whole(r)) {
        memcpy(dz, dy, sizeof *dz * (size_t)r->N * r->blocks * r->H * row);
        return;
    }
    memset(dz, 0, sizeof *dz * (size_t)r->N * r->shortcut_blocks * r->shortcut_H * r->shortcut_W * r->block);
    for (int n = 0; n < r->N; n++)
        for (int c = 0; c < r->shortcut_blocks && c < r->blocks; c++)
            for (int h = 0; h < r->H; h++) {
                const float *from = dy + (((size_t)n * r->blocks + c) * r->H + h) * row;
                float *to = dz + shortcut_row(r, n, c, h);
                for (int w = 0; w < r->W; w++)
                    memcpy(to + (size_t)w * r->step * r->block, from + (size_t)w * r->block,
                           sizeof *to * (size_t)r->block);
            }
}

/* The gradient of what went into the ReLU. `to` may be `dy`. */
VECTORISED static void mask(const float *y, const float *dy, float *to, size_t count)
{
#pragma GCC ivdep
    for (size_t i = 0; i < count; i++)
        to[i] = y[i] > 0 ? dy[i] : 0;
}

/* The same into both branches at once. */
VECTORISED static void mask_both(const float *y, const float *dy, float *dx, float *dz, size_t count)
{
#pragma GCC ivdep
    for (size_t i = 0; i < count; i++) {
        float passed = y[i] > 0 ? dy[i] : 0;
        dx[i] = passed;
        dz[i] = passed;
    }
}

/* The shortcut's channels may end within a block of the main path's that has more: those lanes belong to nobody. */
static void clear_padding(const struct rows *r, int channels, float *dz)
{
    int used = channels % r->block;
    size_t pixels = (size_t)r->shortcut_H * r->shortcut_W;
    for (int n = 0; n < r->N && used > 0; n++) {
        float *last = dz + ((size_t)n * r->shortcut_blocks + r->shortcut_blocks - 1) * pixels * r->block;
        for (size_t p = 0; p < pixels; p++)
            memset(last + p * r->block + used, 0, sizeof *last * (size_t)(r->block - used));
    }
}

/* Without a ReLU the main path's gradient is the output's; with one it is masked, in place where the plan says so. */
static sp_status backward(struct cpu_model *model, int l, const struct exec_io *io, struct sp_error *err)
{
    const struct rows r = rows_of(model, l);
    struct cpu_layer *it = &model->layers[l];
    int z = model->network->layers[l].inputs[1];
    size_t bytes = cpu_md_bytes(&model->tensors[l + 1]);
    float *dx = io->input_gradient[0];
    float *dz = cpu_copy_source(&it->shortcut_gradient_copy, io->input_gradient[1], io);
    SP_ASSERT(!it->with_relu || dx != NULL, "layer %d: the main path wants no gradient", l);
    if (it->with_relu && dz != NULL && is_whole(&r)) {
        mask_both(io->output, io->output_gradient, dx, dz, bytes / sizeof(float));
    } else {
        if (it->with_relu)
            mask(io->output, io->output_gradient, dx, bytes / sizeof(float));
        else if (dx != NULL && dx != io->output_gradient)
            memcpy(dx, io->output_gradient, bytes);
        if (dz != NULL)
            backward_shortcut(&r, it->with_relu ? dx : io->output_gradient, dz);
    }
    if (dz == NULL)
        return SP_OK;
    clear_padding(&r, model->images[z].c, dz);
    return cpu_copy_out(model, &it->shortcut_gradient_copy, io->input_gradient[1], io, err);
}

static sp_status run(struct cpu_model *model, int l, enum sp_pass pass, const struct exec_io *io, struct sp_error *err)
{
    if (pass == SP_PASS_BACKWARD)
        return backward(model, l, io, err);
    const struct rows r = rows_of(model, l);
    const void *z;
    SP_TRY(cpu_copy_in(model, &model->layers[l].shortcut_copy[pass], io->input[1], io, &z, err));
    forward(&r, model->layers[l].with_relu, io->input[0], z, io->output);
    return SP_OK;
}

const struct cpu_kind cpu_add = {.compile = compile, .run = run};
