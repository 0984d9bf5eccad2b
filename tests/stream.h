/* stream.h - the samples in the order in which a loader is to hand them out. */
#ifndef TESTS_STREAM_H
#define TESTS_STREAM_H

#include "exec/data/data.h"

/* The training sample at that position of a shuffled stream: each epoch is a Fisher-Yates shuffle of its own. */
int64_t stream_sample(const struct exec_loader_config *config, int64_t position);

#endif
