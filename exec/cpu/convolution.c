/*
 * Convolution takes its input as it comes, unless the library has only its slow reference for that layout (few
 * channels, padded to a block): then the pass takes the layout that the library prefers, by a copy in scratch.
 */
#include "exec/cpu/cpu.h"

#include <string.h>

static struct cpu_window window_of(const struct sp_layer *l)
{
    return (struct cpu_window){l->settings.kernel, l->settings.kernel, l->settings.stride, l->settings.pad};
}

static bool is_slow(const_dnnl_primitive_desc_t pd)
{
    return strstr(cpu_pd_implementation(pd), "ref") != NULL;
}

static void drop(dnnl_primitive_desc_t *pd)
{
    if (*pd != NULL)
        dnnl_primitive_desc_destroy(*pd);
    *pd = NULL;
}

/* The descriptions that a layer's three primitives are made from. */
struct parts {
    const struct sp_layer *layer;
    const struct cpu_md *in; /* the input tensor */
    struct cpu_md any_in, any_out, any_weights, weights, bias;
    const struct cpu_md *with_bias; /* NULL: none */
};

static sp_status compile_forward(struct cpu_model *model, int l, struct parts *parts, dnnl_primitive_desc_t *hint,
                                 struct sp_error *err)
{
    struct cpu_library *library = model->library;
    struct cpu_layer *it = &model->layers[l];
    struct cpu_md *stored = &it->parameters[SP_PARAMETER_WEIGHT], source = *parts->in;
    struct cpu_window window = window_of(parts->layer);
    dnnl_primitive_desc_t pd;
    SP_TRY(cpu_convolution_forward(library, true, &source, &parts->weights, parts->with_bias, &parts->any_out, window,
                                   hint, err));
    if (is_slow(*hint)) {
        drop(hint);
        SP_TRY(cpu_convolution_forward(library, true, &parts->any_in, &parts->weights, parts->with_bias,
                                       &parts->any_out, window, hint, err));
        SP_TRY(cpu_pd_md(library, *hint, dnnl_query_src_md, &source, err));
    }
    SP_TRY(cpu_pd_md(library, *hint, dnnl_query_dst_md, &model->tensors[l + 1], err));
    SP_TRY(cpu_pd_md(library, *hint, dnnl_query_weights_md, stored, err));
    if (parts->with_bias != NULL)
        it->parameters[SP_PARAMETER_BIAS] = parts->bias;
    SP_TRY(cpu_convolution_forward(library, true, &source, stored, parts->with_bias, &model->tensors[l + 1], window,
                                   &pd, err));
    SP_TRY(cpu_op_create(library, pd, &it->forward, err));
    cpu_op_argument(&it->forward, DNNL_ARG_SRC, &source);
    cpu_op_argument(&it->forward, DNNL_ARG_WEIGHTS, stored);
    cpu_op_argument(&it->forward, DNNL_ARG_DST, &model->tensors[l + 1]);
    if (parts->with_bias != NULL)
        cpu_op_argument(&it->forward, DNNL_ARG_BIAS, &parts->bias);
    for (int pass = 0; pass < SP_PASS_COUNT; pass++) {
        if (pass == SP_PASS_BACKWARD)
            continue;
        cpu_take_scratchpad(it, (enum sp_pass)pass, &it->forward);
        SP_TRY(cpu_copy_compile(model, it, (enum sp_pass)pass, parts->in, &source, false, &it->input_copy[pass], err));
    }
    return SP_OK;
}

/* What the weight gradient's primitive takes and makes. */
struct weights_layouts {
    struct cpu_md source, output_gradient, made;
};

/* Weight gradients: the primitive, before any copy takes scratch. Some shapes have a fast one only if both the input
 * and the output's gradient may change their layout. */
static sp_status compile_weights(struct cpu_model *model, int l, struct parts *parts, dnnl_primitive_desc_t hint,
                                 struct weights_layouts *layouts, struct sp_error *err)
{
    struct cpu_layer *it = &model->layers[l];
    const struct cpu_md *in[] = {parts->in, &parts->any_in, &parts->any_in};
    const struct cpu_md *out[] = {&model->tensors[l + 1], &model->tensors[l + 1], &parts->any_out};
    dnnl_primitive_desc_t pd = NULL;
    for (int attempt = 0; attempt < 3 && (pd == NULL || is_slow(pd)); attempt++) {
        drop(&pd);
        SP_TRY(cpu_convolution_backward_weights(model->library, hint, in[attempt], &parts->any_weights,
                                                parts->with_bias, out[attempt], window_of(parts->layer), &pd, err));
    }
    SP_TRY(cpu_pd_md(model->library, pd, dnnl_query_src_md, &layouts->source, err));
    SP_TRY(cpu_pd_md(model->library, pd, dnnl_query_diff_dst_md, &layouts->output_gradient, err));
    SP_TRY(cpu_pd_md(model->library, pd, dnnl_query_diff_weights_md, &layouts->made, err));
    SP_TRY(cpu_op_create(model->library, pd, &it->backward_weights, err));
    cpu_op_argument(&it->backward_weights, DNNL_ARG_SRC, &layouts->source);
    cpu_op_argument(&it->backward_weights, DNNL_ARG_DIFF_DST, &layouts->output_gradient);
    cpu_op_argument(&it->backward_weights, DNNL_ARG_DIFF_WEIGHTS, &layouts->made);
    if (parts->with_bias != NULL)
        cpu_op_argument(&it->backward_weights, DNNL_ARG_DIFF_BIAS, &parts->bias);
    cpu_take_scratchpad(it, SP_PASS_BACKWARD, &it->backward_weights);
    return SP_OK;
}

static sp_status compile_data(struct cpu_model *model, int l, struct parts *parts, dnnl_primitive_desc_t hint,
                              struct cpu_md *source, struct cpu_md *wanted, struct sp_error *err)
{
    struct cpu_layer *it = &model->layers[l];
    const struct cpu_md *dst = &model->tensors[l + 1];
    struct cpu_window window = window_of(parts->layer);
    dnnl_primitive_desc_t pd;
    *source = *parts->in;
    SP_TRY(cpu_convolution_backward_data(model->library, hint, source, &parts->any_weights, dst, window, &pd, err));
    if (is_slow(pd)) {
        drop(&pd);
        SP_TRY(cpu_convolution_backward_data(model->library, hint, &parts->any_in, &parts->any_weights, dst, window,
                                             &pd, err));
        SP_TRY(cpu_pd_md(model->library, pd, dnnl_query_diff_src_md, source, err));
    }
    SP_TRY(cpu_pd_md(model->library, pd, dnnl_query_weights_md, wanted, err));
    SP_TRY(cpu_op_create(model->library, pd, &it->backward_data, err));
    cpu_op_argument(&it->backward_data, DNNL_ARG_DIFF_DST, dst);
    cpu_op_argument(&it->backward_data, DNNL_ARG_WEIGHTS, wanted);
    cpu_op_argument(&it->backward_data, DNNL_ARG_DIFF_SRC, source);
    cpu_take_scratchpad(it, SP_PASS_BACKWARD, &it->backward_data);
    return SP_OK;
}

static sp_status compile_backward(struct cpu_model *model, int l, struct parts *parts, dnnl_primitive_desc_t hint,
                                  struct sp_error *err)
{
    struct cpu_layer *it = &model->layers[l];
    const struct cpu_md *stored = &it->parameters[SP_PARAMETER_WEIGHT];
    struct weights_layouts layouts;
    struct cpu_md data_source, wanted;
    bool needs_data = parts->layer->inputs[0] != 0;
    SP_TRY(compile_weights(model, l, parts, hint, &layouts, err));
    if (needs_data)
        SP_TRY(compile_data(model, l, parts, hint, &data_source, &wanted, err));
    SP_TRY(cpu_copy_compile(model, it, SP_PASS_BACKWARD, &layouts.made, stored, true, &it->gradient_copy, err));
    SP_TRY(cpu_copy_compile(model, it, SP_PASS_BACKWARD, parts->in, &layouts.source, false,
                            &it->input_copy[SP_PASS_BACKWARD], err));
    SP_TRY(cpu_copy_compile(model, it, SP_PASS_BACKWARD, &model->tensors[l + 1], &layouts.output_gradient, false,
                            &it->output_copy[SP_PASS_BACKWARD], err));
    if (!needs_data)
        return SP_OK;
    SP_TRY(cpu_copy_compile(model, it, SP_PASS_BACKWARD, stored, &wanted, false, &it->weights_copy, err));
    return cpu_copy_compile(model, it, SP_PASS_BACKWARD, &data_source, parts->in, true, &it->input_gradient_copy, err);
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

const struct cpu_kind cpu_convolution = {compile, run};
