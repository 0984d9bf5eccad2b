/*
 * cpu.h - the oneDNN backend's model: every layer compiled, every layout chosen. Internal to exec/cpu.
 *
 * Layouts are chosen once for the whole network, in layer order: a convolution takes its input as it comes and makes
 * the output the library likes best; what follows keeps it. So nothing is reordered between layers, and no layout
 * depends on the cuts. A gradient has its tensor's layout, a weight gradient its weight's.
 *
 * A kind of layer is one file and one row of cpu_kinds; kinds without a row run the reference operation, on plain
 * copies where their tensors are blocked.
 */
#ifndef EXEC_CPU_CPU_H
#define EXEC_CPU_CPU_H

#include "exec/backend.h"
#include "exec/cpu/choices.h"
#include "exec/cpu/onednn.h"

/* Compiled for the widest vectors of the machine it runs on; -ffp-contract=off keeps the bits the same on all. */
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define VECTORISED __attribute__((optimize("O3"), target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define VECTORISED
#endif

/* One per run. */
struct cpu_context {
    struct cpu_library library;
    enum exec_convolution convolution;
    bool separate;
    char machine[CPU_CHOICE_KEY];
    char *choices_path, *given; /* NULL: none */
    char *used;                 /* lines of the choices made so far; NULL: none */
};

struct cpu_model;

/* A copy into another layout, in scratch. */
struct cpu_copy {
    struct cpu_op op;
    size_t offset, bytes; /* of the result, in the layer's scratch */
};

struct cpu_kind;

/* What a layer compiles to; unused parts are zero. */
struct cpu_layer {
    const struct cpu_kind *kind;
    struct cpu_op forward, evaluate, backward_data, backward_weights;
    struct cpu_md parameters[SP_PARAMETER_COUNT]; /* as stored */
    struct cpu_md source;                         /* convolution: the input as its primitives take it */
    size_t saved_bytes;
    size_t scratch_bytes[SP_PASS_COUNT];
    struct cpu_copy weights_copy; /* weights as backward-data wants them */
    struct cpu_copy
        gradient_copy; /* from the layout backward-weights makes to the stored one; offset: of what it makes */
    /* The reference operation's plain tensors, for each pass that has one; the shortcut of an add: in the main path's
     * layout, or plain. */
    struct cpu_copy input_copy[SP_PASS_COUNT], shortcut_copy[SP_PASS_COUNT], output_copy[SP_PASS_COUNT];
    struct cpu_copy input_gradient_copy, shortcut_gradient_copy;
    bool with_relu;          /* the ReLU behind is done by this layer (backward too, but for convolutions) */
    size_t workspace_offset; /* batch norm with ReLU: in `saved` */
    int block;               /* add, dropout, max pool: channels of a block in the (main path's) layout, 1: plain */
};

struct cpu_model {
    struct cpu_context *context;
    struct cpu_library *library; /* the context's */
    const struct sp_network *network;
    int batch;
    const struct cpu_model *like;
    struct cpu_md *tensors;  /* [tensor] */
    struct sp_shape *images; /* [tensor]: (C, H, W) that the layout speaks of; after flatten that of its input */
    bool *flat;              /* [tensor]: the layout has two dimensions, (N, C) */
    struct cpu_layer *layers;
};

struct cpu_kind {
    /* Compiles layer l: its primitives, the layout of its output, sizes. */
    sp_status (*compile)(struct cpu_model *model, int l, struct sp_error *err);
    sp_status (*run)(struct cpu_model *model, int l, enum sp_pass pass, const struct exec_io *io, struct sp_error *err);
    /* Weights from and to plain order. Optional: NULL where parameters[] tells how they are stored. */
    sp_status (*import_weights)(struct cpu_model *model, int l, const float *plain, void *stored, struct sp_error *err);
    sp_status (*export_weights)(struct cpu_model *model, int l, const void *stored, float *plain, struct sp_error *err);
};

extern const struct cpu_kind cpu_convolution, cpu_batch_norm, cpu_relu, cpu_pool, cpu_max_pool, cpu_lrn,
    cpu_fully_connected, cpu_matrix_product, cpu_add, cpu_dropout, cpu_flatten, cpu_plain;

/* Whether add takes its two inputs as they are laid out. */
bool cpu_add_suits(struct cpu_model *model, int l);

/* Whether a fully connected layer had better be cpu_matrix_product. */
bool cpu_matrix_product_suits(struct cpu_model *model, int l);

/* The plain description of a tensor, with the dimensions of its own. */
sp_status cpu_plain_md(struct cpu_model *model, int tensor, struct cpu_md *out, struct sp_error *err);
/* The (N, C, H, W) description of a shape in a layout. */
sp_status cpu_image_md(struct cpu_model *model, struct sp_shape shape, enum cpu_layout layout, struct cpu_md *out,
                       struct sp_error *err);

/* Whether a tensor's layout speaks of its own channels, rows and columns: not where it has been flattened, or is the
 * output of a fully connected layer. */
bool cpu_is_image(const struct cpu_model *model, int tensor);

/* The plain description of a parameter, in the dimensions its stored form has. */
sp_status cpu_plain_parameter_md(struct cpu_model *model, int l, enum sp_parameter which, struct cpu_md *out,
                                 struct sp_error *err);
/* A copy between layouts, once: compiled, run and forgotten. */
sp_status cpu_convert(struct cpu_model *model, const struct cpu_md *from, const struct cpu_md *to, const void *source,
                      void *target, struct sp_error *err);

/* Whether the next layer is a ReLU, the only reader of layer l's output, so that l can do it on the way. */
bool cpu_relu_follows(const struct cpu_model *model, int l);

/* Copies that a training step makes because a primitive wants another layout: of tensors, and of weights or their
 * gradients. */
struct cpu_copies {
    int tensors, weights;
};
struct cpu_copies cpu_model_copies(const struct cpu_model *model);

/* Channels of a block in a tensor's layout (1: plain), and that layout's name; false: a layout we have no name for. */
bool cpu_find_block(struct cpu_model *model, int tensor, int *block, enum cpu_layout *layout);

/* Layer l's output has the layout of its input. */
void cpu_keep_layout(struct cpu_model *model, int l);

/* Makes room for `bytes` in a layer's scratch of a pass; gives the offset. */
size_t cpu_take_scratch(struct cpu_layer *layer, enum sp_pass pass, size_t bytes);
/* Makes room for the largest scratchpad of `op` in a pass; scratchpads lie at offset 0, so take them before copies. */
void cpu_take_scratchpad(struct cpu_layer *layer, enum sp_pass pass, const struct cpu_op *op);

/* Compiles a copy from one layout to another, if they differ, whose result (or, `from_scratch`, source) lies in
 * scratch. */
sp_status cpu_copy_compile(struct cpu_model *model, struct cpu_layer *layer, enum sp_pass pass,
                           const struct cpu_md *from, const struct cpu_md *to, bool from_scratch, struct cpu_copy *out,
                           struct sp_error *err);
bool cpu_copy_is_set(const struct cpu_copy *copy);
/* Runs it; into or out of scratch. Without a copy the tensor itself is returned. */
sp_status cpu_copy_in(struct cpu_model *model, struct cpu_copy *copy, const void *from, const struct exec_io *io,
                      const void **out, struct sp_error *err);
void *cpu_copy_source(const struct cpu_copy *copy, void *to, const struct exec_io *io);
sp_status cpu_copy_out(struct cpu_model *model, struct cpu_copy *copy, void *to, const struct exec_io *io,
                       struct sp_error *err);

#endif
