/*
 * ResNet-N for small images (He et al., "Deep residual learning for image recognition", section 4.2): one 3x3
 * convolution, three groups of (N-2)/6 basic blocks with 16, 32, 64 channels, global average pooling, one fully
 * connected layer. Shortcuts between groups are zero-padded (option A), so every weight layer is on the main path.
 */
#include "common/network_build.h"

static int normalised(struct sp_builder *b, int t, int filters, int stride)
{
    t = sp_builder_convolution(b, t, filters, 3, stride, 1, false);
    return sp_builder_plain(b, SP_LAYER_BATCH_NORM, t);
}

int sp_network_resnet(struct sp_builder *b, int number)
{
    int t = sp_builder_plain(b, SP_LAYER_RELU, normalised(b, 0, 16, 1));
    for (int group = 0; group < 3; group++) {
        for (int block = 0; block < (number - 2) / 6; block++) {
            int shortcut = t, filters = 16 << group;
            t = normalised(b, t, filters, group > 0 && block == 0 ? 2 : 1);
            t = normalised(b, sp_builder_plain(b, SP_LAYER_RELU, t), filters, 1);
            t = sp_builder_plain(b, SP_LAYER_RELU, sp_builder_add(b, t, shortcut));
        }
    }
    t = sp_builder_plain(b, SP_LAYER_GLOBAL_AVERAGE_POOL, t);
    return sp_builder_fully_connected(b, t, b->classes);
}
