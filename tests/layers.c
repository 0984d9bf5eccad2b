#include "tests/layers.h"
#include "common/alloc.h"
#include "common/layer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const struct {
    struct sp_shape input;
    const char *layers;
} networks[LAYERS_NETWORKS] = {
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
    {{16, 16, 16}, /* LAYERS_FOR_WINOGRAD: has convolutions that Winograd's algorithm can do */
     "[{type: convolution, filters: 16, kernel: 3, pad: 1}, {type: relu},"
     " {type: convolution, filters: 32, kernel: 3, pad: 1}, {type: batch-norm}, {type: relu},"
     " {type: convolution, filters: 32, kernel: 3, pad: 1, bias: false}, {type: global-average-pool},"
     " {type: fully-connected, outputs: 10}, {type: softmax-cross-entropy}]"},
    {{16, 11, 11}, /* rows of weights a power of 2 apart; pooling that leaves a rim out, and windows that overlap */
     "[{type: convolution, filters: 16, kernel: 3, pad: 1}, {type: max-pool, kernel: 2},"
     " {type: max-pool, kernel: 2, stride: 1}, {type: fully-connected, outputs: 256}, {type: relu},"
     " {type: fully-connected, outputs: 256, bias: false}, {type: fully-connected, outputs: 10},"
     " {type: softmax-cross-entropy}]"},
    {{3, 8, 8}, /* what takes images behind what is flat; shortcuts from either to either, also with more channels */
     "[{type: convolution, name: a, filters: 7, kernel: 3, pad: 1}, {type: flatten, name: f},"
     " {type: fully-connected, name: h, outputs: 448}, {type: add, name: s, inputs: [h, f]},"
     " {type: add, name: t, inputs: [f, s]}, {type: relu, name: r}, {type: add, name: u, inputs: [r, a]},"
     " {type: add, inputs: [u, f]}, {type: convolution, filters: 5, kernel: 1}, {type: relu, name: b},"
     " {type: convolution, name: c, filters: 9, kernel: 3, pad: 1, input: f, bias: false},"
     " {type: add, name: v, inputs: [c, b]}, {type: batch-norm, name: n, input: t},"
     " {type: lrn, size: 3, input: f}, {type: max-pool, kernel: 1}, {type: global-average-pool, name: g},"
     " {type: average-pool, name: p, kernel: 1, input: n}, {type: add, name: w, inputs: [g, v]},"
     " {type: add, inputs: [w, p]}, {type: fully-connected, name: y, outputs: 12}, {type: add, inputs: [y, v]},"
     " {type: fully-connected, outputs: 10}, {type: softmax-cross-entropy}]"},
    {{1, 33, 33}, /* kernels of one pixel that skip others */
     "[{type: convolution, filters: 3, kernel: 1, stride: 2}, {type: convolution, filters: 4, kernel: 1, stride: 2},"
     " {type: convolution, filters: 7, kernel: 1, stride: 2}, {type: convolution, filters: 9, kernel: 1, stride: 2},"
     " {type: fully-connected, outputs: 10}, {type: softmax-cross-entropy}]"},
    {{4, 14, 14},
     "[{type: convolution, filters: 5, kernel: 1, stride: 2}, {type: fully-connected, outputs: 10},"
     " {type: softmax-cross-entropy}]"},
};
struct sp_network *layers_network(int n)
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

float *random_values(int64_t count)
{
    float *values = sp_alloc(sizeof *values * (size_t)count);
    for (int64_t i = 0; i < count; i++)
        values[i] = random_value();
    return values;
}

enum exec_convolution layers_convolution;
double layers_tolerance = 2e-5;

void open_side(struct side *side, const struct exec_backend *backend, const struct sp_network *network)
{
    struct sp_error err = {0};
    *side = (struct side){.backend = backend, .network = network};
    struct exec_backend_config config = {.threads = 1, .convolution = layers_convolution, .separate = true};
    if (backend->create(&config, &side->context, &err) != SP_OK ||
        backend->model_create(side->context, network, BATCH, NULL, &side->model, &err) != SP_OK)
        fail_msg("%s", err.text);
    side->footprint = backend->footprint(side->model);
    if (backend->async != NULL && backend->async->queue_create(side->context, 0, true, &side->queue, &err) != SP_OK)
        fail_msg("%s", err.text);
}

void *take(struct side *side, size_t bytes)
{
    struct sp_error err = {0};
    void *memory;
    assert_int_equal(side->backend->allocate(side->context, 0, bytes + 64, &memory, &err), SP_OK);
    return side->memory[side->count++] = memory;
}

void drop_memory(struct side *side)
{
    while (side->count > 0)
        side->backend->release(side->context, side->memory[--side->count], 0);
}

void close_side(struct side *side)
{
    if (side->queue != NULL)
        side->backend->async->queue_destroy(&side->queue);
    side->backend->model_destroy(&side->model);
    side->backend->destroy(&side->context);
}

/* Memory of the device with these bytes; and bytes of it. */
static void *give(struct side *side, const void *bytes, size_t count)
{
    struct sp_error err = {0};
    void *memory = take(side, count);
    if (side->backend->copy(side->context, memory, bytes, count, &err) != SP_OK)
        fail_msg("%s", err.text);
    return memory;
}

static void fetch(struct side *side, void *bytes, const void *memory, size_t count)
{
    struct sp_error err = {0};
    if (side->backend->copy(side->context, bytes, memory, count, &err) != SP_OK)
        fail_msg("%s", err.text);
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

static void finish(struct side *side)
{
    const struct exec_async *async = side->backend->async;
    struct sp_error err = {0};
    void *event;
    if (async == NULL)
        return;
    if (async->event_create(side->context, 0, false, &event, &err) != SP_OK ||
        async->record(side->queue, event, &err) != SP_OK || async->finish(event, &err) != SP_OK)
        fail_msg("%s", err.text);
    async->event_destroy(&event);
}

static void run_pass(struct side *side, int l, enum sp_pass pass, struct exec_io *io)
{
    struct sp_error err = {0};
    io->scratch = take(side, side->footprint.scratch(side->footprint.self, l, pass, BATCH));
    io->queue = side->queue;
    if (side->backend->run(side->model, l, pass, io, &err) != SP_OK)
        fail_msg("%s", err.text);
    finish(side);
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
    if (layer->state > 0)
        io->state = give(side, given->state, sizeof(float) * (size_t)layer->state);
}

static void try_layer(struct side *side, int l, const struct given *given, struct outcome *out)
{
    const struct sp_layer *layer = &side->network->layers[l];
    struct sp_error err = {0};
    bool last = l + 1 == side->network->layer_count;
    struct exec_io io = {.batch = BATCH,
                         .minibatch_size = BATCH,
                         .labels = give(side, given->labels, sizeof given->labels),
                         .loss_sum = give(side, &out->loss, sizeof out->loss),
                         .correct = give(side, &out->correct, sizeof out->correct),
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
        fetch(side, out->state, io.state, sizeof(float) * (size_t)layer->state);
    }
    fetch(side, &out->loss, io.loss_sum, sizeof out->loss);
    fetch(side, &out->correct, io.correct, sizeof out->correct);
    drop_memory(side);
}

void compare(const char *layer, const char *what, const float *expected, const float *found, int64_t count)
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
    if (difference > layers_tolerance * largest + 1e-7)
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

void compare_layer(struct side *ref, struct side *other, int l)
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
    try_layer(other, l, &given, &found);
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

void compare_all_layers(const struct exec_backend *backend)
{
    bool seen[SP_LAYER_TYPE_COUNT] = {false};
    for (int n = 0; n < LAYERS_NETWORKS; n++) {
        struct sp_network *network = layers_network(n);
        struct side ref, other;
        open_side(&ref, &exec_ref_backend, network);
        open_side(&other, backend, network);
        for (int l = 0; l < network->layer_count; l++) {
            compare_layer(&ref, &other, l);
            seen[network->layers[l].type] = true;
        }
        close_side(&ref);
        close_side(&other);
        sp_network_destroy(&network);
    }
    for (int t = 0; t < SP_LAYER_WRITABLE_COUNT; t++)
        if (!seen[t])
            fail_msg("no network has a layer of type %s", sp_layer_kinds[t]->name);
}
