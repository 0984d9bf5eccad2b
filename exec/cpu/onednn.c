/*
 * oneDNN of version 2 or 3: the library, descriptions of memory, and running a primitive.
 */
#include "exec/cpu/onednn_versions.h"
#include "common/alloc.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

const char *cpu_word_of(dnnl_status_t status)
{
    switch (status) {
    case dnnl_out_of_memory:
        return "out of memory";
    case dnnl_invalid_arguments:
        return "invalid arguments";
    case dnnl_unimplemented:
        return "not implemented";
    case dnnl_runtime_error:
        return "runtime error";
    default:
        return "failed";
    }
}

static sp_status append_relu(dnnl_primitive_attr_t attributes, struct sp_error *err)
{
    dnnl_post_ops_t operations;
    TRY(dnnl_post_ops_create(&operations));
#if VERSION_3
    dnnl_status_t status = dnnl_post_ops_append_eltwise(operations, dnnl_eltwise_relu, 0, 0);
#else
    dnnl_status_t status = dnnl_post_ops_append_eltwise(operations, 1, dnnl_eltwise_relu, 0, 0);
#endif
    if (status == dnnl_success)
        status = dnnl_primitive_attr_set_post_ops(attributes, operations);
    dnnl_post_ops_destroy(operations);
    TRY(status);
    return SP_OK;
}

sp_status cpu_library_create(struct cpu_library *library, struct sp_error *err)
{
    *library = (struct cpu_library){0};
    TRY(dnnl_engine_create(&library->engine, dnnl_cpu, 0));
    TRY(dnnl_primitive_attr_create(&library->attributes));
    TRY(dnnl_primitive_attr_set_scratchpad_mode(library->attributes, dnnl_scratchpad_mode_user));
    TRY(dnnl_primitive_attr_create(&library->relu_attributes));
    TRY(dnnl_primitive_attr_set_scratchpad_mode(library->relu_attributes, dnnl_scratchpad_mode_user));
    return append_relu(library->relu_attributes, err);
}

void cpu_library_destroy(struct cpu_library *library)
{
#if VERSION_3
    for (int d = 0; d < library->description_count; d++)
        dnnl_memory_desc_destroy(library->descriptions[d]);
#endif
    free(library->descriptions);
    if (library->attributes != NULL)
        dnnl_primitive_attr_destroy(library->attributes);
    if (library->relu_attributes != NULL)
        dnnl_primitive_attr_destroy(library->relu_attributes);
    if (library->engine != NULL)
        dnnl_engine_destroy(library->engine);
    *library = (struct cpu_library){0};
}

#if VERSION_3

static void keep(struct cpu_library *library, dnnl_memory_desc_t raw)
{
    *(void **)sp_grow((void **)&library->descriptions, library->description_count, sizeof(void *)) = raw;
    library->description_count++;
}

static dnnl_status_t make_md(struct cpu_library *library, struct cpu_md *out, const dnnl_dim_t *dims, int count,
                             dnnl_format_tag_t tag)
{
    dnnl_status_t status = dnnl_memory_desc_create_with_tag(&out->raw, count, dims, dnnl_f32, tag);
    if (status == dnnl_success)
        keep(library, out->raw);
    return status;
}

static dnnl_status_t make_strided_md(struct cpu_library *library, struct cpu_md *out, const dnnl_dim_t *dims,
                                     const dnnl_dim_t *strides)
{
    dnnl_status_t status = dnnl_memory_desc_create_with_strides(&out->raw, 2, dims, dnnl_f32, strides);
    if (status == dnnl_success)
        keep(library, out->raw);
    return status;
}

static dnnl_status_t copy_md(struct cpu_library *library, struct cpu_md *out, const_dnnl_memory_desc_t from)
{
    dnnl_status_t status = dnnl_memory_desc_clone(&out->raw, from);
    if (status == dnnl_success)
        keep(library, out->raw);
    return status;
}

size_t cpu_md_bytes(const struct cpu_md *md)
{
    return dnnl_memory_desc_get_size(md->raw);
}

bool cpu_md_same(const struct cpu_md *a, const struct cpu_md *b)
{
    return dnnl_memory_desc_equal(a->raw, b->raw);
}

static bool is_empty(const_dnnl_memory_desc_t md)
{
    return md == NULL || dnnl_memory_desc_get_size(md) == 0;
}

#define MEMORY_DESC(md) ((md)->raw)

#else

static dnnl_status_t make_md(struct cpu_library *library, struct cpu_md *out, const dnnl_dim_t *dims, int count,
                             dnnl_format_tag_t tag)
{
    (void)library;
    return dnnl_memory_desc_init_by_tag(&out->raw, count, dims, dnnl_f32, tag);
}

static dnnl_status_t make_strided_md(struct cpu_library *library, struct cpu_md *out, const dnnl_dim_t *dims,
                                     const dnnl_dim_t *strides)
{
    (void)library;
    return dnnl_memory_desc_init_by_strides(&out->raw, 2, dims, dnnl_f32, strides);
}

static dnnl_status_t copy_md(struct cpu_library *library, struct cpu_md *out, const dnnl_memory_desc_t *from)
{
    (void)library;
    out->raw = *from;
    return dnnl_success;
}

size_t cpu_md_bytes(const struct cpu_md *md)
{
    return dnnl_memory_desc_get_size(&md->raw);
}

bool cpu_md_same(const struct cpu_md *a, const struct cpu_md *b)
{
    return dnnl_memory_desc_equal(&a->raw, &b->raw);
}

static bool is_empty(const dnnl_memory_desc_t *md)
{
    return md == NULL || dnnl_memory_desc_get_size(md) == 0;
}

#define MEMORY_DESC(md) (&(md)->raw)

#endif

bool cpu_has_512_bits(void)
{
    return (dnnl_get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core) == dnnl_cpu_isa_avx512_core;
}

bool cpu_batch_norm_backward_takes_shift(void)
{
    return !VERSION_3;
}

sp_status cpu_md_make(struct cpu_library *library, const dnnl_dim_t *dims, int count, enum cpu_layout layout,
                      struct cpu_md *out, struct sp_error *err)
{
    static const dnnl_format_tag_t plain[] = {dnnl_format_tag_undef, dnnl_a, dnnl_ab, dnnl_abc, dnnl_abcd};
    dnnl_format_tag_t tag = layout == CPU_ANY          ? dnnl_format_tag_any
                            : layout == CPU_PLAIN      ? plain[count]
                            : layout == CPU_BLOCKED_8  ? dnnl_nChw8c
                            : layout == CPU_BLOCKED_16 ? dnnl_nChw16c
                                                       : dnnl_nhwc;
    out->set = true;
    TRY(make_md(library, out, dims, count, tag));
    return SP_OK;
}

sp_status cpu_md_matrix(struct cpu_library *library, int64_t rows, int64_t columns, int64_t row_stride,
                        int64_t column_stride, struct cpu_md *out, struct sp_error *err)
{
    const dnnl_dims_t dims = {rows, columns}, strides = {row_stride, column_stride}; /* as long as the library reads */
    out->set = true;
    TRY(make_strided_md(library, out, dims, strides));
    return SP_OK;
}

sp_status cpu_pd_md(struct cpu_library *library, const_dnnl_primitive_desc_t pd, dnnl_query_t what, struct cpu_md *out,
                    struct sp_error *err)
{
    *out = (struct cpu_md){0};
    if (is_empty(dnnl_primitive_desc_query_md(pd, what, 0)))
        return SP_OK;
    TRY(copy_md(library, out, dnnl_primitive_desc_query_md(pd, what, 0)));
    out->set = true;
    return SP_OK;
}

size_t cpu_pd_scratchpad(const_dnnl_primitive_desc_t pd)
{
    return is_empty(dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0))
               ? 0
               : dnnl_memory_desc_get_size(dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0));
}

const char *cpu_pd_implementation(const_dnnl_primitive_desc_t pd)
{
    const char *name = "";
    dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &name);
    return name;
}

sp_status cpu_reorder(struct cpu_library *library, const struct cpu_md *from, const struct cpu_md *to,
                      dnnl_primitive_desc_t *out, struct sp_error *err)
{
    TRY(dnnl_reorder_primitive_desc_create(out, RAW(from), library->engine, RAW(to), library->engine,
                                           library->attributes));
    return SP_OK;
}

sp_status cpu_op_create(struct cpu_library *library, dnnl_primitive_desc_t pd, struct cpu_op *op, struct sp_error *err)
{
    *op = (struct cpu_op){.scratchpad_bytes = cpu_pd_scratchpad(pd)};
    if (op->scratchpad_bytes > 0) {
        op->arguments[0].id = DNNL_ARG_SCRATCHPAD;
        op->argument_count = 1;
        SP_TRY(cpu_pd_md(library, pd, dnnl_query_scratchpad_md, &op->arguments[0].md, err));
    }
    TRY(dnnl_stream_create(&op->stream, library->engine, dnnl_stream_in_order));
    dnnl_status_t status = dnnl_primitive_create(&op->primitive, pd);
    dnnl_primitive_desc_destroy(pd);
    if (status != dnnl_success)
        return SP_FAIL(err, SP_E_BACKEND, "oneDNN: dnnl_primitive_create: %s", cpu_word_of(status));
    return SP_OK;
}

void cpu_op_destroy(struct cpu_op *op)
{
    if (op->primitive == NULL && op->stream == NULL && op->argument_count == 0)
        return; /* most of a layer's are not there, and they are large */
    for (int a = 0; a < op->argument_count; a++) {
        for (int s = 0; s < op->arguments[a].seen_count; s++)
            dnnl_memory_destroy(op->arguments[a].seen[s].memory);
        free(op->arguments[a].seen);
    }
    if (op->primitive != NULL)
        dnnl_primitive_destroy(op->primitive);
    if (op->stream != NULL)
        dnnl_stream_destroy(op->stream);
    *op = (struct cpu_op){0};
}

bool cpu_op_is_set(const struct cpu_op *op)
{
    return op->primitive != NULL;
}

void cpu_op_argument(struct cpu_op *op, int id, const struct cpu_md *md)
{
    SP_ASSERT(op->argument_count < CPU_ARGUMENTS, "%d arguments", op->argument_count);
    op->arguments[op->argument_count].id = id;
    op->arguments[op->argument_count++].md = *md;
}

/* The memory object of that address. Setting the address of an existing object instead would make the library write the
 * padding of a tensor that another thread may be reading. */
static sp_status memory_at(struct cpu_library *library, struct cpu_argument *argument, void *at, dnnl_memory_t *out,
                           struct sp_error *err)
{
    for (int s = 0; s < argument->seen_count; s++)
        if (argument->seen[s].at == at) {
            *out = argument->seen[s].memory;
            return SP_OK;
        }
    TRY(dnnl_memory_create(out, MEMORY_DESC(&argument->md), library->engine, at));
    sp_grow((void **)&argument->seen, argument->seen_count, sizeof *argument->seen);
    argument->seen[argument->seen_count].at = at;
    argument->seen[argument->seen_count++].memory = *out;
    return SP_OK;
}

_Thread_local double *cpu_library_seconds;

/* The thread's own time: a core shared with others does not count theirs. With several threads of the library that
 * would leave out waiting for them. */
double cpu_now_s(void)
{
    struct timespec now;
    clock_gettime(omp_get_max_threads() == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

sp_status cpu_op_run(struct cpu_library *library, struct cpu_op *op, void *const *addresses, void *scratchpad,
                     struct sp_error *err)
{
    dnnl_exec_arg_t arguments[CPU_ARGUMENTS];
    int first = op->scratchpad_bytes > 0;
    for (int a = 0; a < op->argument_count; a++) {
        void *at = a < first ? scratchpad : addresses[a - first];
        arguments[a].arg = op->arguments[a].id;
        SP_TRY(memory_at(library, &op->arguments[a], at, &arguments[a].memory, err));
    }
    double start_s = cpu_library_seconds != NULL ? cpu_now_s() : 0;
    TRY(dnnl_primitive_execute(op->primitive, op->stream, op->argument_count, arguments));
    TRY(dnnl_stream_wait(op->stream));
    if (cpu_library_seconds != NULL)
        *cpu_library_seconds += cpu_now_s() - start_s;
    return SP_OK;
}

sp_status cpu_op_time(struct cpu_library *library, struct cpu_op *op, double *seconds, struct sp_error *err)
{
    enum { RUNS = 7 };
    void *memory[CPU_ARGUMENTS] = {0};
    int first = op->scratchpad_bytes > 0;
    sp_status status = SP_OK;
    *seconds = INFINITY;
    for (int a = 0; a < op->argument_count && status == SP_OK; a++) {
        size_t bytes = (cpu_md_bytes(&op->arguments[a].md) + 4095) / 4096 * 4096;
        memory[a] = aligned_alloc(4096, bytes);
        if (memory[a] == NULL)
            status = SP_FAIL(err, SP_E_MEMORY, "no memory to time a primitive: %zu bytes", bytes);
        else
            memset(memory[a], 0, bytes);
    }
    for (int r = 0; r < RUNS && status == SP_OK; r++) {
        double start_s = cpu_now_s();
        status = cpu_op_run(library, op, memory + first, memory[0], err);
        if (r > 0)
            *seconds = fmin(*seconds, cpu_now_s() - start_s);
    }
    for (int a = 0; a < op->argument_count; a++)
        free(memory[a]);
    return status;
}
