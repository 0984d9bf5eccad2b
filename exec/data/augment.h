/*
 * augment.h - random changes of training images.
 */
#ifndef EXEC_AUGMENT_H
#define EXEC_AUGMENT_H

#include "common/network.h"

#include <stdint.h>

/* He et al.'s augmentation of CIFAR-10 ("Deep residual learning for image recognition", 4.2): 4 pixels of zero (the
 * mean, as `in` is normalised) on every side, a crop of the image's own size anywhere in that, flipped left to right
 * half of the time. `in` and `out` are (C, H, W) and do not overlap. Which crop depends on seed and position alone. */
void exec_crop_flip(struct sp_shape shape, uint64_t seed, uint64_t position, const float *in, float *out);

#endif
