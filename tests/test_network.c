/*
 * Networks: shapes and counts derived by hand, numbering as in the paper, and every mistake with its message.
 */
#include "common/layer.h"
#include "tests/networks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* 6*25+6 + 16*150+16 + 120*400+120 + 84*120+84 + 10*84+10 = 156 + 2416 + 48120 + 10164 + 850 */
static void lenet5_has_its_shapes_and_parameters(void **state)
{
    (void)state;
    struct sp_network *network = build_network("lenet5", mnist_shape);
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
    assert_int_equal(sp_network_create(&spec, mnist_shape, 10, &network, &err), SP_OK);
    assert_null(network->layers[0].mark.file);
    assert_null(err.text);
    sp_network_destroy(&network);

    /* 3x32x32: 6*75+6 + 2416 + 120*(16*6*6)+120 + 10164 + 850 = 456 + 2416 + 69240 + 10164 + 850 */
    network = build_network("lenet5", cifar_shape);
    assert_int_equal(network->parameter_count, 83126);
    sp_network_destroy(&network);
}

static void multiply_adds_count_twice(void **state)
{
    (void)state;
    struct sp_network *network = build_network("lenet5", mnist_shape);
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
    struct sp_network *network = build_network("resnet20", cifar_shape);
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

    network = build_network("resnet56", cifar_shape);
    assert_sound(network);
    assert_int_equal(network->parameter_count, 853018);
    assert_int_equal(network->weight_layer_count, 56);
    sp_network_destroy(&network);
}

/* Two of the shortcuts change shape: 16x32x32 to 32x16x16 and 32x16x16 to 64x8x8. No weights are on shortcuts. */
static void resnet_shortcuts_are_padded_with_zeros(void **state)
{
    (void)state;
    struct sp_network *network = build_network("resnet20", cifar_shape);
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
    network = build_network("resnet8", (struct sp_shape){3, 30, 30});
    assert_sound(network);
    assert_shape(network->layers[network->layer_count - 3].in, 64, 8, 8);
    sp_network_destroy(&network);
    /* One row: 1x28, 1x14, 1x7. */
    network = build_network("resnet8", (struct sp_shape){1, 1, 28});
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
    struct sp_network *network = build_network("alexnet", cifar_shape);
    assert_sound(network);
    assert_int_equal(network->parameter_count, 2251584 + 21020682);
    assert_int_equal(network->weight_layer_count, 8);
    assert_int_equal(count_type(network, SP_LAYER_DROPOUT), 2);
    sp_network_destroy(&network);

    network = build_network("vgg16", cifar_shape);
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
    struct sp_network *network = build_network("resnet56", cifar_shape);
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
    struct sp_network *network = build_network("resnet20", cifar_shape);
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
        sp_status status = sp_network_create(&spec, cifar_shape, 10, &network, &err);
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
        {"resnet21", cifar_shape, 10,
         "e.yaml:3:10: network: no \"resnet21\": a resnet has 6n+2 layers; nearest: resnet20, "
         "resnet26"},
        {"resnet4", cifar_shape, 10,
         "e.yaml:3:10: network: no \"resnet4\": a resnet has 6n+2 layers; nearest: resnet8, "
         "resnet14"},
        {"resnet020", cifar_shape, 10,
         "e.yaml:3:10: network: no \"resnet020\"; did you mean \"resnet20\"? Legal: lenet5, "
         "alexnet, vgg16, resnetN (N = 6n+2)"},
        {"lenet", cifar_shape, 10,
         "e.yaml:3:10: network: no \"lenet\"; did you mean \"lenet5\"? Legal: lenet5, alexnet, "
         "vgg16, resnetN (N = 6n+2)"},
        {"transformer", cifar_shape, 10,
         "e.yaml:3:10: network: no \"transformer\"; legal: lenet5, alexnet, vgg16, resnetN "
         "(N = 6n+2)"},
        {"resnet99998", cifar_shape, 10,
         "e.yaml:3:10: resnet99998: more than 16384 layers\n  while building resnet99998 for "
         "inputs of 3x32x32"},
        /* 28, 14, 7, 3, 1: the fifth pooling has too little. */
        {"vgg16", mnist_shape, 10,
         "e.yaml:3:10: pool5: a 2x2 window does not fit into 1x1 with padding 0\n  while building "
         "vgg16 for inputs of 1x28x28"},
        {"lenet5",
         {65536, 65536, 65536},
         10,
         "e.yaml:3:10: lenet5: inputs of 65536x65536x65536: each is 1 or more, and "
         "together at most 2147483647\n  while building lenet5 for inputs of "
         "65536x65536x65536"},
        {"lenet5", mnist_shape, 0,
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
    assert_int_equal(sizeof kinds / sizeof *kinds, SP_LAYER_WRITABLE_COUNT - 1);
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
    };
    return cmocka_run_group_tests_name("network", tests, NULL, NULL);
}
