#include "common/alloc.h"
#include "common/analysis.h"
#include "common/program/program.h"
#include "exec/sizes.h"
#include "exec/trainer.h"

#include <stdlib.h>
#include <string.h>

char *program_cache_folder(void)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (cache != NULL && cache[0] != '\0')
        return sp_format("%s/stalepipe", cache);
    return home != NULL && home[0] != '\0' ? sp_format("%s/.cache/stalepipe", home) : NULL;
}

char *program_choices_path(void)
{
    char *folder = program_cache_folder(), *path = folder != NULL ? sp_format("%s/convolutions.txt", folder) : NULL;
    free(folder);
    return path;
}

struct exec_backend_config program_backend_config(const struct sp_experiment *experiment, const char *choices_path)
{
    struct exec_backend_config config = {
        .threads = experiment->devices.threads, .tf32 = experiment->devices.tf32, .choices_path = choices_path};
    for (int c = 0; exec_convolution_names[c] != NULL; c++)
        if (strcmp(exec_convolution_names[c], experiment->devices.convolution) == 0)
            config.convolution = (enum exec_convolution)c;
    return config;
}

/* What a backend said. Where its devices are not here plain sizes do, and training will say what is missing. */
static sp_status or_plain(sp_status status, const struct sp_plan *plan, const struct exec_backend *backend,
                          struct sp_error *why, struct sp_memory_plan **out, struct sp_error *err)
{
    struct sp_footprint plain = sp_footprint_plain(plan->network);
    bool absent = status == SP_E_UNSUPPORTED && !backend->shared_memory;
    if (status != SP_OK && !absent)
        (void)SP_FAIL(err, status, "%s", why->text);
    sp_error_fini(why);
    return absent ? sp_memory_plan_create(plan, &plain, out, err) : status;
}

static sp_status memory_of(const struct sp_experiment *experiment, const struct sp_plan *plan, struct exec_team *team,
                           struct sp_memory_plan **out, struct sp_error *err)
{
    const struct exec_backend *backend = exec_backend_find(experiment->devices.backend);
    struct sp_footprint plain = sp_footprint_plain(plan->network);
    if (backend == NULL || plan->network->measured != NULL)
        return sp_memory_plan_create(plan, &plain, out, err);
    char *path = program_choices_path();
    struct exec_backend_config config = program_backend_config(experiment, path);
    config.team = team;
    struct sp_error why = {0};
    sp_status status = exec_plan_memory(plan, backend, &config, out, &why);
    free(path);
    return or_plain(status, plan, backend, &why, out, err);
}

struct program_sizes {
    const struct exec_backend *backend;
    char *choices_path;
    struct exec_sizes *exec; /* NULL: plain */
};

struct program_sizes *program_sizes_create(const struct sp_experiment *experiment, const struct sp_network *network)
{
    struct program_sizes *sizes = sp_calloc(1, sizeof *sizes);
    sizes->backend = exec_backend_find(experiment->devices.backend);
    if (sizes->backend == NULL || network->measured != NULL)
        return sizes;
    sizes->choices_path = program_choices_path();
    struct exec_backend_config config = program_backend_config(experiment, sizes->choices_path);
    sizes->exec = exec_sizes_create(sizes->backend, &config);
    return sizes;
}

void program_sizes_destroy(struct program_sizes **sizes)
{
    exec_sizes_destroy(&(*sizes)->exec);
    free((*sizes)->choices_path);
    free(*sizes);
    *sizes = NULL;
}

sp_status program_sizes_plan(void *self, const struct sp_plan *plan, struct sp_memory_plan **out, struct sp_error *err)
{
    struct program_sizes *sizes = self;
    struct sp_footprint plain = sp_footprint_plain(plan->network);
    if (sizes->exec == NULL)
        return sp_memory_plan_create(plan, &plain, out, err);
    struct sp_error why = {0};
    return or_plain(exec_sizes_plan(sizes->exec, plan, out, &why), plan, sizes->backend, &why, out, err);
}

sp_status program_read(const struct program *program, struct sp_experiment **out, struct sp_error *err)
{
    SP_TRY(sp_experiment_read(program->argument, program->sets, program->set_count, out, err));
    if ((*out)->sweep == NULL)
        return SP_OK;
    return sp_reject(err, sp_experiment_mark(*out, "sweep"),
                     "sweep: these are many experiments, which `stalepipe sweep` runs; --set sweep= leaves one");
}

sp_status program_setup_init(struct program_setup *setup, const struct program *program, enum sp_plan_use use,
                             struct sp_error *err)
{
    memset(setup, 0, sizeof *setup);
    setup->repeat = (int)program->repeat;
    setup->team = program->team;
    SP_TRY(program_read(program, &setup->experiment, err));
    return program_setup_experiment(setup, use, err);
}

sp_status program_setup_experiment(struct program_setup *setup, enum sp_plan_use use, struct sp_error *err)
{
    SP_TRY(sp_experiment_network(setup->experiment, &setup->network, err));
    if (use == SP_PLAN_TRAIN && setup->network->measured != NULL)
        return sp_reject(err, sp_experiment_mark(setup->experiment, "network"),
                         "network: %s is a measured network: it can be simulated and planned, not trained",
                         setup->network->name);
    if (setup->experiment->pipeline.auto_cuts) {
        struct sim_search search = {0};
        sp_status status = program_choose(setup->experiment, &setup->network, &search, err);
        sim_search_fini(&search);
        if (status != SP_OK)
            return status;
    }
    return program_setup_plan(setup, use, err);
}

sp_status program_setup_plan(struct program_setup *setup, enum sp_plan_use use, struct sp_error *err)
{
    SP_TRY(sp_experiment_plan(setup->experiment, setup->network, use, &setup->plan, err));
    SP_TRY(memory_of(setup->experiment, setup->plan, setup->team, &setup->memory, err));
    return sp_analysis_create(setup->plan, setup->memory, &setup->analysis, err);
}

void program_setup_fini(struct program_setup *setup)
{
    sp_analysis_destroy(&setup->analysis);
    sp_memory_plan_destroy(&setup->memory);
    sp_plan_destroy(&setup->plan);
    sp_network_destroy(&setup->network);
    sp_experiment_destroy(&setup->experiment);
}
