#include "common/alloc.h"
#include "common/program/program.h"
#include "exec/team.h"
#include "exec/trainer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What is being trained, for the progress shown. */
struct progress_view {
    const char *what;
    int epochs; /* in all */
    int tested; /* evaluations told so far */
    bool terminal;
};

/* A line on a terminal that is drawn over, cut to its width. A loss that is no number is shown without its sign. */
static void draw_line(const struct progress_view *view, const struct exec_progress *p)
{
    enum { WIDTH = 20 };
    char bar[WIDTH + 1], left[32], line[256], test[32] = "", hits[16] = "";
    int done = p->minibatches_total > 0 ? (int)(WIDTH * p->minibatches / p->minibatches_total) : WIDTH;
    int width = program_terminal_width();
    memset(bar, '.', WIDTH);
    memset(bar, '#', (size_t)done);
    bar[WIDTH] = '\0';
    if (!isnan(p->accuracy)) /* none yet since the last evaluation */
        snprintf(hits, sizeof hits, "  %.1f %%", 100 * p->accuracy);
    if (!isnan(p->test_accuracy))
        snprintf(test, sizeof test, "  test %.2f %%", 100 * p->test_accuracy);
    snprintf(line, sizeof line, "%s [%s] %d/%d  loss %.3f%s%s  %.0f/s  %s left", view->what, bar, p->epoch,
             view->epochs, fabs(p->loss), hits, test, p->samples_per_s, program_whole_time(p->remaining_s, left));
    fprintf(stderr, "\r%.*s\033[K", width > 1 ? width - 1 : 1, line);
    if (p->last)
        fputc('\n', stderr);
}

/* Elsewhere a line for every evaluation. */
static void tell_epoch(struct progress_view *view, const struct exec_progress *p)
{
    char left[32];
    if (p->evaluations == view->tested)
        return;
    view->tested = p->evaluations;
    fprintf(stderr, "%s %lld of %lld minibatches: loss %.4f, test accuracy %.2f %%, %.0f samples/s, %s left\n",
            view->what, (long long)p->minibatches, (long long)p->minibatches_total, fabs(p->loss),
            100 * p->test_accuracy, p->samples_per_s, program_whole_time(p->remaining_s, left));
}

static void show_progress(void *self, const struct exec_progress *p)
{
    struct progress_view *view = self;
    if (view->terminal)
        draw_line(view, p);
    else
        tell_epoch(view, p);
}

static void tell(void *self, const char *text)
{
    (void)self;
    fprintf(stderr, "stalepipe: %s\n", text);
}

static struct exec_trainer_config configure(const struct program *program, const struct sp_experiment *experiment,
                                            const struct program_recipe *recipe, const struct exec_backend *backend,
                                            struct progress_view *view)
{
    struct exec_trainer_config config = exec_trainer_config_default();
    config.backend = backend;
    config.compute = program_backend_config(experiment, recipe->choices_path);
    config.compute.team = program->team;
    config.compute.tell = exec_team_rank(program->team) == 0 ? tell : NULL;
    config.sgd = (struct exec_sgd){.lr = (float)experiment->train.lr,
                                   .momentum = (float)experiment->train.momentum,
                                   .weight_decay = (float)experiment->train.weight_decay,
                                   .nesterov = experiment->train.nesterov};
    config.rate = recipe->rate;
    config.stage_lr = experiment->train.stage_lr_count > 0 ? experiment->train.stage_lr : NULL;
    config.decay_weights_only = !experiment->train.decay_all;
    config.label_smoothing = (float)experiment->train.label_smoothing;
    config.loader_threads = experiment->data.threads;
    config.augment = strcmp(experiment->data.augment, "crop-flip") == 0;
    config.seed = (uint64_t)experiment->train.seed;
    config.spans_per_lane = experiment->sim.trace;
    config.layer_spans = program->layer_spans;
    config.stop = program_listen();
    for (int g = 0; exec_graphs_names[g] != NULL; g++)
        if (strcmp(exec_graphs_names[g], experiment->devices.graphs) == 0)
            config.graphs = (enum exec_graphs)g;
    view->terminal = isatty(STDERR_FILENO);
    if (!program->quiet) {
        config.progress = show_progress;
        config.progress_self = view;
    }
    return config;
}

sp_status program_open_data(const struct program_setup *setup, struct exec_dataset **data, struct sp_error *err)
{
    const struct sp_experiment *experiment = setup->experiment;
    const char *given = getenv("STALEPIPE_DATA");
    char *cache = program_cache_folder();
    struct exec_dataset_config config = {
        .set = experiment->data.set,
        .dir = experiment->data.dir,
        .parents = {given != NULL && given[0] != '\0' ? given : NULL, cache, "/usr/share/datasets"},
        .samples = experiment->data.samples,
        .shape = experiment->data.shape,
        .classes = experiment->data.classes,
        .seed = (uint64_t)experiment->train.seed,
        .mark = sp_experiment_mark(experiment, "data.dir"),
    };
    struct sp_data_shape known;
    sp_status status = sp_experiment_data_shape(experiment, &known, err);
    if (status == SP_OK)
        status = exec_dataset_open(&config, data, err);
    free(cache);
    SP_TRY(status);
    int64_t train = (*data)->samples[EXEC_TRAIN], test = (*data)->samples[EXEC_TEST];
    if (train == known.train_samples && test == known.test_samples)
        return SP_OK;
    exec_dataset_close(data);
    return sp_reject(err, config.mark, "data.dir: %lld training and %lld test samples there; %s has %lld and %lld",
                     (long long)train, (long long)test, config.set, (long long)known.train_samples,
                     (long long)known.test_samples);
}

/* What became of graphs, for those who want to know; that some could not be made, for all. */
static void tell_graphs(const struct program *program, const struct exec_trainer *trainer)
{
    struct exec_graph_count count = exec_trainer_graphs(trainer);
    if (program->verbose && count.captured > 0)
        fprintf(stderr, "%lld CUDA graphs, launched %lld times\n", (long long)count.captured,
                (long long)count.replayed);
    if (!program->quiet && count.refused > 0)
        fprintf(stderr, "%lld CUDA graphs could not be made, and their work was launched piece by piece: %s\n",
                (long long)count.refused, count.why);
}

static void fill_result(const struct program_setup *setup, struct exec_trainer *trainer, struct program_result *result)
{
    const struct sp_experiment *experiment = setup->experiment;
    const struct sp_plan *plan = setup->plan;
    struct sp_summary *summary = &result->summary;
    sp_summary_init(summary, experiment->name, plan, experiment->pipeline.cuts, experiment->pipeline.cut_count,
                    exec_trainer_memory(trainer), setup->analysis, exec_trainer_trace(trainer),
                    exec_trainer_time_s(trainer));
    summary->real = true;
    for (int i = 0; i < plan->stage_count; i++)
        exec_trainer_counted_staleness(trainer, i, &summary->stages[i].forward_staleness,
                                       &summary->stages[i].backward_staleness);
    for (int d = 0; d < plan->device_count; d++) {
        summary->devices[d].peak_bytes = 0;
        for (int k = 0; k < SP_MEMORY_KIND_COUNT; k++) {
            summary->devices[d].bytes[k] = exec_trainer_counted_bytes(trainer, d, (enum sp_memory_kind)k);
            summary->devices[d].peak_bytes += summary->devices[d].bytes[k];
        }
    }
    const struct sp_epoch_summary *epochs = exec_trainer_epochs(trainer, &summary->epoch_count);
    summary->epochs = sp_calloc((size_t)summary->epoch_count + 1, sizeof *summary->epochs);
    memcpy(summary->epochs, epochs, (size_t)summary->epoch_count * sizeof *epochs);
    size_t rows = (size_t)summary->epoch_count * (size_t)summary->device_count;
    summary->epoch_devices = sp_calloc(rows + 1, sizeof *summary->epoch_devices);
    memcpy(summary->epoch_devices, exec_trainer_epoch_devices(trainer), rows * sizeof *summary->epoch_devices);
    if (summary->epoch_count > 0) {
        summary->accuracy = epochs[summary->epoch_count - 1].accuracy;
        summary->loss = epochs[summary->epoch_count - 1].loss;
    }
    float *losses = sp_calloc((size_t)plan->minibatches, sizeof *losses);
    memcpy(losses, exec_trainer_losses(trainer), (size_t)plan->minibatches * sizeof *losses);
    result->losses = losses;
    result->trace = exec_trainer_take_trace(trainer);
    result->layers = exec_trainer_take_layers(trainer);
}

/* Passes over the data, the last perhaps in part. */
static int epochs_of(const struct program_setup *setup)
{
    struct sp_data_shape data;
    struct sp_error err = {0};
    double samples = (double)setup->plan->minibatches * setup->plan->batch;
    bool known = sp_experiment_data_shape(setup->experiment, &data, &err) == SP_OK;
    sp_error_fini(&err);
    return known ? (int)ceil((samples - setup->plan->batch + 1) / (double)data.train_samples) : 1;
}

/* When the first minibatch of a run on one device was done, as far as its first spans were kept. */
static double first_minibatch_s(const struct sp_trace *trace)
{
    double end_s = 0;
    for (int64_t n = 0; n < trace->lanes[0].count && trace->lanes[0].spans[n].minibatch == 0; n++)
        end_s = trace->lanes[0].spans[n].end_s;
    return end_s;
}

/* Adds seconds of `minibatches` by `sequential` on one device, without evaluation. `warm`: behind one more that is not
 * counted, since a run starts with memory that nobody has touched. */
static sp_status train_baseline(const struct program *program, const struct program_setup *setup,
                                const struct program_recipe *recipe, const struct exec_backend *backend,
                                struct exec_dataset *data, int64_t minibatches, bool warm, double *time_s,
                                struct sp_error *err)
{
    struct sp_plan *plan;
    struct exec_trainer *trainer = NULL;
    struct progress_view view = {.what = "baseline", .epochs = epochs_of(setup)};
    SP_TRY(sp_experiment_baseline(setup->experiment, setup->network, minibatches + warm, &plan, err));
    struct exec_trainer_config config = configure(program, setup->experiment, recipe, backend, &view);
    /* F, B and update of each stage, for the first minibatch */
    config.spans_per_lane = warm ? (int64_t)plan->stage_count * (2 * plan->phases[0].microbatches + 1) : 0;
    sp_status status = exec_trainer_create(plan, data, &config, &trainer, err);
    if (status == SP_OK)
        status = exec_trainer_run(trainer, err);
    if (status == SP_OK)
        *time_s += exec_trainer_time_s(trainer) - (warm ? first_minibatch_s(exec_trainer_trace(trainer)) : 0);
    exec_trainer_destroy(&trainer);
    sp_plan_destroy(&plan);
    return status;
}

/* What a run had come to when it failed or was asked to stop. Of several processes the first one knows it where they
 * stopped together, but for their traces. */
static void fill_unfinished(const struct program *program, const struct program_setup *setup,
                            struct exec_trainer *trainer, struct program_result *result)
{
    bool together = program->team != NULL;
    if (exec_team_rank(program->team) > 0 || exec_trainer_done(trainer) == 0 ||
        (together && exec_trainer_stopped_after(trainer) < 0))
        return;
    fill_result(setup, trainer, result);
    result->summary.minibatches = exec_trainer_done(trainer);
    result->unfinished = true;
    if (together) {
        sp_trace_destroy(&result->trace);
        sp_trace_destroy(&result->layers);
    }
}

/* A run that was asked to stop says how to go on. */
static sp_status tell_stopped(const struct program_checkpoints *checkpoints, const struct exec_trainer *trainer,
                              sp_status status, struct sp_error *err)
{
    int64_t done = exec_trainer_stopped_after(trainer);
    if (checkpoints == NULL || done < 0)
        return status;
    sp_error_clear(err);
    return SP_FAIL(err, status, "stopped after %lld minibatch%s, with a checkpoint in %s; --resume continues",
                   (long long)done, done == 1 ? "" : "es", checkpoints->folder);
}

static sp_status run_all(const struct program *program, const struct program_setup *setup,
                         const struct program_recipe *recipe, const struct program_checkpoints *checkpoints,
                         bool baseline, const struct exec_backend *backend, struct exec_dataset *data,
                         struct program_result *result, struct sp_error *err)
{
    double baseline_s = baseline ? 0 : NAN;
    struct progress_view view = {.what = "train   ", .epochs = epochs_of(setup)};
    int64_t after = setup->plan->minibatches / 2;
    if (baseline)
        SP_TRY(train_baseline(program, setup, recipe, backend, data, setup->plan->minibatches - after, false,
                              &baseline_s, err));
    struct exec_trainer_config config = configure(program, setup->experiment, recipe, backend, &view);
    struct exec_trainer *trainer = NULL;
    if (checkpoints != NULL)
        config.checkpoint = checkpoints->config;
    sp_status status = exec_trainer_create(setup->plan, data, &config, &trainer, err);
    if (status == SP_OK && checkpoints != NULL)
        status = program_checkpoints_begin(checkpoints, err);
    if (status == SP_OK) {
        status = exec_trainer_run(trainer, err);
        tell_graphs(program, trainer);
        status = tell_stopped(checkpoints, trainer, status, err);
        if (status != SP_OK)
            fill_unfinished(program, setup, trainer, result);
    }
    if (status == SP_OK && exec_team_rank(program->team) == 0)
        fill_result(setup, trainer, result);
    exec_trainer_destroy(&trainer);
    if (status == SP_OK && baseline && after > 0) { /* half before, half after: a drift of the machine falls out */
        status = train_baseline(program, setup, recipe, backend, data, after, true, &baseline_s, err);
        result->unfinished = status != SP_OK;
    }
    if (status == SP_OK)
        result->summary.speedup = baseline_s / (result->summary.time_s - sp_trace_evaluation_s(result->trace));
    return status;
}

sp_status program_train(const struct program *program, const struct program_setup *setup,
                        const struct program_checkpoints *checkpoints, bool baseline, struct program_result *result,
                        struct sp_error *err)
{
    const struct exec_backend *backend = exec_backend_find(setup->experiment->devices.backend);
    struct exec_dataset *data = NULL;
    if (backend == NULL)
        return SP_FAIL(err, SP_E_UNSUPPORTED, "this build has no backend %s; it can simulate it",
                       setup->experiment->devices.backend);
    struct program_recipe recipe;
    SP_TRY(program_recipe_init(&recipe, setup, err));
    sp_status status = program_open_data(setup, &data, err);
    if (status == SP_OK)
        status = run_all(program, setup, &recipe, checkpoints, baseline, backend, data, result, err);
    exec_dataset_close(&data);
    program_recipe_fini(&recipe);
    return status;
}

/* A run that diverges ends as any other does; the user should know. */
static void warn_of_divergence(const struct program_result *result)
{
    int64_t m = 0;
    while (m < result->summary.minibatches && isfinite(result->losses[m]))
        m++;
    if (m < result->summary.minibatches)
        fprintf(stderr,
                "the training loss is not finite from minibatch %lld on: a lower train.lr or a warm-up may help\n",
                (long long)m);
}

static void print_summary(const struct sp_summary *summary)
{
    char time[32];
    for (int e = 0; e < summary->epoch_count; e++)
        printf("epoch %d: loss %.4f, test loss %.4f, test accuracy %.2f %%, %s\n", summary->epochs[e].epoch,
               fabs(summary->epochs[e].loss), fabs(summary->epochs[e].test_loss), 100 * summary->epochs[e].accuracy,
               program_seconds(summary->epochs[e].time_s, time));
    printf("%s: %s, %lld minibatches of %d: %s, %.0f samples/s, utilization %.1f %%", summary->name, summary->schedule,
           (long long)summary->minibatches, summary->batch, program_seconds(summary->time_s, time),
           summary->samples_per_s, 100 * summary->utilization);
    if (isfinite(summary->speedup))
        printf(", speedup %.2f", summary->speedup);
    puts("");
}

/* Of a run that failed or was stopped: writes what is known of it, and says so below what went wrong. */
static void leave_unfinished(const struct program *program, const struct program_setup *setup,
                             const struct program_result *result, sp_status status, struct sp_error *err)
{
    struct sp_error why = {0};
    int64_t done = result->summary.minibatches;
    if (program_leave_run(program, setup, result, &why) != SP_OK)
        sp_error_context(err, "what was done so far could not be recorded: %s", why.text);
    else if (status != SP_E_INTERRUPTED || done == setup->plan->minibatches) /* else it has been said */
        sp_error_context(err, "%lld minibatch%s done, and recorded; --resume continues from the newest checkpoint",
                         (long long)done, done == 1 ? " was" : "es were");
    sp_error_fini(&why);
}

/* What a finished run leaves, and says. */
static sp_status leave_results(const struct program *program, const struct program_setup *setup,
                               const struct program_result *result, struct sp_error *err)
{
    warn_of_divergence(result);
    SP_TRY(program_leave_run(program, setup, result, err));
    if (program->json)
        program_print_json(sp_summary_json(&result->summary));
    else
        print_summary(&result->summary);
    return SP_OK;
}

static sp_status do_train(const struct program *program, struct sp_error *err)
{
    struct program_setup setup;
    struct program_result result = {0};
    struct program_checkpoints checkpoints = {0};
    sp_status status = program_setup_init(&setup, program, SP_PLAN_TRAIN, err);
    if (status == SP_OK)
        status = program_check_ranks(program, &setup, err);
    if (status == SP_OK)
        status = program_checkpoints_init(&checkpoints, program, &setup, err);
    if (status == SP_OK)
        status = program_train(program, &setup, &checkpoints, program->baseline, &result, err);
    if (status != SP_OK && result.unfinished)
        leave_unfinished(program, &setup, &result, status, err);
    if (status == SP_OK && exec_team_rank(program->team) == 0)
        status = leave_results(program, &setup, &result, err);
    program_result_fini(&result);
    program_checkpoints_fini(&checkpoints);
    program_setup_fini(&setup);
    return status;
}

sp_status program_do_train(const struct program *given, struct sp_error *err)
{
    struct program program = *given;
    SP_TRY(program_join(&program, err));
    sp_status status = do_train(&program, err);
    /* a run that was asked to stop has told the others, or they were asked, too */
    program_leave(&program, status != SP_OK && status != SP_E_INTERRUPTED ? err : NULL);
    return status;
}
