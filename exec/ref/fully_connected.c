#include "exec/ref/ref.h"

/* y[n,o] = b[o] + sum over i of w[o,i] * x[n,i] */
static void forward(const struct sp_layer *layer, const struct sp_shape *shapes, const struct exec_io *io)
{
    (void)shapes;
    const float *x = io->input[0], *w = io->parameter[SP_PARAMETER_WEIGHT], *b = io->parameter[SP_PARAMETER_BIAS];
    float *y = io->output;
    size_t I = (size_t)sp_shape_elements(layer->in), O = (size_t)layer->out.c;
    for (size_t n = 0; n < (size_t)io->batch; n++)
        for (size_t o = 0; o < O; o++) {
            double sum = b != NULL ? (double)b[o] : 0;
            for (size_t i = 0; i < I; i++)
                sum += (double)w[o * I + i] * (double)x[n * I + i];
            y[n * O + o] = (float)sum;
        }
}

static void backward(const struct sp_layer *layer, const struct sp_shape *shapes, const struct exec_io *io)
{
    (void)shapes;
    const float *x = io->input[0], *w = io->parameter[SP_PARAMETER_WEIGHT], *dy = io->output_gradient;
    float *dx = io->input_gradient[0], *dw = io->parameter_gradient[SP_PARAMETER_WEIGHT],
          *db = io->parameter_gradient[SP_PARAMETER_BIAS];
    size_t I = (size_t)sp_shape_elements(layer->in), O = (size_t)layer->out.c, N = (size_t)io->batch;
    for (size_t o = 0; o < O; o++) {
        double bias = 0;
        for (size_t n = 0; n < N; n++)
            bias += (double)dy[n * O + o];
        if (db != NULL)
            db[o] = (float)bias;
        for (size_t i = 0; i < I; i++) {
            double sum = 0;
            for (size_t n = 0; n < N; n++)
                sum += (double)dy[n * O + o] * (double)x[n * I + i];
            dw[o * I + i] = (float)sum;
        }
    }
    for (size_t n = 0; dx != NULL && n < N; n++)
        for (size_t i = 0; i < I; i++) {
            double sum = 0;
            for (size_t o = 0; o < O; o++)
                sum += (double)dy[n * O + o] * (double)w[o * I + i];
            dx[n * I + i] = (float)sum;
        }
}

const struct exec_ref_op exec_ref_fully_connected = {forward, forward, backward};
