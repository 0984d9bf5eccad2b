/*
 * profile_file.h - a cost file: what `stalepipe profile` measured of a network on a machine.
 *
 * YAML. Seconds of one microbatch of `batch` samples on a machine where nothing else happens: means over rounds of
 * the mean of each, without what was interrupted; `spread` is the rounds' median deviation, relative. A single round
 * has none. The network is known by its name and by what each of its layers is.
 */
#ifndef SIM_PROFILE_FILE_H
#define SIM_PROFILE_FILE_H

#include "common/error.h"
#include "common/network.h"
#include "sim/roofline.h"

#include <stdbool.h>

/* Kinds of work that differ in how they use a machine: those whose contention is told apart. */
enum sim_class {
    SIM_CLASS_CONVOLUTION,
    SIM_CLASS_FULLY_CONNECTED,
    SIM_CLASS_POOLING,
    SIM_CLASS_ELEMENTWISE, /* batch norm, ReLU, addition, dropout, LRN, loss */
    SIM_CLASS_UPDATE,
    SIM_CLASS_COUNT
};
extern const char *const sim_class_names[SIM_CLASS_COUNT];
enum sim_class sim_class_of(enum sp_layer_type type);

/* What makes a layer's work: kind, shapes, settings and what it reads, in words. */
struct sim_profile_shape {
    char *layer, *is;
};

struct sim_profile_layer {
    char *layer; /* its name in the network */
    int batch;
    double forward_s, backward_s, evaluate_s, spread;
};

/* What the stage with the input takes beside its layers: the minibatch is taken over. */
struct sim_profile_input {
    int batch;
    double forward_s;
};

struct sim_profile {
    /* machine */
    char *cpu; /* model name */
    int cores;
    char *backend, *convolution;
    int threads;
    /* speed, by probes before and after each measurement */
    double flops, bytes_per_s;
    double load; /* cores that other programs used, in the worst of the measurements that were kept */
    char *network;
    struct sim_profile_shape *shapes; /* of its layers, in order */
    int shape_count;
    int rounds; /* 0: the file does not say */
    /* stage */
    double update_s, update_parameter_s; /* of an optimiser step, and for each parameter */
    double handoff_s;                    /* what posting or taking a message takes */
    double handover_s;                   /* on its way to a device that still looks for it */
    double patience_s, wake_s;           /* who has waited longer sleeps; the message comes so much later then */
    double restart_s, received_byte_s;   /* what its stages take longer after that, and for each byte got */
    double copy_s, copy_byte_s;          /* a message between devices with memories of their own; 0: not measured */
    double start_s, touch_byte_s;        /* the first time: of a run, and for each byte of its memory */
    double load_sample_s;                /* one sample prepared by a loader's thread */
    double in_flight[SIM_CLASS_COUNT];   /* times as long where several microbatches are in flight */
    double slowdown[SIM_CLASS_COUNT][SIM_CLASS_COUNT]; /* relative excess of a class beside another device's */
    /* relative deviations: of one instruction, of what a message takes, and of a whole run */
    double noise_forward, noise_backward, noise_update, noise_message, noise_run;
    struct sim_profile_input *inputs;
    int input_count;
    struct sim_profile_layer *layers;
    int layer_count;
    struct sim_roofline fit;
};

/* This machine's processor and cores into cpu (the caller frees) and cores. */
void sim_profile_machine(struct sim_profile *profile);

/* The network that is measured: its name and its layers. */
void sim_profile_set_network(struct sim_profile *profile, const struct sp_network *network);

/* NULL: this network was measured. Else what was instead, in words: "vgg16, not lenet5". The caller frees it. */
char *sim_profile_difference(const struct sim_profile *profile, const struct sp_network *network);

/* Reads a file that was named at `mark`. SP_E_INPUT with every mistake; *out is zero then. Free with fini. */
sp_status sim_profile_read(const char *path, struct sp_mark mark, struct sim_profile *out, struct sp_error *err);
sp_status sim_profile_write(const struct sim_profile *profile, const char *path, struct sp_error *err);
void sim_profile_fini(struct sim_profile *profile);

#endif
