#include "sim/profile_file.h"
#include "common/alloc.h"
#include "common/file.h"
#include "common/yaml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AT(key, field, type, low, high)                                                                                \
    {                                                                                                                  \
        key, type, offsetof(struct sim_profile, field), low, high, true                                                \
    }
static const struct sp_field machine_fields[] = {
    AT("cpu", cpu, SP_FIELD_TEXT, 0, 0),
    AT("cores", cores, SP_FIELD_INT, 1, 1e6),
    AT("backend", backend, SP_FIELD_TEXT, 0, 0),
    AT("threads", threads, SP_FIELD_INT, 1, 1024),
    AT("convolution", convolution, SP_FIELD_TEXT, 0, 0),
};
static const struct sp_field contention_fields[] = {
    AT("forward", contention_forward, SP_FIELD_DOUBLE, 1e-3, 1e3),
    AT("backward", contention_backward, SP_FIELD_DOUBLE, 1e-3, 1e3),
};
static const struct sp_field root_fields[] = {AT("network", network, SP_FIELD_TEXT, 0, 0)};
#undef AT
#define AT(key, field, type, low, high)                                                                                \
    {                                                                                                                  \
        key, type, offsetof(struct sim_profile_entry, field), low, high, true                                          \
    }
static const struct sp_field entry_fields[] = {
    AT("batch", batch, SP_FIELD_INT, 1, 1e6),          AT("group", group, SP_FIELD_INT, 1, 1e6),
    AT("forward", forward_s, SP_FIELD_DOUBLE, 0, 1e6), AT("backward", backward_s, SP_FIELD_DOUBLE, 0, 1e6),
    AT("update", update_s, SP_FIELD_DOUBLE, 0, 1e6),   AT("spread", spread, SP_FIELD_DOUBLE, 0, 1e6),
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

void sim_profile_fini(struct sim_profile *profile)
{
    free(profile->cpu);
    free(profile->backend);
    free(profile->convolution);
    free(profile->network);
    free(profile->entries);
    *profile = (struct sim_profile){0};
}

static sp_status read_map(const struct sp_yaml *root, const char *key, const struct sp_field *fields, int count,
                          struct sim_profile *out, struct sp_error *err)
{
    const struct sp_yaml *map = sp_yaml_get(root, key);
    if (map == NULL)
        return sp_reject(err, root->mark, "profile: \"%s\" is missing", key);
    return sp_yaml_fields(map, key, fields, count, NULL, out, err);
}

static sp_status read_entries(const struct sp_yaml *root, struct sim_profile *out, struct sp_error *err)
{
    const struct sp_yaml *list = sp_yaml_get(root, "measured");
    if (list == NULL || list->kind != SP_YAML_LIST || list->count == 0)
        return sp_reject(
            err, list != NULL ? list->mark : root->mark,
            "profile: \"measured\" must be a list of {batch:, group:, forward:, backward:, update:, spread:}");
    out->entries = sp_calloc((size_t)list->count, sizeof *out->entries);
    out->count = list->count;
    sp_status status = SP_OK;
    for (int i = 0; i < list->count; i++) {
        struct sim_profile_entry *entry = &out->entries[i];
        sp_status one = sp_yaml_fields(list->items[i], "measured", entry_fields, COUNT(entry_fields), NULL, entry, err);
        for (int e = 0; e < i && one == SP_OK; e++)
            if (out->entries[e].batch == entry->batch && out->entries[e].group == entry->group)
                one = sp_reject(err, list->items[i]->mark, "measured: batch %d of group %d stands here a second time",
                                entry->batch, entry->group);
        status = one != SP_OK ? one : status;
    }
    return status;
}

static sp_status read_root(const struct sp_yaml *root, struct sim_profile *out, struct sp_error *err)
{
    static const char *const others[] = {"machine", "contention", "measured", NULL};
    sp_status parts[] = {
        sp_yaml_fields(root, "profile", root_fields, COUNT(root_fields), others, out, err),
        root->kind != SP_YAML_MAP ? SP_E_INPUT
                                  : read_map(root, "machine", machine_fields, COUNT(machine_fields), out, err),
        root->kind != SP_YAML_MAP ? SP_E_INPUT
                                  : read_map(root, "contention", contention_fields, COUNT(contention_fields), out, err),
        root->kind != SP_YAML_MAP ? SP_E_INPUT : read_entries(root, out, err),
    };
    for (int p = 0; p < COUNT(parts); p++)
        if (parts[p] != SP_OK)
            return parts[p];
    return SP_OK;
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

sp_status sim_profile_write(const struct sim_profile *p, const char *path, struct sp_error *err)
{
    struct sp_file file;
    SP_TRY(sp_file_begin(&file, path, err));
    fprintf(
        file.stream,
        "# Measured by `stalepipe profile`: seconds of a microbatch, medians. Use with cost: {model: profile, file: "
        "...}.\n"
        "machine: {cpu: \"%s\", cores: %d, backend: %s, threads: %d, convolution: %s}\n"
        "network: \"%s\"\n"
        "# how many times as long stages take while another device works\n"
        "contention: {forward: %.4f, backward: %.4f}\n"
        "measured:   # group: a weight layer and what follows it, counted as in pipeline.cuts\n",
        p->cpu, p->cores, p->backend, p->threads, p->convolution, p->network, p->contention_forward,
        p->contention_backward);
    for (int e = 0; e < p->count; e++) {
        const struct sim_profile_entry *m = &p->entries[e];
        fprintf(file.stream, "- {batch: %d, group: %d, forward: %.4e, backward: %.4e, update: %.4e, spread: %.4f}\n",
                m->batch, m->group, m->forward_s, m->backward_s, m->update_s, m->spread);
    }
    return sp_file_commit(&file, err);
}
