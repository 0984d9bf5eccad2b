#include "exec/copies.h"

#include <gsl/gsl_fit.h>

#include <math.h>

enum { SIZES = 5, REPEATS = 7, EVENTS = 3 };

/* 16 MiB at most; and what is copied before, so that the host has enqueued a message before the device comes to it. */
static const size_t sizes[SIZES] = {4 << 10, 64 << 10, 1 << 20, 4 << 20, 16 << 20}, ahead_bytes = 4 << 20;

/* One device: the queue of its work, those of copies out and in, and its memory. */
struct side {
    void *work, *out, *in, *memory;
};

struct track {
    const struct exec_backend *backend;
    const struct exec_async *async;
    void *context;
    struct side sides[2];
    void *host;              /* between the devices, and before */
    void *events[2][EVENTS]; /* [device that records] */
    void *begun, *done;      /* timed, of the first device */
    bool direct;
};

void exec_copies_fit(const double *bytes, const double *seconds, int count, struct exec_copies *out)
{
    double weights[16], c00, c01, c11, square;
    SP_ASSERT(count >= 2 && count <= 16, "%d sizes", count);
    for (int n = 0; n < count; n++)
        weights[n] = 1 / (seconds[n] * seconds[n]);
    gsl_fit_wlinear(bytes, 1, weights, 1, seconds, 1, (size_t)count, &out->latency_s, &out->byte_s, &c00, &c01, &c11,
                    &square);
    out->latency_s = fmax(0, out->latency_s);
    out->byte_s = fmax(0, out->byte_s);
}

static sp_status open_side(struct track *t, int d, struct sp_error *err)
{
    struct side *side = &t->sides[d];
    SP_TRY(t->async->queue_create(t->context, d, false, &side->work, err));
    SP_TRY(t->async->queue_create(t->context, d, false, &side->out, err));
    SP_TRY(t->async->queue_create(t->context, d, false, &side->in, err));
    for (int e = 0; e < EVENTS; e++)
        SP_TRY(t->async->event_create(t->context, d, false, &t->events[d][e], err));
    return t->backend->allocate(t->context, d, sizes[SIZES - 1], &side->memory, err);
}

static sp_status open_track(struct track *t, const struct exec_backend_config *config, struct sp_error *err)
{
    struct exec_backend_config two = *config;
    two.devices = 2;
    SP_TRY(t->backend->create(&two, &t->context, err));
    t->direct = t->async->reaches(t->context, 0, 1);
    for (int d = 0; d < 2; d++)
        SP_TRY(open_side(t, d, err));
    SP_TRY(t->async->event_create(t->context, 0, true, &t->begun, err));
    SP_TRY(t->async->event_create(t->context, 0, true, &t->done, err));
    return t->async->take_host(t->context, sizes[SIZES - 1], &t->host, err);
}

static void close_track(struct track *t)
{
    if (t->context == NULL)
        return;
    for (int d = 0; d < 2; d++) { /* all of them, before any memory goes */
        t->async->queue_destroy(&t->sides[d].work);
        t->async->queue_destroy(&t->sides[d].out);
        t->async->queue_destroy(&t->sides[d].in);
    }
    for (int d = 0; d < 2; d++) {
        for (int e = 0; e < EVENTS; e++)
            t->async->event_destroy(&t->events[d][e]);
        if (t->sides[d].memory != NULL)
            t->backend->release(t->context, t->sides[d].memory, sizes[SIZES - 1]);
    }
    t->async->event_destroy(&t->begun);
    t->async->event_destroy(&t->done);
    if (t->host != NULL)
        t->async->release_host(t->context, t->host);
    t->backend->destroy(&t->context);
}

/* What comes next in `after` comes behind all that is in `before`, by an event of device d. */
static sp_status follow(struct track *t, int d, int event, void *before, void *after, struct sp_error *err)
{
    SP_TRY(t->async->record(before, t->events[d][event], err));
    return t->async->wait(after, t->events[d][event], err);
}

/* One message from device `from`, behind its work and before that of the other. */
static sp_status send(struct track *t, int from, size_t bytes, struct sp_error *err)
{
    struct side *a = &t->sides[from], *b = &t->sides[1 - from];
    SP_TRY(follow(t, from, 0, a->work, a->out, err));
    SP_TRY(t->async->copy(a->out, t->direct ? b->memory : t->host, a->memory, bytes, err));
    if (t->direct)
        return follow(t, from, 1, a->out, b->work, err);
    SP_TRY(follow(t, from, 1, a->out, b->in, err));
    SP_TRY(t->async->copy(b->in, b->memory, t->host, bytes, err));
    return follow(t, 1 - from, 2, b->in, b->work, err);
}

/* Half of there and back. */
static sp_status time_message(struct track *t, size_t bytes, double *seconds, struct sp_error *err)
{
    void *work = t->sides[0].work;
    SP_TRY(t->async->copy(work, t->sides[0].memory, t->host, ahead_bytes, err));
    SP_TRY(t->async->record(work, t->begun, err));
    SP_TRY(send(t, 0, bytes, err));
    SP_TRY(send(t, 1, bytes, err));
    SP_TRY(t->async->record(work, t->done, err));
    SP_TRY(t->async->finish(t->done, err));
    SP_TRY(t->async->elapsed_s(t->begun, t->done, seconds, err));
    *seconds /= 2;
    return SP_OK;
}

static sp_status measure(struct track *t, struct exec_copies *out, struct sp_error *err)
{
    double bytes[SIZES], least[SIZES], seconds;
    for (int repeat = 0; repeat <= REPEATS; repeat++) /* the first one warms up */
        for (int n = 0; n < SIZES; n++) {
            SP_TRY(time_message(t, sizes[n], &seconds, err));
            bytes[n] = (double)sizes[n];
            least[n] = repeat <= 1 ? seconds : fmin(least[n], seconds);
        }
    exec_copies_fit(bytes, least, SIZES, out);
    out->direct = t->direct;
    return SP_OK;
}

sp_status exec_copies_measure(const struct exec_backend *backend, const struct exec_backend_config *config,
                              struct exec_copies *out, struct sp_error *err)
{
    *out = (struct exec_copies){0};
    if (backend->async == NULL)
        return SP_OK;
    struct track track = {.backend = backend, .async = backend->async};
    sp_status status = open_track(&track, config, err);
    if (status == SP_OK)
        status = measure(&track, out, err);
    close_track(&track);
    return status;
}
