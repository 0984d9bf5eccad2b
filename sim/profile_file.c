#include "sim/profile_file.h"
#include "common/alloc.h"
#include "common/file.h"
#include "common/layer.h"
#include "common/yaml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *const sim_class_names[SIM_CLASS_COUNT] = {
    [SIM_CLASS_CONVOLUTION] = "convolution", [SIM_CLASS_FULLY_CONNECTED] = "fully-connected",
    [SIM_CLASS_POOLING] = "pooling",         [SIM_CLASS_ELEMENTWISE] = "elementwise",
    [SIM_CLASS_UPDATE] = "update",
};

enum sim_class sim_class_of(enum sp_layer_type type)
{
    switch (type) {
    case SP_LAYER_CONVOLUTION:
        return SIM_CLASS_CONVOLUTION;
    case SP_LAYER_FULLY_CONNECTED:
        return SIM_CLASS_FULLY_CONNECTED;
    case SP_LAYER_MAX_POOL:
    case SP_LAYER_AVERAGE_POOL:
    case SP_LAYER_GLOBAL_AVERAGE_POOL:
        return SIM_CLASS_POOLING;
    default:
        return SIM_CLASS_ELEMENTWISE;
    }
}

/* The fields of a map of the file; a map has the name of its key. */
#define AT(key, field, type, low, high)                                                                                \
    {                                                                                                                  \
        key, type, offsetof(struct sim_profile, field), low, high, true                                                \
    }
#define SECONDS(key, field) AT(key, field, SP_FIELD_DOUBLE, 0, 1e6)
#define FACTOR(key, field)  AT(key, field, SP_FIELD_DOUBLE, 0, 1e3)
static const struct sp_field machine_fields[] = {
    AT("cpu", cpu, SP_FIELD_TEXT, 0, 0),
    AT("cores", cores, SP_FIELD_INT, 1, 1e6),
    AT("backend", backend, SP_FIELD_TEXT, 0, 0),
    AT("threads", threads, SP_FIELD_INT, 1, 1024),
    AT("convolution", convolution, SP_FIELD_TEXT, 0, 0),
};
static const struct sp_field speed_fields[] = {
    AT("flops", flops, SP_FIELD_DOUBLE, 1, 1e18),
    AT("bytes", bytes_per_s, SP_FIELD_DOUBLE, 1, 1e18),
    FACTOR("load", load),
};
static const struct sp_field stage_fields[] = {
    SECONDS("update", update_s),
    SECONDS("update_parameter", update_parameter_s),
    SECONDS("handoff", handoff_s),
    SECONDS("handover", handover_s),
    SECONDS("patience", patience_s),
    SECONDS("wake", wake_s),
    SECONDS("restart", restart_s),
    SECONDS("received_byte", received_byte_s),
    SECONDS("start", start_s),
    SECONDS("touch_byte", touch_byte_s),
    SECONDS("load_sample", load_sample_s),
};
static const struct sp_field copy_fields[] = {
    SECONDS("latency", copy_s),
    SECONDS("byte", copy_byte_s),
};
static const struct sp_field noise_fields[] = {
    FACTOR("forward", noise_forward), FACTOR("backward", noise_backward), FACTOR("update", noise_update),
    FACTOR("message", noise_message), FACTOR("run", noise_run),
};
static const struct sp_field held_fields[] = {
    AT("points", fit.held_points, SP_FIELD_INT, 0, 1e9),
    FACTOR("median", fit.held_median),
    FACTOR("ninth", fit.held_ninth),
};
static const struct sp_field root_fields[] = {
    AT("network", network, SP_FIELD_TEXT, 0, 0),
    {"rounds", SP_FIELD_INT, offsetof(struct sim_profile, rounds), 1, 1e6, false},
};
#undef AT
#undef SECONDS
#undef FACTOR
#define AT(key, object, field, type, low, high)                                                                        \
    {                                                                                                                  \
        key, type, offsetof(object, field), low, high, true                                                            \
    }
static const struct sp_field input_fields[] = {
    AT("batch", struct sim_profile_input, batch, SP_FIELD_INT, 1, 1e6),
    AT("forward", struct sim_profile_input, forward_s, SP_FIELD_DOUBLE, 0, 1e6),
};
static const struct sp_field shape_fields[] = {
    AT("layer", struct sim_profile_shape, layer, SP_FIELD_TEXT, 0, 0),
    AT("is", struct sim_profile_shape, is, SP_FIELD_TEXT, 0, 0),
};
static const struct sp_field layer_fields[] = {
    AT("layer", struct sim_profile_layer, layer, SP_FIELD_TEXT, 0, 0),
    AT("batch", struct sim_profile_layer, batch, SP_FIELD_INT, 1, 1e6),
    AT("forward", struct sim_profile_layer, forward_s, SP_FIELD_DOUBLE, 0, 1e6),
    AT("backward", struct sim_profile_layer, backward_s, SP_FIELD_DOUBLE, 0, 1e6),
    AT("evaluate", struct sim_profile_layer, evaluate_s, SP_FIELD_DOUBLE, 0, 1e6),
    {"spread", SP_FIELD_DOUBLE, offsetof(struct sim_profile_layer, spread), 0, 1e6, false},
};
/* A row of the fit as it is read: its kind is a word. */
struct fit_line {
    char *kind;
    struct sim_roofline_row row;
};
static const struct sp_field fit_fields[] = {
    AT("kind", struct fit_line, kind, SP_FIELD_TEXT, 0, 0),
    AT("backward", struct fit_line, row.backward, SP_FIELD_BOOL, 0, 0),
    AT("peak", struct fit_line, row.peak, SP_FIELD_DOUBLE, 1e-9, 1e30),
    AT("positions", struct fit_line, row.positions, SP_FIELD_DOUBLE, -100, 100),
    AT("inputs", struct fit_line, row.inputs, SP_FIELD_DOUBLE, -100, 100),
    AT("outputs", struct fit_line, row.outputs, SP_FIELD_DOUBLE, -100, 100),
    AT("bandwidth", struct fit_line, row.bandwidth_bytes_per_s, SP_FIELD_DOUBLE, 1e-9, 1e30),
    AT("launch", struct fit_line, row.launch_s, SP_FIELD_DOUBLE, 1e-30, 1e6),
    AT("least", struct fit_line, row.least, SP_FIELD_DOUBLE, 0, 1e30),
    AT("most", struct fit_line, row.most, SP_FIELD_DOUBLE, 0, 1e30),
    AT("residual", struct fit_line, row.residual, SP_FIELD_DOUBLE, 0, 1e30),
    AT("points", struct fit_line, row.points, SP_FIELD_INT, 1, 1e9),
};
#undef AT
#define COUNT(array) (int)(sizeof array / sizeof *array)

void sim_profile_machine(struct sim_profile *profile)
{
    char line[512], name[256] = "unknown";
    FILE *file = fopen("/proc/cpuinfo", "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "model name : %255[^\n]", name) == 1)
            break;
    if (file != NULL)
        fclose(file);
    profile->cpu = sp_strdup(name);
    profile->cores = (int)sysconf(_SC_NPROCESSORS_ONLN);
}

/* 0 says nothing. */
static char *with_setting(char *text, const char *name, int value)
{
    char *longer = value != 0 ? sp_format("%s %s %d", text, name, value) : sp_strdup(text);
    free(text);
    return longer;
}

static char *describe(const struct sp_layer *layer)
{
    const struct sp_layer_settings *s = &layer->settings;
    char *text = sp_format("%s %dx%dx%d to %dx%dx%d", sp_layer_kinds[layer->type]->name, layer->in.c, layer->in.h,
                           layer->in.w, layer->out.c, layer->out.h, layer->out.w);
    bool slides = sim_class_of(layer->type) == SIM_CLASS_CONVOLUTION || sim_class_of(layer->type) == SIM_CLASS_POOLING;
    text = with_setting(text, "kernel", slides ? s->kernel : 0);
    text = with_setting(text, "stride", slides ? s->stride : 0);
    text = with_setting(text, "pad", slides ? s->pad : 0);
    text = with_setting(text, "window", layer->type == SP_LAYER_LRN ? s->size : 0);
    text = with_setting(text, "biases", (int)layer->parameters[SP_PARAMETER_BIAS]);
    for (int i = 0; i < layer->input_count; i++) {
        char *longer = sp_format("%s%s %d", text, i == 0 ? " of" : " and", layer->inputs[i]);
        free(text);
        text = longer;
    }
    return text;
}

void sim_profile_set_network(struct sim_profile *profile, const struct sp_network *network)
{
    profile->network = sp_strdup(network->name);
    profile->shape_count = network->layer_count;
    profile->shapes = sp_calloc((size_t)network->layer_count, sizeof *profile->shapes);
    for (int l = 0; l < network->layer_count; l++)
        profile->shapes[l] =
            (struct sim_profile_shape){sp_strdup(network->layers[l].name), describe(&network->layers[l])};
}

char *sim_profile_difference(const struct sim_profile *profile, const struct sp_network *network)
{
    if (strcmp(profile->network, network->name) != 0)
        return sp_format("%s, not %s", profile->network, network->name);
    char *words = NULL;
    for (int l = 0; l < network->layer_count && l < profile->shape_count && words == NULL; l++) {
        const struct sim_profile_shape *shape = &profile->shapes[l];
        const char *name = network->layers[l].name;
        char *is = describe(&network->layers[l]);
        if (strcmp(shape->layer, name) != 0 || strcmp(shape->is, is) != 0)
            words = sp_format("%s with %s, %s, not with %s, %s", profile->network, shape->layer, shape->is, name, is);
        free(is);
    }
    if (words == NULL && profile->shape_count != network->layer_count)
        words =
            sp_format("%s with %d layers, not with %d", profile->network, profile->shape_count, network->layer_count);
    return words;
}

void sim_profile_fini(struct sim_profile *profile)
{
    for (int l = 0; profile->shapes != NULL && l < profile->shape_count; l++) {
        free(profile->shapes[l].layer);
        free(profile->shapes[l].is);
    }
    free(profile->shapes);
    for (int l = 0; profile->layers != NULL && l < profile->layer_count; l++)
        free(profile->layers[l].layer);
    free(profile->layers);
    free(profile->inputs);
    free(profile->cpu);
    free(profile->backend);
    free(profile->convolution);
    free(profile->network);
    sim_roofline_fini(&profile->fit);
    *profile = (struct sim_profile){0};
}

static sp_status read_map(const struct sp_yaml *root, const char *key, const struct sp_field *fields, int count,
                          void *out, struct sp_error *err)
{
    const struct sp_yaml *map = sp_yaml_get(root, key);
    if (map == NULL)
        return sp_reject(err, root->mark, "profile: \"%s\" is missing", key);
    return sp_yaml_fields(map, key, fields, count, NULL, out, err);
}

/* A factor for each class: into doubles one behind another. */
static sp_status read_classes(const struct sp_yaml *root, const char *key, double *out, struct sp_error *err)
{
    struct sp_field fields[SIM_CLASS_COUNT];
    for (int c = 0; c < SIM_CLASS_COUNT; c++)
        fields[c] = (struct sp_field){sim_class_names[c], SP_FIELD_DOUBLE, (size_t)c * sizeof(double), 0, 1e3, true};
    return read_map(root, key, fields, SIM_CLASS_COUNT, out, err);
}

static sp_status read_contention(const struct sp_yaml *root, struct sim_profile *out, struct sp_error *err)
{
    const struct sp_yaml *map = sp_yaml_get(root, "contention");
    sp_status status = SP_OK;
    if (map == NULL || map->kind != SP_YAML_MAP)
        return sp_reject(err, map != NULL ? map->mark : root->mark,
                         "profile: \"contention\" must be a map of classes of work");
    for (int c = 0; c < SIM_CLASS_COUNT; c++) {
        sp_status one = read_classes(map, sim_class_names[c], out->slowdown[c], err);
        status = one != SP_OK ? one : status;
    }
    return status;
}

/* A list of maps into *array, `size` bytes an element. */
static sp_status read_list(const struct sp_yaml *root, const char *key, const struct sp_field *fields, int count,
                           size_t size, bool may_be_empty, void **array, int *length, struct sp_error *err)
{
    const struct sp_yaml *list = sp_yaml_get(root, key);
    sp_status status = SP_OK;
    if (list == NULL || list->kind != SP_YAML_LIST || (list->count == 0 && !may_be_empty))
        return sp_reject(err, list != NULL ? list->mark : root->mark, "profile: \"%s\" must be a list of {%s:, %s:, …}",
                         key, fields[0].key, fields[1].key);
    *array = sp_calloc((size_t)list->count + 1, size);
    *length = list->count;
    for (int i = 0; i < list->count; i++) {
        sp_status one =
            sp_yaml_fields(list->items[i], key, fields, count, NULL, (char *)*array + (size_t)i * size, err);
        status = one != SP_OK ? one : status;
    }
    return status;
}

static sp_status check_twice(const struct sp_yaml *root, const struct sim_profile *p, struct sp_error *err)
{
    const struct sp_yaml *list = sp_yaml_get(root, "layers");
    for (int l = 1; l < p->layer_count; l++)
        for (int other = 0; other < l; other++)
            if (p->layers[l].batch == p->layers[other].batch && strcmp(p->layers[l].layer, p->layers[other].layer) == 0)
                return sp_reject(err, list->items[l]->mark, "layers: %s at batch %d stands here a second time",
                                 p->layers[l].layer, p->layers[l].batch);
    return SP_OK;
}

static sp_status read_fit(const struct sp_yaml *root, struct sim_profile *out, struct sp_error *err)
{
    struct fit_line *lines = NULL;
    int count = 0;
    sp_status status =
        read_list(root, "fit", fit_fields, COUNT(fit_fields), sizeof *lines, true, (void **)&lines, &count, err);
    out->fit.rows = sp_calloc((size_t)count + 1, sizeof *out->fit.rows);
    for (int l = 0; l < count && status == SP_OK; l++) {
        lines[l].row.type = sp_layer_type_of(lines[l].kind);
        if (lines[l].row.type == SP_LAYER_TYPE_COUNT)
            status = sp_reject(err, sp_yaml_get(root, "fit")->items[l]->mark, "fit: no kind of layer is called \"%s\"",
                               lines[l].kind);
        out->fit.rows[out->fit.count++] = lines[l].row;
    }
    for (int l = 0; lines != NULL && l < count; l++)
        free(lines[l].kind);
    free(lines);
    return status;
}

/* Only devices with memories of their own have it. */
static sp_status read_copy(const struct sp_yaml *root, struct sim_profile *out, struct sp_error *err)
{
    if (sp_yaml_get(root, "copy") == NULL)
        return SP_OK;
    return read_map(root, "copy", copy_fields, COUNT(copy_fields), out, err);
}

static sp_status read_shapes(const struct sp_yaml *root, struct sim_profile *out, struct sp_error *err)
{
    if (sp_yaml_get(root, "shapes") == NULL)
        return sp_reject(err, root->mark,
                         "profile: \"shapes\" is missing: an older file, which does not say what layers it measured; "
                         "measure again (stalepipe profile)");
    return read_list(root, "shapes", shape_fields, COUNT(shape_fields), sizeof *out->shapes, false,
                     (void **)&out->shapes, &out->shape_count, err);
}

static sp_status read_root(const struct sp_yaml *root, struct sim_profile *out, struct sp_error *err)
{
    static const char *const others[] = {"machine", "speed",    "stage", "noise", "in_flight", "contention", "inputs",
                                         "layers",  "held_out", "fit",   "copy",  "shapes",    NULL};
    SP_TRY(sp_yaml_fields(root, "profile", root_fields, COUNT(root_fields), others, out, err));
    sp_status parts[] = {
        read_map(root, "machine", machine_fields, COUNT(machine_fields), out, err),
        read_map(root, "speed", speed_fields, COUNT(speed_fields), out, err),
        read_map(root, "stage", stage_fields, COUNT(stage_fields), out, err),
        read_copy(root, out, err),
        read_map(root, "noise", noise_fields, COUNT(noise_fields), out, err),
        read_map(root, "held_out", held_fields, COUNT(held_fields), out, err),
        read_classes(root, "in_flight", out->in_flight, err),
        read_contention(root, out, err),
        read_list(root, "inputs", input_fields, COUNT(input_fields), sizeof *out->inputs, false, (void **)&out->inputs,
                  &out->input_count, err),
        read_shapes(root, out, err),
        read_list(root, "layers", layer_fields, COUNT(layer_fields), sizeof *out->layers, false, (void **)&out->layers,
                  &out->layer_count, err),
        read_fit(root, out, err),
    };
    for (int p = 0; p < COUNT(parts); p++)
        if (parts[p] != SP_OK)
            return parts[p];
    return check_twice(root, out, err);
}

sp_status sim_profile_read(const char *path, struct sp_mark mark, struct sim_profile *out, struct sp_error *err)
{
    struct sp_document *document;
    *out = (struct sim_profile){0};
    if (access(path, R_OK) != 0)
        return sp_reject(err, mark, "cost.file: \"%s\" cannot be read; `stalepipe profile` writes one", path);
    SP_TRY(sp_document_read(path, &document, err));
    const struct sp_yaml *root = sp_document_root(document);
    sp_status status = root == NULL ? sp_reject(err, (struct sp_mark){path, 1, 1}, "profile: the file is empty")
                                    : read_root(root, out, err);
    sp_document_destroy(&document);
    if (status != SP_OK)
        sim_profile_fini(out);
    return status;
}

static void write_classes(FILE *out, const double *values)
{
    for (int c = 0; c < SIM_CLASS_COUNT; c++)
        fprintf(out, "%s%s: %.4f", c > 0 ? ", " : "{", sim_class_names[c], values[c]);
    fputs("}\n", out);
}

static void write_head(FILE *out, const struct sim_profile *p)
{
    fprintf(
        out,
        "# Measured by `stalepipe profile`: seconds of a microbatch. Use with cost: {model: profile, file: ...}.\n"
        "machine: {cpu: \"%s\", cores: %d, backend: %s, threads: %d, convolution: %s}\n"
        "# one core, by probes between the measurements; load: cores others used, at worst\n"
        "speed: {flops: %.4g, bytes: %.4g, load: %.4f}\n"
        "network: \"%s\"\n"
        "# an optimiser step, and for each parameter; posting or taking a message, its way to a device that still "
        "looks,\n"
        "# how long one looks, how much later one that sleeps goes on, what its stages take longer then, and for each\n"
        "# byte they get; a run's first pass, and for each byte of memory touched first; a sample to load\n"
        "stage: {update: %.4e, update_parameter: %.4e, handoff: %.4e, handover: %.4e, patience: %.4e, wake: %.4e, "
        "restart: %.4e, received_byte: %.4e, start: %.4e, touch_byte: %.4e, load_sample: %.4e}\n"
        "# relative deviations: of an instruction, a message, a whole run\n"
        "noise: {forward: %.4f, backward: %.4f, update: %.4f, message: %.4f, run: %.4f}\n",
        p->cpu, p->cores, p->backend, p->threads, p->convolution, p->flops, p->bytes_per_s, p->load, p->network,
        p->update_s, p->update_parameter_s, p->handoff_s, p->handover_s, p->patience_s, p->wake_s, p->restart_s,
        p->received_byte_s, p->start_s, p->touch_byte_s, p->load_sample_s, p->noise_forward, p->noise_backward,
        p->noise_update, p->noise_message, p->noise_run);
    if (p->copy_byte_s > 0)
        fprintf(out,
                "# a message from device to device: latency, and for each byte\ncopy: {latency: %.4e, byte: %.4e}\n",
                p->copy_s, p->copy_byte_s);
    fputs("# times as long where several microbatches are in flight\nin_flight: ", out);
    write_classes(out, p->in_flight);
    fputs("# how much longer a class takes while another device does another class\ncontention:\n", out);
    for (int c = 0; c < SIM_CLASS_COUNT; c++) {
        fprintf(out, "  %s: ", sim_class_names[c]);
        write_classes(out, p->slowdown[c]);
    }
}

static void write_fit(FILE *out, const struct sim_roofline *fit)
{
    fprintf(out,
            "# for layers that were not measured: launch + max(work / rate, bytes / bandwidth), see sim/roofline.h;\n"
            "# held_out: how far a fit without them was off some layers, relative, by their time\n"
            "held_out: {points: %d, median: %.4f, ninth: %.4f}\nfit:%s\n",
            fit->held_points, fit->held_median, fit->held_ninth, fit->count == 0 ? " []" : "");
    for (int r = 0; r < fit->count; r++) {
        const struct sim_roofline_row *row = &fit->rows[r];
        fprintf(out,
                "- {kind: %s, backward: %s, peak: %.5g, positions: %.4f, inputs: %.4f, outputs: %.4f, bandwidth: %.5g, "
                "launch: %.3e, least: %.5g, most: %.5g, residual: %.4f, points: %d}\n",
                sp_layer_kinds[row->type]->name, row->backward ? "true" : "false", row->peak, row->positions,
                row->inputs, row->outputs, row->bandwidth_bytes_per_s, row->launch_s, row->least, row->most,
                row->residual, row->points);
    }
}

sp_status sim_profile_write(const struct sim_profile *p, const char *path, struct sp_error *err)
{
    struct sp_file file;
    SP_TRY(sp_file_begin(&file, path, err));
    write_head(file.stream, p);
    if (p->rounds > 0)
        fprintf(file.stream, "# of measurements; layers' spread is between them\nrounds: %d\n", p->rounds);
    fputs("# what the stage with the input takes beside its layers\ninputs:\n", file.stream);
    for (int i = 0; i < p->input_count; i++)
        fprintf(file.stream, "- {batch: %d, forward: %.4e}\n", p->inputs[i].batch, p->inputs[i].forward_s);
    fputs("# the network's layers: kind, shapes, settings, tensors that it reads (0: the input); others were not "
          "measured\n"
          "shapes:\n",
          file.stream);
    for (int l = 0; l < p->shape_count; l++)
        fprintf(file.stream, "- {layer: \"%s\", is: \"%s\"}\n", p->shapes[l].layer, p->shapes[l].is);
    fputs("layers:\n", file.stream);
    for (int l = 0; l < p->layer_count; l++) {
        const struct sim_profile_layer *m = &p->layers[l];
        fprintf(file.stream, "- {layer: \"%s\", batch: %d, forward: %.4e, backward: %.4e, evaluate: %.4e", m->layer,
                m->batch, m->forward_s, m->backward_s, m->evaluate_s);
        if (p->rounds != 1)
            fprintf(file.stream, ", spread: %.4f", m->spread);
        fputs("}\n", file.stream);
    }
    write_fit(file.stream, &p->fit);
    return sp_file_commit(&file, err);
}
