/*
 * AlexNet for 32x32 inputs: five 3x3 convolutions and fully connected layers 4096-4096-classes, 23.27 M weights as in
 * the paper's Table 9 (88.8 MiB): 256 channels at 2x2 reach the first fully connected layer.
 */
#include "common/network_build.h"

int sp_network_alexnet(struct sp_builder *b, int number)
{
    (void)number;
    static const struct {
        int filters, stride;
        bool pool;
    } layers[] = {{64, 2, true}, {192, 1, true}, {384, 1, false}, {256, 1, false}, {256, 1, true}};
    int t = 0;
    for (int l = 0; l < 5; l++) {
        t = sp_builder_convolution(b, t, layers[l].filters, 3, layers[l].stride, 1, true);
        t = sp_builder_plain(b, SP_LAYER_RELU, t);
        if (layers[l].pool)
            t = sp_builder_max_pool(b, t, 2, 2);
    }
    t = sp_builder_plain(b, SP_LAYER_FLATTEN, t);
    for (int l = 0; l < 2; l++) {
        t = sp_builder_dropout(b, t, 0.5f);
        t = sp_builder_plain(b, SP_LAYER_RELU, sp_builder_fully_connected(b, t, 4096));
    }
    return sp_builder_fully_connected(b, t, b->classes);
}
