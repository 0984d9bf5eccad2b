/*
 * run.h - everything a run holds: what the parts of the executor share. Internal to exec/.
 *
 * Who writes what while threads run: a stage's `forward` half belongs to the thread of its forward device, its
 * `backward` half to that of its backward device; a slot goes from one to the other with the messages of the plan.
 */
#ifndef EXEC_RUN_H
#define EXEC_RUN_H

#include "common/engine.h"
#include "exec/memory.h"
#include "exec/safetensors.h"
#include "exec/team.h"
#include "exec/trainer.h"
#include "exec/transport.h"

#include <pthread.h>
#include <stdatomic.h>

struct exec_stage {
    /* forward device */
    int64_t forward_version; /* of the weights that the next F reads */
    /* backward device */
    int64_t version;        /* newest */
    int64_t oldest_forward; /* versions read for the minibatch under way, smallest */
    int64_t oldest_backward;
    int64_t forward_staleness, backward_staleness; /* largest so far */
    /* both, handed over with the slot */
    int64_t *read; /* [slot]: the version that F read */
    bool *busy;    /* [slot]: a microbatch is between its F and the end of its B */
};

/* Minibatches that a loader's takers are done with. */
struct exec_fed {
    int64_t first_stage, last_stage;
};

/*
 * Where all devices can be stopped together: between minibatches (SP_INSTR_GATE). The first device at a gate decides
 * whether the run pauses there; then each waits, and the last to come does what there is to do.
 */
struct exec_gate {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    atomic_llong decided; /* gates up to this one are decided */
    atomic_llong pause;   /* the one at which the run pauses, -1: none */
    atomic_llong opened;  /* the last pause that is over */
    int arrived;
    double last_s;   /* time of the last checkpoint, or of the start */
    int64_t stopped; /* the run ended at this gate, -1: it did not */
    /* Where several processes run the plan: the gate at which all pause because rank 0 wants to, -1: none. To find it,
     * rank 0 lets all hold, and each tells the last gate that it has decided. */
    atomic_llong agreed;
    bool held, stopping; /* stopping: the run ends at the gate agreed on */
    atomic_bool asked;   /* rank 0: some rank was asked to stop; others: this one was, and has told */
    int answers;
    int64_t highest;
};

/* A device at the end of an epoch's evaluation, written by its own thread. */
struct exec_snapshot {
    double at_s;
    struct sp_lane_total total;
    int64_t staleness; /* largest so far of the stages whose backward is here */
};

/* What the last stage knows of the loss. */
struct exec_progress_state {
    float *losses;                    /* [minibatch]: mean over its samples */
    int64_t done;                     /* minibatches whose forward is complete */
    int64_t correct_since, loss_from; /* since the last evaluation */
    double evaluation_loss;
    int64_t evaluation_correct;
    struct sp_epoch_summary *epochs;
    int epoch_count, told; /* evaluations so far, and when `progress` was last called */
    int surplus; /* over the plan's up to there, in runs of another length that this one continues; may be < 0 */
    double last_call_s;
};

struct exec_flow;

struct exec_run {
    const struct sp_plan *plan;
    struct exec_team *team;       /* the processes that run it together; NULL: this one alone */
    int first_device, device_end; /* that are here */
    const struct exec_backend *backend;
    struct exec_trainer_config config;
    void *context;
    void **models; /* [phase]; equal sizes share */
    struct sp_memory_plan *memory;
    struct exec_memory blocks;
    const struct exec_transport *transport;
    void *channels;
    struct exec_flow *flow; /* where the backend's devices compute behind queues; else NULL */
    struct exec_dataset *data;
    struct exec_loader *train_loader;
    struct exec_loader **test_loaders; /* [phase] */
    int64_t *first_evaluation;         /* [phase]: number of its first evaluation minibatch */
    struct exec_stage *stages;
    struct sp_live *live; /* [device] */
    struct sp_trace *trace;
    struct sp_trace *layers;               /* spans of single layers; NULL: not timed */
    struct exec_snapshot *snapshots;       /* [evaluation * devices + device] */
    struct sp_epoch_device *epoch_devices; /* as in sp_summary, made of the snapshots after the run */
    struct exec_progress_state progress;
    double start_s;
    double time_s;
    /* one interpreter for all devices: what each rests for, -1: nothing */
    struct sp_instr *resting;
    double *resting_since_s;
    bool *rests;
    int next_device;
    sp_status rest_status; /* what went wrong while a device took what it had rested for */
    struct sp_error rest_err;
    atomic_bool failed; /* a thread gave up: the others end */
    struct exec_gate gate;
    struct exec_safetensors *resume;      /* rank 0: the checkpoint to continue from, until it is loaded */
    char *choices;                        /* others: the choices made there */
    struct exec_progress told;            /* rank 0: what another rank told last; others: what they told */
    int64_t resume_gate;                  /* -1: none */
    bool other_length;                    /* than the run had that left the checkpoint */
    bool replaying;                       /* up to resume_gate instructions are counted, not computed */
    struct exec_fed train_fed, *test_fed; /* [phase] */
};

/* Seconds since the start of the run. */
double exec_run_now_s(const struct exec_run *run);

/* Whether a device, a stage, is of this process. */
static inline bool exec_run_has(const struct exec_run *run, int device)
{
    return device >= run->first_device && device < run->device_end;
}
static inline bool exec_run_has_stage(const struct exec_run *run, int stage)
{
    return exec_run_has(run, run->plan->stages[stage].forward_device);
}

/* Whether a channel of one of its devices leads to another process. */
static inline bool exec_run_leaves(const struct exec_run *run, int channel)
{
    const struct sp_channel *c = &run->plan->channels[channel];
    return exec_run_has(run, c->from_device) != exec_run_has(run, c->to_device);
}

/* The block that holds version `version` of a stage's weights, on its forward and on its backward device. */
void *exec_run_forward_weights(const struct exec_run *run, int stage, int64_t version);
void *exec_run_backward_weights(const struct exec_run *run, int stage, int64_t version);

/* A stage's part of its device's block of a kind. */
void *exec_run_part(const struct exec_run *run, int stage, enum sp_memory_kind kind, bool backward);

/* Where a place of the plan lies for the microbatch of an instruction (exec/places.c), on the owner's backward device
 * where that is another; NONE: NULL. Not for SCRATCH. */
void *exec_run_find(const struct exec_run *run, const struct sp_instr *instr, struct sp_place place, bool backward);

/* Calls `move` for each part of what a SEND carries, with where it lies and where it will be read (exec/send.c). */
typedef sp_status exec_move(void *self, void *to, const void *from, size_t bytes, struct sp_error *err);
sp_status exec_send(const struct exec_run *run, const struct sp_instr *instr, exec_move *move, void *self,
                    struct sp_error *err);

/* One stage's F, B or evaluation forward, layer by layer (exec/stage.c). The last stage adds up loss and hits. */
sp_status exec_stage_forward(struct exec_run *run, const struct sp_instr *instr, struct sp_error *err);
sp_status exec_stage_evaluate(struct exec_run *run, const struct sp_instr *instr, struct sp_error *err);
sp_status exec_stage_backward(struct exec_run *run, const struct sp_instr *instr, struct sp_error *err);

/* The same for an instruction that was computed before the run was interrupted: counts what was taken from loaders. */
void exec_stage_skip(struct exec_run *run, const struct sp_instr *instr);

/* SP_E_UNSUPPORTED: the backend cannot do a layer of the network (exec/models.c). */
sp_status exec_check_layers(const struct exec_backend *backend, const struct sp_network *network, struct sp_error *err);

/* Which devices are here, their models, and the run's memory plan from these (exec/models.c). Also where create failed.
 */
sp_status exec_models_create(struct exec_run *run, struct sp_error *err);
void exec_models_destroy(struct exec_run *run);

/* All devices that are here do their instructions (exec/workers.c). `stop` lets them give up, from any thread. */
sp_status exec_workers_run(struct exec_run *run, struct sp_error *err);
void exec_run_stop(struct exec_run *run);

/* Loaders that go on where the minibatches fed so far end (exec/loaders.c). */
sp_status exec_run_make_loaders(struct exec_run *run, struct sp_error *err);

/* The gate (exec/gate.c). `wait`: stops there until all devices have come, else only says in *opened whether the device
 * may go on now. */
void exec_gate_init(struct exec_run *run);
void exec_gate_fini(struct exec_run *run);
void exec_gate_cancel(struct exec_run *run);
void exec_gate_news(struct exec_run *run, const struct exec_news *news);
sp_status exec_gate_pass(struct exec_run *run, int device, const struct sp_instr *gate, bool wait, bool *opened,
                         struct sp_error *err);

/* Checkpoints (exec/checkpoint.c): open takes over the choices the backend made there, check finds out whether file and
 * run belong together, and the gate; save and load
 * while all devices stand at `gate`. */
sp_status exec_checkpoint_open(struct exec_run *run, struct sp_error *err);
sp_status exec_checkpoint_check(struct exec_run *run, struct sp_error *err);
sp_status exec_checkpoint_save(struct exec_run *run, const struct sp_instr *gate, struct sp_error *err);
sp_status exec_checkpoint_load(struct exec_run *run, const struct sp_instr *gate, struct sp_error *err);

/*
 * Runs of several processes (exec/together.c), each called by all of them: begin before models are made, for what they
 * need to be alike; places, behind that, sees that no two have one device; agree that they are, and where they begin;
 * start the clock together. `text` gives all that of rank 0, instead of theirs, which is freed. `stages` lets all know
 * what lies where at a gate; `counts` lets rank 0 know what the others counted, `results` all that is left of a run.
 * Nothing to do for one process.
 */
sp_status exec_together_begin(struct exec_run *run, struct sp_error *err);
sp_status exec_together_places(struct exec_run *run, struct sp_error *err);
sp_status exec_together_agree(struct exec_run *run, struct sp_error *err);
sp_status exec_together_start(struct exec_run *run, struct sp_error *err);
sp_status exec_together_text(struct exec_run *run, char **text, struct sp_error *err);
sp_status exec_together_stages(struct exec_run *run, struct sp_error *err);
sp_status exec_together_counts(struct exec_run *run, struct sp_error *err);
sp_status exec_together_results(struct exec_run *run, struct sp_error *err);

/* The two ways to interpret instructions (exec/engine.c): `self` is the run. */
extern const struct sp_engine exec_engine_threads; /* a thread per device: waits inside */
extern const struct sp_engine exec_engine_single;  /* one thread for all */

/* Parameters of all stages: He initialisation, batch norm 1 and 0 (exec/initialise.c). */
sp_status exec_initialise(struct exec_run *run, struct sp_error *err);

/* Evaluations of the whole run, those of runs that it continues among them; room for them all, empty (exec/progress.c).
 */
int64_t exec_progress_room(const struct exec_run *run);
void exec_progress_make_room(struct exec_run *run, int surplus);

/* At a gate: keeps what the device came to, where an evaluation is over; and what the epochs come to by these, after
 * the run (exec/progress.c). */
bool exec_progress_is_snapshot(const struct exec_run *run, const struct sp_instr *gate);
void exec_progress_snapshot(struct exec_run *run, int device, const struct sp_instr *gate);
void exec_progress_finish(struct exec_run *run);

/* Loss and hits of a forward, or evaluation, at the last stage, and when it was done (exec/progress.c). */
struct exec_score {
    double loss_sum;
    int64_t correct;
};
void exec_progress_score(struct exec_run *run, const struct sp_instr *instr, struct exec_score score, double at_s);

#endif
