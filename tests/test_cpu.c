/*
 * Every kind of layer on oneDNN against the reference: forward, evaluation, gradients, running statistics; odd shapes.
 *
 * Each layer is tried alone, on random tensors, in the layouts its network gave it. Values are compared by the largest
 * difference over the largest value.
 */
#include "common/alloc.h"
#include "common/layer.h"
#include "exec/cpu/cpu.h"
#include "tests/layers.h"
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

static void every_layer_is_that_of_the_reference(void **state)
{
    (void)state;
    compare_all_layers(&exec_cpu_backend);
}

/* A model of another batch size must read the same stored parameters. */
static void models_alike_share_their_parameters(void **state)
{
    (void)state;
    struct sp_network *network = layers_network(0);
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
    struct sp_network *network = layers_network(LAYERS_FOR_WINOGRAD);
    struct side ref, cpu;
    layers_convolution = EXEC_CONVOLUTION_WINOGRAD;
    layers_tolerance = 2e-4;
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
    layers_convolution = EXEC_CONVOLUTION_DIRECT;
    layers_tolerance = 2e-5;
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
    struct sp_network *network = layers_network(LAYERS_FOR_WINOGRAD);
    struct exec_backend_config config = {
        .threads = 1, .convolution = EXEC_CONVOLUTION_AUTO, .choices_path = path, .separate = true};
    char *first = choices_with(&config, network);
    if (first[0] == '\0') {
        print_message("this library has no Winograd here\n");
        unlink(path);
        free(first);
        sp_network_destroy(&network);
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
    if ((dnnl_get_effective_cpu_isa() & dnnl_cpu_isa_avx2) != dnnl_cpu_isa_avx2)
        skip(); /* the library has other layouts there */
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
            int by_product = cpu_has_512_bits() ? 0 : tiny_images(network);
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
