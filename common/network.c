#include "common/network.h"
#include "common/alloc.h"
#include "common/layer.h"
#include "common/layers/kinds.h"
#include "common/network_build.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LAYER_LIMIT = 16384 }; /* far above any network here; names are compared pairwise */

/* Every network is made here, so that each has what the marks of its layers borrow. */
struct owner {
    struct sp_network network; /* first: the two share an address */
    char *file;
};

void sp_builder_init(struct sp_builder *builder, const char *name, struct sp_mark mark, struct sp_shape input,
                     int classes, struct sp_error *err)
{
    *builder = (struct sp_builder){.err = err, .mark = mark, .classes = classes};
    struct owner *owner = sp_calloc(1, sizeof *owner);
    builder->network = &owner->network;
    snprintf(builder->network->name, sizeof builder->network->name, "%s", name);
    builder->network->classes = classes;
    if (input.c < 1 || input.h < 1 || input.w < 1 || (double)input.c * input.h * input.w > SP_ELEMENTS_LIMIT) {
        builder->status = sp_reject(err, mark, "%s: inputs of %dx%dx%d: each is 1 or more, and together at most %d",
                                    name, input.c, input.h, input.w, SP_ELEMENTS_LIMIT);
        input = (struct sp_shape){0};
    }
    *(struct sp_shape *)sp_grow((void **)&builder->network->shapes, 0, sizeof input) = input;
    builder->network->tensor_count = 1;
}

void sp_network_keep_file(struct sp_network *network, const char *file)
{
    struct owner *owner = (struct owner *)network;
    free(owner->file);
    owner->file = sp_strdup(file);
    for (int l = 0; l < network->layer_count; l++)
        network->layers[l].mark.file = owner->file;
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
    [SP_LAYER_CONVOLUTION] = "conv", [SP_LAYER_BATCH_NORM] = "bn",     [SP_LAYER_RELU] = "relu",
    [SP_LAYER_MAX_POOL] = "pool",    [SP_LAYER_AVERAGE_POOL] = "pool", [SP_LAYER_GLOBAL_AVERAGE_POOL] = "pool",
    [SP_LAYER_LRN] = "lrn",          [SP_LAYER_DROPOUT] = "drop",      [SP_LAYER_FULLY_CONNECTED] = "fc",
    [SP_LAYER_ADD] = "add",          [SP_LAYER_FLATTEN] = "flatten",   [SP_LAYER_SOFTMAX_CROSS_ENTROPY] = "loss",
};

static bool is_taken(const struct sp_network *network, const char *name)
{
    for (int l = 0; l < network->layer_count; l++)
        if (strcmp(network->layers[l].name, name) == 0)
            return true;
    return false;
}

/* Kinds may share a short name and the user may have given one, so the next free number is looked for. */
static void name_layer(struct sp_builder *builder, struct sp_layer *layer)
{
    if (layer->name[0] != '\0') {
        if (is_taken(builder->network, layer->name))
            builder->status = sp_reject(builder->err, layer->mark, "two layers are named \"%s\"", layer->name);
        return;
    }
    do
        snprintf(layer->name, sizeof layer->name, "%s%d", short_names[layer->type], ++builder->counts[layer->type]);
    while (is_taken(builder->network, layer->name));
}

static bool is_known(struct sp_shape shape)
{
    return shape.c > 0;
}

static void infer_layer(struct sp_builder *builder, struct sp_layer *layer)
{
    const struct sp_shape *of = builder->network->shapes;
    sp_status status = SP_E_INPUT;
    if (layer->inputs[0] >= 0 && layer->type < SP_LAYER_TYPE_COUNT) {
        struct sp_shape first = of[layer->inputs[0]], second = layer->input_count == 2 ? of[layer->inputs[1]] : first;
        layer->in = first;
        if (is_known(first) && is_known(second))
            status = sp_layer_kinds[layer->type]->infer(layer, (const struct sp_shape[]){first, second}, builder->err);
    }
    if (status != SP_OK) {
        layer->out = (struct sp_shape){0};
        builder->status = status;
    }
}

int sp_builder_layer(struct sp_builder *builder, const struct sp_layer *template, int input, int shortcut)
{
    struct sp_network *network = builder->network;
    struct sp_layer layer = *template;
    struct sp_mark own = layer.mark;
    if (own.file == NULL)
        layer.mark = builder->mark;
    if (network->layer_count >= LAYER_LIMIT && !builder->cut_short) {
        builder->status = sp_reject(builder->err, layer.mark, "%s: more than %d layers", network->name, LAYER_LIMIT);
        builder->cut_short = true;
    }
    if (builder->cut_short)
        return 0;
    layer.inputs[0] = input;
    layer.inputs[1] = shortcut;
    layer.input_count = shortcut >= 0 ? 2 : 1;
    if (layer.settings.stride == 0)
        layer.settings.stride = layer.settings.kernel;
    name_layer(builder, &layer);
    infer_layer(builder, &layer);
    layer.mark = own;
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

static void count(struct sp_network *network)
{
    for (int l = 0; l < network->layer_count; l++) {
        struct sp_layer *layer = &network->layers[l];
        if (is_weight_layer(layer))
            layer->weight_number = ++network->weight_layer_count;
        layer->group = network->weight_layer_count;
        for (int p = 0; p < SP_PARAMETER_COUNT; p++)
            network->parameter_count += layer->parameters[p];
    }
}

/* The loss stands at the end, only there, and gets a score for each class. */
static void check_loss(struct sp_builder *builder)
{
    const struct sp_network *network = builder->network;
    const struct sp_layer *last = &network->layers[network->layer_count - 1];
    for (const struct sp_layer *layer = network->layers; layer < last; layer++)
        if (layer->type == SP_LAYER_SOFTMAX_CROSS_ENTROPY)
            builder->status =
                sp_reject(builder->err, layer->mark, "%s: softmax-cross-entropy is only the last layer", layer->name);
    if (last->type == SP_LAYER_TYPE_COUNT)
        return;
    if (last->type != SP_LAYER_SOFTMAX_CROSS_ENTROPY)
        builder->status =
            sp_reject(builder->err, last->mark, "%s: the last layer must be softmax-cross-entropy, not %s",
                      network->name, sp_layer_kinds[last->type]->name);
    else if (is_known(last->out) && last->in.c != builder->classes)
        builder->status = sp_reject(builder->err, last->mark, "%s: %d scores for %d classes", last->name, last->in.c,
                                    builder->classes);
}

/* Every tensor but the loss must be read, or a layer would do nothing. */
static void check_readers(struct sp_builder *builder)
{
    const struct sp_network *network = builder->network;
    bool *is_read = sp_calloc((size_t)network->tensor_count, sizeof *is_read);
    for (int l = 0; l < network->layer_count; l++)
        for (int i = 0; i < network->layers[l].input_count; i++)
            is_read[network->layers[l].inputs[i]] = true;
    for (int l = 0; l + 1 < network->layer_count; l++)
        if (!is_read[l + 1])
            builder->status =
                sp_reject(builder->err, network->layers[l].mark, "nobody reads layer \"%s\"", network->layers[l].name);
    free(is_read);
}

sp_status sp_builder_finish(struct sp_builder *builder, struct sp_network **out)
{
    struct sp_network *network = builder->network;
    sp_status before = builder->status;
    count(network);
    if (network->layer_count > 0 && !builder->cut_short)
        check_loss(builder);
    if (before == SP_OK) { /* else what the wrong layers would have read or weighed is not known */
        check_readers(builder);
        if (network->weight_layer_count == 0)
            builder->status = sp_reject(builder->err, builder->mark,
                                        "%s: a network needs a convolution or fully connected layer", network->name);
    }
    if (builder->status != SP_OK)
        sp_network_destroy(&builder->network);
    *out = builder->network;
    builder->network = NULL;
    return builder->status;
}

sp_status sp_network_create(const struct sp_network_spec *spec, struct sp_shape input, int classes,
                            struct sp_network **out, struct sp_error *err)
{
    *out = NULL;
    SP_ASSERT((spec->builtin != NULL) + (spec->file != NULL) + (spec->profile != NULL) == 1,
              "exactly one way to find a network");
    if (spec->profile != NULL)
        return sp_network_profile(spec->profile, spec->mark, spec->batch, out, err);
    if (spec->file != NULL)
        return sp_network_file(spec->file, spec->mark, input, classes, out, err);
    struct sp_builder builder;
    sp_builder_init(&builder, spec->builtin, spec->mark, input, classes, err);
    sp_network_builtin(spec->builtin, &builder);
    bool is_builtin = builder.network->layer_count > 0;
    sp_status status = sp_builder_finish(&builder, out);
    if (status != SP_OK && is_builtin)
        sp_error_context(err, "while building %s for inputs of %dx%dx%d", spec->builtin, input.c, input.h, input.w);
    return status;
}

void sp_network_destroy(struct sp_network **network)
{
    if (*network == NULL)
        return;
    free(((struct owner *)*network)->file);
    free((*network)->layers);
    free((*network)->shapes);
    free((*network)->measured);
    free(*network);
    *network = NULL;
}
