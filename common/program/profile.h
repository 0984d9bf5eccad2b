/*
 * profile.h - the parts of `profile`: short trainings of one network, and what their traces say.
 */
#ifndef PROGRAM_PROFILE_H
#define PROGRAM_PROFILE_H

#include "common/program/program.h"
#include "sim/profile_file.h"

enum {
    PROFILE_SIZES = 5,
    PROFILE_WARM = 2
}; /* minibatch sizes, halved each time; minibatches left out of a trial,
      at least */

/* Values that are added one by one; zero is empty. */
struct samples {
    double *values;
    int count;
};
void samples_add(struct samples *samples, double value);
void samples_clear(struct samples *samples);
double samples_median(const struct samples *samples);                 /* 0: none */
double samples_quantile(const struct samples *samples, double share); /* 0: none */
double samples_mean(const struct samples *samples);      /* without what took thrice the median: interrupted; 0: none */
double samples_spread(const struct samples *samples);    /* median distance from the median, relative */
double samples_deviation(const struct samples *samples); /* a normal distribution's, from that */
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
    double patience_s;                  /* left to wait for other programs, disturbed trials included */
    struct samples arithmetic, copying; /* probes */
    struct samples halves;              /* of trials of the uncut network: logarithm of how their steps differ */
};

/* A training of a few minibatches. */
struct profile_trial {
    const char *what;
    int batch, minibatches, warm; /* warm ones come first, and are left out */
    const int *cuts;
    int cut_count;
    bool one_device;
    bool pipelined; /* stale, else sequential */
    int turns;      /* > 0: pipelined and not in turn, so many times */
    bool evaluate;  /* at the end, some minibatches */
};
enum { PROFILE_TURNS = 3 }; /* at most */

/* A line y = constant + slope x with neither below zero, and the slope at most `steepest`. Where x does not vary it is
 * the mean. */
void profile_line(const double *x, const double *y, int count, double steepest, double *constant, double *slope);

/* Runs it, with evaluation on synthetic data of the network's shape, between two probes of the machine's speed, when
 * other programs are quiet; again, twice at most and while there is patience, where they were not meanwhile, and the
 * quietest counts. The caller ends *result with program_result_fini. */
sp_status profile_run(struct profiling *p, const struct profile_trial *trial, struct program_result *result,
                      struct sp_error *err);

/* What messages between devices with memories of their own take, if the backend's are such. */
sp_status profile_copies(struct profiling *p, struct sp_error *err);

/* Minibatches of a trial of steps of this length, without the warm ones. */
int profile_minibatches(double step_s);

/* Takes a trial's trace of layers into `now` of every pass, without `warm` minibatches; fills no round. */
void profile_take_layers(const struct sp_trace *layers, int warm, struct pass_samples *passes);
/* Ends the trial for these passes: the mean becomes a round's value. */
void profile_end_trial(struct profiling *p, struct pass_samples *passes);

/* By how much a run differs from the profile, as the relative deviation of a normal distribution with its 90 % interval
 * there: from the rounds of `sizes`, or from `halves` where there is one. */
double profile_run_deviation(const struct size_samples *sizes, int size_count, const struct samples *halves);

/* The cut before which `share` of the uncut network's time lies, at least `from`. */
int profile_cut(const struct profiling *p, double share, int from);

/* What messages between devices cost (profile_messages.c). Each call of round is one more; bytes cross `cut`. */
struct profile_messages;
struct profile_messages *profile_messages_create(void);
sp_status profile_messages_round(struct profiling *p, struct profile_messages *messages, int cut, double bytes,
                                 struct sp_error *err);
/* Takes the waits of a run of two stages on two devices, and what posting took. */
void profile_messages_take(struct profile_messages *messages, const struct sp_trace *trace, int turn, int warm);
void profile_messages_finish(struct profiling *p, const struct profile_messages *messages);
void profile_messages_destroy(struct profile_messages **messages);

/* What devices and stages add to layers (profile_stages.c): in_flight, update, noise of instructions; contention and
 * messages. Each call is one more round. */
struct profile_stages {
    struct samples in_flight[SIM_CLASS_COUNT]; /* rounds */
    struct samples forward, backward, update;  /* relative deviations of stages' instructions */
    double *parameters, *updates_s;            /* stages' updates, for a line */
    int update_count;
    struct profile_messages *messages;
    struct sim_overlaps *overlaps;
};
struct profile_stages *profile_stages_create(void);
sp_status profile_stages_round(struct profiling *p, struct profile_stages *stages, struct sp_error *err);
void profile_stages_finish(struct profiling *p, struct profile_stages *stages);
void profile_stages_destroy(struct profile_stages **stages);

#endif
