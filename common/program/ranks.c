/*
 * Several processes that train one experiment: how each learns which it is. Whoever starts them sets RANK, WORLD_SIZE,
 * MASTER_ADDR and MASTER_PORT, as torchrun does; mpirun's own variables do for the first two, Open MPI's and MPICH's.
 */
#include "common/alloc.h"
#include "common/program/program.h"
#include "exec/team.h"
#include "exec/trainer.h"

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

/* Which process this is, and of how many; the first two that are set count. */
struct pair {
    const char *rank, *size;
};
static const struct pair pairs[] = {
    {"RANK", "WORLD_SIZE"}, {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"}, {"PMI_RANK", "PMI_SIZE"}};
enum { PAIRS = sizeof pairs / sizeof *pairs };

static bool is_set(const char *name)
{
    const char *text = getenv(name);
    return text != NULL && text[0] != '\0';
}

/* NULL: this process trains alone. One of two would let each process train alone, and all write the same files. */
static sp_status find_pair(const struct pair **out, struct sp_error *err)
{
    *out = NULL;
    for (int p = 0; p < PAIRS && *out == NULL; p++)
        if (is_set(pairs[p].rank) && is_set(pairs[p].size))
            *out = &pairs[p];
    for (int p = 0; p < PAIRS && *out == NULL; p++) {
        bool says_rank = is_set(pairs[p].rank);
        const char *set = says_rank ? pairs[p].rank : pairs[p].size;
        if (is_set(set))
            return sp_reject(err, environment,
                             "%s is \"%s\", but %s is not set; several processes that train together need both, %s "
                             "from 0 to %s - 1, and one that trains alone neither",
                             set, getenv(set), says_rank ? pairs[p].size : pairs[p].rank, pairs[p].rank, pairs[p].size);
    }
    return SP_OK;
}

/* Something in this process hangs after another one has failed. */
static void give_up(const char *text)
{
    fprintf(stderr, "stalepipe: %s\n", text);
    _exit(1);
}

static void waits(const char *text)
{
    fprintf(stderr, "%s\n", text);
}

sp_status program_join(struct program *program, struct sp_error *err)
{
    const char *address = getenv("MASTER_ADDR"), *store = getenv("TORCHELASTIC_USE_AGENT_STORE");
    const struct pair *pair;
    struct exec_team_config config = {.address = address != NULL && address[0] != '\0' ? address : "127.0.0.1",
                                      .patience_s = 120,
                                      .stop = program_listen(),
                                      .waits = program->quiet ? NULL : waits,
                                      .first_word_s = 5,
                                      .give_up = give_up};
    SP_TRY(find_pair(&pair, err));
    if (pair == NULL)
        return SP_OK;
    SP_TRY(number_of(pair->size, 1, 65536, 1, &config.size, err));
    SP_TRY(number_of(pair->rank, 0, config.size - 1, 0, &config.rank, err));
    if (config.size == 1)
        return SP_OK;
    SP_TRY(number_of("MASTER_PORT", 1, 65534, 29500, &config.port, err));
    config.port += store != NULL && strcmp(store, "True") == 0; /* torchrun itself listens at the port that it gives */
    /* A kernel that is loaded when it is first launched may wait for all that runs, and receives wait for others. */
    (void)setenv("CUDA_MODULE_LOADING", "EAGER", 0);
    /* So may whatever shares one of the card's queues of work with a receive: as many as there can be. */
    (void)setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", 0);
    char *build = sp_format("%s/%llx", program_revision(), (unsigned long long)exec_trainer_layout());
    config.build = build;
    sp_status status = exec_team_join(&config, &program->team, err);
    free(build);
    return status;
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
    char *parted = exec_trainer_parted(setup->plan, program->team);
    sp_status status = parted == NULL ? SP_OK
                                      : sp_reject(err, sp_experiment_mark(setup->experiment, "pipeline.placement"),
                                                  "pipeline.placement: %s", parted);
    free(parted);
    SP_TRY(status);
    if (program->baseline)
        return sp_reject(err, (struct sp_mark){.file = "command line"},
                         "--baseline trains on one device; give it to one process");
    return SP_OK;
}
