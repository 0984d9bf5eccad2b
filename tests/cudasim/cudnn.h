/*
 * cudnn.h - cuDNN's tensors as the stand-in's loops see them: float, four dimensions, any strides, so that NCHW and
 * NHWC are the same code. The descriptors are the real ones of libcudnn and are read when a call is made.
 */
#ifndef CUDASIM_CUDNN_H
#define CUDASIM_CUDNN_H

#include "tests/cudasim/handle.h"
#include "tests/cudasim/round.h"

#include <cudnn.h>

struct cudnnContext {
    struct cudasim_handle base;
};

struct cudasim_tensor {
    int size[4];       /* N, C, H, W; a filter: K, C, R, S */
    int64_t stride[4]; /* in elements */
    float *x;          /* where the values are; for inputs, too, to have one type */
};

static inline float *cudasim_at(const struct cudasim_tensor *t, int n, int c, int h, int w)
{
    return t->x + n * t->stride[0] + c * t->stride[1] + h * t->stride[2] + w * t->stride[3];
}

/* Begins an operation of a call of cuDNN; always inlined so that reports show that call. */
static inline __attribute__((always_inline)) struct cudasim_op *cudasim_cudnn_begin(cudnnHandle_t handle, int code,
                                                                                    size_t bytes, void (*run)(void *))
{
    return cudasim_handle_begin((struct cudasim_handle *)handle, code, bytes, run, CUDNN_STATUS_BAD_PARAM);
}
#define CUDASIM_CUDNN_BEGIN(handle, type, run)                                                                         \
    cudasim_cudnn_begin(handle, CUDASIM_ENTER(CUDASIM_CUDNN), sizeof(type), run)

/* Reads a descriptor. False, and a fault, when it is not one of four dimensions of float. */
bool cudasim_tensor_read(struct cudasim_op *op, cudnnTensorDescriptor_t descriptor, struct cudasim_tensor *tensor,
                         const char *what);
bool cudasim_filter_read(struct cudasim_op *op, cudnnFilterDescriptor_t descriptor, struct cudasim_tensor *tensor,
                         const char *what);
/* Reads a descriptor and translates the pointer to its values. */
void cudasim_tensor(struct cudasim_op *op, cudnnTensorDescriptor_t descriptor, const void *x,
                    enum cudasim_access access, struct cudasim_tensor *tensor, const char *what);
void cudasim_filter(struct cudasim_op *op, cudnnFilterDescriptor_t descriptor, const void *x,
                    enum cudasim_access access, struct cudasim_tensor *tensor, const char *what);
/* A fault unless both have the same sizes. */
void cudasim_same_size(struct cudasim_op *op, const struct cudasim_tensor *a, const char *a_name,
                       const struct cudasim_tensor *b, const char *b_name);
/* A fault unless the sizes are these. */
void cudasim_sizes(struct cudasim_op *op, const struct cudasim_tensor *tensor, const char *what, int n, int c, int h,
                   int w);

/* What an output with this beta is: written, or updated. */
static inline enum cudasim_access cudasim_output(const void *beta)
{
    return *(const float *)beta == 0 ? CUDASIM_WRITE : CUDASIM_UPDATE;
}

#endif
