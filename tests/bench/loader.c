/*
 * The loader alone: samples a second, beside what training takes.
 *
 *     build/tests/bench/loader [SET ...]
 *
 * Sets are read where `data.dir: auto` finds them; those that are not there are left out. Minibatch 128, taken at once
 * as they come; one and two threads.
 */
#include "common/alloc.h"
#include "exec/data/data.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BATCH = 128 };

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static double samples_per_s(const struct exec_dataset *set, bool augment, int threads)
{
    struct sp_error err = {0};
    struct exec_loader_config config = {.set = set,
                                        .split = EXEC_TRAIN,
                                        .batch = BATCH,
                                        .end = 2 * set->samples[EXEC_TRAIN] / BATCH,
                                        .shuffle = true,
                                        .augment = augment,
                                        .seed = 1,
                                        .ahead = 6,
                                        .threads = threads};
    struct exec_loader *loader;
    double start_s = now_s();
    if (exec_loader_create(&config, &loader, &err) != SP_OK) {
        fprintf(stderr, "loader: %s\n", err.text);
        exit(1);
    }
    for (int64_t b = 0; b < config.end; b++) {
        struct exec_batch batch;
        (void)exec_loader_acquire(loader, b, &batch);
        exec_loader_release(loader, b);
        exec_loader_release(loader, b);
    }
    exec_loader_destroy(&loader);
    return (double)(config.end * BATCH) / (now_s() - start_s);
}

static void bench(const char *name)
{
    struct sp_error err = {0};
    struct exec_dataset_config config = {
        .set = name, .dir = "auto", .parents = {getenv("STALEPIPE_DATA"), "/usr/share/datasets"}};
    struct exec_dataset *set;
    if (exec_dataset_open(&config, &set, &err) != SP_OK) {
        printf("%-14s not here\n", name);
        sp_error_fini(&err);
        return;
    }
    for (int augment = 0; augment < 2; augment++) {
        printf("%-14s %-10s", name, augment ? "crop-flip" : "plain");
        for (int threads = 1; threads <= 2; threads++)
            printf("  %d thread%s %9.0f samples/s", threads, threads == 1 ? " " : "s",
                   samples_per_s(set, augment, threads));
        putchar('\n');
    }
    exec_dataset_close(&set);
}

int main(int argc, char **argv)
{
    static const char *const defaults[] = {"fashion-mnist", "mnist", "cifar10"};
    puts("The loader alone, minibatch 128 (`build/tests/bench/step` has what training takes: 128 samples a step)");
    for (int a = 1; a < argc; a++)
        bench(argv[a]);
    for (int d = 0; argc < 2 && d < 3; d++)
        bench(defaults[d]);
    return 0;
}
