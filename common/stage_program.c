#include "common/stage_program.h"
#include "common/alloc.h"

#include <stdlib.h>

static void look_ahead(struct sp_stage_program *program)
{
    if (program->k < 2 * program->order.q_count)
        program->next = program->phase->schedule->step(&program->order, program->k);
}

void sp_stage_program_init(struct sp_stage_program *program, const struct sp_phase *phase, int P, int stage,
                           int64_t updates_before)
{
    *program = (struct sp_stage_program){
        .phase = phase,
        .order = {.P = P,
                  .stage = stage,
                  .M = phase->microbatches,
                  .q_count = phase->microbatches * phase->minibatches},
        .updates = updates_before,
        .backwards_left = phase->microbatches,
        .stashes = phase->weights == SP_WEIGHTS_STASH,
    };
    int64_t in_flight = phase->schedule->in_flight(&program->order);
    program->read_count = in_flight > 0 ? (int)in_flight : 1;
    if (program->stashes)
        program->read = sp_calloc((size_t)program->read_count, sizeof *program->read);
    look_ahead(program);
}

void sp_stage_program_fini(struct sp_stage_program *program)
{
    free(program->read);
    program->read = NULL;
}

/* The oldest version that a later instruction reads, once the version `made` exists. */
static int64_t oldest_needed(const struct sp_stage_program *program, int64_t made)
{
    return program->stashes && program->backwards < program->forwards ? program->read[program->oldest] : made;
}

bool sp_stage_program_peek(const struct sp_stage_program *program, struct sp_program_step *step)
{
    if (program->update_pending) {
        int64_t made = program->updates + 1;
        *step = (struct sp_program_step){SP_INSTR_UPDATE, program->backwards - 1, program->last_tick, made,
                                         oldest_needed(program, made)};
        return true;
    }
    if (program->k >= 2 * program->order.q_count)
        return false;
    bool stashed = program->stashes && program->next.kind == SP_INSTR_BACKWARD;
    *step = (struct sp_program_step){program->next.kind, program->next.q, program->next.tick,
                                     stashed ? program->read[program->oldest] : program->updates, -1};
    return true;
}

static int next_place(const struct sp_stage_program *program, int place)
{
    return place + 1 < program->read_count ? place + 1 : 0;
}

void sp_stage_program_advance(struct sp_stage_program *program)
{
    if (program->update_pending) {
        program->update_pending = false;
        program->updates++;
        return;
    }
    if (program->next.kind == SP_INSTR_FORWARD) {
        if (program->stashes)
            program->read[program->newest] = program->updates;
        program->newest = next_place(program, program->newest);
        program->forwards++;
    } else {
        program->oldest = next_place(program, program->oldest);
        program->backwards++;
        program->update_pending = --program->backwards_left == 0;
        if (program->update_pending)
            program->backwards_left = program->order.M;
    }
    program->last_tick = program->next.tick;
    program->k++;
    look_ahead(program);
}

int64_t sp_stage_program_skippable(const struct sp_stage_program *program, int64_t in_flight, int64_t all_updates)
{
    int64_t from, to, M = program->order.M;
    program->phase->schedule->steady(&program->order, &from, &to);
    /* A first version, and a first minibatch in every slot, have no message before them; the last ones none behind. */
    if (program->k < from || program->k > to || program->forwards < in_flight + M || program->updates < 3)
        return 0;
    int64_t by_order = (to - program->k) / (2 * M);
    int64_t by_slots = (program->order.q_count - program->forwards - in_flight) / M - 2;
    int64_t by_versions = all_updates - program->updates - 2;
    int64_t least = by_order < by_slots ? by_order : by_slots;
    least = by_versions < least ? by_versions : least;
    return least > 0 ? least : 0;
}

void sp_stage_program_skip(struct sp_stage_program *program, int64_t minibatches)
{
    int64_t q = minibatches * program->order.M;
    for (int place = 0; program->stashes && place < program->read_count; place++)
        program->read[place] += minibatches;
    program->k += 2 * q;
    program->updates += minibatches;
    program->forwards += q;
    program->backwards += q;
    program->last_tick = program->phase->schedule->step(&program->order, program->k - 1).tick;
    look_ahead(program);
}
