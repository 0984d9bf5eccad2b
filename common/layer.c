#include "common/layers/kinds.h"

#include <string.h>

const struct sp_layer_kind *const sp_layer_kinds[SP_LAYER_TYPE_COUNT] = {
    [SP_LAYER_CONVOLUTION] = &sp_layer_convolution,
    [SP_LAYER_BATCH_NORM] = &sp_layer_batch_norm,
    [SP_LAYER_RELU] = &sp_layer_relu,
    [SP_LAYER_MAX_POOL] = &sp_layer_max_pool,
    [SP_LAYER_AVERAGE_POOL] = &sp_layer_average_pool,
    [SP_LAYER_GLOBAL_AVERAGE_POOL] = &sp_layer_global_average_pool,
    [SP_LAYER_LRN] = &sp_layer_lrn,
    [SP_LAYER_DROPOUT] = &sp_layer_dropout,
    [SP_LAYER_FULLY_CONNECTED] = &sp_layer_fully_connected,
    [SP_LAYER_ADD] = &sp_layer_add,
    [SP_LAYER_FLATTEN] = &sp_layer_flatten,
    [SP_LAYER_SOFTMAX_CROSS_ENTROPY] = &sp_layer_softmax_cross_entropy,
    [SP_LAYER_MEASURED] = &sp_layer_measured,
};

enum sp_layer_type sp_layer_type_of(const char *name)
{
    int type = 0;
    while (type < SP_LAYER_TYPE_COUNT && strcmp(sp_layer_kinds[type]->name, name) != 0)
        type++;
    return (enum sp_layer_type)type;
}

sp_status sp_layer_window(struct sp_layer *layer, struct sp_error *err)
{
    const struct sp_layer_settings *s = &layer->settings;
    if (s->kernel < 1 || s->stride < 1 || s->pad < 0 || s->pad >= s->kernel)
        return sp_reject(err, layer->mark,
                         "%s: kernel %d, stride %d, pad %d: kernel and stride are 1 or more, pad 0 to kernel - 1",
                         layer->name, s->kernel, s->stride, s->pad);
    int64_t height = (int64_t)layer->in.h + 2 * (int64_t)s->pad, width = (int64_t)layer->in.w + 2 * (int64_t)s->pad;
    if (height < s->kernel || width < s->kernel)
        return sp_reject(err, layer->mark, "%s: a %dx%d window does not fit into %dx%d with padding %d", layer->name,
                         s->kernel, s->kernel, layer->in.h, layer->in.w, s->pad);
    height = (height - s->kernel) / s->stride + 1;
    width = (width - s->kernel) / s->stride + 1;
    if ((double)layer->out.c * (double)height * (double)width > SP_ELEMENTS_LIMIT)
        return sp_reject(err, layer->mark, "%s: an output of %dx%lldx%lld is over the limit of %d elements",
                         layer->name, layer->out.c, (long long)height, (long long)width, SP_ELEMENTS_LIMIT);
    layer->out.h = (int)height;
    layer->out.w = (int)width;
    return SP_OK;
}

sp_status sp_layer_weights(struct sp_layer *layer, int64_t inputs, struct sp_error *err)
{
    const struct sp_layer_settings *s = &layer->settings;
    if ((double)inputs * s->filters > SP_ELEMENTS_LIMIT)
        return sp_reject(err, layer->mark, "%s: %d times %lld weights are over the limit of %d", layer->name,
                         s->filters, (long long)inputs, SP_ELEMENTS_LIMIT);
    layer->parameters[SP_PARAMETER_WEIGHT] = inputs * s->filters;
    layer->parameters[SP_PARAMETER_BIAS] = s->bias ? s->filters : 0;
    return SP_OK;
}

void sp_layer_same_shape(struct sp_layer *layer, double forward, double backward)
{
    layer->out = layer->in;
    layer->forward_flops = forward * (double)sp_shape_elements(layer->out);
    layer->backward_input_flops = backward * (double)sp_shape_elements(layer->out);
}

size_t sp_layer_saves_nothing(const struct sp_layer *layer, int batch)
{
    (void)layer;
    (void)batch;
    return 0;
}
