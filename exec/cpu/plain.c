/*
 * The reference operation, for kinds without a faster one: on the tensors themselves where they are plain, else on
 * plain copies in scratch.
 */
#include "exec/cpu/cpu.h"
#include "exec/ref/ref.h"

static sp_status compile_parameters(struct cpu_model *model, int l, struct sp_error *err)
{
    for (int p = 0; p < SP_PARAMETER_COUNT; p++) {
        const dnnl_dim_t dims[1] = {model->network->layers[l].parameters[p]};
        if (dims[0] > 0)
            SP_TRY(cpu_md_make(model->library, dims, 1, CPU_PLAIN, &model->layers[l].parameters[p], err));
    }
    return SP_OK;
}

/* Kinds that come here keep their input's shape, and so its layout; the loss has no output. */
static sp_status compile(struct cpu_model *model, int l, struct sp_error *err)
{
    const struct sp_layer *layer = &model->network->layers[l];
    struct cpu_layer *it = &model->layers[l];
    int x = layer->inputs[0];
    const struct cpu_md *data = &model->tensors[x];
    bool loss = l + 1 == model->network->layer_count;
    struct cpu_md plain;
    it->saved_bytes = sp_layer_kinds[layer->type]->saved_bytes(layer, model->batch);
    SP_TRY(compile_parameters(model, l, err));
    SP_TRY(cpu_plain_md(model, x, &plain, err));
    cpu_keep_layout(model, l);
    for (int pass = 0; pass < SP_PASS_COUNT; pass++) {
        enum sp_pass p = (enum sp_pass)pass;
        /* backward: a kept input, and the gradient of the output */
        if (pass != SP_PASS_BACKWARD || (sp_layer_kinds[layer->type]->flags & SP_KEEPS_INPUT))
            SP_TRY(cpu_copy_compile(model, it, p, data, &plain, false, &it->input_copy[p], err));
        if (!loss)
            SP_TRY(cpu_copy_compile(model, it, p, pass == SP_PASS_BACKWARD ? data : &plain,
                                    pass == SP_PASS_BACKWARD ? &plain : data, pass != SP_PASS_BACKWARD,
                                    &it->output_copy[p], err));
    }
    return cpu_copy_compile(model, it, SP_PASS_BACKWARD, &plain, data, true, &it->input_gradient_copy, err);
}

static sp_status run(struct cpu_model *model, int l, enum sp_pass pass, const struct exec_io *io, struct sp_error *err)
{
    const struct sp_layer *layer = &model->network->layers[l];
    struct cpu_layer *it = &model->layers[l];
    const struct exec_ref_op *op = exec_ref_ops[layer->type];
    struct sp_shape shapes[2] = {layer->in};
    struct exec_io plain = *io;
    if (cpu_copy_is_set(&it->input_copy[pass]))
        SP_TRY(cpu_copy_in(model, &it->input_copy[pass], io->input[0], io, &plain.input[0], err));
    if (pass == SP_PASS_BACKWARD) {
        SP_TRY(cpu_copy_in(model, &it->output_copy[pass], io->output_gradient, io, &plain.output_gradient, err));
        plain.input_gradient[0] = cpu_copy_source(&it->input_gradient_copy, io->input_gradient[0], io);
        op->backward(layer, shapes, &plain);
        return cpu_copy_out(model, &it->input_gradient_copy, io->input_gradient[0], io, err);
    }
    plain.output = cpu_copy_source(&it->output_copy[pass], io->output, io);
    (pass == SP_PASS_FORWARD ? op->forward : op->evaluate)(layer, shapes, &plain);
    return cpu_copy_out(model, &it->output_copy[pass], io->output, io, err);
}

const struct cpu_kind cpu_plain = {.compile = compile, .run = run};
