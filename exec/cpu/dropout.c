/*
 * Dropout in the tensor's own layout. `saved` has a byte for each stored element, 1: kept; padded channels are 0.
 * Which element is kept depends on its place in plain order alone, as in the reference.
 */
#include "common/random.h"
#include "exec/cpu/cpu.h"
#include "exec/math/dropout.h"

#include <string.h>

static sp_status compile(struct cpu_model *model, int l, struct sp_error *err)
{
    struct cpu_layer *it = &model->layers[l];
    enum cpu_layout layout;
    if (!cpu_find_block(model, model->network->layers[l].inputs[0], &it->block, &layout)) {
        it->kind = &cpu_plain;
        return cpu_plain.compile(model, l, err);
    }
    cpu_keep_layout(model, l);
    it->saved_bytes = cpu_md_bytes(&model->tensors[l + 1]) / sizeof(float);
    return SP_OK;
}

/* Draws the mask in plain order: (n, c, p), p a pixel. */
static void draw(const struct cpu_model *model, int l, const struct exec_io *io, unsigned char *kept)
{
    const struct cpu_layer *it = &model->layers[l];
    struct sp_shape shape = model->images[l + 1];
    float rate = model->network->layers[l].settings.rate;
    size_t block = (size_t)it->block, pixels = (size_t)shape.h * (size_t)shape.w, C = (size_t)shape.c;
    size_t blocks = (C + block - 1) / block, i = 0;
    uint32_t words[4] = {0};
    if (C % block != 0)
        memset(kept, 0, it->saved_bytes);
    for (size_t n = 0; n < (size_t)io->batch; n++)
        for (size_t c = 0; c < C; c++)
            for (size_t p = 0; p < pixels; p++, i++) {
                if (i % 4 == 0)
                    sp_random_block(io->seed, SP_RANDOM_DROPOUT, io->sequence, (uint32_t)(i / 4), words);
                kept[((n * blocks + c / block) * pixels + p) * block + c % block] =
                    (unsigned char)exec_dropout_keeps(words[i % 4], rate);
            }
}

/* `y` may be `x`. */
VECTORISED static void apply(const unsigned char *kept, const float *x, float *y, size_t count, float scale)
{
#pragma GCC ivdep
    for (size_t i = 0; i < count; i++)
        y[i] = kept[i] ? x[i] * scale : 0;
}

static sp_status run(struct cpu_model *model, int l, enum sp_pass pass, const struct exec_io *io, struct sp_error *err)
{
    (void)err;
    const struct cpu_layer *it = &model->layers[l];
    float scale = 1 / (1 - model->network->layers[l].settings.rate);
    if (pass == SP_PASS_BACKWARD) {
        if (io->input_gradient[0] != NULL)
            apply(io->saved, io->output_gradient, io->input_gradient[0], it->saved_bytes, scale);
    } else if (pass == SP_PASS_FORWARD) {
        draw(model, l, io, io->saved);
        apply(io->saved, io->input[0], io->output, it->saved_bytes, scale);
    } else if (io->output != io->input[0]) {
        memcpy(io->output, io->input[0], sizeof(float) * it->saved_bytes);
    }
    return SP_OK;
}

const struct cpu_kind cpu_dropout = {.compile = compile, .run = run};
