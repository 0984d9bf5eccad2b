/*
 * roofline.h - seconds of layers that nobody measured, from those of layers that were: fitted with GSL.
 *
 * For each kind of layer and pass
 *
 *     seconds = launch + ((work / rate)^4 + (bytes / bandwidth)^4)^(1/4)
 *     rate    = peak * (positions / 1000)^p * (inputs / 100)^i * (outputs / 32)^o
 *
 * that is, the slower of computing and moving, rounded off where they meet, with an efficiency that depends on size.
 * Convolutions and fully connected layers: work is operations, positions the output's pixels in the microbatch, inputs
 * the products in a sum, outputs the channels made. Other kinds only move: work is bytes, positions kilobytes, inputs
 * the window's elements, and there is no second term.
 */
#ifndef SIM_ROOFLINE_H
#define SIM_ROOFLINE_H

#include "common/network.h"

#include <stdbool.h>

/* One layer's pass over a microbatch, as the formula sees it. */
struct sim_layer_work {
    enum sp_layer_type type;
    bool backward;
    double work, bytes, positions, inputs, outputs;
};
struct sim_layer_work sim_layer_work(const struct sp_network *network, int layer, int batch, bool backward);

struct sim_roofline_row {
    enum sp_layer_type type;
    bool backward;
    double peak, positions, inputs, outputs, bandwidth_bytes_per_s, launch_s;
    double least, most; /* work that was measured */
    double residual;    /* median error of the fit, relative */
    int points;
};

struct sim_roofline {
    struct sim_roofline_row *rows;
    int count;
    /* Layers that were left out of a first fit, and how far it was off there, relative, weighted by seconds. */
    int held_points;
    double held_median, held_ninth; /* median, 90th percentile */
};

struct sim_roofline_point {
    struct sim_layer_work work;
    double seconds;
};

/* Fits all kinds that the points have. Points of one shape (all but positions and bytes equal) are held out together.
 * `flops` and `bytes_per_s` are what the machine was seen to do: where few points say more, the fit stays near. Free
 * with fini. */
void sim_roofline_fit(const struct sim_roofline_point *points, int count, double flops, double bytes_per_s,
                      struct sim_roofline *out);
void sim_roofline_fini(struct sim_roofline *fit);

/* NULL: that kind and pass was not measured. */
const struct sim_roofline_row *sim_roofline_find(const struct sim_roofline *fit, enum sp_layer_type type,
                                                 bool backward);
double sim_roofline_seconds(const struct sim_roofline_row *row, const struct sim_layer_work *work);

#endif
