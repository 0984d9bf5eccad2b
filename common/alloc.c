#include "common/alloc.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *or_stop(void *memory, size_t bytes)
{
    if (memory == NULL && bytes > 0) {
        fprintf(stderr, "stalepipe: out of memory (%zu bytes)\n", bytes);
        exit(1);
    }
    return memory;
}

void *sp_alloc(size_t bytes)
{
    return or_stop(malloc(bytes), bytes);
}

void *sp_calloc(size_t count, size_t size)
{
    if (size != 0 && count > SIZE_MAX / size)
        return or_stop(NULL, SIZE_MAX);
    return or_stop(calloc(count, size), count * size);
}

void *sp_alloc_lines(size_t count, size_t size)
{
    enum { LINE = 64 };
    if (size != 0 && count > (SIZE_MAX - LINE) / size)
        return or_stop(NULL, SIZE_MAX);
    size_t bytes = (count * size + LINE) / LINE * LINE;
    return memset(or_stop(aligned_alloc(LINE, bytes), bytes), 0, bytes);
}

void *sp_realloc(void *old, size_t bytes)
{
    return or_stop(realloc(old, bytes), bytes);
}

char *sp_strdup(const char *text)
{
    if (text == NULL)
        return NULL;
    size_t bytes = strlen(text) + 1;
    return memcpy(sp_alloc(bytes), text, bytes);
}

char *sp_format(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *text = sp_alloc((size_t)length + 1);
    va_start(args, format);
    vsnprintf(text, (size_t)length + 1, format, args);
    va_end(args);
    return text;
}

void *sp_grow(void **array, int count, size_t size)
{
    if ((count & (count - 1)) == 0)
        *array = sp_realloc(*array, (count == 0 ? 1 : 2 * (size_t)count) * size);
    char *element = (char *)*array + (size_t)count * size;
    memset(element, 0, size);
    return element;
}

void sp_append(int64_t **array, int *count, int64_t value)
{
    *(int64_t *)sp_grow((void **)array, *count, sizeof value) = value;
    (*count)++;
}
