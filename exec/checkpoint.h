/*
 * checkpoint.h - the state of a run between two minibatches, on disk, and back.
 *
 * A checkpoint is a safetensors file FOLDER/minibatch-NNNNNNNNN.safetensors (N: minibatches done at the first stage):
 *
 *   <layer>.weight, <layer>.bias             parameters, newest version, plain float32; (O, I, H, W), (O, I) or (C)
 *   <layer>.running_mean, .running_var       batch norm's statistics
 *   optimizer.velocity.<layer>.weight, …     of SGD with momentum
 *   losses                                   training loss of each minibatch so far
 *   in_flight.…                              bytes as they lie in memory: what minibatches between their forward and
 *                                            backward left (activations, older weights); absent when none is
 *
 * and metadata: the experiment's settings, the position in the schedule, progress. Nothing else is needed: random
 * numbers depend on seed and position only, and weight versions, staleness and messages under way follow from the
 * instructions, which a resumed run goes through again up to that position without computing.
 */
#ifndef EXEC_CHECKPOINT_H
#define EXEC_CHECKPOINT_H

#include "common/error.h"

#include <stdbool.h>
#include <stdint.h>

/* A key of the experiment and its value. */
struct exec_setting {
    const char *key, *value;
    bool length; /* of the run only: it may differ on resuming, and that is told */
};

struct exec_checkpoint_config {
    const char *folder;       /* NULL: no checkpoints. It must exist */
    double minutes;           /* between checkpoints, at least; 0: not by time */
    double epoch_minibatches; /* a checkpoint whenever a multiple of this is passed; 0: not by epochs */
    int keep;                 /* files; older ones are removed */
    const char *resume;       /* a file to continue from; NULL: from the start */
    /* What must be the same for a run to be continued. Saved, and compared on resuming: as numbers where it is one. */
    const struct exec_setting *settings;
    int setting_count;
    /* A checkpoint that could not be written: told here, and the run goes on. May be NULL. Any thread. */
    void (*warn)(void *self, const char *text);
    /* A run that is resumed with another length: which, and what it was. May be NULL. */
    void (*tell_length)(void *self, const char *key, const char *there, const char *here);
    void *warn_self;
};

/*
 * The newest whole checkpoint of `folder` in *path (the caller frees), NULL when there is none. Damaged ones that are
 * newer are passed over, each told as a line of *notes (the caller frees; NULL: none). When all are damaged,
 * SP_E_INPUT.
 */
sp_status exec_checkpoint_find(const char *folder, char **path, char **notes, struct sp_error *err);

/*
 * Renames the checkpoints of `folder` that are newer than the one at `path` to NAME.damaged: exec_checkpoint_find
 * passed them over, and among the newest that are kept they would take the place of good ones. Each is told as a line
 * of *notes (the caller frees; NULL: none).
 */
sp_status exec_checkpoint_set_aside(const char *folder, const char *path, char **notes, struct sp_error *err);

/* FOLDER/minibatch-NNNNNNNNN.safetensors. The caller frees. */
char *exec_checkpoint_path(const char *folder, int64_t done);

/* Removes all but the newest `keep` checkpoints of `folder`, and what interrupted writing left there. */
void exec_checkpoint_prune(const char *folder, int keep);

#endif
