#include "common/alloc.h"
#include "common/file.h"
#include "common/options.h"
#include "common/program/program.h"
#include "exec/team.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Keys that do not change what is computed. */
static bool is_free(const struct sp_option *option)
{
    static const char *const prefixes[] = {"name", "data.dir", "data.threads", "devices.graphs", "checkpoint.", "cost.",
                                           "sim.", "plan",     "sweep",        "label",          "published"};
    for (size_t p = 0; p < sizeof prefixes / sizeof *prefixes; p++)
        if (strncmp(option->path, prefixes[p], strlen(prefixes[p])) == 0)
            return true;
    return option->type == SP_OPTION_OTHER && option->write == NULL;
}

/* What only says how long to train, where no phases do: a run may be continued for longer than it was begun for. */
static bool is_length(const struct sp_option *option)
{
    return strcmp(option->path, "train.epochs") == 0 || strcmp(option->path, "train.iterations") == 0;
}

static char *value_of(const struct sp_option *option, const struct sp_experiment *experiment)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    SP_ASSERT(out != NULL, "%s", strerror(errno));
    sp_option_write(option, experiment, out);
    fclose(out);
    return text;
}

static void take_settings(struct program_checkpoints *checkpoints, const struct sp_experiment *experiment)
{
    checkpoints->settings = sp_calloc((size_t)sp_option_count, sizeof *checkpoints->settings);
    checkpoints->config.settings = checkpoints->settings;
    for (int o = 0; o < sp_option_count; o++)
        if (!is_free(&sp_options[o]) && !(is_length(&sp_options[o]) && experiment->phase_count > 0))
            checkpoints->settings[checkpoints->config.setting_count++] =
                (struct exec_setting){.key = sp_options[o].path,
                                      .value = value_of(&sp_options[o], experiment),
                                      .length = is_length(&sp_options[o])};
}

static void warn(void *self, const char *text)
{
    (void)self;
    fprintf(stderr, "\nstalepipe: no checkpoint was written, the one before is kept: %s\n", text);
}

static void tell_length(void *self, const char *key, const char *there, const char *here)
{
    (void)self;
    fprintf(stderr,
            "%s was %s so far and is %s now: from here on the learning rate follows the schedule of the new length\n",
            key, there, here);
}

/* A run from the start does not mix its checkpoints with another's, nor write over what that one left. */
static sp_status move_aside(const struct program_checkpoints *checkpoints, struct sp_error *err)
{
    const char *folder = checkpoints->folder;
    char *path, *notes;
    struct sp_error damaged = {0};
    sp_status found = exec_checkpoint_find(folder, &path, &notes, &damaged);
    bool any = found != SP_OK || path != NULL;
    sp_error_fini(&damaged);
    free(path);
    free(notes);
    if (!any)
        return SP_OK;
    char *old;
    SP_TRY(sp_file_set_aside(folder, "old", &old, err));
    sp_status status = program_move_run(checkpoints->run, old, err);
    if (status == SP_OK)
        fprintf(stderr, "what the run before left was moved to %s\n", old);
    free(old);
    return status;
}

/* Damaged checkpoints that were passed over are no longer counted as checkpoints. */
static sp_status set_damaged_aside(const struct program_checkpoints *checkpoints, struct sp_error *err)
{
    char *notes;
    sp_status status = exec_checkpoint_set_aside(checkpoints->folder, checkpoints->resume, &notes, err);
    if (notes != NULL)
        fprintf(stderr, "%s\n", notes);
    free(notes);
    return status;
}

static sp_status find(struct program_checkpoints *checkpoints, const struct program *program, struct sp_error *err)
{
    char *notes;
    SP_TRY(exec_checkpoint_find(checkpoints->folder, &checkpoints->resume, &notes, err));
    if (notes != NULL)
        fprintf(stderr, "passed over: %s\n", notes);
    free(notes);
    if (checkpoints->resume == NULL)
        fprintf(stderr, "no checkpoint in %s: training from the start\n", checkpoints->folder);
    else if (!program->quiet)
        fprintf(stderr, "continuing from %s\n", checkpoints->resume);
    return SP_OK;
}

sp_status program_checkpoints_init(struct program_checkpoints *checkpoints, const struct program *program,
                                   const struct program_setup *setup, struct sp_error *err)
{
    const struct sp_experiment *experiment = setup->experiment;
    char *run = program_folder(program, setup);
    struct sp_data_shape data;
    *checkpoints = (struct program_checkpoints){
        .run = run, .folder = sp_format("%s/checkpoints", run), .writes = exec_team_rank(program->team) == 0};
    if (checkpoints->writes)
        SP_TRY(program_hold_folder(run, &checkpoints->hold, err));
    SP_TRY(sp_experiment_data_shape(experiment, &data, err));
    checkpoints->config = (struct exec_checkpoint_config){
        .folder = checkpoints->folder,
        .minutes = experiment->checkpoint.minutes,
        .epoch_minibatches =
            (double)experiment->checkpoint.epochs * (double)data.train_samples / (double)experiment->train.batch,
        .keep = experiment->checkpoint.keep,
        .warn = warn,
        .tell_length = tell_length,
    };
    take_settings(checkpoints, experiment);
    if (!checkpoints->writes)
        return SP_OK;
    if (program->resume)
        SP_TRY(find(checkpoints, program, err));
    checkpoints->config.resume = checkpoints->resume;
    SP_TRY(sp_folder_make(checkpoints->folder, err));
    if (access(checkpoints->folder, W_OK) != 0)
        return SP_FAIL(err, SP_E_IO, "%s: cannot write there: %s", checkpoints->folder, strerror(errno));
    return SP_OK;
}

sp_status program_checkpoints_begin(const struct program_checkpoints *checkpoints, struct sp_error *err)
{
    if (!checkpoints->writes)
        return SP_OK;
    if (checkpoints->resume != NULL)
        return set_damaged_aside(checkpoints, err);
    SP_TRY(move_aside(checkpoints, err));
    return sp_folder_make(checkpoints->folder, err);
}

void program_checkpoints_fini(struct program_checkpoints *checkpoints)
{
    for (int s = 0; s < checkpoints->config.setting_count; s++)
        free((char *)checkpoints->settings[s].value);
    free(checkpoints->settings);
    free(checkpoints->run);
    free(checkpoints->folder);
    free(checkpoints->resume);
    sp_folder_let_go(&checkpoints->hold);
    *checkpoints = (struct program_checkpoints){0};
}
