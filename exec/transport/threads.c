/*
 * Threads of one process: a message is a count. The sender adds one, the receiver waits until there is one more than it
 * has taken. What is handed over lies in shared memory already, so nothing is copied; release and acquire order it.
 *
 * A receiver spins for a while before it sleeps: between stages that are well balanced the message is there within
 * microseconds, and then neither side makes a system call.
 */
#include "common/alloc.h"
#include "exec/transport.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

enum { SPIN_NS = 20000 };

struct mailbox {
    _Alignas(64) atomic_llong posted;
    _Alignas(64) long long taken; /* of the receiver's thread only */
    atomic_bool sleeping;
    pthread_mutex_t mutex;
    pthread_cond_t arrived;
};

struct threads {
    struct mailbox *boxes;
    int count;
    atomic_bool cancelled;
};

static sp_status create(const struct sp_plan *plan, void **out, struct sp_error *err)
{
    struct threads *self = sp_calloc(1, sizeof *self);
    self->count = plan->channel_count;
    size_t bytes = (size_t)(self->count + 1) * sizeof *self->boxes;
    self->boxes = aligned_alloc(64, bytes);
    if (self->boxes == NULL) {
        free(self);
        return SP_FAIL(err, SP_E_MEMORY, "no memory for %d channels", plan->channel_count);
    }
    for (int c = 0; c < self->count; c++) {
        struct mailbox *box = &self->boxes[c];
        atomic_init(&box->posted, 0);
        atomic_init(&box->sleeping, false);
        box->taken = 0;
        pthread_mutex_init(&box->mutex, NULL);
        pthread_cond_init(&box->arrived, NULL);
    }
    *out = self;
    return SP_OK;
}

static void destroy(void **out)
{
    struct threads *self = *out;
    if (self == NULL)
        return;
    for (int c = 0; c < self->count; c++) {
        pthread_mutex_destroy(&self->boxes[c].mutex);
        pthread_cond_destroy(&self->boxes[c].arrived);
    }
    free(self->boxes);
    free(self);
    *out = NULL;
}

static void wake(struct mailbox *box)
{
    pthread_mutex_lock(&box->mutex);
    pthread_cond_broadcast(&box->arrived);
    pthread_mutex_unlock(&box->mutex);
}

/* `sleeping` and `posted` are both sequentially consistent: either the sender sees the sleeper or the sleeper the post.
 */
static void post(void *out, int channel)
{
    struct mailbox *box = &((struct threads *)out)->boxes[channel];
    atomic_fetch_add(&box->posted, 1);
    if (atomic_load(&box->sleeping))
        wake(box);
}

static bool is_here(struct mailbox *box)
{
    return atomic_load(&box->posted) > box->taken;
}

static bool poll(void *out, int channel)
{
    struct mailbox *box = &((struct threads *)out)->boxes[channel];
    if (!is_here(box))
        return false;
    box->taken++;
    return true;
}

static long long now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void sleep_until_here(struct threads *self, struct mailbox *box)
{
    pthread_mutex_lock(&box->mutex);
    atomic_store(&box->sleeping, true);
    while (!is_here(box) && !atomic_load(&self->cancelled))
        pthread_cond_wait(&box->arrived, &box->mutex);
    atomic_store(&box->sleeping, false);
    pthread_mutex_unlock(&box->mutex);
}

static bool wait(void *out, int channel)
{
    struct threads *self = out;
    struct mailbox *box = &self->boxes[channel];
    long long until = 0;
    while (!is_here(box)) {
        if (atomic_load(&self->cancelled))
            return false;
        if (until == 0)
            until = now_ns() + SPIN_NS;
        else if (now_ns() > until)
            sleep_until_here(self, box);
    }
    box->taken++;
    return true;
}

static void cancel(void *out)
{
    struct threads *self = out;
    atomic_store(&self->cancelled, true);
    for (int c = 0; c < self->count; c++)
        wake(&self->boxes[c]);
}

const struct exec_transport exec_transport_threads = {
    .name = "threads",
    .patience_s = 1e-9 * SPIN_NS,
    .create = create,
    .destroy = destroy,
    .post = post,
    .wait = wait,
    .poll = poll,
    .cancel = cancel,
};
