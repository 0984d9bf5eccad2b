/*
 * profile_file.h - a cost file: what `stalepipe profile` measured of a network on a machine.
 *
 * YAML. Times are seconds of a microbatch of `batch` samples: the median, and `spread`, the median deviation from it of
 * forward and backward together, relative; layers are scaled so that they add up to what the whole network took at
 * once. A group is a weight layer with what follows it, counted as in the PPV.
 */
#ifndef SIM_PROFILE_FILE_H
#define SIM_PROFILE_FILE_H

#include "common/error.h"

#include <stdbool.h>

struct sim_profile_entry {
    int batch, group;
    double forward_s, backward_s, update_s, spread;
};

struct sim_profile {
    char *cpu; /* model name */
    int cores;
    char *backend, *convolution;
    int threads;
    char *network;
    /* How much longer stages take while the other device works too. */
    double contention_forward, contention_backward;
    struct sim_profile_entry *entries;
    int count;
};

/* This machine's processor and cores into cpu (the caller frees) and cores. */
void sim_profile_machine(struct sim_profile *profile);

/* Reads a file that was named at `mark`. SP_E_INPUT with every mistake; *out is zero then. Free with fini. */
sp_status sim_profile_read(const char *path, struct sp_mark mark, struct sim_profile *out, struct sp_error *err);
sp_status sim_profile_write(const struct sim_profile *profile, const char *path, struct sp_error *err);
void sim_profile_fini(struct sim_profile *profile);

#endif
