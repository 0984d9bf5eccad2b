/*
 * analysis.h - what follows from the instructions alone: staleness, stash, order, deadlock; no clock.
 *
 * An instruction source is anything that yields each device's instructions; a plan's cursors are the usual one. The
 * checker runs all of them on an abstract machine (counters for messages, weights and slots, nothing else) and
 * verifies every rule from scratch, without trusting what made the instructions.
 */
#ifndef SP_ANALYSIS_H
#define SP_ANALYSIS_H

#include "common/memory.h"
#include "common/plan.h"

struct sp_instr_source {
    void *self;
    bool (*next)(void *self, int device, struct sp_instr *instr);
};

/*
 * Verifies a stream of instructions of `plan` to its end:
 *   every minibatch goes once through F and B of every stage, B after F, microbatches all before the one update;
 *   an F has its input, a B its gradient, made on its own device or received; every RECV has its SEND, of the same
 *   payload, stage, minibatch and microbatch, and every SEND its RECV; no channel holds more than its depth;
 *   versions named are those that exist then: U makes the next one, F reads the newest its device has, B the one its
 *   policy says; none is read after the U that let it go; slots are free when taken and all are free at the end;
 *   evaluation changes nothing; nothing waits for ever.
 * Returns SP_OK, or SP_E_DEADLOCK / SP_E_UNSUPPORTED with a message that names device, instruction and rule.
 * Memory: O(devices * in-flight). Time: O(instructions).
 */
sp_status sp_check(const struct sp_plan *plan, const struct sp_instr_source *source, struct sp_error *err);

/* The same on the plan's own cursors. */
sp_status sp_plan_check(const struct sp_plan *plan, struct sp_error *err);

/* Per stage and phase, in the steady state (the largest seen). Staleness is in updates: version the gradient is applied
 * to, minus the version that the pass read. */
struct sp_stage_analysis {
    int64_t forward_staleness, backward_staleness;
    int64_t in_flight; /* microbatches between F and the end of B */
    int64_t versions;  /* versions of the weights alive at once */
};

struct sp_analysis {
    int phase_count, stage_count, device_count;
    struct sp_stage_analysis *stages; /* [phase * stage_count + stage] */
    double stale_weight_fraction;     /* parameters in stages with forward staleness > 0 over all, largest phase */
    int64_t *instructions;            /* [device], of the minibatches looked at */
    size_t (*live_peak)[SP_MEMORY_KIND_COUNT]; /* [device]; zero when `memory` was NULL */
    size_t *live_peak_total;                   /* [device] */
};

/* Analyses each phase on a prefix of its minibatches that is long enough to reach the steady state. `memory` may be
 * NULL. */
sp_status sp_analysis_create(const struct sp_plan *plan, const struct sp_memory_plan *memory, struct sp_analysis **out,
                             struct sp_error *err);
void sp_analysis_destroy(struct sp_analysis **analysis);

#endif
