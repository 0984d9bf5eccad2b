#include "exec/data/augment.h"
#include "common/random.h"

#include <stdbool.h>
#include <string.h>

enum { PAD = 4 };

static int shift(uint32_t word)
{
    return (int)((uint64_t)word * (2 * PAD + 1) >> 32) - PAD;
}

static void reverse(float *line, int count)
{
    for (int x = 0, y = count - 1; x < y; x++, y--) {
        float kept = line[x];
        line[x] = line[y];
        line[y] = kept;
    }
}

void exec_crop_flip(struct sp_shape shape, uint64_t seed, uint64_t position, const float *in, float *out)
{
    uint32_t words[4];
    sp_random_block(seed, SP_RANDOM_AUGMENT, position, 0, words);
    int down = shift(words[0]), right = shift(words[1]);
    bool flip = words[2] >> 31;
    int W = shape.w;
    int from = right < 0 ? -right : 0, end = right > 0 ? W - right : W; /* columns of the output that have a source */
    if (from > W)
        from = W;
    if (end < from)
        end = from;
    for (int c = 0; c < shape.c; c++)
        for (int y = 0; y < shape.h; y++, out += W) {
            int row = y + down;
            if (row < 0 || row >= shape.h) {
                memset(out, 0, sizeof *out * (size_t)W);
                continue;
            }
            const float *source = in + ((size_t)c * (size_t)shape.h + (size_t)row) * (size_t)W;
            memset(out, 0, sizeof *out * (size_t)from);
            memcpy(out + from, source + (from + right), sizeof *out * (size_t)(end - from));
            memset(out + end, 0, sizeof *out * (size_t)(W - end));
            if (flip)
                reverse(out, W);
        }
}
