/* loader.c - the thread that prepares minibatches ahead, in a ring. */
#include "common/alloc.h"
#include "common/random.h"
#include "exec/data/augment.h"
#include "exec/data/data.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { TAKERS = 2 };

struct slot {
    float *pixels;
    int32_t *labels;
    int64_t number; /* -1: empty */
    int released;
};

struct exec_loader {
    struct exec_loader_config config;
    int64_t elements;
    struct slot *slots;
    float *plain;                /* a sample before augmentation */
    int64_t *order, order_epoch; /* the permutation of one epoch */
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    pthread_t thread;
    bool cancelled;
};

/* The permutation of an epoch: Fisher-Yates. */
static void permute(const struct exec_loader_config *config, int64_t epoch, int64_t *order)
{
    int64_t n = config->set->samples[config->split];
    for (int64_t i = 0; i < n; i++)
        order[i] = i;
    for (int64_t i = n - 1; config->shuffle && i > 0; i--) {
        int64_t j =
            (int64_t)sp_random_below(config->seed, SP_RANDOM_SHUFFLE, (uint64_t)epoch, (uint32_t)i, (uint64_t)i + 1);
        int64_t t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
}

int64_t exec_loader_sample(const struct exec_loader_config *config, int64_t position)
{
    int64_t n = config->set->samples[config->split];
    int64_t *order = sp_alloc((size_t)n * sizeof *order);
    permute(config, position / n, order);
    int64_t sample = order[position % n];
    free(order);
    return sample;
}

/* The sample at a row of a batch; -1: padding. */
static int64_t pick(struct exec_loader *loader, int64_t number, int row)
{
    const struct exec_loader_config *config = &loader->config;
    int64_t n = config->set->samples[config->split];
    if (config->split == EXEC_TEST) {
        int64_t pass = (n + config->batch - 1) / config->batch, at = number % pass * config->batch + row;
        return at < n ? at : -1;
    }
    int64_t position = number * config->batch + row;
    if (position / n != loader->order_epoch) {
        loader->order_epoch = position / n;
        permute(config, loader->order_epoch, loader->order);
    }
    return loader->order[position % n];
}

/* Row `row` of batch `number`. */
static void prepare(struct exec_loader *loader, struct slot *slot, int64_t number, int row)
{
    const struct exec_loader_config *config = &loader->config;
    const struct exec_dataset *set = config->set;
    float *pixels = slot->pixels + row * loader->elements;
    int64_t index = pick(loader, number, row);
    if (index < 0) {
        slot->labels[row] = -1;
        memset(pixels, 0, (size_t)loader->elements * sizeof *pixels);
    } else if (config->augment) {
        slot->labels[row] = set->sample(set, config->split, index, loader->plain);
        exec_crop_flip(set->shape, config->seed, (uint64_t)(number * config->batch + row), loader->plain, pixels);
    } else {
        slot->labels[row] = set->sample(set, config->split, index, pixels);
    }
}

static void *work(void *argument)
{
    struct exec_loader *loader = argument;
    const struct exec_loader_config *config = &loader->config;
    for (int64_t number = config->first; number < config->end; number++) {
        struct slot *slot = &loader->slots[number % config->ahead];
        pthread_mutex_lock(&loader->mutex);
        while (!loader->cancelled && slot->number >= 0)
            pthread_cond_wait(&loader->changed, &loader->mutex);
        bool cancelled = loader->cancelled;
        pthread_mutex_unlock(&loader->mutex);
        if (cancelled)
            break;
        for (int row = 0; row < config->batch; row++)
            prepare(loader, slot, number, row);
        pthread_mutex_lock(&loader->mutex);
        slot->number = number;
        slot->released = number < config->taken ? 1 : 0;
        pthread_cond_broadcast(&loader->changed);
        pthread_mutex_unlock(&loader->mutex);
    }
    return NULL;
}

static void free_loader(struct exec_loader *loader)
{
    for (int i = 0; i < loader->config.ahead; i++) {
        free(loader->slots[i].pixels);
        free(loader->slots[i].labels);
    }
    pthread_cond_destroy(&loader->changed);
    pthread_mutex_destroy(&loader->mutex);
    free(loader->slots);
    free(loader->order);
    free(loader->plain);
    free(loader);
}

sp_status exec_loader_create(const struct exec_loader_config *config, struct exec_loader **out, struct sp_error *err)
{
    struct exec_loader *loader = sp_calloc(1, sizeof *loader);
    loader->config = *config;
    if (loader->config.ahead < 1)
        loader->config.ahead = 1;
    loader->elements = sp_shape_elements(config->set->shape);
    loader->slots = sp_calloc((size_t)loader->config.ahead, sizeof *loader->slots);
    loader->order = sp_calloc((size_t)config->set->samples[config->split], sizeof *loader->order);
    loader->plain = sp_calloc((size_t)loader->elements, sizeof *loader->plain);
    loader->order_epoch = -1;
    pthread_mutex_init(&loader->mutex, NULL);
    pthread_cond_init(&loader->changed, NULL);
    for (int i = 0; i < loader->config.ahead; i++) {
        struct slot *slot = &loader->slots[i];
        slot->pixels = sp_calloc((size_t)config->batch * (size_t)loader->elements, sizeof *slot->pixels);
        slot->labels = sp_calloc((size_t)config->batch, sizeof *slot->labels);
        slot->number = -1;
    }
    *out = NULL;
    if (pthread_create(&loader->thread, NULL, work, loader) != 0) {
        free_loader(loader);
        return SP_FAIL(err, SP_E_MEMORY, "cannot start the loader's thread");
    }
    *out = loader;
    return SP_OK;
}

bool exec_loader_acquire(struct exec_loader *loader, int64_t number, struct exec_batch *out)
{
    struct slot *slot = &loader->slots[number % loader->config.ahead];
    pthread_mutex_lock(&loader->mutex);
    while (!loader->cancelled && slot->number != number)
        pthread_cond_wait(&loader->changed, &loader->mutex);
    bool ready = !loader->cancelled;
    pthread_mutex_unlock(&loader->mutex);
    *out = (struct exec_batch){slot->pixels, slot->labels};
    return ready;
}

void exec_loader_release(struct exec_loader *loader, int64_t number)
{
    struct slot *slot = &loader->slots[number % loader->config.ahead];
    pthread_mutex_lock(&loader->mutex);
    SP_ASSERT(slot->number == number, "batch %lld released, %lld there", (long long)number, (long long)slot->number);
    if (++slot->released == TAKERS) {
        slot->number = -1;
        pthread_cond_broadcast(&loader->changed);
    }
    pthread_mutex_unlock(&loader->mutex);
}

void exec_loader_cancel(struct exec_loader *loader)
{
    pthread_mutex_lock(&loader->mutex);
    loader->cancelled = true;
    pthread_cond_broadcast(&loader->changed);
    pthread_mutex_unlock(&loader->mutex);
}

void exec_loader_destroy(struct exec_loader **loader)
{
    if (!*loader)
        return;
    exec_loader_cancel(*loader);
    pthread_join((*loader)->thread, NULL);
    free_loader(*loader);
    *loader = NULL;
}
