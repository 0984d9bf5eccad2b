/* checkpoint.c - which tensors a checkpoint has, its metadata, and what must fit for a run to continue from it. */
#include "exec/checkpoint.h"
#include "common/alloc.h"
#include "exec/checkpoint_progress.h"
#include "exec/flow.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char format_name[] = "stalepipe-checkpoint-1";

/* Where a tensor of the file lies in memory. */
enum source { SOURCE_PARAMETER, SOURCE_VELOCITY, SOURCE_DEVICE, SOURCE_HOST };

struct item {
    enum source source;
    int device, layer; /* device: that has it */
    enum sp_parameter which;
    void *at; /* HOST, DEVICE: bytes as they are; else the parameter as stored */
};

/* The tensors of a checkpoint at a gate. The same list writes and reads. */
struct list {
    struct exec_run *run;
    struct exec_tensor *tensors;
    struct item *items;
    int count;
    struct exec_safetensors *file; /* when reading */
};

static void add(struct list *list, struct exec_tensor tensor, struct item item)
{
    *(struct exec_tensor *)sp_grow((void **)&list->tensors, list->count, sizeof tensor) = tensor;
    *(struct item *)sp_grow((void **)&list->items, list->count, sizeof item) = item;
    list->count++;
}

static void add_bytes(struct list *list, int device, void *at, size_t bytes, const char *name)
{
    struct exec_tensor tensor = {.type = EXEC_TENSOR_U8, .dims = 1, .shape = {(int64_t)bytes}};
    snprintf(tensor.name, sizeof tensor.name, "in_flight.%s", name);
    if (at != NULL && bytes > 0)
        add(list, tensor, (struct item){.source = SOURCE_DEVICE, .device = device, .at = at});
}

/* The shape that a parameter has in PyTorch. */
static struct exec_tensor describe(const struct sp_layer *layer, enum sp_parameter which, const char *prefix)
{
    struct exec_tensor tensor = {.type = EXEC_TENSOR_F32, .dims = 1, .shape = {layer->parameters[which]}};
    bool filter = which == SP_PARAMETER_WEIGHT && layer->type == SP_LAYER_CONVOLUTION;
    bool matrix = which == SP_PARAMETER_WEIGHT && layer->type == SP_LAYER_FULLY_CONNECTED;
    snprintf(tensor.name, sizeof tensor.name, "%s%s.%s", prefix, layer->name,
             which == SP_PARAMETER_WEIGHT ? "weight" : "bias");
    if (filter || matrix) {
        tensor.dims = filter ? 4 : 2;
        tensor.shape[0] = layer->out.c;
        tensor.shape[1] = layer->parameters[which] / layer->out.c;
    }
    if (filter) {
        tensor.shape[1] = layer->in.c;
        tensor.shape[2] = tensor.shape[3] = layer->settings.kernel;
    }
    return tensor;
}

static void add_layer(struct list *list, int stage, int l)
{
    struct exec_run *run = list->run;
    const struct sp_layer *layer = &run->plan->network->layers[l];
    const struct sp_parameter_memory *memory = &run->memory->parameters[stage];
    int local = l - run->plan->stages[stage].first_layer, device = run->plan->stages[stage].backward_device;
    char *weights = exec_run_backward_weights(run, stage, run->stages[stage].version);
    char *velocity = exec_run_part(run, stage, SP_MEMORY_OPTIMIZER, true);
    for (int p = 0; p < SP_PARAMETER_COUNT; p++) {
        enum sp_parameter which = (enum sp_parameter)p;
        size_t offset = memory->offset[local][p];
        if (layer->parameters[p] == 0)
            continue;
        add(list, describe(layer, which, ""), (struct item){SOURCE_PARAMETER, device, l, which, weights + offset});
        add(list, describe(layer, which, "optimizer.velocity."),
            (struct item){SOURCE_VELOCITY, device, l, which, velocity + offset});
    }
    static const char *const statistics[] = {"running_mean", "running_var"};
    int owner = run->plan->stages[stage].forward_device;
    float *state = (float *)(void *)((char *)exec_run_part(run, stage, SP_MEMORY_WEIGHTS, false) + memory->block_bytes +
                                     memory->state_offset[local]);
    for (int s = 0; s < 2 && layer->state > 0; s++) {
        struct exec_tensor tensor = {.type = EXEC_TENSOR_F32, .dims = 1, .shape = {layer->state / 2}};
        snprintf(tensor.name, sizeof tensor.name, "%s.%s", layer->name, statistics[s]);
        add(list, tensor, (struct item){.source = SOURCE_DEVICE, .device = owner, .at = state + s * layer->state / 2});
    }
}

/* Whether memory holds more than the newest weights: minibatches between forward and backward, weights on two
 * devices. */
static bool has_more(const struct exec_run *run)
{
    for (int i = 0; i < run->plan->stage_count; i++) {
        if (run->plan->stages[i].forward_device != run->plan->stages[i].backward_device)
            return true;
        for (int slot = 0; slot < run->plan->in_flight[i]; slot++)
            if (run->stages[i].busy[slot])
                return true;
    }
    return false;
}

/* Slots that are in use, on both devices where each has its own. */
static void add_slots(struct list *list, int phase, int i)
{
    struct exec_run *run = list->run;
    size_t bytes = run->memory->stages[phase * run->plan->stage_count + i].slot_bytes;
    const struct sp_stage *stage = &run->plan->stages[i];
    bool two = !run->plan->shared_memory && stage->forward_device != stage->backward_device;
    char name[64];
    for (int slot = 0; slot < run->plan->in_flight[i]; slot++)
        for (int backward = 0; backward <= two && run->stages[i].busy[slot]; backward++) {
            char *slots = exec_run_part(run, i, SP_MEMORY_ACTIVATIONS, backward == 1);
            snprintf(name, sizeof name, "stage%d.%sslot%d", i, backward == 1 ? "backward." : "", slot);
            add_bytes(list, backward == 1 ? stage->backward_device : stage->forward_device,
                      slots == NULL ? NULL : slots + (size_t)slot * bytes, bytes, name);
        }
}

static void add_in_flight(struct list *list, int phase)
{
    static const enum sp_memory_kind kinds[] = {SP_MEMORY_WEIGHTS, SP_MEMORY_VERSIONS, SP_MEMORY_GRADIENTS,
                                                SP_MEMORY_BOUNDARY};
    struct exec_run *run = list->run;
    const struct sp_plan *plan = run->plan;
    char name[64];
    for (int d = 0; d < plan->device_count; d++)
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
            snprintf(name, sizeof name, "device%d.%s", d, sp_memory_kind_names[kinds[k]]);
            add_bytes(list, d, run->blocks.blocks[d][kinds[k]], run->memory->bytes[d][kinds[k]], name);
        }
    for (int i = 0; i < plan->stage_count; i++)
        add_slots(list, phase, i);
}

#define LOSSES "losses"

static void add_losses(struct list *list, int64_t gate)
{
    const struct sp_plan *plan = list->run->plan;
    /* The last stage may have seen some more. */
    int64_t ahead = gate + 1 + (has_more(list->run) ? plan->in_flight[0] : 0);
    int64_t count = ahead < plan->minibatches ? ahead : plan->minibatches;
    struct exec_tensor tensor = {.name = LOSSES, .type = EXEC_TENSOR_F32, .dims = 1, .shape = {count}};
    add(list, tensor, (struct item){.source = SOURCE_HOST, .at = list->run->progress.losses});
}

static void list_init(struct list *list, struct exec_run *run, const struct sp_instr *gate)
{
    *list = (struct list){.run = run};
    for (int i = 0; i < run->plan->stage_count; i++)
        for (int l = run->plan->stages[i].first_layer; l < run->plan->stages[i].layer_end; l++)
            add_layer(list, i, l);
    add_losses(list, gate->minibatch);
    if (has_more(run))
        add_in_flight(list, gate->phase);
}

static void list_fini(struct list *list)
{
    free(list->tensors);
    free(list->items);
}

/* The process that has a tensor, and writes it. */
static int owner_of(const struct list *list, int t)
{
    const struct item *item = &list->items[t];
    return item->source == SOURCE_HOST ? 0
                                       : exec_team_owner(list->run->team, item->device, list->run->plan->device_count);
}

/* Bytes for the file, or, at another rank, for rank 0. */
static sp_status put(const struct list *list, struct exec_tensor_sink *sink, void *bytes, size_t count,
                     struct sp_error *err)
{
    if (sink != NULL)
        exec_tensor_sink_write(sink, bytes, count);
    return exec_team_pass(list->run->team, exec_team_rank(list->run->team), 0, bytes, count, err);
}

enum { PIECE = 1 << 20 };

/* Device memory in pieces through the host's; another rank's in such pieces, too. */
static sp_status put_pieces(const struct list *list, int t, struct exec_tensor_sink *sink, struct sp_error *err)
{
    const struct exec_run *run = list->run;
    const char *at = list->items[t].at;
    size_t bytes = exec_tensor_bytes(&list->tensors[t]);
    int owner = owner_of(list, t);
    char *piece = sp_alloc(PIECE);
    sp_status status = SP_OK;
    for (size_t done = 0; done < bytes && status == SP_OK; done += PIECE) {
        size_t now = bytes - done < PIECE ? bytes - done : PIECE;
        if (owner == exec_team_rank(run->team))
            status = run->backend->copy(run->context, piece, at + done, now, err);
        else
            status = exec_team_pass(run->team, owner, 0, piece, now, err);
        if (status == SP_OK)
            status = put(list, sink, piece, now, err);
    }
    free(piece);
    return status;
}

static sp_status put_parameter(const struct list *list, int t, struct exec_tensor_sink *sink, struct sp_error *err)
{
    const struct item *item = &list->items[t];
    size_t bytes = exec_tensor_bytes(&list->tensors[t]);
    float *plain = sp_alloc(bytes);
    sp_status status =
        list->run->backend->export_parameter(list->run->models[0], item->layer, item->which, item->at, plain, err);
    for (size_t done = 0; done < bytes && status == SP_OK; done += PIECE)
        status = put(list, sink, (char *)plain + done, bytes - done < PIECE ? bytes - done : PIECE, err);
    free(plain);
    return status;
}

/* Where another rank has it, that is asked for it, and answers in serve. */
static sp_status write_tensor(void *self, int t, struct exec_tensor_sink *sink, struct sp_error *err)
{
    const struct list *list = self;
    const struct item *item = &list->items[t];
    int owner = owner_of(list, t);
    int64_t wanted = t;
    SP_TRY(exec_team_pass(list->run->team, 0, owner, &wanted, sizeof wanted, err));
    if (item->source == SOURCE_HOST)
        return put(list, sink, item->at, exec_tensor_bytes(&list->tensors[t]), err);
    bool here = owner == exec_team_rank(list->run->team);
    return item->source == SOURCE_DEVICE || !here ? put_pieces(list, t, sink, err) : put_parameter(list, t, sink, err);
}

/* A rank that is not 0 gives what it is asked for, until nothing more is wanted. */
static sp_status serve(const struct list *list, struct sp_error *err)
{
    int me = exec_team_rank(list->run->team);
    for (;;) {
        int64_t wanted;
        SP_TRY(exec_team_pass(list->run->team, 0, me, &wanted, sizeof wanted, err));
        if (wanted < 0)
            return SP_OK;
        const struct item *item = &list->items[wanted];
        SP_TRY(item->source == SOURCE_DEVICE ? put_pieces(list, (int)wanted, NULL, err)
                                             : put_parameter(list, (int)wanted, NULL, err));
    }
}

static sp_status end_serving(const struct exec_run *run, struct sp_error *err)
{
    int64_t none = -1;
    return exec_team_share(run->team, &none, sizeof none, err);
}

/* Rank 0 reads, and hands over what another one has. The losses go to all. */
static sp_status read_tensor(struct list *list, int t, struct sp_error *err)
{
    const struct exec_run *run = list->run;
    const struct item *item = &list->items[t];
    size_t bytes = exec_tensor_bytes(&list->tensors[t]);
    int me = exec_team_rank(run->team), owner = owner_of(list, t);
    sp_status status = SP_OK;
    float *plain = sp_alloc(bytes);
    if (me == 0)
        status = exec_safetensors_read(list->file, &list->tensors[t], plain, err);
    if (status == SP_OK)
        status = item->source == SOURCE_HOST ? exec_team_share(run->team, plain, bytes, err)
                                             : exec_team_pass(run->team, 0, owner, plain, bytes, err);
    if (status == SP_OK && item->source == SOURCE_HOST)
        memcpy(item->at, plain, bytes);
    else if (status == SP_OK && me == owner && item->source == SOURCE_DEVICE)
        status = run->backend->copy(run->context, item->at, plain, bytes, err);
    else if (status == SP_OK && me == owner)
        status = run->backend->import_parameter(run->models[0], item->layer, item->which, plain, item->at, err);
    free(plain);
    return status;
}

static void set_text(json_t *metadata, const char *key, json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_REAL_PRECISION(17));
    json_object_set_new(metadata, key, json_string(text));
    free(text);
    json_decref(value);
}

static json_t *metadata_of(const struct exec_run *run, int64_t gate)
{
    const struct exec_checkpoint_config *config = &run->config.checkpoint;
    json_t *metadata = json_object(), *settings = json_object();
    char number[32];
    snprintf(number, sizeof number, "%" PRId64, gate + 1);
    for (int s = 0; s < config->setting_count; s++)
        json_object_set_new(settings, config->settings[s].key, json_string(config->settings[s].value));
    json_object_set_new(metadata, "format", json_string(format_name));
    json_object_set_new(metadata, "network", json_string(run->plan->network->name));
    json_object_set_new(metadata, "backend", json_string(run->backend->name));
    json_object_set_new(metadata, "minibatches_done", json_string(number));
    if (run->backend->choices != NULL) {
        char *choices = run->backend->choices(run->context);
        json_object_set_new(metadata, "choices", json_string(choices));
        free(choices);
    }
    if (run->backend->kind != NULL) {
        char *kind = run->backend->kind(run->context);
        json_object_set_new(metadata, "kind", json_string(kind));
        free(kind);
    }
    set_text(metadata, "settings", settings);
    set_text(metadata, "progress", exec_checkpoint_progress(run));
    return metadata;
}

static sp_status serve_all(struct exec_run *run, const struct sp_instr *gate, struct sp_error *err)
{
    struct list list;
    list_init(&list, run, gate);
    sp_status status = serve(&list, err);
    list_fini(&list);
    return status;
}

sp_status exec_checkpoint_save(struct exec_run *run, const struct sp_instr *gate, struct sp_error *err)
{
    const struct exec_checkpoint_config *config = &run->config.checkpoint;
    SP_TRY(exec_together_stages(run, err));
    SP_TRY(exec_together_counts(run, err));
    if (exec_team_rank(run->team) > 0)
        return serve_all(run, gate, err);
    char *path = exec_checkpoint_path(config->folder, gate->minibatch + 1);
    json_t *metadata = metadata_of(run, gate->minibatch);
    struct list list;
    list_init(&list, run, gate);
    sp_status status = exec_safetensors_write(path, metadata, list.tensors, list.count, write_tensor, &list, err);
    if (status == SP_OK)
        exec_checkpoint_prune(config->folder, config->keep);
    struct sp_error lost = {0};
    (void)end_serving(run, &lost); /* who is lost is told elsewhere */
    sp_error_fini(&lost);
    list_fini(&list);
    json_decref(metadata);
    free(path);
    return status;
}

static sp_status differs(const struct exec_run *run, struct sp_error *err, const char *key, const char *there,
                         const char *here)
{
    return sp_reject(err, (struct sp_mark){.file = run->config.checkpoint.resume},
                     "a checkpoint of another run: %s is %s there and %s in this experiment", key,
                     there[0] != '\0' ? there : "not set", here[0] != '\0' ? here : "not set");
}

static bool same_value(const char *a, const char *b)
{
    char *end_a, *end_b;
    double x = strtod(a, &end_a), y = strtod(b, &end_b);
    return strcmp(a, b) == 0 || (end_a > a && *end_a == '\0' && end_b > b && *end_b == '\0' && x == y);
}

static sp_status check_settings(struct exec_run *run, const json_t *settings, struct sp_error *err)
{
    const struct exec_checkpoint_config *config = &run->config.checkpoint;
    sp_status status = SP_OK;
    for (int s = 0; s < config->setting_count; s++) {
        const struct exec_setting *here = &config->settings[s];
        const char *there = json_string_value(json_object_get(settings, here->key));
        if (there == NULL)
            status = differs(run, err, here->key, "unknown", here->value);
        else if (same_value(there, here->value))
            continue;
        else if (!here->length)
            status = differs(run, err, here->key, there, here->value);
        else
            run->other_length = true;
    }
    return status;
}

static void tell_lengths(const struct exec_run *run, const json_t *settings)
{
    const struct exec_checkpoint_config *config = &run->config.checkpoint;
    for (int s = 0; s < config->setting_count && config->tell_length != NULL; s++) {
        const struct exec_setting *here = &config->settings[s];
        const char *there = json_string_value(json_object_get(settings, here->key));
        if (here->length && !same_value(there, here->value))
            config->tell_length(config->warn_self, here->key, there, here->value);
    }
}

static sp_status check_gate(struct exec_run *run, struct sp_error *err)
{
    const char *done = exec_safetensors_metadata(run->resume, "minibatches_done");
    run->resume_gate = done != NULL ? strtoll(done, NULL, 10) - 1 : -1;
    if (run->resume_gate >= 0 && run->resume_gate < run->plan->minibatches)
        return SP_OK;
    return sp_reject(err, (struct sp_mark){.file = run->config.checkpoint.resume},
                     "a checkpoint of another run: %s minibatches are done there, this one has %lld",
                     done != NULL ? done : "no", (long long)run->plan->minibatches);
}

static sp_status check_run(struct exec_run *run, struct sp_error *err)
{
    struct sp_mark mark = {.file = run->config.checkpoint.resume};
    const char *format = exec_safetensors_metadata(run->resume, "format"),
               *network = exec_safetensors_metadata(run->resume, "network"),
               *backend = exec_safetensors_metadata(run->resume, "backend"),
               *settings = exec_safetensors_metadata(run->resume, "settings");
    if (format == NULL || strcmp(format, format_name) != 0)
        return sp_reject(err, mark, "not a checkpoint: its metadata have no format %s", format_name);
    if (exec_safetensors_metadata(run->resume, "crc32") == NULL)
        return sp_reject(err, mark, "damaged: it has no checksum");
    if (network == NULL || strcmp(network, run->plan->network->name) != 0)
        return differs(run, err, "network", network != NULL ? network : "unknown", run->plan->network->name);
    if (backend == NULL || strcmp(backend, run->backend->name) != 0)
        return differs(run, err, "backend", backend != NULL ? backend : "unknown", run->backend->name);
    json_t *known = json_loads(settings != NULL ? settings : "{}", 0, NULL);
    sp_status status = check_settings(run, known, err);
    if (status == SP_OK)
        status = check_gate(run, err);
    if (status == SP_OK)
        tell_lengths(run, known);
    json_decref(known);
    return status;
}

/* That every parameter is there can be said at once; what is in flight only when the run stands at the gate. */
static sp_status check_parameters(struct exec_run *run, struct sp_error *err)
{
    const struct sp_network *network = run->plan->network;
    for (int l = 0; l < network->layer_count; l++)
        for (int p = 0; p < SP_PARAMETER_COUNT; p++) {
            struct exec_tensor tensor = describe(&network->layers[l], (enum sp_parameter)p, "");
            if (network->layers[l].parameters[p] > 0)
                SP_TRY(exec_safetensors_read(run->resume, &tensor, NULL, err));
        }
    return SP_OK;
}

sp_status exec_checkpoint_open(struct exec_run *run, struct sp_error *err)
{
    SP_TRY(exec_safetensors_open(run->config.checkpoint.resume, &run->resume, err));
    run->config.compute.choices = exec_safetensors_metadata(run->resume, "choices");
    return SP_OK;
}

/* Devices of another kind do not compute the same bits. */
static void tell_kind(const struct exec_run *run)
{
    const struct exec_backend_config *config = &run->config.compute;
    const char *there = exec_safetensors_metadata(run->resume, "kind");
    char *here = there != NULL && run->backend->kind != NULL ? run->backend->kind(run->context) : NULL;
    if (here != NULL && strcmp(there, here) != 0 && config->tell != NULL) {
        char *text =
            sp_format("what was computed by devices of %s is continued by devices of %s: the weights will not be "
                      "the same bits as there",
                      there, here);
        config->tell(config->tell_self, text);
        free(text);
    }
    free(here);
}

sp_status exec_checkpoint_check(struct exec_run *run, struct sp_error *err)
{
    SP_TRY(check_run(run, err));
    tell_kind(run);
    SP_TRY(check_parameters(run, err));
    run->replaying = true;
    return SP_OK;
}

static sp_status load_progress(struct exec_run *run, struct sp_error *err)
{
    const char *there = run->resume != NULL ? exec_safetensors_metadata(run->resume, "progress") : NULL;
    char *text = sp_strdup(there != NULL ? there : "{}");
    sp_status status = exec_together_text(run, &text, err);
    json_t *progress = json_loads(text, 0, NULL);
    if (status == SP_OK && !exec_checkpoint_restore(run, progress))
        status = sp_reject(err, (struct sp_mark){.file = run->config.checkpoint.resume},
                           "damaged: its metadata \"progress\" are not those of this run");
    json_decref(progress);
    free(text);
    return status;
}

/* Of two lengths, one has a full pipeline where the other one's runs empty already. */
static sp_status check_length(const struct exec_run *run, const struct list *list, struct sp_error *err)
{
    struct sp_error why = {0};
    sp_status status = SP_OK;
    for (int t = 0; run->resume != NULL && t < list->count && status == SP_OK; t++)
        if (strcmp(list->tensors[t].name, LOSSES) == 0)
            status = exec_safetensors_read(run->resume, &list->tensors[t], NULL, &why);
    if (status != SP_OK && !run->other_length)
        status = sp_fail(err, status, __FILE__, __LINE__, "%s", why.text);
    else if (status != SP_OK)
        status =
            sp_reject(err, (struct sp_mark){.file = run->config.checkpoint.resume},
                      "after %lld minibatches the pipeline was not filled as in a run of %lld: one of the two ends "
                      "there; continue with the length it had, or from an earlier checkpoint (remove this one)",
                      (long long)run->resume_gate + 1, (long long)run->plan->minibatches);
    sp_error_fini(&why);
    return status;
}

sp_status exec_checkpoint_load(struct exec_run *run, const struct sp_instr *gate, struct sp_error *err)
{
    struct list list;
    SP_TRY(exec_together_stages(run, err));
    list_init(&list, run, gate);
    list.file = run->resume;
    sp_status status = check_length(run, &list, err);
    for (int t = 0; t < list.count && status == SP_OK; t++)
        status = read_tensor(&list, t, err);
    list_fini(&list);
    if (status == SP_OK)
        status = load_progress(run, err);
    if (status == SP_OK)
        status = exec_flow_start(run, err); /* the clock was set back */
    if (status == SP_OK)
        status = exec_run_make_loaders(run, err);
    exec_safetensors_close(&run->resume);
    run->replaying = false;
    return status;
}
