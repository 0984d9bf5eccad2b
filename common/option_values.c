/*
 * The values of an experiment file that have a shape of their own: each is read here and written here.
 */
#include "common/alloc.h"
#include "common/options.h"
#include "common/schedule.h"

#include <stdlib.h>
#include <string.h>

static sp_status expected(struct sp_error *err, const struct sp_yaml *value, const char *path, const char *what)
{
    const char *found = value->kind == SP_YAML_LIST ? "a list" : value->kind == SP_YAML_MAP ? "a map" : value->text;
    return sp_reject(err, value->mark, "%s: expected %s, found %s", path, what, found[0] != '\0' ? found : "nothing");
}

/* The list's entry as a whole number in low .. high. */
static sp_status read_entry(const struct sp_yaml *item, const char *path, int64_t low, int64_t high, int *out,
                            struct sp_error *err)
{
    int64_t value;
    if (!sp_yaml_int(item, &value))
        return expected(err, item, path, "a whole number");
    if (value < low || value > high)
        return sp_reject(err, item->mark, "%s: %s is out of range: %lld to %lld are legal", path, item->text,
                         (long long)low, (long long)high);
    *out = (int)value;
    return SP_OK;
}

/* A list of whole numbers; *out is replaced. All wrong entries are told. */
static sp_status read_ints(const struct sp_yaml *list, const char *path, int64_t low, int64_t high, int **out,
                           int *count, struct sp_error *err)
{
    if (list->kind != SP_YAML_LIST)
        return expected(err, list, path, "a list of whole numbers such as [1, 2]");
    int *values = sp_calloc((size_t)list->count + 1, sizeof *values);
    sp_status status = SP_OK;
    for (int i = 0; i < list->count; i++) {
        sp_status one = read_entry(list->items[i], path, low, high, &values[i], err);
        status = one != SP_OK ? one : status;
    }
    free(*out);
    *out = values;
    *count = list->count;
    return status;
}

static void write_ints(const int *values, int count, FILE *out)
{
    fputc('[', out);
    for (int i = 0; i < count; i++)
        fprintf(out, "%s%d", i > 0 ? ", " : "", values[i]);
    fputc(']', out);
}

static void replace(char **text, const char *by)
{
    free(*text);
    *text = sp_strdup(by);
}

sp_status sp_read_name(struct sp_experiment *experiment, const struct sp_yaml *value, struct sp_error *err)
{
    if (value->kind != SP_YAML_SCALAR || value->text[0] == '\0')
        return expected(err, value, "name", "a text");
    if (strchr(value->text, '/') != NULL || value->text[0] == '.')
        return sp_reject(err, value->mark, "name: \"%s\" cannot name a folder: no \"/\" and no \".\" at the start",
                         value->text);
    replace(&experiment->name, value->text);
    return SP_OK;
}

void sp_write_name(const struct sp_experiment *experiment, FILE *out)
{
    sp_write_text(experiment->name, out);
}

sp_status sp_read_network(struct sp_experiment *experiment, const struct sp_yaml *value, struct sp_error *err)
{
    const struct sp_yaml *file = sp_yaml_get(value, "file"), *profile = sp_yaml_get(value, "profile");
    const struct sp_yaml *path = file != NULL ? file : profile;
    bool is_name = value->kind == SP_YAML_SCALAR && value->text[0] != '\0';
    if (!is_name && (path == NULL || value->count != 1 || path->kind != SP_YAML_SCALAR || path->text[0] == '\0'))
        return sp_reject(err, value->mark,
                         "network: expected a name (%s), {file: net.yaml} or {profile: net.graph.txt}",
                         sp_network_builtin_help());
    replace(&experiment->network.builtin, is_name ? value->text : NULL);
    replace(&experiment->network.file, file != NULL ? file->text : NULL);
    replace(&experiment->network.profile, profile != NULL ? profile->text : NULL);
    return SP_OK;
}

void sp_write_network(const struct sp_experiment *experiment, FILE *out)
{
    if (experiment->network.builtin != NULL) {
        sp_write_text(experiment->network.builtin, out);
        return;
    }
    fputs(experiment->network.file != NULL ? "{file: " : "{profile: ", out);
    sp_write_text(experiment->network.file != NULL ? experiment->network.file : experiment->network.profile, out);
    fputc('}', out);
}

sp_status sp_read_data_shape(struct sp_experiment *experiment, const struct sp_yaml *value, struct sp_error *err)
{
    int *shape = NULL, count = 0;
    sp_status status = read_ints(value, "data.shape", 1, 65536, &shape, &count, err);
    if (status == SP_OK && count != 3)
        status = sp_reject(err, value->mark, "data.shape: expected [channels, height, width], found %d numbers", count);
    if (status == SP_OK)
        experiment->data.shape = (struct sp_shape){shape[0], shape[1], shape[2]};
    free(shape);
    return status;
}

void sp_write_data_shape(const struct sp_experiment *experiment, FILE *out)
{
    struct sp_shape shape = experiment->data.shape;
    fprintf(out, "[%d, %d, %d]", shape.c, shape.h, shape.w);
}

sp_status sp_read_cuts(struct sp_experiment *experiment, const struct sp_yaml *value, struct sp_error *err)
{
    experiment->pipeline.auto_cuts = value->kind == SP_YAML_SCALAR && strcmp(value->text, "auto") == 0;
    if (experiment->pipeline.auto_cuts) {
        experiment->pipeline.cut_count = 0;
        return SP_OK;
    }
    SP_TRY(read_ints(value, "pipeline.cuts", 1, 1000000, &experiment->pipeline.cuts, &experiment->pipeline.cut_count,
                     err));
    free(experiment->pipeline.cut_marks);
    experiment->pipeline.cut_marks = sp_calloc((size_t)value->count + 1, sizeof(struct sp_mark));
    sp_status status = SP_OK;
    for (int c = 0; c < value->count; c++) {
        const int *cuts = experiment->pipeline.cuts;
        experiment->pipeline.cut_marks[c] = value->items[c]->mark;
        if (c > 0 && cuts[c] <= cuts[c - 1])
            status = sp_reject(err, value->items[c]->mark, "pipeline.cuts: cuts must ascend: %d follows %d", cuts[c],
                               cuts[c - 1]);
    }
    return status;
}

void sp_write_cuts(const struct sp_experiment *experiment, FILE *out)
{
    if (experiment->pipeline.auto_cuts)
        fputs("auto", out);
    else
        write_ints(experiment->pipeline.cuts, experiment->pipeline.cut_count, out);
}

static sp_status read_schedule_name(struct sp_phase_spec *phase, const struct sp_yaml *value, const char *path,
                                    struct sp_error *err)
{
    if (value->kind != SP_YAML_SCALAR)
        return expected(err, value, path, "a schedule's name");
    if (sp_schedule_find(value->text) == NULL) {
        char words[256] = "";
        for (int s = 0; sp_schedules[s] != NULL; s++) {
            strcat(words, s > 0 ? ", " : "");
            strcat(words, sp_schedules[s]->name);
        }
        return sp_reject_word(err, value->mark, path, value->text, words);
    }
    replace(&phase->schedule, value->text);
    phase->schedule_mark = value->mark;
    return SP_OK;
}

static sp_status read_policy(struct sp_phase_spec *phase, const struct sp_yaml *value, const char *path,
                             struct sp_error *err)
{
    if (value->kind != SP_YAML_SCALAR)
        return expected(err, value, path, "latest or stash");
    if (strcmp(value->text, "latest") != 0 && strcmp(value->text, "stash") != 0)
        return sp_reject_word(err, value->mark, path, value->text, "latest, stash");
    replace(&phase->weights, value->text);
    phase->weights_of_schedule = false;
    return SP_OK;
}

/* The schedule that an order becomes with the flush it is given. */
static sp_status apply_flush(struct sp_phase_spec *phase, const struct sp_yaml *flush, const char *path,
                             struct sp_error *err)
{
    bool never = flush->kind == SP_YAML_SCALAR && strcmp(flush->text, "never") == 0;
    if (!never && (flush->kind != SP_YAML_SCALAR || strcmp(flush->text, "minibatch") != 0))
        return sp_reject(err, flush->mark, "%s.flush: expected minibatch or never", path);
    if (never && strcmp(phase->schedule, "1f1b") == 0)
        replace(&phase->schedule, "1f1b-async");
    bool async = strcmp(phase->schedule, "stale") == 0 || strcmp(phase->schedule, "1f1b-async") == 0;
    if (async != never)
        return sp_reject(err, flush->mark, "%s.flush: %s flushes %s", path, phase->schedule,
                         async ? "never" : "every minibatch");
    return SP_OK;
}

/* A name, or {order:, flush:, weights:}. */
static sp_status read_schedule(struct sp_phase_spec *phase, const struct sp_yaml *value, const char *path,
                               struct sp_error *err)
{
    if (phase->weights_of_schedule)
        replace(&phase->weights, NULL); /* they were of the schedule that stood here before */
    phase->weights_of_schedule = false;
    if (value->kind != SP_YAML_MAP)
        return read_schedule_name(phase, value, path, err);
    static const char *const keys[] = {"order", "flush", "weights", NULL};
    SP_TRY(sp_yaml_fields(value, path, NULL, 0, keys, NULL, err));
    const struct sp_yaml *order = sp_yaml_get(value, "order"), *weights = sp_yaml_get(value, "weights"),
                         *flush = sp_yaml_get(value, "flush");
    if (order == NULL)
        return sp_reject(err, value->mark, "%s: \"order\" is missing", path);
    SP_TRY(read_schedule_name(phase, order, path, err));
    if (weights != NULL) {
        SP_TRY(read_policy(phase, weights, path, err));
        phase->weights_of_schedule = true;
    }
    return flush != NULL ? apply_flush(phase, flush, path, err) : SP_OK;
}

sp_status sp_read_schedule(struct sp_experiment *experiment, const struct sp_yaml *value, struct sp_error *err)
{
    return read_schedule(&experiment->pipeline.base, value, "pipeline.schedule", err);
}

void sp_write_schedule(const struct sp_experiment *experiment, FILE *out)
{
    fputs(experiment->pipeline.base.schedule, out);
}

sp_status sp_read_weights(struct sp_experiment *experiment, const struct sp_yaml *value, struct sp_error *err)
{
    return read_policy(&experiment->pipeline.base, value, "pipeline.weights", err);
}

void sp_write_weights(const struct sp_experiment *experiment, FILE *out)
{
    if (experiment->pipeline.base.weights != NULL)
        fputs(experiment->pipeline.base.weights, out);
}

sp_status sp_read_placement(struct sp_experiment *experiment, const struct sp_yaml *value, struct sp_error *err)
{
    if (value->kind == SP_YAML_SCALAR) {
        static const char *const names[] = {"auto", "split", "colocated", "one"};
        for (int n = 0; n < 4; n++)
            if (strcmp(value->text, names[n]) == 0) {
                replace(&experiment->pipeline.placement, names[n]);
                return SP_OK;
            }
        return sp_reject_word(err, value->mark, "pipeline.placement", value->text, "auto, split, colocated, one");
    }
    const struct sp_yaml *forward = value, *backward = NULL;
    if (value->kind == SP_YAML_MAP) {
        static const char *const keys[] = {"forward", "backward", NULL};
        SP_TRY(sp_yaml_fields(value, "pipeline.placement", NULL, 0, keys, NULL, err));
        forward = sp_yaml_get(value, "forward");
        backward = sp_yaml_get(value, "backward");
        if (forward == NULL || backward == NULL)
            return sp_reject(err, value->mark, "pipeline.placement: both \"forward\" and \"backward\" are needed");
    }
    int backward_count = 0;
    SP_TRY(read_ints(forward, "pipeline.placement", 0, 65535, &experiment->pipeline.forward_devices,
                     &experiment->pipeline.placement_count, err));
    if (backward == NULL)
        backward = forward;
    SP_TRY(read_ints(backward, "pipeline.placement", 0, 65535, &experiment->pipeline.backward_devices, &backward_count,
                     err));
    if (backward_count != experiment->pipeline.placement_count)
        return sp_reject(err, backward->mark, "pipeline.placement: %d forward and %d backward stages",
                         experiment->pipeline.placement_count, backward_count);
    replace(&experiment->pipeline.placement, NULL);
    return SP_OK;
}

void sp_write_placement(const struct sp_experiment *experiment, FILE *out)
{
    if (experiment->pipeline.placement != NULL) {
        fputs(experiment->pipeline.placement, out);
        return;
    }
    fputs("{forward: ", out);
    write_ints(experiment->pipeline.forward_devices, experiment->pipeline.placement_count, out);
    fputs(", backward: ", out);
    write_ints(experiment->pipeline.backward_devices, experiment->pipeline.placement_count, out);
    fputc('}', out);
}

sp_status sp_read_cost_stages(struct sp_experiment *experiment, const struct sp_yaml *value, struct sp_error *err)
{
    static const struct sp_field fields[] = {
        {"forward", SP_FIELD_DOUBLE, offsetof(struct sp_stage_times, forward_s), 0, 1e9, true},
        {"backward", SP_FIELD_DOUBLE, offsetof(struct sp_stage_times, backward_s), 0, 1e9, true},
    };
    if (value->kind != SP_YAML_LIST)
        return expected(err, value, "cost.stages", "a list of {forward: s, backward: s}");
    free(experiment->cost.stages);
    experiment->cost.stages = sp_calloc((size_t)value->count + 1, sizeof *experiment->cost.stages);
    experiment->cost.stage_count = value->count;
    sp_status status = SP_OK;
    for (int i = 0; i < value->count; i++) {
        sp_status one =
            sp_yaml_fields(value->items[i], "cost.stages", fields, 2, NULL, &experiment->cost.stages[i], err);
        status = one != SP_OK ? one : status;
    }
    return status;
}

void sp_write_cost_stages(const struct sp_experiment *experiment, FILE *out)
{
    for (int i = 0; i < experiment->cost.stage_count; i++) {
        fputs(i > 0 ? ", {forward: " : "[{forward: ", out);
        sp_write_real(experiment->cost.stages[i].forward_s, out);
        fputs(", backward: ", out);
        sp_write_real(experiment->cost.stages[i].backward_s, out);
        fputc('}', out);
    }
    if (experiment->cost.stage_count > 0)
        fputc(']', out);
}

/* A list of numbers, none below 0; *out is replaced. All wrong entries are told. */
static sp_status read_reals(const struct sp_yaml *list, const char *path, const char *what, double **out, int *count,
                            struct sp_error *err)
{
    char *entry = sp_format("%s, 0 or more", what), *whole = sp_format("a list of %s", what);
    sp_status status = list->kind == SP_YAML_LIST ? SP_OK : expected(err, list, path, whole);
    if (status == SP_OK) {
        free(*out);
        *out = sp_calloc((size_t)list->count + 1, sizeof **out);
        *count = list->count;
    }
    for (int i = 0; list->kind == SP_YAML_LIST && i < list->count; i++)
        if (!sp_yaml_double(list->items[i], &(*out)[i]) || (*out)[i] < 0)
            status = expected(err, list->items[i], path, entry);
    free(entry);
    free(whole);
    return status;
}

static void write_reals(const double *values, int count, FILE *out)
{
    fputc('[', out);
    for (int i = 0; i < count; i++) {
        fputs(i > 0 ? ", " : "", out);
        sp_write_real(values[i], out);
    }
    fputc(']', out);
}

sp_status sp_read_cost_transfers(struct sp_experiment *experiment, const struct sp_yaml *value, struct sp_error *err)
{
    return read_reals(value, "cost.transfers", "seconds", &experiment->cost.transfers_s,
                      &experiment->cost.transfer_count, err);
}

void sp_write_cost_transfers(const struct sp_experiment *experiment, FILE *out)
{
    if (experiment->cost.transfer_count > 0)
        write_reals(experiment->cost.transfers_s, experiment->cost.transfer_count, out);
}

sp_status sp_read_lr_steps(struct sp_experiment *experiment, const struct sp_yaml *value, struct sp_error *err)
{
    double **steps = &experiment->train.lr_steps;
    SP_TRY(read_reals(value, "train.lr_steps", "epochs", steps, &experiment->train.lr_step_count, err));
    for (int i = 1; i < experiment->train.lr_step_count; i++)
        if ((*steps)[i] <= (*steps)[i - 1])
            return sp_reject(err, value->items[i]->mark, "train.lr_steps: %g after %g: epochs must rise", (*steps)[i],
                             (*steps)[i - 1]);
    return SP_OK;
}

void sp_write_lr_steps(const struct sp_experiment *experiment, FILE *out)
{
    write_reals(experiment->train.lr_steps, experiment->train.lr_step_count, out);
}

sp_status sp_read_stage_lr(struct sp_experiment *experiment, const struct sp_yaml *value, struct sp_error *err)
{
    return read_reals(value, "train.stage_lr", "factors", &experiment->train.stage_lr,
                      &experiment->train.stage_lr_count, err);
}

void sp_write_stage_lr(const struct sp_experiment *experiment, FILE *out)
{
    write_reals(experiment->train.stage_lr, experiment->train.stage_lr_count, out);
}

void sp_phase_specs_free(struct sp_experiment *experiment)
{
    for (int p = 0; p < experiment->phase_count; p++) {
        free(experiment->phases[p].schedule);
        free(experiment->phases[p].weights);
    }
    free(experiment->phases);
    experiment->phases = NULL;
    experiment->phase_count = 0;
}

static sp_status read_length(const struct sp_yaml *value, const char *path, int64_t *out, struct sp_error *err)
{
    if (value == NULL)
        return SP_OK;
    if (!sp_yaml_int(value, out) || *out < 1 || *out > (int64_t)1e12)
        return expected(err, value, path, "a whole number, 1 or more");
    return SP_OK;
}

static sp_status read_phase(struct sp_phase_spec *phase, const struct sp_yaml *value, struct sp_error *err)
{
    static const char *const keys[] = {"schedule", "weights", "microbatches", "epochs", "iterations", NULL};
    phase->mark = phase->schedule_mark = phase->microbatches_mark = value->mark;
    SP_TRY(sp_yaml_fields(value, "phases", NULL, 0, keys, NULL, err));
    const struct sp_yaml *schedule = sp_yaml_get(value, "schedule"), *weights = sp_yaml_get(value, "weights"),
                         *microbatches = sp_yaml_get(value, "microbatches"), *epochs = sp_yaml_get(value, "epochs"),
                         *iterations = sp_yaml_get(value, "iterations");
    if ((epochs == NULL) == (iterations == NULL))
        return sp_reject(err, value->mark, "phases: a phase needs its length, either \"epochs\" or \"iterations\"");
    if (weights != NULL)
        SP_TRY(read_policy(phase, weights, "phases.weights", err));
    if (schedule != NULL)
        SP_TRY(read_schedule(phase, schedule, "phases.schedule", err));
    if (microbatches != NULL) {
        SP_TRY(read_entry(microbatches, "phases.microbatches", 1, 1000000, &phase->microbatches, err));
        phase->microbatches_mark = microbatches->mark;
    }
    SP_TRY(read_length(epochs, "phases.epochs", &phase->epochs, err));
    return read_length(iterations, "phases.iterations", &phase->iterations, err);
}

sp_status sp_read_phases(struct sp_experiment *experiment, const struct sp_yaml *value, struct sp_error *err)
{
    if (value->kind != SP_YAML_LIST)
        return expected(err, value, "phases", "a list of {schedule:, epochs:}");
    sp_phase_specs_free(experiment);
    experiment->phases = sp_calloc((size_t)value->count + 1, sizeof *experiment->phases);
    experiment->phase_count = value->count;
    sp_status status = SP_OK;
    for (int p = 0; p < value->count; p++) {
        sp_status one = read_phase(&experiment->phases[p], value->items[p], err);
        status = one != SP_OK ? one : status;
    }
    return status;
}

void sp_write_phases(const struct sp_experiment *experiment, FILE *out)
{
    for (int p = 0; p < experiment->phase_count; p++) {
        const struct sp_phase_spec *phase = &experiment->phases[p];
        fputs(p > 0 ? ", {" : "[{", out);
        if (phase->schedule != NULL)
            fprintf(out, "schedule: %s, ", phase->schedule);
        if (phase->weights != NULL)
            fprintf(out, "weights: %s, ", phase->weights);
        if (phase->microbatches > 0)
            fprintf(out, "microbatches: %d, ", phase->microbatches);
        fprintf(out, "%s: %lld}", phase->epochs > 0 ? "epochs" : "iterations",
                (long long)(phase->epochs > 0 ? phase->epochs : phase->iterations));
    }
    if (experiment->phase_count > 0)
        fputc(']', out);
}
