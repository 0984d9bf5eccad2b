#include "common/experiment.h"
#include "common/alloc.h"
#include "common/options.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct sp_mark sp_experiment_mark(const struct sp_experiment *experiment, const char *path)
{
    int option = sp_option_find(path);
    SP_ASSERT(option >= 0, "option %s", path);
    return experiment->marks[option];
}

bool sp_experiment_is_set(const struct sp_experiment *experiment, const char *path)
{
    struct sp_mark mark = sp_experiment_mark(experiment, path);
    return mark.line > 0 || (mark.file != NULL && strncmp(mark.file, "--set ", 6) == 0);
}

/* Takes over both; `path` is what the document sets, NULL: it is the file. */
static void keep_document(struct sp_experiment *experiment, struct sp_document *document, char *path)
{
    *(struct sp_document **)sp_grow((void **)&experiment->documents, experiment->document_count, sizeof document) =
        document;
    *(char **)sp_grow((void **)&experiment->document_paths, experiment->document_count, sizeof path) = path;
    experiment->document_count++;
}

/* The options' defaults, parsed. */
static sp_status parse_defaults(struct sp_document ***out, struct sp_error *err)
{
    struct sp_document **defaults = *out = sp_calloc((size_t)sp_option_count, sizeof *defaults);
    for (int o = 0; o < sp_option_count; o++) {
        const char *text = sp_options[o].fallback;
        if (text != NULL)
            SP_TRY(sp_document_parse(text, strlen(text), sp_options[o].path, false, &defaults[o], err));
    }
    return SP_OK;
}

static void free_defaults(struct sp_document **defaults)
{
    for (int o = 0; defaults != NULL && o < sp_option_count; o++)
        sp_document_destroy(&defaults[o]);
    free(defaults);
}

enum { KEYS = 128, KEY_TEXT = 24 };

/* The keys that are legal in a section ("" for the root, whose keys are its own and the sections). */
static int list_keys(const char *section, char keys[KEYS][KEY_TEXT])
{
    size_t length = strlen(section);
    int count = 0;
    for (int o = 0; o < sp_option_count && count < KEYS; o++) {
        const char *path = sp_options[o].path, *dot = strchr(path, '.');
        if (length == 0)
            snprintf(keys[count++], KEY_TEXT, "%.*s", (int)strcspn(path, "."), path);
        else if (dot != NULL && (size_t)(dot - path) == length && strncmp(path, section, length) == 0)
            snprintf(keys[count++], KEY_TEXT, "%s", dot + 1);
    }
    return count;
}

static sp_status reject_key(const char *section, const struct sp_yaml *key, struct sp_error *err)
{
    char keys[KEYS][KEY_TEXT];
    const char *names[KEYS] = {0};
    int count = list_keys(section, keys);
    for (int k = 0; k < count; k++)
        names[k] = keys[k];
    const char *near = sp_nearest(key->text, names, count), *where = section[0] != '\0' ? section : "experiment";
    if (near == NULL)
        return sp_reject(err, key->mark, "%s: unknown key \"%s\"", where, key->text);
    return sp_reject(err, key->mark, "%s: unknown key \"%s\"; did you mean \"%s\"?", where, key->text, near);
}

static bool is_section(const char *name)
{
    size_t length = strlen(name);
    for (int o = 0; o < sp_option_count; o++)
        if (strncmp(sp_options[o].path, name, length) == 0 && sp_options[o].path[length] == '.')
            return true;
    return false;
}

static sp_status read_option(struct sp_experiment *experiment, const char *path, const char *section,
                             const struct sp_yaml *key, const struct sp_yaml *value, struct sp_error *err)
{
    int option = sp_option_find(path);
    if (option < 0)
        return reject_key(section, key, err);
    experiment->marks[option] = value->mark;
    if (strcmp(path, "pipeline.microbatches") == 0)
        experiment->pipeline.base.microbatches_mark = value->mark;
    return sp_option_read(&sp_options[option], experiment, value, err);
}

static sp_status read_section(struct sp_experiment *experiment, const char *section, const struct sp_yaml *map,
                              struct sp_error *err)
{
    if (map->kind != SP_YAML_MAP) {
        if (map->kind == SP_YAML_SCALAR && map->text[0] == '\0')
            return SP_OK;
        return sp_reject(err, map->mark, "%s: expected keys and values", section);
    }
    sp_status status = SP_OK;
    for (int i = 0; i < map->count; i++) {
        char *path = sp_format("%s.%s", section, map->keys[i]->text);
        sp_status one = read_option(experiment, path, section, map->keys[i], map->items[i], err);
        status = one != SP_OK ? one : status;
        free(path);
    }
    return status;
}

static sp_status read_root(struct sp_experiment *experiment, const struct sp_yaml *root, struct sp_error *err)
{
    if (root == NULL)
        return SP_OK;
    if (root->kind != SP_YAML_MAP)
        return sp_reject(err, root->mark, "experiment: expected keys and values, such as network: lenet5");
    sp_status status = SP_OK;
    for (int i = 0; i < root->count; i++) {
        const char *key = root->keys[i]->text;
        sp_status one = is_section(key) ? read_section(experiment, key, root->items[i], err)
                                        : read_option(experiment, strchr(key, '.') == NULL ? key : "", "",
                                                      root->keys[i], root->items[i], err);
        status = one != SP_OK ? one : status;
    }
    return status;
}

/* Applies the value of an option, or the keys and values of a section. */
static sp_status apply(struct sp_experiment *experiment, const char *path, const struct sp_yaml *value,
                       struct sp_error *err)
{
    const char *dot = strchr(path, '.');
    if (dot == NULL && is_section(path))
        return read_section(experiment, path, value, err);
    struct sp_yaml key = {.text = (char *)(dot != NULL ? dot + 1 : path), .mark = value->mark};
    char *section = sp_format("%.*s", dot != NULL ? (int)(dot - path) : 0, path);
    sp_status status = read_option(experiment, path, section, &key, value, err);
    free(section);
    return status;
}

/* "path=value": the value is YAML. */
static sp_status parse_set(struct sp_experiment *experiment, const char *set, struct sp_error *err)
{
    char *name = sp_format("--set %s", set);
    const char *equals = strchr(set, '=');
    struct sp_document *document = NULL;
    sp_status status;
    if (equals == NULL)
        status = sp_reject(err, (struct sp_mark){name, 0, 0}, "expected key=value");
    else
        status = sp_document_parse(equals + 1, strlen(equals + 1), name, false, &document, err);
    if (status == SP_OK && sp_document_root(document) == NULL) { /* no value: an empty text, which has a mark */
        sp_document_destroy(&document);
        status = sp_document_parse("''", 2, name, false, &document, err);
    }
    free(name);
    if (status == SP_OK)
        keep_document(experiment, document, sp_format("%.*s", (int)(equals - set), set));
    return status;
}

static sp_status read_defaults(struct sp_experiment *experiment, const char *file, struct sp_error *err)
{
    experiment->marks = sp_calloc((size_t)sp_option_count, sizeof *experiment->marks);
    for (int k = 0; k < SP_PUBLISHED_COUNT; k++)
        for (int m = 0; m < SP_METRIC_COUNT; m++)
            experiment->published[k][m] = NAN;
    for (int o = 0; o < sp_option_count; o++) {
        const struct sp_document *value = experiment->defaults[o];
        experiment->marks[o] = (struct sp_mark){.file = file};
        if (value != NULL)
            SP_TRY(sp_option_read(&sp_options[o], experiment, sp_document_root(value), err));
    }
    experiment->pipeline.base.schedule_mark = experiment->pipeline.base.microbatches_mark =
        (struct sp_mark){file, 0, 0};
    return SP_OK;
}

/* Defaults, the file, what --set says: all from `documents`, whose first is the file. */
static sp_status read_documents(struct sp_experiment *experiment, const struct sp_experiment *documents,
                                struct sp_error *err)
{
    const struct sp_yaml *root = sp_document_root(documents->documents[0]);
    experiment->defaults = documents->defaults;
    SP_TRY(read_defaults(experiment, root != NULL ? root->mark.file : NULL, err));
    sp_status status = read_root(experiment, root, err);
    for (int d = 1; d < documents->document_count; d++) {
        sp_status one = apply(experiment, documents->document_paths[d], sp_document_root(documents->documents[d]), err);
        status = one != SP_OK ? one : status;
    }
    return status;
}

sp_status sp_experiment_read(const char *path, const char *const *sets, int set_count, struct sp_experiment **out,
                             struct sp_error *err)
{
    *out = NULL;
    struct sp_document *document;
    SP_TRY(sp_document_read(path, &document, err));
    struct sp_experiment *experiment = sp_calloc(1, sizeof *experiment);
    keep_document(experiment, document, NULL);
    sp_status status = parse_defaults(&experiment->defaults, err);
    for (int s = 0; s < set_count; s++) {
        sp_status one = parse_set(experiment, sets[s], err);
        status = one != SP_OK ? one : status;
    }
    sp_status read = read_documents(experiment, experiment, err);
    status = status != SP_OK ? status : read;
    if (status == SP_OK)
        *out = experiment;
    else
        sp_experiment_destroy(&experiment);
    return status;
}

sp_status sp_experiment_vary(const struct sp_experiment *base, const struct sp_override *overrides, int count,
                             struct sp_experiment **out, struct sp_error *err)
{
    struct sp_experiment *experiment = sp_calloc(1, sizeof *experiment);
    sp_status status = read_documents(experiment, base, err);
    experiment->sweep = NULL;
    for (int o = 0; o < count; o++) {
        sp_status one = apply(experiment, overrides[o].path, overrides[o].value, err);
        status = one != SP_OK ? one : status;
    }
    *out = experiment;
    if (status != SP_OK)
        sp_experiment_destroy(out);
    return status;
}

void sp_experiment_destroy(struct sp_experiment **experiment)
{
    struct sp_experiment *e = *experiment;
    if (e == NULL)
        return;
    for (int o = 0; o < sp_option_count; o++)
        if (sp_options[o].type == SP_OPTION_TEXT)
            free(*(char **)((char *)e + sp_options[o].offset));
    free(e->name);
    free(e->network.builtin);
    free(e->network.file);
    free(e->network.profile);
    free(e->pipeline.cuts);
    free(e->pipeline.cut_marks);
    free(e->pipeline.base.schedule);
    free(e->pipeline.base.weights);
    free(e->pipeline.placement);
    free(e->pipeline.forward_devices);
    free(e->pipeline.backward_devices);
    free(e->train.lr_steps);
    free(e->train.stage_lr);
    free(e->cost.stages);
    free(e->cost.transfers_s);
    sp_phase_specs_free(e);
    free(e->marks);
    for (int d = 0; d < e->document_count; d++) {
        sp_document_destroy(&e->documents[d]);
        free(e->document_paths[d]);
    }
    if (e->document_count > 0)
        free_defaults(e->defaults);
    free(e->documents);
    free(e->document_paths);
    free(e);
    *experiment = NULL;
}

/* The option's value as YAML; the caller frees. */
static char *option_text(const struct sp_option *option, const struct sp_experiment *experiment)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    sp_option_write(option, experiment, out);
    fclose(out);
    return text;
}

char *sp_experiment_yaml(const struct sp_experiment *experiment)
{
    char *text = NULL, section[24] = "";
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    for (int o = 0; o < sp_option_count; o++) {
        const struct sp_option *option = &sp_options[o];
        if (experiment->sweep != NULL && !sp_experiment_is_set(experiment, option->path))
            continue;
        char *value = option_text(option, experiment);
        const char *dot = strchr(option->path, '.');
        size_t length = dot != NULL ? (size_t)(dot - option->path) : 0;
        if (value[0] != '\0' && dot == NULL) {
            fprintf(out, "%s: %s\n", option->path, value);
        } else if (value[0] != '\0') {
            if (strlen(section) != length || strncmp(section, option->path, length) != 0) {
                snprintf(section, sizeof section, "%.*s", (int)length, option->path);
                fprintf(out, "%s:\n", section);
            }
            fprintf(out, "  %s: %s\n", dot + 1, value);
        }
        free(value);
    }
    fclose(out);
    return text;
}

char *sp_experiment_settings(const struct sp_experiment *experiment)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    struct sp_experiment *defaults = sp_calloc(1, sizeof *defaults);
    struct sp_error err = {0};
    defaults->defaults = experiment->defaults;
    sp_status status = read_defaults(defaults, NULL, &err);
    SP_ASSERT(status == SP_OK, "the defaults: %s", err.text);
    for (int o = 0; o < sp_option_count; o++) {
        char *value = option_text(&sp_options[o], experiment), *usual = option_text(&sp_options[o], defaults);
        if (strcmp(value, usual) != 0)
            fprintf(out, "%s: %s\n", sp_options[o].path, value);
        free(value);
        free(usual);
    }
    sp_experiment_destroy(&defaults);
    fclose(out);
    return text;
}

char *sp_experiment_help(void)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    for (int o = 0; o < sp_option_count; o++) {
        const struct sp_option *option = &sp_options[o];
        fprintf(out, "  %-22s %s", option->path, option->help);
        if (option->fallback != NULL)
            fprintf(out, " [%s]", option->fallback);
        fputc('\n', out);
    }
    fclose(out);
    return text;
}

sp_status sp_experiment_data_shape(const struct sp_experiment *experiment, struct sp_data_shape *out,
                                   struct sp_error *err)
{
    static const struct {
        const char *name;
        struct sp_data_shape shape;
    } known[] = {
        {"fashion-mnist", {{1, 28, 28}, 10, 60000, 10000}},
        {"mnist", {{1, 28, 28}, 10, 60000, 10000}},
        {"cifar10", {{3, 32, 32}, 10, 50000, 10000}},
    };
    for (size_t k = 0; k < sizeof known / sizeof *known; k++)
        if (strcmp(known[k].name, experiment->data.set) == 0) {
            *out = known[k].shape;
            return SP_OK;
        }
    if (strcmp(experiment->data.set, "synthetic") != 0)
        return sp_reject(err, sp_experiment_mark(experiment, "data.set"), "data.set: no shape is known for \"%s\"",
                         experiment->data.set);
    *out = (struct sp_data_shape){experiment->data.shape, experiment->data.classes, experiment->data.samples,
                                  experiment->data.samples / 6};
    return SP_OK;
}

/* What a measured network fixes. */
static sp_status adopt_measured(struct sp_experiment *e, const struct sp_network *network, struct sp_error *err)
{
    if (e->train.batch != network->measured_batch && sp_experiment_is_set(e, "train.batch"))
        return sp_reject(err, sp_experiment_mark(e, "train.batch"),
                         "train.batch: %s was measured with minibatches of %d, not %d", network->name,
                         network->measured_batch, e->train.batch);
    e->train.batch = network->measured_batch;
    if (sp_experiment_is_set(e, "cost.model")) {
        if (strcmp(e->cost.model, "import") == 0 || strcmp(e->cost.model, "table") == 0)
            return SP_OK;
        return sp_reject(err, sp_experiment_mark(e, "cost.model"),
                         "cost.model: %s knows no layers of a measured network, which has times of its own: leave it "
                         "out, or name import or table",
                         e->cost.model);
    }
    free(e->cost.model);
    e->cost.model = sp_strdup("import");
    return SP_OK;
}

sp_status sp_experiment_network(struct sp_experiment *experiment, struct sp_network **out, struct sp_error *err)
{
    struct sp_data_shape data;
    SP_TRY(sp_experiment_data_shape(experiment, &data, err));
    struct sp_network_spec spec = {
        .builtin = experiment->network.builtin,
        .file = experiment->network.file,
        .profile = experiment->network.profile,
        .batch = experiment->train.batch,
        .mark = sp_experiment_mark(experiment, "network"),
    };
    SP_TRY(sp_network_create(&spec, data.shape, data.classes, out, err));
    if ((*out)->measured == NULL)
        return SP_OK;
    sp_status status = adopt_measured(experiment, *out, err);
    if (status != SP_OK)
        sp_network_destroy(out);
    return status;
}
