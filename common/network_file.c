/*
 * A network as a YAML list of layers:
 *
 *     name: small
 *     input: [3, 32, 32]
 *     classes: 10
 *     layers:
 *       - {type: convolution, name: c1, filters: 16, kernel: 3, pad: 1}
 *       - {type: relu}
 *       - {type: add, inputs: [relu1, c1]}
 *
 * A layer reads the one before it unless it names its `input` (or `inputs`); "input" is the network's input.
 */
#include "common/alloc.h"
#include "common/layer.h"
#include "common/network_build.h"
#include "common/yaml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The keys of a layer as the reader of fields wants them. */
struct keys {
    char *type, *name, *input;
    int filters, outputs, kernel, stride, pad, size;
    bool bias, shortcut;
    double epsilon, momentum, alpha, beta, k, rate;
};

#define INT(key, low, high)                                                                                            \
    {                                                                                                                  \
#key, SP_FIELD_INT, offsetof(struct keys, key), low, high, false                                               \
    }
#define REAL(key, low, high)                                                                                           \
    {                                                                                                                  \
#key, SP_FIELD_DOUBLE, offsetof(struct keys, key), low, high, false                                            \
    }
static const struct sp_field key_fields[] = {
    {"type", SP_FIELD_TEXT, offsetof(struct keys, type), 0, 0, true},
    {"name", SP_FIELD_TEXT, offsetof(struct keys, name), 0, 0, false},
    {"input", SP_FIELD_TEXT, offsetof(struct keys, input), 0, 0, false},
    INT(filters, 1, 1e6),
    INT(outputs, 1, 1e7),
    INT(kernel, 1, 1000),
    INT(stride, 1, 1000),
    INT(pad, 0, 999),
    INT(size, 1, 99),
    {"bias", SP_FIELD_BOOL, offsetof(struct keys, bias), 0, 0, false},
    {"shortcut", SP_FIELD_BOOL, offsetof(struct keys, shortcut), 0, 0, false},
    REAL(epsilon, 1e-12, 1),
    REAL(momentum, 0, 1),
    REAL(alpha, 0, 1e6),
    REAL(beta, 0, 100),
    REAL(k, 1e-6, 1e6),
    REAL(rate, 0, 0.999999),
};
enum { FIELDS = sizeof key_fields / sizeof *key_fields };

/* The tensor of a layer's name; -1 and a message when there is none. */
static int find_tensor(struct sp_builder *builder, const char *name, struct sp_mark mark)
{
    const struct sp_network *network = builder->network;
    const char **names = sp_calloc((size_t)network->layer_count + 1, sizeof *names);
    int found = strcmp(name, "input") == 0 ? 0 : -1;
    names[0] = "input";
    for (int l = 0; l < network->layer_count; l++) {
        names[l + 1] = network->layers[l].name;
        if (strcmp(network->layers[l].name, name) == 0)
            found = l + 1;
    }
    if (found < 0) {
        const char *near = sp_nearest(name, names, network->layer_count + 1);
        sp_reject(builder->err, mark, "layers: no layer \"%s\" before this one%s%s%s", name,
                  near != NULL ? "; did you mean \"" : "", near != NULL ? near : "", near != NULL ? "\"?" : "");
    }
    free(names);
    return found;
}

static void settings_to_keys(struct sp_layer_settings s, struct keys *keys)
{
    *keys = (struct keys){.stride = s.stride,
                          .size = s.size,
                          .bias = s.bias,
                          .epsilon = (double)s.epsilon,
                          .momentum = (double)s.momentum,
                          .alpha = (double)s.alpha,
                          .beta = (double)s.beta,
                          .k = (double)s.k,
                          .rate = (double)s.rate};
}

static struct sp_layer_settings keys_to_settings(const struct keys *keys)
{
    return (struct sp_layer_settings){.filters = keys->outputs > 0 ? keys->outputs : keys->filters,
                                      .kernel = keys->kernel,
                                      .stride = keys->stride,
                                      .pad = keys->pad,
                                      .bias = keys->bias,
                                      .shortcut = keys->shortcut,
                                      .epsilon = (float)keys->epsilon,
                                      .momentum = (float)keys->momentum,
                                      .size = keys->size,
                                      .alpha = (float)keys->alpha,
                                      .beta = (float)keys->beta,
                                      .k = (float)keys->k,
                                      .rate = (float)keys->rate};
}

/* The tensors a layer reads: `inputs: [a, b]`, `input: a`, or the layer before. */
static sp_status read_inputs(struct sp_builder *builder, const struct sp_yaml *map, const struct keys *keys,
                             enum sp_layer_type type, int inputs[2])
{
    const struct sp_yaml *list = sp_yaml_get(map, "inputs");
    inputs[0] = builder->network->tensor_count - 1;
    inputs[1] = -1;
    if (type == SP_LAYER_ADD && (list == NULL || list->kind != SP_YAML_LIST || list->count != 2))
        return sp_reject(builder->err, map->mark, "layers: add needs inputs: [main path, shortcut]");
    if (type != SP_LAYER_ADD && list != NULL)
        return sp_reject(builder->err, list->mark, "layers: only add has several inputs; name one as input:");
    if (keys->input != NULL)
        inputs[0] = find_tensor(builder, keys->input, map->mark);
    for (int i = 0; list != NULL && i < 2; i++)
        inputs[i] = find_tensor(builder, list->items[i]->kind == SP_YAML_SCALAR ? list->items[i]->text : "",
                                list->items[i]->mark);
    return inputs[0] < 0 || (list != NULL && inputs[1] < 0) ? SP_E_INPUT : SP_OK;
}

static sp_status read_layer(struct sp_builder *builder, const struct sp_yaml *map)
{
    static const char *const other[] = {"inputs", NULL};
    const struct sp_yaml *type_word = sp_yaml_get(map, "type");
    enum sp_layer_type type = SP_LAYER_TYPE_COUNT;
    if (type_word != NULL && type_word->kind == SP_YAML_SCALAR)
        type = sp_layer_type_of(type_word->text);
    if (type_word != NULL && type == SP_LAYER_TYPE_COUNT) {
        const char *names[SP_LAYER_TYPE_COUNT];
        for (int t = 0; t < SP_LAYER_TYPE_COUNT; t++)
            names[t] = sp_layer_kinds[t]->name;
        const char *word = type_word->kind == SP_YAML_SCALAR ? type_word->text : "?";
        const char *near = sp_nearest(word, names, SP_LAYER_TYPE_COUNT);
        return sp_reject(builder->err, type_word->mark, "layers: no type \"%s\"%s%s%s", word,
                         near != NULL ? "; did you mean \"" : "", near != NULL ? near : "", near != NULL ? "\"?" : "");
    }
    struct keys keys;
    settings_to_keys(sp_layer_settings_default(type < SP_LAYER_TYPE_COUNT ? type : SP_LAYER_RELU), &keys);
    sp_status status = sp_yaml_fields(map, "layers", key_fields, FIELDS, other, &keys, builder->err);
    int inputs[2];
    if (status == SP_OK)
        status = read_inputs(builder, map, &keys, type, inputs);
    if (status == SP_OK) {
        struct sp_layer layer = {.type = type, .settings = keys_to_settings(&keys), .mark = map->mark};
        snprintf(layer.name, sizeof layer.name, "%s", keys.name != NULL ? keys.name : "");
        sp_builder_layer(builder, &layer, inputs[0], inputs[1]);
        status = builder->status;
    }
    free(keys.type);
    free(keys.name);
    free(keys.input);
    return status;
}

/* The file's own input and classes must be those of the data. */
static sp_status check_data(const struct sp_yaml *root, struct sp_shape input, int classes, struct sp_error *err)
{
    const struct sp_yaml *shape = sp_yaml_get(root, "input"), *count = sp_yaml_get(root, "classes");
    int expected[3] = {input.c, input.h, input.w};
    int64_t value;
    if (shape != NULL && (shape->kind != SP_YAML_LIST || shape->count != 3))
        return sp_reject(err, shape->mark, "input: expected [channels, height, width]");
    for (int i = 0; shape != NULL && i < 3; i++)
        if (!sp_yaml_int(shape->items[i], &value) || value != expected[i])
            return sp_reject(err, shape->mark, "input: the data has [%d, %d, %d]", input.c, input.h, input.w);
    if (count != NULL && (!sp_yaml_int(count, &value) || value != classes))
        return sp_reject(err, count->mark, "classes: the data has %d", classes);
    return SP_OK;
}

static sp_status read_layers(struct sp_builder *builder, const struct sp_yaml *layers)
{
    sp_status status = SP_OK;
    for (int l = 0; l < layers->count; l++) {
        sp_status one = read_layer(builder, layers->items[l]);
        status = one != SP_OK ? one : status;
        if (builder->status != SP_OK)
            return builder->status;
    }
    return status;
}

sp_status sp_network_file(const char *path, struct sp_mark mark, struct sp_shape input, int classes,
                          struct sp_network **out, struct sp_error *err)
{
    static const char *const keys[] = {"name", "input", "classes", "layers", NULL};
    struct sp_document *document;
    sp_status status = sp_document_read(path, &document, err);
    if (status != SP_OK) {
        sp_reject(err, mark, "network: this file was asked for here");
        return status;
    }
    const struct sp_yaml *root = sp_document_root(document), *layers = NULL;
    if (root == NULL || root->kind != SP_YAML_MAP)
        status = sp_reject(err, (struct sp_mark){path, 1, 1}, "expected keys: name, input, classes, layers");
    if (status == SP_OK)
        status = sp_yaml_fields(root, "network", NULL, 0, keys, NULL, err);
    if (status == SP_OK) {
        layers = sp_yaml_get(root, "layers");
        if (layers == NULL || layers->kind != SP_YAML_LIST)
            status = sp_reject(err, root->mark, "layers: expected a list of layers");
    }
    if (status == SP_OK)
        status = check_data(root, input, classes, err);
    if (status == SP_OK) {
        const struct sp_yaml *name = sp_yaml_get(root, "name");
        struct sp_builder builder;
        sp_builder_init(&builder, name != NULL && name->kind == SP_YAML_SCALAR ? name->text : path, input, classes,
                        err);
        builder.status = read_layers(&builder, layers);
        status = sp_builder_finish(&builder, out);
        for (int l = 0; status == SP_OK && l < (*out)->layer_count; l++)
            (*out)->layers[l].mark = (struct sp_mark){0}; /* the marks' file name goes with the document */
    }
    sp_document_destroy(&document);
    return status;
}
