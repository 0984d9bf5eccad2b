#include "exec/ref/ref.h"

#include <string.h>

/* y[n,o,p,q] = b[o] + sum over i,r,s of x[n,i,p*S+r-P,q*S+s-P] * w[o,i,r,s], S the stride and P the padding. */
struct window {
    int C, H, W, O, P, Q, K, stride, pad;
};

static struct window window_of(const struct sp_layer *l)
{
    return (struct window){
        l->in.c,        l->in.h, l->in.w, l->out.c, l->out.h, l->out.w, l->settings.kernel, l->settings.stride,
        l->settings.pad};
}

static void forward(const struct sp_layer *layer, const struct sp_shape *shapes, const struct exec_io *io)
{
    (void)shapes;
    const struct window v = window_of(layer);
    const float *x = io->input[0], *w = io->parameter[SP_PARAMETER_WEIGHT], *b = io->parameter[SP_PARAMETER_BIAS];
    float *y = io->output;
    for (int n = 0; n < io->batch; n++)
        for (int o = 0; o < v.O; o++)
            for (int p = 0; p < v.P; p++)
                for (int q = 0; q < v.Q; q++) {
                    double sum = b != NULL ? (double)b[o] : 0;
                    for (int i = 0; i < v.C; i++)
                        for (int r = 0; r < v.K; r++)
                            for (int s = 0; s < v.K; s++) {
                                int h = p * v.stride + r - v.pad, c = q * v.stride + s - v.pad;
                                if (h >= 0 && h < v.H && c >= 0 && c < v.W)
                                    sum += (double)x[((size_t)(n * v.C + i) * v.H + h) * v.W + c] *
                                           (double)w[((size_t)(o * v.C + i) * v.K + r) * v.K + s];
                            }
                    y[((size_t)(n * v.O + o) * v.P + p) * v.Q + q] = (float)sum;
                }
}

static void backward_weight(const struct window v, const struct exec_io *io)
{
    const float *x = io->input[0], *dy = io->output_gradient;
    float *dw = io->parameter_gradient[SP_PARAMETER_WEIGHT];
    for (int o = 0; o < v.O; o++)
        for (int i = 0; i < v.C; i++)
            for (int r = 0; r < v.K; r++)
                for (int s = 0; s < v.K; s++) {
                    double sum = 0;
                    for (int n = 0; n < io->batch; n++)
                        for (int p = 0; p < v.P; p++)
                            for (int q = 0; q < v.Q; q++) {
                                int h = p * v.stride + r - v.pad, c = q * v.stride + s - v.pad;
                                if (h >= 0 && h < v.H && c >= 0 && c < v.W)
                                    sum += (double)x[((size_t)(n * v.C + i) * v.H + h) * v.W + c] *
                                           (double)dy[((size_t)(n * v.O + o) * v.P + p) * v.Q + q];
                            }
                    dw[((size_t)(o * v.C + i) * v.K + r) * v.K + s] = (float)sum;
                }
}

static void backward_bias(const struct window v, const struct exec_io *io)
{
    const float *dy = io->output_gradient;
    float *db = io->parameter_gradient[SP_PARAMETER_BIAS];
    size_t area = (size_t)v.P * v.Q;
    for (int o = 0; o < v.O; o++) {
        double sum = 0;
        for (int n = 0; n < io->batch; n++)
            for (size_t a = 0; a < area; a++)
                sum += (double)dy[(size_t)(n * v.O + o) * area + a];
        db[o] = (float)sum;
    }
}

static void backward_input(const struct window v, const struct exec_io *io)
{
    const float *w = io->parameter[SP_PARAMETER_WEIGHT], *dy = io->output_gradient;
    float *dx = io->input_gradient[0];
    for (int n = 0; n < io->batch; n++)
        for (int i = 0; i < v.C; i++)
            for (int h = 0; h < v.H; h++)
                for (int c = 0; c < v.W; c++) {
                    double sum = 0;
                    for (int o = 0; o < v.O; o++)
                        for (int r = 0; r < v.K; r++)
                            for (int s = 0; s < v.K; s++) {
                                int p = h + v.pad - r, q = c + v.pad - s;
                                if (p < 0 || q < 0 || p % v.stride != 0 || q % v.stride != 0)
                                    continue;
                                p /= v.stride;
                                q /= v.stride;
                                if (p < v.P && q < v.Q)
                                    sum += (double)dy[((size_t)(n * v.O + o) * v.P + p) * v.Q + q] *
                                           (double)w[((size_t)(o * v.C + i) * v.K + r) * v.K + s];
                            }
                    dx[((size_t)(n * v.C + i) * v.H + h) * v.W + c] = (float)sum;
                }
}

static void backward(const struct sp_layer *layer, const struct sp_shape *shapes, const struct exec_io *io)
{
    (void)shapes;
    const struct window v = window_of(layer);
    backward_weight(v, io);
    if (io->parameter_gradient[SP_PARAMETER_BIAS] != NULL)
        backward_bias(v, io);
    if (io->input_gradient[0] != NULL)
        backward_input(v, io);
}

const struct exec_ref_op exec_ref_convolution = {forward, forward, backward};
