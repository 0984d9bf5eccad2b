#include "exec/cpu/cpu.h"

static sp_status compile(struct cpu_model *model, int l, struct sp_error *err)
{
    const struct sp_layer *layer = &model->network->layers[l];
    const struct sp_layer_settings *s = &layer->settings;
    struct cpu_layer *it = &model->layers[l];
    const struct cpu_md *data = &model->tensors[layer->inputs[0]];
    struct cpu_lrn lrn = {s->size, s->alpha, s->beta, s->k};
    struct cpu_md workspace;
    dnnl_primitive_desc_t hint, pd;
    cpu_keep_layout(model, l);
    SP_TRY(cpu_lrn_forward(model->library, true, data, lrn, &hint, err));
    SP_TRY(cpu_pd_md(model->library, hint, dnnl_query_workspace_md, &workspace, err));
    SP_TRY(cpu_lrn_backward(model->library, hint, data, lrn, &pd, err));
    SP_TRY(cpu_op_create(model->library, hint, &it->forward, err));
    SP_TRY(cpu_op_create(model->library, pd, &it->backward_data, err));
    SP_TRY(cpu_lrn_forward(model->library, false, data, lrn, &pd, err));
    SP_TRY(cpu_op_create(model->library, pd, &it->evaluate, err));
    cpu_op_argument(&it->forward, DNNL_ARG_SRC, data);
    cpu_op_argument(&it->forward, DNNL_ARG_DST, data);
    cpu_op_argument(&it->evaluate, DNNL_ARG_SRC, data);
    cpu_op_argument(&it->evaluate, DNNL_ARG_DST, data);
    cpu_op_argument(&it->backward_data, DNNL_ARG_SRC, data);
    cpu_op_argument(&it->backward_data, DNNL_ARG_DIFF_DST, data);
    cpu_op_argument(&it->backward_data, DNNL_ARG_DIFF_SRC, data);
    if (workspace.set) {
        it->saved_bytes = cpu_md_bytes(&workspace);
        cpu_op_argument(&it->forward, DNNL_ARG_WORKSPACE, &workspace);
        cpu_op_argument(&it->backward_data, DNNL_ARG_WORKSPACE, &workspace);
    }
    cpu_take_scratchpad(it, SP_PASS_FORWARD, &it->forward);
    cpu_take_scratchpad(it, SP_PASS_EVALUATE, &it->evaluate);
    cpu_take_scratchpad(it, SP_PASS_BACKWARD, &it->backward_data);
    return SP_OK;
}

static sp_status run(struct cpu_model *model, int l, enum sp_pass pass, const struct exec_io *io, struct sp_error *err)
{
    struct cpu_layer *it = &model->layers[l];
    if (pass != SP_PASS_BACKWARD)
        return cpu_op_run(model->library, pass == SP_PASS_FORWARD ? &it->forward : &it->evaluate,
                          (void *[]){(void *)io->input[0], io->output, io->saved}, io->scratch, err);
    if (io->input_gradient[0] == NULL)
        return SP_OK;
    return cpu_op_run(model->library, &it->backward_data,
                      (void *[]){(void *)io->input[0], (void *)io->output_gradient, io->input_gradient[0], io->saved},
                      io->scratch, err);
}

const struct cpu_kind cpu_lrn = {.compile = compile, .run = run};
