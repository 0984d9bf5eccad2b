#include "sim/device.h"
#include "common/alloc.h"
#include "common/yaml.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AT(key) #key, SP_FIELD_DOUBLE, offsetof(struct sim_device, key)
static const struct sp_field fields[] = {
    {AT(peak_flops), 1, 1e18, true},
    {AT(bandwidth_bytes_per_s), 1, 1e15, true},
    {AT(launch_s), 0, 1, true},
    {"channel_block", SP_FIELD_INT, offsetof(struct sim_device, channel_block), 1, 1024, false},
    {AT(small_channels), 1e-3, 1, false},
    {AT(passes_batch_norm), 0, 100, false},
    {AT(passes_relu), 0, 100, false},
    {AT(passes_pool), 0, 100, false},
    {AT(passes_other), 0, 100, false},
    {AT(update_bytes), 0, 100, false},
    {AT(latency_s), 0, 1, true},
    {AT(link_bytes_per_s), 1, 1e15, true},
    {"link_hops", SP_FIELD_INT, offsetof(struct sim_device, link_hops), 1, 8, false},
    {AT(bus_bytes_per_s), 1, 1e15, false},
    {"link_blocks", SP_FIELD_BOOL, offsetof(struct sim_device, link_blocks), 0, 0, false},
};
#undef AT
#define AT(key) #key, SP_FIELD_DOUBLE, offsetof(struct sim_efficiency, key), 1e-4, 1, true
static const struct sp_field efficiency_fields[] = {{AT(forward)}, {AT(backward_input)}, {AT(backward_weight)}};

static bool is_readable(const char *path)
{
    return access(path, R_OK) == 0;
}

/* Folders that may hold device files: beside the program, and below the working folder. The caller frees. */
static char *find_in_folders(const char *name)
{
    char program[4096];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (length > 0) {
        program[length] = '\0';
        char *slash = strrchr(program, '/');
        if (slash != NULL)
            *slash = '\0';
        for (int up = 1; up <= 3; up++) { /* build/, build/tests/, build/tests/bench/ */
            char *path = sp_format("%s/%.*s/experiments/devices/%s.yaml", program, 3 * up - 1, "../../..", name);
            if (is_readable(path))
                return path;
            free(path);
        }
    }
    char *path = sp_format("experiments/devices/%s.yaml", name);
    if (is_readable(path))
        return path;
    free(path);
    return NULL;
}

static char *find_file(const struct sp_experiment *experiment, struct sp_error *err)
{
    const char *name = experiment->cost.device;
    if (strcmp(name, "auto") == 0)
        name = sp_backend_kind_find(experiment->devices.backend)->device;
    if (strchr(name, '/') == NULL) {
        char *path = find_in_folders(name);
        if (path != NULL)
            return path;
    }
    if (is_readable(name))
        return sp_strdup(name);
    static const char *const known[] = {"cpu", "gpu-2016", "v100", "a100", "h100"};
    const char *near = sp_nearest(name, known, sizeof known / sizeof *known);
    sp_reject(
        err, sp_experiment_mark(experiment, "cost.device"),
        "cost.device: no device \"%s\"%s%s%s; legal: auto, a file, or a name in experiments/devices (cpu, gpu-2016, "
        "v100, a100, h100)",
        name, near != NULL ? "; did you mean \"" : "", near != NULL ? near : "", near != NULL ? "\"?" : "");
    return NULL;
}

static sp_status read_efficiency(const struct sp_yaml *root, const char *key, struct sim_efficiency *out,
                                 struct sp_error *err)
{
    const struct sp_yaml *map = sp_yaml_get(root, key);
    if (map == NULL)
        return sp_reject(err, root->mark, "device: \"%s\" is missing", key);
    return sp_yaml_fields(map, key, efficiency_fields, 3, NULL, out, err);
}

static sp_status read_sharing(const struct sp_yaml *root, struct sim_device *out, struct sp_error *err)
{
    const struct sp_yaml *value = sp_yaml_get(root, "link_shared");
    bool shared = false;
    if (value != NULL && value->kind == SP_YAML_SCALAR && strcmp(value->text, "fair") == 0)
        out->links = SIM_LINKS_FAIR;
    else if (value != NULL && (value->kind != SP_YAML_SCALAR || !sp_yaml_bool(value, &shared)))
        return sp_reject(err, value->mark, "device.link_shared: expected true, false or fair, found \"%s\"",
                         value->kind == SP_YAML_SCALAR ? value->text : "a list or map");
    else
        out->links = shared ? SIM_LINKS_QUEUE : SIM_LINKS_OWN;
    if (out->bus_bytes_per_s <= 0)
        out->bus_bytes_per_s = out->link_bytes_per_s;
    else if (out->links != SIM_LINKS_FAIR)
        return sp_reject(err, sp_yaml_get(root, "bus_bytes_per_s")->mark,
                         "device.bus_bytes_per_s goes with link_shared: fair");
    if (out->links == SIM_LINKS_FAIR && out->link_blocks)
        return sp_reject(err, value->mark, "device.link_shared: copies that block (link_blocks) share no link");
    if (out->links == SIM_LINKS_FAIR && out->link_hops > 2)
        return sp_reject(err, value->mark, "device.link_hops: %d hops; 1 or 2 are legal with link_shared: fair",
                         out->link_hops);
    return SP_OK;
}

sp_status sim_device_read(const struct sp_experiment *experiment, struct sim_device *out, struct sp_error *err)
{
    static const char *const other[] = {"convolution", "fully_connected", "link_shared", NULL};
    struct sp_document *document;
    char *path = find_file(experiment, err);
    if (path == NULL)
        return SP_E_INPUT;
    *out = (struct sim_device){.channel_block = 1,
                               .small_channels = 1,
                               .passes_batch_norm = NAN,
                               .passes_relu = NAN,
                               .passes_pool = NAN,
                               .passes_other = NAN,
                               .update_bytes = 5,
                               .link_hops = 1};
    sp_status status = sp_document_read(path, &document, err);
    if (status == SP_OK) {
        const struct sp_yaml *root = sp_document_root(document);
        if (root == NULL)
            status = sp_reject(err, (struct sp_mark){path, 1, 1}, "device: the file is empty");
        else
            status = sp_yaml_fields(root, "device", fields, sizeof fields / sizeof *fields, other, out, err);
        if (status == SP_OK)
            status = read_efficiency(root, "convolution", &out->convolution, err);
        if (status == SP_OK)
            status = read_efficiency(root, "fully_connected", &out->fully_connected, err);
        if (status == SP_OK)
            status = read_sharing(root, out, err);
        sp_document_destroy(&document);
    }
    free(path);
    return status;
}

double sim_device_block_s(const struct sim_device *device, double bytes)
{
    return bytes / device->link_bytes_per_s;
}
