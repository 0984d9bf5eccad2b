#include "exec/cpu/cpu.h"

#include <string.h>

/* An inner product over (N, C, H, W) or (N, C): the weights have the input's dimensions. */
static sp_status weights_md(struct cpu_model *model, const struct sp_layer *layer, enum cpu_layout layout,
                            struct cpu_md *out, struct sp_error *err)
{
    struct sp_shape in = model->images[layer->inputs[0]];
    const dnnl_dim_t dims[4] = {layer->out.c, in.c, in.h, in.w};
    return cpu_md_make(model->library, dims, model->flat[layer->inputs[0]] ? 2 : 4, layout, out, err);
}

static sp_status compile_forward(struct cpu_model *model, int l, const struct cpu_md *any, const struct cpu_md *bias,
                                 dnnl_primitive_desc_t *hint, struct sp_error *err)
{
    const struct sp_layer *layer = &model->network->layers[l];
    struct cpu_layer *it = &model->layers[l];
    const struct cpu_md *src = &model->tensors[layer->inputs[0]], *dst = &model->tensors[l + 1];
    struct cpu_md *stored = &it->parameters[SP_PARAMETER_WEIGHT];
    it->with_relu = cpu_relu_follows(model, l);
    if (model->like != NULL)
        *stored = model->like->layers[l].parameters[SP_PARAMETER_WEIGHT];
    const struct cpu_md *weights = model->like != NULL ? stored : any;
    dnnl_primitive_desc_t pd;
    SP_TRY(cpu_inner_product_forward(model->library, true, src, weights, bias, dst, it->with_relu, hint, err));
    SP_TRY(cpu_pd_md(model->library, *hint, dnnl_query_weights_md, stored, err));
    if (bias != NULL)
        it->parameters[SP_PARAMETER_BIAS] = *bias;
    SP_TRY(cpu_inner_product_forward(model->library, true, src, stored, bias, dst, it->with_relu, &pd, err));
    SP_TRY(cpu_op_create(model->library, pd, &it->forward, err));
    cpu_op_argument(&it->forward, DNNL_ARG_SRC, src);
    cpu_op_argument(&it->forward, DNNL_ARG_WEIGHTS, stored);
    cpu_op_argument(&it->forward, DNNL_ARG_DST, dst);
    if (bias != NULL)
        cpu_op_argument(&it->forward, DNNL_ARG_BIAS, bias);
    cpu_take_scratchpad(it, SP_PASS_FORWARD, &it->forward);
    cpu_take_scratchpad(it, SP_PASS_EVALUATE, &it->forward);
    return SP_OK;
}

static bool is_like(const_dnnl_primitive_desc_t a, const_dnnl_primitive_desc_t b)
{
    return strcmp(cpu_pd_implementation(a), cpu_pd_implementation(b)) == 0;
}

/* A backward primitive of one layer: what it is described from. */
struct part {
    struct cpu_library *library;
    const_dnnl_primitive_desc_t hint;
    const struct cpu_md *src, *dst, *bias;
    bool data; /* else: weights */
};

static sp_status describe(const struct part *part, const struct cpu_md *weights, dnnl_primitive_desc_t *out,
                          struct sp_error *err)
{
    if (part->data)
        return cpu_inner_product_backward_data(part->library, part->hint, part->src, weights, part->dst, out, err);
    return cpu_inner_product_backward_weights(part->library, part->hint, part->src, weights, part->bias, part->dst, out,
                                              err);
}

/* With the weights as they are stored, where that gives the implementation that the library would take; else with those
 * it likes best. `*layout` is what it came to. */
static sp_status settle(const struct part *part, const struct cpu_md *any, const struct cpu_md *stored,
                        struct cpu_md *layout, dnnl_primitive_desc_t *out, struct sp_error *err)
{
    struct sp_error unable = {0};
    dnnl_primitive_desc_t same = NULL;
    SP_TRY(describe(part, any, out, err));
    if (describe(part, stored, &same, &unable) == SP_OK) {
        bool better = is_like(same, *out);
        dnnl_primitive_desc_destroy(better ? *out : same);
        *out = better ? same : *out;
    }
    sp_error_fini(&unable);
    dnnl_query_t what = part->data ? dnnl_query_weights_md : dnnl_query_diff_weights_md;
    return cpu_pd_md(part->library, *out, what, layout, err);
}

static sp_status compile_backward(struct cpu_model *model, int l, const struct cpu_md *any, const struct cpu_md *bias,
                                  dnnl_primitive_desc_t hint, struct sp_error *err)
{
    const struct sp_layer *layer = &model->network->layers[l];
    struct cpu_layer *it = &model->layers[l];
    const struct cpu_md *src = &model->tensors[layer->inputs[0]], *dst = &model->tensors[l + 1];
    const struct cpu_md *stored = &it->parameters[SP_PARAMETER_WEIGHT];
    struct part part = {model->library, hint, src, dst, bias, false};
    struct cpu_md made, wanted;
    dnnl_primitive_desc_t pd;
    SP_TRY(settle(&part, any, stored, &made, &pd, err));
    SP_TRY(cpu_op_create(model->library, pd, &it->backward_weights, err));
    cpu_op_argument(&it->backward_weights, DNNL_ARG_SRC, src);
    cpu_op_argument(&it->backward_weights, DNNL_ARG_DIFF_DST, dst);
    cpu_op_argument(&it->backward_weights, DNNL_ARG_DIFF_WEIGHTS, &made);
    if (bias != NULL)
        cpu_op_argument(&it->backward_weights, DNNL_ARG_DIFF_BIAS, bias);
    cpu_take_scratchpad(it, SP_PASS_BACKWARD, &it->backward_weights);
    if (layer->inputs[0] != 0) {
        part.data = true;
        SP_TRY(settle(&part, any, stored, &wanted, &pd, err));
        SP_TRY(cpu_op_create(model->library, pd, &it->backward_data, err));
        cpu_op_argument(&it->backward_data, DNNL_ARG_DIFF_DST, dst);
        cpu_op_argument(&it->backward_data, DNNL_ARG_WEIGHTS, &wanted);
        cpu_op_argument(&it->backward_data, DNNL_ARG_DIFF_SRC, src);
        cpu_take_scratchpad(it, SP_PASS_BACKWARD, &it->backward_data);
        SP_TRY(cpu_copy_compile(model, it, SP_PASS_BACKWARD, stored, &wanted, false, &it->weights_copy, err));
    }
    return cpu_copy_compile(model, it, SP_PASS_BACKWARD, &made, stored, true, &it->gradient_copy, err);
}

static sp_status compile(struct cpu_model *model, int l, struct sp_error *err)
{
    const struct sp_layer *layer = &model->network->layers[l];
    const dnnl_dim_t bias_dims[1] = {layer->out.c};
    struct cpu_md any, bias = {0};
    dnnl_primitive_desc_t hint = NULL;
    if (cpu_matrix_product_suits(model, l)) {
        model->flat[l + 1] = true;
        SP_TRY(cpu_plain_md(model, l + 1, &model->tensors[l + 1], err));
        return cpu_matrix_product.compile(model, l, err);
    }
    SP_TRY(weights_md(model, layer, CPU_ANY, &any, err));
    model->flat[l + 1] = true;
    SP_TRY(cpu_plain_md(model, l + 1, &model->tensors[l + 1], err));
    if (layer->settings.bias)
        SP_TRY(cpu_md_make(model->library, bias_dims, 1, CPU_PLAIN, &bias, err));
    const struct cpu_md *with_bias = layer->settings.bias ? &bias : NULL;
    sp_status status = compile_forward(model, l, &any, with_bias, &hint, err);
    if (status == SP_OK)
        status = compile_backward(model, l, &any, with_bias, hint, err);
    if (hint != NULL)
        dnnl_primitive_desc_destroy(hint);
    return status;
}

/* Runs as a convolution does: same arguments, same copies. */
static sp_status run(struct cpu_model *model, int l, enum sp_pass pass, const struct exec_io *io, struct sp_error *err)
{
    return cpu_convolution.run(model, l, pass, io, err);
}

const struct cpu_kind cpu_fully_connected = {.compile = compile, .run = run};
