/*
 * overlap.h - how work of one class slows work of another, from traces of two devices at work side by side.
 *
 * Every pass of a layer is an observation: how long it took, and for which share of that the other device did what. One
 * and the same pass is met many times, beside different work and beside none; so the machine's speed drops out, and so
 * do the passes' own lengths.
 */
#ifndef SIM_OVERLAP_H
#define SIM_OVERLAP_H

#include "sim/profile_file.h"

/* What a device did for a while; those of one device in order of time. */
struct sim_activity {
    double start_s, end_s;
    int item; /* passes with the same number do the same work; from 0 */
    enum sim_class kind;
};

struct sim_overlap {
    int item;
    enum sim_class kind;
    double seconds, beside[SIM_CLASS_COUNT]; /* beside: shares, at most 1 together */
};

struct sim_overlaps {
    struct sim_overlap *list;
    int count;
    int items; /* numbers given out so far */
};

/* Adds what device `a` did beside device `b` in one run; item numbers are of that run: 0 .. items-1. */
void sim_overlaps_add(struct sim_overlaps *overlaps, const struct sim_activity *a, int a_count,
                      const struct sim_activity *b, int b_count);
/* After both directions of a run: its item numbers are taken. */
void sim_overlaps_close_run(struct sim_overlaps *overlaps, int items);
void sim_overlaps_fini(struct sim_overlaps *overlaps);

/* slowdown[a][b]: relative excess of class a beside class b, >= 0. Least squares on logarithms, weighted by time; what
 * few observations tell apart is drawn towards the mean of its class, and that towards the mean of all. */
void sim_overlaps_fit(const struct sim_overlaps *overlaps, double slowdown[SIM_CLASS_COUNT][SIM_CLASS_COUNT]);

#endif
