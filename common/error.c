#include "common/error.h"
#include "common/alloc.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const status_texts[] = {
#define STATUS_TEXT(code, text) [code] = text,
    SP_STATUS_LIST(STATUS_TEXT)
#undef STATUS_TEXT
};

void sp_error_fini(struct sp_error *err)
{
    if (err == NULL)
        return;
    free(err->text);
    memset(err, 0, sizeof *err);
}

void sp_error_clear(struct sp_error *err)
{
    sp_error_fini(err);
}

const char *sp_status_text(sp_status status)
{
    SP_ASSERT(status >= 0 && status < SP_STATUS_COUNT, "status %d", (int)status);
    return status_texts[status];
}

int sp_status_exit(sp_status status)
{
    if (status == SP_OK)
        return 0;
    return status == SP_E_INPUT ? 2 : 1;
}

static void append_line(struct sp_error *err, const char *prefix, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, again);
    va_end(again);
    size_t old = err->text != NULL ? strlen(err->text) : 0;
    size_t size = old + 1 + strlen(prefix) + (size_t)length + 1;
    char *text = sp_alloc(size);
    char *end = text;
    if (err->text != NULL)
        end += sprintf(end, "%s\n", err->text);
    end += sprintf(end, "%s", prefix);
    vsnprintf(end, size - (size_t)(end - text), format, args);
    free(err->text);
    err->text = text;
}

sp_status sp_reject(struct sp_error *err, struct sp_mark mark, const char *format, ...)
{
    char prefix[512] = "";
    if (mark.file != NULL && mark.line > 0)
        snprintf(prefix, sizeof prefix, "%s:%d:%d: ", mark.file, mark.line, mark.column);
    else if (mark.file != NULL)
        snprintf(prefix, sizeof prefix, "%s: ", mark.file);
    va_list args;
    va_start(args, format);
    append_line(err, prefix, format, args);
    va_end(args);
    if (err->count++ == 0)
        err->status = SP_E_INPUT;
    return SP_E_INPUT;
}

sp_status sp_fail(struct sp_error *err, sp_status code, const char *source, int line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    append_line(err, "", format, args);
    va_end(args);
    if (err->count++ == 0) {
        err->status = code;
        err->source = source;
        err->source_line = line;
    }
    return code;
}

void sp_error_context(struct sp_error *err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    append_line(err, "  ", format, args);
    va_end(args);
}

void sp_assert_failed(const char *cond, const char *source, int line, const char *format, ...)
{
    fprintf(stderr, "stalepipe: bug at %s:%d: %s is false: ", source, line, cond);
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    abort();
}

/* Levenshtein distance by one row. Words of the user's input, so short; longer than 63 counts as far away. */
static int edit_distance(const char *a, const char *b)
{
    int row[64];
    int rows = (int)strlen(a), columns = (int)strlen(b);
    if (rows > 63 || columns > 63)
        return 64;
    for (int j = 0; j <= columns; j++)
        row[j] = j;
    for (int i = 1; i <= rows; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= columns; j++) {
            int change = diagonal + (a[i - 1] != b[j - 1]);
            int insert = row[j - 1] + 1, drop = row[j] + 1;
            diagonal = row[j];
            row[j] = change < insert ? change : insert;
            if (drop < row[j])
                row[j] = drop;
        }
    }
    return row[columns];
}

const char *sp_nearest(const char *word, const char *const *names, int count)
{
    const char *best = NULL;
    int best_distance = (int)strlen(word) / 3 + 2;
    for (int i = 0; i < count; i++) {
        int distance = edit_distance(word, names[i]);
        if (distance < best_distance) {
            best_distance = distance;
            best = names[i];
        }
    }
    return best;
}
