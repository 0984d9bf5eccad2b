/*
 * planted.c - runs planted faults and looks at how they end.
 */
#include "tests/cudasim/cudasim.h"
#include "tests/cudasim/planted.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#ifdef CUDASIM_TSAN
#define TSAN 1
#else
#define TSAN 0
#endif

#define TSAN_STATUS 66
#define LEAK_STATUS 23

/* Runs one in a process of its own; what it says goes to `text`. Returns the status of wait(). */
static int run_apart(const struct planted *fault, char *text, size_t size)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        execl("/proc/self/exe", "planted", fault->name, (char *)NULL);
        _exit(97);
    }
    close(ends[1]);
    size_t length = 0;
    for (ssize_t got; (got = read(ends[0], text + length, size - 1 - length)) > 0;)
        length += (size_t)got;
    text[length] = '\0';
    close(ends[0]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static bool ended_as(enum planted_kind kind, int status)
{
    switch (kind) {
    case FAULT:
    case SEGMENT:
        return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
    case LEAK:
        return WIFEXITED(status) && WEXITSTATUS(status) == LEAK_STATUS;
    case RACE:
        if (!TSAN)
            return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
        __attribute__((fallthrough));
    case HOST_RACE:
        return WIFEXITED(status) && WEXITSTATUS(status) == TSAN_STATUS;
    default:
        return WIFEXITED(status) && WEXITSTATUS(status) == 0;
    }
}

static void is_reported(void **state)
{
    const struct planted *fault = *state;
    if (fault->kind == HOST_RACE && !TSAN)
        skip();
    static char text[1 << 16];
    int status = run_apart(fault, text, sizeof text);
    if (fault->kind == RACE || fault->kind == HOST_RACE) {
        const char *race = TSAN ? "ThreadSanitizer: data race" : "which is not ordered after";
        if (strstr(text, race) == NULL)
            fail_msg("%s: not said: \"%s\"; status %#x, it said:\n%s", fault->name, race, (unsigned)status, text);
    }
    for (int i = 0; i < 2; i++)
        if (fault->says[i] != NULL && strstr(text, fault->says[i]) == NULL)
            fail_msg("%s: not said: \"%s\"; status %#x, it said:\n%s", fault->name, fault->says[i], (unsigned)status,
                     text);
    if (!ended_as(fault->kind, status))
        fail_msg("%s: ended with status %#x, it said:\n%s", fault->name, (unsigned)status, text);
}

int planted_main(int argc, char **argv, const char *suite, const struct planted *list, int count, void (*set_up)(void))
{
    struct CMUnitTest *tests = calloc((size_t)count, sizeof *tests);
    if (tests == NULL)
        abort();
    for (int i = 0; i < count; i++) {
        if (argc == 2 && strcmp(argv[1], list[i].name) == 0) {
            free(tests);
            cudasim_set_order_check(!(TSAN && list[i].kind == RACE));
            set_up();
            list[i].run();
            return 0;
        }
        tests[i] = (struct CMUnitTest){list[i].name, is_reported, NULL, NULL, (void *)&list[i]};
    }
    int failed = _cmocka_run_group_tests(suite, tests, (size_t)count, NULL, NULL);
    free(tests);
    return failed;
}
