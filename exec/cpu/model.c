#include "exec/cpu/cpu.h"

#include <string.h>

sp_status cpu_image_md(struct cpu_model *model, struct sp_shape shape, enum cpu_layout layout, struct cpu_md *out,
                       struct sp_error *err)
{
    const dnnl_dim_t dims[4] = {model->batch, shape.c, shape.h, shape.w};
    return cpu_md_make(model->library, dims, 4, layout, out, err);
}

sp_status cpu_plain_md(struct cpu_model *model, int tensor, struct cpu_md *out, struct sp_error *err)
{
    struct sp_shape shape = model->images[tensor];
    const dnnl_dim_t dims[2] = {model->batch, shape.c};
    if (model->flat[tensor])
        return cpu_md_make(model->library, dims, 2, CPU_PLAIN, out, err);
    return cpu_image_md(model, shape, CPU_PLAIN, out, err);
}

bool cpu_is_image(const struct cpu_model *model, int tensor)
{
    struct sp_shape image = model->images[tensor], shape = model->network->shapes[tensor];
    return !model->flat[tensor] && image.c == shape.c && image.h == shape.h && image.w == shape.w;
}

sp_status cpu_convert(struct cpu_model *model, const struct cpu_md *from, const struct cpu_md *to, const void *source,
                      void *target, struct sp_error *err)
{
    dnnl_primitive_desc_t pd;
    struct cpu_op op = {0};
    SP_TRY(cpu_reorder(model->library, from, to, &pd, err));
    sp_status status = cpu_op_create(model->library, pd, &op, err);
    if (status == SP_OK) {
        cpu_op_argument(&op, DNNL_ARG_FROM, from);
        cpu_op_argument(&op, DNNL_ARG_TO, to);
        status = cpu_op_run(model->library, &op, (void *[]){(void *)source, target}, NULL, err);
    }
    cpu_op_destroy(&op);
    return status;
}

sp_status cpu_plain_parameter_md(struct cpu_model *model, int l, enum sp_parameter which, struct cpu_md *out,
                                 struct sp_error *err)
{
    const struct sp_layer *layer = &model->network->layers[l];
    struct sp_shape in = model->images[layer->inputs[0]];
    dnnl_dim_t dims[4] = {layer->out.c, in.c, in.h, in.w};
    int count = model->flat[layer->inputs[0]] ? 2 : 4;
    if (layer->type == SP_LAYER_CONVOLUTION) {
        dims[1] = layer->in.c;
        dims[2] = dims[3] = layer->settings.kernel;
        count = 4;
    }
    if (which == SP_PARAMETER_BIAS ||
        (layer->type != SP_LAYER_CONVOLUTION && layer->type != SP_LAYER_FULLY_CONNECTED)) {
        dims[0] = layer->parameters[which];
        count = 1;
    }
    return cpu_md_make(model->library, dims, count, CPU_PLAIN, out, err);
}

bool cpu_relu_follows(const struct cpu_model *model, int l)
{
    const struct sp_network *network = model->network;
    const struct sp_layer *next = l + 1 < network->layer_count ? &network->layers[l + 1] : NULL;
    return !model->context->separate && next != NULL && next->type == SP_LAYER_RELU && next->inputs[0] == l + 1 &&
           sp_network_last_consumer(network, l + 1) == l + 1;
}

bool cpu_find_block(struct cpu_model *model, int tensor, int *block, enum cpu_layout *layout)
{
    static const struct {
        enum cpu_layout layout;
        int block;
    } known[] = {{CPU_BLOCKED_16, 16}, {CPU_BLOCKED_8, 8}, {CPU_PLAIN, 1}};
    struct sp_error err = {0};
    *block = 1;
    *layout = CPU_PLAIN;
    for (int k = 0; k < 3 && !model->flat[tensor]; k++) {
        struct cpu_md md;
        if (cpu_image_md(model, model->images[tensor], known[k].layout, &md, &err) != SP_OK ||
            !cpu_md_same(&md, &model->tensors[tensor]))
            continue;
        *block = known[k].block;
        *layout = known[k].layout;
        return true;
    }
    sp_error_fini(&err);
    return model->flat[tensor];
}

void cpu_keep_layout(struct cpu_model *model, int l)
{
    int x = model->network->layers[l].inputs[0];
    model->tensors[l + 1] = model->tensors[x];
    model->images[l + 1] = model->images[x];
    model->flat[l + 1] = model->flat[x];
}

size_t cpu_take_scratch(struct cpu_layer *layer, enum sp_pass pass, size_t bytes)
{
    size_t offset = layer->scratch_bytes[pass];
    layer->scratch_bytes[pass] += sp_memory_align(bytes);
    return offset;
}

void cpu_take_scratchpad(struct cpu_layer *layer, enum sp_pass pass, const struct cpu_op *op)
{
    size_t bytes = sp_memory_align(op->scratchpad_bytes);
    if (bytes > layer->scratch_bytes[pass])
        layer->scratch_bytes[pass] = bytes;
}

sp_status cpu_copy_compile(struct cpu_model *model, struct cpu_layer *layer, enum sp_pass pass,
                           const struct cpu_md *from, const struct cpu_md *to, bool from_scratch, struct cpu_copy *out,
                           struct sp_error *err)
{
    dnnl_primitive_desc_t pd;
    if (cpu_md_same(from, to))
        return SP_OK;
    SP_TRY(cpu_reorder(model->library, from, to, &pd, err));
    SP_TRY(cpu_op_create(model->library, pd, &out->op, err));
    cpu_op_argument(&out->op, DNNL_ARG_FROM, from);
    cpu_op_argument(&out->op, DNNL_ARG_TO, to);
    SP_ASSERT(out->op.scratchpad_bytes == 0, "a reorder wants a scratchpad of %zu bytes", out->op.scratchpad_bytes);
    out->bytes = cpu_md_bytes(from_scratch ? from : to);
    out->offset = cpu_take_scratch(layer, pass, out->bytes);
    return SP_OK;
}

bool cpu_copy_is_set(const struct cpu_copy *copy)
{
    return cpu_op_is_set(&copy->op);
}

sp_status cpu_copy_in(struct cpu_model *model, struct cpu_copy *copy, const void *from, const struct exec_io *io,
                      const void **out, struct sp_error *err)
{
    *out = from;
    if (!cpu_copy_is_set(copy) || from == NULL)
        return SP_OK;
    void *to = (char *)io->scratch + copy->offset;
    *out = to;
    return cpu_op_run(model->library, &copy->op, (void *[]){(void *)from, to}, NULL, err);
}

void *cpu_copy_source(const struct cpu_copy *copy, void *to, const struct exec_io *io)
{
    return cpu_copy_is_set(copy) && to != NULL ? (char *)io->scratch + copy->offset : to;
}

sp_status cpu_copy_out(struct cpu_model *model, struct cpu_copy *copy, void *to, const struct exec_io *io,
                       struct sp_error *err)
{
    if (!cpu_copy_is_set(copy) || to == NULL)
        return SP_OK;
    return cpu_op_run(model->library, &copy->op, (void *[]){(char *)io->scratch + copy->offset, to}, NULL, err);
}

struct cpu_copies cpu_model_copies(const struct cpu_model *model)
{
    struct cpu_copies copies = {0};
    for (int l = 0; l < model->network->layer_count; l++) {
        const struct cpu_layer *it = &model->layers[l];
        copies.weights += cpu_copy_is_set(&it->weights_copy) + cpu_copy_is_set(&it->gradient_copy);
        copies.tensors += cpu_copy_is_set(&it->input_gradient_copy) + cpu_copy_is_set(&it->shortcut_gradient_copy);
        for (int pass = 0; pass < SP_PASS_COUNT; pass++)
            if (pass != SP_PASS_EVALUATE)
                copies.tensors += cpu_copy_is_set(&it->input_copy[pass]) + cpu_copy_is_set(&it->shortcut_copy[pass]) +
                                  cpu_copy_is_set(&it->output_copy[pass]);
    }
    return copies;
}
