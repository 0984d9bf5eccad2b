/*
 * team.h - processes that train one experiment together: what they tell each other beside tensors.
 *
 * A process is a rank, 0 to size - 1, and owns a range of the plan's devices. It has two TCP connections with rank 0:
 * one for news, which a thread of the team reads as they come, and one for exchanges, in which all ranks take part in
 * the same order. A rank whose connection ends before it has said goodbye is lost; when one is lost or has failed, all
 * hear of it at once: exchanges fail, and the listener is told.
 *
 * A team that is NULL is one process: rank 0 of 1.
 */
#ifndef EXEC_TEAM_H
#define EXEC_TEAM_H

#include "common/error.h"

#include <signal.h>
#include <stddef.h>

struct exec_team;

struct exec_team_config {
    int rank, size;
    const char *address; /* where rank 0 listens; borrowed until join returns */
    int port;
    const char *build;               /* must be the same text in all ranks; borrowed likewise; NULL: "" */
    double patience_s;               /* that ranks wait for each other to come */
    void (*waits)(const char *text); /* NULL, or called after first_word_s, then every 30 s: for whom it still waits */
    double first_word_s;
    const volatile sig_atomic_t *stop; /* NULL, or polled: not 0 ends the waiting */
    /* NULL, or called with what went wrong when this process has not left within 10 s of a failure: something in it
     * hangs, the listener perhaps. Does not return. */
    void (*give_up)(const char *text);
};

/* Returns when all have come; the caller owns *out. */
sp_status exec_team_join(const struct exec_team_config *config, struct exec_team **out, struct sp_error *err);

/* Says goodbye, or, where `why` is not NULL and has a text, that this rank has failed; accepts NULL. */
void exec_team_leave(struct exec_team **team, const struct sp_error *why);

int exec_team_rank(const struct exec_team *team);
int exec_team_size(const struct exec_team *team);

/* The rank that owns a device, the first device of a rank (of rank `size`: the count), and ranks on one host. */
int exec_team_owner(const struct exec_team *team, int device, int device_count);
int exec_team_first_device(const struct exec_team *team, int rank, int device_count);
bool exec_team_same_host(const struct exec_team *team, int rank, int other);

/* Exchanges, by one thread of each rank at a time, all in the same order. `pass` hands rank from's bytes to rank to;
 * `share` rank 0's to all. Where a failure ends them, the error says whose. */
sp_status exec_team_pass(struct exec_team *team, int from, int to, void *bytes, size_t count, struct sp_error *err);
sp_status exec_team_share(struct exec_team *team, void *bytes, size_t count, struct sp_error *err);

/* News. FAILED is the team's own. */
enum exec_news_kind {
    EXEC_NEWS_FAILED, /* value: the status; bytes: its text */
    EXEC_NEWS_GOODBYE,
    EXEC_NEWS_PROGRESS, /* to rank 0, bytes: struct exec_progress */
    EXEC_NEWS_STOP,     /* to rank 0: this rank was asked to stop */
    EXEC_NEWS_HOLD,     /* from rank 0: no device passes another gate (exec/gate.c) */
    EXEC_NEWS_HELD,     /* to rank 0, value: the last gate that was passed */
    EXEC_NEWS_PAUSE     /* from rank 0, value: the gate at which all pause; bytes[0]: the run ends there */
};
enum { EXEC_NEWS_BYTES = 1008 };
struct exec_news {
    int kind, from;
    int64_t value;
    char bytes[EXEC_NEWS_BYTES];
};

/* To rank 0, or from it to all others. Any thread. */
void exec_team_tell(struct exec_team *team, struct exec_news *news);

/* This rank has failed: the others are told. Only the first failure counts. Any thread. */
void exec_team_fail(struct exec_team *team, sp_status status, const char *text);

/* This rank has met `text` and will fail, or hang on the way there: from now on it has the time it has after a failure
 * before it is given up. Any thread. */
void exec_team_expect_end(struct exec_team *team, const char *text);

/* Whether a rank has failed, and then what is to be said of it, unless it was this one and `err` says it already. */
bool exec_team_failed(struct exec_team *team, sp_status *status, struct sp_error *err);

/* Who is told from now on, by the team's thread; NULL: nobody, and no call is under way any more. `failed` may be
 * called at once. The listener may not call this. */
struct exec_team_listener {
    void (*news)(void *self, const struct exec_news *news);
    void (*failed)(void *self);
    void (*tick)(void *self); /* NULL, or called some times a second */
    void *self;
};
void exec_team_listen(struct exec_team *team, const struct exec_team_listener *listener);

/* Ends all connections without a word, as if this process had died; for tests. */
void exec_team_cut(struct exec_team *team);

#endif
