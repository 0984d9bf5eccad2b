/*
 * Networks: shapes and counts derived by hand, numbering as in the paper, and every mistake with its message.
 */
#include "common/layer.h"
#include "common/network.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const struct sp_shape mnist = {1, 28, 28}, cifar = {3, 32, 32};

static struct sp_network *build(const char *name, struct sp_shape input)
{
    struct sp_error err = {0};
    struct sp_network *network;
    struct sp_network_spec spec = {.builtin = name};
    if (sp_network_create(&spec, input, 10, &network, &err) != SP_OK)
        fail_msg("%s: %s", name, err.text);
    return network;
}

static void assert_shape(struct sp_shape found, int c, int h, int w)
{
    assert_int_equal(found.c, c);
    assert_int_equal(found.h, h);
    assert_int_equal(found.w, w);
}

static int count_type(const struct sp_network *network, enum sp_layer_type type)
{
    int count = 0;
    for (int l = 0; l < network->layer_count; l++)
        count += network->layers[l].type == type;
    return count;
}

/* What must hold of any network: numbering, groups, totals, names, tensors that are all read. */
static void assert_sound(const struct sp_network *network)
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

/* 6*25+6 + 16*150+16 + 120*400+120 + 84*120+84 + 10*84+10 = 156 + 2416 + 48120 + 10164 + 850 */
static void lenet5_has_its_shapes_and_parameters(void **state)
{
    (void)state;
    struct sp_network *network = build("lenet5", mnist);
    assert_sound(network);
    assert_int_equal(network->parameter_count, 61706);
    assert_int_equal(network->weight_layer_count, 5);
    static const struct sp_shape shapes[] = {
        {1, 28, 28},  {6, 28, 28},  {6, 28, 28}, {6, 14, 14}, /* input, 5x5 with pad 2, ReLU, pool */
        {16, 10, 10}, {16, 10, 10}, {16, 5, 5},  {400, 1, 1}, /* 5x5, ReLU, pool, flatten */
        {120, 1, 1},  {120, 1, 1},  {84, 1, 1},  {84, 1, 1},  {10, 1, 1}, {1, 1, 1},
    };
    assert_int_equal(network->tensor_count, sizeof shapes / sizeof *shapes);
    assert_memory_equal(network->shapes, shapes, sizeof shapes);
    /* A cut after layer 1 takes ReLU and pooling along: layers 0, 1, 2 are before it; after 2 the flattening too. */
    assert_int_equal(sp_network_cut_layer(network, 1), 3);
    assert_int_equal(sp_network_cut_layer(network, 2), 7);
    sp_network_destroy(&network);
    sp_network_destroy(&network); /* NULL is fine */

    /* Where it was asked for is not where its layers were written. */
    struct sp_error err = {0};
    struct sp_network_spec spec = {.builtin = "lenet5", .mark = {"e.yaml", 3, 10}};
    assert_int_equal(sp_network_create(&spec, mnist, 10, &network, &err), SP_OK);
    assert_null(network->layers[0].mark.file);
    assert_null(err.text);
    sp_network_destroy(&network);

    /* 3x32x32: 6*75+6 + 2416 + 120*(16*6*6)+120 + 10164 + 850 = 456 + 2416 + 69240 + 10164 + 850 */
    network = build("lenet5", cifar);
    assert_int_equal(network->parameter_count, 83126);
    sp_network_destroy(&network);
}

static void multiply_adds_count_twice(void **state)
{
    (void)state;
    struct sp_network *network = build("lenet5", mnist);
    const struct sp_layer *conv2 = &network->layers[3], *fc1 = &network->layers[7], *relu = &network->layers[1];
    assert_true(network->layers[0].forward_flops == 2.0 * 25 * 6 * 28 * 28);
    assert_true(conv2->forward_flops == 2.0 * 6 * 25 * 16 * 10 * 10);
    assert_true(conv2->backward_input_flops == conv2->forward_flops);
    assert_true(conv2->backward_weight_flops == conv2->forward_flops);
    assert_true(fc1->forward_flops == 2.0 * 400 * 120);
    assert_true(fc1->backward_input_flops == fc1->forward_flops && fc1->backward_weight_flops == fc1->forward_flops);
    assert_true(relu->forward_flops == 6.0 * 28 * 28 && relu->backward_weight_flops == 0);
    sp_network_destroy(&network);
}

/*
 * Convolutions 432 + 6*2304 + (4608 + 5*9216) + (18432 + 5*36864) = 267,696; batch norm 2*(7*16 + 6*32 + 6*64) = 1,376;
 * fully connected 650. ResNet-56: 432 + 18*2304 + (4608 + 17*9216) + (18432 + 17*36864) = 848,304;
 * 2*(19*16 + 18*32 + 18*64) = 4,064; 650.
 */
static void resnets_have_their_parameters(void **state)
{
    (void)state;
    struct sp_network *network = build("resnet20", cifar);
    assert_sound(network);
    assert_int_equal(network->parameter_count, 269722);
    assert_int_equal(network->weight_layer_count, 20);
    int64_t running = 0;
    for (int l = 0; l < network->layer_count; l++)
        running += network->layers[l].state;
    assert_int_equal(running, 1376); /* a mean and a variance a channel */
    /* 19 of conv and bn, 1 + 18 ReLU, 9 add; pool, fc, loss */
    assert_int_equal(network->layer_count, 19 * 2 + 19 + 9 + 3);
    sp_network_destroy(&network);

    network = build("resnet56", cifar);
    assert_sound(network);
    assert_int_equal(network->parameter_count, 853018);
    assert_int_equal(network->weight_layer_count, 56);
    sp_network_destroy(&network);
}

/* Two of the shortcuts change shape: 16x32x32 to 32x16x16 and 32x16x16 to 64x8x8. No weights are on shortcuts. */
static void resnet_shortcuts_are_padded_with_zeros(void **state)
{
    (void)state;
    struct sp_network *network = build("resnet20", cifar);
    int adds = 0;
    for (int l = 0; l < network->layer_count; l++) {
        const struct sp_layer *layer = &network->layers[l];
        if (layer->type != SP_LAYER_ADD)
            continue;
        struct sp_shape from = network->shapes[layer->inputs[1]];
        bool changes = adds == 3 || adds == 6;
        assert_int_equal(layer->settings.stride, changes ? 2 : 1);
        int c = 16 << adds / 3, side = 32 >> adds / 3;
        assert_shape(layer->out, c, side, side);
        assert_shape(from, changes ? c / 2 : c, changes ? 2 * side : side, changes ? 2 * side : side);
        adds++;
    }
    assert_int_equal(adds, 9);
    sp_network_destroy(&network);

    /* Odd sides: 30, 15, 8, since a 3x3 window of stride 2 with pad 1 leaves half, rounded up. */
    network = build("resnet8", (struct sp_shape){3, 30, 30});
    assert_sound(network);
    assert_shape(network->layers[network->layer_count - 3].in, 64, 8, 8);
    sp_network_destroy(&network);
    /* One row: 1x28, 1x14, 1x7. */
    network = build("resnet8", (struct sp_shape){1, 1, 28});
    assert_shape(network->layers[network->layer_count - 3].in, 64, 1, 7);
    sp_network_destroy(&network);
}

/*
 * The weights that the paper's Table 9 gives in MiB: AlexNet 88.87 (23.27 M), VGG-16 58.16 (15.25 M).
 * AlexNet: 64*27+64 + 192*576+192 + 384*1728+384 + 256*3456+256 + 256*2304+256 = 2,251,584;
 * 1024*4096+4096 + 4096*4096+4096 + 4096*10+10 = 21,020,682.
 * VGG-16: 9 times 3*64 + 64*64 + 64*128 + 128*128 + 128*256 + 2*256*256 + 256*512 + 5*512*512 = 14,710,464;
 * batch norm 2*(2*64 + 2*128 + 3*256 + 6*512) = 8,448; 2*(512*512+512) + 512*10+10 = 530,442.
 */
static void paper_networks_have_their_weights(void **state)
{
    (void)state;
    struct sp_network *network = build("alexnet", cifar);
    assert_sound(network);
    assert_int_equal(network->parameter_count, 2251584 + 21020682);
    assert_int_equal(network->weight_layer_count, 8);
    assert_int_equal(count_type(network, SP_LAYER_DROPOUT), 2);
    sp_network_destroy(&network);

    network = build("vgg16", cifar);
    assert_sound(network);
    assert_int_equal(network->parameter_count, 14710464 + 8448 + 530442);
    assert_int_equal(network->weight_layer_count, 16);
    assert_int_equal(count_type(network, SP_LAYER_BATCH_NORM), 13);
    sp_network_destroy(&network);
}

/* ResNet-56 has nine blocks of two convolutions a group: with the first convolution, 19 weight layers before the second
 * group, whose first convolution makes 16x16. */
static void a_cut_after_19_ends_the_first_group_of_resnet56(void **state)
{
    (void)state;
    struct sp_network *network = build("resnet56", cifar);
    int layer = sp_network_cut_layer(network, 19);
    assert_int_equal(network->layers[layer].weight_number, 20);
    assert_shape(network->layers[layer].in, 16, 32, 32);
    assert_shape(network->layers[layer].out, 32, 16, 16);
    assert_int_equal(network->layers[layer - 1].type, SP_LAYER_RELU);
    assert_int_equal(network->layers[layer - 2].type, SP_LAYER_ADD);
    sp_network_destroy(&network);
}

/*
 * Layers 0 to 2 are conv1, bn1, relu1; the first block is conv2, bn2, relu2 (3 to 5), conv3, bn3 (6, 7), add1 (8),
 * relu3. A cut after 2 is inside it: relu2's tensor (6) crosses, and relu1's (3), which the add reads beyond the cut.
 */
static void a_cut_inside_a_block_has_the_shortcut_cross_it(void **state)
{
    (void)state;
    struct sp_network *network = build("resnet20", cifar);
    assert_int_equal(sp_network_cut_layer(network, 1), 3);
    assert_int_equal(sp_network_cut_layer(network, 2), 6);
    assert_int_equal(sp_network_cut_layer(network, 3), 10);
    assert_string_equal(network->layers[8].name, "add1");
    assert_int_equal(network->layers[8].inputs[0], 8);
    assert_int_equal(network->layers[8].inputs[1], 3);
    assert_int_equal(sp_network_first_consumer(network, 3), 3);
    assert_int_equal(sp_network_last_consumer(network, 3), 8);
    assert_int_equal(sp_network_last_consumer(network, 6), 6);
    assert_int_equal(sp_network_last_consumer(network, 2), 2); /* not across a cut after 1 */
    sp_network_destroy(&network);
}

static void every_resnet_is_6n_plus_2(void **state)
{
    (void)state;
    for (int n = 0; n <= 116; n++) {
        char name[16];
        snprintf(name, sizeof name, "resnet%d", n);
        struct sp_error err = {0};
        struct sp_network *network;
        struct sp_network_spec spec = {.builtin = name};
        sp_status status = sp_network_create(&spec, cifar, 10, &network, &err);
        assert_int_equal(status, n >= 8 && n % 6 == 2 ? SP_OK : SP_E_INPUT);
        if (status == SP_OK)
            assert_int_equal(network->weight_layer_count, n);
        else
            assert_null(network);
        sp_network_destroy(&network);
        sp_error_fini(&err);
    }
}

static void wrong_builtins_are_told_with_what_is_near(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        struct sp_shape input;
        int classes;
        const char *text;
    } cases[] = {
        {"resnet21", cifar, 10,
         "e.yaml:3:10: network: no \"resnet21\": a resnet has 6n+2 layers; nearest: resnet20, "
         "resnet26"},
        {"resnet4", cifar, 10,
         "e.yaml:3:10: network: no \"resnet4\": a resnet has 6n+2 layers; nearest: resnet8, "
         "resnet14"},
        {"resnet020", cifar, 10,
         "e.yaml:3:10: network: no \"resnet020\"; did you mean \"resnet20\"? Legal: lenet5, "
         "alexnet, vgg16, resnetN (N = 6n+2)"},
        {"lenet", cifar, 10,
         "e.yaml:3:10: network: no \"lenet\"; did you mean \"lenet5\"? Legal: lenet5, alexnet, "
         "vgg16, resnetN (N = 6n+2)"},
        {"transformer", cifar, 10,
         "e.yaml:3:10: network: no \"transformer\"; legal: lenet5, alexnet, vgg16, resnetN "
         "(N = 6n+2)"},
        {"resnet99998", cifar, 10,
         "e.yaml:3:10: resnet99998: more than 16384 layers\n  while building resnet99998 for "
         "inputs of 3x32x32"},
        /* 28, 14, 7, 3, 1: the fifth pooling has too little. */
        {"vgg16", mnist, 10,
         "e.yaml:3:10: pool5: a 2x2 window does not fit into 1x1 with padding 0\n  while building "
         "vgg16 for inputs of 1x28x28"},
        {"lenet5",
         {65536, 65536, 65536},
         10,
         "e.yaml:3:10: lenet5: inputs of 65536x65536x65536: each is 1 or more, and "
         "together at most 2147483647\n  while building lenet5 for inputs of "
         "65536x65536x65536"},
        {"lenet5", mnist, 0,
         "e.yaml:3:10: fc3: outputs must be 1 or more, not 0\n  while building lenet5 for inputs "
         "of 1x28x28"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sp_error err = {0};
        struct sp_network *network = NULL;
        struct sp_network_spec spec = {.builtin = cases[i].name, .mark = {"e.yaml", 3, 10}};
        assert_int_equal(sp_network_create(&spec, cases[i].input, cases[i].classes, &network, &err), SP_E_INPUT);
        assert_null(network);
        assert_string_equal(err.text, cases[i].text);
        sp_error_fini(&err);
    }
}

/* One layer of that kind, with every setting the default. */
static struct sp_layer one(enum sp_layer_type type, int c, int h, int w)
{
    return (struct sp_layer){.type = type,
                             .name = "x",
                             .settings = {.filters = 4,
                                          .kernel = 3,
                                          .stride = 1,
                                          .bias = true,
                                          .epsilon = 1e-5f,
                                          .momentum = 0.1f,
                                          .size = 5,
                                          .alpha = 1e-4f,
                                          .beta = 0.75f,
                                          .k = 1,
                                          .rate = 0.5f},
                             .inputs = {1, 2},
                             .in = {c, h, w}};
}

static sp_status infer(struct sp_layer *layer, struct sp_shape second)
{
    struct sp_error err = {0};
    struct sp_shape shapes[2] = {layer->in, second};
    sp_status status = sp_layer_kinds[layer->type]->infer(layer, shapes, &err);
    assert_int_equal(err.count, status == SP_OK ? 0 : 1);
    sp_error_fini(&err);
    return status;
}

/* floor((side + 2 * pad - kernel) / stride) + 1 */
static void windows_slide_over_padding(void **state)
{
    (void)state;
    static const struct {
        int side, kernel, stride, pad, out; /* out 0: rejected */
    } cases[] = {
        {7, 3, 1, 0, 5}, {7, 3, 1, 1, 7}, {7, 3, 2, 1, 4},  {8, 3, 2, 1, 4}, {5, 2, 2, 0, 2},
        {5, 5, 1, 0, 1}, {4, 5, 1, 0, 0}, {4, 5, 1, 1, 2},  {1, 3, 1, 1, 1}, {32, 5, 3, 2, 11},
        {4, 3, 0, 0, 0}, {4, 3, 1, 3, 0}, {4, 3, 1, -1, 0}, {4, 0, 1, 0, 0},
    };
    static const enum sp_layer_type types[] = {SP_LAYER_CONVOLUTION, SP_LAYER_MAX_POOL, SP_LAYER_AVERAGE_POOL};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int t = 0; t < 3; t++) {
            struct sp_layer layer = one(types[t], 2, cases[i].side, cases[i].side);
            layer.settings.kernel = cases[i].kernel;
            layer.settings.stride = cases[i].stride;
            layer.settings.pad = cases[i].pad;
            sp_status status = infer(&layer, layer.in);
            assert_int_equal(status, cases[i].out > 0 ? SP_OK : SP_E_INPUT);
            if (status == SP_OK)
                assert_shape(layer.out, t == 0 ? 4 : 2, cases[i].out, cases[i].out);
        }
}

static void shortcuts_fit_or_are_rejected(void **state)
{
    (void)state;
    static const struct {
        struct sp_shape main_path, shortcut;
        int stride; /* 0: rejected */
    } cases[] = {
        {{16, 8, 8}, {16, 8, 8}, 1},     {{32, 8, 8}, {16, 8, 8}, 1},   {{32, 16, 16}, {16, 32, 32}, 2},
        {{16, 16, 16}, {16, 32, 32}, 2}, {{16, 2, 2}, {4, 8, 8}, 4},    {{16, 4, 4}, {16, 7, 7}, 2},
        {{16, 1, 14}, {16, 1, 28}, 2},   {{16, 14, 1}, {16, 28, 1}, 2}, {{10, 1, 1}, {5, 1, 1}, 1},
        {{16, 8, 8}, {32, 8, 8}, 0},   /* more channels */
        {{16, 16, 16}, {16, 8, 8}, 0}, /* smaller */
        {{16, 8, 8}, {16, 12, 12}, 0}, /* every second leaves 6 */
        {{16, 8, 8}, {16, 16, 8}, 0},  /* one factor for both */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sp_shape in = cases[i].main_path;
        struct sp_layer layer = one(SP_LAYER_ADD, in.c, in.h, in.w);
        sp_status status = infer(&layer, cases[i].shortcut);
        assert_int_equal(status, cases[i].stride > 0 ? SP_OK : SP_E_INPUT);
        if (status != SP_OK)
            continue;
        assert_int_equal(layer.settings.stride, cases[i].stride);
        assert_shape(layer.out, in.c, in.h, in.w);
    }
    struct sp_layer twice = one(SP_LAYER_ADD, 2, 4, 4); /* its two gradients would be one tensor */
    twice.inputs[1] = twice.inputs[0];
    assert_int_equal(infer(&twice, twice.in), SP_E_INPUT);
}

/* On 2x6x6, batch 3: 72 elements; a convolution and pooling of 3x3 leave 4x4. */
static void kinds_know_what_they_make_and_keep(void **state)
{
    (void)state;
    static const struct {
        enum sp_layer_type type;
        struct sp_shape out;
        int flags;
        int64_t weight, bias, state;
        size_t saved;
        int64_t fan_in; /* 0: none */
    } kinds[] = {
        {SP_LAYER_CONVOLUTION, {4, 4, 4}, SP_KEEPS_INPUT, 4 * 18, 4, 0, 0, 18},
        {SP_LAYER_BATCH_NORM, {2, 6, 6}, SP_KEEPS_INPUT, 2, 2, 4, 2 * 2 * 4, 0},
        {SP_LAYER_RELU, {2, 6, 6}, SP_KEEPS_OUTPUT | SP_IN_PLACE, 0, 0, 0, 0, 0},
        {SP_LAYER_MAX_POOL, {2, 4, 4}, 0, 0, 0, 0, 3 * 32 * 4, 0},
        {SP_LAYER_AVERAGE_POOL, {2, 4, 4}, 0, 0, 0, 0, 0, 0},
        {SP_LAYER_GLOBAL_AVERAGE_POOL, {2, 1, 1}, 0, 0, 0, 0, 0, 0},
        {SP_LAYER_LRN, {2, 6, 6}, SP_KEEPS_INPUT, 0, 0, 0, 3 * 72 * 4, 0},
        {SP_LAYER_DROPOUT, {2, 6, 6}, SP_IN_PLACE, 0, 0, 0, 3 * 72, 0},
        {SP_LAYER_FULLY_CONNECTED, {4, 1, 1}, SP_KEEPS_INPUT, 4 * 72, 4, 0, 0, 72},
        {SP_LAYER_ADD, {2, 6, 6}, SP_IN_PLACE, 0, 0, 0, 0, 0},
        {SP_LAYER_FLATTEN, {72, 1, 1}, SP_VIEW | SP_IN_PLACE, 0, 0, 0, 0, 0},
    };
    assert_int_equal(sizeof kinds / sizeof *kinds, SP_LAYER_TYPE_COUNT - 1);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct sp_layer layer = one(kinds[i].type, 2, 6, 6);
        const struct sp_layer_kind *kind = sp_layer_kinds[layer.type];
        assert_int_equal(infer(&layer, layer.in), SP_OK);
        assert_memory_equal(&layer.out, &kinds[i].out, sizeof layer.out);
        assert_int_equal(kind->flags, kinds[i].flags);
        assert_int_equal(layer.parameters[SP_PARAMETER_WEIGHT], kinds[i].weight);
        assert_int_equal(layer.parameters[SP_PARAMETER_BIAS], kinds[i].bias);
        assert_int_equal(layer.state, kinds[i].state);
        assert_int_equal(kind->saved_bytes(&layer, 3), kinds[i].saved);
        assert_int_equal(kind->fan_in == NULL ? 0 : kind->fan_in(&layer), kinds[i].fan_in);
        if (layer.type != SP_LAYER_FLATTEN)
            assert_true(layer.forward_flops > 0 && layer.backward_input_flops > 0);
        assert_true((layer.backward_weight_flops > 0) == (kinds[i].weight > 0));
        assert_int_equal(sp_layer_type_of(kind->name), layer.type);
    }
    struct sp_layer loss = one(SP_LAYER_SOFTMAX_CROSS_ENTROPY, 10, 1, 1);
    assert_int_equal(infer(&loss, loss.in), SP_OK);
    assert_shape(loss.out, 1, 1, 1);
    assert_int_equal(sp_layer_kinds[loss.type]->saved_bytes(&loss, 3), 3 * 10 * 4);
    loss.in.h = 2;
    assert_int_equal(infer(&loss, loss.in), SP_E_INPUT);
    struct sp_layer unbiased = one(SP_LAYER_CONVOLUTION, 2, 6, 6);
    unbiased.settings.bias = false;
    assert_int_equal(infer(&unbiased, unbiased.in), SP_OK);
    assert_int_equal(unbiased.parameters[SP_PARAMETER_BIAS], 0);
    assert_int_equal(sp_layer_type_of("conv"), SP_LAYER_TYPE_COUNT);
}

/* Network files are written to this folder. */
static char folder[] = "/tmp/stalepipe-network-XXXXXX", path[64];

static int make_folder(void **state)
{
    (void)state;
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/net.yaml", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder);
}

static sp_status read_bytes(const char *text, size_t size, struct sp_network **network, struct sp_error *err)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
    struct sp_network_spec spec = {.file = path};
    return sp_network_create(&spec, cifar, 10, network, err);
}

static sp_status read_file(const char *text, struct sp_network **network, struct sp_error *err)
{
    return read_bytes(text, strlen(text), network, err);
}

static struct sp_network *read_right(const char *text)
{
    struct sp_error err = {0};
    struct sp_network *network;
    if (read_file(text, &network, &err) != SP_OK)
        fail_msg("%s", err.text);
    assert_sound(network);
    return network;
}

/* 8*27+8 + 8*3+8 + 10*8*16*16+10 = 224 + 32 + 20,490 */
static void a_file_makes_a_network(void **state)
{
    (void)state;
    struct sp_network *network = read_right("name: small\ninput: [3, 32, 32]\nclasses: 10\nlayers:\n"
                                            "  - {type: convolution, name: a, filters: 8, kernel: 3, pad: 1}\n"
                                            "  - {type: relu, name: r}\n"
                                            "  - {type: convolution, name: p, input: input, filters: 8, kernel: 1,\n"
                                            "     shortcut: true}\n"
                                            "  - {type: add, inputs: [r, p]}\n"
                                            "  - {type: average-pool, kernel: 2, inputs: [add1]}\n"
                                            "  - {type: fully-connected, outputs: 10}\n"
                                            "  - {type: softmax-cross-entropy}\n");
    assert_string_equal(network->name, "small");
    assert_int_equal(network->parameter_count, 20746);
    assert_int_equal(network->weight_layer_count, 2);
    assert_int_equal(network->layers[2].weight_number, 0); /* the projection is not counted */
    assert_int_equal(network->layers[2].group, 1);
    assert_int_equal(network->layers[3].inputs[0], 2);
    assert_int_equal(network->layers[3].inputs[1], 3);
    assert_shape(network->shapes[5], 8, 16, 16); /* the pool's stride is its kernel */
    assert_int_equal(sp_network_last_consumer(network, 0), 2);
    assert_int_equal(sp_network_cut_layer(network, 1), 5);
    /* The file is closed, and the marks still know it. */
    assert_string_equal(network->layers[5].mark.file, path);
    assert_int_equal(network->layers[5].mark.line, 11);
    assert_int_equal(network->layers[5].mark.column, 5);
    sp_network_destroy(&network);
}

static void a_file_can_say_every_setting(void **state)
{
    (void)state;
    struct sp_network *network =
        read_right("layers:\n"
                   "  - {type: convolution, filters: 8, kernel: 3, stride: 2, pad: 1, bias: false}\n"
                   "  - {type: batch-norm, epsilon: 1e-3, momentum: 0.25}\n"
                   "  - {type: lrn, size: 3, alpha: 0.5, beta: 0.25, k: 2}\n"
                   "  - {type: max-pool, kernel: 3, stride: 2, pad: 1}\n"
                   "  - {type: dropout, rate: 0.25}\n"
                   "  - {type: fully-connected, outputs: 10, bias: false}\n"
                   "  - {type: softmax-cross-entropy}\n");
    assert_string_equal(network->name, "net"); /* the file's */
    const struct sp_layer *l = network->layers;
    assert_true(l[0].settings.filters == 8 && l[0].settings.kernel == 3 && l[0].settings.stride == 2 &&
                l[0].settings.pad == 1 && !l[0].settings.bias && !l[0].settings.shortcut);
    assert_true(l[1].settings.epsilon == 1e-3f && l[1].settings.momentum == 0.25f);
    assert_true(l[2].settings.size == 3 && l[2].settings.alpha == 0.5f && l[2].settings.beta == 0.25f &&
                l[2].settings.k == 2);
    assert_shape(l[3].out, 8, 8, 8);
    assert_true(l[4].settings.rate == 0.25f);
    assert_int_equal(network->parameter_count, 8 * 27 + 16 + 10 * 512);
    sp_network_destroy(&network);

    network = read_right("layers:\n  - {type: batch-norm}\n  - {type: lrn}\n  - {type: dropout}\n"
                         "  - {type: fully-connected, outputs: 10}\n  - {type: softmax-cross-entropy}\n");
    l = network->layers;
    assert_true(l[0].settings.epsilon == 1e-5f && l[0].settings.momentum == 0.1f);
    assert_true(l[1].settings.size == 5 && l[1].settings.alpha == 1e-4f && l[1].settings.beta == 0.75f &&
                l[1].settings.k == 1);
    assert_true(l[2].settings.rate == 0.5f);
    assert_true(l[3].settings.bias);
    sp_network_destroy(&network);
}

/* Three kinds are called pool, and a user may have taken a name that would have been given. */
static void unnamed_layers_get_free_names(void **state)
{
    (void)state;
    struct sp_network *network =
        read_right("layers: [{type: max-pool, kernel: 2}, {type: relu, name: relu1}, {type: average-pool, kernel: 2},\n"
                   "  {type: relu}, {type: global-average-pool}, {type: fully-connected, outputs: 10},\n"
                   "  {type: softmax-cross-entropy}]\n");
    static const char *const names[] = {"pool1", "relu1", "pool2", "relu2", "pool3", "fc1", "loss1"};
    for (int l = 0; l < 7; l++)
        assert_string_equal(network->layers[l].name, names[l]);
    sp_network_destroy(&network);
}

/* The built-in one written out; nothing but marks may differ. */
static void a_file_can_say_what_a_builtin_is(void **state)
{
    (void)state;
    struct sp_network *file = read_right("layers:\n"
                                         "  - {type: convolution, filters: 6, kernel: 5, pad: 2}\n"
                                         "  - {type: relu}\n  - {type: max-pool, kernel: 2}\n"
                                         "  - {type: convolution, filters: 16, kernel: 5}\n"
                                         "  - {type: relu}\n  - {type: max-pool, kernel: 2}\n"
                                         "  - {type: flatten}\n"
                                         "  - {type: fully-connected, outputs: 120}\n  - {type: relu}\n"
                                         "  - {type: fully-connected, outputs: 84}\n  - {type: relu}\n"
                                         "  - {type: fully-connected, outputs: 10}\n"
                                         "  - {type: softmax-cross-entropy}\n");
    struct sp_network *builtin = build("lenet5", cifar);
    assert_int_equal(file->layer_count, builtin->layer_count);
    for (int l = 0; l < file->layer_count; l++) {
        const struct sp_layer *a = &file->layers[l], *b = &builtin->layers[l];
        assert_int_equal(a->type, b->type);
        assert_string_equal(a->name, b->name);
        assert_memory_equal(&a->out, &b->out, sizeof a->out);
        assert_memory_equal(a->inputs, b->inputs, sizeof a->inputs);
        assert_memory_equal(a->parameters, b->parameters, sizeof a->parameters);
        assert_int_equal(a->group, b->group);
        assert_true(a->forward_flops == b->forward_flops);
        assert_null(b->mark.file);
    }
    sp_network_destroy(&file);
    sp_network_destroy(&builtin);
}

/* Takes "path:" out of the messages; what is left begins with line and column. */
static void strip_path(char *text)
{
    size_t length = strlen(path) + 1;
    char *at = text;
    while ((at = strstr(at, path)) != NULL)
        memmove(at, at + length, strlen(at + length) + 1);
}

#define END       ", {type: fully-connected, outputs: 10}, {type: softmax-cross-entropy}]"
#define LONG_NAME "n23456789012345678901234567890123456789012345678"
static void mistakes_in_files_are_told(void **state)
{
    (void)state;
    static const struct {
        const char *text, *messages;
    } cases[] = {
        /* the file */
        {"", "1:1: expected keys: name, input, classes, layers"},
        {"5", "1:1: expected keys: name, input, classes, layers"},
        {"layers: [", "2:1: not YAML: did not find expected node content, while parsing a flow node\n"
                      "network: this file was asked for here"},
        {"lyers: []", "1:1: network: unknown key \"lyers\"; did you mean \"layers\"?\n"
                      "1:1: layers: expected a list of layers"},
        {"layers: 5", "1:9: layers: expected a list of layers"},
        {"layers: []", "1:9: layers: expected a list of layers"},
        {"name: [a]\nlayers: [{type: relu}" END, "1:7: network.name: expected a word, found a list or map"},
        {"name: " LONG_NAME "\nlayers: [{type: relu}" END, "1:7: network.name: more than 47 bytes"},
        {"input: [1, 2]\nlayers: [{type: relu}" END, "1:8: input: expected [channels, height, width], each 1 to 65536"},
        {"input: [3, 0, 32]\nlayers: [{type: relu}" END,
         "1:8: input: expected [channels, height, width], each 1 to 65536"},
        {"input: [3, 32, x]\nlayers: [{type: relu}" END,
         "1:8: input: expected [channels, height, width], each 1 to 65536"},
        {"input: [1, 32, 32]\nlayers: [{type: relu}" END, "1:8: input: the data has [3, 32, 32]"},
        {"input: [3, 28, 32]\nlayers: [{type: relu}" END, "1:8: input: the data has [3, 32, 32]"},
        {"input: [3, 32, 28]\nlayers: [{type: relu}" END, "1:8: input: the data has [3, 32, 32]"},
        {"input: [65536, 65536, 2]\nlayers: [{type: relu}" END,
         "1:8: input: the data has [3, 32, 32]\n"
         "2:9: net: inputs of 65536x65536x2: each is 1 or more, and together at most 2147483647"},
        {"classes: ten\nlayers: [{type: relu}" END, "1:10: network.classes: expected a whole number, found \"ten\""},
        {"classes: 7\nlayers: [{type: relu}, {type: fully-connected, outputs: 7}, {type: softmax-cross-entropy}]",
         "1:10: classes: the data has 10"},
        /* kinds and keys */
        {"layers: [relu" END, "1:10: layers: expected a layer such as {type: relu}"},
        {"layers: [{name: x}" END, "1:10: layers: \"type\" is missing"},
        {"layers: [{type: [relu]}" END, "1:17: layers.type: expected a word"},
        {"layers: [{type: convolutoin, filters: 1, kernel: 1}" END,
         "1:17: layers: no type \"convolutoin\"; did you mean \"convolution\"?"},
        {"layers: [{type: something-else}" END, "1:17: layers: no type \"something-else\""},
        {"layers: [{type: max-pool, kernal: 3}" END, "1:27: max-pool: unknown key \"kernal\"; did you mean "
                                                     "\"kernel\"?\n1:10: max-pool: \"kernel\" is missing"},
        {"layers: [{type: relu, filters: 3}" END, "1:23: relu has no \"filters\" (no settings)"},
        {"layers: [{type: dropout, kernel: 3, rate: 0.1}" END, "1:26: dropout has no \"kernel\" (rate [0.5])"},
        {"layers: [{type: convolution}" END, "1:10: convolution: \"filters\" is missing\n"
                                             "1:10: convolution: \"kernel\" is missing"},
        {"layers: [{type: convolution, filters: 0, kernel: 1.5, bias: 1}" END,
         "1:39: convolution.filters: 0 is out of range: 1 to 1e+06\n"
         "1:50: convolution.kernel: expected a whole number, found \"1.5\"\n"
         "1:61: convolution.bias: expected true or false, found \"1\""},
        {"layers: [{type: dropout, rate: 1}" END, "1:32: dropout.rate: 1 is out of range: 0 to 0.999999"},
        {"layers: [{type: fully-connected}, {type: softmax-cross-entropy}]",
         "1:10: fully-connected: \"outputs\" is missing"},
        {"layers: [{type: relu, name: " LONG_NAME "}" END,
         "1:29: layers.name: \"" LONG_NAME "\" has more than 47 bytes"},
        {"layers: [{type: relu, name: input}" END, "1:29: layers.name: \"input\" cannot be the name of a layer"},
        {"layers: [{type: relu, name: ''}" END, "1:29: layers.name: \"\" cannot be the name of a layer"},
        /* shapes */
        {"layers: [{type: lrn, size: 4}" END, "1:10: lrn1: size must be odd, not 4"},
        {"layers: [{type: convolution, filters: 8, kernel: 40}" END,
         "1:10: conv1: a 40x40 window does not fit into 32x32 with padding 0"},
        {"layers: [{type: max-pool, kernel: 2, pad: 2}" END,
         "1:10: pool1: kernel 2, stride 2, pad 2: kernel and stride are 1 or more, pad 0 to kernel - 1"},
        {"layers: [{type: convolution, filters: 1000000, kernel: 1000, pad: 999}" END,
         "1:10: conv1: an output of 1000000x1031x1031 is over the limit of 2147483647 elements"},
        {"layers: [{type: fully-connected, outputs: 1000000}, {type: fully-connected, outputs: 10000000}" END,
         "1:10: fc1: 1000000 times 3072 weights are over the limit of 2147483647"},
        {"layers: [{type: global-average-pool, name: g}, {type: convolution, input: input, filters: 8, kernel: 1},\n"
         "  {type: add, inputs: [conv1, g]}" END,
         "2:3: add1: a shortcut of 3x1x1 cannot be added to 8x32x32"},
        {"layers: [{type: relu}, {type: add, inputs: [relu1, relu1]}" END,
         "1:24: add1: main path and shortcut are the same tensor"},
        /* which reads which */
        {"layers: [{type: add}" END, "1:10: layers: add needs inputs: [main path, shortcut]"},
        {"layers: [{type: add, inputs: [input]}" END, "1:30: layers: add needs inputs: [main path, shortcut]"},
        {"layers: [{type: relu}, {type: add, inputs: [relu1, input], input: relu1}" END,
         "1:60: add has no \"input\" (inputs: [main path, shortcut])"},
        {"layers: [{type: relu}, {type: relu, inputs: [relu1, input]}" END,
         "1:45: layers: only add has several inputs; name one as input:"},
        {"layers: [{type: relu}, {type: relu, inputs: [relu1], input: relu1}" END,
         "1:61: layers: input or inputs, not both"},
        {"layers: [{type: relu, inputs: [[relu1]]}" END, "1:32: layers: expected the name of a layer"},
        {"layers: [{type: relu, name: r}, {type: add, inputs: [r, qq]}" END,
         "1:57: layers: no layer \"qq\" before this one"},
        {"layers: [{type: relu, name: first}, {type: relu, input: fisrt}" END,
         "1:57: layers: no layer \"fisrt\" before this one; did you mean \"first\"?"},
        {"layers: [{type: relu, input: relu2}, {type: relu}" END, "1:30: layers: no layer \"relu2\" before this one"},
        {"layers: [{type: relu, name: r}, {type: relu, name: r}" END, "1:33: two layers are named \"r\""},
        {"layers: [{type: relu, name: r}, {type: relu, name: s, input: input}" END, "1:10: nobody reads layer \"r\""},
        /* the whole */
        {"layers: [{type: fully-connected, outputs: 10}]",
         "1:10: net: the last layer must be softmax-cross-entropy, not fully-connected"},
        {"layers: [{type: fully-connected, outputs: 9}, {type: softmax-cross-entropy}]",
         "1:47: loss1: 9 scores for 10 classes"},
        {"layers: [{type: softmax-cross-entropy}]", "1:10: loss1: expects a vector, found 3x32x32"},
        {"layers: [{type: flatten}, {type: softmax-cross-entropy}" END,
         "1:27: loss1: softmax-cross-entropy is only the last layer"},
        {"layers: [{type: convolution, filters: 10, kernel: 32, shortcut: true}, {type: softmax-cross-entropy}]",
         "1:9: net: a network needs a convolution or fully connected layer"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sp_error err = {0};
        struct sp_network *network = (struct sp_network *)&err; /* must become NULL */
        assert_int_equal(read_file(cases[i].text, &network, &err), SP_E_INPUT);
        assert_null(network);
        strip_path(err.text);
        if (strcmp(err.text, cases[i].messages) != 0)
            fail_msg("%s\n  expected: %s\n  found: %s", cases[i].text, cases[i].messages, err.text);
        sp_error_fini(&err);
    }
}

/* A wrong layer keeps its name and place, so that nothing is told twice and nothing is left out. */
static void mistakes_are_told_all_at_once_and_once(void **state)
{
    (void)state;
    struct sp_error err = {0};
    struct sp_network *network;
    sp_status status = read_file("nmae: x\nclasses: 9\nlayers:\n"
                                 "  - {type: convolution, name: c, filters: 8, kernel: 40}\n"
                                 "  - {type: batchnorm}\n"
                                 "  - {type: relu, rate: 1}\n"
                                 "  - {type: convolution, filters: many, kernel: 3}\n"
                                 "  - {type: add, inputs: [conv1, c]}\n" /* both stand above, wrong as they are */
                                 "  - {type: relu, input: bn1}\n"
                                 "  - {type: add, inputs: [conv2, d]}\n"
                                 "  - {type: fully-connected, outputs: 10, input: input}\n",
                                 &network, &err);
    assert_int_equal(status, SP_E_INPUT);
    strip_path(err.text);
    assert_string_equal(err.text, "1:1: network: unknown key \"nmae\"; did you mean \"name\"?\n"
                                  "2:10: classes: the data has 10\n"
                                  "4:5: c: a 40x40 window does not fit into 32x32 with padding 0\n"
                                  "5:12: layers: no type \"batchnorm\"; did you mean \"batch-norm\"?\n"
                                  "6:18: relu has no \"rate\" (no settings)\n"
                                  "7:34: convolution.filters: expected a whole number, found \"many\"\n"
                                  "10:26: layers: no layer \"conv2\" before this one; did you mean \"conv1\"?\n"
                                  "10:33: layers: no layer \"d\" before this one; did you mean \"c\"?\n"
                                  "11:5: net: the last layer must be softmax-cross-entropy, not fully-connected");
    sp_error_fini(&err);
}

static void a_file_that_is_not_there_is_told(void **state)
{
    (void)state;
    struct sp_error err = {0};
    struct sp_network *network;
    struct sp_network_spec spec = {.file = "/nowhere/net.yaml", .mark = {"e.yaml", 2, 17}};
    assert_true(sp_network_create(&spec, cifar, 10, &network, &err) != SP_OK);
    assert_null(network);
    assert_non_null(strstr(err.text, "/nowhere/net.yaml"));
    assert_non_null(strstr(err.text, "e.yaml:2:17: network: this file was asked for here"));
    sp_error_fini(&err);
}

/* `count` layers of that text, which ends in a network of `count` + 2 layers where the text is right. */
static char *many(const char *layer, int count)
{
    static const char end[] = "  - {type: fully-connected, outputs: 10}\n  - {type: softmax-cross-entropy}\n";
    size_t length = strlen(layer);
    char *text = malloc(16 + length * (size_t)count + sizeof end), *at = text;
    assert_non_null(text);
    at += sprintf(at, "layers:\n");
    for (int l = 0; l < count; l++, at += length)
        memcpy(at, layer, length);
    memcpy(at, end, sizeof end);
    return text;
}

static void long_files_end_somewhere(void **state)
{
    (void)state;
    static const struct {
        const char *layer;
        int count, messages; /* 0: right */
        const char *last;
    } cases[] = {
        {"  - {type: relu}\n", 16382, 0, NULL},
        {"  - {type: relu}\n", 16383, 1, ": net: more than 16384 layers"},
        {"  - {type: relu, a: 1}\n", 5000, 100, "\n  and maybe more: reading stopped after 100 mistakes"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sp_error err = {0};
        struct sp_network *network;
        char *text = many(cases[i].layer, cases[i].count);
        assert_int_equal(read_file(text, &network, &err), cases[i].messages == 0 ? SP_OK : SP_E_INPUT);
        assert_int_equal(err.count, cases[i].messages);
        if (cases[i].last != NULL) {
            assert_true(strlen(err.text) > strlen(cases[i].last));
            assert_string_equal(err.text + strlen(err.text) - strlen(cases[i].last), cases[i].last);
        }
        sp_network_destroy(&network);
        sp_error_fini(&err);
        free(text);
    }
}

/* A right file with a few pieces of it moved, doubled or damaged: it is read or rejected with a message, never half. */
static void damaged_files_are_read_or_rejected(void **state)
{
    (void)state;
    static const char right[] =
        "name: s\ninput: [3, 32, 32]\nclasses: 10\nlayers:\n"
        "  - {type: convolution, name: a, filters: 8, kernel: 3, stride: 2, pad: 1}\n"
        "  - {type: batch-norm, name: b, epsilon: 0.001}\n"
        "  - {type: relu}\n"
        "  - {type: convolution, name: p, input: input, filters: 4, kernel: 1, shortcut: true}\n"
        "  - {type: add, inputs: [relu1, p]}\n"
        "  - {type: max-pool, kernel: 2}\n"
        "  - {type: lrn}\n"
        "  - {type: dropout, rate: 0.5}\n"
        "  - {type: flatten}\n"
        "  - {type: fully-connected, outputs: 10}\n"
        "  - {type: softmax-cross-entropy}\n";
    static const char letters[] = "0123456789abprx:,.-[]{}'\" \n9999999";
    uint32_t random = 12345;
    int accepted = 0, rejected = 0;
    for (int round = 0; round < 4000; round++) {
        char text[sizeof right + 1];
        memcpy(text, right, sizeof right);
        size_t size = sizeof right - 1;
        for (int damage = 0; damage <= round % 3; damage++) {
            random = random * 1664525 + 1013904223;
            size_t at = (random >> 8) % size, from = (random >> 4) % (size - 8);
            switch (random >> 30) {
            case 0:
                memmove(text + (at < size - 8 ? at : size - 8), text + from, 8);
                break;
            case 1:
                text[at] = letters[(random >> 12) % (sizeof letters - 1)];
                break;
            default: /* another number */
                at += strcspn(text + at, "0123456789");
                if (at < size)
                    text[at] = (char)('0' + (random >> 12) % 10);
            }
        }
        struct sp_error err = {0};
        struct sp_network *network;
        sp_status status = read_bytes(text, size, &network, &err);
        if (status == SP_OK) {
            assert_sound(network);
            assert_null(err.text);
            accepted++;
        } else {
            assert_null(network);
            assert_true(err.count > 0);
            rejected++;
        }
        sp_network_destroy(&network);
        sp_error_fini(&err);
    }
    if (accepted < 100 || rejected < 1000)
        fail_msg("%d accepted, %d rejected", accepted, rejected); /* both sides were tried */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lenet5_has_its_shapes_and_parameters),
        cmocka_unit_test(multiply_adds_count_twice),
        cmocka_unit_test(resnets_have_their_parameters),
        cmocka_unit_test(resnet_shortcuts_are_padded_with_zeros),
        cmocka_unit_test(paper_networks_have_their_weights),
        cmocka_unit_test(a_cut_after_19_ends_the_first_group_of_resnet56),
        cmocka_unit_test(a_cut_inside_a_block_has_the_shortcut_cross_it),
        cmocka_unit_test(every_resnet_is_6n_plus_2),
        cmocka_unit_test(wrong_builtins_are_told_with_what_is_near),
        cmocka_unit_test(windows_slide_over_padding),
        cmocka_unit_test(shortcuts_fit_or_are_rejected),
        cmocka_unit_test(kinds_know_what_they_make_and_keep),
        cmocka_unit_test(a_file_makes_a_network),
        cmocka_unit_test(a_file_can_say_every_setting),
        cmocka_unit_test(unnamed_layers_get_free_names),
        cmocka_unit_test(a_file_can_say_what_a_builtin_is),
        cmocka_unit_test(mistakes_in_files_are_told),
        cmocka_unit_test(mistakes_are_told_all_at_once_and_once),
        cmocka_unit_test(a_file_that_is_not_there_is_told),
        cmocka_unit_test(long_files_end_somewhere),
        cmocka_unit_test(damaged_files_are_read_or_rejected),
    };
    return cmocka_run_group_tests_name("network", tests, make_folder, remove_folder);
}
