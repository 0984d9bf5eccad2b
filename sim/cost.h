/*
 * cost.h - how long things take: a cost source turns plan and constants into seconds.
 *
 * A source is one file under sim/costs and one row of sim_cost_kinds. It fills a table once; the event engine only
 * looks up.
 */
#ifndef SIM_COST_H
#define SIM_COST_H

#include "common/experiment.h"
#include "common/memory.h"
#include "common/plan.h"

/* Seconds of one microbatch of a stage in a phase, on a machine where nothing else happens. */
struct sim_stage_cost {
    double forward_s, backward_s, update_s, evaluate_s;
};

/* What F of a stage takes longer at the beginning, when memory is touched for the first time: the very first one, and
 * each that is the first in its slot. */
struct sim_start_cost {
    double first_s, slot_s;
};

/* What a device computes. Tables of work are indexed by sim_cost_row(). */
enum sim_work { SIM_WORK_FORWARD, SIM_WORK_BACKWARD, SIM_WORK_UPDATE, SIM_WORK_EVALUATE, SIM_WORK_COUNT };

enum { SIM_ROUTE = 4 }; /* links a message crosses at most */

/* A channel's message occupies resource `bus` for `busy_s`, and arrives `latency_s` after that. A copy that blocks
 * holds up sender and receiver for `device_s` each. */
struct sim_channel_cost {
    double latency_s, busy_s, device_s; /* of a full minibatch's message; the latter two are divided by M, except for
                                           weights */
    int bus;                            /* messages of one bus follow each other; -1: none, it only takes time */
    /* Or it crosses fair links, whose messages share their bandwidth (bus -1, busy_s 0). Messages of one channel
     * follow each other. */
    double bytes;         /* of a full minibatch's message; divided by M, except for weights */
    int route[SIM_ROUTE]; /* links; one that stands here twice is loaded twice */
    int hops;             /* of the route; 0: none */
};

/* A link whose bandwidth is shared max-min among the messages that cross it. */
struct sim_link {
    char *name;
    double bytes_per_s;
};

/*
 * How devices of one machine slow each other: a device at work of class a, while others are at work, takes
 *
 *     1 + sum over the others, over classes a and b, of mix[a] * slowdown[a][b] * (the other's mix)[b]
 *
 * times as long; and where more devices work than the machine has room for, they get equal shares of it on top. The
 * speed changes whenever a device starts or ends; what is left of its work is carried along. Waiting, posting and
 * taking messages slow nobody.
 */
struct sim_contention {
    int class_count;  /* of work: "memory-bound", say; 0: nobody slows anybody by what he does */
    double *slowdown; /* [a * class_count + b]: relative excess of a beside b, >= 0; 0.25 is a quarter longer */
    double *mix;  /* [row * class_count + class]: shares of the work's time, sum at most 1; the rest slows nobody and is
                     not slowed */
    int *machine; /* [device]: machines are numbered from 0, -1: one of its own; NULL: all share one */
    double capacity; /* devices that a machine runs at once, cores over threads of a device; 0: all there are */
};

/*
 * How durations vary: factors of mean 1, lognormal, given by their relative standard deviations. Each instruction has a
 * factor of its own; `run` is one factor for all work of a run, the machine's drift from one run to the next.
 */
struct sim_noise {
    double *work;   /* [row]; NULL: none */
    double message; /* of a message's time on its way, latency and waking too */
    double handoff; /* of posting and taking a message */
    double run;
};

/* What the user should know of these costs. */
enum sim_note_kind {
    SIM_NOTE_UNCALIBRATED, /* a kind of layer or device that nobody measured */
    SIM_NOTE_EXTRAPOLATED, /* outside of the measured sizes */
    SIM_NOTE_LOADED,       /* the machine had other work while it was measured, or its speed changed */
    SIM_NOTE_OTHER,
    SIM_NOTE_KIND_COUNT
};
extern const char *const sim_note_kind_names[SIM_NOTE_KIND_COUNT];
struct sim_note {
    enum sim_note_kind kind;
    char *text;
};

/* Zero in contention, noise and links is an undisturbed, exactly repeatable machine without fair links. */
struct sim_cost {
    int stage_count, phase_count, channel_count, bus_count;
    struct sim_stage_cost *stages;     /* [phase * stage_count + stage] */
    struct sim_start_cost *starts;     /* [stage], of the first phase */
    struct sim_channel_cost *channels; /* [channel] */
    double handoff_s;                  /* time a device spends to post or take a message */
    double patience_s, wake_s;         /* a device that has waited longer for a message sleeps, and is then late */
    char **bus_names;
    struct sim_link *links; /* fair ones */
    int link_count;
    struct sim_contention contention;
    struct sim_noise noise;
    struct sim_note *notes;
    int note_count;
};

/* Index of a stage's work in contention.mix and noise.work. */
static inline int64_t sim_cost_row(const struct sim_cost *cost, int phase, int stage, enum sim_work work)
{
    return ((int64_t)phase * cost->stage_count + stage) * SIM_WORK_COUNT + work;
}

struct sim_cost_kind {
    const char *name; /* "analytic", "table", "profile", "import" */
    const char *help;
    /* Reads the files that it needs. NULL, as is `close`: none. */
    sp_status (*open)(const struct sp_experiment *experiment, void **known, struct sp_error *err);
    void (*close)(void *known);
    sp_status (*fill)(const void *known, const struct sp_experiment *experiment, const struct sp_plan *plan,
                      const struct sp_memory_plan *memory, struct sim_cost *out, struct sp_error *err);
    /* The same for bounds, where a stage takes the sum of its layers, and the same beside that for every stage: each
     * takes the least that it does in any plan of these devices. NULL: `fill` is so already. */
    sp_status (*fill_least)(const void *known, const struct sp_experiment *experiment, const struct sp_plan *plan,
                            const struct sp_memory_plan *memory, struct sim_cost *out, struct sp_error *err);
};
extern const struct sim_cost_kind sim_cost_kinds[]; /* ended by name NULL */

/* A source that has read its files, for many plans of one experiment: its devices and cost.* stay as they are. */
struct sim_source {
    const struct sim_cost_kind *kind; /* by experiment->cost.model */
    void *known;
};
sp_status sim_source_open(const struct sp_experiment *experiment, struct sim_source *out, struct sp_error *err);
void sim_source_close(struct sim_source *source); /* a zeroed one too */

/* The caller owns *out. SP_E_INPUT also where something takes longer than can be simulated. */
sp_status sim_source_cost(const struct sim_source *source, const struct sp_experiment *experiment,
                          const struct sp_plan *plan, const struct sp_memory_plan *memory, struct sim_cost **out,
                          struct sp_error *err);

/* The same, by fill_least. */
sp_status sim_source_least_cost(const struct sim_source *source, const struct sp_experiment *experiment,
                                const struct sp_plan *plan, struct sim_cost **out, struct sp_error *err);

/* The same for a single plan. */
sp_status sim_cost_create(const struct sp_experiment *experiment, const struct sp_plan *plan,
                          const struct sp_memory_plan *memory, struct sim_cost **out, struct sp_error *err);
struct sim_cost *sim_cost_alloc(const struct sp_plan *plan); /* zeroed, for tests that fill it by hand */
void sim_cost_destroy(struct sim_cost **cost);

/* Room for `class_count` classes: slowdown and mix, zeroed; and for noise.work, zeroed. */
void sim_cost_add_contention(struct sim_cost *cost, int class_count);
void sim_cost_add_noise(struct sim_cost *cost);

/* Adds a note, unless it has been made already. */
void sim_cost_note(struct sim_cost *cost, enum sim_note_kind kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
