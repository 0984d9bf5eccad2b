/*
 * probe.h - how fast the machine is right now, and who else uses it: what measurements are held against.
 *
 * On a shared or virtual machine both change from second to second.
 */
#ifndef EXEC_PROBE_H
#define EXEC_PROBE_H

struct exec_speed {
    double flops;       /* multiply-adds in registers, counted as two, of the calling thread's core */
    double bytes_per_s; /* read and written by copying a block larger than the core's own caches */
};

/* Takes some ten milliseconds: the median of short loops. */
struct exec_speed exec_probe_speed(void);

/* Time and processor time of machine and process. */
struct exec_load_mark {
    double at_s, machine_s, own_s;
};
struct exec_load_mark exec_load_mark(void);

/* Cores that other programs kept busy since `mark`, on average; 0 where the system does not say. Resolves 0.01 s. */
double exec_load_since(const struct exec_load_mark *mark);

/* Sleeps until other programs use less than `cores`, `most_s` seconds at most; returns the seconds it took. */
double exec_wait_quiet(double cores, double most_s);

#endif
