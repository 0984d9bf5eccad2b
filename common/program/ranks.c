/*
 * Several processes that train one experiment: how each learns which it is. Whoever starts them sets RANK, WORLD_SIZE,
 * MASTER_ADDR and MASTER_PORT, as torchrun does; mpirun's own variables do for the first two.
 */
#include "common/alloc.h"
#include "common/program/program.h"
#include "exec/team.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct sp_mark environment = {.file = "environment"};

/* A whole number that a variable says; `otherwise` where it is not set. */
static sp_status number_of(const char *name, long low, long high, long otherwise, int *out, struct sp_error *err)
{
    const char *text = getenv(name);
    char *end;
    *out = (int)otherwise;
    if (text == NULL || text[0] == '\0')
        return SP_OK;
    long value = strtol(text, &end, 10);
    if (*end != '\0' || value < low || value > high)
        return sp_reject(err, environment, "%s is a whole number from %ld to %ld, not \"%s\"", name, low, high, text);
    *out = (int)value;
    return SP_OK;
}

/* Something in this process hangs after another one has failed. */
static void give_up(const char *text)
{
    fprintf(stderr, "stalepipe: %s\n", text);
    _exit(1);
}

sp_status program_join(struct program *program, struct sp_error *err)
{
    static const char *const names[][2] = {{"RANK", "WORLD_SIZE"}, {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"}};
    const char *const *name = names[getenv("WORLD_SIZE") != NULL ? 0 : 1], *address = getenv("MASTER_ADDR"),
                      *store = getenv("TORCHELASTIC_USE_AGENT_STORE");
    struct exec_team_config config = {.address = address != NULL && address[0] != '\0' ? address : "127.0.0.1",
                                      .patience_s = 120,
                                      .stop = &program_stop,
                                      .give_up = give_up};
    SP_TRY(number_of(name[1], 1, 65536, 1, &config.size, err));
    if (config.size == 1)
        return SP_OK;
    SP_TRY(number_of(name[0], 0, config.size - 1, -1, &config.rank, err));
    SP_TRY(number_of("MASTER_PORT", 1, 65534, 29500, &config.port, err));
    if (config.rank < 0)
        return sp_reject(err, environment, "%s says %d processes, but %s does not say which this is", name[1],
                         config.size, name[0]);
    config.port += store != NULL && strcmp(store, "True") == 0; /* torchrun itself listens at the port that it gives */
    /* A kernel that is loaded when it is first launched may wait for all that runs, and receives wait for others. */
    (void)setenv("CUDA_MODULE_LOADING", "EAGER", 0);
    /* So may whatever shares one of the card's queues of work with a receive: as many as there can be. */
    (void)setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", 0);
    return exec_team_join(&config, &program->team, err);
}

void program_leave(struct program *program, const struct sp_error *why)
{
    exec_team_leave(&program->team, why);
}

sp_status program_check_ranks(const struct program *program, const struct program_setup *setup, struct sp_error *err)
{
    const char *backend = setup->experiment->devices.backend;
    int size = exec_team_size(program->team);
    if (size == 1)
        return SP_OK;
    if (strcmp(backend, "cuda") != 0)
        return sp_reject(err, sp_experiment_mark(setup->experiment, "devices.backend"),
                         "devices.backend: %s trains in one process; the environment says %d, which need cuda", backend,
                         size);
    if (program->baseline)
        return sp_reject(err, (struct sp_mark){.file = "command line"},
                         "--baseline trains on one device; give it to one process");
    return SP_OK;
}
