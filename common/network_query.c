/*
 * Questions about a finished network.
 */
#include "common/network.h"

int64_t sp_shape_elements(struct sp_shape shape)
{
    return (int64_t)shape.c * shape.h * shape.w;
}

int sp_network_cut_layer(const struct sp_network *network, int p)
{
    int layer = 0;
    while (layer < network->layer_count && network->layers[layer].group <= p)
        layer++;
    return layer;
}

int sp_network_last_consumer(const struct sp_network *network, int tensor)
{
    for (int l = network->layer_count - 1; l >= 0; l--)
        for (int i = 0; i < network->layers[l].input_count; i++)
            if (network->layers[l].inputs[i] == tensor)
                return l;
    return -1;
}

int sp_network_first_consumer(const struct sp_network *network, int tensor)
{
    for (int l = 0; l < network->layer_count; l++)
        for (int i = 0; i < network->layers[l].input_count; i++)
            if (network->layers[l].inputs[i] == tensor)
                return l;
    return -1;
}
