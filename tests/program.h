/* program.h - build/stalepipe itself, as a user has it, for the suites in build/tests. */
#ifndef TESTS_PROGRAM_H
#define TESTS_PROGRAM_H

#include <sys/types.h>

/* Starts it with these words, ended by NULL; what it says, on both streams, goes to the file `said`. */
pid_t program_start(const char *said, const char *const *words);

/* Its exit status; -1: it was killed. */
int program_finish(pid_t pid);

#endif
