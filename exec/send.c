/*
 * What a message carries, moved to where the receiver reads it. Where devices share memory only weights move: all else
 * lies where it is read.
 */
#include "exec/run.h"

/* Where the parts of one message go. */
struct message {
    const struct exec_run *run;
    const struct sp_instr *instr;
    exec_move *move;
    void *self;
};

static sp_status move(const struct message *message, void *to, const void *from, size_t bytes, struct sp_error *err)
{
    return message->move(message->self, to, from, bytes, err);
}

static const struct sp_stage_memory *memory_of(const struct exec_run *run, const struct sp_instr *instr, int stage)
{
    return &run->memory->stages[instr->phase * run->plan->stage_count + stage];
}

static size_t tensor_bytes(const struct exec_run *run, const struct sp_instr *instr, int tensor)
{
    struct sp_footprint footprint = run->backend->footprint(run->models[instr->phase]);
    return footprint.tensor(footprint.self, tensor, memory_of(run, instr, instr->stage)->batch);
}

/* Tensors that cross the cut behind stage i. */
static sp_status send_activations(const struct message *message, struct sp_error *err)
{
    const struct exec_run *run = message->run;
    const struct sp_instr *instr = message->instr;
    int i = instr->stage;
    const struct sp_stage_memory *here = memory_of(run, instr, i), *there = memory_of(run, instr, i + 1);
    const struct sp_place *from = instr->evaluate ? here->evaluate : here->value;
    const struct sp_place *to = instr->evaluate ? there->evaluate : there->value;
    for (int n = 0; n < run->plan->stages[i].output_count; n++) {
        int t = run->plan->stages[i].outputs[n];
        SP_TRY(move(message, exec_run_find(run, instr, to[t], false), exec_run_find(run, instr, from[t], false),
                    tensor_bytes(run, instr, t), err));
    }
    return SP_OK;
}

/* Gradients of the tensors that cross the cut before stage i. */
static sp_status send_gradients(const struct message *message, struct sp_error *err)
{
    const struct exec_run *run = message->run;
    const struct sp_instr *instr = message->instr;
    int i = instr->stage;
    const struct sp_stage_memory *here = memory_of(run, instr, i), *there = memory_of(run, instr, i - 1);
    for (int n = 0; n < run->plan->stages[i].input_count; n++) {
        int t = run->plan->stages[i].inputs[n];
        if (t > 0)
            SP_TRY(move(message, exec_run_find(run, instr, there->gradient[t], true),
                        exec_run_find(run, instr, here->gradient[t], true), tensor_bytes(run, instr, t), err));
    }
    return SP_OK;
}

/* Tensors that share storage are stashed once, as the first of them. */
static bool is_first_there(const struct sp_stage_memory *memory, int tensor)
{
    const struct sp_place *place = &memory->stashed[tensor];
    for (int t = 0; t < tensor; t++)
        if (memory->stashed[t].region == place->region && memory->stashed[t].offset == place->offset)
            return false;
    return place->region != SP_REGION_NONE;
}

/* What B reads of F, to the stage's backward device: the slot, and values that lie outside. */
static sp_status send_stash(const struct message *message, struct sp_error *err)
{
    const struct exec_run *run = message->run;
    const struct sp_instr *instr = message->instr;
    const struct sp_stage_memory *memory = memory_of(run, instr, instr->stage);
    struct sp_place slot = {SP_REGION_SLOT, instr->stage, 0};
    if (memory->slot_bytes > 0)
        SP_TRY(move(message, exec_run_find(run, instr, slot, true), exec_run_find(run, instr, slot, false),
                    memory->slot_bytes, err));
    for (int t = 0; t < run->plan->network->tensor_count; t++)
        if (is_first_there(memory, t))
            SP_TRY(move(message, exec_run_find(run, instr, memory->stashed[t], true),
                        exec_run_find(run, instr, memory->value[t], false), tensor_bytes(run, instr, t), err));
    return SP_OK;
}

sp_status exec_send(const struct exec_run *run, const struct sp_instr *instr, exec_move *to, void *self,
                    struct sp_error *err)
{
    const struct message message = {run, instr, to, self};
    enum sp_payload payload = run->plan->channels[instr->channel].payload;
    if (payload == SP_PAYLOAD_WEIGHTS)
        return move(&message, exec_run_forward_weights(run, instr->stage, instr->version),
                    exec_run_backward_weights(run, instr->stage, instr->version),
                    run->memory->parameters[instr->stage].block_bytes, err);
    if (run->plan->shared_memory)
        return SP_OK;
    if (payload == SP_PAYLOAD_ACTIVATION)
        return send_activations(&message, err);
    if (payload == SP_PAYLOAD_GRADIENT)
        return send_gradients(&message, err);
    return payload == SP_PAYLOAD_STASH ? send_stash(&message, err) : SP_OK;
}
