/* cifar10.c - CIFAR-10, its binary version: records of a label and 3 x 32 x 32 bytes, red plane first. */
#include "common/alloc.h"
#include "common/file.h"
#include "exec/data/kinds.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 32, PLANE = SIDE * SIDE, CHANNELS = 3, PIXELS = CHANNELS * PLANE, RECORD = 1 + PIXELS, CLASSES = 10 };
enum { TRAINING_FILES = 5 };

static const size_t largest_file = (size_t)1 << 31;

struct cifar10 {
    unsigned char *records[EXEC_SPLIT_COUNT];
    float values[CHANNELS][256]; /* of every byte, normalised */
};

/* Adds the records of one file to those of a split. */
static sp_status read_file(const char *dir, const char *name, struct sp_mark mark, enum exec_split split,
                           struct exec_dataset *out, struct sp_error *err)
{
    struct cifar10 *self = out->self;
    char *path = sp_format("%s/%s", dir, name), *bytes = NULL;
    size_t size = 0;
    sp_status status = exec_dataset_check_file(path, mark, err);
    if (status == SP_OK)
        status = sp_file_read(path, largest_file, &mark, &bytes, &size, err);
    if (status == SP_OK && (size == 0 || size % RECORD != 0))
        status = sp_reject(err, mark, "\"%s\" is truncated or corrupt: %zu bytes, expected a multiple of %d", path,
                           size, RECORD);
    for (size_t at = 0; status == SP_OK && at < size; at += RECORD)
        if ((unsigned char)bytes[at] >= CLASSES)
            status = sp_reject(err, mark, "\"%s\": label %d of record %zu is out of range, expected 0 .. 9", path,
                               (unsigned char)bytes[at], at / RECORD);
    if (status == SP_OK) {
        size_t had = (size_t)out->samples[split] * RECORD;
        unsigned char *all = realloc(self->records[split], had + size);
        if (all == NULL) {
            status = SP_FAIL(err, SP_E_MEMORY, "no memory for \"%s\" (%zu bytes)", path, had + size);
        } else {
            memcpy(all + had, bytes, size);
            self->records[split] = all;
            out->samples[split] += (int64_t)(size / RECORD);
        }
    }
    free(bytes);
    free(path);
    return status;
}

static int32_t sample(const struct exec_dataset *set, enum exec_split split, int64_t index, float *pixels)
{
    const struct cifar10 *self = set->self;
    const unsigned char *record = self->records[split] + index * RECORD;
    for (int c = 0; c < CHANNELS; c++)
        for (int i = 0; i < PLANE; i++)
            pixels[c * PLANE + i] = self->values[c][record[1 + c * PLANE + i]];
    return record[0];
}

static void close_cifar10(struct exec_dataset *set)
{
    struct cifar10 *self = set->self;
    for (int s = 0; s < EXEC_SPLIT_COUNT; s++)
        free(self->records[s]);
    free(self);
    set->self = NULL;
}

/* Mean and standard deviation of a channel over the training images, and with them the value of every byte. */
static void normalise(struct exec_dataset *set, int channel)
{
    struct cifar10 *self = set->self;
    uint64_t sum = 0, squares = 0;
    for (int64_t n = 0; n < set->samples[EXEC_TRAIN]; n++) {
        const unsigned char *plane = self->records[EXEC_TRAIN] + n * RECORD + 1 + channel * PLANE;
        for (int i = 0; i < PLANE; i++) {
            uint64_t v = plane[i];
            sum += v;
            squares += v * v;
        }
    }
    double count = (double)set->samples[EXEC_TRAIN] * PLANE;
    double mean = (double)sum / count, variance = (double)squares / count - mean * mean;
    double deviation = variance > 0 ? sqrt(variance) : 255.0;
    set->mean[channel] = (float)(mean / 255.0);
    set->deviation[channel] = (float)(deviation / 255.0);
    for (int v = 0; v < 256; v++)
        self->values[channel][v] = (float)((v - mean) / deviation);
}

static sp_status read_all(const char *dir, struct sp_mark mark, struct exec_dataset *out, struct sp_error *err)
{
    for (int f = 1; f <= TRAINING_FILES; f++) {
        char name[24];
        snprintf(name, sizeof name, "data_batch_%d.bin", f);
        SP_TRY(read_file(dir, name, mark, EXEC_TRAIN, out, err));
    }
    return read_file(dir, "test_batch.bin", mark, EXEC_TEST, out, err);
}

sp_status exec_cifar10_open(const struct exec_dataset_config *config, struct exec_dataset *out, struct sp_error *err)
{
    char *dir;
    SP_TRY(exec_dataset_folder(config, "cifar-10-batches-bin", &dir, err));
    out->name = "cifar10";
    out->shape = (struct sp_shape){CHANNELS, SIDE, SIDE};
    out->classes = CLASSES;
    out->self = sp_calloc(1, sizeof(struct cifar10));
    out->sample = sample;
    out->close = close_cifar10;
    sp_status status = read_all(dir, config->mark, out, err);
    free(dir);
    if (status != SP_OK) {
        close_cifar10(out);
        return status;
    }
    for (int c = 0; c < CHANNELS; c++)
        normalise(out, c);
    return SP_OK;
}
