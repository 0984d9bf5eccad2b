/*
 * device.h - the constants of a device, read from a file of experiments/devices.
 */
#ifndef SIM_DEVICE_H
#define SIM_DEVICE_H

#include "common/experiment.h"
#include "common/layer.h"

/* Share of the peak that a kind of work reaches, 0 .. 1. */
struct sim_efficiency {
    double forward, backward_input, backward_weight;
};

/* Who shares links. */
enum sim_links {
    SIM_LINKS_OWN,   /* each way between two devices is a link of its own */
    SIM_LINKS_QUEUE, /* one bus for all, on which messages follow each other */
    SIM_LINKS_FAIR   /* a link out of and into each device, and one bus for all: messages share them max-min */
};

struct sim_device {
    double peak_flops;            /* float32, per second */
    double bandwidth_bytes_per_s; /* of its memory */
    double launch_s;              /* of one layer's pass */
    int channel_block;            /* channels are computed in multiples of this */
    struct sim_efficiency convolution, fully_connected;
    double small_channels; /* convolution: share of its efficiency that a layer with fewer input channels than a
                              block reaches */
    /* How often a byte of theirs is really moved; NAN: the file says nothing, and it counts once. */
    double passes_batch_norm, passes_relu, passes_pool, passes_other;
    double update_bytes; /* moved per byte of parameters in an optimiser step */
    /* Messages: within shared memory only latency counts. */
    double latency_s, link_bytes_per_s;
    int link_hops; /* 2: through the host's memory */
    enum sim_links links;
    double bus_bytes_per_s; /* of fair links' bus */
    bool link_blocks;       /* a copy to the host holds up the sender, one from it the receiver; nothing overlaps */
};

/* Seconds for which a copy of so many bytes holds up each of its two devices, where copies do (link_blocks). */
double sim_device_block_s(const struct sim_device *device, double bytes);

/* Finds and reads the device of an experiment: its name in experiments/devices, or a file. `auto` follows the backend.
 */
sp_status sim_device_read(const struct sp_experiment *experiment, struct sim_device *out, struct sp_error *err);

#endif
