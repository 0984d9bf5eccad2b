/*
 * LeNet-5: two 5x5 convolutions with pooling, three fully connected layers.
 */
#include "common/network_build.h"

int sp_network_lenet5(struct sp_builder *b, int number)
{
    (void)number;
    int t = sp_builder_convolution(b, 0, 6, 5, 1, 2, true);
    t = sp_builder_plain(b, SP_LAYER_RELU, t);
    t = sp_builder_max_pool(b, t, 2, 2);
    t = sp_builder_convolution(b, t, 16, 5, 1, 0, true);
    t = sp_builder_plain(b, SP_LAYER_RELU, t);
    t = sp_builder_max_pool(b, t, 2, 2);
    t = sp_builder_plain(b, SP_LAYER_FLATTEN, t);
    t = sp_builder_plain(b, SP_LAYER_RELU, sp_builder_fully_connected(b, t, 120));
    t = sp_builder_plain(b, SP_LAYER_RELU, sp_builder_fully_connected(b, t, 84));
    return sp_builder_fully_connected(b, t, b->classes);
}
