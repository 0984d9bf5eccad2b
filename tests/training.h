/*
 * training.h - small real runs for tests: a network, a plan, synthetic data, a trainer.
 */
#ifndef TESTS_TRAINING_H
#define TESTS_TRAINING_H

#include "common/schedule.h"
#include "exec/trainer.h"

/* What a run is made of; zero is a default everywhere. */
struct run_setting {
    const char *network;                /* lenet5 (1x12x12), a resnet (3x8x8) or a file's path (3x8x8) */
    struct sp_shape shape;              /* another one */
    const struct exec_backend *backend; /* NULL: ref */
    int cuts[8], cut_count;
    int *forward_devices, *backward_devices;
    struct sp_phase phases[3]; /* minibatches 0 ends the list; none: one phase of `schedule` */
    const char *schedule;
    enum sp_weights_policy weights;
    int microbatches, minibatches, batch;
    int64_t evaluate_every, evaluate_pass;
    enum exec_workers workers;
    enum exec_graphs graphs;
    int graphs_kept;
    float lr, momentum;
    float weight_decay;
    bool nesterov, decay_weights_only;
    bool separate; /* cpu: no operations fused */
    bool apart;    /* devices copy what they send, as if they had memories of their own */
    enum exec_convolution convolution;
    const double *stage_lr;
    struct exec_checkpoint_config checkpoint;
    const volatile sig_atomic_t *stop;
    bool through_host;                          /* cuda: messages between devices */
    struct exec_team *team;                     /* the other processes; NULL: none */
    void (*tell)(void *self, const char *text); /* of the backend and of checkpoints; NULL: nobody is told */
    void *tell_self;
};

struct run {
    struct sp_network *network;
    struct sp_plan *plan;
    struct exec_dataset *data;
    struct exec_trainer *trainer;
};

/* Builds everything; fails the test where that fails. */
void run_open(const struct run_setting *setting, struct run *run);
sp_status run_try_open(const struct run_setting *setting, struct run *run,
                       struct sp_error *err); /* the trainer may fail */
void run_train(struct run *run);
void run_close(struct run *run);

/* All parameters in plain order, layer by layer; *count elements; the caller frees. */
float *run_parameters(struct run *run, int64_t *count);

/* Behind the parameters, losses and the evaluations' losses: all that timing must not change. Of a run that is over. */
float *run_numbers(struct run *run, int64_t *count);
void expect_same_numbers(const float *a, const float *b, int64_t count);

/* Opens, trains, takes the parameters, closes. */
float *run_once(const struct run_setting *setting, int64_t *count);

/* A data set that costs nothing to read, for benchmarks: the same image for every sample. Not to be closed. */
struct exec_dataset blank_dataset(struct sp_shape shape);

/* Where the program remembers its choices of algorithms, for benchmarks that make the same; NULL: nowhere. */
const char *remembered_choices(void);

/* A small generator for the choices of property tests. */
int pick(uint32_t *state, int n);

#endif
