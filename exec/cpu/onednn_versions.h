/*
 * onednn_versions.h - what describing a primitive needs, in oneDNN 2 (onednn_2.c) and 3 (onednn_3.c). Internal to
 * exec/cpu/onednn*.c.
 */
#ifndef EXEC_CPU_ONEDNN_VERSIONS_H
#define EXEC_CPU_ONEDNN_VERSIONS_H

#include "exec/cpu/onednn.h"

#define VERSION_3 (DNNL_VERSION_MAJOR >= 3)

#if VERSION_3
#define RAW(md) ((md) != NULL ? (md)->raw : NULL)
#else
#define RAW(md) ((md) != NULL ? &(md)->raw : NULL)
#endif

const char *cpu_word_of(dnnl_status_t status);

#define TRY(call)                                                                                                      \
    do {                                                                                                               \
        dnnl_status_t try_status = (call);                                                                             \
        if (try_status != dnnl_success)                                                                                \
            return SP_FAIL(err, SP_E_BACKEND, "oneDNN: %s: %s", #call, cpu_word_of(try_status));                       \
    } while (0)

static inline dnnl_prop_kind_t kind_of(bool training)
{
    return training ? dnnl_forward_training : dnnl_forward_inference;
}

/* Strides and padding as the library wants them. */
struct geometry {
    dnnl_dims_t kernel, strides, dilates, padding;
};

static inline struct geometry geometry_of(struct cpu_window w)
{
    return (struct geometry){
        .kernel = {w.kernel_h, w.kernel_w}, .strides = {w.stride, w.stride}, .padding = {w.pad, w.pad}};
}

#define NORM_FLAGS (dnnl_use_scale | dnnl_use_shift)

static inline unsigned norm_flags(bool relu)
{
    return NORM_FLAGS | (relu ? dnnl_fuse_norm_relu : 0u);
}

static inline dnnl_alg_kind_t algorithm_of(struct cpu_window window)
{
    return window.algorithm == CPU_WINOGRAD ? dnnl_convolution_winograd : dnnl_convolution_direct;
}

static inline const_dnnl_primitive_attr_t attributes_for(const struct cpu_library *library, bool relu)
{
    return relu ? library->relu_attributes : library->attributes;
}

static inline dnnl_alg_kind_t pool_kind(bool max)
{
    return max ? dnnl_pooling_max : dnnl_pooling_avg_exclude_padding;
}

#endif
