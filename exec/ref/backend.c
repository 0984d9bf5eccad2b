#include "common/alloc.h"
#include "exec/math/sgd.h"
#include "exec/ref/ref.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

const struct exec_ref_op *const exec_ref_ops[SP_LAYER_TYPE_COUNT] = {
    [SP_LAYER_CONVOLUTION] = &exec_ref_convolution,
    [SP_LAYER_BATCH_NORM] = &exec_ref_batch_norm,
    [SP_LAYER_RELU] = &exec_ref_relu,
    [SP_LAYER_MAX_POOL] = &exec_ref_max_pool,
    [SP_LAYER_AVERAGE_POOL] = &exec_ref_average_pool,
    [SP_LAYER_GLOBAL_AVERAGE_POOL] = &exec_ref_global_average_pool,
    [SP_LAYER_LRN] = &exec_ref_lrn,
    [SP_LAYER_DROPOUT] = &exec_ref_dropout,
    [SP_LAYER_FULLY_CONNECTED] = &exec_ref_fully_connected,
    [SP_LAYER_ADD] = &exec_ref_add,
    [SP_LAYER_FLATTEN] = &exec_ref_flatten,
    [SP_LAYER_SOFTMAX_CROSS_ENTROPY] = &exec_ref_softmax_cross_entropy,
};

struct model {
    const struct sp_network *network;
    int batch;
};

static sp_status create(const struct exec_backend_config *config, void **context, struct sp_error *err)
{
    (void)config;
    (void)err;
    *context = NULL;
    return SP_OK;
}

static void destroy(void **context)
{
    *context = NULL;
}

static const char *supports(const struct sp_layer *layer)
{
    return exec_ref_ops[layer->type] != NULL ? NULL : "there is no plain implementation";
}

static sp_status bind(void *context, int first_core, int core_count, int threads, struct sp_error *err)
{
    (void)context;
    (void)first_core;
    (void)core_count;
    (void)threads;
    (void)err;
    return SP_OK;
}

static sp_status model_create(void *context, const struct sp_network *network, int batch, const void *like,
                              void **model, struct sp_error *err)
{
    (void)context;
    (void)like;
    (void)err;
    struct model *made = sp_calloc(1, sizeof *made);
    *made = (struct model){network, batch};
    *model = made;
    return SP_OK;
}

static void model_destroy(void **model)
{
    free(*model);
    *model = NULL;
}

static struct sp_footprint footprint(const void *model)
{
    return sp_footprint_plain(((const struct model *)model)->network);
}

static sp_status run(void *self, int layer, enum sp_pass pass, const struct exec_io *io, struct sp_error *err)
{
    (void)err;
    const struct model *model = self;
    const struct sp_layer *l = &model->network->layers[layer];
    struct sp_shape shapes[2] = {l->in};
    if (l->input_count > 1)
        shapes[1] = model->network->shapes[l->inputs[1]];
    const struct exec_ref_op *op = exec_ref_ops[l->type];
    if (pass == SP_PASS_FORWARD)
        op->forward(l, shapes, io);
    else if (pass == SP_PASS_EVALUATE)
        op->evaluate(l, shapes, io);
    else
        op->backward(l, shapes, io);
    return SP_OK;
}

static sp_status add(void *self, void *queue, int tensor, size_t bytes, void *sum, const void *addend,
                     struct sp_error *err)
{
    (void)queue;
    (void)err;
    const struct model *model = self;
    size_t count = bytes / sizeof(float);
    if (tensor >= 0)
        count = (size_t)sp_shape_elements(model->network->shapes[tensor]) * (size_t)model->batch;
    for (size_t i = 0; i < count; i++)
        ((float *)sum)[i] += ((const float *)addend)[i];
    return SP_OK;
}

sp_status exec_ref_update(void *context, void *queue, const struct exec_parameters *parameters,
                          const struct exec_sgd *sgd, struct sp_error *err)
{
    (void)context;
    (void)queue;
    (void)err;
    const float *w = parameters->before, *g = parameters->gradient;
    float *next = parameters->after, *v = parameters->velocity;
    for (size_t i = 0; i < parameters->bytes / sizeof(float); i++)
        next[i] = exec_sgd_one(w[i], &v[i], g[i], sgd->lr, sgd->momentum, sgd->weight_decay, sgd->nesterov);
    return SP_OK;
}

enum { HUGE_PAGE = 2 << 20 };

sp_status exec_ref_allocate(void *context, int device, size_t bytes, void **memory, struct sp_error *err)
{
    (void)device;
    (void)context;
    *memory = NULL;
    if (bytes == 0)
        return SP_OK;
    bool huge = bytes >= HUGE_PAGE;
    if (posix_memalign(memory, huge ? HUGE_PAGE : 4096, bytes) != 0)
        return SP_FAIL(err, SP_E_MEMORY, "cannot take %zu bytes", bytes);
    if (huge)
        (void)madvise(*memory, bytes, MADV_HUGEPAGE); /* fewer misses of the address cache, where the system agrees */
    memset(*memory, 0, bytes);
    return SP_OK;
}

void exec_ref_release(void *context, void *memory, size_t bytes)
{
    (void)context;
    (void)bytes;
    free(memory);
}

sp_status exec_ref_copy(void *context, void *to, const void *from, size_t bytes, struct sp_error *err)
{
    (void)context;
    (void)err;
    memcpy(to, from, bytes);
    return SP_OK;
}

static sp_status copy_parameter(const void *self, int layer, enum sp_parameter which, const void *from, void *to)
{
    const struct model *model = self;
    memcpy(to, from, sizeof(float) * (size_t)model->network->layers[layer].parameters[which]);
    return SP_OK;
}

static sp_status import_parameter(void *model, int layer, enum sp_parameter which, const float *plain, void *stored,
                                  struct sp_error *err)
{
    (void)err;
    return copy_parameter(model, layer, which, plain, stored);
}

static sp_status export_parameter(void *model, int layer, enum sp_parameter which, const void *stored, float *plain,
                                  struct sp_error *err)
{
    (void)err;
    return copy_parameter(model, layer, which, stored, plain);
}

static sp_status copy_tensor(const void *self, int tensor, const void *from, void *to)
{
    const struct model *model = self;
    memcpy(to, from, sizeof(float) * (size_t)sp_shape_elements(model->network->shapes[tensor]) * (size_t)model->batch);
    return SP_OK;
}

static sp_status import_tensor(void *model, int tensor, const float *plain, void *stored, struct sp_error *err)
{
    (void)err;
    return copy_tensor(model, tensor, plain, stored);
}

static sp_status export_tensor(void *model, int tensor, const void *stored, float *plain, struct sp_error *err)
{
    (void)err;
    return copy_tensor(model, tensor, stored, plain);
}

const struct exec_backend exec_ref_backend = {
    .name = "ref",
    .help = "plain C, slow and obvious",
    .shared_memory = true,
    .create = create,
    .destroy = destroy,
    .supports = supports,
    .bind = bind,
    .model_create = model_create,
    .model_destroy = model_destroy,
    .footprint = footprint,
    .run = run,
    .add = add,
    .update = exec_ref_update,
    .allocate = exec_ref_allocate,
    .release = exec_ref_release,
    .copy = exec_ref_copy,
    .import_parameter = import_parameter,
    .export_parameter = export_parameter,
    .import_tensor = import_tensor,
    .export_tensor = export_tensor,
};
