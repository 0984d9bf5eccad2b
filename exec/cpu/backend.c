#include "common/alloc.h"
#include "exec/cpu/cpu.h"
#include "exec/math/sgd.h"
#include "exec/ref/ref.h"

#include <omp.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

static const struct cpu_kind *const kinds[SP_LAYER_TYPE_COUNT] = {
    [SP_LAYER_CONVOLUTION] = &cpu_convolution,
    [SP_LAYER_BATCH_NORM] = &cpu_batch_norm,
    [SP_LAYER_RELU] = &cpu_relu,
    [SP_LAYER_MAX_POOL] = &cpu_max_pool,
    [SP_LAYER_AVERAGE_POOL] = &cpu_pool,
    [SP_LAYER_GLOBAL_AVERAGE_POOL] = &cpu_pool,
    [SP_LAYER_LRN] = &cpu_lrn,
    [SP_LAYER_DROPOUT] = &cpu_dropout,
    [SP_LAYER_FULLY_CONNECTED] = &cpu_fully_connected,
    [SP_LAYER_ADD] = &cpu_add,
    [SP_LAYER_FLATTEN] = &cpu_flatten,
    [SP_LAYER_SOFTMAX_CROSS_ENTROPY] = &cpu_plain,
};

/* The cores that the process was given, as they were before any thread was bound to some of them. */
static cpu_set_t given;

static void find_given(void)
{
    CPU_ZERO(&given);
    (void)sched_getaffinity(0, sizeof given, &given);
}

/* The library compiles for as many threads as it finds when it compiles, and some primitives (batch norm) are far
 * slower when fewer run them. */
static sp_status create(const struct exec_backend_config *config, void **out, struct sp_error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, find_given);
    omp_set_num_threads(config->threads);
    struct cpu_context *context = sp_calloc(1, sizeof *context);
    *out = context;
    context->convolution = config->convolution;
    context->separate = config->separate;
    context->choices_path = sp_strdup(config->choices_path);
    context->given = sp_strdup(config->choices);
    cpu_choices_machine(config->threads, context->machine);
    cpu_choices_load(config->choices_path);
    return cpu_library_create(&context->library, err);
}

static char *choices(const void *context)
{
    const char *used = ((const struct cpu_context *)context)->used;
    return sp_strdup(used != NULL ? used : "");
}

static void destroy(void **self)
{
    struct cpu_context *context = *self;
    if (context == NULL)
        return;
    cpu_library_destroy(&context->library);
    free(context->choices_path);
    free(context->given);
    free(context->used);
    free(context);
    *self = NULL;
}

static const char *supports(const struct sp_layer *layer)
{
    return kinds[layer->type] != NULL ? NULL : "it has no implementation";
}

/* Cores are counted among those the process was given; where these are too few, none is chosen. */
static sp_status bind(void *context, int first_core, int core_count, int threads, struct sp_error *err)
{
    (void)context;
    (void)err;
    cpu_set_t cores;
    omp_set_num_threads(threads);
    if (core_count == 0 || first_core + core_count > CPU_COUNT(&given))
        return SP_OK;
    CPU_ZERO(&cores);
    for (int c = 0, nth = 0; c < CPU_SETSIZE; c++) {
        if (!CPU_ISSET(c, &given))
            continue;
        if (nth >= first_core && nth < first_core + core_count)
            CPU_SET(c, &cores);
        nth++;
    }
    (void)pthread_setaffinity_np(pthread_self(), sizeof cores, &cores);
    return SP_OK;
}

/* What works on channels, rows and columns cannot take a tensor whose layout speaks of others; the reference can. */
static const struct cpu_kind *choose_kind(struct cpu_model *model, int l)
{
    const struct sp_layer *layer = &model->network->layers[l];
    int x = layer->inputs[0];
    bool fits = true;
    switch (layer->type) {
    case SP_LAYER_CONVOLUTION:
    case SP_LAYER_MAX_POOL:
    case SP_LAYER_AVERAGE_POOL:
    case SP_LAYER_GLOBAL_AVERAGE_POOL:
    case SP_LAYER_LRN:
        fits = cpu_is_image(model, x);
        break;
    case SP_LAYER_BATCH_NORM: /* of channels alone, too */
        fits = cpu_is_image(model, x) || (model->flat[x] && model->images[x].c == layer->in.c);
        break;
    case SP_LAYER_ADD:
        fits = cpu_add_suits(model, l);
        break;
    default:
        break;
    }
    return fits ? kinds[layer->type] : &cpu_plain;
}

static void model_destroy(void **self)
{
    struct cpu_model *model = *self;
    if (model == NULL)
        return;
    for (int l = 0; l < model->network->layer_count; l++) {
        struct cpu_layer *it = &model->layers[l];
        struct cpu_op *ops[] = {
            &it->forward,         &it->evaluate,         &it->backward_data,          &it->backward_weights,
            &it->weights_copy.op, &it->gradient_copy.op, &it->input_gradient_copy.op, &it->shortcut_gradient_copy.op};
        for (size_t o = 0; o < sizeof ops / sizeof *ops; o++)
            cpu_op_destroy(ops[o]);
        for (int pass = 0; pass < SP_PASS_COUNT; pass++) {
            cpu_op_destroy(&it->input_copy[pass].op);
            cpu_op_destroy(&it->shortcut_copy[pass].op);
            cpu_op_destroy(&it->output_copy[pass].op);
        }
    }
    free(model->tensors);
    free(model->images);
    free(model->flat);
    free(model->layers);
    free(model);
    *self = NULL;
}

static sp_status compile(struct cpu_model *model, struct sp_error *err)
{
    SP_TRY(cpu_plain_md(model, 0, &model->tensors[0], err));
    for (int l = 0; l < model->network->layer_count; l++) {
        struct cpu_layer *it = &model->layers[l];
        it->kind = choose_kind(model, l);
        sp_status status = it->kind->compile(model, l, err);
        if (status != SP_OK) {
            sp_error_context(err, "while compiling layer %s of %s", model->network->layers[l].name,
                             model->network->name);
            return status;
        }
    }
    return SP_OK;
}

static sp_status model_create(void *context, const struct sp_network *network, int batch, const void *like, void **out,
                              struct sp_error *err)
{
    struct cpu_model *model = sp_calloc(1, sizeof *model);
    model->context = context;
    model->library = &model->context->library;
    model->network = network;
    model->batch = batch;
    model->like = like;
    model->tensors = sp_calloc((size_t)network->tensor_count, sizeof *model->tensors);
    model->images = sp_calloc((size_t)network->tensor_count, sizeof *model->images);
    model->flat = sp_calloc((size_t)network->tensor_count, sizeof *model->flat);
    model->layers = sp_calloc((size_t)network->layer_count, sizeof *model->layers);
    memcpy(model->images, network->shapes, (size_t)network->tensor_count * sizeof *model->images);
    *out = model;
    sp_status status = compile(model, err);
    if (status != SP_OK)
        model_destroy(out);
    return status;
}

static size_t tensor_bytes(const void *self, int tensor, int batch)
{
    const struct cpu_model *model = self;
    (void)batch;
    return tensor == model->network->layer_count ? 0 : cpu_md_bytes(&model->tensors[tensor]);
}

static size_t saved_bytes(const void *self, int layer, int batch)
{
    (void)batch;
    return ((const struct cpu_model *)self)->layers[layer].saved_bytes;
}

static size_t parameter_bytes(const void *self, int layer, enum sp_parameter which)
{
    const struct cpu_md *md = &((const struct cpu_model *)self)->layers[layer].parameters[which];
    return md->set ? cpu_md_bytes(md) : 0;
}

static size_t state_bytes(const void *self, int layer)
{
    return sizeof(float) * (size_t)((const struct cpu_model *)self)->network->layers[layer].state;
}

static size_t scratch_bytes(const void *self, int layer, enum sp_pass pass, int batch)
{
    (void)batch;
    return ((const struct cpu_model *)self)->layers[layer].scratch_bytes[pass];
}

static struct sp_footprint footprint(const void *model)
{
    return (struct sp_footprint){.self = model,
                                 .tensor = tensor_bytes,
                                 .saved = saved_bytes,
                                 .parameter = parameter_bytes,
                                 .state = state_bytes,
                                 .scratch = scratch_bytes};
}

static sp_status run(void *self, int layer, enum sp_pass pass, const struct exec_io *io, struct sp_error *err)
{
    struct cpu_model *model = self;
    sp_status status = model->layers[layer].kind->run(model, layer, pass, io, err);
    if (status != SP_OK)
        sp_error_context(err, "in layer %s of %s", model->network->layers[layer].name, model->network->name);
    return status;
}

VECTORISED static void add_floats(float *restrict to, const float *restrict from, size_t count)
{
    for (size_t i = 0; i < count; i++)
        to[i] += from[i];
}

static sp_status add(void *self, void *queue, int tensor, size_t bytes, void *sum, const void *addend,
                     struct sp_error *err)
{
    (void)queue;
    (void)err;
    add_floats(sum, addend, (tensor >= 0 ? tensor_bytes(self, tensor, 0) : bytes) / sizeof(float));
    return SP_OK;
}

/* The formula stands in exec_sgd_one. Both forms are one pass: w and its successor may be one block. */
VECTORISED static void step(const float *w, float *next, float *restrict v, const float *restrict g, size_t count,
                            struct exec_sgd sgd)
{
#pragma GCC ivdep
    for (size_t i = 0; i < count; i++)
        next[i] = exec_sgd_one(w[i], &v[i], g[i], sgd.lr, sgd.momentum, sgd.weight_decay, 0);
}

VECTORISED static void nesterov_step(const float *w, float *next, float *restrict v, const float *restrict g,
                                     size_t count, struct exec_sgd sgd)
{
#pragma GCC ivdep
    for (size_t i = 0; i < count; i++)
        next[i] = exec_sgd_one(w[i], &v[i], g[i], sgd.lr, sgd.momentum, sgd.weight_decay, 1);
}

static sp_status update(void *context, void *queue, const struct exec_parameters *parameters,
                        const struct exec_sgd *sgd, struct sp_error *err)
{
    (void)context;
    (void)queue;
    (void)err;
    (sgd->nesterov ? nesterov_step : step)(parameters->before, parameters->after, parameters->velocity,
                                           parameters->gradient, parameters->bytes / sizeof(float), *sgd);
    return SP_OK;
}

static sp_status import_parameter(void *self, int layer, enum sp_parameter which, const float *plain, void *stored,
                                  struct sp_error *err)
{
    struct cpu_model *model = self;
    const struct cpu_layer *it = &model->layers[layer];
    struct cpu_md md;
    if (which == SP_PARAMETER_WEIGHT && it->kind->import_weights != NULL)
        return it->kind->import_weights(model, layer, plain, stored, err);
    SP_TRY(cpu_plain_parameter_md(model, layer, which, &md, err));
    return cpu_convert(model, &md, &it->parameters[which], plain, stored, err);
}

static sp_status export_parameter(void *self, int layer, enum sp_parameter which, const void *stored, float *plain,
                                  struct sp_error *err)
{
    struct cpu_model *model = self;
    const struct cpu_layer *it = &model->layers[layer];
    struct cpu_md md;
    if (which == SP_PARAMETER_WEIGHT && it->kind->export_weights != NULL)
        return it->kind->export_weights(model, layer, stored, plain, err);
    SP_TRY(cpu_plain_parameter_md(model, layer, which, &md, err));
    return cpu_convert(model, &it->parameters[which], &md, stored, plain, err);
}

static sp_status import_tensor(void *self, int tensor, const float *plain, void *stored, struct sp_error *err)
{
    struct cpu_model *model = self;
    struct cpu_md md;
    if (tensor == 0) { /* the network's input is plain */
        memcpy(stored, plain, tensor_bytes(self, 0, 0));
        return SP_OK;
    }
    SP_TRY(cpu_plain_md(model, tensor, &md, err));
    return cpu_convert(model, &md, &model->tensors[tensor], plain, stored, err);
}

static sp_status export_tensor(void *self, int tensor, const void *stored, float *plain, struct sp_error *err)
{
    struct cpu_model *model = self;
    struct cpu_md md;
    SP_TRY(cpu_plain_md(model, tensor, &md, err));
    return cpu_convert(model, &model->tensors[tensor], &md, stored, plain, err);
}

const struct exec_backend exec_cpu_backend = {
    .name = "cpu",
    .help = "oneDNN",
    .shared_memory = true,
    .create = create,
    .destroy = destroy,
    .choices = choices,
    .supports = supports,
    .bind = bind,
    .model_create = model_create,
    .model_destroy = model_destroy,
    .footprint = footprint,
    .run = run,
    .add = add,
    .update = update,
    .allocate = exec_ref_allocate,
    .release = exec_ref_release,
    .copy = exec_ref_copy,
    .import_parameter = import_parameter,
    .export_parameter = export_parameter,
    .import_tensor = import_tensor,
    .export_tensor = export_tensor,
};
