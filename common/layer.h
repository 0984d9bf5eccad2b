/*
 * layer.h - the kinds of layers: one file under common/layers and one row here for each.
 *
 * A kind knows shapes, parameters, operations and what its backward pass needs, and nothing about how it is computed.
 */
#ifndef SP_LAYER_H
#define SP_LAYER_H

#include "common/network.h"

/* What a kind's backward pass reads of its forward pass, and whether its output may overwrite its first input. */
enum {
    SP_KEEPS_INPUT = 1, /* inputs[0] */
    SP_KEEPS_OUTPUT = 2,
    SP_IN_PLACE = 4, /* the output may share the storage of inputs[0], the input's gradient that of the output's */
    SP_VIEW = 8      /* moves no data: output and input are one tensor with another shape */
};

struct sp_layer_kind {
    const char *name; /* as in a network file: "convolution", "batch-norm", … */
    const char *help; /* one line: its settings */
    int flags;        /* SP_KEEPS_… */

    /* From type, settings, in (and the shape of the second input, in ADD): fills out, parameters, state and flops.
     * A wrong setting or shape is rejected at layer->mark. */
    sp_status (*infer)(struct sp_layer *layer, const struct sp_shape *input_shapes, struct sp_error *err);

    /* Bytes for one sample that backward needs beside the tensors (pool indices, masks), and once per microbatch
     * (batch-norm mean and deviation), in a plain float32 implementation. */
    size_t (*saved_bytes)(const struct sp_layer *layer, int batch);

    /* Multiplier of the standard deviation of He initialisation is sqrt(2 / fan_in); 0 for kinds without a weight. */
    int64_t (*fan_in)(const struct sp_layer *layer); /* NULL: no random parameters */
};

/* Indexed by enum sp_layer_type. */
extern const struct sp_layer_kind *const sp_layer_kinds[SP_LAYER_TYPE_COUNT];

/* The kind of that name; SP_LAYER_TYPE_COUNT when there is none. */
enum sp_layer_type sp_layer_type_of(const char *name);

#endif
