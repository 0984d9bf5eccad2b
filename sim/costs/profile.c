/*
 * Seconds measured on this machine (sim/profile_file.h). A stage takes the sum of its layers, and more where several
 * microbatches are in flight. A microbatch of a size that was measured takes what was measured, of another size what
 * lies on the line between its neighbours. A network that was not measured takes what the fitted formulas say
 * (sim/roofline.h), where they were good enough for the layers held out of them.
 */
#include "common/alloc.h"
#include "common/layer.h"
#include "common/schedule.h"
#include "sim/costs/kinds.h"
#include "sim/profile_file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Formulas whose median error on held-out layers is larger are not used. */
static const double WORST_FIT = 0.2;

/* What is being priced. */
struct pricing {
    const struct sp_experiment *experiment;
    const struct sp_plan *plan;
    const struct sim_profile *profile;
    struct sim_cost *cost;
    bool measured; /* the network itself was */
    bool least;    /* for bounds: without what depends on cuts and schedule, all of which takes longer */
};

/* Another network than the one that was measured: are the formulas good enough? */
static sp_status check_fit(const struct sp_experiment *e, const char *difference, const struct sim_profile *profile,
                           struct sp_error *err)
{
    if (e->cost.force || (profile->fit.held_points > 0 && profile->fit.held_median <= WORST_FIT))
        return SP_OK;
    return sp_reject(err, sp_experiment_mark(e, "cost.file"),
                     "cost.file: \"%s\" measured %s, and the formulas fitted to it are off by %.0f %% (median) "
                     "on the %d measurements held out; %.0f %% is the most; cost.force: true uses them all the same",
                     e->cost.file, difference, 100 * profile->fit.held_median, profile->fit.held_points,
                     100 * WORST_FIT);
}

static sp_status check(const struct sp_experiment *e, const char *difference, const struct sim_profile *profile,
                       struct sp_error *err)
{
    struct sim_profile here = {0};
    struct sp_mark mark = sp_experiment_mark(e, "cost.file");
    sp_status status = SP_OK;
    sim_profile_machine(&here);
    if (difference != NULL)
        status = check_fit(e, difference, profile, err);
    if (!e->cost.force && (strcmp(here.cpu, profile->cpu) != 0 || here.cores != profile->cores))
        status = sp_reject(err, mark,
                           "cost.file: \"%s\" was measured on %s with %d cores, this is %s with %d; cost.force: true "
                           "uses it all the same",
                           e->cost.file, profile->cpu, profile->cores, here.cpu, here.cores);
    if (!e->cost.force &&
        (strcmp(profile->backend, e->devices.backend) != 0 || profile->threads != e->devices.threads ||
         strcmp(profile->convolution, e->devices.convolution) != 0))
        status =
            sp_reject(err, mark,
                      "cost.file: \"%s\" was measured with backend %s, %d threads, convolution %s; the experiment has "
                      "%s, %d, %s; cost.force: true uses it all the same",
                      e->cost.file, profile->backend, profile->threads, profile->convolution, e->devices.backend,
                      e->devices.threads, e->devices.convolution);
    sim_profile_fini(&here);
    return status;
}

/* Forward, backward and evaluation of something, and its value at another size: on the line between the neighbours, or
 * through the outermost two, which may fall below 0. */
struct times {
    double forward_s, backward_s, evaluate_s;
};

struct sized {
    int batch;
    struct times times;
};

static double on_line(double x, double x0, double y0, double x1, double y1)
{
    return y0 + (y1 - y0) * (x - x0) / (x1 - x0);
}

/* `sized` ascends in batch. */
static struct times at_size(const struct sized *sized, int count, int batch)
{
    int above = 0;
    while (above < count && sized[above].batch < batch)
        above++;
    if (count == 1 || (above < count && sized[above].batch == batch))
        return sized[count == 1 ? 0 : above].times;
    above = above == 0 ? 1 : above == count ? count - 1 : above;
    const struct sized *a = &sized[above - 1], *b = &sized[above];
    return (struct times){on_line(batch, a->batch, a->times.forward_s, b->batch, b->times.forward_s),
                          on_line(batch, a->batch, a->times.backward_s, b->batch, b->times.backward_s),
                          on_line(batch, a->batch, a->times.evaluate_s, b->batch, b->times.evaluate_s)};
}

static void insert(struct sized *sized, int count, struct sized one)
{
    for (; count > 0 && sized[count - 1].batch > one.batch; count--)
        sized[count] = sized[count - 1];
    sized[count] = one;
}

enum { SIZES = 64 };

static sp_status measured_layer(const struct pricing *p, int l, int batch, struct times *out, struct sp_error *err)
{
    const char *name = p->plan->network->layers[l].name;
    struct sized sized[SIZES];
    int n = 0;
    for (int i = 0; i < p->profile->layer_count && n < SIZES; i++) {
        const struct sim_profile_layer *m = &p->profile->layers[i];
        if (strcmp(m->layer, name) == 0)
            insert(sized, n++, (struct sized){m->batch, {m->forward_s, m->backward_s, m->evaluate_s}});
    }
    if (n == 0 || (n == 1 && sized[0].batch != batch))
        return sp_reject(err, sp_experiment_mark(p->experiment, "cost.file"),
                         "cost.file: \"%s\" has %s of layer %s, so %d samples cannot be told from it",
                         p->experiment->cost.file, n == 0 ? "nothing" : "a single size", name, batch);
    if (batch < sized[0].batch || batch > sized[n - 1].batch)
        sim_cost_note(p->cost, SIM_NOTE_EXTRAPOLATED,
                      "microbatches of %d samples are outside of what was measured (%d to %d): times are extrapolated "
                      "along a line",
                      batch, sized[0].batch, sized[n - 1].batch);
    struct times times = at_size(sized, n, batch);
    if (fmin(fmin(times.forward_s, times.backward_s), times.evaluate_s) < 0)
        sim_cost_note(p->cost, SIM_NOTE_EXTRAPOLATED,
                      "for microbatches of %d samples that line falls below 0 s for some layers, which then take none",
                      batch);
    *out = (struct times){fmax(0, times.forward_s), fmax(0, times.backward_s), fmax(0, times.evaluate_s)};
    return SP_OK;
}

static double fitted_pass(const struct pricing *p, int l, int batch, bool backward)
{
    const struct sp_layer *layer = &p->plan->network->layers[l];
    struct sim_layer_work work = sim_layer_work(p->plan->network, l, batch, backward);
    const struct sim_roofline_row *row = sim_roofline_find(&p->profile->fit, layer->type, backward);
    if (row == NULL) {
        if (layer->type == SP_LAYER_FLATTEN)
            return 0;
        sim_cost_note(p->cost, SIM_NOTE_UNCALIBRATED,
                      "no layer of kind %s was measured: its bytes are taken to move as fast as a copy",
                      sp_layer_kinds[layer->type]->name);
        return work.bytes / p->profile->bytes_per_s;
    }
    if (work.work < row->least / 2 || work.work > row->most * 2)
        sim_cost_note(p->cost, SIM_NOTE_EXTRAPOLATED,
                      "layers of kind %s are more than twice as small or large as those that were measured",
                      sp_layer_kinds[layer->type]->name);
    return sim_roofline_seconds(row, &work);
}

static sp_status layer_times(const struct pricing *p, int l, int batch, struct times *out, struct sp_error *err)
{
    if (p->measured)
        return measured_layer(p, l, batch, out, err);
    out->forward_s = out->evaluate_s = fitted_pass(p, l, batch, false);
    out->backward_s = fitted_pass(p, l, batch, true);
    return SP_OK;
}

/* What the stage with the input takes beside its layers: more bytes in another network's minibatch than in the measured
 * one are not known, and small. */
static double input_s(const struct sim_profile *profile, int batch)
{
    struct sized sized[SIZES];
    int n = 0;
    for (int i = 0; i < profile->input_count && n < SIZES; i++)
        insert(sized, n++, (struct sized){profile->inputs[i].batch, {.forward_s = profile->inputs[i].forward_s}});
    return fmax(0, at_size(sized, n, batch).forward_s);
}

/* Tensors that another device made are in that core's caches. */
static double receiving_s(const struct pricing *p, int stage, enum sp_payload payload, int batch)
{
    double bytes = 0;
    for (int c = 0; c < p->plan->channel_count; c++) {
        const struct sp_channel *channel = &p->plan->channels[c];
        if (channel->to_stage == stage && channel->payload == payload && !channel->evaluate)
            bytes += (double)channel->bytes * batch / p->plan->batch;
    }
    return bytes * p->profile->received_byte_s;
}

static void mix(const struct pricing *p, int phase, int stage, enum sim_work work, const double *seconds)
{
    double sum = 0, *row = p->cost->contention.mix + sim_cost_row(p->cost, phase, stage, work) * SIM_CLASS_COUNT;
    for (int c = 0; c < SIM_CLASS_COUNT; c++)
        sum += seconds[c];
    for (int c = 0; c < SIM_CLASS_COUNT && sum > 0; c++)
        row[c] = seconds[c] / sum;
}

static sp_status price_stage(const struct pricing *p, int phase, int i, struct sp_error *err)
{
    const struct sp_stage *stage = &p->plan->stages[i];
    struct sim_stage_cost *cost = &p->cost->stages[phase * p->plan->stage_count + i];
    double forward[SIM_CLASS_COUNT] = {0}, backward[SIM_CLASS_COUNT] = {0}, update[SIM_CLASS_COUNT] = {0};
    int batch = sp_plan_microbatch_size(p->plan, phase);
    for (int l = stage->first_layer; l < stage->layer_end; l++) {
        struct times times = {0};
        enum sim_class kind = sim_class_of(p->plan->network->layers[l].type);
        double longer = p->plan->in_flight[i] > 1 ? p->profile->in_flight[kind] : 1;
        longer = p->least ? fmin(1, p->profile->in_flight[kind]) : longer;
        SP_TRY(layer_times(p, l, batch, &times, err));
        forward[kind] += longer * times.forward_s;
        backward[kind] += longer * times.backward_s;
        cost->evaluate_s += times.evaluate_s;
    }
    if (stage->first_layer == 0) {
        forward[SIM_CLASS_ELEMENTWISE] += input_s(p->profile, batch);
        cost->evaluate_s += input_s(p->profile, batch);
    }
    if (!p->least) {
        forward[SIM_CLASS_ELEMENTWISE] += receiving_s(p, i, SP_PAYLOAD_ACTIVATION, batch);
        backward[SIM_CLASS_ELEMENTWISE] += receiving_s(p, i, SP_PAYLOAD_GRADIENT, batch);
    }
    for (int c = 0; c < SIM_CLASS_COUNT; c++) {
        cost->forward_s += forward[c];
        cost->backward_s += backward[c];
    }
    cost->update_s = update[SIM_CLASS_UPDATE] =
        p->profile->update_s + p->profile->update_parameter_s * (double)stage->parameters;
    mix(p, phase, i, SIM_WORK_FORWARD, forward);
    mix(p, phase, i, SIM_WORK_BACKWARD, backward);
    mix(p, phase, i, SIM_WORK_EVALUATE, forward);
    mix(p, phase, i, SIM_WORK_UPDATE, update);
    double *noise = p->cost->noise.work;
    noise[sim_cost_row(p->cost, phase, i, SIM_WORK_FORWARD)] = p->profile->noise_forward;
    noise[sim_cost_row(p->cost, phase, i, SIM_WORK_EVALUATE)] = p->profile->noise_forward;
    noise[sim_cost_row(p->cost, phase, i, SIM_WORK_BACKWARD)] = p->profile->noise_backward;
    noise[sim_cost_row(p->cost, phase, i, SIM_WORK_UPDATE)] = p->profile->noise_update;
    return SP_OK;
}

/* Memory is touched for the first time: slots one by one, all else by the first F of a device's first stage. */
static void price_start(const struct pricing *p, const struct sp_memory_plan *memory)
{
    static const enum sp_memory_kind others[] = {SP_MEMORY_GRADIENTS, SP_MEMORY_OPTIMIZER, SP_MEMORY_VERSIONS,
                                                 SP_MEMORY_SCRATCH};
    const struct sp_plan *plan = p->plan;
    for (int i = 0; i < plan->stage_count; i++)
        p->cost->starts[i].slot_s =
            p->profile->touch_byte_s * (double)(memory->stages[i].slot_bytes + memory->stages[i].boundary_bytes);
    for (int d = 0; d < plan->device_count; d++) {
        int first = 0;
        while (first < plan->stage_count && plan->stages[first].forward_device != d)
            first++;
        for (int k = 0; k < 4 && first < plan->stage_count; k++)
            p->cost->starts[first].first_s += p->profile->touch_byte_s * (double)memory->bytes[d][others[k]];
    }
    p->cost->starts[plan->stage_count - 1].first_s += p->profile->start_s;
}

/* Whether devices are cores of the machine; else they have memories of their own, and messages are copied. */
static bool are_cores(const struct pricing *p)
{
    return p->profile->copy_byte_s == 0;
}

/* Whether a phase's minibatches overlap. */
static bool overlaps(const struct sp_plan *plan, const struct sp_phase *phase)
{
    struct sp_order first = {plan->stage_count, 0, phase->microbatches, phase->microbatches * phase->minibatches};
    return phase->schedule->in_flight(&first) > phase->microbatches;
}

/*
 * Samples are prepared by threads beside the devices, which give way to these and have the cores that they leave: what
 * does not fit there delays the first stage's forward. A minibatch takes as long as its busiest device where
 * minibatches overlap, else M - 1 microbatches there and one through all.
 */
static void price_loading(const struct pricing *p, int phase_number)
{
    const struct sp_plan *plan = p->plan;
    const struct sp_phase *phase = &plan->phases[phase_number];
    struct sim_stage_cost *stages = &p->cost->stages[phase_number * plan->stage_count];
    int M = phase->microbatches;
    double *busy_s = sp_calloc((size_t)plan->device_count, sizeof *busy_s), all_s = 0, most_s = 0;
    for (int i = 0; i < plan->stage_count; i++) {
        busy_s[plan->stages[i].forward_device] += M * stages[i].forward_s;
        busy_s[plan->stages[i].backward_device] += M * stages[i].backward_s + stages[i].update_s;
        all_s += M * (stages[i].forward_s + stages[i].backward_s) + stages[i].update_s;
    }
    for (int d = 0; d < plan->device_count; d++)
        most_s = fmax(most_s, busy_s[d]);
    double minibatch_s = overlaps(plan, phase) ? most_s : (all_s + (M - 1) * most_s) / M,
           cores = (double)p->profile->cores / p->profile->threads,
           left_s = fmax(0, cores * minibatch_s - (are_cores(p) ? all_s : 0)),
           load_s = p->profile->load_sample_s * plan->batch / p->experiment->data.threads;
    stages[0].forward_s += fmax(0, fmax(load_s - left_s, load_s - minibatch_s)) / M;
    free(busy_s);
}

/* All that is sent is copied. A channel's copies follow each other, and those of several channels do not mind each
 * other. */
static void price_copies(const struct pricing *p)
{
    char name[64];
    for (int c = 0; c < p->plan->channel_count; c++) {
        const struct sp_channel *channel = &p->plan->channels[c];
        struct sim_channel_cost *cost = &p->cost->channels[c];
        cost->latency_s = p->profile->copy_s;
        if (channel->bytes == 0)
            continue;
        cost->busy_s = (double)channel->bytes * p->profile->copy_byte_s;
        snprintf(name, sizeof name, "link %d -> %d", channel->from_device, channel->to_device);
        cost->bus = sim_cost_add_bus(p->cost, name);
    }
}

/* Weights that travel are copied, read once and written once; all else is handed over. */
static void price_messages(const struct pricing *p)
{
    if (!are_cores(p)) {
        price_copies(p);
        return;
    }
    p->cost->handoff_s = p->profile->handoff_s;
    p->cost->patience_s = p->profile->patience_s;
    p->cost->wake_s = p->profile->wake_s + p->profile->restart_s;
    for (int c = 0; c < p->plan->channel_count; c++) {
        const struct sp_channel *channel = &p->plan->channels[c];
        p->cost->channels[c].latency_s = p->profile->handover_s;
        if (channel->payload == SP_PAYLOAD_WEIGHTS)
            p->cost->channels[c].busy_s = 2 * (double)channel->bytes / p->profile->bytes_per_s;
    }
}

static void add_notes(const struct pricing *p, const char *difference)
{
    if (p->profile->load > 0.1)
        sim_cost_note(p->cost, SIM_NOTE_LOADED, "other programs used %.0f %% of a core while this was measured",
                      100 * p->profile->load);
    if (p->profile->noise_run > 0.05)
        sim_cost_note(p->cost, SIM_NOTE_LOADED,
                      "the machine's speed changes: runs differ by %.0f %% from what was measured (standard deviation)",
                      100 * p->profile->noise_run);
    if (p->profile->rounds == 1)
        sim_cost_note(
            p->cost, SIM_NOTE_OTHER,
            "measured in a single round: how rounds differ is not known, and intervals, which go by the halves of "
            "short measurements, may be too narrow");
    if (!p->measured)
        sim_cost_note(p->cost, SIM_NOTE_OTHER,
                      "%s was not measured: times come from formulas fitted to %s, %.0f %% off (median) on %d "
                      "measurements held out",
                      p->plan->network->name, difference, 100 * p->profile->fit.held_median,
                      p->profile->fit.held_points);
}

sp_status sim_cost_profile_open(const struct sp_experiment *e, void **known, struct sp_error *err)
{
    if (e->cost.file == NULL)
        return sp_reject(err, sp_experiment_mark(e, "cost.model"),
                         "cost.model: profile needs cost.file, which `stalepipe profile` writes");
    struct sim_profile *profile = sp_calloc(1, sizeof *profile);
    sp_status status = sim_profile_read(e->cost.file, sp_experiment_mark(e, "cost.file"), profile, err);
    if (status == SP_OK)
        *known = profile;
    else
        free(profile);
    return status;
}

void sim_cost_profile_close(void *known)
{
    sim_profile_fini(known);
    free(known);
}

static sp_status price(const void *known, bool least, const struct sp_experiment *e, const struct sp_plan *plan,
                       const struct sp_memory_plan *memory, struct sim_cost *out, struct sp_error *err)
{
    const struct sim_profile *profile = known;
    char *difference = sim_profile_difference(profile, plan->network);
    struct pricing p = {e, plan, profile, out, difference == NULL, least};
    sp_status status = check(e, difference, profile, err);
    sim_cost_add_contention(out, SIM_CLASS_COUNT);
    sim_cost_add_noise(out);
    memcpy(out->contention.slowdown, profile->slowdown, sizeof profile->slowdown);
    if (are_cores(&p))
        out->contention.capacity = (double)profile->cores / profile->threads;
    out->noise.run = profile->noise_run;
    out->noise.message = out->noise.handoff = profile->noise_message;
    for (int phase = 0; phase < plan->phase_count && status == SP_OK; phase++)
        for (int i = 0; i < plan->stage_count && status == SP_OK; i++)
            status = price_stage(&p, phase, i, err);
    if (status == SP_OK) {
        for (int phase = 0; phase < plan->phase_count && !least; phase++)
            price_loading(&p, phase);
        price_messages(&p);
        if (memory != NULL)
            price_start(&p, memory);
        add_notes(&p, difference);
    }
    free(difference);
    return status;
}

sp_status sim_cost_profile(const void *known, const struct sp_experiment *e, const struct sp_plan *plan,
                           const struct sp_memory_plan *memory, struct sim_cost *out, struct sp_error *err)
{
    return price(known, false, e, plan, memory, out, err);
}

sp_status sim_cost_profile_least(const void *known, const struct sp_experiment *e, const struct sp_plan *plan,
                                 const struct sp_memory_plan *memory, struct sim_cost *out, struct sp_error *err)
{
    return price(known, true, e, plan, memory, out, err);
}
