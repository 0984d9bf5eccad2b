/*
 * Rank 0 listens where all ranks were told, the others call, once for news and once for data, and say who they are and
 * of which build. Each call is answered, with the reason where the caller is sent away. When all have come each is
 * told the hosts of all, or why rank 0 has given up.
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
enum { TICK_MS = 100, HELLO_S = 5, NEXT_WORD_S = 30, LISTED = 8 };

/* The name that all protocols have, and then the protocol: another one where what is said here or in news changes. */
static const char magic[16] = "stalepipe-team2";
enum { NAME = sizeof "stalepipe-team" - 1 };

/* What a caller says first. In all protocols `magic` comes first. */
struct hello {
    char magic[16];
    char build[96];
    int32_t rank, size, line;
    char host[EXEC_HOST_NAME];
};

/* What it is answered, in all protocols. */
struct answer {
    char magic[16];
    int32_t status; /* not SP_OK: the connection ends here */
    char why[492];
};

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
    double next_word_s;
};

static void say_for_whom(struct waiting *waiting, double waited_s, const char *for_what)
{
    const struct exec_team_config *config = waiting->config;
    if (config->waits == NULL || waited_s < waiting->next_word_s)
        return;
    waiting->next_word_s = waited_s + NEXT_WORD_S;
    char *text = sp_format("rank %d of %d waits for %s at %s:%d, for %.0f s more", config->rank, config->size, for_what,
                           config->address, config->port, config->patience_s - waited_s);
    config->waits(text);
    free(text);
}

static sp_status go_on_waiting(struct waiting *waiting, const char *for_what, struct sp_error *err)
{
    const struct exec_team_config *config = waiting->config;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    double waited_s =
        (double)(now.tv_sec - waiting->since.tv_sec) + 1e-9 * (double)(now.tv_nsec - waiting->since.tv_nsec);
    if (config->stop != NULL && *config->stop != 0)
        return SP_FAIL(err, SP_E_INTERRUPTED, "interrupted");
    if (waited_s > config->patience_s)
        return SP_FAIL(err, SP_E_IO, "rank %d of %d has waited %.0f s for %s at %s:%d", config->rank, config->size,
                       config->patience_s, for_what, config->address, config->port);
    say_for_whom(waiting, waited_s, for_what);
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

static bool answer(int fd, sp_status status, const struct sp_error *err)
{
    struct answer it = {.status = (int32_t)status};
    memcpy(it.magic, magic, sizeof magic);
    if (status != SP_OK)
        snprintf(it.why, sizeof it.why, "%s", err->text);
    return exec_send_all(fd, &it, sizeof it);
}

/* Closes a connection when the caller has read the answer: closing it with words unread would take the answer back. */
static void send_away(int fd)
{
    char rest[256];
    (void)shutdown(fd, SHUT_WR);
    for (int n = 0; n < 64 && recv(fd, rest, sizeof rest, 0) > 0; n++)
        ;
    close(fd);
}

/* Whether a caller belongs here. */
static sp_status check_caller(const struct exec_team_config *config, const struct exec_connections *to,
                              const struct hello *hello, struct sp_error *err)
{
    const char *build = config->build != NULL ? config->build : "";
    const int *line = hello->line == NEWS ? to->news : to->data;
    if (memcmp(hello->magic, magic, sizeof magic) != 0)
        return SP_FAIL(
            err, SP_E_INPUT,
            "a process has come that speaks protocol %.1s, and rank 0 speaks %s; all processes of a run must "
            "be of one build",
            hello->magic + NAME, magic + NAME);
    if (strcmp(hello->build, build) != 0)
        return SP_FAIL(err, SP_E_INPUT,
                       "rank %d on %s is build %s of the program, and rank 0 is build %s; all processes of a run must "
                       "be of one build",
                       (int)hello->rank, hello->host, hello->build, build);
    if (hello->size == config->size && hello->rank > 0 && hello->rank < config->size && line[hello->rank] < 0)
        return SP_OK;
    return SP_FAIL(err, SP_E_INPUT,
                   "a rank %d of %d has come from %s to rank 0 of %d; each rank is there once, and all say the same "
                   "number",
                   (int)hello->rank, (int)hello->size, hello->host, config->size);
}

/* False: it is not of this program. What is of another protocol is not read any further. */
static bool hear(int fd, struct hello *hello)
{
    size_t first = sizeof hello->magic;
    *hello = (struct hello){.rank = -1};
    if (!exec_receive_all(fd, hello, first) || memcmp(hello->magic, magic, NAME) != 0)
        return false;
    if (memcmp(hello->magic, magic, sizeof magic) == 0 &&
        !exec_receive_all(fd, (char *)hello + first, sizeof *hello - first))
        return false;
    hello->build[sizeof hello->build - 1] = hello->host[sizeof hello->host - 1] = '\0';
    return true;
}

/* Someone has called. */
static sp_status welcome(const struct exec_team_config *config, struct exec_connections *to, int fd, int *missing,
                         struct sp_error *err)
{
    struct hello hello;
    set_up(fd);
    set_patience(fd, HELLO_S);
    if (!hear(fd, &hello)) {
        close(fd);
        return SP_OK;
    }
    sp_status status = check_caller(config, to, &hello, err);
    if (!answer(fd, status, err) || status != SP_OK) {
        send_away(fd);
        return status;
    }
    set_patience(fd, 0);
    memcpy(to->hosts[hello.rank], hello.host, sizeof hello.host);
    (hello.line == NEWS ? to->news : to->data)[hello.rank] = fd;
    --*missing;
    return SP_OK;
}

/* "rank 1", "ranks 1, 4 and 5": those that have not come with all their lines. */
static void name_missing(const struct exec_connections *to, char *text, size_t size)
{
    int missing[LISTED], count = 0;
    for (int rank = 1; rank < to->size; rank++)
        if (to->news[rank] < 0 || to->data[rank] < 0) {
            if (count < LISTED)
                missing[count] = rank;
            count++;
        }
    size_t used = (size_t)snprintf(text, size, count == 1 ? "rank" : "ranks");
    for (int m = 0; m < count && m < LISTED; m++) {
        const char *between = m == 0 ? " " : m == count - 1 ? " and " : ", ";
        used += (size_t)snprintf(text + used, size - used, "%s%d", between, missing[m]);
    }
    if (count > LISTED)
        snprintf(text + used, size - used, " and %d more", count - LISTED);
}

static sp_status await_callers(struct waiting *waiting, struct exec_connections *to, int listener, struct sp_error *err)
{
    int missing = LINES * (waiting->config->size - 1);
    while (missing > 0) {
        struct pollfd at = {.fd = listener, .events = POLLIN};
        char names[160];
        name_missing(to, names, sizeof names);
        SP_TRY(go_on_waiting(waiting, names, err));
        if (poll(&at, 1, TICK_MS) <= 0)
            continue;
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            SP_TRY(welcome(waiting->config, to, fd, &missing, err));
    }
    return SP_OK;
}

/* All have come, and are told who is where; or why rank 0 does not wait any longer. */
static sp_status tell_callers(const struct exec_connections *to, sp_status status, struct sp_error *err)
{
    for (int rank = 1; rank < to->size; rank++) {
        int fd = to->data[rank] >= 0 ? to->data[rank] : to->news[rank];
        bool told = fd >= 0 && answer(fd, status, err);
        if (status == SP_OK &&
            (!told || !exec_send_all(to->data[rank], to->hosts, (size_t)to->size * sizeof *to->hosts)))
            return SP_FAIL(err, SP_E_IO, "rank %d has gone again", rank);
    }
    return status;
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

/* What rank 0 answers; `does`: what it has done where it says no. `before`: a connection that was welcome, where it may
 * have said why it says nothing here; -1: none. */
static sp_status await_answer(struct waiting *waiting, int fd, int before, const char *for_what, const char *does,
                              struct sp_error *err)
{
    const struct exec_team_config *config = waiting->config;
    struct pollfd at = {.fd = fd, .events = POLLIN};
    struct answer it;
    while (poll(&at, 1, TICK_MS) <= 0)
        SP_TRY(go_on_waiting(waiting, for_what, err));
    bool answered = exec_receive_all(fd, &it, sizeof it) && memcmp(it.magic, magic, NAME) == 0;
    if (!answered && before >= 0)
        return await_answer(waiting, before, -1, for_what, "given up", err);
    if (!answered)
        return SP_FAIL(
            err, SP_E_IO,
            "rank 0 at %s:%d has ended its connection with rank %d of %d without a word; is it there, and of "
            "the same build?",
            config->address, config->port, config->rank, config->size);
    it.why[sizeof it.why - 1] = '\0';
    if (it.status == SP_OK)
        return SP_OK;
    sp_status status = it.status > 0 && it.status < SP_STATUS_COUNT ? (sp_status)it.status : SP_E_IO;
    return SP_FAIL(err, status, "rank 0 at %s:%d has %s: %s", config->address, config->port, does, it.why);
}

static bool has_words(int fd)
{
    struct pollfd at = {.fd = fd, .events = POLLIN};
    return fd >= 0 && poll(&at, 1, 0) > 0;
}

/* `before`: the connection made before this one, or -1. */
static sp_status call(struct waiting *waiting, int line, const char *host, int before, int *out, struct sp_error *err)
{
    const struct exec_team_config *config = waiting->config;
    struct hello hello = {.rank = config->rank, .size = config->size, .line = line};
    char away[64];
    memcpy(hello.magic, magic, sizeof magic);
    snprintf(hello.build, sizeof hello.build, "%s", config->build != NULL ? config->build : "");
    snprintf(hello.host, sizeof hello.host, "%s", host);
    snprintf(away, sizeof away, "sent rank %d of %d away", config->rank, config->size);
    while (*out < 0) {
        struct addrinfo *at = find(config, config->address, 0, err);
        if (at == NULL)
            return SP_E_IO;
        *out = call_once(at);
        freeaddrinfo(at);
        if (*out < 0 && has_words(before)) /* they are not good */
            return await_answer(waiting, before, -1, "rank 0", "given up", err);
        if (*out < 0) {
            SP_TRY(go_on_waiting(waiting, "rank 0", err));
            (void)poll(NULL, 0, TICK_MS);
        }
    }
    set_up(*out);
    (void)exec_send_all(*out, &hello, sizeof hello); /* where it cannot be sent there is no answer */
    return await_answer(waiting, *out, before, "an answer of rank 0", away, err);
}

/* The hosts come when the last rank has. */
static sp_status await_hosts(struct waiting *waiting, struct exec_connections *to, struct sp_error *err)
{
    SP_TRY(await_answer(waiting, to->data[0], to->news[0], "the other ranks to come to rank 0", "given up", err));
    if (!exec_receive_all(to->data[0], to->hosts, (size_t)to->size * sizeof *to->hosts))
        return SP_FAIL(err, SP_E_IO, "rank 0 has gone again");
    return SP_OK;
}

sp_status exec_connections_open(const struct exec_team_config *config, struct exec_connections *to,
                                struct sp_error *err)
{
    struct waiting waiting = {.config = config, .next_word_s = config->first_word_s};
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
    return tell_callers(to, status, err);
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
