/*
 * plan.h - an experiment made definite: network, stages, placement, schedule; and the instructions that follow.
 *
 * A plan is read-only once built and may be shared by threads; a cursor belongs to one thread. Neither knows
 * whether it is simulated or run.
 *
 * Letters, as in the paper: K cuts give P = K + 1 stages, numbered i = 0 .. P-1 here. A minibatch is split into
 * M microbatches. q counts microbatches within a phase: q = (minibatch - phase.first_minibatch) * M + microbatch.
 */
#ifndef SP_PLAN_H
#define SP_PLAN_H

#include "common/error.h"
#include "common/network.h"

#include <stdint.h>

enum sp_instr_kind {
    SP_INSTR_FORWARD,
    SP_INSTR_BACKWARD, /* gradients of the stage's input and of its weights */
    SP_INSTR_UPDATE,   /* optimiser step on a stage's weights */
    SP_INSTR_SEND,     /* post a message; the device goes on at once */
    SP_INSTR_RECV,     /* wait until the message is here */
    SP_INSTR_GATE,     /* between minibatches: here all devices may be stopped together (sp_cursor_show_gates) */
    SP_INSTR_KIND_COUNT
};

/* What a message carries. */
enum sp_payload {
    SP_PAYLOAD_ACTIVATION, /* tensors that cross the cut, downstream */
    SP_PAYLOAD_GRADIENT,   /* their gradients, upstream */
    SP_PAYLOAD_STASH,      /* what the backward pass needs, from a stage's forward to its backward device */
    SP_PAYLOAD_WEIGHTS,    /* updated weights, from a stage's backward to its forward device */
    SP_PAYLOAD_CREDIT,     /* nothing: a buffer of the receiver's own channel is free again */
    SP_PAYLOAD_COUNT
};

/* One instruction of one device. Fields that do not apply are -1 (or false). */
struct sp_instr {
    enum sp_instr_kind kind;
    int stage;         /* whose work it is; SEND and RECV: the stage at this end */
    int64_t minibatch; /* counted through all phases; evaluation: counted through all evaluations */
    int microbatch;
    bool evaluate;   /* forward only, on held-out data; no weights, statistics or versions change */
    int64_t version; /* F, B: version of the weights it reads; U: version it makes; SEND/RECV WEIGHTS: that carried */
    int64_t oldest;  /* U: oldest version that any later instruction of the stage reads (<= version) */
    int channel;     /* SEND, RECV: index in plan->channels */
    int phase;
};

/* A first-in first-out connection between two devices. The k-th SEND on it is the k-th RECV. */
struct sp_channel {
    enum sp_payload payload;
    bool evaluate; /* carries evaluation minibatches only */
    int from_device, to_device;
    int from_stage, to_stage;
    int depth;               /* messages that may be under way or in use at once; proven by sp_plan_check */
    enum sp_payload credits; /* CREDIT: the payload whose buffers it returns; else CREDIT */
    int64_t bytes; /* of one message of a full minibatch in float32; a microbatch is 1/M of it (WEIGHTS: whole) */
};

/* Consecutive layers of a network on one device, or with forward and backward on two. */
struct sp_stage {
    int first_layer, layer_end;                /* layers [first_layer, layer_end) */
    int first_weight_layer, last_weight_layer; /* as in the PPV, 1-based */
    int forward_device, backward_device;
    int64_t parameters;         /* trainable elements */
    int *inputs, input_count;   /* tensors made before this stage and read in it or after it */
    int *outputs, output_count; /* tensors made in or before this stage and read after it */
};

/* What sets the weights a backward pass reads. */
enum sp_weights_policy {
    SP_WEIGHTS_LATEST, /* the newest (the paper) */
    SP_WEIGHTS_STASH,  /* the version that the minibatch's forward read (PipeDream) */
    SP_WEIGHTS_POLICY_COUNT
};

extern const char *const sp_weights_policy_names[SP_WEIGHTS_POLICY_COUNT];
extern const char *const sp_payload_names[SP_PAYLOAD_COUNT];
extern const char *const sp_instr_kind_names[SP_INSTR_KIND_COUNT];

/* One schedule over a run of minibatches; phases follow each other with a drain between. */
struct sp_phase {
    const struct sp_schedule *schedule; /* common/schedule.h */
    enum sp_weights_policy weights;
    int microbatches; /* M */
    int64_t first_minibatch, minibatches;
    int64_t evaluate_minibatches; /* forward-only microbatches of one evaluation in this phase */
};

struct sp_plan {
    const struct sp_network *network; /* borrowed */
    int batch;                        /* samples of a minibatch; every phase's M divides it */
    int64_t minibatches;              /* of all phases */
    int stage_count;                  /* P */
    struct sp_stage *stages;
    int device_count;
    bool shared_memory; /* devices see each other's memory: messages are handed over, not copied */
    int phase_count;
    struct sp_phase *phases;
    int64_t evaluate_every; /* minibatches between evaluations; 0: none at equal distances */
    int64_t evaluate_pass;  /* samples: one when a pass over so many has ended, the last at the end of all; 0: none */
    int channel_count;
    struct sp_channel *channels;
    int *channel_index; /* [stage * route count + route], for sp_plan_channel */
    int *in_flight;     /* per stage: microbatches between their F and the end of their B, largest of phases */
    int *versions;      /* per stage: versions of its weights that are alive at once, largest of phases */
};

/* What a plan is built from. */
struct sp_plan_config {
    const int *cuts; /* the PPV, ascending, each in 1 .. weight_layer_count - 1 */
    int cut_count;
    int batch;
    const int *forward_devices;  /* per stage; NULL: stage i on device i */
    const int *backward_devices; /* per stage; NULL: as forward_devices */
    bool shared_memory;
    const struct sp_phase *phases; /* first_minibatch and evaluate_minibatches are computed */
    int phase_count;
    int64_t evaluate_every;   /* minibatches between evaluations; 0: see evaluate_pass */
    int64_t evaluate_pass;    /* or samples of a pass, after each of which one comes; the last at the end, where half a
                                 pass or more is left also after that; 0: never */
    int64_t evaluate_samples; /* of the held-out set; a phase's evaluation takes them in microbatches of its own size */
};

/* Builds and (with SP_DEBUG) checks a plan. `network` is borrowed and must outlive it. SP_E_INPUT for a config that
 * makes no plan (cuts out of order, M not dividing the batch, …), without a position: sp_experiment_plan adds it. */
sp_status sp_plan_create(const struct sp_network *network, const struct sp_plan_config *config, struct sp_plan **out,
                         struct sp_error *err);
void sp_plan_destroy(struct sp_plan **plan);

/* Samples of one microbatch in a phase, and the slot (0 .. in_flight-1) in which a stage keeps one between F and B. */
int sp_plan_microbatch_size(const struct sp_plan *plan, int phase);
int sp_plan_slot(const struct sp_plan *plan, const struct sp_instr *instr);

/* Updates each stage gets in all. */
int64_t sp_plan_updates(const struct sp_plan *plan);

/* Whether there are evaluations, and one after that minibatch; those that come with the first so many minibatches; all;
 * and forward-only microbatches in all of them. */
bool sp_plan_evaluates(const struct sp_plan *plan);
bool sp_plan_is_evaluated(const struct sp_plan *plan, int64_t minibatch);
int64_t sp_plan_evaluations_until(const struct sp_plan *plan, int64_t minibatches);
int64_t sp_plan_evaluations(const struct sp_plan *plan);
int64_t sp_plan_phase_evaluations(const struct sp_plan *plan, int phase);
int64_t sp_plan_evaluation_minibatches(const struct sp_plan *plan);

/* The channel of that payload (of CREDIT: that returns buffers of `credits`; others: CREDIT) from a stage to another,
 * or -1 when the stages' devices are one. O(1). */
int sp_plan_channel(const struct sp_plan *plan, enum sp_payload payload, enum sp_payload credits, bool evaluate,
                    int from_stage, int to_stage);

/* Opens a cursor at the first instruction of `device`. `plan` is borrowed and must outlive it. Memory is
 * O(stages on the device * in-flight), for any number of minibatches. */
struct sp_cursor *sp_cursor_create(const struct sp_plan *plan, int device);
void sp_cursor_destroy(struct sp_cursor **cursor);

/* From now on a GATE comes after each minibatch's last update at stage 0, at one tick on all devices: what comes before
 * it on any device needs nothing that comes after it on another. `minibatch` says after which. Call before the first
 * sp_cursor_next. */
void sp_cursor_show_gates(struct sp_cursor *cursor);

/*
 * For engines that recognise a steady state. sp_cursor_state writes all that decides what comes next, relative to
 * minibatch `since`, as numbers: two states that are equal lead to the same instructions, but for the minibatches
 * between their `since`. Adds to the growing array *state, which the caller frees. sp_cursor_skippable says how many
 * minibatches may be skipped in one go from here so that this stays true; 0 outside of the steady part of a phase.
 */
void sp_cursor_state(const struct sp_cursor *cursor, int64_t since, int64_t **state, int *count);
int64_t sp_cursor_skippable(const struct sp_cursor *cursor);
void sp_cursor_skip(struct sp_cursor *cursor, int64_t minibatches);
void sp_instr_shift(struct sp_instr *instr, int64_t minibatches);
void sp_instr_state(const struct sp_instr *instr, int64_t since, int64_t **state, int *count);

/* Moves to the next instruction. False at the end, and then `*instr` is unchanged. Amortised O(log stages on the
 * device). */
bool sp_cursor_next(struct sp_cursor *cursor, struct sp_instr *instr);

/* The same without a copy: good until the cursor moves on; NULL at the end. */
const struct sp_instr *sp_cursor_take(struct sp_cursor *cursor);

/* Fetches into the cache what the next sp_cursor_next will look at. */
void sp_cursor_prefetch(const struct sp_cursor *cursor);

/* Writes an instruction as other tools do: stage, letter, microbatch: "0F3", "1B2", "0U2", "0SEND_F3", "0E1"
 * (evaluation). `verbose` adds "@version". Returns buffer. */
enum { SP_INSTR_TEXT = 64 };
const char *sp_instr_format(const struct sp_plan *plan, const struct sp_instr *instr, bool verbose,
                            char buffer[SP_INSTR_TEXT]);

#endif
