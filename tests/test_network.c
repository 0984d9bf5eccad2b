/*
 * Networks: shapes and counts derived by hand, numbering as in the paper, mistakes in files.
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

static struct sp_network *build(const char *name, struct sp_shape input)
{
    struct sp_error err = {0};
    struct sp_network *network;
    struct sp_network_spec spec = {.builtin = name};
    if (sp_network_create(&spec, input, 10, &network, &err) != SP_OK)
        fail_msg("%s: %s", name, err.text);
    return network;
}

static const struct sp_shape mnist = {1, 28, 28}, cifar = {3, 32, 32};

/* 6*25+6 + 16*150+16 + 120*400+120 + 84*120+84 + 10*84+10 = 156 + 2416 + 48120 + 10164 + 850 */
static void lenet5_has_its_parameters(void **state)
{
    (void)state;
    struct sp_network *network = build("lenet5", mnist);
    assert_int_equal(network->parameter_count, 61706);
    assert_int_equal(network->weight_layer_count, 5);
    /* 28x28 (pad 2) -> 14x14 -> 10x10 -> 5x5 */
    assert_int_equal(network->shapes[6].h, 5);
    assert_int_equal(network->shapes[6].c, 16);
    /* conv1: 2 * 25 * 6 * 28 * 28 */
    assert_true(network->layers[0].forward_flops == 235200);
    /* A cut after layer 1 takes ReLU and pooling along: layers 0, 1, 2 are before it. */
    assert_int_equal(sp_network_cut_layer(network, 1), 3);
    assert_int_equal(sp_network_cut_layer(network, 2), 7);
    sp_network_destroy(&network);
}

/*
 * Convolutions 432 + 6*2304 + (4608 + 5*9216) + (18432 + 5*36864) = 267,696; batch norm 2*(7*16 + 6*32 + 6*64) = 1,376;
 * fully connected 650.
 */
static void resnet20_has_its_parameters(void **state)
{
    (void)state;
    struct sp_network *network = build("resnet20", cifar);
    assert_int_equal(network->parameter_count, 269722);
    assert_int_equal(network->weight_layer_count, 20);
    sp_network_destroy(&network);
}

/* The weights that the paper's Table 9 gives in MiB: AlexNet 88.87 (23.27 M), VGG-16 58.16 (15.25 M). */
static void paper_networks_have_their_weights(void **state)
{
    (void)state;
    struct sp_network *network = build("alexnet", cifar);
    assert_true(network->parameter_count > 23.2e6 && network->parameter_count < 23.35e6);
    assert_int_equal(network->weight_layer_count, 8);
    sp_network_destroy(&network);
    network = build("vgg16", cifar);
    assert_true(network->parameter_count > 15.2e6 && network->parameter_count < 15.3e6);
    assert_int_equal(network->weight_layer_count, 16);
    sp_network_destroy(&network);
}

/* ResNet-56 has nine blocks of two convolutions a group: with the first convolution, 19 weight layers before the second
 * group, whose first convolution makes 16x16. */
static void a_cut_after_19_ends_the_first_group_of_resnet56(void **state)
{
    (void)state;
    struct sp_network *network = build("resnet56", cifar);
    assert_int_equal(network->weight_layer_count, 56);
    int layer = sp_network_cut_layer(network, 19);
    assert_int_equal(network->layers[layer].weight_number, 20);
    assert_int_equal(network->layers[layer].in.h, 32);
    assert_int_equal(network->layers[layer].out.h, 16);
    assert_int_equal(network->layers[layer].out.c, 32);
    sp_network_destroy(&network);
}

static void every_resnet_is_6n_plus_2(void **state)
{
    (void)state;
    for (int n = 8; n <= 116; n++) {
        char name[16];
        snprintf(name, sizeof name, "resnet%d", n);
        struct sp_error err = {0};
        struct sp_network *network;
        struct sp_network_spec spec = {.builtin = name};
        sp_status status = sp_network_create(&spec, cifar, 10, &network, &err);
        assert_int_equal(status, n % 6 == 2 ? SP_OK : SP_E_INPUT);
        if (status == SP_OK)
            assert_int_equal(network->weight_layer_count, n);
        sp_network_destroy(&network);
        sp_error_fini(&err);
    }
}

static char *write_file(const char *text)
{
    static char path[64];
    snprintf(path, sizeof path, "/tmp/stalepipe-net-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    return path;
}

static sp_status read_file(const char *text, struct sp_network **network, struct sp_error *err)
{
    struct sp_network_spec spec = {.file = write_file(text)};
    sp_status status = sp_network_create(&spec, cifar, 10, network, err);
    unlink(spec.file);
    return status;
}

static void a_file_makes_a_network(void **state)
{
    (void)state;
    struct sp_error err = {0};
    struct sp_network *network;
    sp_status status =
        read_file("name: small\ninput: [3, 32, 32]\nlayers:\n"
                  "  - {type: convolution, name: a, filters: 8, kernel: 3, pad: 1}\n"
                  "  - {type: relu, name: r}\n"
                  "  - {type: convolution, name: p, input: input, filters: 8, kernel: 1, shortcut: true}\n"
                  "  - {type: add, inputs: [r, p]}\n"
                  "  - {type: average-pool, kernel: 2}\n"
                  "  - {type: fully-connected, outputs: 10}\n"
                  "  - {type: softmax-cross-entropy}\n",
                  &network, &err);
    if (status != SP_OK)
        fail_msg("%s", err.text);
    assert_string_equal(network->name, "small");
    assert_int_equal(network->weight_layer_count, 2); /* the projection is not counted */
    assert_int_equal(network->layers[3].inputs[1], 3);
    assert_int_equal(network->shapes[5].h, 16);
    assert_int_equal(sp_network_last_consumer(network, 0), 2);
    sp_network_destroy(&network);
}

static void mistakes_in_files_are_told(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"layers: [{type: convolutoin}]", "did you mean \"convolution\"?"},
        {"layers: [{type: relu, filtres: 3}]", "did you mean \"filters\"?"},
        {"layers: [{type: convolution, filters: 8}]", "kernel 0"},
        {"layers: [{type: convolution, filters: 8, kernel: 40}]", "does not fit"},
        {"layers: [{type: relu}]", "must be softmax-cross-entropy"},
        {"layers: []", "a network needs layers"},
        {"layers: 5", "expected a list of layers"},
        {"input: [1, 2]\nlayers: []", "expected [channels, height, width]"},
        {"input: [1, 2, 3]\nlayers: []", "the data has [3, 32, 32]"},
        {"classes: 7\nlayers: []", "the data has 10"},
        {"layers: [{type: relu, name: r}, {type: add, inputs: [r, q]}]", "no layer \"q\""},
        {"layers: [{type: relu, name: r}, {type: relu, name: r}]", "two layers are named \"r\""},
        {"layers: [{type: add}]", "add needs inputs"},
        {"layers: [{type: dropout, rate: 1}]", "out of range"},
        {"layers: [{type: fully-connected, outputs: 9}, {type: softmax-cross-entropy}]", "9 scores for 10 classes"},
        {"layers: [{type: lrn, size: 4}]", "size must be odd"},
        {"layers: [{name: x}]", "\"type\" is missing"},
        {"lyers: []", "did you mean \"layers\"?"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sp_error err = {0};
        struct sp_network *network = NULL;
        assert_int_equal(read_file(cases[i].text, &network, &err), SP_E_INPUT);
        assert_null(network);
        if (strstr(err.text, cases[i].message) == NULL)
            fail_msg("case %zu: %s", i, err.text);
        sp_error_fini(&err);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lenet5_has_its_parameters),
        cmocka_unit_test(resnet20_has_its_parameters),
        cmocka_unit_test(paper_networks_have_their_weights),
        cmocka_unit_test(a_cut_after_19_ends_the_first_group_of_resnet56),
        cmocka_unit_test(every_resnet_is_6n_plus_2),
        cmocka_unit_test(a_file_makes_a_network),
        cmocka_unit_test(mistakes_in_files_are_told),
    };
    return cmocka_run_group_tests_name("network", tests, NULL, NULL);
}
