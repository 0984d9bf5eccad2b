/*
 * The same pipeline in SimGrid and here: four devices, the paper's schedule, activations and gradients over links of
 * their own. Counted are computations (F, B) and transfers, each as one; interleaved, the median of five runs.
 */
#include "common/schedule.h"
#include "tests/chain.h"

#include <simgrid/actor.h>
#include <simgrid/comm.h>
#include <simgrid/engine.h>
#include <simgrid/host.h>
#include <simgrid/mailbox.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { P = 4, RUNS = 5, MINIBATCHES = 20000, OUR_MINIBATCHES = 400000, STEPS = 2 * P + 2 * (P - 1) };
static const double forward_s = 1.0, backward_s = 2.0, bytes = 1e6, bandwidth = 1e8;

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static sg_mailbox_t box(const char *what, int stage)
{
    char name[32];
    snprintf(name, sizeof name, "%s%d", what, stage);
    return sg_mailbox_by_name(name);
}

/* The device of stage i: receives, computes, sends, as sp_schedules' `stale` says. */
static void device(int argc, char *argv[])
{
    (void)argc;
    static char message;
    int i = atoi(argv[1]);
    struct sp_order order = {.P = P, .stage = i, .M = 1, .q_count = MINIBATCHES};
    sg_mailbox_t activation_in = box("a", i), activation_out = box("a", i + 1), gradient_in = box("g", i),
                 gradient_out = box("g", i - 1);
    for (int64_t k = 0; k < 2 * (int64_t)MINIBATCHES; k++) {
        bool is_forward = sp_schedule_find("stale")->step(&order, k).kind == SP_INSTR_FORWARD;
        if (is_forward ? i > 0 : i < P - 1)
            sg_mailbox_get(is_forward ? activation_in : gradient_in);
        sg_actor_execute(1e9 * (is_forward ? forward_s : backward_s));
        if (is_forward ? i < P - 1 : i > 0)
            sg_comm_detach(sg_mailbox_put_init(is_forward ? activation_out : gradient_out, &message, (long)bytes),
                           NULL);
    }
}

static void write_platform(const char *path)
{
    FILE *out = fopen(path, "w");
    fputs("<?xml version='1.0'?>\n<!DOCTYPE platform SYSTEM \"https://simgrid.org/simgrid.dtd\">\n"
          "<platform version=\"4.1\"><zone id=\"z\" routing=\"Full\">\n",
          out);
    for (int i = 0; i < P; i++)
        fprintf(out, "<host id=\"d%d\" speed=\"1Gf\"/>\n", i);
    for (int i = 0; i + 1 < P; i++)
        for (int back = 0; back < 2; back++)
            fprintf(out, "<link id=\"l%d%d\" bandwidth=\"%gBps\" latency=\"50us\"/>\n", i, back, bandwidth);
    for (int i = 0; i + 1 < P; i++)
        for (int back = 0; back < 2; back++)
            fprintf(out, "<route src=\"d%d\" dst=\"d%d\" symmetrical=\"NO\"><link_ctn id=\"l%d%d\"/></route>\n",
                    back ? i + 1 : i, back ? i : i + 1, i, back);
    fputs("</zone></platform>\n", out);
    fclose(out);
}

/* Steps a second of SimGrid, which runs once a process. */
static double theirs(int argc, char **argv, double *virtual_s)
{
    int pipes[2];
    double answer[2];
    if (pipe(pipes) != 0)
        exit(1);
    pid_t child = fork();
    if (child == 0) {
        char path[] = "/tmp/stalepipe-simgrid-XXXXXX.xml";
        close(mkstemps(path, 4));
        write_platform(path);
        simgrid_init(&argc, argv);
        simgrid_load_platform(path);
        unlink(path);
        for (int i = 0; i < P; i++) {
            char host[16], number[16];
            snprintf(host, sizeof host, "d%d", i);
            snprintf(number, sizeof number, "%d", i);
            char *words[] = {host, number};
            sg_actor_create(host, sg_host_by_name(host), device, 2, words);
        }
        double start_s = now_s();
        simgrid_run();
        answer[0] = (double)STEPS * MINIBATCHES / (now_s() - start_s);
        answer[1] = simgrid_get_clock();
        _exit(write(pipes[1], answer, sizeof answer) == sizeof answer ? 0 : 1);
    }
    close(pipes[1]);
    if (child < 0 || read(pipes[0], answer, sizeof answer) != sizeof answer)
        exit(1);
    close(pipes[0]);
    waitpid(child, NULL, 0);
    *virtual_s = answer[1];
    return answer[0];
}

static double ours(int64_t minibatches, double *virtual_s)
{
    struct sp_layer layers[P];
    struct sp_shape shapes[P + 1];
    int cuts[] = {1, 2, 3};
    struct sp_network network = chain_of(layers, shapes, P);
    struct sp_phase phase = {.schedule = sp_schedule_find("stale"), .microbatches = 1, .minibatches = minibatches};
    struct sp_plan_config config = {.cuts = cuts, .cut_count = P - 1, .batch = 1, .phases = &phase, .phase_count = 1};
    struct sp_plan *plan;
    struct sp_error err = {0};
    if (sp_plan_create(&network, &config, &plan, &err) != SP_OK)
        exit(1);
    struct sim_cost *cost = sim_cost_alloc(plan);
    for (int i = 0; i < P; i++)
        cost->stages[i] = (struct sim_stage_cost){forward_s, backward_s, 0, 0};
    cost->bus_count = plan->channel_count; /* a link each way of each boundary; names only serve pictures */
    for (int c = 0; c < plan->channel_count; c++)
        cost->channels[c] = (struct sim_channel_cost){.latency_s = 50e-6, .busy_s = bytes / bandwidth, .bus = c};
    struct sim_result result;
    double start_s = now_s();
    if (sim_run(plan, cost, &(struct sim_config){.whole = true}, &result, &err) != SP_OK)
        exit(1);
    double rate = (double)STEPS * (double)minibatches / (now_s() - start_s);
    *virtual_s = result.time_s;
    sim_result_fini(&result);
    cost->bus_count = 0;
    sim_cost_destroy(&cost);
    sp_plan_destroy(&plan);
    return rate;
}

int main(int argc, char **argv)
{
    double rates[2][RUNS], ratio[RUNS], virtual_s[2], ignored;
    for (int r = 0; r < RUNS; r++) {
        rates[0][r] = theirs(argc, argv, &virtual_s[0]);
        rates[1][r] = ours(OUR_MINIBATCHES, &ignored);
        ratio[r] = rates[1][r] / rates[0][r];
    }
    ours(MINIBATCHES, &virtual_s[1]);
    for (int side = 0; side < 2; side++)
        qsort(rates[side], RUNS, sizeof(double), by_value);
    qsort(ratio, RUNS, sizeof(double), by_value);
    printf("SimGrid %.2f M computations and transfers a second, stalepipe %.1f M: %.0f times as many (median of %d "
           "pairs)\n",
           rates[0][RUNS / 2] * 1e-6, rates[1][RUNS / 2] * 1e-6, ratio[RUNS / 2], RUNS);
    printf("virtual time of %d minibatches: SimGrid %.2f s, stalepipe %.2f s\n", MINIBATCHES, virtual_s[0],
           virtual_s[1]);
    return 0;
}
