/*
 * data.h - data sets and the loader that hands out their minibatches.
 *
 * A data set is one file under exec/data and one row of exec_dataset_kinds. It is read-only once opened. The loader's
 * minibatches are the stream of samples, epoch after epoch, each epoch in its own shuffled order, cut every `batch`
 * samples without regard to where an epoch ends: no sample is dropped and none comes short.
 */
#ifndef EXEC_DATA_H
#define EXEC_DATA_H

#include "common/error.h"
#include "common/network.h"

#include <stdint.h>

enum exec_split { EXEC_TRAIN, EXEC_TEST, EXEC_SPLIT_COUNT };

struct exec_dataset {
    const char *name;
    struct sp_shape shape;
    int classes;
    int64_t samples[EXEC_SPLIT_COUNT];
    float mean[4], deviation[4]; /* per channel, of the training pixels in 0 .. 1 */
    void *self;
    /* Writes sample `index` as normalised float32 (C, H, W) and returns its label. Any thread. */
    int32_t (*sample)(const struct exec_dataset *set, enum exec_split split, int64_t index, float *pixels);
    void (*close)(struct exec_dataset *set);
};

enum { EXEC_DATA_PARENTS = 3 };

struct exec_dataset_config {
    const char *set;                        /* "fashion-mnist", "mnist", "cifar10", "synthetic" */
    const char *dir;                        /* a folder, or "auto" */
    const char *parents[EXEC_DATA_PARENTS]; /* auto: folders that may have the set's; NULL: none */
    int64_t samples;                        /* synthetic */
    struct sp_shape shape;                  /* synthetic */
    int classes;                            /* synthetic */
    uint64_t seed;                          /* synthetic */
    struct sp_mark mark;                    /* where the user named the set or folder */
};

struct exec_dataset_kind {
    const char *name;
    const char *help;
    sp_status (*open)(const struct exec_dataset_config *config, struct exec_dataset *out, struct sp_error *err);
};
extern const struct exec_dataset_kind exec_dataset_kinds[]; /* ended by name NULL */

/* Opens a set by name. Missing, truncated or corrupt files are SP_E_INPUT and name the file and what was expected.
 * The caller owns *out. */
sp_status exec_dataset_open(const struct exec_dataset_config *config, struct exec_dataset **out, struct sp_error *err);
void exec_dataset_close(struct exec_dataset **set);

/* The loader: threads that prepare minibatches ahead. */
struct exec_loader;

struct exec_batch {
    const float *pixels;   /* (batch, C, H, W) */
    const int32_t *labels; /* batch; -1 for padding at the end of the test set */
};

/* `batch` samples a minibatch, `ahead` of them prepared at most. The stream of an evaluation is one pass over the test
 * set, its last batch padded; batches are numbered through all evaluations. */
struct exec_loader_config {
    const struct exec_dataset *set;
    enum exec_split split;
    int batch;
    int64_t first,
        end;       /* numbers of the batches handed out: TRAIN by minibatch; TEST wraps every ceil(samples / batch) */
    int takers;    /* who release each batch; 0: 2, the first and the last stage */
    int64_t taken; /* batches below this one have been taken and released by one taker already (a resumed run) */
    bool shuffle;
    bool augment; /* crop and flip, by the sample's position in the stream */
    uint64_t seed;
    int ahead;
    int threads; /* that prepare; 0: 1. What a batch holds does not depend on it */
    /* Where the batches' memory comes from, zeroed, and goes to; take NULL: the heap. */
    void *(*take)(void *self, size_t bytes); /* NULL: there is none */
    void (*give)(void *self, void *memory);
    void *self;
};
sp_status exec_loader_create(const struct exec_loader_config *config, struct exec_loader **out, struct sp_error *err);
void exec_loader_destroy(struct exec_loader **loader);

/* Batch `number`; waits until it is ready. Several threads may hold the same batch; batches are taken in order by each
 * taker. It stays valid until every one of `takers` has released it. */
bool exec_loader_acquire(struct exec_loader *loader, int64_t number, struct exec_batch *out); /* false: cancelled */
void exec_loader_release(struct exec_loader *loader, int64_t number);
void exec_loader_cancel(struct exec_loader *loader);

#endif
