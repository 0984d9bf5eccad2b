#include "tests/experiments.h"

#include "common/file.h"
#include "tests/folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

const char *experiment_path(void)
{
    static char path[sizeof test_folder + 8];
    snprintf(path, sizeof path, "%s/e.yaml", test_folder);
    return path;
}

struct sp_experiment *experiment_read(const char *text, const char *const *sets, int set_count, struct sp_error *err)
{
    assert_int_equal(sp_file_write(experiment_path(), text, err), SP_OK);
    struct sp_experiment *experiment = NULL;
    sp_status status = sp_experiment_read(experiment_path(), sets, set_count, &experiment, err);
    assert_int_equal(status == SP_OK, experiment != NULL);
    assert_int_equal(status == SP_OK, err->count == 0);
    return experiment;
}

struct sp_experiment *experiment_right(const char *text)
{
    struct sp_error err = {0};
    struct sp_experiment *experiment = experiment_read(text, NULL, 0, &err);
    if (experiment == NULL)
        fail_msg("rejected: %s\n%s", err.text, text);
    return experiment;
}

void built_fini(struct built *built)
{
    sp_plan_destroy(&built->plan);
    sp_network_destroy(&built->network);
    sp_experiment_destroy(&built->experiment);
}

void built_init(const char *text, enum sp_plan_use use, struct built *built, struct sp_error *err)
{
    *built = (struct built){.experiment = experiment_read(text, NULL, 0, err)};
    if (built->experiment != NULL && sp_experiment_network(built->experiment, &built->network, err) == SP_OK)
        (void)sp_experiment_plan(built->experiment, built->network, use, &built->plan, err);
}

struct built built_right(const char *text, enum sp_plan_use use)
{
    struct sp_error err = {0};
    struct built built;
    built_init(text, use, &built, &err);
    if (built.plan == NULL)
        fail_msg("rejected: %s\n%s", err.text, text);
    return built;
}
