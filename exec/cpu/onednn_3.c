/*
 * Descriptions of primitives in oneDNN 3.
 */
#include "exec/cpu/onednn_versions.h"

#if VERSION_3

sp_status cpu_convolution_forward(struct cpu_library *library, bool training, const struct cpu_md *src,
                                  const struct cpu_md *weights, const struct cpu_md *bias, const struct cpu_md *dst,
                                  struct cpu_window window, dnnl_primitive_desc_t *out, struct sp_error *err)
{
    struct geometry g = geometry_of(window);
    TRY(dnnl_convolution_forward_primitive_desc_create(
        out, library->engine, kind_of(training), algorithm_of(window), RAW(src), RAW(weights), RAW(bias), RAW(dst),
        g.strides, g.dilates, g.padding, g.padding, attributes_for(library, window.relu)));
    return SP_OK;
}

sp_status cpu_convolution_backward_data(struct cpu_library *library, const_dnnl_primitive_desc_t hint,
                                        const struct cpu_md *diff_src, const struct cpu_md *weights,
                                        const struct cpu_md *diff_dst, struct cpu_window window,
                                        dnnl_primitive_desc_t *out, struct sp_error *err)
{
    struct geometry g = geometry_of(window);
    TRY(dnnl_convolution_backward_data_primitive_desc_create(out, library->engine, algorithm_of(window), RAW(diff_src),
                                                             RAW(weights), RAW(diff_dst), g.strides, g.dilates,
                                                             g.padding, g.padding, hint, library->attributes));
    return SP_OK;
}

sp_status cpu_convolution_backward_weights(struct cpu_library *library, const_dnnl_primitive_desc_t hint,
                                           const struct cpu_md *src, const struct cpu_md *diff_weights,
                                           const struct cpu_md *diff_bias, const struct cpu_md *diff_dst,
                                           struct cpu_window window, dnnl_primitive_desc_t *out, struct sp_error *err)
{
    struct geometry g = geometry_of(window);
    TRY(dnnl_convolution_backward_weights_primitive_desc_create(
        out, library->engine, algorithm_of(window), RAW(src), RAW(diff_weights), RAW(diff_bias), RAW(diff_dst),
        g.strides, g.dilates, g.padding, g.padding, hint, library->attributes));
    return SP_OK;
}

sp_status cpu_inner_product_forward(struct cpu_library *library, bool training, const struct cpu_md *src,
                                    const struct cpu_md *weights, const struct cpu_md *bias, const struct cpu_md *dst,
                                    bool relu, dnnl_primitive_desc_t *out, struct sp_error *err)
{
    TRY(dnnl_inner_product_forward_primitive_desc_create(out, library->engine, kind_of(training), RAW(src),
                                                         RAW(weights), RAW(bias), RAW(dst),
                                                         attributes_for(library, relu)));
    return SP_OK;
}

sp_status cpu_inner_product_backward_data(struct cpu_library *library, const_dnnl_primitive_desc_t hint,
                                          const struct cpu_md *diff_src, const struct cpu_md *weights,
                                          const struct cpu_md *diff_dst, dnnl_primitive_desc_t *out,
                                          struct sp_error *err)
{
    TRY(dnnl_inner_product_backward_data_primitive_desc_create(out, library->engine, RAW(diff_src), RAW(weights),
                                                               RAW(diff_dst), hint, library->attributes));
    return SP_OK;
}

sp_status cpu_inner_product_backward_weights(struct cpu_library *library, const_dnnl_primitive_desc_t hint,
                                             const struct cpu_md *src, const struct cpu_md *diff_weights,
                                             const struct cpu_md *diff_bias, const struct cpu_md *diff_dst,
                                             dnnl_primitive_desc_t *out, struct sp_error *err)
{
    TRY(dnnl_inner_product_backward_weights_primitive_desc_create(
        out, library->engine, RAW(src), RAW(diff_weights), RAW(diff_bias), RAW(diff_dst), hint, library->attributes));
    return SP_OK;
}

sp_status cpu_matmul(struct cpu_library *library, const struct cpu_md *a, const struct cpu_md *b,
                     const struct cpu_md *bias, const struct cpu_md *c, bool relu, dnnl_primitive_desc_t *out,
                     struct sp_error *err)
{
    TRY(dnnl_matmul_primitive_desc_create(out, library->engine, RAW(a), RAW(b), RAW(bias), RAW(c),
                                          attributes_for(library, relu)));
    return SP_OK;
}

sp_status cpu_batch_norm_forward(struct cpu_library *library, bool training, bool relu, const struct cpu_md *data,
                                 float epsilon, dnnl_primitive_desc_t *out, struct sp_error *err)
{
    unsigned flags = norm_flags(relu) | (training ? 0u : dnnl_use_global_stats);
    TRY(dnnl_batch_normalization_forward_primitive_desc_create(out, library->engine, kind_of(training), RAW(data),
                                                               RAW(data), epsilon, flags, library->attributes));
    return SP_OK;
}

sp_status cpu_batch_norm_backward(struct cpu_library *library, const_dnnl_primitive_desc_t hint, bool relu,
                                  const struct cpu_md *data, float epsilon, dnnl_primitive_desc_t *out,
                                  struct sp_error *err)
{
    TRY(dnnl_batch_normalization_backward_primitive_desc_create(out, library->engine, dnnl_backward, RAW(data),
                                                                RAW(data), RAW(data), epsilon, norm_flags(relu), hint,
                                                                library->attributes));
    return SP_OK;
}

sp_status cpu_relu_forward(struct cpu_library *library, const struct cpu_md *data, dnnl_primitive_desc_t *out,
                           struct sp_error *err)
{
    TRY(dnnl_eltwise_forward_primitive_desc_create(out, library->engine, dnnl_forward_training,
                                                   dnnl_eltwise_relu_use_dst_for_bwd, RAW(data), RAW(data), 0, 0,
                                                   library->attributes));
    return SP_OK;
}

sp_status cpu_relu_backward(struct cpu_library *library, const_dnnl_primitive_desc_t hint, const struct cpu_md *data,
                            dnnl_primitive_desc_t *out, struct sp_error *err)
{
    TRY(dnnl_eltwise_backward_primitive_desc_create(out, library->engine, dnnl_eltwise_relu_use_dst_for_bwd, RAW(data),
                                                    RAW(data), RAW(data), 0, 0, hint, library->attributes));
    return SP_OK;
}

sp_status cpu_pool_forward(struct cpu_library *library, bool training, bool max, const struct cpu_md *src,
                           const struct cpu_md *dst, struct cpu_window window, dnnl_primitive_desc_t *out,
                           struct sp_error *err)
{
    struct geometry g = geometry_of(window);
    TRY(dnnl_pooling_forward_primitive_desc_create(out, library->engine, kind_of(training), pool_kind(max), RAW(src),
                                                   RAW(dst), g.strides, g.kernel, g.dilates, g.padding, g.padding,
                                                   library->attributes));
    return SP_OK;
}

sp_status cpu_pool_backward(struct cpu_library *library, const_dnnl_primitive_desc_t hint, bool max,
                            const struct cpu_md *diff_src, const struct cpu_md *diff_dst, struct cpu_window window,
                            dnnl_primitive_desc_t *out, struct sp_error *err)
{
    struct geometry g = geometry_of(window);
    TRY(dnnl_pooling_backward_primitive_desc_create(out, library->engine, pool_kind(max), RAW(diff_src), RAW(diff_dst),
                                                    g.strides, g.kernel, g.dilates, g.padding, g.padding, hint,
                                                    library->attributes));
    return SP_OK;
}

sp_status cpu_lrn_forward(struct cpu_library *library, bool training, const struct cpu_md *data, struct cpu_lrn lrn,
                          dnnl_primitive_desc_t *out, struct sp_error *err)
{
    TRY(dnnl_lrn_forward_primitive_desc_create(out, library->engine, kind_of(training), dnnl_lrn_across_channels,
                                               RAW(data), RAW(data), lrn.size, lrn.alpha, lrn.beta, lrn.k,
                                               library->attributes));
    return SP_OK;
}

sp_status cpu_lrn_backward(struct cpu_library *library, const_dnnl_primitive_desc_t hint, const struct cpu_md *data,
                           struct cpu_lrn lrn, dnnl_primitive_desc_t *out, struct sp_error *err)
{
    TRY(dnnl_lrn_backward_primitive_desc_create(out, library->engine, dnnl_lrn_across_channels, RAW(data), RAW(data),
                                                RAW(data), lrn.size, lrn.alpha, lrn.beta, lrn.k, hint,
                                                library->attributes));
    return SP_OK;
}

#endif
