/*
 * Every kind of layer on oneDNN against the reference: forward, evaluation, gradients, running statistics; odd shapes.
 *
 * Each layer is tried alone, on random tensors, in the layouts its network gave it. Values are compared by the largest
 * difference over the largest value.
 */
#include "common/alloc.h"
#include "common/layer.h"
#include "exec/cpu/cpu.h"
#include "tests/training.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { BATCH = 5 };

static const struct {
    struct sp_shape input;
    const char *layers;
} networks[] = {
    {{3, 13, 11},
     "[{type: convolution, filters: 7, kernel: 3, stride: 2, pad: 1}, {type: batch-norm}, {type: relu},"
     " {type: convolution, filters: 18, kernel: 3, pad: 1, bias: false}, {type: lrn, size: 3, alpha: 0.1},"
     " {type: max-pool, kernel: 3, stride: 2, pad: 1}, {type: convolution, filters: 33, kernel: 1},"
     " {type: average-pool, kernel: 3, stride: 1, pad: 1}, {type: dropout, rate: 0.4}, {type: flatten},"
     " {type: dropout, rate: 0.3}, {type: fully-connected, outputs: 21}, {type: relu}, {type: dropout},"
     " {type: fully-connected, outputs: 10, bias: false}, {type: softmax-cross-entropy}]"},
    {{16, 8, 8},
     "[{type: convolution, name: a, filters: 16, kernel: 3, pad: 1}, {type: relu, name: r},"
     " {type: convolution, filters: 32, kernel: 3, stride: 2, pad: 1, bias: false}, {type: batch-norm, name: b},"
     " {type: add, name: s, inputs: [b, r]}, {type: relu, name: t},"
     " {type: convolution, name: p, filters: 32, kernel: 3, pad: 1}, {type: add, inputs: [p, t]},"
     " {type: global-average-pool}, {type: fully-connected, outputs: 10}, {type: softmax-cross-entropy}]"},
    {{1, 9, 9},
     "[{type: convolution, name: a, filters: 6, kernel: 5, pad: 2}, {type: relu, name: r},"
     " {type: convolution, filters: 12, kernel: 3, stride: 3, pad: 1}, {type: relu, name: q},"
     " {type: add, inputs: [q, r]}, {type: max-pool, kernel: 2}, {type: flatten}, {type: relu},"
     " {type: fully-connected, outputs: 10}, {type: softmax-cross-entropy}]"},
    {{16, 16, 16}, /* has convolutions that Winograd's algorithm can do */
     "[{type: convolution, filters: 16, kernel: 3, pad: 1}, {type: relu},"
     " {type: convolution, filters: 32, kernel: 3, pad: 1}, {type: batch-norm}, {type: relu},"
     " {type: convolution, filters: 32, kernel: 3, pad: 1, bias: false}, {type: global-average-pool},"
     " {type: fully-connected, outputs: 10}, {type: softmax-cross-entropy}]"},
    {{16, 11, 11}, /* rows of weights a power of 2 apart; pooling that leaves a rim out, and windows that overlap */
     "[{type: convolution, filters: 16, kernel: 3, pad: 1}, {type: max-pool, kernel: 2},"
     " {type: max-pool, kernel: 2, stride: 1}, {type: fully-connected, outputs: 256}, {type: relu},"
     " {type: fully-connected, outputs: 256, bias: false}, {type: fully-connected, outputs: 10},"
     " {type: softmax-cross-entropy}]"},
};
enum { FOR_WINOGRAD = 3 };

static struct sp_network *build(int n)
{
    char path[] = "/tmp/stalepipe-net-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    dprintf(fd, "name: n%d\nlayers: %s\n", n, networks[n].layers);
    close(fd);
    struct sp_network_spec spec = {.file = path};
    struct sp_network *network;
    struct sp_error err = {0};
    sp_status status = sp_network_create(&spec, networks[n].input, 10, &network, &err);
    unlink(path);
    if (status != SP_OK)
        fail_msg("%s", err.text);
    return network;
}

static uint32_t random_state = 5;
static float random_value(void)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (float)(random_state >> 8) / 8388608.0f - 1.0f;
}

static float *random_values(int64_t count)
{
    float *values = sp_alloc(sizeof *values * (size_t)count);
    for (int64_t i = 0; i < count; i++)
        values[i] = random_value();
    return values;
}

/* One backend's side of a layer. */
struct side {
    const struct exec_backend *backend;
    void *context, *model;
    struct sp_footprint footprint;
    const struct sp_network *network;
    void *memory[32];
    int count;
};

static enum exec_convolution convolution; /* that the sides are opened with */

static void open_side(struct side *side, const struct exec_backend *backend, const struct sp_network *network)
{
    struct sp_error err = {0};
    *side = (struct side){.backend = backend, .network = network};
    struct exec_backend_config config = {.threads = 1, .convolution = convolution, .separate = true};
    if (backend->create(&config, &side->context, &err) != SP_OK ||
        backend->model_create(side->context, network, BATCH, NULL, &side->model, &err) != SP_OK)
        fail_msg("%s", err.text);
    side->footprint = backend->footprint(side->model);
}

static void *take(struct side *side, size_t bytes)
{
    struct sp_error err = {0};
    void *memory;
    assert_int_equal(side->backend->allocate(side->context, 0, bytes + 64, &memory, &err), SP_OK);
    return side->memory[side->count++] = memory;
}

static void drop_memory(struct side *side)
{
    while (side->count > 0)
        side->backend->release(side->context, side->memory[--side->count], 0);
}

static void close_side(struct side *side)
{
    side->backend->model_destroy(&side->model);
    side->backend->destroy(&side->context);
}

static void *take_tensor(struct side *side, int tensor, const float *plain)
{
    struct sp_error err = {0};
    void *stored = take(side, side->footprint.tensor(side->footprint.self, tensor, BATCH));
    if (plain != NULL && side->backend->import_tensor(side->model, tensor, plain, stored, &err) != SP_OK)
        fail_msg("%s", err.text);
    return stored;
}

static int64_t elements(const struct side *side, int tensor)
{
    return sp_shape_elements(side->network->shapes[tensor]) * BATCH;
}

/* What a layer made, in plain order. */
struct outcome {
    float *output, *evaluated, *input_gradient[2], *parameter_gradient[2], *state;
    double loss;
    int64_t correct;
};

static float *plain_tensor(struct side *side, int tensor, const void *stored)
{
    struct sp_error err = {0};
    float *plain = sp_calloc((size_t)elements(side, tensor), sizeof *plain);
    if (side->backend->export_tensor(side->model, tensor, stored, plain, &err) != SP_OK)
        fail_msg("%s", err.text);
    return plain;
}

struct given {
    float *input[2], *parameter[2], *output_gradient, *state;
    int32_t labels[BATCH];
};

static void run_pass(struct side *side, int l, enum sp_pass pass, struct exec_io *io)
{
    struct sp_error err = {0};
    io->scratch = take(side, side->footprint.scratch(side->footprint.self, l, pass, BATCH));
    if (side->backend->run(side->model, l, pass, io, &err) != SP_OK)
        fail_msg("%s", err.text);
}

static void fill_inputs(struct side *side, int l, const struct given *given, struct exec_io *io)
{
    const struct sp_layer *layer = &side->network->layers[l];
    struct sp_error err = {0};
    for (int i = 0; i < layer->input_count; i++)
        io->input[i] = take_tensor(side, layer->inputs[i], given->input[i]);
    for (int p = 0; p < SP_PARAMETER_COUNT; p++) {
        if (layer->parameters[p] == 0)
            continue;
        size_t bytes = side->footprint.parameter(side->footprint.self, l, (enum sp_parameter)p);
        void *stored = take(side, bytes);
        if (side->backend->import_parameter(side->model, l, (enum sp_parameter)p, given->parameter[p], stored, &err) !=
            SP_OK)
            fail_msg("%s", err.text);
        io->parameter[p] = stored;
        io->parameter_gradient[p] = take(side, bytes);
    }
    if (layer->state > 0) {
        io->state = take(side, sizeof(float) * (size_t)layer->state);
        memcpy(io->state, given->state, sizeof(float) * (size_t)layer->state);
    }
}

static void try_layer(struct side *side, int l, const struct given *given, struct outcome *out)
{
    const struct sp_layer *layer = &side->network->layers[l];
    struct sp_error err = {0};
    bool last = l + 1 == side->network->layer_count;
    struct exec_io io = {.batch = BATCH,
                         .minibatch_size = BATCH,
                         .labels = given->labels,
                         .loss_sum = &out->loss,
                         .correct = &out->correct,
                         .seed = 3,
                         .sequence = 77};
    fill_inputs(side, l, given, &io);
    if (!last)
        io.output = take_tensor(side, l + 1, NULL);
    run_pass(side, l, SP_PASS_EVALUATE, &io);
    if (!last)
        out->evaluated = plain_tensor(side, l + 1, io.output);
    io.saved = take(side, side->footprint.saved(side->footprint.self, l, BATCH));
    run_pass(side, l, SP_PASS_FORWARD, &io);
    if (!last) {
        out->output = plain_tensor(side, l + 1, io.output);
        io.output_gradient = take_tensor(side, l + 1, given->output_gradient);
    }
    for (int i = 0; i < layer->input_count; i++)
        if (layer->inputs[i] != 0)
            io.input_gradient[i] = take_tensor(side, layer->inputs[i], NULL);
    run_pass(side, l, SP_PASS_BACKWARD, &io);
    for (int i = 0; i < layer->input_count; i++)
        if (layer->inputs[i] != 0)
            out->input_gradient[i] = plain_tensor(side, layer->inputs[i], io.input_gradient[i]);
    for (int p = 0; p < SP_PARAMETER_COUNT; p++) {
        if (layer->parameters[p] == 0)
            continue;
        out->parameter_gradient[p] = sp_calloc((size_t)layer->parameters[p], sizeof(float));
        assert_int_equal(side->backend->export_parameter(side->model, l, (enum sp_parameter)p, io.parameter_gradient[p],
                                                         out->parameter_gradient[p], &err),
                         SP_OK);
    }
    if (layer->state > 0) {
        out->state = sp_alloc(sizeof(float) * (size_t)layer->state);
        memcpy(out->state, io.state, sizeof(float) * (size_t)layer->state);
    }
    drop_memory(side);
}

static double tolerance = 2e-5;

static void compare(const char *layer, const char *what, const float *expected, const float *found, int64_t count)
{
    double largest = 0, difference = 0;
    if (expected == NULL)
        return;
    for (int64_t i = 0; i < count; i++) {
        if (!isfinite(expected[i]) || !isfinite(found[i]))
            fail_msg("%s, %s: element %lld is %g and %g", layer, what, (long long)i, (double)expected[i],
                     (double)found[i]);
        largest = fmax(largest, fabs((double)expected[i]));
        difference = fmax(difference, fabs((double)expected[i] - (double)found[i]));
    }
    if (difference > tolerance * largest + 1e-7)
        fail_msg("%s, %s: off by %g of %g", layer, what, difference, largest);
}

static void free_outcome(struct outcome *out)
{
    free(out->output);
    free(out->evaluated);
    free(out->state);
    for (int i = 0; i < 2; i++) {
        free(out->input_gradient[i]);
        free(out->parameter_gradient[i]);
    }
}

static void compare_layer(struct side *ref, struct side *cpu, int l)
{
    const struct sp_layer *layer = &ref->network->layers[l];
    struct given given = {0};
    struct outcome expected = {0}, found = {0};
    for (int i = 0; i < layer->input_count; i++)
        given.input[i] = random_values(elements(ref, layer->inputs[i]));
    for (int p = 0; p < SP_PARAMETER_COUNT; p++)
        given.parameter[p] = random_values(layer->parameters[p] + 1);
    given.output_gradient = random_values(elements(ref, l + 1));
    given.state = random_values(layer->state + 1);
    for (int64_t s = layer->state / 2; s < layer->state; s++)
        given.state[s] = 0.5f + fabsf(given.state[s]); /* variances */
    for (int n = 0; n < BATCH; n++)
        given.labels[n] = n == 2 ? -1 : n * 2 % 10;
    try_layer(ref, l, &given, &expected);
    try_layer(cpu, l, &given, &found);
    compare(layer->name, "output", expected.output, found.output, elements(ref, l + 1));
    compare(layer->name, "evaluation", expected.evaluated, found.evaluated, elements(ref, l + 1));
    for (int i = 0; i < layer->input_count; i++)
        compare(layer->name, "input gradient", expected.input_gradient[i], found.input_gradient[i],
                elements(ref, layer->inputs[i]));
    for (int p = 0; p < SP_PARAMETER_COUNT; p++)
        compare(layer->name, "parameter gradient", expected.parameter_gradient[p], found.parameter_gradient[p],
                layer->parameters[p]);
    compare(layer->name, "running statistics", expected.state, found.state, layer->state);
    assert_true(fabs(expected.loss - found.loss) < 1e-5);
    assert_int_equal(expected.correct, found.correct);
    free_outcome(&expected);
    free_outcome(&found);
    for (int i = 0; i < 2; i++) {
        free(given.input[i]);
        free(given.parameter[i]);
    }
    free(given.output_gradient);
    free(given.state);
}

static void every_layer_is_that_of_the_reference(void **state)
{
    (void)state;
    bool seen[SP_LAYER_TYPE_COUNT] = {false};
    for (size_t n = 0; n < sizeof networks / sizeof *networks; n++) {
        struct sp_network *network = build((int)n);
        struct side ref, cpu;
        open_side(&ref, &exec_ref_backend, network);
        open_side(&cpu, &exec_cpu_backend, network);
        for (int l = 0; l < network->layer_count; l++) {
            compare_layer(&ref, &cpu, l);
            seen[network->layers[l].type] = true;
        }
        close_side(&ref);
        close_side(&cpu);
        sp_network_destroy(&network);
    }
    for (int t = 0; t < SP_LAYER_WRITABLE_COUNT; t++)
        if (!seen[t])
            fail_msg("no network has a layer of type %s", sp_layer_kinds[t]->name);
}

/* A model of another batch size must read the same stored parameters. */
static void models_alike_share_their_parameters(void **state)
{
    (void)state;
    struct sp_network *network = build(0);
    struct side cpu;
    void *other;
    struct sp_error err = {0};
    open_side(&cpu, &exec_cpu_backend, network);
    assert_int_equal(cpu.backend->model_create(cpu.context, network, 2 * BATCH, cpu.model, &other, &err), SP_OK);
    for (int l = 0; l < network->layer_count; l++)
        for (int p = 0; p < SP_PARAMETER_COUNT; p++) {
            int64_t count = network->layers[l].parameters[p];
            if (count == 0)
                continue;
            float *given = random_values(count), *found = sp_calloc((size_t)count, sizeof *found);
            void *stored = take(&cpu, cpu.footprint.parameter(cpu.footprint.self, l, (enum sp_parameter)p));
            assert_int_equal(cpu.backend->import_parameter(cpu.model, l, (enum sp_parameter)p, given, stored, &err),
                             SP_OK);
            assert_int_equal(cpu.backend->export_parameter(other, l, (enum sp_parameter)p, stored, found, &err), SP_OK);
            assert_memory_equal(given, found, sizeof *given * (size_t)count);
            free(given);
            free(found);
        }
    drop_memory(&cpu);
    cpu.backend->model_destroy(&other);
    close_side(&cpu);
    sp_network_destroy(&network);
}

/* Winograd's transforms round more: 2e-4 of the largest value. That they were used is read in the choices. */
static void winograd_is_the_reference_within_rounding(void **state)
{
    (void)state;
    struct sp_network *network = build(FOR_WINOGRAD);
    struct side ref, cpu;
    convolution = EXEC_CONVOLUTION_WINOGRAD;
    tolerance = 2e-4;
    open_side(&ref, &exec_ref_backend, network);
    open_side(&cpu, &exec_cpu_backend, network);
    char *choices = exec_cpu_backend.choices(cpu.context);
    if (strstr(choices, "winograd") == NULL)
        print_message("this library has no Winograd here\n");
    free(choices);
    for (int l = 0; l < network->layer_count; l++)
        compare_layer(&ref, &cpu, l);
    close_side(&ref);
    close_side(&cpu);
    sp_network_destroy(&network);
    convolution = EXEC_CONVOLUTION_DIRECT;
    tolerance = 2e-5;
}

static char *choices_with(const struct exec_backend_config *config, const struct sp_network *network)
{
    struct sp_error err = {0};
    void *context, *model;
    if (exec_cpu_backend.create(config, &context, &err) != SP_OK ||
        exec_cpu_backend.model_create(context, network, BATCH, NULL, &model, &err) != SP_OK)
        fail_msg("%s", err.text);
    char *choices = exec_cpu_backend.choices(context);
    exec_cpu_backend.model_destroy(&model);
    exec_cpu_backend.destroy(&context);
    return choices;
}

/* What the file says is followed, whatever a stopwatch would say; damaged lines are passed over; what a run is given
 * comes before both. */
static void choices_are_remembered(void **state)
{
    (void)state;
    char path[] = "/tmp/stalepipe-choices-XXXXXX", other[64];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    struct sp_network *network = build(FOR_WINOGRAD);
    struct exec_backend_config config = {
        .threads = 1, .convolution = EXEC_CONVOLUTION_AUTO, .choices_path = path, .separate = true};
    char *first = choices_with(&config, network);
    if (first[0] == '\0') {
        print_message("this library has no Winograd here\n");
        skip();
    }
    char *again = choices_with(&config, network);
    assert_string_equal(first, again);
    free(again);
    char *flipped = sp_calloc(2 * strlen(first) + 1, 1);
    for (const char *line = first; *line != '\0'; line = strchr(line, '\n') + 1) {
        const char *colon = strstr(line, ": ");
        sprintf(flipped + strlen(flipped), "%.*s: %s\n", (int)(colon - line), line,
                strncmp(colon + 2, "direct", 6) == 0 ? "winograd" : "direct");
    }
    config.choices = flipped;
    again = choices_with(&config, network);
    assert_string_equal(flipped, again);
    free(again);
    /* a damaged file does not disturb */
    snprintf(other, sizeof other, "%s.b", path);
    FILE *file = fopen(other, "w");
    fprintf(file, "rubbish\n: direct\n%.20s", flipped);
    fclose(file);
    config.choices = NULL;
    config.choices_path = other;
    again = choices_with(&config, network);
    assert_string_equal(first, again);
    free(again);
    unlink(other);
    unlink(path);
    free(flipped);
    free(first);
    sp_network_destroy(&network);
}

/* The operations that do a ReLU on the way train the weights that separate ones train. */
static void fused_operations_are_the_separate_ones(void **state)
{
    (void)state;
    static const char *const names[] = {"lenet5", "resnet8"};
    for (int n = 0; n < 2; n++) {
        struct run_setting s = {.network = names[n],
                                .backend = &exec_cpu_backend,
                                .minibatches = 3,
                                .lr = 0.05f,
                                .momentum = 0.9f,
                                .evaluate_every = 2};
        int64_t count;
        float *fused = run_once(&s, &count);
        s.separate = true;
        float *separate = run_once(&s, &count);
        compare(names[n], "parameters", separate, fused, count);
        free(fused);
        free(separate);
    }
}

static bool has_avx512(void)
{
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx512f");
#else
    return false;
#endif
}

/* Convolutions whose images are smaller than their filters, as VGG-16's last three (2x2 under 3x3). */
static int tiny_images(const struct sp_network *network)
{
    int count = 0;
    for (int l = 0; l < network->layer_count; l++)
        count += network->layers[l].type == SP_LAYER_CONVOLUTION &&
                 network->layers[l].out.h < network->layers[l].settings.kernel;
    return count;
}

/* The paper's networks for CIFAR-10 keep the layouts they were given: no tensor is copied in a step, whatever the
 * algorithm, and weights only for the direct algorithm's backward-data pass, for which the library has no fast
 * implementation in the layout that its forward pass takes. On processors without AVX-512 the library computes weight
 * gradients of tiny images by matrix product alone, which takes both of its inputs in plain layouts; its result is then
 * copied too. */
static void no_tensor_changes_its_layout(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int convolutions; /* behind the first */
    } tried[] = {{"alexnet", 4}, {"vgg16", 12}, {"resnet20", 18}};
    for (int n = 0; n < 3; n++)
        for (int c = EXEC_CONVOLUTION_DIRECT; c <= EXEC_CONVOLUTION_WINOGRAD; c++) {
            struct sp_network_spec spec = {.builtin = tried[n].name};
            struct sp_shape shape = {3, 32, 32};
            struct exec_backend_config config = {.threads = 1, .convolution = (enum exec_convolution)c};
            struct sp_error err = {0};
            struct sp_network *network;
            void *context, *model;
            assert_int_equal(sp_network_create(&spec, shape, 10, &network, &err), SP_OK);
            if (exec_cpu_backend.create(&config, &context, &err) != SP_OK ||
                exec_cpu_backend.model_create(context, network, 16, NULL, &model, &err) != SP_OK)
                fail_msg("%s", err.text);
            struct cpu_copies copies = cpu_model_copies(model);
            print_message("%s, %s: %d copies of weights\n", tried[n].name, exec_convolution_names[c], copies.weights);
            int by_product = has_avx512() ? 0 : tiny_images(network);
            assert_in_range(copies.tensors, 0, 2 * by_product);
            assert_in_range(copies.weights, 0, tried[n].convolutions + by_product);
            exec_cpu_backend.model_destroy(&model);
            exec_cpu_backend.destroy(&context);
            sp_network_destroy(&network);
        }
}

/* On a machine with vectors of 512 bits once more as one without: other layouts, other kinds. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_layer_is_that_of_the_reference),
        cmocka_unit_test(models_alike_share_their_parameters),
        cmocka_unit_test(winograd_is_the_reference_within_rounding),
        cmocka_unit_test(choices_are_remembered),
        cmocka_unit_test(no_tensor_changes_its_layout),
        cmocka_unit_test(fused_operations_are_the_separate_ones),
    };
    int failed = cmocka_run_group_tests_name("cpu", tests, NULL, NULL);
    if (failed > 0 || !cpu_has_512_bits() || argc > 1)
        return failed;
    setenv("ONEDNN_MAX_CPU_ISA", "AVX2", 1);
    execl("/proc/self/exe", argv[0], "without-512-bits", (char *)NULL);
    return 1;
}
