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
#include "common/network.h"
#include "common/plan.h"

struct sp_document; /* common/yaml.h: the parsed file, with marks */

/* A phase as written; lengths in exactly one of epochs or iterations. */
struct sp_phase_spec {
    char *schedule;
    char *weights; /* NULL: the schedule's default */
    int microbatches;
    int64_t epochs, iterations; /* the other is 0 */
    struct sp_mark mark, schedule_mark, weights_mark, microbatches_mark;
};

struct sp_stage_times {
    double forward_s, backward_s;
};

struct sp_experiment {
    char *name;
    struct {
        char *builtin, *file; /* exactly one is set */
        struct sp_mark mark;
    } network;
    struct {
        char *set;       /* fashion-mnist, mnist, synthetic */
        char *dir;       /* auto or a folder */
        int64_t samples; /* synthetic: training samples (a sixth as many for testing) */
        struct sp_mark mark, set_mark, dir_mark;
    } data;
    struct {
        int *cuts, cut_count;
        struct sp_mark cuts_mark, *cut_marks;
        struct sp_phase_spec base; /* schedule, weights, microbatches: of the only phase, and defaults for `phases` */
        char *placement;           /* auto (co-located, a device a stage), split (2K+1 devices), or NULL: the lists */
        int *forward_devices, *backward_devices, placement_count;
        struct sp_mark placement_mark;
    } pipeline;
    struct {
        char *backend; /* ref, cpu, cuda */
        int count;     /* 0: as many as the placement needs */
        int threads;
        struct sp_mark mark, backend_mark, count_mark;
    } devices;
    struct {
        int batch;
        int64_t epochs, iterations; /* iterations > 0 wins */
        double lr, momentum, weight_decay;
        bool nesterov;
        int64_t seed;
        int64_t evaluate_every; /* minibatches; 0: at the end of every epoch; -1: never */
        struct sp_mark batch_mark;
    } train;
    struct {
        char *model;                   /* analytic, table */
        char *device;                  /* analytic: auto, a name in experiments/devices, or a path */
        struct sp_stage_times *stages; /* table */
        int stage_count;
        double update_s;
        double *transfers_s; /* table: per boundary, each way */
        int transfer_count;
        struct sp_mark mark, device_mark, stages_mark, transfers_mark;
    } cost;
    struct {
        int64_t minibatches;
        int64_t trace; /* spans kept per lane */
    } sim;
    struct sp_phase_spec *phases;
    int phase_count;
    struct sp_document *document; /* owns the marks' file names */
};

/* Reads `path` ("-": stdin), applies the `--set` words "key=value" in order, and checks every value that can be checked
 * alone. All mistakes are collected in `err`. The caller owns *out. */
sp_status sp_experiment_read(const char *path, const char *const *sets, int set_count, struct sp_experiment **out,
                             struct sp_error *err);
void sp_experiment_destroy(struct sp_experiment **experiment);

/* The experiment with every key resolved, as YAML that reads back to the same; the caller frees. */
char *sp_experiment_yaml(const struct sp_experiment *experiment);

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

/* The experiment's network, for the shape of its data. */
sp_status sp_experiment_network(const struct sp_experiment *experiment, struct sp_network **out, struct sp_error *err);

/* How long the plan is: as the experiment trains (epochs or iterations, evaluations included), as it simulates
 * (sim.minibatches, no evaluation), or the baseline for speedups: the same stages by `sequential`, all on one device,
 * with `minibatches` minibatches. */
enum sp_plan_use { SP_PLAN_TRAIN, SP_PLAN_SIMULATE };

/* The plan, with every mistake (cuts, schedule, placement, microbatches) reported at its mark. */
sp_status sp_experiment_plan(const struct sp_experiment *experiment, const struct sp_network *network,
                             enum sp_plan_use use, struct sp_plan **out, struct sp_error *err);

/* `sequential` on one device over the same stages, for speedups. */
sp_status sp_experiment_baseline(const struct sp_experiment *experiment, const struct sp_network *network,
                                 int64_t minibatches, struct sp_plan **out, struct sp_error *err);

#endif
