/*
 * loader.c - threads that prepare minibatches ahead, in a ring of slots.
 *
 * A thread takes the next number, waits until the slot of that number is its, and fills it. What a minibatch holds
 * depends on its number alone, so it does not matter who prepares it.
 *
 * A device that is woken by a message may find a loader's thread on its core; the kernel lets that one have its slice
 * of some milliseconds first. So a loader's thread gives way every now and then.
 */
#include "common/alloc.h"
#include "common/random.h"
#include "exec/data/augment.h"
#include "exec/data/data.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { GIVE_WAY_NS = 100000 };

struct slot {
    float *pixels;
    int32_t *labels;
    int64_t number; /* that is ready; -1: none */
    int64_t next;   /* the number that may be prepared here */
    int released;
};

struct worker {
    struct exec_loader *loader;
    pthread_t thread;
    bool started;
    float *plain;                /* a sample before augmentation */
    int64_t *order, order_epoch; /* TRAIN: the permutation of one epoch */
};

struct exec_loader {
    struct exec_loader_config config;
    int64_t elements, next; /* next: number to be prepared */
    struct slot *slots;
    struct worker *workers;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
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

/* The sample at a row of a batch; -1: padding. */
static int64_t pick(struct worker *worker, int64_t number, int row)
{
    const struct exec_loader_config *config = &worker->loader->config;
    int64_t n = config->set->samples[config->split];
    if (config->split == EXEC_TEST) {
        int64_t pass = (n + config->batch - 1) / config->batch, at = number % pass * config->batch + row;
        return at < n ? at : -1;
    }
    int64_t position = number * config->batch + row;
    if (position / n != worker->order_epoch) {
        worker->order_epoch = position / n;
        permute(config, worker->order_epoch, worker->order);
    }
    return worker->order[position % n];
}

/* Row `row` of batch `number`. */
static void prepare(struct worker *worker, struct slot *slot, int64_t number, int row)
{
    const struct exec_loader *loader = worker->loader;
    const struct exec_loader_config *config = &loader->config;
    const struct exec_dataset *set = config->set;
    float *pixels = slot->pixels + row * loader->elements;
    int64_t index = pick(worker, number, row);
    if (index < 0) {
        slot->labels[row] = -1;
        memset(pixels, 0, (size_t)loader->elements * sizeof *pixels);
    } else if (config->augment) {
        slot->labels[row] = set->sample(set, config->split, index, worker->plain);
        exec_crop_flip(set->shape, config->seed, (uint64_t)(number * config->batch + row), worker->plain, pixels);
    } else {
        slot->labels[row] = set->sample(set, config->split, index, pixels);
    }
}

/* The next number and its slot, once that is free; false when there is no more to do. */
static bool take(struct exec_loader *loader, int64_t *number)
{
    pthread_mutex_lock(&loader->mutex);
    *number = loader->next++;
    const struct slot *slot = &loader->slots[*number % loader->config.ahead];
    while (!loader->cancelled && *number < loader->config.end && slot->next != *number)
        pthread_cond_wait(&loader->changed, &loader->mutex);
    bool more = !loader->cancelled && *number < loader->config.end;
    pthread_mutex_unlock(&loader->mutex);
    return more;
}

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void fill(struct worker *worker, struct slot *slot, int64_t number)
{
    int64_t since = now_ns();
    for (int row = 0; row < worker->loader->config.batch; row++) {
        prepare(worker, slot, number, row);
        if (now_ns() - since > GIVE_WAY_NS) {
            sched_yield();
            since = now_ns();
        }
    }
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    struct exec_loader *loader = worker->loader;
    const struct exec_loader_config *config = &loader->config;
    int64_t number;
    while (take(loader, &number)) {
        struct slot *slot = &loader->slots[number % config->ahead];
        fill(worker, slot, number);
        pthread_mutex_lock(&loader->mutex);
        slot->number = number;
        slot->released = number < config->taken ? 1 : 0;
        pthread_cond_broadcast(&loader->changed);
        pthread_mutex_unlock(&loader->mutex);
    }
    return NULL;
}

static void *take_bytes(const struct exec_loader_config *config, size_t count, size_t size)
{
    return config->take != NULL ? config->take(config->self, count * size) : calloc(count, size);
}

static void give_bytes(const struct exec_loader_config *config, void *memory)
{
    if (config->take == NULL)
        free(memory);
    else if (memory != NULL)
        config->give(config->self, memory);
}

static void free_loader(struct exec_loader *loader)
{
    for (int i = 0; loader->slots != NULL && i < loader->config.ahead; i++) {
        give_bytes(&loader->config, loader->slots[i].pixels);
        give_bytes(&loader->config, loader->slots[i].labels);
    }
    for (int w = 0; loader->workers != NULL && w < loader->config.threads; w++) {
        free(loader->workers[w].plain);
        free(loader->workers[w].order);
    }
    pthread_cond_destroy(&loader->changed);
    pthread_mutex_destroy(&loader->mutex);
    free(loader->slots);
    free(loader->workers);
    free(loader);
}

/* Slots and what the threads need; false: no memory. */
static bool take_memory(struct exec_loader *loader)
{
    const struct exec_loader_config *config = &loader->config;
    loader->slots = calloc((size_t)config->ahead, sizeof *loader->slots);
    loader->workers = calloc((size_t)config->threads, sizeof *loader->workers);
    bool got = loader->slots != NULL && loader->workers != NULL;
    for (int i = 0; got && i < config->ahead; i++) {
        struct slot *slot = &loader->slots[i];
        slot->number = -1;
        slot->pixels = take_bytes(config, (size_t)config->batch * (size_t)loader->elements, sizeof *slot->pixels);
        slot->labels = take_bytes(config, (size_t)config->batch, sizeof *slot->labels);
        got = slot->pixels != NULL && slot->labels != NULL;
    }
    for (int64_t n = config->first; got && n < config->first + config->ahead; n++)
        loader->slots[n % config->ahead].next = n;
    for (int w = 0; got && w < config->threads; w++) {
        struct worker *worker = &loader->workers[w];
        worker->loader = loader;
        worker->order_epoch = -1;
        worker->plain = calloc((size_t)loader->elements + 1, sizeof *worker->plain);
        if (config->split == EXEC_TRAIN)
            worker->order = calloc((size_t)config->set->samples[EXEC_TRAIN] + 1, sizeof *worker->order);
        got = worker->plain != NULL && (worker->order != NULL || config->split != EXEC_TRAIN);
    }
    return got;
}

sp_status exec_loader_create(const struct exec_loader_config *config, struct exec_loader **out, struct sp_error *err)
{
    struct exec_loader *loader = sp_calloc(1, sizeof *loader);
    *out = NULL;
    loader->config = *config;
    loader->config.ahead = config->ahead < 1 ? 1 : config->ahead;
    loader->config.threads = config->threads < 1 ? 1 : config->threads;
    loader->config.takers = config->takers < 1 ? 2 : config->takers;
    loader->elements = sp_shape_elements(config->set->shape);
    loader->next = config->first;
    pthread_mutex_init(&loader->mutex, NULL);
    pthread_cond_init(&loader->changed, NULL);
    if (!take_memory(loader)) {
        int64_t samples = (int64_t)loader->config.ahead * config->batch;
        free_loader(loader);
        return SP_FAIL(err, SP_E_MEMORY, "no memory to prepare %lld samples ahead", (long long)samples);
    }
    for (int w = 0; w < loader->config.threads; w++) {
        struct worker *worker = &loader->workers[w];
        worker->started = pthread_create(&worker->thread, NULL, work, worker) == 0;
        if (worker->started)
            continue;
        exec_loader_destroy(&loader);
        return SP_FAIL(err, SP_E_MEMORY, "cannot start a thread of the loader");
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
    if (++slot->released == loader->config.takers) {
        slot->number = -1;
        slot->next = number + loader->config.ahead;
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
    for (int w = 0; w < (*loader)->config.threads; w++)
        if ((*loader)->workers[w].started)
            pthread_join((*loader)->workers[w].thread, NULL);
    free_loader(*loader);
    *loader = NULL;
}
