#include "common/stage_program.h"
#include "common/alloc.h"

#include <stdlib.h>

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
    };
    int64_t in_flight = phase->schedule->in_flight(&program->order);
    program->read_count = in_flight > 0 ? (int)in_flight : 1;
    program->read = sp_calloc((size_t)program->read_count, sizeof *program->read);
}

void sp_stage_program_fini(struct sp_stage_program *program)
{
    free(program->read);
    program->read = NULL;
}

/* The oldest version that a later instruction reads, once the version `made` exists. */
static int64_t oldest_needed(const struct sp_stage_program *program, int64_t made)
{
    if (program->phase->weights == SP_WEIGHTS_LATEST || program->backwards == program->forwards)
        return made;
    return program->read[program->backwards % program->read_count];
}

bool sp_stage_program_peek(const struct sp_stage_program *program, struct sp_program_step *step)
{
    if (program->update_pending) {
        int64_t made = program->updates + 1;
        struct sp_step last = program->phase->schedule->step(&program->order, program->k - 1);
        *step = (struct sp_program_step){SP_INSTR_UPDATE, last.q, last.tick, made, oldest_needed(program, made)};
        return true;
    }
    if (program->k >= 2 * program->order.q_count)
        return false;
    struct sp_step next = program->phase->schedule->step(&program->order, program->k);
    bool stashed = next.kind == SP_INSTR_BACKWARD && program->phase->weights == SP_WEIGHTS_STASH;
    int64_t version = stashed ? program->read[next.q % program->read_count] : program->updates;
    *step = (struct sp_program_step){next.kind, next.q, next.tick, version, -1};
    return true;
}

void sp_stage_program_advance(struct sp_stage_program *program)
{
    if (program->update_pending) {
        program->update_pending = false;
        program->updates++;
        return;
    }
    struct sp_step step = program->phase->schedule->step(&program->order, program->k++);
    if (step.kind == SP_INSTR_FORWARD) {
        program->read[step.q % program->read_count] = program->updates;
        program->forwards++;
    } else {
        program->backwards++;
        program->update_pending = step.q % program->order.M == program->order.M - 1;
    }
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
    int64_t q = minibatches * program->order.M, count = program->read_count;
    int64_t *read = sp_calloc((size_t)count, sizeof *read);
    for (int64_t n = program->forwards > count ? program->forwards - count : 0; n < program->forwards; n++)
        read[(n + q) % count] = program->read[n % count] + minibatches;
    free(program->read);
    program->read = read;
    program->k += 2 * q;
    program->updates += minibatches;
    program->forwards += q;
    program->backwards += q;
}
