/*
 * The backend's table: models, sizes, and what works on whole blocks.
 */
#include "common/alloc.h"
#include "common/layer.h"
#include "exec/cuda/cuda.h"
#include "exec/cuda/kernels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int exec_cuda_chosen(struct exec_cuda_context *context, const char *key)
{
    size_t length = strlen(key);
    const char *lists[] = {context->choices, context->wanted};
    for (int n = 0; n < 2; n++)
        for (const char *line = lists[n]; line != NULL && *line != '\0';
             line = strchr(line, '\n') != NULL ? strchr(line, '\n') + 1 : NULL)
            if (strncmp(line, key, length) == 0 && line[length] == ':')
                return atoi(line + length + 1);
    return -1;
}

void exec_cuda_choose(struct exec_cuda_context *context, const char *key, int algorithm)
{
    char *line = sp_format("%s: %d\n", key, algorithm);
    if (strstr(context->choices, line) == NULL) {
        char *more = sp_format("%s%s", context->choices, line);
        free(context->choices);
        context->choices = more;
    }
    free(line);
}

static char *choices(const void *context)
{
    return sp_strdup(((const struct exec_cuda_context *)context)->choices);
}

static char *kind(const void *self)
{
    const struct exec_cuda_context *context = self;
    const struct exec_cuda_device *device = &context->devices[context->first_device];
    return sp_format("compute capability %d.%d, %d multiprocessors, cuDNN %zu", device->capability / 10,
                     device->capability % 10, device->processors, cudnnGetVersion());
}

/* By identity: numbers differ where a process may not see all GPUs, and parts of one GPU have identities of their own.
 */
static char *places(const void *self)
{
    const struct exec_cuda_context *context = self;
    char *text = sp_strdup("");
    for (int d = context->first_device; d < context->device_count; d++) {
        static const unsigned char unknown[16];
        const unsigned char *u = context->devices[d].identity;
        if (memcmp(u, unknown, sizeof unknown) == 0)
            continue;
        char *more =
            sp_format("%sGPU-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x\n", text, u[0], u[1],
                      u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]);
        free(text);
        text = more;
    }
    return text;
}

static const char *supports(const struct sp_layer *layer)
{
    const struct sp_layer_settings *s = &layer->settings;
    if (layer->type == SP_LAYER_MEASURED)
        return "it is measured, not computed";
    if (layer->type == SP_LAYER_LRN && (s->size > 16 || s->k < 1e-5f || s->beta < 0.01f))
        return "cuDNN takes windows of 1 to 16 channels, k from 1e-5 and beta from 0.01";
    return NULL;
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

static void model_destroy(void **out)
{
    struct exec_cuda_model *model = *out;
    if (model == NULL)
        return;
    for (int l = 0; l < model->network->layer_count; l++)
        exec_cuda_layer_destroy(&model->layers[l]);
    for (int t = 0; t < model->network->tensor_count; t++)
        if (model->tensors[t] != NULL)
            (void)cudnnDestroyTensorDescriptor(model->tensors[t]);
    free(model->layers);
    free(model->tensors);
    free(model);
    *out = NULL;
}

static sp_status create_parts(struct exec_cuda_model *model, struct sp_error *err)
{
    for (int t = 0; t < model->network->tensor_count; t++) {
        struct sp_shape shape = model->network->shapes[t];
        CUDNN_TRY(cudnnCreateTensorDescriptor(&model->tensors[t]));
        CUDNN_TRY(cudnnSetTensor4dDescriptor(model->tensors[t], EXEC_CUDA_LAYOUT, CUDNN_DATA_FLOAT, model->batch,
                                             shape.c, shape.h, shape.w));
    }
    for (int l = 0; l < model->network->layer_count; l++)
        SP_TRY(exec_cuda_layer_create(model, l, err));
    return SP_OK;
}

static sp_status model_create(void *context, const struct sp_network *network, int batch, const void *like, void **out,
                              struct sp_error *err)
{
    (void)like; /* parameters lie in plain order everywhere */
    struct exec_cuda_model *model = sp_calloc(1, sizeof *model);
    model->context = context;
    model->network = network;
    model->batch = batch;
    model->tensors = sp_calloc((size_t)network->tensor_count, sizeof(cudnnTensorDescriptor_t));
    model->layers = sp_calloc((size_t)network->layer_count, sizeof *model->layers);
    *out = model;
    sp_status status = create_parts(model, err);
    if (status != SP_OK)
        model_destroy(out);
    return status;
}

/* Sizes: plain, but for what is kept and for scratch. */

static size_t tensor_bytes(const void *self, int tensor, int batch)
{
    const struct sp_network *network = ((const struct exec_cuda_model *)self)->network;
    return sizeof(float) * (size_t)sp_shape_elements(network->shapes[tensor]) * (size_t)batch;
}

static size_t saved_bytes(const void *self, int layer, int batch)
{
    return exec_cuda_saved_bytes(&((const struct exec_cuda_model *)self)->network->layers[layer], batch);
}

static size_t parameter_bytes(const void *self, int layer, enum sp_parameter which)
{
    return sizeof(float) * (size_t)((const struct exec_cuda_model *)self)->network->layers[layer].parameters[which];
}

static size_t state_bytes(const void *self, int layer)
{
    return sizeof(float) * (size_t)((const struct exec_cuda_model *)self)->network->layers[layer].state;
}

static size_t scratch_bytes(const void *self, int layer, enum sp_pass pass, int batch)
{
    (void)batch;
    return ((const struct exec_cuda_model *)self)->layers[layer].scratch[pass];
}

static int keeps(const void *self, int layer)
{
    return exec_cuda_keeps(&((const struct exec_cuda_model *)self)->network->layers[layer]);
}

static struct sp_footprint footprint(const void *model)
{
    return (struct sp_footprint){
        .self = model,
        .tensor = tensor_bytes,
        .saved = saved_bytes,
        .parameter = parameter_bytes,
        .state = state_bytes,
        .scratch = scratch_bytes,
        .keeps = keeps,
    };
}

static sp_status run(void *model, int layer, enum sp_pass pass, const struct exec_io *io, struct sp_error *err)
{
    return exec_cuda_layer_run(model, layer, pass, io, err);
}

static sp_status add(void *self, void *to, int tensor, size_t bytes, void *sum, const void *addend,
                     struct sp_error *err)
{
    const struct exec_cuda_model *model = self;
    const struct exec_cuda_queue *queue = to;
    size_t all = tensor >= 0 ? tensor_bytes(model, tensor, model->batch) : bytes;
    CUDA_TRY(cudaSetDevice(queue->gpu));
    CUDA_TRY(exec_cuda_accumulate(sum, addend, all / sizeof(float), queue->stream));
    return SP_OK;
}

static sp_status update(void *context, void *to, const struct exec_parameters *p, const struct exec_sgd *sgd,
                        struct sp_error *err)
{
    (void)context;
    const struct exec_cuda_queue *queue = to;
    struct exec_cuda_step with = {sgd->lr, sgd->momentum, sgd->weight_decay, sgd->nesterov};
    CUDA_TRY(cudaSetDevice(queue->gpu));
    CUDA_TRY(
        exec_cuda_sgd(p->before, p->after, p->velocity, p->gradient, p->bytes / sizeof(float), with, queue->stream));
    return SP_OK;
}

static sp_status import_parameter(void *self, int layer, enum sp_parameter which, const float *plain, void *stored,
                                  struct sp_error *err)
{
    struct exec_cuda_model *model = self;
    return exec_cuda_copy(model->context, stored, plain, parameter_bytes(model, layer, which), err);
}

static sp_status export_parameter(void *self, int layer, enum sp_parameter which, const void *stored, float *plain,
                                  struct sp_error *err)
{
    struct exec_cuda_model *model = self;
    return exec_cuda_copy(model->context, plain, stored, parameter_bytes(model, layer, which), err);
}

static sp_status import_tensor(void *self, int tensor, const float *plain, void *stored, struct sp_error *err)
{
    struct exec_cuda_model *model = self;
    return exec_cuda_copy(model->context, stored, plain, tensor_bytes(model, tensor, model->batch), err);
}

static sp_status export_tensor(void *self, int tensor, const void *stored, float *plain, struct sp_error *err)
{
    struct exec_cuda_model *model = self;
    return exec_cuda_copy(model->context, plain, stored, tensor_bytes(model, tensor, model->batch), err);
}

const size_t exec_cuda_layout = EXEC_BACKEND_LAYOUT;

const struct exec_backend exec_cuda_backend = {
    .name = "cuda",
    .help = "NVIDIA GPUs, through cuDNN and cuBLAS",
    .shared_memory = false,
    .async = &exec_cuda_async,
    .create = exec_cuda_create,
    .destroy = exec_cuda_destroy,
    .choices = choices,
    .kind = kind,
    .places = places,
    .supports = supports,
    .bind = bind,
    .model_create = model_create,
    .model_destroy = model_destroy,
    .footprint = footprint,
    .run = run,
    .add = add,
    .update = update,
    .reserve = exec_cuda_reserve,
    .allocate = exec_cuda_allocate,
    .release = exec_cuda_release,
    .copy = exec_cuda_copy,
    .import_parameter = import_parameter,
    .export_parameter = export_parameter,
    .import_tensor = import_tensor,
    .export_tensor = export_tensor,
};
