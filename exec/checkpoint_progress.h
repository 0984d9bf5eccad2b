/* checkpoint_progress.h - how far a run has come, as a checkpoint's metadata have it. */
#ifndef EXEC_CHECKPOINT_PROGRESS_H
#define EXEC_CHECKPOINT_PROGRESS_H

#include <jansson.h>
#include <stdbool.h>

struct exec_run;

/* Epochs, times and waits of the devices, minibatches done. The caller owns it. */
json_t *exec_checkpoint_progress(const struct exec_run *run);

/* Takes it over, and sets the run's clock back. False when it is not what the one above wrote for such a run. */
bool exec_checkpoint_restore(struct exec_run *run, const json_t *progress);

#endif
