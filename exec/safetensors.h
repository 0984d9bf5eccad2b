/*
 * safetensors.h - files of named tensors, as the Python package `safetensors` reads and writes them.
 *
 * A file is 8 bytes (little-endian: length of the header), a JSON header that gives each tensor its type, shape and
 * bytes, and the bytes. Source: the format's description at github.com/huggingface/safetensors. Our files also carry
 * a CRC-32 in their metadata ("crc32", 8 hexadecimal digits), of the header with eight zeros in that place and of all
 * bytes behind it, so that damage is noticed; files without it are read unchecked, and older ones of ours by the bytes
 * behind the header alone.
 */
#ifndef EXEC_SAFETENSORS_H
#define EXEC_SAFETENSORS_H

#include "common/error.h"

#include <jansson.h>

#include <stddef.h>
#include <stdio.h>

enum { EXEC_TENSOR_DIMS = 4 };

enum exec_tensor_type { EXEC_TENSOR_F32, EXEC_TENSOR_U8 };

/* What a tensor is called and how large it is. */
struct exec_tensor {
    char name[96];
    enum exec_tensor_type type;
    int dims;
    int64_t shape[EXEC_TENSOR_DIMS];
};

size_t exec_tensor_bytes(const struct exec_tensor *tensor);

/*
 * Writes a file: `metadata` (strings only; borrowed) and `count` tensors, whose bytes `write` gives one after another,
 * in their order, by exec_tensor_sink_write. The file appears whole or not at all (common/file.h).
 */
struct exec_tensor_sink;
void exec_tensor_sink_write(struct exec_tensor_sink *sink, const void *bytes, size_t count);
sp_status exec_safetensors_write(const char *path, json_t *metadata, const struct exec_tensor *tensors, int count,
                                 sp_status (*write)(void *self, int tensor, struct exec_tensor_sink *sink,
                                                    struct sp_error *err),
                                 void *self, struct sp_error *err);

struct exec_safetensors; /* an open file */

/* Opens a file and checks it whole: header, that tensors fill the file without gaps or overlaps, CRC-32. What is wrong
 * with a file that is not as it should be is SP_E_INPUT and names the file. The caller closes *out. */
sp_status exec_safetensors_open(const char *path, struct exec_safetensors **out, struct sp_error *err);
void exec_safetensors_close(struct exec_safetensors **file);

/* The metadata text of that key, or NULL. Valid until close. */
const char *exec_safetensors_metadata(const struct exec_safetensors *file, const char *key);

/* Reads the tensor called as `expected` says into exec_tensor_bytes(expected) bytes. SP_E_INPUT when the file has none
 * of that name, type and shape. `into` NULL: checks only. */
sp_status exec_safetensors_read(struct exec_safetensors *file, const struct exec_tensor *expected, void *into,
                                struct sp_error *err);

#endif
