/*
 * onednn.h - the part of oneDNN that the backend uses, the same for versions 2 and 3, which describe memory and create
 * primitives differently. Only onednn*.c know the difference.
 *
 * Every call that fails gives SP_E_BACKEND with the call's name and the library's word. Descriptions and primitives
 * belong to the library object and go with it.
 */
#ifndef EXEC_CPU_ONEDNN_H
#define EXEC_CPU_ONEDNN_H

#include "common/error.h"

#include <oneapi/dnnl/dnnl.h>

#include <stddef.h>

struct cpu_library {
    dnnl_engine_t engine;
    dnnl_primitive_attr_t attributes;      /* scratchpads come from the caller */
    dnnl_primitive_attr_t relu_attributes; /* and a ReLU follows */
    void **descriptions;                   /* to be destroyed with it (version 3) */
    int description_count;
};

/* Shape and layout of a tensor. Copied freely. */
struct cpu_md {
    dnnl_memory_desc_t raw;
    bool set;
};

/* Blocked: nChw8c, nChw16c; channels last: nhwc. These for 4 dimensions only. */
enum cpu_layout { CPU_ANY, CPU_PLAIN, CPU_BLOCKED_8, CPU_BLOCKED_16, CPU_CHANNELS_LAST };

/* Whether the library computes with vectors of 512 bits here. */
bool cpu_has_512_bits(void);

sp_status cpu_library_create(struct cpu_library *library, struct sp_error *err);
void cpu_library_destroy(struct cpu_library *library);

sp_status cpu_md_make(struct cpu_library *library, const dnnl_dim_t *dims, int count, enum cpu_layout layout,
                      struct cpu_md *out, struct sp_error *err);
/* A matrix whose elements (i, j) lie at i * row_stride + j * column_stride. */
sp_status cpu_md_matrix(struct cpu_library *library, int64_t rows, int64_t columns, int64_t row_stride,
                        int64_t column_stride, struct cpu_md *out, struct sp_error *err);
size_t cpu_md_bytes(const struct cpu_md *md);
bool cpu_md_same(const struct cpu_md *a, const struct cpu_md *b);

enum cpu_algorithm { CPU_DIRECT, CPU_WINOGRAD };

/* Descriptions of primitives. NULL bias: none. A windowed operation takes kernel from its descriptions. */
struct cpu_window {
    int kernel_h, kernel_w, stride, pad;
    enum cpu_algorithm algorithm; /* convolutions */
    bool relu;                    /* forward convolutions: followed by a ReLU */
};

sp_status cpu_convolution_forward(struct cpu_library *library, bool training, const struct cpu_md *src,
                                  const struct cpu_md *weights, const struct cpu_md *bias, const struct cpu_md *dst,
                                  struct cpu_window window, dnnl_primitive_desc_t *out, struct sp_error *err);
sp_status cpu_convolution_backward_data(struct cpu_library *library, const_dnnl_primitive_desc_t hint,
                                        const struct cpu_md *diff_src, const struct cpu_md *weights,
                                        const struct cpu_md *diff_dst, struct cpu_window window,
                                        dnnl_primitive_desc_t *out, struct sp_error *err);
sp_status cpu_convolution_backward_weights(struct cpu_library *library, const_dnnl_primitive_desc_t hint,
                                           const struct cpu_md *src, const struct cpu_md *diff_weights,
                                           const struct cpu_md *diff_bias, const struct cpu_md *diff_dst,
                                           struct cpu_window window, dnnl_primitive_desc_t *out, struct sp_error *err);
sp_status cpu_inner_product_forward(struct cpu_library *library, bool training, const struct cpu_md *src,
                                    const struct cpu_md *weights, const struct cpu_md *bias, const struct cpu_md *dst,
                                    bool relu, dnnl_primitive_desc_t *out, struct sp_error *err);
sp_status cpu_inner_product_backward_data(struct cpu_library *library, const_dnnl_primitive_desc_t hint,
                                          const struct cpu_md *diff_src, const struct cpu_md *weights,
                                          const struct cpu_md *diff_dst, dnnl_primitive_desc_t *out,
                                          struct sp_error *err);
sp_status cpu_inner_product_backward_weights(struct cpu_library *library, const_dnnl_primitive_desc_t hint,
                                             const struct cpu_md *src, const struct cpu_md *diff_weights,
                                             const struct cpu_md *diff_bias, const struct cpu_md *diff_dst,
                                             dnnl_primitive_desc_t *out, struct sp_error *err);
/* c = a b + bias (1, columns), in that order of the matrices. */
sp_status cpu_matmul(struct cpu_library *library, const struct cpu_md *a, const struct cpu_md *b,
                     const struct cpu_md *bias, const struct cpu_md *c, bool relu, dnnl_primitive_desc_t *out,
                     struct sp_error *err);
/* `relu`: followed by one; in training it leaves a workspace for the backward pass. */
sp_status cpu_batch_norm_forward(struct cpu_library *library, bool training, bool relu, const struct cpu_md *data,
                                 float epsilon, dnnl_primitive_desc_t *out, struct sp_error *err);
sp_status cpu_batch_norm_backward(struct cpu_library *library, const_dnnl_primitive_desc_t hint, bool relu,
                                  const struct cpu_md *data, float epsilon, dnnl_primitive_desc_t *out,
                                  struct sp_error *err);
/* Version 2 insists on the shift as an argument of batch norm's backward, which does not read it; version 3 refuses it.
 */
bool cpu_batch_norm_backward_takes_shift(void);

sp_status cpu_relu_forward(struct cpu_library *library, const struct cpu_md *data, dnnl_primitive_desc_t *out,
                           struct sp_error *err);
sp_status cpu_relu_backward(struct cpu_library *library, const_dnnl_primitive_desc_t hint, const struct cpu_md *data,
                            dnnl_primitive_desc_t *out, struct sp_error *err);
sp_status cpu_pool_forward(struct cpu_library *library, bool training, bool max, const struct cpu_md *src,
                           const struct cpu_md *dst, struct cpu_window window, dnnl_primitive_desc_t *out,
                           struct sp_error *err);
sp_status cpu_pool_backward(struct cpu_library *library, const_dnnl_primitive_desc_t hint, bool max,
                            const struct cpu_md *diff_src, const struct cpu_md *diff_dst, struct cpu_window window,
                            dnnl_primitive_desc_t *out, struct sp_error *err);
struct cpu_lrn {
    int size;
    float alpha, beta, k;
};
sp_status cpu_lrn_forward(struct cpu_library *library, bool training, const struct cpu_md *data, struct cpu_lrn lrn,
                          dnnl_primitive_desc_t *out, struct sp_error *err);
sp_status cpu_lrn_backward(struct cpu_library *library, const_dnnl_primitive_desc_t hint, const struct cpu_md *data,
                           struct cpu_lrn lrn, dnnl_primitive_desc_t *out, struct sp_error *err);
sp_status cpu_reorder(struct cpu_library *library, const struct cpu_md *from, const struct cpu_md *to,
                      dnnl_primitive_desc_t *out, struct sp_error *err);

/* What a description settled on. `what` is a dnnl_query_…_md; the layout may be absent (workspace): then out->set is
 * false. */
sp_status cpu_pd_md(struct cpu_library *library, const_dnnl_primitive_desc_t pd, dnnl_query_t what, struct cpu_md *out,
                    struct sp_error *err);
size_t cpu_pd_scratchpad(const_dnnl_primitive_desc_t pd);
const char *cpu_pd_implementation(const_dnnl_primitive_desc_t pd);

/*
 * A primitive with its arguments. Memory objects are made once for each address an argument is seen at (the slots of a
 * run) and kept, so a run allocates nothing after its first cycle. One thread at a time.
 */
enum { CPU_ARGUMENTS = 12 };
struct cpu_argument {
    int id; /* DNNL_ARG_… */
    struct cpu_md md;
    struct {
        void *at;
        dnnl_memory_t memory;
    } * seen;
    int seen_count;
};
struct cpu_op {
    dnnl_primitive_t primitive;
    dnnl_stream_t stream;
    struct cpu_argument arguments[CPU_ARGUMENTS];
    int argument_count;
    size_t scratchpad_bytes;
};

/* Takes over `pd` (destroys it). The scratchpad is added here. */
sp_status cpu_op_create(struct cpu_library *library, dnnl_primitive_desc_t pd, struct cpu_op *op, struct sp_error *err);
void cpu_op_destroy(struct cpu_op *op);
/* Declares the next argument; its address is at the same place in `addresses` of cpu_op_run. */
void cpu_op_argument(struct cpu_op *op, int id, const struct cpu_md *md);
/* The clock of both below: the calling thread's processor time where the library has one thread, else the wall's. */
double cpu_now_s(void);
/* Where the calling thread adds up the seconds that it is inside the library, for benchmarks; NULL: nowhere. */
extern _Thread_local double *cpu_library_seconds;

/* Seconds of one run on memory of its own: the best of a few, after one to warm up. */
sp_status cpu_op_time(struct cpu_library *library, struct cpu_op *op, double *seconds, struct sp_error *err);
bool cpu_op_is_set(const struct cpu_op *op);
sp_status cpu_op_run(struct cpu_library *library, struct cpu_op *op, void *const *addresses, void *scratchpad,
                     struct sp_error *err);

#endif
