/*
 * Initial parameters: He et al.'s normal distribution for weights, zero biases, batch norm with scale 1 and shift 0. A
 * number depends on seed, layer and element only, so cuts and backends do not change it.
 */
#include "common/alloc.h"
#include "common/layer.h"
#include "common/random.h"
#include "exec/run.h"

#include <math.h>
#include <stdlib.h>

static void fill_normal(float *out, int64_t count, float deviation, uint64_t seed, int layer)
{
    for (int64_t i = 0; i < count; i += 4) {
        uint32_t words[4];
        float normal[4];
        sp_random_block(seed, SP_RANDOM_INIT, (uint64_t)layer, (uint32_t)(i / 4), words);
        sp_random_normal(words[0], words[1], normal);
        sp_random_normal(words[2], words[3], normal + 2);
        for (int64_t j = 0; j < 4 && i + j < count; j++)
            out[i + j] = deviation * normal[j];
    }
}

static void fill_parameter(float *out, const struct sp_layer *layer, enum sp_parameter which, uint64_t seed, int index)
{
    int64_t count = layer->parameters[which];
    const struct sp_layer_kind *kind = sp_layer_kinds[layer->type];
    if (which == SP_PARAMETER_WEIGHT && kind->fan_in != NULL) {
        fill_normal(out, count, sqrtf(2 / (float)kind->fan_in(layer)), seed, index);
        return;
    }
    for (int64_t i = 0; i < count; i++)
        out[i] = which == SP_PARAMETER_WEIGHT ? 1.0f : 0.0f;
}

static sp_status initialise_layer(struct exec_run *run, int stage, int l, struct sp_error *err)
{
    const struct sp_layer *layer = &run->plan->network->layers[l];
    int local = l - run->plan->stages[stage].first_layer;
    const struct sp_parameter_memory *parameters = &run->memory->parameters[stage];
    sp_status status = SP_OK;
    for (int p = 0; p < SP_PARAMETER_COUNT && status == SP_OK; p++) {
        if (layer->parameters[p] == 0)
            continue;
        float *plain = sp_alloc(sizeof *plain * (size_t)layer->parameters[p]);
        fill_parameter(plain, layer, (enum sp_parameter)p, run->config.seed, l);
        char *stored = exec_run_backward_weights(run, stage, 0);
        status = run->backend->import_parameter(run->models[0], l, (enum sp_parameter)p, plain,
                                                stored + parameters->offset[local][p], err);
        free(plain);
    }
    if (status == SP_OK && layer->state > 0) { /* mean 0, variance 1 */
        float *state = sp_calloc((size_t)layer->state, sizeof *state);
        for (int64_t i = layer->state / 2; i < layer->state; i++)
            state[i] = 1;
        char *weights = exec_run_part(run, stage, SP_MEMORY_WEIGHTS, false);
        status = run->backend->copy(run->context, weights + parameters->block_bytes + parameters->state_offset[local],
                                    state, sizeof *state * (size_t)layer->state, err);
        free(state);
    }
    return status;
}

sp_status exec_initialise(struct exec_run *run, struct sp_error *err)
{
    for (int i = 0; i < run->plan->stage_count; i++) {
        const struct sp_stage *stage = &run->plan->stages[i];
        if (!exec_run_has_stage(run, i))
            continue;
        for (int l = stage->first_layer; l < stage->layer_end; l++)
            SP_TRY(initialise_layer(run, i, l, err));
        size_t bytes = run->memory->parameters[i].block_bytes;
        if (stage->forward_device != stage->backward_device && bytes > 0)
            SP_TRY(run->backend->copy(run->context, exec_run_forward_weights(run, i, 0),
                                      exec_run_backward_weights(run, i, 0), bytes, err));
    }
    return SP_OK;
}
