#include "exec/data/augment.h"
#include "common/random.h"

#include <stdbool.h>

enum { PAD = 4 };

static int shift(uint32_t word)
{
    return (int)((uint64_t)word * (2 * PAD + 1) >> 32) - PAD;
}

void exec_crop_flip(struct sp_shape shape, uint64_t seed, uint64_t position, const float *in, float *out)
{
    uint32_t words[4];
    sp_random_block(seed, SP_RANDOM_AUGMENT, position, 0, words);
    int down = shift(words[0]), right = shift(words[1]);
    bool flip = words[2] >> 31;
    for (int c = 0; c < shape.c; c++)
        for (int y = 0; y < shape.h; y++) {
            int row = y + down;
            for (int x = 0; x < shape.w; x++) {
                int column = (flip ? shape.w - 1 - x : x) + right;
                bool inside = row >= 0 && row < shape.h && column >= 0 && column < shape.w;
                *out++ = inside ? in[(c * shape.h + row) * shape.w + column] : 0.0f;
            }
        }
}
