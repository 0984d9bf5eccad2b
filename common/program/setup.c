#include "common/analysis.h"
#include "common/program/program.h"
#include "exec/trainer.h"

#include <string.h>

sp_status program_memory(const struct sp_experiment *experiment, const struct sp_plan *plan,
                         struct sp_memory_plan **out, struct sp_error *err)
{
    const struct exec_backend *backend = exec_backend_find(experiment->devices.backend);
    if (backend != NULL)
        return exec_plan_memory(plan, backend, experiment->devices.threads, out, err);
    struct sp_footprint plain = sp_footprint_plain(plan->network);
    return sp_memory_plan_create(plan, &plain, out, err);
}

sp_status program_setup_init(struct program_setup *setup, const struct program *program, enum sp_plan_use use,
                             struct sp_error *err)
{
    memset(setup, 0, sizeof *setup);
    SP_TRY(sp_experiment_read(program->argument, program->sets, program->set_count, &setup->experiment, err));
    SP_TRY(sp_experiment_network(setup->experiment, &setup->network, err));
    SP_TRY(sp_experiment_plan(setup->experiment, setup->network, use, &setup->plan, err));
    SP_TRY(program_memory(setup->experiment, setup->plan, &setup->memory, err));
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
