/*
 * A training step on one core: how long, how much of it inside the compute library, and how near the sum of the same
 * primitives run alone, each on warm memory of its own (the bound).
 *
 *     build/tests/bench/step [-c direct|winograd|auto] [-n STEPS] [-b no] [NETWORK ...]
 *
 * Minibatch 128, one thread, through the executor with `sequential`. Wall time is the median over steps. Processor
 * time, which other programs on the core change much less, is the mean over steps; GFLOP/s, the share inside and the
 * bound are of processor time. GFLOP/s count the additions
 * and multiplications that the definition of convolutions and matrix products has, whatever the algorithm does.
 */
#include "common/alloc.h"
#include "common/schedule.h"
#include "exec/cpu/cpu.h"
#include "exec/trainer.h"
#include "tests/training.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 128, WARM = 3 };

static struct exec_backend_config compute = {.threads = 1, .convolution = EXEC_CONVOLUTION_AUTO};

static void die(const char *what)
{
    fprintf(stderr, "step: %s\n", what);
    exit(1);
}

static struct sp_shape shape_of(const char *network)
{
    return strcmp(network, "lenet5") == 0 ? (struct sp_shape){1, 28, 28} : (struct sp_shape){3, 32, 32};
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Of a step, in seconds. */
struct step {
    double median_s;           /* by the wall */
    double thread_s, inside_s; /* of the thread's processor time, all and inside the library: means */
};

static struct step measure(const struct sp_network *network, int64_t steps)
{
    struct sp_error err = {0};
    struct exec_dataset data = blank_dataset(network->shapes[0]);
    struct sp_phase phase = {.schedule = sp_schedule_find("sequential"), .microbatches = 1, .minibatches = steps};
    struct sp_plan_config plan_config = {.batch = BATCH, .shared_memory = true, .phases = &phase, .phase_count = 1};
    struct exec_trainer_config config = exec_trainer_config_default();
    struct sp_plan *plan;
    struct exec_trainer *trainer;
    struct step step = {0};
    config.backend = &exec_cpu_backend;
    config.workers = EXEC_WORKERS_ONE; /* this thread, whose time inside the library is counted */
    config.compute = compute;
    if (sp_plan_create(network, &plan_config, &plan, &err) != SP_OK ||
        exec_trainer_create(plan, &data, &config, &trainer, &err) != SP_OK)
        die(err.text);
    cpu_library_seconds = &step.inside_s;
    double start_s = cpu_now_s();
    if (exec_trainer_run(trainer, &err) != SP_OK)
        die(err.text);
    step.thread_s = (cpu_now_s() - start_s) / (double)steps;
    step.inside_s /= (double)steps;
    cpu_library_seconds = NULL;
    double *seconds = sp_calloc((size_t)steps, sizeof *seconds);
    const struct sp_lane *lane = &exec_trainer_trace(trainer)->lanes[0];
    for (int64_t k = 0; k < lane->count; k++)
        seconds[lane->spans[k].minibatch] += lane->spans[k].end_s - lane->spans[k].start_s;
    qsort(seconds + WARM, (size_t)(steps - WARM), sizeof *seconds, by_value);
    step.median_s = seconds[WARM + (steps - WARM) / 2];
    free(seconds);
    exec_trainer_destroy(&trainer);
    sp_plan_destroy(&plan);
    return step;
}

/* Seconds of an operation alone; 0 for one that the layer does not have. */
static double alone(struct cpu_model *model, struct cpu_op *op)
{
    struct sp_error err = {0};
    double seconds = 0;
    if (cpu_op_is_set(op) && cpu_op_time(model->library, op, &seconds, &err) != SP_OK)
        die(err.text);
    return seconds;
}

/* Seconds of both passes of a layer that is our own kernel, on warm memory of its own. */
static double own_alone(struct cpu_model *model, int l)
{
    struct sp_error err = {0};
    struct sp_footprint size = exec_cpu_backend.footprint(model);
    size_t bytes[] = {size.tensor(size.self, model->network->layers[l].inputs[0], BATCH),
                      size.tensor(size.self, l + 1, BATCH), size.saved(size.self, l, BATCH)};
    void *memory[3];
    double best[2] = {INFINITY, INFINITY};
    for (int m = 0; m < 3; m++)
        if (exec_cpu_backend.allocate(NULL, 0, bytes[m], &memory[m], &err) != SP_OK)
            die(err.text);
    struct exec_io io = {.batch = BATCH,
                         .input = {memory[0]},
                         .output = memory[1],
                         .saved = memory[2],
                         .output_gradient = memory[1],
                         .input_gradient = {memory[0]}};
    for (int r = 0; r < 14; r++) {
        double start_s = cpu_now_s();
        if (model->layers[l].kind->run(model, l, r % 2 == 0 ? SP_PASS_FORWARD : SP_PASS_BACKWARD, &io, &err) != SP_OK)
            die(err.text);
        if (r > 1)
            best[r % 2] = fmin(best[r % 2], cpu_now_s() - start_s);
    }
    for (int m = 0; m < 3; m++)
        exec_cpu_backend.release(NULL, memory[m], bytes[m]);
    return best[0] + best[1];
}

/* The primitives of a step, each in turn; max pooling is our own. */
static double bound(const struct sp_network *network)
{
    struct sp_error err = {0};
    void *context, *self;
    if (exec_cpu_backend.create(&compute, &context, &err) != SP_OK ||
        exec_cpu_backend.model_create(context, network, BATCH, NULL, &self, &err) != SP_OK)
        die(err.text);
    struct cpu_model *model = self;
    double sum = 0;
    for (int l = 0; l < network->layer_count; l++) {
        const struct sp_layer *layer = &network->layers[l];
        struct cpu_layer *it = &model->layers[l], *before = layer->inputs[0] > 0 ? it - 1 : NULL;
        bool relu_done = layer->type == SP_LAYER_RELU && before != NULL && before->with_relu;
        bool relu_undone = relu_done && before->kind == &cpu_batch_norm;
        if (!relu_done)
            sum += alone(model, &it->forward);
        if (!relu_undone && !(relu_done && before->kind == &cpu_add))
            sum += alone(model, &it->backward_data);
        sum += alone(model, &it->backward_weights);
        sum += it->kind == &cpu_max_pool ? own_alone(model, l) : 0;
    }
    exec_cpu_backend.model_destroy(&self);
    exec_cpu_backend.destroy(&context);
    return sum;
}

/* Of a training step: forward, and backward for weights and (but for the first layer) for the input. */
static double flops(const struct sp_network *network)
{
    double sum = 0;
    for (int l = 0; l < network->layer_count; l++) {
        const struct sp_layer *layer = &network->layers[l];
        sum += layer->forward_flops + layer->backward_weight_flops;
        sum += layer->inputs[0] == 0 ? 0 : layer->backward_input_flops;
    }
    return sum * BATCH;
}

static void bench(const char *name, int64_t steps, bool with_bound)
{
    struct sp_error err = {0};
    struct sp_network *network;
    struct sp_network_spec spec = {.builtin = name};
    if (sp_network_create(&spec, shape_of(name), 10, &network, &err) != SP_OK)
        die(err.text);
    struct step step = measure(network, steps);
    double bound_s = with_bound ? bound(network) : NAN;
    printf("%-10s %9.2f ms %9.2f ms %8.1f %9.1f %% %9.2f ms %7.1f %%\n", name, 1e3 * step.median_s, 1e3 * step.thread_s,
           1e-9 * flops(network) / step.thread_s, 100 * step.inside_s / step.thread_s, 1e3 * bound_s,
           100 * bound_s / step.thread_s);
    fflush(stdout);
    sp_network_destroy(&network);
}

int main(int argc, char **argv)
{
    static const char *const defaults[] = {"lenet5", "alexnet", "vgg16", "resnet20", "resnet56"};
    int64_t steps = 0;
    compute.choices_path = remembered_choices();
    int named = 0;
    bool with_bound = true;
    for (int a = 1; a + 1 < argc; a++) {
        with_bound = with_bound && strcmp(argv[a], "-b") != 0;
        if (strcmp(argv[a], "-n") == 0)
            steps = atoll(argv[a + 1]);
        for (int c = 0; strcmp(argv[a], "-c") == 0 && exec_convolution_names[c] != NULL; c++)
            if (strcmp(argv[a + 1], exec_convolution_names[c]) == 0)
                compute.convolution = (enum exec_convolution)c;
    }
    printf("A training step, minibatch %d, one thread, convolutions: %s\n", BATCH,
           exec_convolution_names[compute.convolution]);
    printf("%-10s %12s %12s %8s %11s %12s %9s\n", "network", "wall", "processor", "GFLOP/s", "in library", "bound",
           "of step");
    for (int a = 1; a < argc; a++) {
        if (argv[a][0] == '-') {
            a++;
            continue;
        }
        bench(argv[a], steps > WARM ? steps : 20, with_bound);
        named++;
    }
    for (int n = 0; named == 0 && n < 5; n++)
        bench(defaults[n], steps > WARM ? steps : n == 0 ? 200 : n == 2 || n == 4 ? 8 : 16, with_bound);
    return 0;
}
