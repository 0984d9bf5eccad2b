/*
 * Rank 0 listens where all ranks were told, the others call, once for news and once for data, and say who they are.
 * When all have come each is told the hosts of all.
 */
#include "exec/team_connect.h"
#include "common/alloc.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { NEWS, DATA, LINES };
enum { TICK_MS = 100, HELLO_S = 5 };

/* What a caller says first. */
struct hello {
    char magic[16];
    int32_t rank, size, line;
    char host[EXEC_HOST_NAME];
};
static const char magic[16] = "stalepipe-team1";

bool exec_send_all(int fd, const void *bytes, size_t count)
{
    for (size_t done = 0; done < count;) {
        ssize_t sent = send(fd, (const char *)bytes + done, count - done, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return false;
        done += (size_t)sent;
    }
    return true;
}

bool exec_receive_all(int fd, void *bytes, size_t count)
{
    for (size_t done = 0; done < count;) {
        ssize_t got = recv(fd, (char *)bytes + done, count - done, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        done += (size_t)got;
    }
    return true;
}

/* Small messages leave at once, and a host that is gone is noticed within some 15 s. */
static void set_up(int fd)
{
    const struct {
        int level, name, value;
    } options[] = {{IPPROTO_TCP, TCP_NODELAY, 1},  {SOL_SOCKET, SO_KEEPALIVE, 1},
                   {IPPROTO_TCP, TCP_KEEPIDLE, 5}, {IPPROTO_TCP, TCP_KEEPINTVL, 3},
                   {IPPROTO_TCP, TCP_KEEPCNT, 3},  {IPPROTO_TCP, TCP_USER_TIMEOUT, 15000}};
    for (size_t o = 0; o < sizeof options / sizeof *options; o++)
        (void)setsockopt(fd, options[o].level, options[o].name, &options[o].value, sizeof options[o].value);
}

static void set_patience(int fd, int seconds)
{
    struct timeval limit = {.tv_sec = seconds};
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
}

/* Waiting for the others to come. */
struct waiting {
    const struct exec_team_config *config;
    struct timespec since;
};

static sp_status go_on_waiting(const struct waiting *waiting, const char *for_what, struct sp_error *err)
{
    const struct exec_team_config *config = waiting->config;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (config->stop != NULL && *config->stop != 0)
        return SP_FAIL(err, SP_E_INTERRUPTED, "interrupted");
    if ((double)(now.tv_sec - waiting->since.tv_sec) > config->patience_s)
        return SP_FAIL(err, SP_E_IO, "rank %d of %d has waited %.0f s for %s at %s:%d", config->rank, config->size,
                       config->patience_s, for_what, config->address, config->port);
    return SP_OK;
}

static struct addrinfo *find(const struct exec_team_config *config, const char *address, int flags,
                             struct sp_error *err)
{
    char port[16];
    struct addrinfo *found = NULL, hints = {.ai_socktype = SOCK_STREAM, .ai_flags = flags};
    snprintf(port, sizeof port, "%d", config->port);
    int code = getaddrinfo(address, port, &hints, &found);
    if (code != 0)
        (void)SP_FAIL(err, SP_E_IO, "no address of %s: %s", config->address, gai_strerror(code));
    return code == 0 ? found : NULL;
}

/* ---- rank 0 ---- */

static int listen_at(const struct addrinfo *at)
{
    int yes = 1, fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(fd, at->ai_addr, at->ai_addrlen) == 0 && listen(fd, SOMAXCONN) == 0)
        return fd;
    int code = errno;
    close(fd);
    errno = code;
    return -1;
}

/* At the address that all were told; where that is another's (a translated one, say), at all of this host's. */
static sp_status start_listening(const struct exec_team_config *config, int *fd, struct sp_error *err)
{
    const char *addresses[] = {config->address, NULL};
    *fd = -1;
    for (int a = 0; a < 2 && *fd < 0; a++) {
        struct addrinfo *at = find(config, addresses[a], AI_PASSIVE, err);
        if (at == NULL)
            return SP_E_IO;
        *fd = listen_at(at);
        int code = errno;
        freeaddrinfo(at);
        if (*fd < 0 && code != EADDRNOTAVAIL)
            return SP_FAIL(err, SP_E_IO, "rank 0 cannot listen at %s:%d: %s", config->address, config->port,
                           strerror(code));
    }
    return *fd >= 0 ? SP_OK : SP_FAIL(err, SP_E_IO, "rank 0 cannot listen at port %d", config->port);
}

/* Someone has called. Who is not of this program is sent away. */
static sp_status welcome(const struct exec_team_config *config, struct exec_connections *to, int fd, int *missing,
                         struct sp_error *err)
{
    struct hello hello;
    set_up(fd);
    set_patience(fd, HELLO_S);
    if (!exec_receive_all(fd, &hello, sizeof hello) || memcmp(hello.magic, magic, sizeof magic) != 0) {
        close(fd);
        return SP_OK;
    }
    set_patience(fd, 0);
    int *line = hello.line == NEWS ? to->news : to->data;
    bool known = hello.size == config->size && hello.rank > 0 && hello.rank < config->size && line[hello.rank] < 0;
    if (!known) {
        close(fd);
        return SP_FAIL(err, SP_E_INPUT,
                       "a rank %d of %d has come from %.63s to rank 0 of %d; each rank is there once, and all say the "
                       "same number",
                       (int)hello.rank, (int)hello.size, hello.host, config->size);
    }
    memcpy(to->hosts[hello.rank], hello.host, sizeof hello.host - 1);
    line[hello.rank] = fd;
    --*missing;
    return SP_OK;
}

static sp_status await_callers(const struct waiting *waiting, struct exec_connections *to, int listener,
                               struct sp_error *err)
{
    int missing = LINES * (waiting->config->size - 1);
    while (missing > 0) {
        struct pollfd at = {.fd = listener, .events = POLLIN};
        SP_TRY(go_on_waiting(waiting, "the other ranks to come", err));
        if (poll(&at, 1, TICK_MS) <= 0)
            continue;
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            SP_TRY(welcome(waiting->config, to, fd, &missing, err));
    }
    for (int rank = 1; rank < waiting->config->size; rank++)
        if (!exec_send_all(to->data[rank], to->hosts, (size_t)to->size * sizeof *to->hosts))
            return SP_FAIL(err, SP_E_IO, "rank %d has gone again", rank);
    return SP_OK;
}

/* ---- the others ---- */

static int call_once(const struct addrinfo *first)
{
    for (const struct addrinfo *at = first; at != NULL; at = at->ai_next) {
        int fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd >= 0 && connect(fd, at->ai_addr, at->ai_addrlen) == 0)
            return fd;
        if (fd >= 0)
            close(fd);
    }
    return -1;
}

static sp_status sent_away(const struct exec_team_config *config, struct sp_error *err)
{
    return SP_FAIL(err, SP_E_IO, "rank 0 at %s:%d has sent rank %d of %d away", config->address, config->port,
                   config->rank, config->size);
}

static bool has_ended(int fd)
{
    char byte;
    ssize_t got = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR);
}

/* `before`: the connection made before this one, or -1. */
static sp_status call(const struct waiting *waiting, int line, const char *host, int before, int *out,
                      struct sp_error *err)
{
    const struct exec_team_config *config = waiting->config;
    struct hello hello = {.rank = config->rank, .size = config->size, .line = line};
    memcpy(hello.magic, magic, sizeof magic);
    snprintf(hello.host, sizeof hello.host, "%s", host);
    while (*out < 0) {
        struct addrinfo *at = find(config, config->address, 0, err);
        if (at == NULL)
            return SP_E_IO;
        *out = call_once(at);
        freeaddrinfo(at);
        if (before >= 0 && has_ended(before))
            return sent_away(config, err);
        if (*out < 0) {
            SP_TRY(go_on_waiting(waiting, "rank 0", err));
            (void)poll(NULL, 0, TICK_MS);
        }
    }
    set_up(*out);
    return exec_send_all(*out, &hello, sizeof hello) ? SP_OK : sent_away(config, err);
}

/* The hosts come when the last rank has. */
static sp_status await_hosts(const struct waiting *waiting, struct exec_connections *to, struct sp_error *err)
{
    struct pollfd at = {.fd = to->data[0], .events = POLLIN};
    while (poll(&at, 1, TICK_MS) <= 0)
        SP_TRY(go_on_waiting(waiting, "the other ranks to come", err));
    if (!exec_receive_all(to->data[0], to->hosts, (size_t)to->size * sizeof *to->hosts))
        return sent_away(waiting->config, err);
    return SP_OK;
}

sp_status exec_connections_open(const struct exec_team_config *config, struct exec_connections *to,
                                struct sp_error *err)
{
    struct waiting waiting = {.config = config};
    *to = (struct exec_connections){.size = config->size};
    to->news = sp_alloc((size_t)config->size * sizeof *to->news);
    to->data = sp_alloc((size_t)config->size * sizeof *to->data);
    to->hosts = sp_calloc((size_t)config->size, sizeof *to->hosts);
    for (int rank = 0; rank < config->size; rank++)
        to->news[rank] = to->data[rank] = -1;
    clock_gettime(CLOCK_MONOTONIC, &waiting.since);
    char *host = to->hosts[config->rank];
    (void)gethostname(host, EXEC_HOST_NAME - 1);
    if (config->rank > 0) {
        SP_TRY(call(&waiting, NEWS, host, -1, &to->news[0], err));
        SP_TRY(call(&waiting, DATA, host, to->news[0], &to->data[0], err));
        return await_hosts(&waiting, to, err);
    }
    int listener;
    SP_TRY(start_listening(config, &listener, err));
    sp_status status = await_callers(&waiting, to, listener, err);
    close(listener);
    return status;
}

void exec_connections_close(struct exec_connections *to)
{
    for (int rank = 0; rank < to->size; rank++) {
        if (to->news[rank] >= 0)
            close(to->news[rank]);
        if (to->data[rank] >= 0)
            close(to->data[rank]);
    }
    free(to->news);
    free(to->data);
    free(to->hosts);
}
