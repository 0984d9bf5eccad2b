/*
 * experiment.h - the experiment file, read and checked, as plain values.
 *
 * One option table (common/options.c) gives every key its type, range, default and help; reading, --set, messages,
 * the resolved experiment.yaml and the help text all come from it. Every value keeps the mark of where the user
 * wrote it, so that a check made much later can still point there.
 */
#ifndef SP_EXPERIMENT_H
#define SP_EXPERIMENT_H

#include "common/error.h"
#include "common/memory.h"
#include "common/metrics.h"
#include "common/network.h"
#include "common/plan.h"

/* What may compute, and what is known of it before anybody asks it: the legal values of devices.backend. */
struct sp_backend_kind {
    const char *name;
    bool shared_memory; /* its devices see each other's memory */
    const char *device; /* whose constants `cost.device: auto` takes: a file of experiments/devices */
};
extern const struct sp_backend_kind sp_backend_kinds[]; /* ended by name NULL */

/* The one of that name, which is legal. */
const struct sp_backend_kind *sp_backend_kind_find(const char *name);

struct sp_document; /* common/yaml.h: the parsed file, with marks */
struct sp_yaml;

/* A stretch of minibatches under one schedule, as written; its length is in epochs or in iterations, the other is 0. */
struct sp_phase_spec {
    char *schedule;
    char *weights;            /* NULL: the schedule's default */
    bool weights_of_schedule; /* spelled out in the schedule: they go when it is replaced */
    int microbatches;
    int64_t epochs, iterations;
    struct sp_mark mark, schedule_mark, microbatches_mark;
};

struct sp_stage_times {
    double forward_s, backward_s;
};

struct sp_experiment {
    char *name;
    char *label; /* in tables and legends; NULL: none */
    struct {
        char *builtin, *file, *profile; /* exactly one is set */
    } network;
    struct {
        char *set;             /* fashion-mnist, mnist, cifar10, synthetic */
        char *dir;             /* auto or a folder */
        char *augment;         /* none, crop-flip */
        struct sp_shape shape; /* synthetic, as is the rest */
        int classes;
        int64_t samples; /* for training; a sixth as many for testing */
        int threads;     /* that prepare minibatches */
    } data;
    struct {
        bool auto_cuts; /* the planner chooses them */
        int *cuts, cut_count;
        struct sp_mark *cut_marks;
        struct sp_phase_spec base; /* the only phase, and the defaults of `phases`; no length */
        char *placement;           /* auto, colocated, split or one; NULL: the lists */
        int *forward_devices, *backward_devices, placement_count;
    } pipeline;
    struct {
        char *backend; /* of sp_backend_kinds */
        int count;     /* 0: as many as the placement needs */
        int threads;
        char *convolution; /* direct, winograd, auto */
        char *graphs;      /* auto, on, off */
        bool tf32;
    } devices;
    struct {
        int batch;
        int64_t epochs, iterations; /* iterations > 0 wins */
        double lr, momentum, weight_decay;
        bool nesterov;
        char *lr_schedule; /* constant, step, cosine, one-cycle, polynomial, inv */
        double *lr_steps;  /* step: epochs, ascending */
        int lr_step_count;
        double lr_gamma, lr_power, lr_final, lr_peak;
        double warmup;  /* epochs */
        bool decay_all; /* weight decay on biases and batch norm too */
        double label_smoothing;
        double *stage_lr; /* factors, one a stage; count 0: all 1 */
        int stage_lr_count;
        int64_t seed;
        int64_t evaluate_every; /* minibatches; 0: at the end of every epoch; -1: never */
    } train;
    struct {
        double minutes; /* between checkpoints; 0: not by time */
        int64_t epochs; /* 0: not by epochs */
        int keep;
    } checkpoint;
    struct {
        char *model;                   /* analytic, table, profile, import */
        char *file;                    /* profile: the cost file; NULL: none */
        bool force;                    /* profile: of another machine too */
        double slowdown;               /* relative, beside each other device at work; 0: what the model knows */
        double noise, drift;           /* relative standard deviations; 0: what the model knows */
        char *device;                  /* analytic: auto, a name in experiments/devices, or a path */
        struct sp_stage_times *stages; /* table */
        int stage_count;
        double update_s;
        double *transfers_s; /* table: per boundary, each way */
        int transfer_count;
    } cost;
    struct {
        int64_t minibatches;
        int64_t trace; /* spans kept per lane */
        int64_t seed;  /* of what varies */
    } sim;
    struct {
        char *objective;      /* throughput, time, staleness, memory */
        int stages;           /* 0: as many as is best, up to devices.count */
        char *placement;      /* colocated, split, any */
        double keep;          /* staleness, memory: share of the best throughput that must be left */
        double memory;        /* limits: bytes of a device; 0: none */
        int64_t staleness;    /* in updates; -1: none */
        double stale_weights; /* per cent */
        bool ignore_transfers;
        int candidates; /* simulated in detail, and told */
    } plan;
    struct sp_phase_spec *phases;
    int phase_count;
    double published[SP_PUBLISHED_COUNT][SP_METRIC_COUNT]; /* NAN: none */
    const struct sp_yaml *sweep;                           /* as written (common/sweep.h); NULL or empty: none */
    struct sp_mark *marks;                                 /* of every option, in the order of the table */
    struct sp_document **documents;
    char **document_paths;         /* what each document sets; NULL: the file */
    int document_count;            /* the file and the --set values; own the marks' file names */
    struct sp_document **defaults; /* of every option; NULL: none. Borrowed where there are no documents */
};

/* Where the option of that path ("pipeline.cuts") was written; where it was not, the file's name without a line. */
struct sp_mark sp_experiment_mark(const struct sp_experiment *experiment, const char *path);

/* Whether the user wrote the option, in the file or by --set. */
bool sp_experiment_is_set(const struct sp_experiment *experiment, const char *path);

/* Reads `path` ("-": stdin), applies the `--set` words "key=value" in order, and checks every value that can be checked
 * alone. All mistakes are collected in `err`. The caller owns *out. */
sp_status sp_experiment_read(const char *path, const char *const *sets, int set_count, struct sp_experiment **out,
                             struct sp_error *err);
void sp_experiment_destroy(struct sp_experiment **experiment);

/* The same experiment with some options set to other values, and without its sweep. `base`, whose documents the marks
 * of *out point into, must outlive it, as must the values. */
struct sp_override {
    const char *path;
    const struct sp_yaml *value;
};
sp_status sp_experiment_vary(const struct sp_experiment *base, const struct sp_override *overrides, int count,
                             struct sp_experiment **out, struct sp_error *err);

/* The experiment with every key resolved, as YAML that reads back to the same; the caller frees. A sweep's has the keys
 * that were set alone: whether one was may matter to its points. */
char *sp_experiment_yaml(const struct sp_experiment *experiment);

/* A line "path: value" for each option that is not at its default; the caller frees. */
char *sp_experiment_settings(const struct sp_experiment *experiment);

/* The option table as help text: key, default, range, one line each; the caller frees. */
char *sp_experiment_help(void);

/* What the data set fixes: shape and number of classes, samples. From the name alone for known sets. */
struct sp_data_shape {
    struct sp_shape shape;
    int classes;
    int64_t train_samples, test_samples;
};
sp_status sp_experiment_data_shape(const struct sp_experiment *experiment, struct sp_data_shape *out,
                                   struct sp_error *err);

/* The experiment's network, for the shape of its data. A measured one brings its minibatch along: train.batch becomes
 * it, or must be it, and cost.model becomes import. */
sp_status sp_experiment_network(struct sp_experiment *experiment, struct sp_network **out, struct sp_error *err);

/*
 * The plan, with every mistake (cuts, schedule, placement, microbatches) reported at its mark. TRAIN: as long as the
 * experiment trains (epochs or iterations, evaluations included). SIMULATE: sim.minibatches, phases in proportion, no
 * evaluation.
 */
enum sp_plan_use { SP_PLAN_TRAIN, SP_PLAN_SIMULATE };
sp_status sp_experiment_plan(const struct sp_experiment *experiment, const struct sp_network *network,
                             enum sp_plan_use use, struct sp_plan **out, struct sp_error *err);

/* The baseline of speedups: the same stages by `sequential`, all on one device, `minibatches` long, no evaluation. */
sp_status sp_experiment_baseline(const struct sp_experiment *experiment, const struct sp_network *network,
                                 int64_t minibatches, struct sp_plan **out, struct sp_error *err);

#endif
