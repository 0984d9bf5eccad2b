/*
 * error.h - how failures travel.
 *
 * Three kinds: the user's input is wrong (sp_reject, SP_E_INPUT, exit 2; many may be collected before giving
 * up), something failed while running (SP_FAIL, exit 1), and we have a bug (SP_ASSERT, abort). Modules never
 * print or exit for the first two; the program does. A sp_error belongs to one thread.
 */
#ifndef SP_ERROR_H
#define SP_ERROR_H

#include <stdbool.h>
#include <stdint.h>

#if defined(__GNUC__)
#define SP_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define SP_PRINTF(text, first)
#endif

/* Every status code with its name and text, once. */
#define SP_STATUS_LIST(X)                                                                                              \
    X(SP_OK, "no error")                                                                                               \
    X(SP_E_INPUT, "wrong input")                                                                                       \
    X(SP_E_MEMORY, "out of memory")                                                                                    \
    X(SP_E_IO, "input or output failed")                                                                               \
    X(SP_E_BACKEND, "a compute library failed")                                                                        \
    X(SP_E_UNSUPPORTED, "not supported")                                                                               \
    X(SP_E_INTERRUPTED, "interrupted")                                                                                 \
    X(SP_E_DEADLOCK, "nothing can go on")

typedef enum sp_status {
#define SP_STATUS_ENUM(code, text) code,
    SP_STATUS_LIST(SP_STATUS_ENUM)
#undef SP_STATUS_ENUM
        SP_STATUS_COUNT
} sp_status;

/* Where in the user's input a value stands. `file` is borrowed from the document that was read and lives as long.
 * Line and column count from 1; line 0: no position (a command-line option, say), and then only `file` is printed. */
struct sp_mark {
    const char *file;
    int line;
    int column;
};

/* What went wrong, as lines of text. Zero-initialise ({0}); free with sp_error_fini. */
struct sp_error {
    sp_status status;   /* of the first message */
    int count;          /* messages of sp_reject and SP_FAIL so far */
    char *text;         /* all messages, newline-separated, no newline at the end; NULL when empty */
    const char *source; /* our file and line of the first SP_FAIL, for -v; NULL for wrong input */
    int source_line;
};

void sp_error_fini(struct sp_error *err);
void sp_error_clear(struct sp_error *err);

/* The text of a code, e.g. "out of memory". */
const char *sp_status_text(sp_status status);

/* The process exit status that belongs to a code: 0, 1 or 2. */
int sp_status_exit(sp_status status);

/* Appends one line "file:line:column: message" and returns SP_E_INPUT. `err` may collect many such lines. */
sp_status sp_reject(struct sp_error *err, struct sp_mark mark, const char *format, ...) SP_PRINTF(3, 4);

/* Appends one line and returns `code`. Use through SP_FAIL. */
sp_status sp_fail(struct sp_error *err, sp_status code, const char *source, int line, const char *format, ...)
    SP_PRINTF(5, 6);
#define SP_FAIL(err, code, ...) sp_fail(err, code, __FILE__, __LINE__, __VA_ARGS__)

/* A caller that knows more adds one line below the messages so far, e.g. "while reading experiments/a.yaml". */
void sp_error_context(struct sp_error *err, const char *format, ...) SP_PRINTF(2, 3);

/* Returns early with the status of `call`; for functions with nothing to clean up. */
#define SP_TRY(call)                                                                                                   \
    do {                                                                                                               \
        sp_status sp_try_status = (call);                                                                              \
        if (sp_try_status != SP_OK)                                                                                    \
            return sp_try_status;                                                                                      \
    } while (0)

/* A bug: prints the condition, the values given and our file:line, and aborts. Always on. */
#define SP_ASSERT(cond, ...)                                                                                           \
    do {                                                                                                               \
        if (!(cond))                                                                                                   \
            sp_assert_failed(#cond, __FILE__, __LINE__, __VA_ARGS__);                                                  \
    } while (0)
_Noreturn void sp_assert_failed(const char *cond, const char *source, int line, const char *format, ...)
    SP_PRINTF(4, 5);

/* Costly checks; compiled always, run in debug and sanitizer builds (-DSP_DEBUG=1). */
#ifndef SP_DEBUG
#define SP_DEBUG 0
#endif

/* The element of names[0..count) nearest to `word` by edit distance, or NULL when none is near: "did you mean". */
const char *sp_nearest(const char *word, const char *const *names, int count);

#endif
