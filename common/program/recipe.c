#include "common/alloc.h"
#include "common/program/program.h"

#include <stdlib.h>
#include <string.h>

static enum exec_rate_kind kind_of(const char *name)
{
    int kind = 0;
    while (strcmp(exec_rate_kind_names[kind], name) != 0) {
        kind++;
        SP_ASSERT(kind < EXEC_RATE_KIND_COUNT, "schedule %s", name);
    }
    return (enum exec_rate_kind)kind;
}

sp_status program_recipe_init(struct program_recipe *recipe, const struct program_setup *setup, struct sp_error *err)
{
    const struct sp_experiment *experiment = setup->experiment;
    struct sp_data_shape data;
    *recipe = (struct program_recipe){0};
    recipe->choices_path = program_choices_path();
    SP_TRY(sp_experiment_data_shape(experiment, &data, err));
    double epoch = (double)data.train_samples / (double)experiment->train.batch; /* in updates */
    recipe->steps = sp_calloc((size_t)experiment->train.lr_step_count + 1, sizeof *recipe->steps);
    for (int s = 0; s < experiment->train.lr_step_count; s++)
        recipe->steps[s] = epoch * experiment->train.lr_steps[s];
    recipe->rate = (struct exec_rate){
        .kind = kind_of(experiment->train.lr_schedule),
        .updates = setup->plan->minibatches,
        .gamma = experiment->train.lr_gamma,
        .power = experiment->train.lr_power,
        .final = experiment->train.lr_final,
        .peak = experiment->train.lr_peak,
        .steps = recipe->steps,
        .step_count = experiment->train.lr_step_count,
        .warmup = epoch * experiment->train.warmup,
    };
    return SP_OK;
}

void program_recipe_fini(struct program_recipe *recipe)
{
    free(recipe->steps);
    free(recipe->choices_path);
    *recipe = (struct program_recipe){0};
}
