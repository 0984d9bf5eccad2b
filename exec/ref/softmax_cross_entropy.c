#include "exec/math/loss.h"
#include "exec/ref/ref.h"

#include <math.h>

/* Adds up the loss (exec/math/loss.h) and the hits; leaves the probabilities in `saved` unless that is NULL. */
static void loss(const struct sp_layer *layer, const struct exec_io *io, double s, float *saved)
{
    const float *x = io->input[0];
    int C = layer->in.c;
    double total = 0;
    int64_t correct = 0;
    for (int n = 0; n < io->batch; n++, x += C) {
        int best = 0;
        for (int c = 1; c < C; c++)
            best = x[c] > x[best] ? c : best;
        double sum = 0;
        for (int c = 0; c < C; c++)
            sum += exp((double)x[c] - (double)x[best]);
        for (int c = 0; saved != NULL && c < C; c++)
            saved[(size_t)n * C + c] = (float)(exp((double)x[c] - (double)x[best]) / sum);
        if (io->labels[n] < 0)
            continue;
        double all = 0;
        for (int c = 0; s > 0 && c < C; c++)
            all += (double)x[c] - (double)x[best] - log(sum);
        total += exec_loss_one((double)x[io->labels[n]] - (double)x[best] - log(sum), all, s, C);
        correct += best == io->labels[n];
    }
    *io->loss_sum = total;
    *io->correct = correct;
}

static void forward(const struct sp_layer *layer, const struct sp_shape *shapes, const struct exec_io *io)
{
    (void)shapes;
    loss(layer, io, (double)io->label_smoothing, io->saved);
}

static void evaluate(const struct sp_layer *layer, const struct sp_shape *shapes, const struct exec_io *io)
{
    (void)shapes;
    loss(layer, io, 0, NULL);
}

static void backward(const struct sp_layer *layer, const struct sp_shape *shapes, const struct exec_io *io)
{
    (void)shapes;
    const float *probability = io->saved;
    float *dx = io->input_gradient[0];
    int C = layer->in.c;
    float s = io->label_smoothing;
    for (int n = 0; dx != NULL && n < io->batch; n++)
        for (int c = 0; c < C; c++) {
            size_t at = (size_t)n * C + c;
            dx[at] = io->labels[n] < 0
                         ? 0
                         : exec_loss_gradient(probability[at], io->labels[n] == c, s, C, io->minibatch_size);
        }
}

const struct exec_ref_op exec_ref_softmax_cross_entropy = {forward, evaluate, backward};
