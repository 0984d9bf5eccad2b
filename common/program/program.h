/*
 * program.h - the command line: the one place that sees both sim/ and exec/.
 *
 * A command is a function and a row of the table in main.c. Results go to stdout, everything else to stderr.
 */
#ifndef PROGRAM_H
#define PROGRAM_H

#include "common/experiment.h"
#include "common/file.h"
#include "common/memory.h"
#include "common/summary.h"
#include "exec/backend.h"
#include "exec/checkpoint.h"
#include "exec/learning_rate.h"
#include "sim/planner.h"

#include <jansson.h>

#include <signal.h>

/* The command line, parsed. */
struct program {
    const char *command, *argument; /* argument: the experiment file, or a folder */
    const char **sets;
    int set_count;
    const char *out;     /* -o; NULL: runs/NAME */
    const char *from;    /* --from; NULL: the official place */
    const char *format;  /* schedule: text, csv, picture; NULL: text */
    int64_t minibatches; /* schedule: how many to show; 0: 12 */
    int64_t repeat;      /* sim, compare: runs whose durations vary; 0: none */
    int64_t layer_spans; /* single layers' spans that training keeps for each device */
    bool json, quiet, verbose, baseline, resume, quick;
    bool sim, real, dry_run, retry; /* sweep */
    struct exec_team *team;         /* train: the processes that train together; NULL: this one alone */
};

/* An experiment made definite. */
struct program_setup {
    struct sp_experiment *experiment;
    struct sp_network *network;
    struct sp_plan *plan;
    struct sp_memory_plan *memory;
    struct sp_analysis *analysis;
    int repeat; /* simulated runs whose durations vary */
    struct exec_team *team;
};

/*
 * Joins the other processes of this run where the environment says that there are some, as torchrun and mpirun do
 * (common/program/ranks.c); else program->team stays NULL. Leave says goodbye, or what went wrong here.
 */
sp_status program_join(struct program *program, struct sp_error *err);
/* What cannot be done by several processes. */
sp_status program_check_ranks(const struct program *program, const struct program_setup *setup, struct sp_error *err);
void program_leave(struct program *program, const struct sp_error *why);

/* Reads the experiment, which is a single one. The caller frees *out, also after a failure. */
sp_status program_read(const struct program *program, struct sp_experiment **out, struct sp_error *err);

/* Reads the experiment and makes its plan for `use`, with memory by the backend's own sizes where this build has it
 * (else plain float32). Wrong input is told whole. Free with program_setup_fini, also after a failure. */
sp_status program_setup_init(struct program_setup *setup, const struct program *program, enum sp_plan_use use,
                             struct sp_error *err);
/* The part of it behind the experiment. */
sp_status program_setup_experiment(struct program_setup *setup, enum sp_plan_use use, struct sp_error *err);
/* The part of it behind experiment and network. */
sp_status program_setup_plan(struct program_setup *setup, enum sp_plan_use use, struct sp_error *err);
void program_setup_fini(struct program_setup *setup);

/* $XDG_CACHE_HOME/stalepipe or ~/.cache/stalepipe; NULL where there is no home. The caller frees. */
char *program_cache_folder(void);

/* The file that remembers which convolutions are faster how (NULL: none; the caller frees), and what a backend is
 * created with; the path is borrowed. */
char *program_choices_path(void);
struct exec_backend_config program_backend_config(const struct sp_experiment *experiment, const char *choices_path);

/* Memory plans of many plans of one phase, as the experiment's backend would lay them out; it compiles the network
 * once. `network` must outlive it, and the experiment's devices stay as they are. */
struct program_sizes;
struct program_sizes *program_sizes_create(const struct sp_experiment *experiment, const struct sp_network *network);
void program_sizes_destroy(struct program_sizes **sizes);
/* A sim_memory_function (sim/planner.h) of a struct program_sizes. */
sp_status program_sizes_plan(void *self, const struct sp_plan *plan, struct sp_memory_plan **out, struct sp_error *err);

/* Lets the planner choose cuts, schedule and placement, and writes its choice into the experiment; a measured network
 * may be exchanged for one with its layers in another order. `search` keeps the candidates, also what *network was:
 * free it with sim_search_fini, also after a failure. */
sp_status program_choose(struct sp_experiment *experiment, struct sp_network **network, struct sim_search *search,
                         struct sp_error *err);

/* What a run came to. */
struct program_result {
    struct sp_summary summary;
    struct sp_trace *trace;
    struct sp_trace *layers; /* spans of single layers; NULL: not asked for */
    const float *losses;     /* per minibatch; NULL: simulated */
    bool unfinished;         /* it failed or was stopped: of a run of several processes there is no trace then */
};

/* Simulates the setup's plan, and its baseline for the speedup; and both setup->repeat times with durations that vary.
 * Free with program_result_fini. */
void program_print_intervals(const struct sp_summary *summary); /* one line on stdout, where there are any */
sp_status program_simulate(const struct program_setup *setup, struct program_result *result, struct sp_error *err);

/*
 * Where a training run keeps its checkpoints, and which to continue from (common/program/checkpoints.c):
 * FOLDER/checkpoints. FOLDER is held against other runs until fini, which frees. Where checkpoints lie there, begin
 * moves them and what else their run left aside to checkpoints.old (or checkpoints.old2, ...); with `resume`, only
 * damaged ones that are newer than the one to continue from, by another name. It is called when all is ready, for a run
 * that cannot start has no claim to the place.
 */
struct program_checkpoints {
    struct exec_checkpoint_config config;
    char *run, *folder, *resume; /* run: FOLDER */
    struct exec_setting *settings;
    struct sp_hold hold;
    bool writes; /* of several processes, the first does */
};
sp_status program_checkpoints_init(struct program_checkpoints *checkpoints, const struct program *program,
                                   const struct program_setup *setup, struct sp_error *err);
sp_status program_checkpoints_begin(const struct program_checkpoints *checkpoints, struct sp_error *err);
void program_checkpoints_fini(struct program_checkpoints *checkpoints);

/* The learning rate of every update as the executor takes it: epochs become updates. fini frees. */
struct program_recipe {
    struct exec_rate rate;
    double *steps;
    char *choices_path;
};
sp_status program_recipe_init(struct program_recipe *recipe, const struct program_setup *setup, struct sp_error *err);
void program_recipe_fini(struct program_recipe *recipe);

/* Opens the experiment's data set; another number of samples than is known of it is refused. */
struct exec_dataset;
sp_status program_open_data(const struct program_setup *setup, struct exec_dataset **data, struct sp_error *err);

/* Trains the setup's plan; `checkpoints` may be NULL; `baseline` also a sequential one on one device, for the speedup.
 */
sp_status program_train(const struct program *program, const struct program_setup *setup,
                        const struct program_checkpoints *checkpoints, bool baseline, struct program_result *result,
                        struct sp_error *err);
void program_result_fini(struct program_result *result);

/* Of metrics.csv, a line an evaluation. */
#define PROGRAM_METRICS_COLUMNS "epoch,minibatch,time_s,loss,test_loss,accuracy,train_accuracy,samples_per_s,staleness"

/* Writes a run's folder: experiment.yaml, summary.json, devices.csv, timeline.csv, trace.json and, after real runs,
 * metrics.csv, waits.csv and losses.csv. An unfinished run leaves no summary.json, by which finished ones are known;
 * one that lies there becomes summary.json.old. */
sp_status program_write_run(const char *folder, const struct program_setup *setup, const struct program_result *result,
                            struct sp_error *err);
/* Moves the files of a run's folder that program_write_run writes into another folder. */
sp_status program_move_run(const char *folder, const char *to, struct sp_error *err);
/* Holds a run's folder, or program_folder, against other commands that write there (common/file.h). SP_E_INPUT: it is a
 * sweep's. */
sp_status program_hold_folder(const char *folder, struct sp_hold *hold, struct sp_error *err);
sp_status program_hold(const struct program *program, const struct program_setup *setup, struct sp_hold *hold,
                       struct sp_error *err);
/* The same into program_folder, named on stderr. */
sp_status program_leave_run(const struct program *program, const struct program_setup *setup,
                            const struct program_result *result, struct sp_error *err);
sp_status program_write_json(const char *path, json_t *object, struct sp_error *err);

/* The source's revision that this was built from. */
const char *program_revision(void);

/* Where and by what a run is made: revision of the program, versions of libraries, machine, time. A new reference. */
json_t *program_environment(void);

/* runs/NAME or what -o says; the caller frees. */
char *program_folder(const struct program *program, const struct program_setup *setup);

/* Prints an object as one JSON text on stdout and gives up the reference. */
void program_print_json(json_t *object);

/* "1.9 s", "3.1 MiB": buffer of at least 32 bytes. */
const char *program_bytes(double bytes, char *buffer);
const char *program_seconds(double seconds, char *buffer);
/* "1 h 02 min", "3 min 20 s", "12 s" */
const char *program_whole_time(double seconds, char buffer[32]);
/* Columns of the terminal that stderr is. */
int program_terminal_width(void);

/* The commands. */
sp_status program_show(const struct program *program, struct sp_error *err);
sp_status program_schedule(const struct program *program, struct sp_error *err);
sp_status program_sim(const struct program *program, struct sp_error *err);
sp_status program_do_train(const struct program *program, struct sp_error *err);
sp_status program_profile(const struct program *program, struct sp_error *err);
sp_status program_plan(const struct program *program, struct sp_error *err);
sp_status program_compare(const struct program *program, struct sp_error *err);
sp_status program_sweep(const struct program *program, struct sp_error *err);
sp_status program_data(const struct program *program, struct sp_error *err);
sp_status program_report(const struct program *program, struct sp_error *err);

/* From now on SIGINT and SIGTERM are counted, for whoever looks at that: after the first a training run leaves a
 * checkpoint and ends, after the second it ends. Until then, and from the third on, they end the program. */
volatile sig_atomic_t *program_listen(void);

#endif
