/*
 * trainer.h - trains a plan for real.
 *
 * The caller owns everything passed in; it must outlive the trainer. One trainer at a time per thread.
 */
#ifndef EXEC_TRAINER_H
#define EXEC_TRAINER_H

#include "common/memory.h"
#include "common/plan.h"
#include "common/summary.h"
#include "common/trace.h"
#include "exec/backend.h"
#include "exec/checkpoint.h"
#include "exec/data/data.h"
#include "exec/learning_rate.h"

#include <signal.h>

struct exec_trainer;

/* Who interprets the devices' instructions: the weights are the same either way, bit for bit. */
enum exec_workers {
    EXEC_WORKERS_THREADS, /* a thread per device */
    EXEC_WORKERS_ONE      /* the calling thread, all devices in turn */
};

/* What is known while training, for a progress bar. */
struct exec_progress {
    int64_t minibatches, minibatches_total;
    int epoch;             /* 1-based */
    double loss, accuracy; /* training: mean of the last minibatches */
    double test_accuracy;  /* NAN: none yet */
    int evaluations;       /* so far */
    bool last;             /* all is trained and evaluated: nothing comes after this */
    double elapsed_s, samples_per_s, remaining_s;
};

/* Whether what a device is given again and again goes to it as one graph, where its backend can (exec/body.h). The
 * weights are the same either way, bit for bit. */
enum exec_graphs { EXEC_GRAPHS_AUTO, EXEC_GRAPHS_ON, EXEC_GRAPHS_OFF };
extern const char *const exec_graphs_names[]; /* of that enum; the words of devices.graphs */

struct exec_graph_count {
    int64_t captured, replayed, refused;
    char *why; /* the first one was refused; NULL: none was */
};

struct exec_trainer_config {
    const struct exec_backend *backend;
    enum exec_workers workers;
    enum exec_graphs graphs;
    int graphs_kept; /* of each pass of a stage, at most; 0: 128 */
    struct exec_backend_config compute;
    bool pin;                /* device d to cores [d * threads, (d + 1) * threads) where there are that many */
    struct exec_sgd sgd;     /* lr: times the factor of `rate` and of the stage */
    struct exec_rate rate;   /* its steps are borrowed */
    const double *stage_lr;  /* [stage], borrowed; NULL: all 1 */
    bool decay_weights_only; /* no weight decay on biases and batch norm */
    float label_smoothing;   /* of the training loss and its gradient */
    int loader_threads;      /* 0: 1 */
    bool augment;            /* crop and flip the training images */
    uint64_t seed;
    int64_t spans_per_lane; /* kept in the trace */
    int64_t layer_spans;    /* each device's layer passes kept in a trace of their own; 0: none are timed */
    void (*progress)(void *self,
                     const struct exec_progress *progress); /* NULL: none; called at most 20 times a second */
    void *progress_self;
    struct exec_checkpoint_config checkpoint;
    /* NULL, or polled. 1: the run ends with SP_E_INTERRUPTED between two minibatches, behind a checkpoint; 2, or 1
     * where no checkpoints are kept: at the next instruction. */
    const volatile sig_atomic_t *stop;
};

struct exec_trainer_config exec_trainer_config_default(void);

/* The memory plan of `plan` by the backend's own sizes, without taking any memory: what a run will need. The caller
 * owns *out. */
sp_status exec_plan_memory(const struct sp_plan *plan, const struct exec_backend *backend,
                           const struct exec_backend_config *config, struct sp_memory_plan **out, struct sp_error *err);

/* Compiles the models (one per microbatch size in the plan), makes the memory plan by the backend's own sizes, takes
 * the memory and initialises the parameters. A network the backend cannot do is SP_E_UNSUPPORTED with layer and reason.
 */
sp_status exec_trainer_create(const struct sp_plan *plan, struct exec_dataset *data,
                              const struct exec_trainer_config *config, struct exec_trainer **out,
                              struct sp_error *err);
void exec_trainer_destroy(struct exec_trainer **trainer);

/* What processes that run a plan together must have in common: sizes of what they hand each other as it lies in memory.
 */
uint64_t exec_trainer_layout(void);

/* NULL, or why the processes of a team cannot share a plan: a stage that goes forward in one and backward in another.
 * The caller frees. */
char *exec_trainer_parted(const struct sp_plan *plan, const struct exec_team *team);

/* Runs the whole plan, from the start or from where the checkpoint to resume left it: then the weights, losses and
 * counts are those of a run that was never interrupted. */
sp_status exec_trainer_run(struct exec_trainer *trainer, struct sp_error *err);

/* What was planned and taken. `counted_bytes` is what the allocator counted per device and kind, `live_peak` the
 * largest sum of what instructions held at run time. */
const struct sp_memory_plan *exec_trainer_memory(const struct exec_trainer *trainer);
size_t exec_trainer_counted_bytes(const struct exec_trainer *trainer, int device, enum sp_memory_kind kind);
size_t exec_trainer_live_peak(const struct exec_trainer *trainer, int device, enum sp_memory_kind kind);

/* After the run. */
const struct sp_trace *exec_trainer_trace(const struct exec_trainer *trainer);
struct sp_trace *exec_trainer_take_trace(struct exec_trainer *trainer); /* the caller's from now on */
/* Spans FORWARD, BACKWARD and EVALUATE of single layers: `stage` is the layer. NULL: none were asked for. The caller's
 * from now on. */
struct sp_trace *exec_trainer_take_layers(struct exec_trainer *trainer);
double exec_trainer_time_s(const struct exec_trainer *trainer);
const struct sp_epoch_summary *exec_trainer_epochs(const struct exec_trainer *trainer, int *count);
const struct sp_epoch_device *
exec_trainer_epoch_devices(const struct exec_trainer *trainer); /* [epoch * devices + d] */

/* Graphs made and replayed, and the captures that failed; `why` is the trainer's. */
struct exec_graph_count exec_trainer_graphs(const struct exec_trainer *trainer);

/* Staleness as counted in the run, from the versions really read and applied; the largest seen, per stage. */
void exec_trainer_counted_staleness(const struct exec_trainer *trainer, int stage, int64_t *forward, int64_t *backward);

/* A copy of a layer's parameter (newest version) in plain order, into elements of `out`; and its replacement. Not while
 * it runs. */
sp_status exec_trainer_get_parameter(struct exec_trainer *trainer, int layer, enum sp_parameter which, float *out,
                                     struct sp_error *err);
sp_status exec_trainer_set_parameter(struct exec_trainer *trainer, int layer, enum sp_parameter which, const float *in,
                                     struct sp_error *err);

/* Minibatches after which the run stood when it was resumed or stopped; 0: it started from scratch, -1: it came to its
 * end. */
int64_t exec_trainer_resumed_after(const struct exec_trainer *trainer);
int64_t exec_trainer_stopped_after(const struct exec_trainer *trainer);

/* Minibatches whose loss is known: all, unless the run failed. */
int64_t exec_trainer_done(const struct exec_trainer *trainer);

/* Training loss (mean over the minibatch) of each minibatch so far, `minibatches` entries. */
const float *exec_trainer_losses(const struct exec_trainer *trainer);

#endif
