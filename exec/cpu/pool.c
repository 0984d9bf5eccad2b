/*
 * Max, average and global average pooling. Max pooling keeps the library's workspace for its backward.
 */
#include "exec/cpu/cpu.h"

static struct cpu_window window_of(const struct sp_layer *l)
{
    if (l->type == SP_LAYER_GLOBAL_AVERAGE_POOL)
        return (struct cpu_window){l->in.h, l->in.w, 1, 0, CPU_DIRECT, false};
    return (struct cpu_window){l->settings.kernel, l->settings.kernel, l->settings.stride,
                               l->settings.pad,    CPU_DIRECT,         false};
}

static sp_status compile_evaluate(struct cpu_model *model, int l, struct sp_error *err)
{
    const struct sp_layer *layer = &model->network->layers[l];
    struct cpu_layer *it = &model->layers[l];
    dnnl_primitive_desc_t pd;
    SP_TRY(cpu_pool_forward(model->library, false, layer->type == SP_LAYER_MAX_POOL, &model->tensors[layer->inputs[0]],
                            &model->tensors[l + 1], window_of(layer), &pd, err));
    SP_TRY(cpu_op_create(model->library, pd, &it->evaluate, err));
    cpu_op_argument(&it->evaluate, DNNL_ARG_SRC, &model->tensors[layer->inputs[0]]);
    cpu_op_argument(&it->evaluate, DNNL_ARG_DST, &model->tensors[l + 1]);
    cpu_take_scratchpad(it, SP_PASS_EVALUATE, &it->evaluate);
    return SP_OK;
}

static sp_status compile(struct cpu_model *model, int l, struct sp_error *err)
{
    const struct sp_layer *layer = &model->network->layers[l];
    struct cpu_layer *it = &model->layers[l];
    const struct cpu_md *src = &model->tensors[layer->inputs[0]];
    bool max = layer->type == SP_LAYER_MAX_POOL;
    struct cpu_md any, workspace;
    dnnl_primitive_desc_t hint, pd;
    SP_TRY(cpu_image_md(model, layer->out, CPU_ANY, &any, err));
    SP_TRY(cpu_pool_forward(model->library, true, max, src, &any, window_of(layer), &hint, err));
    SP_TRY(cpu_pd_md(model->library, hint, dnnl_query_dst_md, &model->tensors[l + 1], err));
    SP_TRY(cpu_pd_md(model->library, hint, dnnl_query_workspace_md, &workspace, err));
    SP_TRY(cpu_pool_backward(model->library, hint, max, src, &model->tensors[l + 1], window_of(layer), &pd, err));
    SP_TRY(cpu_op_create(model->library, hint, &it->forward, err));
    SP_TRY(cpu_op_create(model->library, pd, &it->backward_data, err));
    cpu_op_argument(&it->forward, DNNL_ARG_SRC, src);
    cpu_op_argument(&it->forward, DNNL_ARG_DST, &model->tensors[l + 1]);
    cpu_op_argument(&it->backward_data, DNNL_ARG_DIFF_DST, &model->tensors[l + 1]);
    cpu_op_argument(&it->backward_data, DNNL_ARG_DIFF_SRC, src);
    if (workspace.set) {
        it->saved_bytes = cpu_md_bytes(&workspace);
        cpu_op_argument(&it->forward, DNNL_ARG_WORKSPACE, &workspace);
        cpu_op_argument(&it->backward_data, DNNL_ARG_WORKSPACE, &workspace);
    }
    cpu_take_scratchpad(it, SP_PASS_FORWARD, &it->forward);
    cpu_take_scratchpad(it, SP_PASS_BACKWARD, &it->backward_data);
    return compile_evaluate(model, l, err);
}

static sp_status run(struct cpu_model *model, int l, enum sp_pass pass, const struct exec_io *io, struct sp_error *err)
{
    struct cpu_layer *it = &model->layers[l];
    if (pass == SP_PASS_FORWARD)
        return cpu_op_run(model->library, &it->forward, (void *[]){(void *)io->input[0], io->output, io->saved},
                          io->scratch, err);
    if (pass == SP_PASS_EVALUATE)
        return cpu_op_run(model->library, &it->evaluate, (void *[]){(void *)io->input[0], io->output}, io->scratch,
                          err);
    if (io->input_gradient[0] == NULL)
        return SP_OK;
    return cpu_op_run(model->library, &it->backward_data,
                      (void *[]){(void *)io->output_gradient, io->input_gradient[0], io->saved}, io->scratch, err);
}

const struct cpu_kind cpu_pool = {.compile = compile, .run = run};
