/*
 * stage_program.h - one stage's F, B and U in a phase, with weight versions; before messages and merging.
 *
 * The program is that of a stage whose forward and backward share a device; where they do not, each device follows the
 * whole program and does its part, so that versions are the same wherever the stage is placed.
 */
#ifndef SP_STAGE_PROGRAM_H
#define SP_STAGE_PROGRAM_H

#include "common/plan.h"
#include "common/schedule.h"

struct sp_stage_program {
    const struct sp_phase *phase;
    struct sp_order order;
    struct sp_step next;         /* compute step k, unless that is the end */
    int64_t k;                   /* next compute step */
    int64_t updates;             /* of all phases so far: the newest version */
    int64_t forwards, backwards; /* done in this phase: the next ones' q */
    int64_t last_tick;           /* of step k - 1 */
    int backwards_left;          /* of the minibatch whose backwards are under way */
    bool update_pending;         /* the next step is the update after the last microbatch's B */
    bool stashes;
    int newest, oldest; /* places in `read` of the next F and of the next B */
    int read_count;     /* microbatches in flight at most */
    int64_t *read;      /* stashed weights: ring of the versions that F's in flight read; else NULL */
};

/* A step: kind FORWARD, BACKWARD or UPDATE; q for F and B. */
struct sp_program_step {
    enum sp_instr_kind kind;
    int64_t q, tick, version, oldest;
};

void sp_stage_program_init(struct sp_stage_program *program, const struct sp_phase *phase, int P, int stage,
                           int64_t updates_before);
void sp_stage_program_fini(struct sp_stage_program *program);

/* What comes next, without moving on; false at the end of the phase. */
bool sp_stage_program_peek(const struct sp_stage_program *program, struct sp_program_step *step);
void sp_stage_program_advance(struct sp_stage_program *program);

/* How many whole minibatches may be skipped from here: as many as leave the program, and all that the cursor adds to
 * it, in its steady order. `in_flight` is the plan's. 0 when it is not there yet, or no more. */
int64_t sp_stage_program_skippable(const struct sp_stage_program *program, int64_t in_flight, int64_t all_updates);

/* Goes on where it would be `minibatches` later; at most as many as skippable says. */
void sp_stage_program_skip(struct sp_stage_program *program, int64_t minibatches);

#endif
