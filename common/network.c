#include "common/network.h"
#include "common/alloc.h"
#include "common/layer.h"
#include "common/network_build.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void sp_builder_init(struct sp_builder *builder, const char *name, struct sp_shape input, int classes,
                     struct sp_error *err)
{
    *builder = (struct sp_builder){.err = err, .classes = classes};
    builder->network = sp_calloc(1, sizeof *builder->network);
    snprintf(builder->network->name, sizeof builder->network->name, "%s", name);
    builder->network->classes = classes;
    *(struct sp_shape *)sp_grow((void **)&builder->network->shapes, 0, sizeof input) = input;
    builder->network->tensor_count = 1;
}

struct sp_layer_settings sp_layer_settings_default(enum sp_layer_type type)
{
    struct sp_layer_settings s = {.stride = 1,
                                  .bias = true,
                                  .epsilon = 1e-5f,
                                  .momentum = 0.1f,
                                  .size = 5,
                                  .alpha = 1e-4f,
                                  .beta = 0.75f,
                                  .k = 1,
                                  .rate = 0.5f};
    if (type == SP_LAYER_MAX_POOL || type == SP_LAYER_AVERAGE_POOL)
        s.stride = 0; /* the kernel's size, once that is known */
    return s;
}

static const char *const short_names[SP_LAYER_TYPE_COUNT] = {
    "conv", "bn", "relu", "pool", "pool", "pool", "lrn", "drop", "fc", "add", "flatten", "loss",
};

static void name_layer(struct sp_builder *builder, struct sp_layer *layer)
{
    if (layer->name[0] == '\0')
        snprintf(layer->name, sizeof layer->name, "%s%d", short_names[layer->type], ++builder->counts[layer->type]);
    for (int l = 0; l < builder->network->layer_count; l++) {
        const char *other = builder->network->layers[l].name;
        if (strcmp(other, layer->name) == 0 && builder->status == SP_OK)
            builder->status = sp_reject(builder->err, layer->mark, "two layers are named \"%s\"", layer->name);
    }
}

int sp_builder_layer(struct sp_builder *builder, const struct sp_layer *template, int input, int shortcut)
{
    struct sp_network *network = builder->network;
    if (builder->status != SP_OK)
        return 0;
    struct sp_layer layer = *template;
    const struct sp_shape shapes[2] = {network->shapes[input], network->shapes[shortcut >= 0 ? shortcut : input]};
    layer.inputs[0] = input;
    layer.inputs[1] = shortcut;
    layer.input_count = shortcut >= 0 ? 2 : 1;
    layer.in = shapes[0];
    if (layer.settings.stride == 0)
        layer.settings.stride = layer.settings.kernel;
    name_layer(builder, &layer);
    if (builder->status == SP_OK)
        builder->status = sp_layer_kinds[layer.type]->infer(&layer, shapes, builder->err);
    if (builder->status != SP_OK)
        return 0;
    *(struct sp_layer *)sp_grow((void **)&network->layers, network->layer_count++, sizeof layer) = layer;
    *(struct sp_shape *)sp_grow((void **)&network->shapes, network->tensor_count, sizeof layer.out) = layer.out;
    return network->tensor_count++;
}

int sp_builder_convolution(struct sp_builder *builder, int input, int filters, int kernel, int stride, int pad,
                           bool bias)
{
    struct sp_layer layer = {
        .type = SP_LAYER_CONVOLUTION,
        .settings = {.filters = filters, .kernel = kernel, .stride = stride, .pad = pad, .bias = bias}};
    return sp_builder_layer(builder, &layer, input, -1);
}

int sp_builder_plain(struct sp_builder *builder, enum sp_layer_type type, int input)
{
    struct sp_layer layer = {.type = type, .settings = sp_layer_settings_default(type)};
    return sp_builder_layer(builder, &layer, input, -1);
}

int sp_builder_max_pool(struct sp_builder *builder, int input, int kernel, int stride)
{
    struct sp_layer layer = {.type = SP_LAYER_MAX_POOL, .settings = {.kernel = kernel, .stride = stride}};
    return sp_builder_layer(builder, &layer, input, -1);
}

int sp_builder_fully_connected(struct sp_builder *builder, int input, int outputs)
{
    struct sp_layer layer = {.type = SP_LAYER_FULLY_CONNECTED, .settings = {.filters = outputs, .bias = true}};
    return sp_builder_layer(builder, &layer, input, -1);
}

int sp_builder_dropout(struct sp_builder *builder, int input, float rate)
{
    struct sp_layer layer = {.type = SP_LAYER_DROPOUT, .settings = {.rate = rate}};
    return sp_builder_layer(builder, &layer, input, -1);
}

int sp_builder_add(struct sp_builder *builder, int main_path, int shortcut)
{
    struct sp_layer layer = {.type = SP_LAYER_ADD};
    return sp_builder_layer(builder, &layer, main_path, shortcut);
}

static bool is_weight_layer(const struct sp_layer *layer)
{
    bool kind = layer->type == SP_LAYER_CONVOLUTION || layer->type == SP_LAYER_FULLY_CONNECTED;
    return kind && !layer->settings.shortcut;
}

/* Every tensor but the last must be read, or a layer would do nothing. */
static sp_status check_ends(const struct sp_builder *builder)
{
    const struct sp_network *network = builder->network;
    struct sp_mark none = {0};
    if (network->layer_count == 0)
        return sp_reject(builder->err, none, "%s: a network needs layers", network->name);
    const struct sp_layer *last = &network->layers[network->layer_count - 1];
    if (last->type != SP_LAYER_SOFTMAX_CROSS_ENTROPY)
        return sp_reject(builder->err, last->mark, "%s: the last layer must be softmax-cross-entropy, not %s",
                         network->name, sp_layer_kinds[last->type]->name);
    if (last->in.c != builder->classes)
        return sp_reject(builder->err, last->mark, "%s: %d scores for %d classes", last->name, last->in.c,
                         builder->classes);
    for (int l = 0; l + 1 < network->layer_count; l++) {
        if (sp_network_last_consumer(network, l + 1) < 0)
            return sp_reject(builder->err, network->layers[l].mark, "%s: nobody reads layer \"%s\"", network->name,
                             network->layers[l].name);
        if (network->layers[l].type == SP_LAYER_SOFTMAX_CROSS_ENTROPY)
            return sp_reject(builder->err, network->layers[l].mark, "%s: softmax-cross-entropy is only the last layer",
                             network->layers[l].name);
    }
    if (network->weight_layer_count == 0)
        return sp_reject(builder->err, last->mark, "%s: a network needs a convolution or fully connected layer",
                         network->name);
    return SP_OK;
}

sp_status sp_builder_finish(struct sp_builder *builder, struct sp_network **out)
{
    struct sp_network *network = builder->network;
    for (int l = 0; l < network->layer_count; l++) {
        struct sp_layer *layer = &network->layers[l];
        if (is_weight_layer(layer))
            layer->weight_number = ++network->weight_layer_count;
        layer->group = network->weight_layer_count;
        for (int p = 0; p < SP_PARAMETER_COUNT; p++)
            network->parameter_count += layer->parameters[p];
    }
    sp_status status = builder->status == SP_OK ? check_ends(builder) : builder->status;
    if (status != SP_OK)
        sp_network_destroy(&builder->network);
    *out = builder->network;
    builder->network = NULL;
    return status;
}

sp_status sp_network_create(const struct sp_network_spec *spec, struct sp_shape input, int classes,
                            struct sp_network **out, struct sp_error *err)
{
    *out = NULL;
    SP_ASSERT((spec->builtin == NULL) != (spec->file == NULL), "exactly one way to find a network");
    if (spec->file != NULL)
        return sp_network_file(spec->file, spec->mark, input, classes, out, err);
    struct sp_builder builder;
    sp_builder_init(&builder, spec->builtin, input, classes, err);
    builder.status = sp_network_builtin(spec->builtin, spec->mark, &builder);
    return sp_builder_finish(&builder, out);
}

void sp_network_destroy(struct sp_network **network)
{
    if (*network == NULL)
        return;
    free((*network)->layers);
    free((*network)->shapes);
    free(*network);
    *network = NULL;
}
