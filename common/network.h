/*
 * network.h - a network as a graph of layers in topological order.
 *
 * Layer l makes tensor l + 1; tensor 0 is the network's input. Shapes are those of one sample, (C, H, W); flat
 * vectors are (C, 1, 1). Everything here is per sample unless a name says otherwise. A network is read-only once
 * built and may be shared by threads. What a kind of layer is (its shape rule, costs, what its backward needs)
 * stands in one file under common/layers and one row of sp_layer_kinds (common/layer.h).
 */
#ifndef SP_NETWORK_H
#define SP_NETWORK_H

#include "common/error.h"

#include <stddef.h>
#include <stdint.h>

enum sp_layer_type {
    SP_LAYER_CONVOLUTION,
    SP_LAYER_BATCH_NORM,
    SP_LAYER_RELU,
    SP_LAYER_MAX_POOL,
    SP_LAYER_AVERAGE_POOL,
    SP_LAYER_GLOBAL_AVERAGE_POOL,
    SP_LAYER_LRN,
    SP_LAYER_DROPOUT,
    SP_LAYER_FULLY_CONNECTED,
    SP_LAYER_ADD,
    SP_LAYER_FLATTEN,
    SP_LAYER_SOFTMAX_CROSS_ENTROPY,
    SP_LAYER_MEASURED, /* a node of a measured network: costs, and no arithmetic */
    SP_LAYER_TYPE_COUNT,
    SP_LAYER_WRITABLE_COUNT = SP_LAYER_MEASURED /* types that a network file may name come before it */
};

struct sp_shape {
    int c, h, w;
};

/* Trainable parameters of a layer: at most two, weight then bias (batch norm: scale then shift). */
enum sp_parameter { SP_PARAMETER_WEIGHT, SP_PARAMETER_BIAS, SP_PARAMETER_COUNT };

/* The settings of a layer; each kind uses its own and leaves the others zero. */
struct sp_layer_settings {
    int filters;    /* convolution: output channels; fully connected: outputs */
    int kernel;     /* convolution, pooling: square window */
    int stride;     /* convolution, pooling */
    int pad;        /* convolution, pooling: zeros on each side; average pooling does not count them */
    bool bias;      /* convolution, fully connected */
    bool shortcut;  /* convolution on a shortcut (projection): has weights, is not counted in the PPV */
    float epsilon;  /* batch norm: added to the variance */
    float momentum; /* batch norm: running = (1 - momentum) * running + momentum * batch (unbiased variance) */
    int size;       /* LRN: channels in the window; y = x / (k + alpha/size * sum x^2)^beta, across channels */
    float alpha, beta, k;
    float rate; /* dropout: the probability of a zero; survivors are scaled by 1 / (1 - rate) */
};

enum { SP_LAYER_INPUTS = 16 }; /* at most; layers that are computed have one or two */

struct sp_layer {
    enum sp_layer_type type;
    char name[48]; /* unique in its network */
    struct sp_layer_settings settings;
    struct sp_mark mark;         /* where the user wrote it; file NULL for built-in networks */
    int inputs[SP_LAYER_INPUTS]; /* tensors; ADD: [0] the main path, [1] the shortcut */
    int input_count;
    struct sp_shape in, out; /* of inputs[0] and of the output */
    int weight_number;       /* 1, 2, … for convolution and fully connected layers as in the PPV; else 0 */
    int group;               /* the weight number at or before this layer: a cut after p lies between
                                the last layer of group p and the first of group p + 1; 0 before the first */
    int64_t parameters[SP_PARAMETER_COUNT]; /* elements of each trainable parameter */
    int64_t state; /* elements of state that is not trained (batch norm: running mean, variance) */
    /* Floating point operations of a sample (a multiply-add is 2). */
    double forward_flops, backward_input_flops, backward_weight_flops;
};

/* What somebody measured of a layer, for a whole minibatch. */
struct sp_measured {
    double forward_s, backward_s; /* backward: both gradients */
    double bytes;                 /* of its output */
};

struct sp_network {
    char name[48];
    struct sp_layer *layers; /* layer_count; the last is SOFTMAX_CROSS_ENTROPY, its output (1,1,1) is the loss */
    int layer_count;
    int tensor_count;        /* layer_count + 1 */
    struct sp_shape *shapes; /* (C, H, W) of each tensor */
    int classes;
    int weight_layer_count;
    int64_t parameter_count; /* trainable elements */
    /* Measured networks, to simulate and to plan; NULL and 0 for those that can be trained. Every layer counts as a
     * weight layer: a cut after p comes after the p-th. */
    struct sp_measured *measured; /* [tensor]: [0] the input */
    int measured_batch;           /* samples of the minibatch that was measured */
};

/* Elements of a shape. */
int64_t sp_shape_elements(struct sp_shape shape);

/* How to find a network: exactly one of the first three is set. */
struct sp_network_spec {
    const char *builtin; /* lenet5, alexnet, vgg16, resnet20, … */
    const char *file;    /* a YAML list of layers; its path as the user gave it, relative to the working folder */
    const char *profile; /* a measured network (common/network_profile.c), likewise */
    int batch;           /* profile: samples of a minibatch where the file does not say */
    struct sp_mark mark; /* where it was asked for */
};

/* Builds a network for inputs of shape `input` and `classes` classes (file networks state their own input and
 * classes and must agree with the data). The caller owns *out: sp_network_destroy(). SP_E_INPUT with all the
 * mistakes of a file collected. `builtin` names: see sp_network_builtin_help(). */
sp_status sp_network_create(const struct sp_network_spec *spec, struct sp_shape input, int classes,
                            struct sp_network **out, struct sp_error *err);
void sp_network_destroy(struct sp_network **network);

/* A measured network with its layers in another topological order: `order` lists them. The caller owns *out. */
void sp_network_reorder(const struct sp_network *network, const int *order, struct sp_network **out);

/* "lenet5, alexnet, vgg16, resnetN (N = 6n+2)": for help and error messages. */
const char *sp_network_builtin_help(void);

/* First layer after the cut that follows weight layer p (1 <= p < weight_layer_count): layers [0, result) are before.
 */
int sp_network_cut_layer(const struct sp_network *network, int p);

/* Last layer that reads `tensor` and the first; -1 when none does. */
int sp_network_last_consumer(const struct sp_network *network, int tensor);
int sp_network_first_consumer(const struct sp_network *network, int tensor);

#endif
