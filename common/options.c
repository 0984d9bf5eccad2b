#include "common/options.h"
#include "common/alloc.h"

#include <stdlib.h>
#include <string.h>

#define AT(field)               offsetof(struct sp_experiment, field)
#define TEXT(field, words)      SP_OPTION_TEXT, AT(field), 0, 0, words
#define INT(field, low, high)   SP_OPTION_INT, AT(field), low, high, NULL
#define INT64(field, low, high) SP_OPTION_INT64, AT(field), low, high, NULL
#define REAL(field, low, high)  SP_OPTION_DOUBLE, AT(field), low, high, NULL
#define BOOL(field)             SP_OPTION_BOOL, AT(field), 0, 0, NULL
#define OTHER                   SP_OPTION_OTHER, 0, 0, 0, NULL

static const double most = 1e12;

/* Backends: EACH(name, shared memory, device). */
#define BACKENDS(EACH)                            EACH(ref, true, "cpu") EACH(cpu, true, "cpu") EACH(cuda, false, "v100")
#define BACKEND_ROW(name, shared_memory, device)  {#name, shared_memory, device},
#define BACKEND_WORD(name, shared_memory, device) ", " #name
static const char backend_words[] = BACKENDS(BACKEND_WORD);

const struct sp_backend_kind sp_backend_kinds[] = {BACKENDS(BACKEND_ROW){NULL, false, NULL}};

const struct sp_backend_kind *sp_backend_kind_find(const char *name)
{
    int b = 0;
    while (sp_backend_kinds[b].name != NULL && strcmp(sp_backend_kinds[b].name, name) != 0)
        b++;
    SP_ASSERT(sp_backend_kinds[b].name != NULL, "backend %s", name);
    return &sp_backend_kinds[b];
}

const struct sp_option sp_options[] = {
    {"name", OTHER, "experiment", "names the run's folder", sp_read_name, sp_write_name},
    {"label", TEXT(label, NULL), NULL, "what tables and legends of a sweep call it", NULL, NULL},
    {"network", OTHER, "lenet5",
     "lenet5, alexnet, vgg16, resnetN (N = 6n+2), {file: net.yaml}, or {profile: net.graph.txt or net.csv}",
     sp_read_network, sp_write_network},
    {"data.set", TEXT(data.set, "fashion-mnist, mnist, cifar10, synthetic"), "fashion-mnist", "the data set", NULL,
     NULL},
    {"data.dir", TEXT(data.dir, NULL), "auto",
     "folder of its files; auto: in $STALEPIPE_DATA, the cache folder or Debian's", NULL, NULL},
    {"data.augment", TEXT(data.augment, "none, crop-flip"), "none",
     "crop-flip: 4 pixels of padding, a random crop, a flip half of the time", NULL, NULL},
    {"data.shape", OTHER, "[1, 28, 28]", "synthetic: [channels, height, width]", sp_read_data_shape,
     sp_write_data_shape},
    {"data.classes", INT(data.classes, 2, 100000), "10", "synthetic: classes", NULL, NULL},
    {"data.samples", INT64(data.samples, 6, 1e9), "6000", "synthetic: samples to train on", NULL, NULL},
    {"data.threads", INT(data.threads, 1, 256), "1", "threads that prepare minibatches", NULL, NULL},
    {"pipeline.cuts", OTHER, "[]", "after which weight layers to cut (the PPV), ascending; auto: planned", sp_read_cuts,
     sp_write_cuts},
    {"pipeline.schedule", OTHER, "stale", "sequential, stale, gpipe, 1f1b, 1f1b-async, or {order:, flush:, weights:}",
     sp_read_schedule, sp_write_schedule},
    {"pipeline.weights", OTHER, NULL, "latest or stash: the weights a backward reads (1f1b-async: stash)",
     sp_read_weights, sp_write_weights},
    {"pipeline.microbatches", INT(pipeline.base.microbatches, 1, 1e6), "1", "parts of a minibatch", NULL, NULL},
    {"pipeline.placement", OTHER, "auto",
     "auto or colocated (a device a stage), split (2K+1 devices), one, a list, or {forward: [..], backward: [..]}",
     sp_read_placement, sp_write_placement},
    {"devices.backend", TEXT(devices.backend, backend_words + 2), "cpu", "what computes: ref, cpu or cuda", NULL, NULL},
    {"devices.count", INT(devices.count, 0, 1e6), "0", "devices; 0: one a stage; fewer than stages: they share", NULL,
     NULL},
    {"devices.threads", INT(devices.threads, 1, 1024), "1", "threads of a device's compute library", NULL, NULL},
    {"devices.convolution", TEXT(devices.convolution, "direct, winograd, auto"), "auto",
     "cpu: the algorithm; auto: the faster of both for each layer and pass, timed once a machine", NULL, NULL},
    {"devices.tf32", BOOL(devices.tf32), "false", "cuda: products may be rounded to TF32, which newer chips do faster",
     NULL, NULL},
    {"devices.graphs", TEXT(devices.graphs, "auto, on, off"), "auto",
     "cuda: launch what comes again at the same addresses as one CUDA graph; auto: where it is long enough and "
     "the run is one process",
     NULL, NULL},
    {"train.batch", INT(train.batch, 1, 1e6), "128", "samples of a minibatch", NULL, NULL},
    {"train.epochs", INT64(train.epochs, 1, 1e6), "5", "passes over the training samples", NULL, NULL},
    {"train.iterations", INT64(train.iterations, 0, 1e12), "0", "minibatches, instead of epochs", NULL, NULL},
    {"train.lr", REAL(train.lr, 0, most), "0.01", "learning rate", NULL, NULL},
    {"train.momentum", REAL(train.momentum, 0, 1), "0.9", "momentum of SGD", NULL, NULL},
    {"train.nesterov", BOOL(train.nesterov), "false", "Nesterov's form of momentum", NULL, NULL},
    {"train.weight_decay", REAL(train.weight_decay, 0, most), "0", "times the weights, added to the gradient", NULL,
     NULL},
    {"train.decay_all", BOOL(train.decay_all), "true", "false: no weight decay on biases and batch norm", NULL, NULL},
    {"train.label_smoothing", REAL(train.label_smoothing, 0, 0.999), "0", "share of the target spread over all classes",
     NULL, NULL},
    {"train.lr_schedule", TEXT(train.lr_schedule, "constant, step, cosine, one-cycle, polynomial, inv"), "constant",
     "learning rate of every minibatch, as a factor of train.lr", NULL, NULL},
    {"train.lr_steps", OTHER, "[]", "step: [epoch, ...] after which it is multiplied by lr_gamma", sp_read_lr_steps,
     sp_write_lr_steps},
    {"train.lr_gamma", REAL(train.lr_gamma, 0, most), "0.1", "step: the factor; inv: (1 + gamma t)^-power", NULL, NULL},
    {"train.lr_power", REAL(train.lr_power, 0, 100), "1", "polynomial, inv: the exponent", NULL, NULL},
    {"train.lr_final", REAL(train.lr_final, 0, 1), "0", "cosine, one-cycle, polynomial: the last factor", NULL, NULL},
    {"train.lr_peak", REAL(train.lr_peak, 0, 1), "0.3", "one-cycle: where in the run the rate is highest", NULL, NULL},
    {"train.warmup", REAL(train.warmup, 0, 1e6), "0", "epochs over which the rate rises from 0, with any schedule",
     NULL, NULL},
    {"train.stage_lr", OTHER, "[]", "[factor, ...] of the learning rate, one a stage; []: all 1", sp_read_stage_lr,
     sp_write_stage_lr},
    {"train.seed", INT64(train.seed, 0, 9e15), "1", "of everything random", NULL, NULL},
    {"train.evaluate_every", INT64(train.evaluate_every, -1, 1e12), "0",
     "minibatches between evaluations; 0: every epoch; -1: never", NULL, NULL},
    {"checkpoint.minutes", REAL(checkpoint.minutes, 0, 1e6), "10",
     "time between checkpoints of a training run, at least; 0: none by time", NULL, NULL},
    {"checkpoint.epochs", INT64(checkpoint.epochs, 0, 1e6), "0", "epochs between checkpoints; 0: none by epochs", NULL,
     NULL},
    {"checkpoint.keep", INT(checkpoint.keep, 1, 1e6), "2", "checkpoints kept, the newest", NULL, NULL},
    {"cost.model", TEXT(cost.model, "analytic, table, profile, import"), "analytic", "where simulated times come from",
     NULL, NULL},
    {"cost.device", TEXT(cost.device, NULL), "auto", "analytic: a name in experiments/devices or a file", NULL, NULL},
    {"cost.file", TEXT(cost.file, NULL), NULL, "profile: what `stalepipe profile` wrote", NULL, NULL},
    {"cost.force", BOOL(cost.force), "false", "profile: use it on another machine or with other settings", NULL, NULL},
    {"cost.slowdown", REAL(cost.slowdown, 0, 1e3), "0",
     "how much longer work takes for each other device at work (0.1: a tenth); 0: what the model knows", NULL, NULL},
    {"cost.noise", REAL(cost.noise, 0, 10), "0",
     "relative standard deviation of each duration, for --repeat; 0: what the model knows", NULL, NULL},
    {"cost.drift", REAL(cost.drift, 0, 10), "0", "the same, of a run as a whole", NULL, NULL},
    {"cost.stages", OTHER, NULL, "table: [{forward: s, backward: s}, ...] per minibatch", sp_read_cost_stages,
     sp_write_cost_stages},
    {"cost.update", REAL(cost.update_s, 0, most), "0", "table: seconds of an update", NULL, NULL},
    {"cost.transfers", OTHER, NULL, "table: [s, ...] for each boundary, each way", sp_read_cost_transfers,
     sp_write_cost_transfers},
    {"sim.minibatches", INT64(sim.minibatches, 1, 1e12), "400", "minibatches to simulate", NULL, NULL},
    {"sim.seed", INT64(sim.seed, 0, most), "1", "of durations that vary, for --repeat", NULL, NULL},
    {"sim.trace", INT64(sim.trace, 0, 1e8), "20000", "spans kept for each device", NULL, NULL},
    {"phases", OTHER, NULL, "[{schedule:, weights:, microbatches:, epochs: or iterations:}, ...] one after another",
     sp_read_phases, sp_write_phases},
    {"plan.objective", TEXT(plan.objective, "throughput, time, staleness, memory"), "throughput",
     "what the planner wants: highest throughput, least time of the training, least staleness or memory", NULL, NULL},
    {"plan.stages", INT(plan.stages, 0, 65536), "0", "stages; 0: as many as is best, up to devices.count", NULL, NULL},
    {"plan.placement", TEXT(plan.placement, "colocated, split, any"), "colocated",
     "forward and backward of a stage on one device, on two, or what is better", NULL, NULL},
    {"plan.keep", REAL(plan.keep, 0.01, 1), "0.95", "staleness, memory: share of the best throughput to keep", NULL,
     NULL},
    {"plan.memory", REAL(plan.memory, 0, 1e18), "0", "limit: bytes of a device; 0: none", NULL, NULL},
    {"plan.staleness", INT64(plan.staleness, -1, 1e12), "-1", "limit: updates; -1: none", NULL, NULL},
    {"plan.stale_weights", REAL(plan.stale_weights, 0, 100), "100", "limit: per cent of the weights that may be stale",
     NULL, NULL},
    {"plan.ignore_transfers", BOOL(plan.ignore_transfers), "false", "true: computation alone counts", NULL, NULL},
    {"plan.candidates", INT(plan.candidates, 1, 1000), "10", "plans to show", NULL, NULL},
    {"published", OTHER, NULL,
     "{metric: value, ...} that others report, to hold against: speedup, accuracy (0..1), time_s, kept_bytes_ratio, "
     "accuracy_difference, ...",
     sp_read_published, sp_write_published},
    {"sweep", OTHER, NULL,
     "{key: [value, ...], ...} crossed; zip:, cases:, unless:, only:, repeat:, reference:, baseline: (below)",
     sp_read_sweep, sp_write_sweep},
};
const int sp_option_count = sizeof sp_options / sizeof *sp_options;

int sp_option_find(const char *path)
{
    for (int o = 0; o < sp_option_count; o++)
        if (strcmp(sp_options[o].path, path) == 0)
            return o;
    return -1;
}

sp_status sp_reject_word(struct sp_error *err, struct sp_mark mark, const char *path, const char *word,
                         const char *words)
{
    char *copy = sp_strdup(words), *rest = copy, *one;
    const char *names[32];
    int count = 0;
    while (count < 32 && (one = strsep(&rest, ",")) != NULL)
        names[count++] = one + strspn(one, " ");
    const char *near = sp_nearest(word, names, count);
    sp_status status =
        near != NULL ? sp_reject(err, mark, "%s: no \"%s\"; did you mean \"%s\"? Legal: %s", path, word, near, words)
                     : sp_reject(err, mark, "%s: no \"%s\"; legal: %s", path, word, words);
    free(copy);
    return status;
}

static bool is_word(const char *word, const char *words)
{
    size_t length = strcspn(word, ",");
    if (word[length] == ',')
        return false; /* several of the words are not a word */
    for (const char *at = words; at != NULL; at = strchr(at, ',')) {
        at += strspn(at, ", ");
        if (strncmp(at, word, length) == 0 && (at[length] == ',' || at[length] == '\0'))
            return length > 0;
    }
    return false;
}

static sp_status wrong_type(const struct sp_option *option, const struct sp_yaml *value, const char *expected,
                            struct sp_error *err)
{
    const char *found = value->kind == SP_YAML_LIST ? "a list" : value->kind == SP_YAML_MAP ? "a map" : value->text;
    return sp_reject(err, value->mark, "%s: expected %s, found %s%s%s", option->path, expected,
                     value->kind == SP_YAML_SCALAR ? "\"" : "", found, value->kind == SP_YAML_SCALAR ? "\"" : "");
}

static sp_status read_number(const struct sp_option *option, void *target, const struct sp_yaml *value,
                             struct sp_error *err)
{
    int64_t whole = 0;
    double number = 0;
    if (option->type == SP_OPTION_DOUBLE ? !sp_yaml_double(value, &number) : !sp_yaml_int(value, &whole))
        return wrong_type(option, value, option->type == SP_OPTION_DOUBLE ? "a number" : "a whole number", err);
    if (option->type != SP_OPTION_DOUBLE)
        number = (double)whole;
    if (number < option->low || number > option->high)
        return sp_reject(err, value->mark, "%s: %s is out of range: %.15g to %.15g are legal", option->path,
                         value->text, option->low, option->high);
    if (option->type == SP_OPTION_INT)
        *(int *)target = (int)whole;
    else if (option->type == SP_OPTION_INT64)
        *(int64_t *)target = whole;
    else
        *(double *)target = number;
    return SP_OK;
}

sp_status sp_option_read(const struct sp_option *option, struct sp_experiment *experiment, const struct sp_yaml *value,
                         struct sp_error *err)
{
    void *target = (char *)experiment + option->offset;
    switch (option->type) {
    case SP_OPTION_OTHER:
        return option->read(experiment, value, err);
    case SP_OPTION_BOOL:
        return sp_yaml_bool(value, target) ? SP_OK : wrong_type(option, value, "true or false", err);
    case SP_OPTION_TEXT:
        if (value->kind != SP_YAML_SCALAR || value->text[0] == '\0')
            return wrong_type(option, value, "a word", err);
        if (option->words != NULL && !is_word(value->text, option->words))
            return sp_reject_word(err, value->mark, option->path, value->text, option->words);
        free(*(char **)target);
        *(char **)target = sp_strdup(value->text);
        return SP_OK;
    default:
        return read_number(option, target, value, err);
    }
}

void sp_option_write(const struct sp_option *option, const struct sp_experiment *experiment, FILE *out)
{
    const void *value = (const char *)experiment + option->offset;
    switch (option->type) {
    case SP_OPTION_INT:
        fprintf(out, "%d", *(const int *)value);
        break;
    case SP_OPTION_INT64:
        fprintf(out, "%lld", (long long)*(const int64_t *)value);
        break;
    case SP_OPTION_DOUBLE:
        sp_write_real(*(const double *)value, out);
        break;
    case SP_OPTION_BOOL:
        fputs(*(const bool *)value ? "true" : "false", out);
        break;
    case SP_OPTION_TEXT:
        if (*(char *const *)value != NULL)
            sp_write_text(*(char *const *)value, out);
        break;
    default:
        if (option->write != NULL)
            option->write(experiment, out);
    }
}
