/* idx.c - MNIST and sets in its format: IDX files, gzipped or plain. */
#include "common/alloc.h"
#include "exec/data/kinds.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

enum { SIDE = 28, PIXELS = SIDE * SIDE, CLASSES = 10, IMAGES_MAGIC = 0x803, LABELS_MAGIC = 0x801, MOST = 10000000 };

struct idx {
    float values[256]; /* of every byte, normalised */
    unsigned char *images[EXEC_SPLIT_COUNT], *labels[EXEC_SPLIT_COUNT];
};

static const char *const split_names[EXEC_SPLIT_COUNT] = {"train", "t10k"};

static uint32_t big_endian(const unsigned char *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

/* Reads a whole file of that set: `each` bytes an item after the header. The caller frees *out. */
static sp_status read_file(const char *set, const char *path, struct sp_mark mark, uint32_t magic, int64_t each,
                           int64_t *items, unsigned char **out, struct sp_error *err)
{
    unsigned char header[16] = {0};
    unsigned size = magic == IMAGES_MAGIC ? 16 : 8;
    *out = NULL;
    SP_TRY(exec_dataset_check_file(path, mark, err));
    errno = 0;
    gzFile file = gzopen(path, "rb");
    if (!file)
        return sp_reject(
            err, mark,
            "cannot open \"%s\": %s; expected an IDX file, gzipped or plain; `stalepipe data %s` fetches it%s", path,
            errno ? strerror(errno) : "out of memory", set,
            strcmp(set, "fashion-mnist") == 0 ? "; Debian has it in dataset-fashion-mnist" : "");
    sp_status status = SP_OK;
    if (gzread(file, header, size) != (int)size)
        status = sp_reject(err, mark, "\"%s\" is truncated or corrupt: no IDX header of %u bytes", path, size);
    else if (big_endian(header) != magic)
        status = sp_reject(err, mark, "\"%s\" is no IDX file of %s: magic 0x%08x, expected 0x%08x", path,
                           magic == IMAGES_MAGIC ? "images" : "labels", big_endian(header), magic);
    else if (magic == IMAGES_MAGIC && (big_endian(header + 8) != SIDE || big_endian(header + 12) != SIDE))
        status = sp_reject(err, mark, "\"%s\" has images of %u x %u, expected 28 x 28", path, big_endian(header + 8),
                           big_endian(header + 12));
    else if (big_endian(header + 4) == 0 || big_endian(header + 4) > MOST)
        status =
            sp_reject(err, mark, "\"%s\" says it has %u items, expected 1 .. %d", path, big_endian(header + 4), MOST);
    if (status == SP_OK) {
        *items = big_endian(header + 4);
        int64_t bytes = *items * each, done = 0;
        *out = malloc((size_t)bytes);
        if (!*out)
            status = SP_FAIL(err, SP_E_MEMORY, "no memory for \"%s\" (%lld bytes)", path, (long long)bytes);
        while (status == SP_OK && done < bytes) {
            int64_t want = bytes - done < (1 << 20) ? bytes - done : 1 << 20;
            int got = gzread(file, *out + done, (unsigned)want);
            if (got <= 0)
                status = sp_reject(err, mark, "\"%s\" is truncated or corrupt: %lld of %lld bytes", path,
                                   (long long)done, (long long)bytes);
            else
                done += got;
        }
        unsigned char more;
        int got = status == SP_OK ? gzread(file, &more, 1) : 0;
        if (got > 0)
            status = sp_reject(err, mark, "\"%s\" is corrupt: it does not end after its %lld items", path,
                               (long long)*items);
        else if (got < 0)
            status = sp_reject(err, mark, "\"%s\" is corrupt: its checksum is another", path);
    }
    if (gzclose(file) != Z_OK && status == SP_OK)
        status = sp_reject(err, mark, "\"%s\" is truncated: its checksum is missing", path);
    if (status != SP_OK) {
        free(*out);
        *out = NULL;
    }
    return status;
}

static int32_t sample(const struct exec_dataset *set, enum exec_split split, int64_t index, float *pixels)
{
    const struct idx *self = set->self;
    const unsigned char *image = self->images[split] + index * PIXELS;
    for (int i = 0; i < PIXELS; i++)
        pixels[i] = self->values[image[i]];
    return self->labels[split][index];
}

static void close_idx(struct exec_dataset *set)
{
    struct idx *self = set->self;
    for (int s = 0; s < EXEC_SPLIT_COUNT; s++) {
        free(self->images[s]);
        free(self->labels[s]);
    }
    free(self);
    set->self = NULL;
}

/* DIR/SPLIT-KIND.gz or, where there is none, DIR/SPLIT-KIND; zlib reads both. The caller frees. */
static char *find_file(const char *dir, int split, const char *kind)
{
    char *path = sp_format("%s/%s-%s.gz", dir, split_names[split], kind);
    char *plain = sp_format("%s/%s-%s", dir, split_names[split], kind);
    bool use_plain = access(path, F_OK) != 0 && access(plain, F_OK) == 0;
    free(use_plain ? path : plain);
    return use_plain ? plain : path;
}

static sp_status read_split(const char *dir, struct sp_mark mark, int split, struct exec_dataset *out,
                            struct sp_error *err)
{
    struct idx *self = out->self;
    int64_t labels = 0;
    char *path = find_file(dir, split, "images-idx3-ubyte");
    sp_status status =
        read_file(out->name, path, mark, IMAGES_MAGIC, PIXELS, &out->samples[split], &self->images[split], err);
    free(path);
    if (status != SP_OK)
        return status;
    path = find_file(dir, split, "labels-idx1-ubyte");
    status = read_file(out->name, path, mark, LABELS_MAGIC, 1, &labels, &self->labels[split], err);
    if (status == SP_OK && labels != out->samples[split])
        status = sp_reject(err, mark, "\"%s\" has %lld labels, expected %lld as there are images", path,
                           (long long)labels, (long long)out->samples[split]);
    for (int64_t i = 0; status == SP_OK && i < labels; i++)
        if (self->labels[split][i] >= CLASSES)
            status = sp_reject(err, mark, "\"%s\": label %d of item %lld is out of range, expected 0 .. 9", path,
                               self->labels[split][i], (long long)i);
    free(path);
    return status;
}

static sp_status open_idx(const char *name, const struct exec_dataset_config *config, struct exec_dataset *out,
                          struct sp_error *err)
{
    char *dir;
    SP_TRY(exec_dataset_folder(config, name, &dir, err));
    out->name = name;
    out->shape = (struct sp_shape){1, SIDE, SIDE};
    out->classes = CLASSES;
    out->self = sp_calloc(1, sizeof(struct idx));
    out->sample = sample;
    out->close = close_idx;
    sp_status status = SP_OK;
    for (int s = 0; s < EXEC_SPLIT_COUNT && status == SP_OK; s++)
        status = read_split(dir, config->mark, s, out, err);
    free(dir);
    if (status != SP_OK) {
        close_idx(out);
        return status;
    }
    struct idx *self = out->self;
    uint64_t sum = 0, squares = 0;
    int64_t count = out->samples[EXEC_TRAIN] * PIXELS;
    for (int64_t i = 0; i < count; i++) {
        uint64_t v = self->images[EXEC_TRAIN][i];
        sum += v;
        squares += v * v;
    }
    double mean = (double)sum / (double)count, variance = (double)squares / (double)count - mean * mean;
    out->mean[0] = (float)(mean / 255.0);
    out->deviation[0] = variance > 0 ? (float)(sqrt(variance) / 255.0) : 1.0f;
    for (int v = 0; v < 256; v++)
        self->values[v] = ((float)v / 255.0f - out->mean[0]) / out->deviation[0];
    return SP_OK;
}

sp_status exec_fashion_mnist_open(const struct exec_dataset_config *config, struct exec_dataset *out,
                                  struct sp_error *err)
{
    return open_idx("fashion-mnist", config, out, err);
}

sp_status exec_mnist_open(const struct exec_dataset_config *config, struct exec_dataset *out, struct sp_error *err)
{
    return open_idx("mnist", config, out, err);
}
