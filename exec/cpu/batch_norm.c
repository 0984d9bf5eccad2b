/*
 * Batch norm: the library's, with our own running statistics. `saved` holds mean and variance of the microbatch, and
 * where a ReLU follows, which the library does on the way, what it leaves for its backward pass.
 */
#include "exec/cpu/cpu.h"

static sp_status compile(struct cpu_model *model, int l, struct sp_error *err)
{
    const struct sp_layer *layer = &model->network->layers[l];
    struct cpu_layer *it = &model->layers[l];
    const struct cpu_md *data = &model->tensors[layer->inputs[0]];
    const dnnl_dim_t dims[1] = {layer->in.c};
    float epsilon = layer->settings.epsilon;
    struct cpu_md channel, workspace;
    dnnl_primitive_desc_t hint, pd;
    cpu_keep_layout(model, l);
    SP_TRY(cpu_md_make(model->library, dims, 1, CPU_PLAIN, &channel, err));
    it->parameters[0] = it->parameters[1] = channel;
    it->with_relu = cpu_relu_follows(model, l);
    SP_TRY(cpu_batch_norm_forward(model->library, true, it->with_relu, data, epsilon, &hint, err));
    SP_TRY(cpu_batch_norm_backward(model->library, hint, it->with_relu, data, epsilon, &pd, err));
    SP_TRY(cpu_pd_md(model->library, hint, dnnl_query_workspace_md, &workspace, err));
    it->workspace_offset = sp_memory_align(2 * sizeof(float) * (size_t)layer->in.c);
    it->saved_bytes =
        workspace.set ? it->workspace_offset + cpu_md_bytes(&workspace) : 2 * sizeof(float) * (size_t)layer->in.c;
    SP_TRY(cpu_op_create(model->library, hint, &it->forward, err));
    SP_TRY(cpu_op_create(model->library, pd, &it->backward_data, err));
    SP_TRY(cpu_batch_norm_forward(model->library, false, it->with_relu, data, epsilon, &pd, err));
    SP_TRY(cpu_op_create(model->library, pd, &it->evaluate, err));
    struct cpu_op *forwards[2] = {&it->forward, &it->evaluate};
    for (int f = 0; f < 2; f++) {
        cpu_op_argument(forwards[f], DNNL_ARG_SRC, data);
        cpu_op_argument(forwards[f], DNNL_ARG_DST, data);
        cpu_op_argument(forwards[f], DNNL_ARG_SCALE, &channel);
        cpu_op_argument(forwards[f], DNNL_ARG_SHIFT, &channel);
        cpu_op_argument(forwards[f], DNNL_ARG_MEAN, &channel);
        cpu_op_argument(forwards[f], DNNL_ARG_VARIANCE, &channel);
    }
    if (workspace.set)
        cpu_op_argument(&it->forward, DNNL_ARG_WORKSPACE, &workspace);
    cpu_op_argument(&it->backward_data, DNNL_ARG_SRC, data);
    cpu_op_argument(&it->backward_data, DNNL_ARG_DIFF_DST, data);
    cpu_op_argument(&it->backward_data, DNNL_ARG_DIFF_SRC, data);
    cpu_op_argument(&it->backward_data, DNNL_ARG_SCALE, &channel);
    cpu_op_argument(&it->backward_data, DNNL_ARG_MEAN, &channel);
    cpu_op_argument(&it->backward_data, DNNL_ARG_VARIANCE, &channel);
    cpu_op_argument(&it->backward_data, DNNL_ARG_DIFF_SCALE, &channel);
    cpu_op_argument(&it->backward_data, DNNL_ARG_DIFF_SHIFT, &channel);
    if (workspace.set)
        cpu_op_argument(&it->backward_data, DNNL_ARG_WORKSPACE, &workspace);
    if (cpu_batch_norm_backward_takes_shift())
        cpu_op_argument(&it->backward_data, DNNL_ARG_SHIFT, &channel);
    cpu_take_scratchpad(it, SP_PASS_FORWARD, &it->forward);
    cpu_take_scratchpad(it, SP_PASS_EVALUATE, &it->evaluate);
    cpu_take_scratchpad(it, SP_PASS_BACKWARD, &it->backward_data);
    return SP_OK;
}

/* Running mean and unbiased variance, as the reference does. */
static void update_statistics(const struct sp_layer *layer, const struct exec_io *io)
{
    int C = layer->in.c;
    const float *mean = io->saved, *variance = mean + C;
    float *running_mean = io->state, *running_variance = running_mean + C;
    double count = (double)io->batch * layer->in.h * layer->in.w, momentum = (double)layer->settings.momentum;
    double unbias = count > 1 ? count / (count - 1) : 1;
    for (int c = 0; c < C; c++) {
        running_mean[c] = (float)((1 - momentum) * (double)running_mean[c] + momentum * (double)mean[c]);
        running_variance[c] =
            (float)((1 - momentum) * (double)running_variance[c] + momentum * unbias * (double)variance[c]);
    }
}

static sp_status run_backward(struct cpu_model *model, int l, const struct exec_io *io, struct sp_error *err)
{
    struct cpu_layer *it = &model->layers[l];
    float *mean = io->saved;
    void *dy = (void *)io->output_gradient, *workspace = (char *)io->saved + it->workspace_offset;
    void *addresses[] = {(void *)io->input[0],
                         dy,
                         io->input_gradient[0] != NULL ? io->input_gradient[0] : dy,
                         (void *)io->parameter[0],
                         mean,
                         mean + model->network->layers[l].in.c,
                         io->parameter_gradient[0],
                         io->parameter_gradient[1],
                         it->with_relu ? workspace : (void *)io->parameter[1],
                         (void *)io->parameter[1]};
    return cpu_op_run(model->library, &it->backward_data, addresses, io->scratch, err);
}

static sp_status run(struct cpu_model *model, int l, enum sp_pass pass, const struct exec_io *io, struct sp_error *err)
{
    const struct sp_layer *layer = &model->network->layers[l];
    struct cpu_layer *it = &model->layers[l];
    float *mean = pass == SP_PASS_EVALUATE ? io->state : io->saved;
    if (pass == SP_PASS_BACKWARD)
        return run_backward(model, l, io, err);
    void *workspace = pass == SP_PASS_EVALUATE ? NULL : (char *)io->saved + it->workspace_offset;
    struct cpu_op *op = pass == SP_PASS_EVALUATE ? &it->evaluate : &it->forward;
    SP_TRY(cpu_op_run(model->library, op,
                      (void *[]){(void *)io->input[0], io->output, (void *)io->parameter[0], (void *)io->parameter[1],
                                 mean, mean + layer->in.c, workspace},
                      io->scratch, err));
    if (pass == SP_PASS_FORWARD)
        update_statistics(layer, io);
    return SP_OK;
}

const struct cpu_kind cpu_batch_norm = {.compile = compile, .run = run};
