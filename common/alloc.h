/*
 * alloc.h - memory for small host structures.
 *
 * sp_alloc never returns NULL: a program that cannot get a few kilobytes for a list stops with one line.
 * What the experiment sizes (tensors, traces) is taken elsewhere and returns a status. Free with free().
 */
#ifndef SP_ALLOC_H
#define SP_ALLOC_H

#include <stddef.h>
#include <stdint.h>

void *sp_alloc(size_t bytes);                    /* uninitialised */
void *sp_calloc(size_t count, size_t size);      /* zeroed; count * size is checked for overflow */
void *sp_alloc_lines(size_t count, size_t size); /* zeroed, from the start of a cache line on */
void *sp_realloc(void *old, size_t bytes);
char *sp_strdup(const char *text); /* NULL gives NULL */
char *sp_format(const char *format, ...)
    __attribute__((format(printf, 1, 2), nonnull(1), returns_nonnull)); /* the caller frees */

/* Makes room for one more element in a growing array: `*array` has `count` elements of `size` bytes, and
 * capacities are powers of two (no capacity field needed). Returns the address of the new element. */
void *sp_grow(void **array, int count, size_t size);

/* Appends a number to such an array. */
void sp_append(int64_t **array, int *count, int64_t value);

#endif
