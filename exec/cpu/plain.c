/*
 * The reference operation, for kinds without a faster one and for layouts that the faster one cannot take: on the
 * tensors themselves where they are plain, else on plain copies in scratch.
 */
#include "exec/cpu/cpu.h"
#include "exec/ref/ref.h"

static sp_status compile_parameters(struct cpu_model *model, int l, struct sp_error *err)
{
    for (int p = 0; p < SP_PARAMETER_COUNT; p++)
        if (model->network->layers[l].parameters[p] > 0)
            SP_TRY(cpu_plain_parameter_md(model, l, (enum sp_parameter)p, &model->layers[l].parameters[p], err));
    return SP_OK;
}

static bool makes_image(const struct sp_layer *layer)
{
    return layer->type == SP_LAYER_CONVOLUTION || layer->type == SP_LAYER_MAX_POOL ||
           layer->type == SP_LAYER_AVERAGE_POOL || layer->type == SP_LAYER_GLOBAL_AVERAGE_POOL;
}

/* Plain copies of an input, and of its gradient. The backward pass reads what the kind keeps. */
static sp_status compile_input(struct cpu_model *model, int l, int x, bool kept, struct cpu_copy *copies,
                               struct cpu_copy *gradient_copy, struct sp_error *err)
{
    struct cpu_layer *it = &model->layers[l];
    struct cpu_md plain;
    SP_TRY(cpu_plain_md(model, x, &plain, err));
    for (int pass = 0; pass < SP_PASS_COUNT; pass++)
        if (pass != SP_PASS_BACKWARD || kept)
            SP_TRY(
                cpu_copy_compile(model, it, (enum sp_pass)pass, &model->tensors[x], &plain, false, &copies[pass], err));
    return cpu_copy_compile(model, it, SP_PASS_BACKWARD, &plain, &model->tensors[x], true, gradient_copy, err);
}

/* Plain copies of the output; in the backward pass of its gradient. */
static sp_status compile_output(struct cpu_model *model, int l, struct sp_error *err)
{
    struct cpu_layer *it = &model->layers[l];
    const struct cpu_md *data = &model->tensors[l + 1];
    struct cpu_md plain;
    SP_TRY(cpu_plain_md(model, l + 1, &plain, err));
    for (int pass = 0; pass < SP_PASS_COUNT; pass++) {
        bool backward = pass == SP_PASS_BACKWARD;
        SP_TRY(cpu_copy_compile(model, it, (enum sp_pass)pass, backward ? data : &plain, backward ? &plain : data,
                                !backward, &it->output_copy[pass], err));
    }
    return SP_OK;
}

/* Convolution and pooling make plain images; other kinds keep their input's shape, and so its layout; the loss has no
 * output. */
static sp_status compile(struct cpu_model *model, int l, struct sp_error *err)
{
    const struct sp_layer *layer = &model->network->layers[l];
    struct cpu_layer *it = &model->layers[l];
    bool kept = sp_layer_kinds[layer->type]->flags & SP_KEEPS_INPUT;
    it->saved_bytes = sp_layer_kinds[layer->type]->saved_bytes(layer, model->batch);
    SP_TRY(compile_parameters(model, l, err));
    if (makes_image(layer))
        SP_TRY(cpu_image_md(model, layer->out, CPU_PLAIN, &model->tensors[l + 1], err));
    else
        cpu_keep_layout(model, l);
    SP_TRY(compile_input(model, l, layer->inputs[0], kept, it->input_copy, &it->input_gradient_copy, err));
    if (layer->input_count > 1)
        SP_TRY(compile_input(model, l, layer->inputs[1], kept, it->shortcut_copy, &it->shortcut_gradient_copy, err));
    return l + 1 == model->network->layer_count ? SP_OK : compile_output(model, l, err);
}

static sp_status backward(struct cpu_model *model, int l, const struct exec_io *io, const struct sp_shape *shapes,
                          struct exec_io *plain, struct sp_error *err)
{
    const struct sp_layer *layer = &model->network->layers[l];
    struct cpu_layer *it = &model->layers[l];
    SP_TRY(
        cpu_copy_in(model, &it->output_copy[SP_PASS_BACKWARD], io->output_gradient, io, &plain->output_gradient, err));
    plain->input_gradient[0] = cpu_copy_source(&it->input_gradient_copy, io->input_gradient[0], io);
    plain->input_gradient[1] = cpu_copy_source(&it->shortcut_gradient_copy, io->input_gradient[1], io);
    exec_ref_ops[layer->type]->backward(layer, shapes, plain);
    SP_TRY(cpu_copy_out(model, &it->input_gradient_copy, io->input_gradient[0], io, err));
    return cpu_copy_out(model, &it->shortcut_gradient_copy, io->input_gradient[1], io, err);
}

static sp_status run(struct cpu_model *model, int l, enum sp_pass pass, const struct exec_io *io, struct sp_error *err)
{
    const struct sp_layer *layer = &model->network->layers[l];
    struct cpu_layer *it = &model->layers[l];
    const struct exec_ref_op *op = exec_ref_ops[layer->type];
    struct sp_shape shapes[2] = {layer->in};
    struct exec_io plain = *io;
    if (layer->input_count > 1)
        shapes[1] = model->network->shapes[layer->inputs[1]];
    SP_TRY(cpu_copy_in(model, &it->input_copy[pass], io->input[0], io, &plain.input[0], err));
    SP_TRY(cpu_copy_in(model, &it->shortcut_copy[pass], io->input[1], io, &plain.input[1], err));
    if (pass == SP_PASS_BACKWARD)
        return backward(model, l, io, shapes, &plain, err);
    plain.output = cpu_copy_source(&it->output_copy[pass], io->output, io);
    (pass == SP_PASS_FORWARD ? op->forward : op->evaluate)(layer, shapes, &plain);
    return cpu_copy_out(model, &it->output_copy[pass], io->output, io, err);
}

const struct cpu_kind cpu_plain = {.compile = compile, .run = run};
