/*
 * Residual add on blocked or plain tensors. Blocks of channels that the shortcut does not have are copied; padded
 * channels are zero in both and stay so. A shortcut in another layout is brought into the main path's first.
 */
#include "exec/cpu/cpu.h"

#include <string.h>

static sp_status find_block(struct cpu_model *model, int tensor, int *block, enum cpu_layout *layout,
                            struct sp_error *err)
{
    static const struct {
        enum cpu_layout layout;
        int block;
    } known[] = {{CPU_BLOCKED_16, 16}, {CPU_BLOCKED_8, 8}, {CPU_PLAIN, 1}};
    for (int k = 0; k < 3; k++) {
        struct cpu_md md;
        SP_TRY(cpu_image_md(model, model->images[tensor], known[k].layout, &md, err));
        if (model->flat[tensor] || cpu_md_same(&md, &model->tensors[tensor])) {
            *block = model->flat[tensor] ? 1 : known[k].block;
            *layout = model->flat[tensor] ? CPU_PLAIN : known[k].layout;
            return SP_OK;
        }
    }
    return SP_FAIL(err, SP_E_UNSUPPORTED, "a layout that add does not know");
}

static sp_status compile(struct cpu_model *model, int l, struct sp_error *err)
{
    const struct sp_layer *layer = &model->network->layers[l];
    struct cpu_layer *it = &model->layers[l];
    int x = layer->inputs[0], z = layer->inputs[1];
    enum cpu_layout layout = CPU_PLAIN;
    struct cpu_md same;
    cpu_keep_layout(model, l);
    SP_TRY(find_block(model, x, &it->block, &layout, err));
    if (model->flat[z])
        return SP_OK;
    SP_TRY(cpu_image_md(model, model->images[z], layout, &same, err));
    for (int pass = 0; pass < SP_PASS_COUNT; pass++)
        if (pass != SP_PASS_BACKWARD)
            SP_TRY(cpu_copy_compile(model, it, (enum sp_pass)pass, &model->tensors[z], &same, false,
                                    &it->input_copy[pass], err));
    return cpu_copy_compile(model, it, SP_PASS_BACKWARD, &same, &model->tensors[z], true, &it->input_gradient_copy,
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

static void forward(const struct rows *r, const float *x, const float *z, float *y)
{
    size_t row = (size_t)r->W * r->block;
    for (int n = 0; n < r->N; n++)
        for (int c = 0; c < r->blocks; c++)
            for (int h = 0; h < r->H; h++) {
                size_t at = (((size_t)n * r->blocks + c) * r->H + h) * row;
                if (c >= r->shortcut_blocks) {
                    if (y != x)
                        memcpy(y + at, x + at, sizeof *y * row);
                    continue;
                }
                const float *from = z + shortcut_row(r, n, c, h);
                for (int w = 0; w < r->W; w++)
                    for (int b = 0; b < r->block; b++)
                        y[at + (size_t)w * r->block + b] =
                            x[at + (size_t)w * r->block + b] + from[(size_t)w * r->step * r->block + b];
            }
}

static void backward_shortcut(const struct rows *r, const float *dy, float *dz)
{
    size_t row = (size_t)r->W * r->block;
    memset(dz, 0, sizeof *dz * (size_t)r->N * r->shortcut_blocks * r->shortcut_H * r->shortcut_W * r->block);
    for (int n = 0; n < r->N; n++)
        for (int c = 0; c < r->shortcut_blocks; c++)
            for (int h = 0; h < r->H; h++) {
                const float *from = dy + (((size_t)n * r->blocks + c) * r->H + h) * row;
                float *to = dz + shortcut_row(r, n, c, h);
                for (int w = 0; w < r->W; w++)
                    memcpy(to + (size_t)w * r->step * r->block, from + (size_t)w * r->block,
                           sizeof *to * (size_t)r->block);
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

static sp_status backward(struct cpu_model *model, int l, const struct exec_io *io, struct sp_error *err)
{
    const struct rows r = rows_of(model, l);
    struct cpu_layer *it = &model->layers[l];
    int z = model->network->layers[l].inputs[1];
    if (io->input_gradient[1] != NULL) {
        float *dz = cpu_copy_source(&it->input_gradient_copy, io->input_gradient[1], io);
        backward_shortcut(&r, io->output_gradient, dz);
        clear_padding(&r, model->images[z].c, dz);
        SP_TRY(cpu_copy_out(model, &it->input_gradient_copy, io->input_gradient[1], io, err));
    }
    if (io->input_gradient[0] != NULL && io->input_gradient[0] != io->output_gradient)
        memcpy(io->input_gradient[0], io->output_gradient, cpu_md_bytes(&model->tensors[l + 1]));
    return SP_OK;
}

static sp_status run(struct cpu_model *model, int l, enum sp_pass pass, const struct exec_io *io, struct sp_error *err)
{
    if (pass == SP_PASS_BACKWARD)
        return backward(model, l, io, err);
    const struct rows r = rows_of(model, l);
    const void *z;
    SP_TRY(cpu_copy_in(model, &model->layers[l].input_copy[pass], io->input[1], io, &z, err));
    forward(&r, io->input[0], z, io->output);
    return SP_OK;
}

const struct cpu_kind cpu_add = {compile, run};
