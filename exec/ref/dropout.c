#include "common/random.h"
#include "exec/math/dropout.h"
#include "exec/ref/ref.h"

#include <string.h>

static size_t count_of(const struct sp_layer *layer, const struct exec_io *io)
{
    return (size_t)sp_shape_elements(layer->out) * (size_t)io->batch;
}

static void forward(const struct sp_layer *layer, const struct sp_shape *shapes, const struct exec_io *io)
{
    (void)shapes;
    const float *x = io->input[0];
    float *y = io->output, scale = 1 / (1 - layer->settings.rate);
    unsigned char *kept = io->saved;
    uint32_t words[4] = {0};
    for (size_t i = 0; i < count_of(layer, io); i++) {
        if (i % 4 == 0)
            sp_random_block(io->seed, SP_RANDOM_DROPOUT, io->sequence, (uint32_t)(i / 4), words);
        kept[i] = (unsigned char)exec_dropout_keeps(words[i % 4], layer->settings.rate);
        y[i] = kept[i] ? x[i] * scale : 0;
    }
}

static void evaluate(const struct sp_layer *layer, const struct sp_shape *shapes, const struct exec_io *io)
{
    (void)shapes;
    if (io->output != io->input[0])
        memcpy(io->output, io->input[0], sizeof(float) * count_of(layer, io));
}

static void backward(const struct sp_layer *layer, const struct sp_shape *shapes, const struct exec_io *io)
{
    (void)shapes;
    const float *dy = io->output_gradient;
    float *dx = io->input_gradient[0], scale = 1 / (1 - layer->settings.rate);
    const unsigned char *kept = io->saved;
    for (size_t i = 0; dx != NULL && i < count_of(layer, io); i++)
        dx[i] = kept[i] ? dy[i] * scale : 0;
}

const struct exec_ref_op exec_ref_dropout = {forward, evaluate, backward};
