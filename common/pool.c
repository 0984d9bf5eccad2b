#include "common/pool.h"
#include "common/alloc.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TICK_MS = 200 };

struct child {
    pid_t pid;          /* 0: there is none */
    int tasks, answers; /* pipes: to it, and from it */
    int said;           /* what it wrote to stderr, a file in memory */
    int task;           /* -1: it has none */
};

/* Whole reads and writes; false: the other end is gone. */
static bool read_all(int fd, void *to, size_t size)
{
    for (char *at = to; size > 0;) {
        ssize_t got = read(fd, at, size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        at += got;
        size -= (size_t)got;
    }
    return true;
}

static bool write_all(int fd, const void *from, size_t size)
{
    for (const char *at = from; size > 0;) {
        ssize_t put = write(fd, at, size);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return false;
        at += put;
        size -= (size_t)put;
    }
    return true;
}

/* The child's life: a task, its answer, and again, until the parent closes its end. */
static _Noreturn void live(const struct sp_pool_config *config, const struct child *self, pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);            /* it died before */
    signal(SIGINT, SIG_IGN); /* the parent decides */
    signal(SIGTERM, SIG_DFL);
    dup2(self->said, STDERR_FILENO);
    int32_t task;
    while (read_all(self->tasks, &task, sizeof task)) {
        char *answer = config->work(config->self, task);
        uint32_t size = (uint32_t)strlen(answer);
        if (!write_all(self->answers, &size, sizeof size) || !write_all(self->answers, answer, size))
            break;
        free(answer);
    }
    _exit(0);
}

static sp_status start(const struct sp_pool_config *config, struct child *child, struct child *all,
                       struct sp_error *err)
{
    int down[2] = {-1, -1}, up[2] = {-1, -1};
    int said = memfd_create("stderr", MFD_CLOEXEC);
    pid_t parent = getpid(), pid = -1;
    fflush(NULL); /* else the child has what was not yet written too */
    if (said >= 0 && pipe(down) == 0 && pipe(up) == 0)
        pid = fork();
    if (pid < 0) {
        SP_FAIL(err, SP_E_IO, "cannot start a process: %s", strerror(errno));
        int ends[] = {said, down[0], down[1], up[0], up[1]};
        for (int e = 0; e < 5; e++)
            if (ends[e] >= 0)
                close(ends[e]);
        return SP_E_IO;
    }
    if (pid == 0) {
        close(down[1]);
        close(up[0]);
        for (int c = 0; c < config->children; c++) /* else those would not see the parent close its ends */
            if (all[c].pid != 0) {
                close(all[c].tasks);
                close(all[c].answers);
            }
        live(config, &(struct child){.tasks = down[0], .answers = up[1], .said = said}, parent);
    }
    close(down[0]);
    close(up[1]);
    *child = (struct child){.pid = pid, .tasks = down[1], .answers = up[0], .said = said, .task = -1};
    return SP_OK;
}

/* Waits for a child whose pipes are closed, or that is dead. */
static int end(struct child *child, bool kill_it)
{
    int state = 0;
    close(child->tasks);
    close(child->answers);
    if (kill_it)
        kill(child->pid, SIGKILL);
    while (waitpid(child->pid, &state, 0) < 0 && errno == EINTR)
        ;
    close(child->said);
    child->pid = 0;
    return state;
}

/* The last line that a child wrote to stderr, into a buffer. */
static void last_words(const struct child *child, char *buffer, size_t room)
{
    off_t size = lseek(child->said, 0, SEEK_END);
    off_t from = size > (off_t)room - 1 ? size - (off_t)room + 1 : 0;
    ssize_t got = pread(child->said, buffer, room - 1, from);
    buffer[got > 0 ? got : 0] = '\0';
    size_t length = strlen(buffer);
    while (length > 0 && buffer[length - 1] == '\n')
        buffer[--length] = '\0';
    char *line = strrchr(buffer, '\n');
    if (line != NULL)
        memmove(buffer, line + 1, strlen(line + 1) + 1);
}

static sp_status bury(const struct sp_pool_config *config, struct child *child, struct sp_error *err)
{
    char words[512], *reason;
    int task = child->task;
    last_words(child, words, sizeof words);
    int state = end(child, false);
    const char *gap = words[0] != '\0' ? ": " : "";
    if (WIFSIGNALED(state))
        reason = sp_format("its process was killed by signal %d (%s)%s%s", WTERMSIG(state), strsignal(WTERMSIG(state)),
                           gap, words);
    else
        reason = sp_format("its process ended with status %d%s%s", WEXITSTATUS(state), gap, words);
    sp_status status = task >= 0 ? config->done(config->self, task, NULL, reason, err) : SP_OK;
    free(reason);
    return status;
}

/* Takes one answer. */
static sp_status hear(const struct sp_pool_config *config, struct child *child, struct sp_error *err)
{
    uint32_t size;
    char *answer = NULL;
    bool whole = read_all(child->answers, &size, sizeof size);
    if (whole) {
        answer = sp_calloc((size_t)size + 1, 1);
        whole = read_all(child->answers, answer, size);
    }
    sp_status status = whole ? config->done(config->self, child->task, answer, NULL, err) : bury(config, child, err);
    free(answer);
    child->task = -1;
    if (whole && config->fresh)
        end(child, false);
    return status;
}

/* Gives every idle child a task; true: somebody is at work. */
static sp_status hand_out(const struct sp_pool_config *config, struct child *children, bool *more, bool *working,
                          struct sp_error *err)
{
    *working = false;
    for (int c = 0; c < config->children; c++) {
        struct child *child = &children[c];
        if (child->task < 0 && *more) {
            int32_t task = config->next(config->self);
            *more = task >= 0;
            if (*more && child->pid == 0)
                SP_TRY(start(config, child, children, err));
            if (*more && !write_all(child->tasks, &task, sizeof task)) {
                child->task = task; /* it died while idle */
                SP_TRY(bury(config, child, err));
                child->task = -1;
            } else if (*more) {
                child->task = task;
            }
        }
        *working |= child->task >= 0;
    }
    return SP_OK;
}

static sp_status listen(const struct sp_pool_config *config, struct child *children, struct pollfd *ears,
                        struct sp_error *err)
{
    for (int c = 0; c < config->children; c++)
        ears[c] = (struct pollfd){.fd = children[c].task >= 0 ? children[c].answers : -1, .events = POLLIN};
    if (poll(ears, (nfds_t)config->children, TICK_MS) < 0 && errno != EINTR)
        return SP_FAIL(err, SP_E_IO, "cannot wait for processes: %s", strerror(errno));
    for (int c = 0; c < config->children; c++)
        if (ears[c].fd >= 0 && ears[c].revents != 0)
            SP_TRY(hear(config, &children[c], err));
    return SP_OK;
}

sp_status sp_pool_run(const struct sp_pool_config *config, struct sp_error *err)
{
    struct child *children = sp_calloc((size_t)config->children, sizeof *children);
    struct pollfd *ears = sp_calloc((size_t)config->children, sizeof *ears);
    void (*old_pipe)(int) = signal(SIGPIPE, SIG_IGN);
    sp_status status = SP_OK;
    bool more = true, working = true;
    for (int c = 0; c < config->children; c++)
        children[c].task = -1;
    while (status == SP_OK && working) {
        if (config->stop != NULL && *config->stop != 0) {
            status = SP_FAIL(err, SP_E_INTERRUPTED, "stopped");
            break;
        }
        status = hand_out(config, children, &more, &working, err);
        if (status == SP_OK && working)
            status = listen(config, children, ears, err);
        if (status == SP_OK)
            status = config->pause(config->self, err);
    }
    for (int c = 0; c < config->children; c++)
        if (children[c].pid != 0)
            end(&children[c], status != SP_OK);
    signal(SIGPIPE, old_pipe);
    free(children);
    free(ears);
    return status;
}

int sp_pool_processors(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}
