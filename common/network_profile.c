/*
 * network_profile.c - networks that somebody measured: a graph of nodes with times and sizes.
 *
 * Two forms. PipeDream's profiler writes `<model>.graph.txt`: a line a node,
 *     node4 -- Conv2d(…) -- forward_compute_time=1.2, backward_compute_time=3.4, activation_size=5.0,
 * parameter_size=6.0 (milliseconds and bytes of a minibatch), and a line an edge, a tab and `node1 -- node4`. Its first
 * `Input` node times the loading of data and is left out. A CSV (a name ending in .csv) has a line a layer, in an order
 * of computation, under the header name,forward_ms,backward_ms,activation_bytes,parameter_bytes[,inputs], where
 * `inputs` names earlier layers, separated by ";" (none: the layer before). A layer named `input` gives the bytes of
 * the network's input.
 */
#include "common/alloc.h"
#include "common/file.h"
#include "common/network_build.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const size_t largest_file = (size_t)64 << 20;
enum { NODE_LIMIT = 16384 };

struct node {
    char name[48];
    int number; /* orders nodes that could come in any order: nodeN's N, or the line */
    int line;
    bool is_input;
    double forward_s, backward_s, bytes, parameter_bytes;
    int inputs[SP_LAYER_INPUTS], input_count; /* nodes */
};

struct reader {
    const char *path;
    struct sp_error *err;
    struct node *nodes;
    int count;
    int line;
    bool is_csv, has_inputs; /* has_inputs: a column of a CSV */
};

static sp_status wrong(const struct reader *reader, const char *what, const char *found)
{
    return sp_reject(reader->err, (struct sp_mark){reader->path, reader->line, 1}, "profile: %s%s%.60s%s", what,
                     found != NULL ? ": \"" : "", found != NULL ? found : "", found != NULL ? "\"" : "");
}

/* A finite decimal number, 0 or more, that ends where the text ends. */
static bool read_number(const char *text, double *out)
{
    char *end;
    *out = strtod(text, &end);
    end += strspn(end, " \t\r");
    return end != text && *end == '\0' && strpbrk(text, "xX") == NULL && isfinite(*out) && *out >= 0;
}

static int find(const struct reader *reader, const char *name)
{
    int n = 0;
    while (n < reader->count && strcmp(reader->nodes[n].name, name) != 0)
        n++;
    return n < reader->count ? n : -1;
}

static sp_status add_node(struct reader *reader, const struct node *node)
{
    if (find(reader, node->name) >= 0)
        return wrong(reader, "a second node of that name", node->name);
    if (reader->count == NODE_LIMIT)
        return wrong(reader, "more nodes than 16384", NULL);
    *(struct node *)sp_grow((void **)&reader->nodes, reader->count, sizeof *node) = *node;
    reader->count++;
    return SP_OK;
}

static sp_status add_edge(struct reader *reader, int from, int to)
{
    struct node *node = &reader->nodes[to];
    if (node->input_count == SP_LAYER_INPUTS)
        return wrong(reader, "more than 16 inputs of a node", node->name);
    node->inputs[node->input_count++] = from;
    return SP_OK;
}

/* "a -- b -- c" to its parts, in place; how many there are. */
static int split(char *line, char *parts[], int most)
{
    int count = 0;
    for (char *at = line; at != NULL && count < most; count++) {
        parts[count] = at;
        char *next = strstr(at, " -- ");
        if (next != NULL) {
            *next = '\0';
            next += 4;
        }
        at = next;
    }
    return count;
}

/* "1.5", or "[1.5; 2.5]": their sum. */
static bool read_sizes(char *text, double *out)
{
    size_t length = strlen(text);
    if (text[0] != '[' || length < 2 || text[length - 1] != ']')
        return read_number(text, out);
    text[length - 1] = '\0';
    *out = 0;
    for (char *rest = text + 1, *one; (one = strsep(&rest, ";")) != NULL;) {
        double size;
        if (!read_number(one, &size))
            return false;
        *out += size;
    }
    return true;
}

static sp_status read_figures(struct reader *reader, char *text, struct node *node)
{
    const struct {
        const char *key;
        double *value;
    } figures[] = {{"forward_compute_time=", &node->forward_s},
                   {"backward_compute_time=", &node->backward_s},
                   {"activation_size=", &node->bytes},
                   {"parameter_size=", &node->parameter_bytes}};
    for (int f = 0; f < 4; f++) {
        char *comma = f < 3 ? strstr(text, ", ") : NULL;
        size_t length = strlen(figures[f].key);
        if ((f < 3 && comma == NULL) || strncmp(text, figures[f].key, length) != 0)
            return wrong(reader,
                         "expected forward_compute_time=…, backward_compute_time=…, activation_size=…, "
                         "parameter_size=…, found",
                         text);
        if (comma != NULL)
            *comma = '\0';
        if (!read_sizes(text + length, figures[f].value))
            return wrong(reader, "expected a number, 0 or more, found", text);
        text = comma != NULL ? comma + 2 : text;
    }
    node->forward_s *= 1e-3;
    node->backward_s *= 1e-3;
    return SP_OK;
}

static sp_status read_pipedream_node(struct reader *reader, char *line)
{
    char *parts[4];
    struct node node = {.line = reader->line};
    int count = split(line, parts, 4), length = 0;
    if (sscanf(parts[0], "node%d%n", &node.number, &length) != 1 || parts[0][length] != '\0')
        return wrong(reader, "expected \"nodeN -- …\" or a tab and \"nodeN -- nodeM\", found", parts[0]);
    if (count < 3)
        return wrong(reader, "expected \"nodeN -- description -- figures\", found", parts[0]);
    if (strlen(parts[0]) >= sizeof node.name)
        return wrong(reader, "a name that is too long", parts[0]);
    strcpy(node.name, parts[0]);
    node.is_input = strncmp(parts[1], "Input", 5) == 0;
    SP_TRY(read_figures(reader, parts[2], &node));
    return add_node(reader, &node);
}

static sp_status read_pipedream_edge(struct reader *reader, char *line)
{
    char *parts[3];
    if (split(line, parts, 3) != 2)
        return wrong(reader, "expected an edge \"nodeN -- nodeM\", found", line);
    int from = find(reader, parts[0]), to = find(reader, parts[1]);
    if (from < 0 || to < 0)
        return wrong(reader, "an edge of a node that is not listed before", parts[from < 0 ? 0 : 1]);
    return add_edge(reader, from, to);
}

static sp_status read_pipedream(struct reader *reader, char *text)
{
    for (char *line; (line = strsep(&text, "\n")) != NULL;) {
        reader->line++;
        line[strcspn(line, "\r")] = '\0';
        if (line[strspn(line, " \t")] == '\0')
            continue;
        SP_TRY(line[0] == '\t' ? read_pipedream_edge(reader, line + 1) : read_pipedream_node(reader, line));
    }
    return SP_OK;
}

static sp_status read_csv_inputs(struct reader *reader, char *names)
{
    int to = reader->count - 1;
    for (char *name; (name = strsep(&names, ";")) != NULL;) {
        name += strspn(name, " ");
        name[strcspn(name, " ")] = '\0';
        int from = find(reader, name);
        if (from < 0 || from == to)
            return wrong(reader, "an input that is no earlier layer", name);
        SP_TRY(add_edge(reader, from, to));
    }
    return SP_OK;
}

static sp_status read_csv_line(struct reader *reader, char *line)
{
    struct node node = {.line = reader->line, .number = reader->line};
    double *values[] = {&node.forward_s, &node.backward_s, &node.bytes, &node.parameter_bytes};
    char *name = strsep(&line, ",");
    if (name[0] == '\0' || strlen(name) >= sizeof node.name)
        return wrong(reader, "expected a name of 1 to 47 bytes, found", name);
    strcpy(node.name, name);
    for (int v = 0; v < 4; v++) {
        char *word = strsep(&line, ",");
        if (word == NULL || !read_number(word, values[v]))
            return wrong(reader, "expected a number, 0 or more, found", word != NULL ? word : "");
    }
    node.forward_s *= 1e-3;
    node.backward_s *= 1e-3;
    node.is_input = strcmp(name, "input") == 0;
    if (reader->count == 0 && !node.is_input)
        SP_TRY(add_node(reader, &(struct node){.name = "input", .is_input = true}));
    SP_TRY(add_node(reader, &node));
    if (line != NULL && !reader->has_inputs)
        return wrong(reader, "a field more than the header has columns", line);
    if (line != NULL && line[strspn(line, " ")] != '\0')
        return read_csv_inputs(reader, line);
    return node.is_input ? SP_OK : add_edge(reader, reader->count - 2, reader->count - 1);
}

static sp_status read_csv_header(struct reader *reader, const char *line)
{
    static const char header[] = "name,forward_ms,backward_ms,activation_bytes,parameter_bytes";
    const char *more = line + sizeof header - 1;
    bool begins = strncmp(line, header, sizeof header - 1) == 0;
    reader->has_inputs = begins && strcmp(more, ",inputs") == 0;
    if (reader->has_inputs || (begins && *more == '\0'))
        return SP_OK;
    return wrong(reader,
                 "expected the header name,forward_ms,backward_ms,activation_bytes,parameter_bytes[,inputs], found",
                 line);
}

static sp_status read_csv(struct reader *reader, char *text)
{
    bool has_header = false;
    for (char *line; (line = strsep(&text, "\n")) != NULL;) {
        reader->line++;
        line[strcspn(line, "\r")] = '\0';
        if (line[0] == '\0' || line[0] == '#')
            continue;
        SP_TRY(has_header ? read_csv_line(reader, line) : read_csv_header(reader, line));
        has_header = true;
    }
    return SP_OK;
}

/* Samples of PipeDream's minibatch: its images are 3x224x224, or 3x299x299. 0: not known. */
static int infer_batch(double input_bytes)
{
    static const int sides[] = {224, 299};
    for (int s = 0; s < 2; s++) {
        double batch = input_bytes / (4.0 * 3 * sides[s] * sides[s]);
        if (batch >= 1 && batch < 1e6 && batch == floor(batch))
            return (int)batch;
    }
    return 0;
}

/* Orders the nodes so that each comes after its inputs, the smallest number first. False when there is a cycle. */
static bool sort_nodes(const struct reader *reader, int *order)
{
    bool *placed = sp_calloc((size_t)reader->count + 1, sizeof *placed);
    int done = 0;
    for (; done < reader->count; done++) {
        int best = -1;
        for (int n = 0; n < reader->count; n++) {
            bool ready = !placed[n];
            for (int i = 0; ready && i < reader->nodes[n].input_count; i++)
                ready = placed[reader->nodes[n].inputs[i]];
            if (ready && (best < 0 || reader->nodes[n].number < reader->nodes[best].number))
                best = n;
        }
        if (best < 0)
            break;
        placed[best] = true;
        order[done] = best;
    }
    free(placed);
    return done == reader->count;
}

static struct sp_shape shape_of(double bytes, int batch)
{
    double elements = ceil(bytes / 4 / batch);
    return (struct sp_shape){elements < 1 ? 1 : (int)elements, 1, 1};
}

static void add_layer(struct sp_network *network, const struct node *node, const int *tensor_of, int batch)
{
    int l = network->layer_count++;
    struct sp_layer *layer = sp_grow((void **)&network->layers, l, sizeof *layer);
    *layer = (struct sp_layer){.type = SP_LAYER_MEASURED,
                               .mark = {NULL, node->line, 1},
                               .weight_number = l + 1,
                               .group = l + 1,
                               .input_count = node->input_count,
                               .out = shape_of(node->bytes, batch)};
    strcpy(layer->name, node->name);
    for (int i = 0; i < node->input_count; i++)
        layer->inputs[i] = tensor_of[node->inputs[i]];
    layer->in = network->shapes[layer->inputs[0]];
    layer->parameters[SP_PARAMETER_WEIGHT] = (int64_t)(node->parameter_bytes / 4 + 0.5);
    *(struct sp_shape *)sp_grow((void **)&network->shapes, network->tensor_count, sizeof layer->out) = layer->out;
    *(struct sp_measured *)sp_grow((void **)&network->measured, network->tensor_count, sizeof *network->measured) =
        (struct sp_measured){node->forward_s, node->backward_s, node->bytes};
    network->tensor_count++;
    network->weight_layer_count++;
    network->parameter_count += layer->parameters[SP_PARAMETER_WEIGHT];
}

/* What holds of a graph as a whole. Sets the order and the minibatch. */
static sp_status check(struct reader *reader, struct sp_mark mark, int *order, int *batch)
{
    double input_bytes = 0;
    int layers = 0;
    for (int n = 0; n < reader->count; n++) {
        const struct node *node = &reader->nodes[n];
        reader->line = node->line;
        input_bytes += node->is_input ? node->bytes : 0;
        layers += !node->is_input;
        if (!node->is_input && node->input_count == 0)
            return wrong(reader, "nothing leads to a node that is no Input", node->name);
        if (node->is_input && node->input_count > 0)
            return wrong(reader, "something leads to an Input", node->name);
    }
    if (layers == 0)
        return sp_reject(reader->err, mark, "profile: \"%s\" has no layers", reader->path);
    if (!sort_nodes(reader, order))
        return sp_reject(reader->err, mark, "profile: the graph of \"%s\" has a cycle", reader->path);
    int inferred = reader->is_csv ? 0 : infer_batch(input_bytes);
    *batch = inferred > 0 ? inferred : *batch;
    for (int n = 0; n < reader->count; n++) {
        reader->line = reader->nodes[n].line;
        if (reader->nodes[n].bytes / 4 / *batch > INT32_MAX || reader->nodes[n].parameter_bytes > 1e15)
            return wrong(reader, "sizes beyond all measure at a node", reader->nodes[n].name);
    }
    return SP_OK;
}

static void make_network(struct reader *reader, struct sp_mark mark, const int *order, int batch,
                         struct sp_network **out)
{
    const char *base = strrchr(reader->path, '/');
    char *name = sp_strdup(base != NULL ? base + 1 : reader->path);
    int *tensor_of = sp_calloc((size_t)reader->count, sizeof *tensor_of);
    double input_bytes = 0;
    name[strcspn(name, ".")] = '\0';
    for (int n = 0; n < reader->count; n++)
        input_bytes += reader->nodes[n].is_input ? reader->nodes[n].bytes : 0;
    struct sp_builder builder;
    sp_builder_init(&builder, name, mark, shape_of(input_bytes, batch), 2, reader->err);
    *(struct sp_measured *)sp_grow((void **)&builder.network->measured, 0, sizeof(struct sp_measured)) =
        (struct sp_measured){0, 0, input_bytes};
    builder.network->measured_batch = batch;
    for (int k = 0; k < reader->count; k++) {
        const struct node *node = &reader->nodes[order[k]];
        if (node->is_input)
            continue;
        add_layer(builder.network, node, tensor_of, batch);
        tensor_of[order[k]] = builder.network->tensor_count - 1;
    }
    sp_network_keep_file(builder.network, reader->path);
    *out = builder.network;
    free(tensor_of);
    free(name);
}

sp_status sp_network_profile(const char *path, struct sp_mark mark, int batch, struct sp_network **out,
                             struct sp_error *err)
{
    struct reader reader = {.path = path, .err = err};
    char *text;
    size_t length = strlen(path);
    SP_TRY(sp_file_read_text(path, largest_file, &mark, &text, err));
    reader.is_csv = length > 4 && strcmp(path + length - 4, ".csv") == 0;
    sp_status status = reader.is_csv ? read_csv(&reader, text) : read_pipedream(&reader, text);
    int *order = sp_calloc((size_t)reader.count + 1, sizeof *order);
    if (status == SP_OK)
        status = check(&reader, mark, order, &batch);
    if (status == SP_OK)
        make_network(&reader, mark, order, batch, out);
    free(order);
    free(reader.nodes);
    free(text);
    return status;
}

void sp_network_reorder(const struct sp_network *network, const int *order, struct sp_network **out)
{
    struct sp_builder builder;
    int *tensor_of = sp_calloc((size_t)network->tensor_count, sizeof *tensor_of);
    SP_ASSERT(network->measured != NULL, "%s was not measured", network->name);
    sp_builder_init(&builder, network->name, (struct sp_mark){0}, network->shapes[0], network->classes, NULL);
    struct sp_network *made = builder.network;
    int count = network->layer_count;
    *(struct sp_measured *)sp_grow((void **)&made->measured, 0, sizeof *made->measured) = network->measured[0];
    for (int l = 0; l < count; l++) {
        struct sp_layer *layer = sp_grow((void **)&made->layers, l, sizeof *layer);
        *layer = network->layers[order[l]];
        for (int i = 0; i < layer->input_count; i++) {
            SP_ASSERT(layer->inputs[i] == 0 || tensor_of[layer->inputs[i]] > 0, "%s before its input", layer->name);
            layer->inputs[i] = tensor_of[layer->inputs[i]];
        }
        layer->weight_number = layer->group = l + 1;
        tensor_of[order[l] + 1] = l + 1;
        *(struct sp_shape *)sp_grow((void **)&made->shapes, l + 1, sizeof layer->out) = layer->out;
        *(struct sp_measured *)sp_grow((void **)&made->measured, l + 1, sizeof *made->measured) =
            network->measured[order[l] + 1];
    }
    made->layer_count = made->weight_layer_count = count;
    made->tensor_count = network->tensor_count;
    made->measured_batch = network->measured_batch;
    made->parameter_count = network->parameter_count;
    if (count > 0 && network->layers[0].mark.file != NULL)
        sp_network_keep_file(made, network->layers[0].mark.file);
    free(tensor_of);
    *out = made;
}
