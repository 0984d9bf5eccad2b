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
 * A layer reads the one before it unless it names its `input` (or `inputs`); "input" is the network's input. A layer
 * with a mistake still stands in the builder, so that the layers after it are read as if it were right.
 */
#include "common/alloc.h"
#include "common/layer.h"
#include "common/network_build.h"
#include "common/yaml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MISTAKE_LIMIT = 100 };

/* The keys of a layer as the reader of fields wants them. */
struct values {
    char *type, *name, *input;
    int filters, outputs, kernel, stride, pad, size;
    bool bias, shortcut;
    double epsilon, momentum, alpha, beta, k, rate;
};

/* Sets of kinds. */
#define KIND(type) (1u << SP_LAYER_##type)
enum {
    EVERY = (1 << SP_LAYER_TYPE_COUNT) - 1,
    WEIGHS = KIND(CONVOLUTION) | KIND(FULLY_CONNECTED),
    POOLS = KIND(MAX_POOL) | KIND(AVERAGE_POOL),
    SLIDES = KIND(CONVOLUTION) | POOLS,
};

struct key {
    struct sp_field field;
    unsigned kinds, required; /* the kinds that have it, and those that need it */
};

#define TEXT(key)            #key, SP_FIELD_TEXT, offsetof(struct values, key), 0, 0, false
#define BOOL(key)            #key, SP_FIELD_BOOL, offsetof(struct values, key), 0, 0, false
#define INT(key, low, high)  #key, SP_FIELD_INT, offsetof(struct values, key), low, high, false
#define REAL(key, low, high) #key, SP_FIELD_DOUBLE, offsetof(struct values, key), low, high, false
static const struct key keys[] = {
    {{TEXT(type)}, EVERY, 0}, /* looked at before */
    {{TEXT(name)}, EVERY, 0},
    {{TEXT(input)}, EVERY & ~KIND(ADD), 0},
    {{INT(filters, 1, 1e6)}, KIND(CONVOLUTION), KIND(CONVOLUTION)},
    {{INT(outputs, 1, 1e7)}, KIND(FULLY_CONNECTED), KIND(FULLY_CONNECTED)},
    {{INT(kernel, 1, 1000)}, SLIDES, SLIDES},
    {{INT(stride, 1, 1000)}, SLIDES, 0},
    {{INT(pad, 0, 999)}, SLIDES, 0},
    {{BOOL(bias)}, WEIGHS, 0},
    {{BOOL(shortcut)}, KIND(CONVOLUTION), 0},
    {{REAL(epsilon, 1e-12, 1)}, KIND(BATCH_NORM), 0},
    {{REAL(momentum, 0, 1)}, KIND(BATCH_NORM), 0},
    {{INT(size, 1, 99)}, KIND(LRN), 0},
    {{REAL(alpha, 0, 1e6)}, KIND(LRN), 0},
    {{REAL(beta, 0, 100)}, KIND(LRN), 0},
    {{REAL(k, 1e-6, 1e6)}, KIND(LRN), 0},
    {{REAL(rate, 0, 0.999999)}, KIND(DROPOUT), 0},
};
enum { KEYS = sizeof keys / sizeof *keys };

static const struct key *find_key(const char *word)
{
    for (int k = 0; k < KEYS; k++)
        if (strcmp(keys[k].field.key, word) == 0)
            return &keys[k];
    return NULL;
}

static void reject_name(struct sp_builder *builder, struct sp_mark mark, const char *what, const char *name,
                        const char *const *names, int count)
{
    const char *near = sp_nearest(name, names, count);
    if (near != NULL)
        builder->status = sp_reject(builder->err, mark, "layers: no %s; did you mean \"%s\"?", what, near);
    else
        builder->status = sp_reject(builder->err, mark, "layers: no %s", what);
}

/* The kind of a layer. A type that is not known is told, and taken for the nearest or for SP_LAYER_TYPE_COUNT. */
static enum sp_layer_type read_type(struct sp_builder *builder, const struct sp_yaml *map)
{
    const struct sp_yaml *word = sp_yaml_get(map, "type");
    if (word == NULL || word->kind != SP_YAML_SCALAR) {
        builder->status = sp_reject(builder->err, word == NULL ? map->mark : word->mark,
                                    word == NULL ? "layers: \"type\" is missing" : "layers.type: expected a word");
        return SP_LAYER_TYPE_COUNT;
    }
    enum sp_layer_type type = sp_layer_type_of(word->text);
    if (type < SP_LAYER_WRITABLE_COUNT)
        return type;
    const char *names[SP_LAYER_WRITABLE_COUNT];
    for (int t = 0; t < SP_LAYER_WRITABLE_COUNT; t++)
        names[t] = sp_layer_kinds[t]->name;
    char *what = sp_format("type \"%s\"", word->text);
    reject_name(builder, word->mark, what, word->text, names, SP_LAYER_WRITABLE_COUNT);
    free(what);
    const char *near = sp_nearest(word->text, names, SP_LAYER_WRITABLE_COUNT);
    return near != NULL ? sp_layer_type_of(near) : SP_LAYER_TYPE_COUNT;
}

/* Reads the keys of that kind. Keys of other kinds are told with what the kind has; the reader of fields would not know
 * them, or would take them for misspelt ones. */
static sp_status read_keys(const struct sp_yaml *map, enum sp_layer_type type, struct values *values,
                           struct sp_error *err)
{
    const struct sp_layer_kind *kind = sp_layer_kinds[type];
    struct sp_field fields[KEYS];
    int count = 0;
    for (int k = 0; k < KEYS; k++)
        if ((keys[k].kinds >> type & 1) != 0) {
            fields[count] = keys[k].field;
            fields[count++].required = (keys[k].required >> type & 1) != 0;
        }
    const char *other[KEYS + 2] = {"inputs"};
    int others = 1;
    sp_status status = SP_OK;
    for (int i = 0; i < map->count; i++) {
        const struct key *key = find_key(map->keys[i]->text);
        if (key == NULL || (key->kinds >> type & 1) != 0)
            continue;
        status = sp_reject(err, map->keys[i]->mark, "%s has no \"%s\" (%s)", kind->name, key->field.key, kind->help);
        other[others++] = key->field.key;
    }
    sp_status read = sp_yaml_fields(map, kind->name, fields, count, other, values, err);
    return status != SP_OK ? status : read;
}

static struct values default_values(enum sp_layer_type type)
{
    struct sp_layer_settings s = sp_layer_settings_default(type);
    return (struct values){.stride = s.stride,
                           .size = s.size,
                           .bias = s.bias,
                           .epsilon = (double)s.epsilon,
                           .momentum = (double)s.momentum,
                           .alpha = (double)s.alpha,
                           .beta = (double)s.beta,
                           .k = (double)s.k,
                           .rate = (double)s.rate};
}

static struct sp_layer_settings settings_of(enum sp_layer_type type, const struct values *values)
{
    return (struct sp_layer_settings){.filters = type == SP_LAYER_FULLY_CONNECTED ? values->outputs : values->filters,
                                      .kernel = values->kernel,
                                      .stride = values->stride,
                                      .pad = values->pad,
                                      .bias = values->bias,
                                      .shortcut = values->shortcut,
                                      .epsilon = (float)values->epsilon,
                                      .momentum = (float)values->momentum,
                                      .size = values->size,
                                      .alpha = (float)values->alpha,
                                      .beta = (float)values->beta,
                                      .k = (float)values->k,
                                      .rate = (float)values->rate};
}

/* The tensor of a layer's name; -1 and a message when there is none. */
static int find_tensor(struct sp_builder *builder, const struct sp_yaml *word)
{
    const struct sp_network *network = builder->network;
    if (word->kind != SP_YAML_SCALAR) {
        builder->status = sp_reject(builder->err, word->mark, "layers: expected the name of a layer");
        return -1;
    }
    if (strcmp(word->text, "input") == 0)
        return 0;
    for (int l = 0; l < network->layer_count; l++)
        if (strcmp(network->layers[l].name, word->text) == 0)
            return l + 1;
    const char **names = sp_calloc((size_t)network->layer_count + 1, sizeof *names);
    names[0] = "input";
    for (int l = 0; l < network->layer_count; l++)
        names[l + 1] = network->layers[l].name;
    char *what = sp_format("layer \"%s\" before this one", word->text);
    reject_name(builder, word->mark, what, word->text, names, network->layer_count + 1);
    free(what);
    free(names);
    return -1;
}

/* The tensors a layer reads: `inputs: [a, b]`, `input: a`, or the layer before. inputs[0] is -1 after a mistake. */
static void read_inputs(struct sp_builder *builder, const struct sp_yaml *map, enum sp_layer_type type, int inputs[2])
{
    const struct sp_yaml *list = sp_yaml_get(map, "inputs"), *one = sp_yaml_get(map, "input");
    bool add = type == SP_LAYER_ADD;
    int expected = add ? 2 : 1;
    inputs[0] = inputs[1] = -1;
    if (list == NULL && !add) {
        inputs[0] = one != NULL ? find_tensor(builder, one) : builder->network->tensor_count - 1;
        return;
    }
    if (list == NULL || list->kind != SP_YAML_LIST || list->count != expected)
        builder->status = sp_reject(builder->err, list != NULL ? list->mark : map->mark,
                                    add ? "layers: add needs inputs: [main path, shortcut]"
                                        : "layers: only add has several inputs; name one as input:");
    else if (one != NULL && !add)
        builder->status = sp_reject(builder->err, one->mark, "layers: input or inputs, not both");
    else {
        for (int i = 0; i < expected; i++)
            inputs[i] = find_tensor(builder, list->items[i]);
        if (add && inputs[1] < 0)
            inputs[0] = -1;
    }
}

static void read_name(struct sp_builder *builder, const struct sp_yaml *map, struct sp_layer *layer)
{
    const struct sp_yaml *word = sp_yaml_get(map, "name");
    if (word == NULL || word->kind != SP_YAML_SCALAR)
        return; /* the reader of fields tells */
    if (word->text[0] == '\0' || strcmp(word->text, "input") == 0)
        builder->status =
            sp_reject(builder->err, word->mark, "layers.name: \"%s\" cannot be the name of a layer", word->text);
    else if (strncmp(word->text, "optimizer.", 10) == 0 || strncmp(word->text, "in_flight.", 10) == 0)
        builder->status = sp_reject(builder->err, word->mark,
                                    "layers.name: \"%s\": names that begin with optimizer. or in_flight. are those of "
                                    "other tensors in checkpoints",
                                    word->text);
    else if (strlen(word->text) >= sizeof layer->name)
        builder->status = sp_reject(builder->err, word->mark, "layers.name: \"%s\" has more than %d bytes", word->text,
                                    (int)sizeof layer->name - 1);
    else
        snprintf(layer->name, sizeof layer->name, "%s", word->text);
}

static void read_layer(struct sp_builder *builder, const struct sp_yaml *map)
{
    struct sp_layer layer = {.type = SP_LAYER_TYPE_COUNT, .mark = map->mark};
    if (map->kind != SP_YAML_MAP) {
        builder->status = sp_reject(builder->err, map->mark, "layers: expected a layer such as {type: relu}");
    } else {
        layer.type = read_type(builder, map);
        read_name(builder, map, &layer);
    }
    int inputs[2] = {-1, -1};
    if (layer.type < SP_LAYER_TYPE_COUNT) {
        struct values values = default_values(layer.type);
        sp_status status = read_keys(map, layer.type, &values, builder->err);
        layer.settings = settings_of(layer.type, &values);
        read_inputs(builder, map, layer.type, inputs);
        if (status != SP_OK || sp_layer_type_of(values.type) != layer.type)
            inputs[0] = inputs[1] = -1;
        free(values.type);
        free(values.name);
        free(values.input);
    } else if (layer.name[0] == '\0') {
        snprintf(layer.name, sizeof layer.name, "?%d", builder->network->layer_count + 1);
    }
    sp_builder_layer(builder, &layer, inputs[0], inputs[1]);
}

/* What stands above the layers. */
struct head {
    char *name;
    int classes;
};

/* The file's own input and classes must be those of the data; where they are not, the layers are checked with the
 * file's. */
static sp_status read_head(const struct sp_yaml *root, struct head *head, struct sp_shape *input, struct sp_error *err)
{
    static const struct sp_field fields[] = {
        {"name", SP_FIELD_TEXT, offsetof(struct head, name), 0, 0, false},
        {"classes", SP_FIELD_INT, offsetof(struct head, classes), 1, 1e7, false},
    };
    static const char *const other[] = {"input", "layers", NULL};
    int expected = head->classes;
    sp_status status = sp_yaml_fields(root, "network", fields, 2, other, head, err);
    if (head->classes != expected)
        status = sp_reject(err, sp_yaml_get(root, "classes")->mark, "classes: the data has %d", expected);
    if (head->name != NULL && strlen(head->name) >= sizeof((struct sp_network *)NULL)->name)
        status = sp_reject(err, sp_yaml_get(root, "name")->mark, "network.name: more than %d bytes",
                           (int)sizeof((struct sp_network *)NULL)->name - 1);
    const struct sp_yaml *shape = sp_yaml_get(root, "input");
    if (shape == NULL)
        return status;
    int64_t sides[3];
    bool good = shape->kind == SP_YAML_LIST && shape->count == 3;
    for (int i = 0; good && i < 3; i++)
        good = sp_yaml_int(shape->items[i], &sides[i]) && sides[i] >= 1 && sides[i] <= 65536;
    if (!good)
        return sp_reject(err, shape->mark, "input: expected [channels, height, width], each 1 to 65536");
    struct sp_shape own = {(int)sides[0], (int)sides[1], (int)sides[2]};
    if (own.c != input->c || own.h != input->h || own.w != input->w)
        status = sp_reject(err, shape->mark, "input: the data has [%d, %d, %d]", input->c, input->h, input->w);
    *input = own;
    return status;
}

/* The file's name without folder and ending, as a name for what stands in it. */
static char *name_of_file(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *name = sp_strdup(slash != NULL ? slash + 1 : path);
    char *dot = strrchr(name, '.');
    if (dot != NULL && dot != name)
        *dot = '\0';
    for (char *c = name; *c != '\0'; c++)
        if ((unsigned char)*c <= ' ' || (unsigned char)*c >= 127)
            *c = '_'; /* it is printed and stands in JSON */
    return name;
}

static sp_status read_network(const struct sp_yaml *root, const char *path, struct sp_shape input, int classes,
                              struct sp_network **out, struct sp_error *err)
{
    if (root == NULL || root->kind != SP_YAML_MAP)
        return sp_reject(err, root != NULL ? root->mark : (struct sp_mark){path, 1, 1},
                         "expected keys: name, input, classes, layers");
    struct head head = {.classes = classes};
    sp_status status = read_head(root, &head, &input, err);
    const struct sp_yaml *layers = sp_yaml_get(root, "layers");
    if (layers == NULL || layers->kind != SP_YAML_LIST || layers->count == 0) {
        status = sp_reject(err, layers != NULL ? layers->mark : root->mark, "layers: expected a list of layers");
    } else {
        if (head.name == NULL)
            head.name = name_of_file(path);
        struct sp_builder builder;
        sp_builder_init(&builder, head.name, layers->mark, input, head.classes, err);
        if (status != SP_OK)
            builder.status = status;
        for (int l = 0; l < layers->count && !builder.cut_short; l++) {
            read_layer(&builder, layers->items[l]);
            if (err->count >= MISTAKE_LIMIT && !builder.cut_short) {
                builder.cut_short = true;
                sp_error_context(err, "and maybe more: reading stopped after %d mistakes", err->count);
            }
        }
        status = sp_builder_finish(&builder, out);
    }
    free(head.name);
    return status;
}

sp_status sp_network_file(const char *path, struct sp_mark mark, struct sp_shape input, int classes,
                          struct sp_network **out, struct sp_error *err)
{
    *out = NULL;
    struct sp_document *document;
    sp_status status = sp_document_read(path, &document, err);
    if (status != SP_OK) {
        sp_reject(err, mark, "network: this file was asked for here");
        return status;
    }
    status = read_network(sp_document_root(document), path, input, classes, out, err);
    if (status == SP_OK)
        sp_network_keep_file(*out, path); /* the marks borrow the document's until now */
    sp_document_destroy(&document);
    return status;
}
