/*
 * layers.h - every kind of layer on a backend against the reference, alone, on random tensors, in the layouts its
 * network gave it. Values are compared by the largest difference over the largest value.
 */
#ifndef TESTS_LAYERS_H
#define TESTS_LAYERS_H

#include "exec/backend.h"

#include <stdint.h>

enum { BATCH = 5, LAYERS_NETWORKS = 8, LAYERS_FOR_WINOGRAD = 3 };

/* Networks that have all kinds of layers among them, in odd shapes. */
struct sp_network *layers_network(int n);

/* What sides are opened with, and how far values may be off. */
extern enum exec_convolution layers_convolution;
extern double layers_tolerance;

/* One backend's side of a layer. */
struct side {
    const struct exec_backend *backend;
    void *context, *model, *queue;
    struct sp_footprint footprint;
    const struct sp_network *network;
    void *memory[32];
    int count;
};
void open_side(struct side *side, const struct exec_backend *backend, const struct sp_network *network);
void close_side(struct side *side);
void *take(struct side *side, size_t bytes); /* memory of the device, until drop_memory */
void drop_memory(struct side *side);

float *random_values(int64_t count);
void compare(const char *layer, const char *what, const float *expected, const float *found, int64_t count);
void compare_layer(struct side *ref, struct side *other, int l);

/* All layers of all networks; fails where a kind of layer is in none. */
void compare_all_layers(const struct exec_backend *backend);

#endif
