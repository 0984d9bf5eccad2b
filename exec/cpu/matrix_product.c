/*
 * A fully connected layer as three matrix products, for machines without vectors of 512 bits: there the library's inner
 * product is a plain matrix product as well, on rows of weights as long as they are, and rows a large power of 2 apart
 * fall into few sets of a cache. Here such rows are padded by a cache line.
 *
 * y (N, O) = x (N, K) W^T + bias;  dx = dy W;  dW = dy^T x;  W (O, K): a row has the order of the input's layout, its
 * padded channels, if any, and its padding behind are zero.
 */
#include "common/alloc.h"
#include "exec/cpu/cpu.h"

#include <stdlib.h>
#include <string.h>

/* Of weights: `count` of `length` floats, one every `stride`. */
struct rows {
    int64_t count, length, stride;
};

enum { LINE = 16, CLASH = 256 }; /* floats: of a cache line; rows a multiple of 1 KiB long are padded */

static struct rows rows_of(const struct cpu_model *model, int l)
{
    const struct sp_layer *layer = &model->network->layers[l];
    int64_t length = (int64_t)(cpu_md_bytes(&model->tensors[layer->inputs[0]]) / sizeof(float)) / model->batch;
    return (struct rows){layer->out.c, length, length % CLASH == 0 ? length + LINE : length};
}

bool cpu_matrix_product_suits(struct cpu_model *model, int l)
{
    int block;
    enum cpu_layout layout;
    return !cpu_has_512_bits() && cpu_find_block(model, model->network->layers[l].inputs[0], &block, &layout);
}

/* The matrices of a layer. */
struct matrices {
    struct cpu_md x, y, y_transposed, weights, weights_transposed, bias;
};

static sp_status describe(struct cpu_model *model, int l, struct matrices *out, struct sp_error *err)
{
    struct cpu_library *library = model->library;
    struct rows w = rows_of(model, l);
    int64_t N = model->batch;
    SP_TRY(cpu_md_matrix(library, N, w.length, w.length, 1, &out->x, err));
    SP_TRY(cpu_md_matrix(library, N, w.count, w.count, 1, &out->y, err));
    SP_TRY(cpu_md_matrix(library, w.count, N, 1, w.count, &out->y_transposed, err));
    SP_TRY(cpu_md_matrix(library, w.count, w.length, w.stride, 1, &out->weights, err));
    SP_TRY(cpu_md_matrix(library, w.length, w.count, 1, w.stride, &out->weights_transposed, err));
    return cpu_md_matrix(library, 1, w.count, w.count, 1, &out->bias, err);
}

/* The arguments are named as for a forward product: source, weights, destination. */
static sp_status make(struct cpu_model *model, const struct cpu_md *a, const struct cpu_md *b,
                      const struct cpu_md *bias, const struct cpu_md *c, bool relu, struct cpu_op *op,
                      struct sp_error *err)
{
    dnnl_primitive_desc_t pd;
    SP_TRY(cpu_matmul(model->library, a, b, bias, c, relu, &pd, err));
    SP_TRY(cpu_op_create(model->library, pd, op, err));
    cpu_op_argument(op, DNNL_ARG_SRC, a);
    cpu_op_argument(op, DNNL_ARG_WEIGHTS, b);
    cpu_op_argument(op, DNNL_ARG_DST, c);
    if (bias != NULL)
        cpu_op_argument(op, DNNL_ARG_BIAS, bias);
    return SP_OK;
}

static sp_status compile(struct cpu_model *model, int l, struct sp_error *err)
{
    const struct sp_layer *layer = &model->network->layers[l];
    struct cpu_layer *it = &model->layers[l];
    struct rows w = rows_of(model, l);
    const dnnl_dim_t stored[1] = {w.count * w.stride}, bias_dims[1] = {layer->out.c};
    struct matrices m;
    it->kind = &cpu_matrix_product;
    it->with_relu = cpu_relu_follows(model, l);
    SP_TRY(describe(model, l, &m, err));
    SP_TRY(cpu_md_make(model->library, stored, 1, CPU_PLAIN, &it->parameters[SP_PARAMETER_WEIGHT], err));
    if (layer->settings.bias)
        SP_TRY(cpu_md_make(model->library, bias_dims, 1, CPU_PLAIN, &it->parameters[SP_PARAMETER_BIAS], err));
    SP_TRY(make(model, &m.x, &m.weights_transposed, layer->settings.bias ? &m.bias : NULL, &m.y, it->with_relu,
                &it->forward, err));
    cpu_take_scratchpad(it, SP_PASS_FORWARD, &it->forward);
    cpu_take_scratchpad(it, SP_PASS_EVALUATE, &it->forward);
    SP_TRY(make(model, &m.y_transposed, &m.x, NULL, &m.weights, false, &it->backward_weights, err));
    cpu_take_scratchpad(it, SP_PASS_BACKWARD, &it->backward_weights);
    if (layer->inputs[0] == 0)
        return SP_OK;
    SP_TRY(make(model, &m.y, &m.weights, NULL, &m.x, false, &it->backward_data, err));
    cpu_take_scratchpad(it, SP_PASS_BACKWARD, &it->backward_data);
    return SP_OK;
}

static void clear_padding(const struct rows *w, float *gradient)
{
    for (int64_t o = 0; o < w->count && w->stride > w->length; o++)
        memset(gradient + o * w->stride + w->length, 0, sizeof *gradient * (size_t)(w->stride - w->length));
}

/* db[o] = sum over n of dy[n, o] */
VECTORISED static void add_rows(const float *restrict dy, float *restrict db, size_t N, size_t O)
{
    memset(db, 0, sizeof *db * O);
    for (size_t n = 0; n < N; n++)
        for (size_t o = 0; o < O; o++)
            db[o] += dy[n * O + o];
}

static sp_status backward(struct cpu_model *model, int l, const struct exec_io *io, struct sp_error *err)
{
    struct cpu_layer *it = &model->layers[l];
    struct rows w = rows_of(model, l);
    void *dy = (void *)io->output_gradient, *dw = io->parameter_gradient[SP_PARAMETER_WEIGHT];
    SP_TRY(
        cpu_op_run(model->library, &it->backward_weights, (void *[]){dy, (void *)io->input[0], dw}, io->scratch, err));
    clear_padding(&w, dw);
    if (io->parameter_gradient[SP_PARAMETER_BIAS] != NULL)
        add_rows(dy, io->parameter_gradient[SP_PARAMETER_BIAS], (size_t)model->batch, (size_t)w.count);
    if (io->input_gradient[0] == NULL)
        return SP_OK;
    return cpu_op_run(model->library, &it->backward_data,
                      (void *[]){dy, (void *)io->parameter[SP_PARAMETER_WEIGHT], io->input_gradient[0]}, io->scratch,
                      err);
}

static sp_status run(struct cpu_model *model, int l, enum sp_pass pass, const struct exec_io *io, struct sp_error *err)
{
    if (pass == SP_PASS_BACKWARD)
        return backward(model, l, io, err);
    return cpu_op_run(model->library, &model->layers[l].forward,
                      (void *[]){(void *)io->input[0], (void *)io->parameter[SP_PARAMETER_WEIGHT], io->output,
                                 (void *)io->parameter[SP_PARAMETER_BIAS]},
                      io->scratch, err);
}

/* The rows one behind another, in the order of the input's layout. */
static sp_status dense_md(struct cpu_model *model, int l, struct cpu_md *out, struct sp_error *err)
{
    int x = model->network->layers[l].inputs[0], block;
    struct sp_shape in = model->images[x];
    const dnnl_dim_t dims[4] = {model->network->layers[l].out.c, in.c, in.h, in.w};
    enum cpu_layout layout;
    SP_ASSERT(cpu_find_block(model, x, &block, &layout), "layer %d", l);
    return cpu_md_make(model->library, dims, model->flat[x] ? 2 : 4, layout, out, err);
}

static sp_status import_weights(struct cpu_model *model, int l, const float *plain, void *stored, struct sp_error *err)
{
    struct rows w = rows_of(model, l);
    struct cpu_md from, to;
    SP_TRY(cpu_plain_parameter_md(model, l, SP_PARAMETER_WEIGHT, &from, err));
    SP_TRY(dense_md(model, l, &to, err));
    float *dense = sp_calloc((size_t)(w.count * w.length), sizeof *dense), *row = stored;
    sp_status status = cpu_convert(model, &from, &to, plain, dense, err);
    memset(stored, 0, sizeof *row * (size_t)(w.count * w.stride));
    for (int64_t o = 0; o < w.count; o++)
        memcpy(row + o * w.stride, dense + o * w.length, sizeof *row * (size_t)w.length);
    free(dense);
    return status;
}

static sp_status export_weights(struct cpu_model *model, int l, const void *stored, float *plain, struct sp_error *err)
{
    struct rows w = rows_of(model, l);
    struct cpu_md from, to;
    SP_TRY(dense_md(model, l, &from, err));
    SP_TRY(cpu_plain_parameter_md(model, l, SP_PARAMETER_WEIGHT, &to, err));
    float *dense = sp_calloc((size_t)(w.count * w.length), sizeof *dense);
    const float *row = stored;
    for (int64_t o = 0; o < w.count; o++)
        memcpy(dense + o * w.length, row + o * w.stride, sizeof *row * (size_t)w.length);
    sp_status status = cpu_convert(model, &from, &to, dense, plain, err);
    free(dense);
    return status;
}

const struct cpu_kind cpu_matrix_product = {
    .compile = compile, .run = run, .import_weights = import_weights, .export_weights = export_weights};
