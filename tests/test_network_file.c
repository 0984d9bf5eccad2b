/*
 * Network files: right ones, every mistake told where it is, damaged ones.
 */
#include "common/layer.h"
#include "tests/folder.h"
#include "tests/networks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char path[96]; /* of the network file */

static int make_folder(void **state)
{
    int status = test_folder_make(state);
    snprintf(path, sizeof path, "%s/net.yaml", test_folder);
    return status;
}

static sp_status read_bytes(const char *text, size_t size, struct sp_network **network, struct sp_error *err)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
    struct sp_network_spec spec = {.file = path};
    return sp_network_create(&spec, cifar_shape, 10, network, err);
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
    struct sp_network *builtin = build_network("lenet5", cifar_shape);
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
        {"layers: [{type: relu, name: optimizer.velocity.f1}" END,
         "1:29: layers.name: \"optimizer.velocity.f1\": names that begin with optimizer. or in_flight. are "
         "those of other tensors in checkpoints"},
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
    assert_true(sp_network_create(&spec, cifar_shape, 10, &network, &err) != SP_OK);
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
    return cmocka_run_group_tests_name("network_file", tests, make_folder, test_folder_remove);
}
