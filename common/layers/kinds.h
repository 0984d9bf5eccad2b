/* kinds.h - the rows of the table of layer kinds, and what several of them share. */
#ifndef SP_LAYER_KINDS_H
#define SP_LAYER_KINDS_H

#include "common/layer.h"

extern const struct sp_layer_kind sp_layer_convolution, sp_layer_batch_norm, sp_layer_relu, sp_layer_max_pool,
    sp_layer_average_pool, sp_layer_global_average_pool, sp_layer_lrn, sp_layer_dropout, sp_layer_fully_connected,
    sp_layer_add, sp_layer_flatten, sp_layer_softmax_cross_entropy, sp_layer_measured;

/* A sample of a tensor, and a parameter, have at most this many elements, so that an int can count them. */
#define SP_ELEMENTS_LIMIT INT32_MAX

/* Sets out's height and width for a window over in; out.c is set before. Rejects settings that do not fit and outputs
 * over the limit. */
sp_status sp_layer_window(struct sp_layer *layer, struct sp_error *err);

/* Sets the parameters of settings.filters outputs that each weigh `inputs` values; rejects more than the limit. */
sp_status sp_layer_weights(struct sp_layer *layer, int64_t inputs, struct sp_error *err);

/* The output is as the input; `forward` and `backward` operations an element. */
void sp_layer_same_shape(struct sp_layer *layer, double forward, double backward);

/* saved_bytes of kinds that keep nothing beside tensors. */
size_t sp_layer_saves_nothing(const struct sp_layer *layer, int batch);

#endif
