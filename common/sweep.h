/*
 * sweep.h - one experiment in many variations.
 *
 *     sweep:
 *       pipeline.cuts: [[1], [2]]         # an axis: every value, crossed with the other axes
 *       zip: {network: [lenet5, alexnet], data.set: [mnist, cifar10]}  # one axis: lists that go together
 *       unless: {network: lenet5, pipeline.cuts: [[2]]}  # leaves out points that match all of it
 *       only: {train.batch: 128}          # keeps points that match
 *       repeat: 3                         # real runs, with train.seed, train.seed + 1, ...
 *       reference: {pipeline.schedule: sequential}  # which points the others are compared with, in pairs
 *       pair: [network]                   # what a pair has in common; else all but the reference's axes
 *       baseline: true                    # real runs also train sequentially, for their speedup
 *
 * zip, unless and only may be lists of such, too.
 *
 * Points are numbered from 0, the first axis varying slowest. A condition's value matches an equal one, or is a list
 * that holds an equal one.
 */
#ifndef SP_SWEEP_H
#define SP_SWEEP_H

#include "common/experiment.h"

struct sp_sweep_axis {
    int key_count, entry_count;
    const char **keys;             /* paths of options, borrowed */
    const struct sp_yaml **values; /* [entry * key_count + key], borrowed; NULL: the entry leaves the key alone */
};

struct sp_sweep {
    const struct sp_experiment *base; /* borrowed */
    struct sp_sweep_axis *axes;
    int axis_count;
    int *entries; /* [point * axis_count + axis] */
    int point_count;
    int *point_of;      /* of each combination of entries; -1: left out */
    int *partner;       /* of each point: the one it is compared with; -1: none. NULL: there is no reference */
    int repeat;         /* of real runs */
    bool labels_repeat; /* points are called alike by `label`: what it leaves open is said behind it */
    int label_axis;     /* whose values `label` tells apart; -1: none */
    bool baseline;
};

/* Reads base->sweep; every mistake is told at its mark, values that an option would not take among them. An experiment
 * without a sweep is one. The experiment must outlive *out. */
sp_status sp_sweep_create(const struct sp_experiment *base, struct sp_sweep **out, struct sp_error *err);
void sp_sweep_destroy(struct sp_sweep **sweep);

/* The experiment of a point; `repeat` is added to its seed. What cannot be said of values alone may still be wrong. */
sp_status sp_sweep_experiment(const struct sp_sweep *sweep, int point, int repeat, struct sp_experiment **out,
                              struct sp_error *err);

/* The point that `point` is compared with; -1: none, or it is one itself. */
int sp_sweep_reference(const struct sp_sweep *sweep, int point);

/* What the point is called (common/sweep_label.c): its `label`, else its values; both where labels alone are not
 * different. The caller frees.
 */
char *sp_sweep_label(const struct sp_sweep *sweep, int point);

/* The swept keys, in order, and the value that a point has for one; NULL: its case leaves it alone. */
int sp_sweep_key_count(const struct sp_sweep *sweep);
const char *sp_sweep_key(const struct sp_sweep *sweep, int key);
const struct sp_yaml *sp_sweep_value(const struct sp_sweep *sweep, int point, int key);

/* Finds out whether labels tell the points apart, once these are made. */
void sp_sweep_compare_labels(struct sp_sweep *sweep);

#endif
