/*
 * Convolution takes its input as it comes, unless the library has only its slow reference for that layout (few
 * channels, padded to a block): then the pass takes the layout that the library prefers, by a copy in scratch. Layouts
 * are those of the direct algorithm; Winograd's is used, pass by pass, where it exists for them and is chosen.
 */
#include "exec/cpu/cpu.h"

#include <stdio.h>
#include <string.h>

static struct cpu_window window_of(const struct sp_layer *l)
{
    return (struct cpu_window){l->settings.kernel, l->settings.kernel, l->settings.stride,
                               l->settings.pad,    CPU_DIRECT,         false};
}

static bool is_slow(const_dnnl_primitive_desc_t pd)
{
    return strstr(cpu_pd_implementation(pd), "ref") != NULL;
}

/* By matrix product, on plain layouts: several times slower, and so is all that keeps the layout it makes. */
static bool is_plain(const_dnnl_primitive_desc_t pd)
{
    return strstr(cpu_pd_implementation(pd), "gemm") != NULL;
}

static void drop(dnnl_primitive_desc_t *pd)
{
    if (*pd != NULL)
        dnnl_primitive_desc_destroy(*pd);
    *pd = NULL;
}

enum { FEW = 8 }; /* channels of a block */

/* The descriptions that a layer's three primitives are made from. */
struct parts {
    const struct sp_layer *layer;
    const struct cpu_md *in; /* the input tensor */
    struct cpu_md any_in, any_out, last_in, last_out, any_weights, weights, bias;
    const struct cpu_md *with_bias; /* NULL: none */
};

/* A pass's primitive, not yet settled on, and the layouts of what it reads and makes beside the network's tensors. */
struct candidate {
    struct cpu_op op;
    struct cpu_md source, weights, output_gradient;
};

static sp_status make_forward(struct cpu_model *model, int l, const struct parts *parts, enum cpu_algorithm algorithm,
                              struct candidate *out, struct sp_error *err)
{
    const struct cpu_layer *it = &model->layers[l];
    const struct cpu_md *stored = &it->parameters[SP_PARAMETER_WEIGHT], *dst = &model->tensors[l + 1];
    struct cpu_window window = window_of(parts->layer);
    dnnl_primitive_desc_t pd;
    window.algorithm = algorithm;
    window.relu = it->with_relu;
    SP_TRY(
        cpu_convolution_forward(model->library, true, &out->source, stored, parts->with_bias, dst, window, &pd, err));
    SP_TRY(cpu_op_create(model->library, pd, &out->op, err));
    cpu_op_argument(&out->op, DNNL_ARG_SRC, &out->source);
    cpu_op_argument(&out->op, DNNL_ARG_WEIGHTS, stored);
    cpu_op_argument(&out->op, DNNL_ARG_DST, dst);
    if (parts->with_bias != NULL)
        cpu_op_argument(&out->op, DNNL_ARG_BIAS, &parts->bias);
    return SP_OK;
}

/* Weight gradients. Some shapes have a fast primitive only if both the input and the output's gradient may change their
 * layout. Without vectors of 512 bits, that for few channels, which would fill their blocks with padding, is twice as
 * fast with the channels last; but for one pixel kernels with strides, whose primitive of oneDNN 2.6 for that layout
 * writes where it should not and makes other gradients. */
static sp_status make_weights(struct cpu_model *model, int l, const struct parts *parts,
                              const_dnnl_primitive_desc_t hint, enum cpu_algorithm algorithm, struct candidate *out,
                              struct sp_error *err)
{
    enum { ATTEMPTS = 4 };
    const struct cpu_md *in[ATTEMPTS] = {parts->in, &parts->last_in, &parts->any_in, &parts->any_in};
    const struct cpu_md *gradient[ATTEMPTS] = {&model->tensors[l + 1], &parts->last_out, &model->tensors[l + 1],
                                               &parts->any_out};
    bool strided_pixels = parts->layer->settings.kernel == 1 && parts->layer->settings.stride > 1;
    bool few = !cpu_has_512_bits() && parts->layer->in.c < FEW && !strided_pixels;
    struct cpu_window window = window_of(parts->layer);
    dnnl_primitive_desc_t pd = NULL;
    window.algorithm = algorithm;
    for (int attempt = 0; attempt < ATTEMPTS && (pd == NULL || is_slow(pd)); attempt++) {
        if (attempt == 1 && !few)
            continue;
        drop(&pd);
        SP_TRY(cpu_convolution_backward_weights(model->library, hint, in[attempt], &parts->any_weights,
                                                parts->with_bias, gradient[attempt], window, &pd, err));
    }
    SP_TRY(cpu_pd_md(model->library, pd, dnnl_query_src_md, &out->source, err));
    SP_TRY(cpu_pd_md(model->library, pd, dnnl_query_diff_dst_md, &out->output_gradient, err));
    SP_TRY(cpu_pd_md(model->library, pd, dnnl_query_diff_weights_md, &out->weights, err));
    SP_TRY(cpu_op_create(model->library, pd, &out->op, err));
    cpu_op_argument(&out->op, DNNL_ARG_SRC, &out->source);
    cpu_op_argument(&out->op, DNNL_ARG_DIFF_DST, &out->output_gradient);
    cpu_op_argument(&out->op, DNNL_ARG_DIFF_WEIGHTS, &out->weights);
    if (parts->with_bias != NULL)
        cpu_op_argument(&out->op, DNNL_ARG_DIFF_BIAS, &parts->bias);
    return SP_OK;
}

static sp_status make_data(struct cpu_model *model, int l, const struct parts *parts, const_dnnl_primitive_desc_t hint,
                           enum cpu_algorithm algorithm, struct candidate *out, struct sp_error *err)
{
    const struct cpu_md *dst = &model->tensors[l + 1];
    struct cpu_window window = window_of(parts->layer);
    dnnl_primitive_desc_t pd;
    window.algorithm = algorithm;
    out->source = *parts->in;
    SP_TRY(
        cpu_convolution_backward_data(model->library, hint, &out->source, &parts->any_weights, dst, window, &pd, err));
    if (is_slow(pd)) {
        drop(&pd);
        SP_TRY(cpu_convolution_backward_data(model->library, hint, &parts->any_in, &parts->any_weights, dst, window,
                                             &pd, err));
        SP_TRY(cpu_pd_md(model->library, pd, dnnl_query_diff_src_md, &out->source, err));
    }
    SP_TRY(cpu_pd_md(model->library, pd, dnnl_query_weights_md, &out->weights, err));
    SP_TRY(cpu_op_create(model->library, pd, &out->op, err));
    cpu_op_argument(&out->op, DNNL_ARG_DIFF_DST, dst);
    cpu_op_argument(&out->op, DNNL_ARG_WEIGHTS, &out->weights);
    cpu_op_argument(&out->op, DNNL_ARG_DIFF_SRC, &out->source);
    return SP_OK;
}

/* The three primitives of a layer. */
enum job { FORWARD, WEIGHTS, DATA };

/* `out->source` is given for FORWARD. On failure nothing is left in *out. */
static sp_status make(struct cpu_model *model, int l, const struct parts *parts, const_dnnl_primitive_desc_t hint,
                      enum job job, enum cpu_algorithm algorithm, struct candidate *out, struct sp_error *err)
{
    sp_status status = job == FORWARD   ? make_forward(model, l, parts, algorithm, out, err)
                       : job == WEIGHTS ? make_weights(model, l, parts, hint, algorithm, out, err)
                                        : make_data(model, l, parts, hint, algorithm, out, err);
    if (status != SP_OK)
        cpu_op_destroy(&out->op);
    return status;
}

/* "AMD EPYC, oneDNN 2.6.3, 1 thread, 128x16x32x32, 16 filters 3x3, stride 1, pad 1, forward" */
static void key_of(const struct cpu_model *model, const struct sp_layer *layer, enum job job, char key[CPU_CHOICE_KEY])
{
    static const char *const names[] = {[FORWARD] = "forward", [WEIGHTS] = "weights", [DATA] = "data"};
    snprintf(key, CPU_CHOICE_KEY, "%.120s, %dx%dx%dx%d, %d filters %dx%d, stride %d, pad %d, %s",
             model->context->machine, model->batch, layer->in.c, layer->in.h, layer->in.w, layer->out.c,
             layer->settings.kernel, layer->settings.kernel, layer->settings.stride, layer->settings.pad, names[job]);
}

/* Adds the seconds of a copy between two layouts, where they differ. */
static sp_status add_copy_time(struct cpu_model *model, const struct cpu_md *from, const struct cpu_md *to,
                               double *seconds, struct sp_error *err)
{
    dnnl_primitive_desc_t pd;
    struct cpu_op op;
    double copy_s = 0;
    if (!from->set || !to->set || cpu_md_same(from, to))
        return SP_OK;
    SP_TRY(cpu_reorder(model->library, from, to, &pd, err));
    SP_TRY(cpu_op_create(model->library, pd, &op, err));
    cpu_op_argument(&op, DNNL_ARG_FROM, from);
    cpu_op_argument(&op, DNNL_ARG_TO, to);
    sp_status status = cpu_op_time(model->library, &op, &copy_s, err);
    cpu_op_destroy(&op);
    *seconds += copy_s;
    return status;
}

/* Seconds of one run with the copies that the pass then needs, the best of some; the operation is used up. */
static sp_status time_and_destroy(struct cpu_model *model, int l, enum job job, struct candidate *candidate,
                                  double *seconds, struct sp_error *err)
{
    const struct cpu_md *in = &model->tensors[model->network->layers[l].inputs[0]], *out = &model->tensors[l + 1];
    const struct cpu_md *stored = &model->layers[l].parameters[SP_PARAMETER_WEIGHT];
    sp_status status = cpu_op_time(model->library, &candidate->op, seconds, err);
    cpu_op_destroy(&candidate->op);
    SP_TRY(status);
    if (job == DATA) {
        SP_TRY(add_copy_time(model, stored, &candidate->weights, seconds, err));
        return add_copy_time(model, &candidate->source, in, seconds, err);
    }
    SP_TRY(add_copy_time(model, in, &candidate->source, seconds, err));
    SP_TRY(add_copy_time(model, out, &candidate->output_gradient, seconds, err));
    return add_copy_time(model, &candidate->weights, stored, seconds, err);
}

/* The algorithm for one pass: as demanded, as remembered, or as timed now. Winograd only where the library has it for
 * these layouts. */
static sp_status choose(struct cpu_model *model, int l, const struct parts *parts, const_dnnl_primitive_desc_t hint,
                        enum job job, const struct candidate *given, enum cpu_algorithm *out, struct sp_error *err)
{
    struct cpu_context *context = model->context;
    struct candidate direct = *given, winograd = *given;
    struct sp_error unable = {0};
    char key[CPU_CHOICE_KEY];
    double direct_s, winograd_s;
    *out = CPU_DIRECT;
    if (context->convolution == EXEC_CONVOLUTION_DIRECT)
        return SP_OK;
    sp_status possible = make(model, l, parts, hint, job, CPU_WINOGRAD, &winograd, &unable);
    sp_error_fini(&unable);
    if (possible != SP_OK)
        return SP_OK;
    key_of(model, parts->layer, job, key);
    bool known = context->convolution == EXEC_CONVOLUTION_WINOGRAD || cpu_choices_in(context->given, key, out) ||
                 cpu_choices_find(key, out);
    if (known) {
        cpu_op_destroy(&winograd.op);
        *out = context->convolution == EXEC_CONVOLUTION_WINOGRAD ? CPU_WINOGRAD : *out;
    } else {
        SP_TRY(time_and_destroy(model, l, job, &winograd, &winograd_s, err));
        SP_TRY(make(model, l, parts, hint, job, CPU_DIRECT, &direct, err));
        SP_TRY(time_and_destroy(model, l, job, &direct, &direct_s, err));
        *out = winograd_s < direct_s ? CPU_WINOGRAD : CPU_DIRECT;
        cpu_choices_keep(key, *out, direct_s, winograd_s, context->choices_path);
    }
    cpu_choices_note(&context->used, key, *out);
    return SP_OK;
}

/* Chooses and makes one of the primitives. */
static sp_status settle(struct cpu_model *model, int l, const struct parts *parts, const_dnnl_primitive_desc_t hint,
                        enum job job, struct candidate *out, struct sp_error *err)
{
    enum cpu_algorithm algorithm;
    SP_TRY(choose(model, l, parts, hint, job, out, &algorithm, err));
    return make(model, l, parts, hint, job, algorithm, out, err);
}

static sp_status compile_forward(struct cpu_model *model, int l, struct parts *parts, dnnl_primitive_desc_t *hint,
                                 struct sp_error *err)
{
    struct cpu_library *library = model->library;
    struct cpu_layer *it = &model->layers[l];
    struct candidate chosen = {.source = *parts->in};
    struct cpu_window window = window_of(parts->layer);
    it->with_relu = cpu_relu_follows(model, l);
    SP_TRY(cpu_convolution_forward(library, true, &chosen.source, &parts->weights, parts->with_bias, &parts->any_out,
                                   window, hint, err));
    if (is_slow(*hint) || is_plain(*hint)) {
        drop(hint);
        SP_TRY(cpu_convolution_forward(library, true, &parts->any_in, &parts->weights, parts->with_bias,
                                       &parts->any_out, window, hint, err));
        SP_TRY(cpu_pd_md(library, *hint, dnnl_query_src_md, &chosen.source, err));
    }
    SP_TRY(cpu_pd_md(library, *hint, dnnl_query_dst_md, &model->tensors[l + 1], err));
    SP_TRY(cpu_pd_md(library, *hint, dnnl_query_weights_md, &it->parameters[SP_PARAMETER_WEIGHT], err));
    if (parts->with_bias != NULL)
        it->parameters[SP_PARAMETER_BIAS] = parts->bias;
    SP_TRY(settle(model, l, parts, *hint, FORWARD, &chosen, err));
    it->forward = chosen.op;
    for (int pass = 0; pass < SP_PASS_COUNT; pass++) {
        if (pass == SP_PASS_BACKWARD)
            continue;
        cpu_take_scratchpad(it, (enum sp_pass)pass, &it->forward);
        SP_TRY(cpu_copy_compile(model, it, (enum sp_pass)pass, parts->in, &chosen.source, false, &it->input_copy[pass],
                                err));
    }
    return SP_OK;
}

static sp_status compile_backward(struct cpu_model *model, int l, struct parts *parts, dnnl_primitive_desc_t hint,
                                  struct sp_error *err)
{
    struct cpu_layer *it = &model->layers[l];
    const struct cpu_md *stored = &it->parameters[SP_PARAMETER_WEIGHT];
    struct candidate weights = {0}, data = {0};
    bool needs_data = parts->layer->inputs[0] != 0;
    SP_TRY(settle(model, l, parts, hint, WEIGHTS, &weights, err));
    it->backward_weights = weights.op;
    cpu_take_scratchpad(it, SP_PASS_BACKWARD, &it->backward_weights);
    if (needs_data) {
        SP_TRY(settle(model, l, parts, hint, DATA, &data, err));
        it->backward_data = data.op;
        cpu_take_scratchpad(it, SP_PASS_BACKWARD, &it->backward_data);
    }
    SP_TRY(cpu_copy_compile(model, it, SP_PASS_BACKWARD, &weights.weights, stored, true, &it->gradient_copy, err));
    SP_TRY(cpu_copy_compile(model, it, SP_PASS_BACKWARD, parts->in, &weights.source, false,
                            &it->input_copy[SP_PASS_BACKWARD], err));
    SP_TRY(cpu_copy_compile(model, it, SP_PASS_BACKWARD, &model->tensors[l + 1], &weights.output_gradient, false,
                            &it->output_copy[SP_PASS_BACKWARD], err));
    if (!needs_data)
        return SP_OK;
    SP_TRY(cpu_copy_compile(model, it, SP_PASS_BACKWARD, stored, &data.weights, false, &it->weights_copy, err));
    return cpu_copy_compile(model, it, SP_PASS_BACKWARD, &data.source, parts->in, true, &it->input_gradient_copy, err);
}

static sp_status compile(struct cpu_model *model, int l, struct sp_error *err)
{
    const struct sp_layer *layer = &model->network->layers[l];
    const dnnl_dim_t dims[4] = {layer->out.c, layer->in.c, layer->settings.kernel, layer->settings.kernel};
    const dnnl_dim_t bias_dims[1] = {layer->out.c};
    struct parts parts = {.layer = layer, .in = &model->tensors[layer->inputs[0]]};
    dnnl_primitive_desc_t hint = NULL;
    SP_TRY(cpu_image_md(model, layer->in, CPU_ANY, &parts.any_in, err));
    SP_TRY(cpu_image_md(model, layer->out, CPU_ANY, &parts.any_out, err));
    SP_TRY(cpu_image_md(model, layer->in, CPU_CHANNELS_LAST, &parts.last_in, err));
    SP_TRY(cpu_image_md(model, layer->out, CPU_CHANNELS_LAST, &parts.last_out, err));
    SP_TRY(cpu_md_make(model->library, dims, 4, CPU_ANY, &parts.any_weights, err));
    SP_TRY(cpu_md_make(model->library, bias_dims, 1, CPU_PLAIN, &parts.bias, err));
    parts.with_bias = layer->settings.bias ? &parts.bias : NULL;
    parts.weights = model->like != NULL ? model->like->layers[l].parameters[SP_PARAMETER_WEIGHT] : parts.any_weights;
    sp_status status = compile_forward(model, l, &parts, &hint, err);
    if (status == SP_OK)
        status = compile_backward(model, l, &parts, hint, err);
    drop(&hint);
    return status;
}

static sp_status backward(struct cpu_model *model, struct cpu_layer *it, const struct exec_io *io, struct sp_error *err)
{
    void *gradient = io->parameter_gradient[SP_PARAMETER_WEIGHT], *input_gradient = io->input_gradient[0];
    const void *input, *output_gradient, *weights;
    SP_TRY(cpu_copy_in(model, &it->input_copy[SP_PASS_BACKWARD], io->input[0], io, &input, err));
    SP_TRY(cpu_copy_in(model, &it->output_copy[SP_PASS_BACKWARD], io->output_gradient, io, &output_gradient, err));
    SP_TRY(
        cpu_op_run(model->library, &it->backward_weights,
                   (void *[]){(void *)input, (void *)output_gradient, cpu_copy_source(&it->gradient_copy, gradient, io),
                              io->parameter_gradient[SP_PARAMETER_BIAS]},
                   io->scratch, err));
    SP_TRY(cpu_copy_out(model, &it->gradient_copy, gradient, io, err));
    if (input_gradient == NULL)
        return SP_OK;
    SP_TRY(cpu_copy_in(model, &it->weights_copy, io->parameter[SP_PARAMETER_WEIGHT], io, &weights, err));
    SP_TRY(cpu_op_run(model->library, &it->backward_data,
                      (void *[]){(void *)io->output_gradient, (void *)weights,
                                 cpu_copy_source(&it->input_gradient_copy, input_gradient, io)},
                      io->scratch, err));
    return cpu_copy_out(model, &it->input_gradient_copy, input_gradient, io, err);
}

static sp_status run(struct cpu_model *model, int l, enum sp_pass pass, const struct exec_io *io, struct sp_error *err)
{
    struct cpu_layer *it = &model->layers[l];
    const void *input;
    if (pass == SP_PASS_BACKWARD)
        return backward(model, it, io, err);
    SP_TRY(cpu_copy_in(model, &it->input_copy[pass], io->input[0], io, &input, err));
    return cpu_op_run(model->library, &it->forward,
                      (void *[]){(void *)input, (void *)io->parameter[SP_PARAMETER_WEIGHT], io->output,
                                 (void *)io->parameter[SP_PARAMETER_BIAS]},
                      io->scratch, err);
}

const struct cpu_kind cpu_convolution = {.compile = compile, .run = run};
