/*
 * profile.h - the parts of `profile`: short trainings of one network, and what their traces say.
 */
#ifndef PROGRAM_PROFILE_H
#define PROGRAM_PROFILE_H

#include "common/program/program.h"
#include "sim/profile_file.h"

enum { PROFILE_SIZES = 5, PROFILE_WARM = 2 }; /* minibatch sizes, halved each time; minibatches left out of a trial */

/* Values that are added one by one; zero is empty. */
struct samples {
    double *values;
    int count;
};
void samples_add(struct samples *samples, double value);
void samples_clear(struct samples *samples);
double samples_median(struct samples *samples);    /* 0: none */
double samples_mean(struct samples *samples);      /* without what took thrice the median: interrupted; 0: none */
double samples_spread(struct samples *samples);    /* median distance from the median, relative */
double samples_deviation(struct samples *samples); /* a normal distribution's, from that */
void samples_fini(struct samples *samples);

/* One pass of a layer at one size: this trial's repeats, and each round's value. */
struct pass_samples {
    struct samples now, rounds;
};

/* One minibatch size. */
struct size_samples {
    int batch;
    struct pass_samples *passes; /* [layer * SP_PASS_COUNT + pass] */
    struct pass_samples input;   /* of F: what is left beside the layers */
    struct pass_samples step;    /* all of a minibatch */
};

struct profiling {
    const struct program *program;
    const struct program_setup *setup;
    struct sim_profile *profile;
    int layers;                       /* of the network */
    int rounds, round, trials, trial; /* so far, for the progress shown */
    int size_count;
    struct size_samples sizes[PROFILE_SIZES];
    bool has_data; /* the experiment's own: what its loader does beside two devices counts; else synthetic */
    double *memory_bytes, *first_s; /* of trials: what they took, and how much longer the first minibatch, for a line */
    int first_count;
    double patience_s; /* left to wait for other programs, disturbed trials included */
    double mean_s[SIM_CLASS_COUNT], median_s[SIM_CLASS_COUNT]; /* sums over all passes of all trials */
    struct samples arithmetic, copying;                        /* probes */
};

/* A training of a few minibatches. */
struct profile_trial {
    const char *what;
    int batch, minibatches;
    const int *cuts;
    int cut_count;
    bool one_device;
    bool pipelined; /* stale, else sequential */
    bool alternate; /* pipelined and not in turn, PROFILE_TURNS times */
    bool evaluate;  /* at the end, some minibatches */
};
enum { PROFILE_TURNS = 3 };

/* A line y = constant + slope x with neither below zero, and the slope at most `steepest`. Where x does not vary it is
 * the mean. */
void profile_line(const double *x, const double *y, int count, double steepest, double *constant, double *slope);

/* Runs it, with evaluation on synthetic data of the network's shape, between two probes of the machine's speed, when
 * other programs are quiet; again, twice at most and while there is patience, where they were not meanwhile, and the
 * quietest counts. The caller ends *result with program_result_fini. */
sp_status profile_run(struct profiling *p, const struct profile_trial *trial, struct program_result *result,
                      struct sp_error *err);

/* Minibatches of a trial of steps of this length, without the warm ones. */
int profile_minibatches(double step_s);

/* Takes a trial's trace of layers into `now` of every pass; fills no round. */
void profile_take_layers(const struct sp_trace *layers, struct pass_samples *passes);
/* Ends the trial for these passes: the median becomes a round's value. */
void profile_end_trial(struct profiling *p, struct pass_samples *passes);

/* What devices and stages add to layers (profile_stages.c): in_flight, update, noise of instructions; contention and
 * handing over. Each call is one more round. */
struct profile_stages {
    struct samples in_flight[SIM_CLASS_COUNT]; /* rounds */
    struct samples forward, backward, update;  /* relative deviations of stages' instructions */
    double *parameters, *updates_s;            /* stages' updates, for a line */
    int update_count;
    struct samples asleep, awake;    /* messages */
    double *message_bytes, *after_s; /* what receivers take longer than one device would, for a line */
    int after_count;
    struct sim_overlaps *overlaps;
};
struct profile_stages *profile_stages_create(void);
sp_status profile_stages_round(struct profiling *p, struct profile_stages *stages, struct sp_error *err);
void profile_stages_finish(struct profiling *p, struct profile_stages *stages);
void profile_stages_destroy(struct profile_stages **stages);

#endif
