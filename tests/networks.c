#include "tests/networks.h"

#include "common/layer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct sp_network *build_network(const char *name, struct sp_shape input)
{
    struct sp_error err = {0};
    struct sp_network *network;
    struct sp_network_spec spec = {.builtin = name};
    if (sp_network_create(&spec, input, 10, &network, &err) != SP_OK)
        fail_msg("%s: %s", name, err.text);
    return network;
}

void assert_shape(struct sp_shape found, int c, int h, int w)
{
    assert_int_equal(found.c, c);
    assert_int_equal(found.h, h);
    assert_int_equal(found.w, w);
}

int count_type(const struct sp_network *network, enum sp_layer_type type)
{
    int count = 0;
    for (int l = 0; l < network->layer_count; l++)
        count += network->layers[l].type == type;
    return count;
}

/* What must hold of any network: numbering, groups, totals, names, tensors that are all read. */
void assert_sound(const struct sp_network *network)
{
    int weights = 0;
    int64_t parameters = 0;
    assert_int_equal(network->tensor_count, network->layer_count + 1);
    for (int l = 0; l < network->layer_count; l++) {
        const struct sp_layer *layer = &network->layers[l];
        bool counted = (layer->type == SP_LAYER_CONVOLUTION || layer->type == SP_LAYER_FULLY_CONNECTED) &&
                       !layer->settings.shortcut;
        weights += counted;
        assert_int_equal(layer->weight_number, counted ? weights : 0);
        assert_int_equal(layer->group, weights);
        parameters += layer->parameters[SP_PARAMETER_WEIGHT] + layer->parameters[SP_PARAMETER_BIAS];
        for (int i = 0; i < layer->input_count; i++)
            assert_in_range(layer->inputs[i], 0, l);
        assert_memory_equal(&layer->out, &network->shapes[l + 1], sizeof layer->out);
        assert_memory_equal(&layer->in, &network->shapes[layer->inputs[0]], sizeof layer->in);
        assert_true(sp_shape_elements(layer->out) > 0);
        for (int other = 0; other < l; other++)
            assert_string_not_equal(network->layers[other].name, layer->name);
        int first = sp_network_first_consumer(network, l + 1), last = sp_network_last_consumer(network, l + 1);
        if (l + 1 < network->layer_count)
            assert_true(l < first && first <= last);
        else
            assert_true(first == -1 && last == -1);
    }
    assert_int_equal(network->weight_layer_count, weights);
    assert_int_equal(network->parameter_count, parameters);
    assert_int_equal(network->layers[network->layer_count - 1].type, SP_LAYER_SOFTMAX_CROSS_ENTROPY);
    assert_shape(network->shapes[network->layer_count], 1, 1, 1);
    /* A cut after p lies just before weight layer p + 1. */
    for (int p = 1; p < weights; p++)
        assert_int_equal(network->layers[sp_network_cut_layer(network, p)].weight_number, p + 1);
}
