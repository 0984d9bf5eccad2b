/*
 * handle.h - what handles of libraries have in common; the first member of each.
 */
#ifndef CUDASIM_HANDLE_H
#define CUDASIM_HANDLE_H

#include "tests/cudasim/inside.h"

struct cudasim_handle {
    const char *kind;
    int device;
    cudaStream_t stream; /* NULL until set: strict, for it would be the NULL stream */
    size_t bytes;        /* of the device */
    struct cudasim_handle *next;
};

/* False: its device has no memory left for it. */
bool cudasim_handle_open(struct cudasim_handle *handle, const char *kind);
int cudasim_handle_close(struct cudasim_handle *handle, int invalid);
int cudasim_handle_check(const struct cudasim_handle *handle, int invalid);
int cudasim_handle_set_stream(struct cudasim_handle *handle, cudaStream_t stream, int invalid);

/* cudasim_op_begin in the stream of a handle; `code` is what cudasim_enter has said. */
struct cudasim_op *cudasim_handle_begin(struct cudasim_handle *handle, int code, size_t bytes, void (*run)(void *),
                                        int invalid);

#endif
