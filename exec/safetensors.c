#include "exec/safetensors.h"
#include "common/alloc.h"
#include "common/file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { LENGTH_BYTES = 8, HEADER_LIMIT = 100 << 20, PIECE = 1 << 20 };

static const struct {
    const char *name;
    size_t bytes;
} types[] = {[EXEC_TENSOR_F32] = {"F32", 4}, [EXEC_TENSOR_U8] = {"U8", 1}};

size_t exec_tensor_bytes(const struct exec_tensor *tensor)
{
    size_t bytes = types[tensor->type].bytes;
    for (int d = 0; d < tensor->dims; d++)
        bytes *= (size_t)tensor->shape[d];
    return bytes;
}

struct exec_tensor_sink {
    FILE *stream;
    uLong crc;
    size_t bytes;
};

static uLong crc_of(uLong crc, const void *bytes, size_t count)
{
    for (const unsigned char *at = bytes; count > 0;) {
        uInt piece = count < PIECE ? (uInt)count : PIECE;
        crc = crc32(crc, at, piece);
        at += piece;
        count -= piece;
    }
    return crc;
}

void exec_tensor_sink_write(struct exec_tensor_sink *sink, const void *bytes, size_t count)
{
    sink->crc = crc_of(sink->crc, bytes, count);
    sink->bytes += count;
    fwrite(bytes, 1, count, sink->stream); /* a failure is seen when the file is committed */
}

static json_t *shape_json(const struct exec_tensor *tensor)
{
    json_t *shape = json_array();
    for (int d = 0; d < tensor->dims; d++)
        json_array_append_new(shape, json_integer(tensor->shape[d]));
    return shape;
}

static const char crc_unknown[] = "00000000", crc_key[] = "\"crc32\":\"";

/* Where the header's text has the checksum's digits; NULL: it has none. */
static char *crc_place(const char *header)
{
    char *key = strstr(header, crc_key);
    return key == NULL ? NULL : key + strlen(crc_key);
}

/* The header as text, padded to a multiple of 8 as the format wants; the checksum is not known yet. */
static char *make_header(json_t *metadata, const struct exec_tensor *tensors, int count)
{
    json_t *header = json_object(), *words = json_copy(metadata);
    json_object_set_new(words, "crc32", json_string(crc_unknown));
    json_object_set_new(header, "__metadata__", words);
    size_t at = 0;
    for (int t = 0; t < count; t++) {
        size_t end = at + exec_tensor_bytes(&tensors[t]);
        json_t *one = json_pack("{s:s, s:o, s:[I, I]}", "dtype", types[tensors[t].type].name, "shape",
                                shape_json(&tensors[t]), "data_offsets", (json_int_t)at, (json_int_t)end);
        json_object_set_new(header, tensors[t].name, one);
        at = end;
    }
    char *text = json_dumps(header, JSON_COMPACT);
    size_t length = strlen(text), padded = (length + 7) / 8 * 8;
    text = sp_realloc(text, padded + 1);
    memset(text + length, ' ', padded - length);
    text[padded] = '\0';
    json_decref(header);
    return text;
}

/* Puts the checksum, of the header without it and of the data, where the header keeps room for it. */
static void write_crc(FILE *stream, const char *header, uLong crc)
{
    const char *place = crc_place(header);
    SP_ASSERT(place != NULL, "no room for the checksum in %.80s", header);
    fflush(stream);
    if (fseek(stream, LENGTH_BYTES + (long)(place - header), SEEK_SET) == 0)
        fprintf(stream, "%08lx", crc);
}

sp_status exec_safetensors_write(const char *path, json_t *metadata, const struct exec_tensor *tensors, int count,
                                 sp_status (*write)(void *self, int tensor, struct exec_tensor_sink *sink,
                                                    struct sp_error *err),
                                 void *self, struct sp_error *err)
{
    struct sp_file file;
    SP_TRY(sp_file_begin(&file, path, err));
    char *header = make_header(metadata, tensors, count);
    uint64_t length = strlen(header);
    unsigned char bytes[LENGTH_BYTES];
    for (int b = 0; b < LENGTH_BYTES; b++)
        bytes[b] = (unsigned char)(length >> 8 * b);
    fwrite(bytes, 1, sizeof bytes, file.stream);
    fputs(header, file.stream);
    struct exec_tensor_sink sink = {.stream = file.stream, .crc = crc_of(crc32(0, NULL, 0), header, length)};
    sp_status status = SP_OK;
    for (int t = 0; t < count && status == SP_OK && !ferror(file.stream); t++) {
        size_t before = sink.bytes;
        status = write(self, t, &sink, err);
        SP_ASSERT(status != SP_OK || sink.bytes - before == exec_tensor_bytes(&tensors[t]), "%s: %zu bytes",
                  tensors[t].name, sink.bytes - before);
    }
    write_crc(file.stream, header, sink.crc);
    free(header);
    if (status == SP_OK)
        return sp_file_commit(&file, err);
    sp_file_abort(&file);
    return status;
}

struct exec_safetensors {
    char *path;
    FILE *stream;
    json_t *header;
    size_t data_at, data_bytes;
};

static sp_status damaged(const struct exec_safetensors *file, struct sp_error *err, const char *what)
{
    return sp_reject(err, (struct sp_mark){.file = file->path}, "%s", what);
}

static sp_status read_header(struct exec_safetensors *file, size_t file_bytes, struct sp_error *err)
{
    unsigned char bytes[LENGTH_BYTES];
    uint64_t length = 0;
    if (fread(bytes, 1, sizeof bytes, file->stream) != sizeof bytes)
        return damaged(file, err, "not a safetensors file: shorter than 8 bytes");
    for (int b = 0; b < LENGTH_BYTES; b++)
        length |= (uint64_t)bytes[b] << 8 * b;
    if (length > HEADER_LIMIT)
        return damaged(file, err, "not a safetensors file: it does not begin with the length of a header");
    if (length > file_bytes - LENGTH_BYTES)
        return damaged(file, err, "truncated: it ends within its header");
    char *text = sp_alloc((size_t)length + 1);
    size_t got = fread(text, 1, (size_t)length, file->stream);
    json_error_t why;
    file->header = got == length ? json_loadb(text, (size_t)length, 0, &why) : NULL;
    free(text);
    if (!json_is_object(file->header))
        return damaged(file, err, "not a safetensors file: its header is not a JSON object");
    file->data_at = LENGTH_BYTES + (size_t)length;
    file->data_bytes = file_bytes - file->data_at;
    return SP_OK;
}

/* Begin and end of a tensor's bytes; false for an entry that is not one. */
static bool range_of(const json_t *entry, size_t *begin, size_t *end)
{
    const json_t *offsets = json_object_get(entry, "data_offsets");
    json_int_t from = json_integer_value(json_array_get(offsets, 0)),
               to = json_integer_value(json_array_get(offsets, 1));
    if (json_array_size(offsets) != 2 || from < 0 || to < from)
        return false;
    *begin = (size_t)from;
    *end = (size_t)to;
    return true;
}

struct range {
    size_t begin, end;
};

static int by_begin(const void *a, const void *b)
{
    const struct range *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

/* The tensors lie one behind another and fill the file. */
static sp_status check_ranges(const struct exec_safetensors *file, struct sp_error *err)
{
    struct range *ranges = sp_calloc(json_object_size(file->header) + 1, sizeof *ranges);
    size_t count = 0, at = 0;
    const char *name;
    json_t *entry;
    sp_status status = SP_OK;
    json_object_foreach(file->header, name, entry)
    {
        if (strcmp(name, "__metadata__") == 0)
            continue;
        if (!range_of(entry, &ranges[count].begin, &ranges[count].end))
            status = damaged(file, err, "damaged: a tensor without its place in the file");
        count++;
    }
    qsort(ranges, count, sizeof *ranges, by_begin);
    for (size_t r = 0; r < count && status == SP_OK; r++) {
        if (ranges[r].begin != at)
            status = damaged(file, err, "damaged: its tensors overlap or leave gaps");
        at = ranges[r].end;
    }
    free(ranges);
    if (status != SP_OK || at == file->data_bytes)
        return status;
    return sp_reject(err, (struct sp_mark){.file = file->path}, "%s: its tensors take %zu bytes, there are %zu",
                     at > file->data_bytes ? "truncated" : "damaged", at, file->data_bytes);
}

/* The header's part of the checksum; that of files by other versions is none. */
static uLong header_crc(const struct exec_safetensors *file)
{
    size_t length = file->data_at - LENGTH_BYTES;
    char *header = sp_calloc(length + 1, 1);
    uLong crc = crc32(0, NULL, 0);
    if (fseek(file->stream, LENGTH_BYTES, SEEK_SET) == 0 && fread(header, 1, length, file->stream) == length) {
        char *place = crc_place(header);
        if (place != NULL && strlen(place) > strlen(crc_unknown))
            memcpy(place, crc_unknown, strlen(crc_unknown));
        crc = crc_of(crc, header, length);
    }
    free(header);
    return crc;
}

static sp_status check_crc(const struct exec_safetensors *file, struct sp_error *err)
{
    const char *expected = exec_safetensors_metadata(file, "crc32");
    if (expected == NULL)
        return SP_OK;
    unsigned char *piece = sp_alloc(PIECE);
    uLong crc = header_crc(file), data_crc = crc32(0, NULL, 0);
    size_t got, all = 0;
    if (fseek(file->stream, (long)file->data_at, SEEK_SET) == 0)
        for (; (got = fread(piece, 1, PIECE, file->stream)) > 0; all += got) {
            crc = crc_of(crc, piece, got);
            data_crc = crc_of(data_crc, piece, got);
        }
    free(piece);
    if (ferror(file->stream) || all != file->data_bytes)
        return SP_FAIL(err, SP_E_IO, "%s: cannot read: %s", file->path, strerror(errno));
    char all_of_it[32], data_alone[32]; /* the latter: by versions that did not cover the header */
    snprintf(all_of_it, sizeof all_of_it, "%08lx", crc);
    snprintf(data_alone, sizeof data_alone, "%08lx", data_crc);
    if (strcmp(expected, all_of_it) != 0 && strcmp(expected, data_alone) != 0)
        return damaged(file, err, "damaged: its bytes do not have the checksum that its header gives");
    return SP_OK;
}

static sp_status check(struct exec_safetensors *file, struct sp_error *err)
{
    long bytes = fseek(file->stream, 0, SEEK_END) == 0 ? ftell(file->stream) : -1;
    if (bytes < 0 || fseek(file->stream, 0, SEEK_SET) != 0)
        return SP_FAIL(err, SP_E_IO, "%s: cannot read: %s", file->path, strerror(errno));
    SP_TRY(read_header(file, (size_t)bytes, err));
    SP_TRY(check_ranges(file, err));
    return check_crc(file, err);
}

sp_status exec_safetensors_open(const char *path, struct exec_safetensors **out, struct sp_error *err)
{
    *out = NULL;
    FILE *stream = fopen(path, "rb");
    if (stream == NULL)
        return SP_FAIL(err, SP_E_IO, "%s: cannot read: %s", path, strerror(errno));
    struct exec_safetensors *file = sp_calloc(1, sizeof *file);
    file->path = sp_strdup(path);
    file->stream = stream;
    sp_status status = check(file, err);
    if (status != SP_OK)
        exec_safetensors_close(&file);
    *out = file;
    return status;
}

void exec_safetensors_close(struct exec_safetensors **file)
{
    if (*file == NULL)
        return;
    json_decref((*file)->header);
    fclose((*file)->stream);
    free((*file)->path);
    free(*file);
    *file = NULL;
}

const char *exec_safetensors_metadata(const struct exec_safetensors *file, const char *key)
{
    return json_string_value(json_object_get(json_object_get(file->header, "__metadata__"), key));
}

static bool is_as(const json_t *entry, const struct exec_tensor *expected)
{
    const char *type = json_string_value(json_object_get(entry, "dtype"));
    const json_t *shape = json_object_get(entry, "shape");
    if (type == NULL || strcmp(type, types[expected->type].name) != 0 || (int)json_array_size(shape) != expected->dims)
        return false;
    for (int d = 0; d < expected->dims; d++)
        if (json_integer_value(json_array_get(shape, (size_t)d)) != expected->shape[d])
            return false;
    return true;
}

/* "F32 (16, 3, 3, 3)" */
static char *describe(const char *type, const json_t *shape)
{
    char *text = sp_format("%s (", type);
    for (size_t d = 0; d < json_array_size(shape); d++) {
        char *longer = sp_format("%s%s%" JSON_INTEGER_FORMAT, text, d > 0 ? ", " : "",
                                 json_integer_value(json_array_get(shape, d)));
        free(text);
        text = longer;
    }
    char *whole = sp_format("%s)", text);
    free(text);
    return whole;
}

static sp_status another(const struct exec_safetensors *file, const json_t *entry, const struct exec_tensor *expected,
                         struct sp_error *err)
{
    const char *type = json_string_value(json_object_get(entry, "dtype"));
    json_t *shape = shape_json(expected);
    char *found = describe(type != NULL ? type : "?", json_object_get(entry, "shape"));
    char *wanted = describe(types[expected->type].name, shape);
    sp_status status = sp_reject(err, (struct sp_mark){.file = file->path}, "%s is %s there; this run has %s",
                                 expected->name, found, wanted);
    json_decref(shape);
    free(found);
    free(wanted);
    return status;
}

sp_status exec_safetensors_read(struct exec_safetensors *file, const struct exec_tensor *expected, void *into,
                                struct sp_error *err)
{
    const json_t *entry = json_object_get(file->header, expected->name);
    size_t begin = 0, end = 0;
    if (entry == NULL)
        return sp_reject(err, (struct sp_mark){.file = file->path}, "it has no tensor %s", expected->name);
    if (!is_as(entry, expected))
        return another(file, entry, expected, err);
    size_t bytes = exec_tensor_bytes(expected);
    if (!range_of(entry, &begin, &end) || end - begin != bytes)
        return damaged(file, err, "damaged: a tensor's shape and bytes disagree");
    if (into == NULL)
        return SP_OK;
    if (fseek(file->stream, (long)(file->data_at + begin), SEEK_SET) != 0 ||
        fread(into, 1, bytes, file->stream) != bytes)
        return SP_FAIL(err, SP_E_IO, "%s: cannot read: %s", file->path, strerror(errno));
    return SP_OK;
}
