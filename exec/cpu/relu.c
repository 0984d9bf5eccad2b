/*
 * ReLU, in place, unless the layer before has done it on the way: batch norm and add do it forward and backward,
 * convolutions and fully connected layers forward only.
 */
#include "exec/cpu/cpu.h"

#include <string.h>

enum { NONE, FORWARD, BOTH };

static int done_before(const struct cpu_model *model, int l)
{
    int before = model->network->layers[l].inputs[0] - 1;
    if (before < 0 || !model->layers[before].with_relu)
        return NONE;
    enum sp_layer_type type = model->network->layers[before].type;
    return type == SP_LAYER_BATCH_NORM || type == SP_LAYER_ADD ? BOTH : FORWARD;
}

static sp_status compile(struct cpu_model *model, int l, struct sp_error *err)
{
    const struct sp_layer *layer = &model->network->layers[l];
    struct cpu_layer *it = &model->layers[l];
    const struct cpu_md *data = &model->tensors[layer->inputs[0]];
    dnnl_primitive_desc_t hint, pd;
    cpu_keep_layout(model, l);
    SP_TRY(cpu_relu_forward(model->library, data, &hint, err));
    SP_TRY(cpu_relu_backward(model->library, hint, data, &pd, err));
    SP_TRY(cpu_op_create(model->library, hint, &it->forward, err));
    SP_TRY(cpu_op_create(model->library, pd, &it->backward_data, err));
    cpu_op_argument(&it->forward, DNNL_ARG_SRC, data);
    cpu_op_argument(&it->forward, DNNL_ARG_DST, data);
    cpu_op_argument(&it->backward_data, DNNL_ARG_DST, data);
    cpu_op_argument(&it->backward_data, DNNL_ARG_DIFF_DST, data);
    cpu_op_argument(&it->backward_data, DNNL_ARG_DIFF_SRC, data);
    cpu_take_scratchpad(it, SP_PASS_FORWARD, &it->forward);
    cpu_take_scratchpad(it, SP_PASS_EVALUATE, &it->forward);
    cpu_take_scratchpad(it, SP_PASS_BACKWARD, &it->backward_data);
    return SP_OK;
}

/* What is done already is handed on; in place there is nothing to do. */
static sp_status hand_on(void *to, const void *from, size_t bytes)
{
    if (to != from)
        memcpy(to, from, bytes);
    return SP_OK;
}

static sp_status run(struct cpu_model *model, int l, enum sp_pass pass, const struct exec_io *io, struct sp_error *err)
{
    struct cpu_layer *it = &model->layers[l];
    int done = done_before(model, l);
    size_t bytes = cpu_md_bytes(&model->tensors[l + 1]);
    if (pass != SP_PASS_BACKWARD && done != NONE)
        return hand_on(io->output, io->input[0], bytes);
    if (pass != SP_PASS_BACKWARD)
        return cpu_op_run(model->library, &it->forward, (void *[]){(void *)io->input[0], io->output}, io->scratch, err);
    if (io->input_gradient[0] == NULL)
        return SP_OK;
    if (done == BOTH)
        return hand_on(io->input_gradient[0], io->output_gradient, bytes);
    return cpu_op_run(model->library, &it->backward_data,
                      (void *[]){io->output, (void *)io->output_gradient, io->input_gradient[0]}, io->scratch, err);
}

const struct cpu_kind cpu_relu = {.compile = compile, .run = run};
