#include "tests/program.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { MOST_WORDS = 32 };

pid_t program_start(const char *said, const char *const *words)
{
    char program[4096], *all[MOST_WORDS + 2] = {"stalepipe"};
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    assert_true(length > 0);
    program[length] = '\0';
    *strrchr(program, '/') = '\0';
    strcpy(strrchr(program, '/'), "/stalepipe"); /* build/tests/x: build/stalepipe */
    for (int w = 0; words[w] != NULL; w++) {
        assert_true(w < MOST_WORDS);
        all[w + 1] = (char *)words[w];
    }
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int out = open(said, O_WRONLY | O_CREAT | O_TRUNC, 0666);
        dup2(out, STDOUT_FILENO);
        dup2(out, STDERR_FILENO);
        signal(SIGINT, SIG_DFL); /* a shell lets those that it starts in the background ignore it */
        signal(SIGTERM, SIG_DFL);
        execv(program, all);
        _exit(127);
    }
    return pid;
}

int program_finish(pid_t pid)
{
    int state;
    assert_int_equal(waitpid(pid, &state, 0), pid);
    return WIFEXITED(state) ? WEXITSTATUS(state) : -1;
}
