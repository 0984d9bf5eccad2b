/*
 * VGG-16 for 32x32 inputs: thirteen 3x3 convolutions with batch norm, fully connected layers 512-512-classes.
 */
#include "common/network_build.h"

int sp_network_vgg16(struct sp_builder *b, int number)
{
    (void)number;
    static const int filters[] = {64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0};
    int t = 0;
    for (size_t l = 0; l < sizeof filters / sizeof *filters; l++) {
        if (filters[l] == 0) {
            t = sp_builder_max_pool(b, t, 2, 2);
            continue;
        }
        t = sp_builder_convolution(b, t, filters[l], 3, 1, 1, false);
        t = sp_builder_plain(b, SP_LAYER_BATCH_NORM, t);
        t = sp_builder_plain(b, SP_LAYER_RELU, t);
    }
    t = sp_builder_plain(b, SP_LAYER_FLATTEN, t);
    for (int l = 0; l < 2; l++) {
        t = sp_builder_plain(b, SP_LAYER_RELU, sp_builder_fully_connected(b, t, 512));
        t = sp_builder_dropout(b, t, 0.5f);
    }
    return sp_builder_fully_connected(b, t, b->classes);
}
