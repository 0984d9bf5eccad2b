/*
 * Descriptions of primitives in oneDNN 2: an operation is described first, the primitive's description made from that.
 */
#include "exec/cpu/onednn_versions.h"

#if !VERSION_3

static sp_status describe_with(struct cpu_library *library, const void *operation, const_dnnl_primitive_desc_t hint,
                               const_dnnl_primitive_attr_t attributes, dnnl_primitive_desc_t *out, struct sp_error *err)
{
    TRY(dnnl_primitive_desc_create(out, operation, attributes, library->engine, hint));
    return SP_OK;
}

static sp_status describe(struct cpu_library *library, const void *operation, const_dnnl_primitive_desc_t hint,
                          dnnl_primitive_desc_t *out, struct sp_error *err)
{
    return describe_with(library, operation, hint, library->attributes, out, err);
}

sp_status cpu_convolution_forward(struct cpu_library *library, bool training, const struct cpu_md *src,
                                  const struct cpu_md *weights, const struct cpu_md *bias, const struct cpu_md *dst,
                                  struct cpu_window window, dnnl_primitive_desc_t *out, struct sp_error *err)
{
    struct geometry g = geometry_of(window);
    dnnl_convolution_desc_t d;
    TRY(dnnl_convolution_forward_desc_init(&d, kind_of(training), algorithm_of(window), RAW(src), RAW(weights),
                                           RAW(bias), RAW(dst), g.strides, g.padding, g.padding));
    return describe_with(library, &d, NULL, attributes_for(library, window.relu), out, err);
}

sp_status cpu_convolution_backward_data(struct cpu_library *library, const_dnnl_primitive_desc_t hint,
                                        const struct cpu_md *diff_src, const struct cpu_md *weights,
                                        const struct cpu_md *diff_dst, struct cpu_window window,
                                        dnnl_primitive_desc_t *out, struct sp_error *err)
{
    struct geometry g = geometry_of(window);
    dnnl_convolution_desc_t d;
    TRY(dnnl_convolution_backward_data_desc_init(&d, algorithm_of(window), RAW(diff_src), RAW(weights), RAW(diff_dst),
                                                 g.strides, g.padding, g.padding));
    return describe(library, &d, hint, out, err);
}

sp_status cpu_convolution_backward_weights(struct cpu_library *library, const_dnnl_primitive_desc_t hint,
                                           const struct cpu_md *src, const struct cpu_md *diff_weights,
                                           const struct cpu_md *diff_bias, const struct cpu_md *diff_dst,
                                           struct cpu_window window, dnnl_primitive_desc_t *out, struct sp_error *err)
{
    struct geometry g = geometry_of(window);
    dnnl_convolution_desc_t d;
    TRY(dnnl_convolution_backward_weights_desc_init(&d, algorithm_of(window), RAW(src), RAW(diff_weights),
                                                    RAW(diff_bias), RAW(diff_dst), g.strides, g.padding, g.padding));
    return describe(library, &d, hint, out, err);
}

sp_status cpu_inner_product_forward(struct cpu_library *library, bool training, const struct cpu_md *src,
                                    const struct cpu_md *weights, const struct cpu_md *bias, const struct cpu_md *dst,
                                    bool relu, dnnl_primitive_desc_t *out, struct sp_error *err)
{
    dnnl_inner_product_desc_t d;
    TRY(dnnl_inner_product_forward_desc_init(&d, kind_of(training), RAW(src), RAW(weights), RAW(bias), RAW(dst)));
    return describe_with(library, &d, NULL, attributes_for(library, relu), out, err);
}

sp_status cpu_inner_product_backward_data(struct cpu_library *library, const_dnnl_primitive_desc_t hint,
                                          const struct cpu_md *diff_src, const struct cpu_md *weights,
                                          const struct cpu_md *diff_dst, dnnl_primitive_desc_t *out,
                                          struct sp_error *err)
{
    dnnl_inner_product_desc_t d;
    TRY(dnnl_inner_product_backward_data_desc_init(&d, RAW(diff_src), RAW(weights), RAW(diff_dst)));
    return describe(library, &d, hint, out, err);
}

sp_status cpu_inner_product_backward_weights(struct cpu_library *library, const_dnnl_primitive_desc_t hint,
                                             const struct cpu_md *src, const struct cpu_md *diff_weights,
                                             const struct cpu_md *diff_bias, const struct cpu_md *diff_dst,
                                             dnnl_primitive_desc_t *out, struct sp_error *err)
{
    dnnl_inner_product_desc_t d;
    TRY(dnnl_inner_product_backward_weights_desc_init(&d, RAW(src), RAW(diff_weights), RAW(diff_bias), RAW(diff_dst)));
    return describe(library, &d, hint, out, err);
}

sp_status cpu_matmul(struct cpu_library *library, const struct cpu_md *a, const struct cpu_md *b,
                     const struct cpu_md *bias, const struct cpu_md *c, bool relu, dnnl_primitive_desc_t *out,
                     struct sp_error *err)
{
    dnnl_matmul_desc_t d;
    TRY(dnnl_matmul_desc_init(&d, RAW(a), RAW(b), RAW(bias), RAW(c)));
    return describe_with(library, &d, NULL, attributes_for(library, relu), out, err);
}

sp_status cpu_batch_norm_forward(struct cpu_library *library, bool training, bool relu, const struct cpu_md *data,
                                 float epsilon, dnnl_primitive_desc_t *out, struct sp_error *err)
{
    dnnl_batch_normalization_desc_t d;
    unsigned flags = norm_flags(relu) | (training ? 0u : dnnl_use_global_stats);
    TRY(dnnl_batch_normalization_forward_desc_init(&d, kind_of(training), RAW(data), epsilon, flags));
    return describe(library, &d, NULL, out, err);
}

sp_status cpu_batch_norm_backward(struct cpu_library *library, const_dnnl_primitive_desc_t hint, bool relu,
                                  const struct cpu_md *data, float epsilon, dnnl_primitive_desc_t *out,
                                  struct sp_error *err)
{
    dnnl_batch_normalization_desc_t d;
    TRY(dnnl_batch_normalization_backward_desc_init(&d, dnnl_backward, RAW(data), RAW(data), epsilon,
                                                    norm_flags(relu)));
    return describe(library, &d, hint, out, err);
}

sp_status cpu_relu_forward(struct cpu_library *library, const struct cpu_md *data, dnnl_primitive_desc_t *out,
                           struct sp_error *err)
{
    dnnl_eltwise_desc_t d;
    TRY(dnnl_eltwise_forward_desc_init(&d, dnnl_forward_training, dnnl_eltwise_relu_use_dst_for_bwd, RAW(data), 0, 0));
    return describe(library, &d, NULL, out, err);
}

sp_status cpu_relu_backward(struct cpu_library *library, const_dnnl_primitive_desc_t hint, const struct cpu_md *data,
                            dnnl_primitive_desc_t *out, struct sp_error *err)
{
    dnnl_eltwise_desc_t d;
    TRY(dnnl_eltwise_backward_desc_init(&d, dnnl_eltwise_relu_use_dst_for_bwd, RAW(data), RAW(data), 0, 0));
    return describe(library, &d, hint, out, err);
}

sp_status cpu_pool_forward(struct cpu_library *library, bool training, bool max, const struct cpu_md *src,
                           const struct cpu_md *dst, struct cpu_window window, dnnl_primitive_desc_t *out,
                           struct sp_error *err)
{
    struct geometry g = geometry_of(window);
    dnnl_pooling_desc_t d;
    TRY(dnnl_pooling_forward_desc_init(&d, kind_of(training), pool_kind(max), RAW(src), RAW(dst), g.strides, g.kernel,
                                       g.padding, g.padding));
    return describe(library, &d, NULL, out, err);
}

sp_status cpu_pool_backward(struct cpu_library *library, const_dnnl_primitive_desc_t hint, bool max,
                            const struct cpu_md *diff_src, const struct cpu_md *diff_dst, struct cpu_window window,
                            dnnl_primitive_desc_t *out, struct sp_error *err)
{
    struct geometry g = geometry_of(window);
    dnnl_pooling_desc_t d;
    TRY(dnnl_pooling_backward_desc_init(&d, pool_kind(max), RAW(diff_src), RAW(diff_dst), g.strides, g.kernel,
                                        g.padding, g.padding));
    return describe(library, &d, hint, out, err);
}

sp_status cpu_lrn_forward(struct cpu_library *library, bool training, const struct cpu_md *data, struct cpu_lrn lrn,
                          dnnl_primitive_desc_t *out, struct sp_error *err)
{
    dnnl_lrn_desc_t d;
    TRY(dnnl_lrn_forward_desc_init(&d, kind_of(training), dnnl_lrn_across_channels, RAW(data), lrn.size, lrn.alpha,
                                   lrn.beta, lrn.k));
    return describe(library, &d, NULL, out, err);
}

sp_status cpu_lrn_backward(struct cpu_library *library, const_dnnl_primitive_desc_t hint, const struct cpu_md *data,
                           struct cpu_lrn lrn, dnnl_primitive_desc_t *out, struct sp_error *err)
{
    dnnl_lrn_desc_t d;
    TRY(dnnl_lrn_backward_desc_init(&d, dnnl_lrn_across_channels, RAW(data), RAW(data), lrn.size, lrn.alpha, lrn.beta,
                                    lrn.k));
    return describe(library, &d, hint, out, err);
}

#endif
