/*
 * ref.h - plain C for every kind of layer: slow, obvious, the oracle of every test. Tensors are float32 in C order.
 *
 * Other backends start from this table and replace what they do better. Sums are in double.
 */
#ifndef EXEC_REF_H
#define EXEC_REF_H

#include "common/layer.h"
#include "exec/backend.h"

/* A kind's three passes. `shapes` are those of the layer's inputs. Cannot fail: settings were checked when the network
 * was built. */
struct exec_ref_op {
    void (*forward)(const struct sp_layer *layer, const struct sp_shape *shapes, const struct exec_io *io);
    void (*evaluate)(const struct sp_layer *layer, const struct sp_shape *shapes, const struct exec_io *io);
    void (*backward)(const struct sp_layer *layer, const struct sp_shape *shapes, const struct exec_io *io);
};

/* Indexed by enum sp_layer_type. */
extern const struct exec_ref_op *const exec_ref_ops[SP_LAYER_TYPE_COUNT];

extern const struct exec_ref_op exec_ref_convolution, exec_ref_batch_norm, exec_ref_relu, exec_ref_max_pool,
    exec_ref_average_pool, exec_ref_global_average_pool, exec_ref_lrn, exec_ref_dropout, exec_ref_fully_connected,
    exec_ref_add, exec_ref_flatten, exec_ref_softmax_cross_entropy;

/* Entries of a backend's table that work on plain memory alone, whatever the layout. */
sp_status exec_ref_update(void *context, void *queue, const struct exec_parameters *parameters,
                          const struct exec_sgd *sgd, struct sp_error *err);
sp_status exec_ref_allocate(void *context, int device, size_t bytes, void **memory, struct sp_error *err);
void exec_ref_release(void *context, void *memory, size_t bytes);
sp_status exec_ref_copy(void *context, void *to, const void *from, size_t bytes, struct sp_error *err);

#endif
