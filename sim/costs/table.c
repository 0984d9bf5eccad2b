/*
 * Seconds from the user's own measurements: each stage's forward and backward of a minibatch, the update, and for each
 * boundary the transfer of activations (and of gradients, the other way). A microbatch takes its share.
 */
#include "sim/costs/kinds.h"

static sp_status check(const struct sp_experiment *e, const struct sp_plan *plan, struct sp_error *err)
{
    if (e->cost.stage_count != plan->stage_count)
        return sp_reject(err, sp_experiment_mark(e, "cost.stages"),
                         "cost.stages: %d stages are listed, the cuts make %d", e->cost.stage_count, plan->stage_count);
    if (e->cost.transfer_count != 0 && e->cost.transfer_count != plan->stage_count - 1)
        return sp_reject(err, sp_experiment_mark(e, "cost.transfers"),
                         "cost.transfers: %d boundaries are listed, the cuts make %d", e->cost.transfer_count,
                         plan->stage_count - 1);
    return SP_OK;
}

sp_status sim_cost_table(const void *known, const struct sp_experiment *e, const struct sp_plan *plan,
                         const struct sp_memory_plan *memory, struct sim_cost *out, struct sp_error *err)
{
    (void)known;
    (void)memory;
    SP_TRY(check(e, plan, err));
    for (int p = 0; p < plan->phase_count; p++)
        for (int i = 0; i < plan->stage_count; i++) {
            const struct sp_stage_times *times = &e->cost.stages[i];
            double share = 1.0 / plan->phases[p].microbatches;
            out->stages[p * plan->stage_count + i] = (struct sim_stage_cost){
                .forward_s = times->forward_s * share,
                .backward_s = times->backward_s * share,
                .evaluate_s = times->forward_s * share,
                .update_s = e->cost.update_s,
            };
        }
    for (int c = 0; c < plan->channel_count && e->cost.transfer_count > 0; c++) {
        const struct sp_channel *channel = &plan->channels[c];
        bool crosses = channel->payload == SP_PAYLOAD_ACTIVATION || channel->payload == SP_PAYLOAD_GRADIENT;
        int boundary = channel->from_stage < channel->to_stage ? channel->from_stage : channel->to_stage;
        if (crosses)
            out->channels[c].busy_s = e->cost.transfers_s[boundary];
    }
    for (int c = 0; c < plan->channel_count; c++) /* each way of a boundary is a link of its own */
        if (out->channels[c].busy_s > 0)
            out->channels[c].bus = sim_cost_add_bus(out, "link");
    return SP_OK;
}
