#include "sim/contention.h"
#include "common/alloc.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

double sim_contention_worst(const struct sim_contention *contention, int device_count)
{
    double most = 0, room = contention->capacity > 0 ? contention->capacity : device_count;
    for (int k = 0; k < contention->class_count * contention->class_count; k++)
        most = fmax(most, contention->slowdown[k]);
    return (1 + (device_count - 1) * most) * fmax(1, device_count / room);
}

static int machine_in(const struct sim_contention *cost, int device)
{
    return cost->machine != NULL ? cost->machine[device] : 0;
}

/* Machines that several devices share, with room for those; the others' devices get -1. */
static void set_machines(struct sim_crowd *crowd)
{
    for (int d = 0; d < crowd->device_count; d++)
        if (machine_in(crowd->cost, d) >= crowd->machine_count)
            crowd->machine_count = machine_in(crowd->cost, d) + 1;
    crowd->machines = sp_calloc((size_t)crowd->machine_count + 1, sizeof *crowd->machines);
    crowd->changed = sp_calloc((size_t)crowd->machine_count + 1, sizeof *crowd->changed);
    for (int d = 0; d < crowd->device_count; d++)
        if (machine_in(crowd->cost, d) >= 0)
            crowd->machines[machine_in(crowd->cost, d)].device_count++;
    for (int m = 0; m < crowd->machine_count; m++) {
        struct sim_machine *machine = &crowd->machines[m];
        machine->active = sp_calloc((size_t)machine->device_count + 1, sizeof *machine->active);
        machine->total = sp_calloc((size_t)crowd->cost->class_count + 1, sizeof *machine->total);
    }
    for (int d = 0; d < crowd->device_count; d++) {
        int machine = machine_in(crowd->cost, d);
        crowd->machine_of[d] = machine >= 0 && crowd->machines[machine].device_count > 1 ? machine : -1;
    }
}

static void set_pull(struct sim_crowd *crowd, int64_t rows)
{
    int classes = crowd->cost->class_count;
    crowd->pull = sp_calloc((size_t)rows * (size_t)classes + 1, sizeof *crowd->pull);
    for (int64_t r = 0; r < rows; r++)
        for (int b = 0; b < classes; b++)
            for (int a = 0; a < classes; a++)
                crowd->pull[r * classes + b] +=
                    crowd->cost->mix[r * classes + a] * crowd->cost->slowdown[a * classes + b];
}

struct sim_crowd *sim_crowd_create(const struct sp_plan *plan, const struct sim_cost *cost)
{
    if (plan->device_count < 2 || (cost->contention.class_count == 0 && cost->contention.capacity <= 0))
        return NULL;
    struct sim_crowd *crowd = sp_calloc(1, sizeof *crowd);
    size_t devices = (size_t)plan->device_count;
    crowd->cost = &cost->contention;
    crowd->device_count = plan->device_count;
    crowd->machine_of = sp_calloc(devices, sizeof *crowd->machine_of);
    crowd->loads = sp_calloc(devices, sizeof *crowd->loads);
    set_machines(crowd);
    set_pull(crowd, (int64_t)cost->phase_count * cost->stage_count * SIM_WORK_COUNT);
    return crowd;
}

void sim_crowd_destroy(struct sim_crowd **crowd)
{
    if (*crowd == NULL)
        return;
    for (int m = 0; m < (*crowd)->machine_count; m++) {
        free((*crowd)->machines[m].active);
        free((*crowd)->machines[m].total);
    }
    free((*crowd)->machines);
    free((*crowd)->changed);
    free((*crowd)->machine_of);
    free((*crowd)->loads);
    free((*crowd)->pull);
    free(*crowd);
    *crowd = NULL;
}

bool sim_crowd_has(const struct sim_crowd *crowd, int device)
{
    return crowd->machine_of[device] >= 0;
}

static struct sim_machine *note_change(struct sim_crowd *crowd, int device)
{
    struct sim_machine *machine = &crowd->machines[crowd->machine_of[device]];
    if (!machine->changed)
        crowd->changed[crowd->changed_count++] = crowd->machine_of[device];
    machine->changed = true;
    return machine;
}

void sim_crowd_begin(struct sim_crowd *crowd, struct sim_queue *queue, int device, int64_t row, int64_t ticks,
                     const struct sp_instr *instr, int64_t now)
{
    struct sim_machine *machine = note_change(crowd, device);
    int at = machine->active_count++;
    for (; at > 0 && machine->active[at - 1] > device; at--)
        machine->active[at] = machine->active[at - 1];
    machine->active[at] = device;
    crowd->loads[device] =
        (struct sim_load){.active = true, .row = row, .left = ticks, .since = now, .started = now, .instr = *instr};
    sim_queue_push(queue, now + ticks, device);
}

const struct sim_load *sim_crowd_end(struct sim_crowd *crowd, int device)
{
    struct sim_load *load = &crowd->loads[device];
    if (!load->active)
        return NULL;
    struct sim_machine *machine = note_change(crowd, device);
    int at = 0;
    while (machine->active[at] != device)
        at++;
    machine->active_count--;
    memmove(&machine->active[at], &machine->active[at + 1], (size_t)(machine->active_count - at) * sizeof(int));
    load->active = false;
    return load;
}

static void set_total(const struct sim_crowd *crowd, struct sim_machine *machine)
{
    int classes = crowd->cost->class_count;
    for (int b = 0; b < classes; b++)
        machine->total[b] = 0;
    for (int i = 0; i < machine->active_count; i++)
        for (int b = 0; b < classes; b++)
            machine->total[b] += crowd->cost->mix[crowd->loads[machine->active[i]].row * classes + b];
}

/* How many times as long as alone the load takes now. */
static double stretch_of(const struct sim_crowd *crowd, const struct sim_machine *machine, const struct sim_load *load)
{
    int classes = crowd->cost->class_count;
    const double *pull = &crowd->pull[load->row * classes], *mix = &crowd->cost->mix[load->row * classes];
    double stretch = 1;
    for (int b = 0; b < classes && machine->active_count > 1; b++)
        stretch += pull[b] * fmax(0, machine->total[b] - mix[b]);
    double capacity = crowd->cost->capacity;
    return capacity > 0 && machine->active_count > capacity ? stretch * machine->active_count / capacity : stretch;
}

static void settle_load(struct sim_load *load, double stretch, struct sim_queue *queue, int device, int64_t now)
{
    if (load->stretch > 0) {
        load->left -= (int64_t)floor((double)(now - load->since) / load->stretch);
        load->left = load->left > 0 ? load->left : 0;
    }
    load->stretch = stretch;
    load->since = now;
    sim_queue_move(queue, now + (int64_t)ceil((double)load->left * stretch), device);
}

void sim_crowd_settle(struct sim_crowd *crowd, struct sim_queue *queue, int64_t now)
{
    while (crowd->changed_count > 0) {
        struct sim_machine *machine = &crowd->machines[crowd->changed[--crowd->changed_count]];
        machine->changed = false;
        set_total(crowd, machine);
        for (int i = 0; i < machine->active_count; i++) {
            struct sim_load *load = &crowd->loads[machine->active[i]];
            double stretch = stretch_of(crowd, machine, load);
            if (stretch != load->stretch)
                settle_load(load, stretch, queue, machine->active[i], now);
        }
    }
}

void sim_crowd_state(const struct sim_crowd *crowd, int64_t now, int64_t since, int64_t **state, int *count)
{
    for (int d = 0; d < crowd->device_count; d++) {
        const struct sim_load *load = &crowd->loads[d];
        sp_append(state, count, load->active);
        if (!load->active)
            continue;
        sp_append(state, count, load->row);
        sp_append(state, count, load->left);
        sp_append(state, count, now - load->since);
        sp_append(state, count, now - load->started);
        sp_instr_state(&load->instr, since, state, count);
    }
}

void sim_crowd_shift(struct sim_crowd *crowd, int64_t ticks, int64_t minibatches)
{
    for (int d = 0; d < crowd->device_count; d++) {
        if (!crowd->loads[d].active)
            continue;
        crowd->loads[d].since += ticks;
        crowd->loads[d].started += ticks;
        sp_instr_shift(&crowd->loads[d].instr, minibatches);
    }
}
