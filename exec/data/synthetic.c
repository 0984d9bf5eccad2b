/* synthetic.c - classes that differ by a fixed random pattern each, under noise. */
#include "common/alloc.h"
#include "common/random.h"
#include "exec/data/kinds.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct synthetic {
    uint64_t seed;
    int64_t elements;
    float *patterns; /* [class * elements]; NULL: too many, each is made when it is wanted */
};

enum { MOST_KEPT = 1 << 22 }; /* elements of patterns */

/* Two standard normal numbers, as sp_random_normal, in single precision: a third of the time. */
static void normal(uint32_t u, uint32_t v, float out[2])
{
    float radius = sqrtf(-2 * logf(((float)u + 1) * 0x1p-32f)), angle = (float)(2 * M_PI) * ((float)v * 0x1p-32f);
    out[0] = radius * cosf(angle);
    out[1] = radius * sinf(angle);
}

/* Element `i` of stream `a`, a standard normal number. */
static void fill(uint64_t seed, uint64_t a, int64_t elements, float scale, float *out)
{
    for (int64_t i = 0; i < elements; i += 4) {
        uint32_t words[4];
        float numbers[4];
        sp_random_block(seed, SP_RANDOM_DATA, a, (uint32_t)(i / 4), words);
        normal(words[0], words[1], numbers);
        normal(words[2], words[3], numbers + 2);
        for (int64_t j = i; j < i + 4 && j < elements; j++)
            out[j] += scale * numbers[j - i];
    }
}

static void make_pattern(const struct synthetic *self, int64_t label, float *out)
{
    memset(out, 0, (size_t)self->elements * sizeof *out);
    fill(self->seed, ((uint64_t)1 << 62) + (uint64_t)label, self->elements, 0.8f, out);
}

/* Streams: classes from 2^62, test samples from 2^61, training samples from 0. */
static int32_t sample(const struct exec_dataset *set, enum exec_split split, int64_t index, float *pixels)
{
    const struct synthetic *self = set->self;
    int32_t label = (int32_t)(index % set->classes);
    if (self->patterns != NULL)
        memcpy(pixels, self->patterns + label * self->elements, (size_t)self->elements * sizeof *pixels);
    else
        make_pattern(self, label, pixels);
    fill(self->seed, (split == EXEC_TEST ? (uint64_t)1 << 61 : 0) + (uint64_t)index, self->elements, 0.6f, pixels);
    return label;
}

static void close_synthetic(struct exec_dataset *set)
{
    struct synthetic *self = set->self;
    free(self->patterns);
    free(self);
}

sp_status exec_synthetic_open(const struct exec_dataset_config *config, struct exec_dataset *out, struct sp_error *err)
{
    if (config->samples < 1)
        return sp_reject(err, config->mark, "synthetic data needs at least 1 sample, not %lld",
                         (long long)config->samples);
    if (config->classes < 2)
        return sp_reject(err, config->mark, "synthetic data needs at least 2 classes, not %d", config->classes);
    if (config->shape.c < 1 || config->shape.h < 1 || config->shape.w < 1)
        return sp_reject(err, config->mark, "synthetic data needs a shape of positive sizes, not %d x %d x %d",
                         config->shape.c, config->shape.h, config->shape.w);
    struct synthetic *self = sp_calloc(1, sizeof *self);
    self->seed = config->seed;
    self->elements = sp_shape_elements(config->shape);
    if (self->elements * config->classes <= MOST_KEPT) {
        self->patterns = sp_alloc((size_t)(self->elements * config->classes) * sizeof *self->patterns);
        for (int c = 0; c < config->classes; c++)
            make_pattern(self, c, self->patterns + c * self->elements);
    }
    out->name = "synthetic";
    out->shape = config->shape;
    out->classes = config->classes;
    out->samples[EXEC_TRAIN] = config->samples;
    out->samples[EXEC_TEST] = config->samples / 6 > 0 ? config->samples / 6 : 1;
    for (int c = 0; c < 4; c++)
        out->deviation[c] = 1.0f;
    out->self = self;
    out->sample = sample;
    out->close = close_synthetic;
    return SP_OK;
}
