#include "exec/team.h"
#include "common/alloc.h"
#include "exec/team_connect.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { GRACE_S = 10, LINGER_S = 2, TICK_MS = 200 };

struct exec_team {
    struct exec_team_config config;
    struct exec_connections to; /* rank 0: of all others; else of rank 0 alone */
    pthread_t watcher, guard;
    pthread_mutex_t telling;   /* who writes news */
    pthread_mutex_t listening; /* of listener; held while it is called */
    struct exec_team_listener listener;
    pthread_mutex_t mutex; /* of what follows */
    pthread_cond_t changed;
    bool *silent;                       /* [rank]: no news come from there any more */
    bool *parted;                       /* [rank]: it has said goodbye */
    bool leaving, failing, failed, own; /* failing: and soon `failed`; own: it was this rank that failed */
    bool ending;                        /* it is expected to fail */
    double leaving_s;
    sp_status status;
    char why[EXEC_NEWS_BYTES];
};

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

int exec_team_rank(const struct exec_team *team)
{
    return team != NULL ? team->config.rank : 0;
}

int exec_team_size(const struct exec_team *team)
{
    return team != NULL ? team->config.size : 1;
}

int exec_team_owner(const struct exec_team *team, int device, int device_count)
{
    return (int)((int64_t)device * exec_team_size(team) / device_count);
}

int exec_team_first_device(const struct exec_team *team, int rank, int device_count)
{
    int size = exec_team_size(team);
    return (int)(((int64_t)rank * device_count + size - 1) / size);
}

bool exec_team_same_host(const struct exec_team *team, int rank, int other)
{
    return team == NULL || strcmp(team->to.hosts[rank], team->to.hosts[other]) == 0;
}

/* ---- news ---- */

/* A connection that does not take them is one that will be found lost. */
static void write_news(struct exec_team *team, int rank, const struct exec_news *news)
{
    pthread_mutex_lock(&team->telling);
    if (team->to.news[rank] >= 0)
        (void)exec_send_all(team->to.news[rank], news, sizeof *news);
    pthread_mutex_unlock(&team->telling);
}

static void tell_all_but(struct exec_team *team, int but, const struct exec_news *news)
{
    for (int rank = 0; rank < team->config.size; rank++)
        if (rank != but && rank != team->config.rank)
            write_news(team, rank, news);
}

void exec_team_tell(struct exec_team *team, struct exec_news *news)
{
    news->from = team->config.rank;
    tell_all_but(team, -1, news);
}

static void call_failed(struct exec_team *team)
{
    pthread_mutex_lock(&team->listening);
    if (team->listener.failed != NULL)
        team->listener.failed(team->listener.self);
    pthread_mutex_unlock(&team->listening);
}

/* A failure is told before it is acted on, lest this rank leaves in between. False: it is not the first. */
static bool claim_failure(struct exec_team *team)
{
    pthread_mutex_lock(&team->mutex);
    bool first = !team->failing && !team->leaving;
    team->failing = team->failing || first;
    pthread_mutex_unlock(&team->mutex);
    return first;
}

static void note_failure(struct exec_team *team, sp_status status, const char *text, bool own)
{
    pthread_mutex_lock(&team->mutex);
    team->failed = true;
    team->own = own;
    team->status = status;
    snprintf(team->why, sizeof team->why, "%s", text);
    pthread_cond_broadcast(&team->changed);
    pthread_mutex_unlock(&team->mutex);
    for (int rank = 0; rank < team->config.size; rank++) /* who waits there waits no more */
        if (team->to.data[rank] >= 0)
            (void)shutdown(team->to.data[rank], SHUT_RDWR);
}

static struct exec_news failure_of(const struct exec_team *team, sp_status status, const char *text)
{
    int rank = team->config.rank;
    struct exec_news news = {.kind = EXEC_NEWS_FAILED, .from = rank, .value = (int64_t)status};
    snprintf(news.bytes, sizeof news.bytes, "rank %d on %s failed: %s", rank, team->to.hosts[rank], text);
    return news;
}

void exec_team_fail(struct exec_team *team, sp_status status, const char *text)
{
    if (team == NULL || !claim_failure(team))
        return;
    struct exec_news news = failure_of(team, status, text);
    tell_all_but(team, -1, &news);
    note_failure(team, status, text, true);
}

void exec_team_expect_end(struct exec_team *team, const char *text)
{
    pthread_mutex_lock(&team->mutex);
    team->ending = true;
    if (!team->failed)
        snprintf(team->why, sizeof team->why, "%s", text);
    pthread_cond_broadcast(&team->changed);
    pthread_mutex_unlock(&team->mutex);
}

/* What rank 0 hears of a failure all others hear from it. A failure elsewhere is not one of this rank's devices. */
static void fail_by(struct exec_team *team, int from, struct exec_news *news)
{
    sp_status status = (sp_status)news->value;
    news->bytes[sizeof news->bytes - 1] = '\0';
    if (!claim_failure(team))
        return;
    if (team->config.rank == 0)
        tell_all_but(team, from, news);
    note_failure(team, status == SP_E_BACKEND ? SP_E_IO : status, news->bytes, false);
    call_failed(team);
}

static void lose(struct exec_team *team, int from)
{
    struct exec_news news = {.kind = EXEC_NEWS_FAILED, .from = from, .value = SP_E_IO};
    snprintf(news.bytes, sizeof news.bytes, "rank %d on %s was lost: its connection has ended", from,
             team->to.hosts[from]);
    fail_by(team, from, &news);
}

static void take_news(struct exec_team *team, int from)
{
    struct exec_news news;
    bool read = exec_receive_all(team->to.news[from], &news, sizeof news);
    pthread_mutex_lock(&team->mutex);
    bool parted = team->parted[from];
    team->silent[from] = !read;
    team->parted[from] = parted || (read && (news.kind == EXEC_NEWS_GOODBYE || news.kind == EXEC_NEWS_FAILED));
    pthread_cond_broadcast(&team->changed);
    pthread_mutex_unlock(&team->mutex);
    if (!read && !parted) {
        lose(team, from);
    } else if (read && news.kind == EXEC_NEWS_FAILED) {
        fail_by(team, from, &news);
    } else if (read && news.kind != EXEC_NEWS_GOODBYE) {
        pthread_mutex_lock(&team->listening);
        if (team->listener.news != NULL)
            team->listener.news(team->listener.self, &news);
        pthread_mutex_unlock(&team->listening);
    }
}

/* True: this rank has left, and so have those that it hears of, or it has waited for them. */
static bool is_over(struct exec_team *team)
{
    pthread_mutex_lock(&team->mutex);
    bool alone = true;
    for (int rank = 0; rank < team->config.size; rank++)
        alone = alone && (team->to.news[rank] < 0 || team->silent[rank]);
    bool over = team->leaving && (alone || now_s() - team->leaving_s > LINGER_S);
    pthread_mutex_unlock(&team->mutex);
    return over;
}

/* So many seconds from now, by the clock of pthread_cond_timedwait. */
static struct timespec end_of(int seconds)
{
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += seconds;
    return end;
}

/* Gives up where this rank has not left some time after a failure, or after one was expected. A thread of its own: what
 * hangs may be the listener, which ends what a device waits for, and the watcher with it. */
static void *guard(void *self)
{
    struct exec_team *team = self;
    pthread_mutex_lock(&team->mutex);
    while (!team->failed && !team->ending && !team->leaving)
        pthread_cond_wait(&team->changed, &team->mutex);
    struct timespec end = end_of(GRACE_S);
    int code = 0;
    while (!team->leaving && code != ETIMEDOUT)
        code = pthread_cond_timedwait(&team->changed, &team->mutex, &end);
    bool hangs = !team->leaving;
    char why[sizeof team->why];
    memcpy(why, team->why, sizeof why);
    pthread_mutex_unlock(&team->mutex);
    if (hangs && team->config.give_up != NULL)
        team->config.give_up(why);
    return NULL;
}

static void tick(struct exec_team *team)
{
    pthread_mutex_lock(&team->listening);
    if (team->listener.tick != NULL)
        team->listener.tick(team->listener.self);
    pthread_mutex_unlock(&team->listening);
}

static void *watch(void *self)
{
    struct exec_team *team = self;
    struct pollfd *fds = sp_calloc((size_t)team->config.size, sizeof *fds);
    while (!is_over(team)) {
        for (int rank = 0; rank < team->config.size; rank++)
            fds[rank] = (struct pollfd){.fd = team->silent[rank] ? -1 : team->to.news[rank], .events = POLLIN};
        (void)poll(fds, (nfds_t)team->config.size, TICK_MS);
        for (int rank = 0; rank < team->config.size; rank++)
            if (fds[rank].fd >= 0 && fds[rank].revents != 0)
                take_news(team, rank);
        tick(team);
    }
    free(fds);
    return NULL;
}

void exec_team_listen(struct exec_team *team, const struct exec_team_listener *listener)
{
    if (team == NULL)
        return;
    pthread_mutex_lock(&team->listening);
    team->listener = listener != NULL ? *listener : (struct exec_team_listener){0};
    pthread_mutex_unlock(&team->listening);
    if (listener != NULL && exec_team_failed(team, NULL, NULL))
        call_failed(team);
}

bool exec_team_failed(struct exec_team *team, sp_status *status, struct sp_error *err)
{
    if (team == NULL)
        return false;
    pthread_mutex_lock(&team->mutex);
    bool failed = team->failed;
    if (failed && err != NULL && (!team->own || err->text == NULL)) {
        sp_error_clear(err);
        *status = SP_FAIL(err, team->status, "%s", team->why);
    }
    pthread_mutex_unlock(&team->mutex);
    return failed;
}

void exec_team_cut(struct exec_team *team)
{
    for (int rank = 0; rank < team->config.size; rank++) {
        if (team->to.news[rank] >= 0)
            (void)shutdown(team->to.news[rank], SHUT_RDWR);
        if (team->to.data[rank] >= 0)
            (void)shutdown(team->to.data[rank], SHUT_RDWR);
    }
}

/* ---- exchanges ---- */

/* A connection ended in an exchange: the news say why, in a moment. */
static sp_status explain(struct exec_team *team, struct sp_error *err)
{
    struct timespec end = end_of(LINGER_S);
    sp_status status = SP_E_IO;
    pthread_mutex_lock(&team->mutex);
    while (!team->failed && pthread_cond_timedwait(&team->changed, &team->mutex, &end) != ETIMEDOUT)
        ;
    pthread_mutex_unlock(&team->mutex);
    if (exec_team_failed(team, &status, err))
        return status;
    return SP_FAIL(err, SP_E_IO, "another rank has ended its connection");
}

static sp_status send_to(struct exec_team *team, int rank, const void *bytes, size_t count, struct sp_error *err)
{
    return exec_send_all(team->to.data[rank], bytes, count) ? SP_OK : explain(team, err);
}

static sp_status receive_from(struct exec_team *team, int rank, void *bytes, size_t count, struct sp_error *err)
{
    return exec_receive_all(team->to.data[rank], bytes, count) ? SP_OK : explain(team, err);
}

/* Between two ranks that are not 0, through it in pieces. */
static sp_status relay(struct exec_team *team, int from, int to, size_t count, struct sp_error *err)
{
    enum { PIECE = 1 << 16 };
    char piece[PIECE];
    for (size_t done = 0; done < count; done += PIECE) {
        size_t now = count - done < PIECE ? count - done : PIECE;
        SP_TRY(receive_from(team, from, piece, now, err));
        SP_TRY(send_to(team, to, piece, now, err));
    }
    return SP_OK;
}

sp_status exec_team_pass(struct exec_team *team, int from, int to, void *bytes, size_t count, struct sp_error *err)
{
    int rank = exec_team_rank(team);
    if (from == to || count == 0)
        return SP_OK;
    if (rank == 0 && from != 0 && to != 0)
        return relay(team, from, to, count, err);
    if (rank == from)
        return send_to(team, rank == 0 ? to : 0, bytes, count, err);
    return rank == to ? receive_from(team, rank == 0 ? from : 0, bytes, count, err) : SP_OK;
}

sp_status exec_team_share(struct exec_team *team, void *bytes, size_t count, struct sp_error *err)
{
    for (int rank = 1; rank < exec_team_size(team); rank++)
        SP_TRY(exec_team_pass(team, 0, rank, bytes, count, err));
    return SP_OK;
}

/* ---- coming and going ---- */

static void destroy(struct exec_team *team)
{
    exec_connections_close(&team->to);
    pthread_mutex_destroy(&team->telling);
    pthread_mutex_destroy(&team->listening);
    pthread_mutex_destroy(&team->mutex);
    pthread_cond_destroy(&team->changed);
    free(team->silent);
    free(team->parted);
    free(team);
}

static void start_leaving(struct exec_team *team)
{
    pthread_mutex_lock(&team->mutex);
    while (team->failing && !team->failed)
        pthread_cond_wait(&team->changed, &team->mutex);
    team->leaving = true;
    team->leaving_s = now_s();
    pthread_cond_broadcast(&team->changed);
    pthread_mutex_unlock(&team->mutex);
}

sp_status exec_team_join(const struct exec_team_config *config, struct exec_team **out, struct sp_error *err)
{
    struct exec_team *team = sp_calloc(1, sizeof *team);
    *out = NULL;
    team->config = *config;
    team->silent = sp_calloc((size_t)config->size, sizeof *team->silent);
    team->parted = sp_calloc((size_t)config->size, sizeof *team->parted);
    pthread_mutex_init(&team->telling, NULL);
    pthread_mutex_init(&team->listening, NULL);
    pthread_mutex_init(&team->mutex, NULL);
    pthread_cond_init(&team->changed, NULL);
    sp_status status = exec_connections_open(config, &team->to, err);
    if (status == SP_OK && pthread_create(&team->watcher, NULL, watch, team) != 0)
        status = SP_FAIL(err, SP_E_MEMORY, "cannot start a thread");
    else if (status == SP_OK && pthread_create(&team->guard, NULL, guard, team) != 0) {
        start_leaving(team);
        pthread_join(team->watcher, NULL);
        status = SP_FAIL(err, SP_E_MEMORY, "cannot start a thread");
    }
    if (status != SP_OK)
        destroy(team);
    else
        *out = team;
    return status;
}

/* The others' last words are read first: closing a connection with unread ones would take ours back. */
void exec_team_leave(struct exec_team **out, const struct sp_error *why)
{
    struct exec_team *team = *out;
    if (team == NULL)
        return;
    exec_team_listen(team, NULL);
    if (why != NULL && why->text != NULL)
        exec_team_fail(team, why->status, why->text);
    start_leaving(team);
    struct exec_news goodbye = {.kind = EXEC_NEWS_GOODBYE};
    exec_team_tell(team, &goodbye);
    for (int rank = 0; rank < team->config.size; rank++)
        if (team->to.news[rank] >= 0)
            (void)shutdown(team->to.news[rank], SHUT_WR);
    pthread_join(team->watcher, NULL);
    pthread_join(team->guard, NULL);
    destroy(team);
    *out = NULL;
}
