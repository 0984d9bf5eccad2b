#include "common/program/program.h"
#include "common/alloc.h"

#include <gsl/gsl_errno.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static volatile sig_atomic_t signals;

/* After the second there is nothing more to ask for: another one does what it does to other programs. */
static void count_signal(int number)
{
    signals = signals + 1;
    if (signals >= 2)
        signal(number, SIG_DFL);
}

volatile sig_atomic_t *program_listen(void)
{
    signal(SIGINT, count_signal);
    signal(SIGTERM, count_signal);
    return &signals;
}

static const struct {
    const char *name, *argument, *help;
    sp_status (*run)(const struct program *program, struct sp_error *err);
} commands[] = {
    {"show", "EXP", "the network layer by layer, the stages, what crosses each cut", program_show},
    {"schedule", "EXP", "instructions per device, staleness and memory by analysis alone", program_schedule},
    {"sim", "EXP", "simulate", program_sim},
    {"profile", "EXP", "measure the network's layers on this machine; write a cost file", program_profile},
    {"plan", "EXP", "search cuts, placement and schedule for an objective", program_plan},
    {"train", "EXP", "train for real", program_do_train},
    {"compare", "EXP", "simulate and train, side by side", program_compare},
    {"sweep", "EXP", "many variations of an experiment, simulated or for real, into one results.csv", program_sweep},
    {"data", "SET", "fetch a data set: fashion-mnist, mnist or cifar10", program_data},
    {"report", "DIR", "draw what a run left in its folder", program_report},
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static void print_help(FILE *out)
{
    fputs("stalepipe - pipelined training of convolutional networks, simulated and for real\n\n"
          "usage: stalepipe COMMAND EXPERIMENT.yaml [options]\n\ncommands:\n",
          out);
    for (int c = 0; c < COMMANDS; c++)
        fprintf(out, "  %-9s %-4s %s\n", commands[c].name, commands[c].argument, commands[c].help);
    fputs(
        "\noptions:\n"
        "  --set KEY=VALUE     override a key of the experiment, e.g. --set pipeline.cuts=[1,2]; any number\n"
        "  --json              one JSON object on stdout\n"
        "  -o PATH             the folder to write (default runs/NAME)\n"
        "  -q, -v              less, more on stderr\n"
        "  --resume            train: continue from the newest checkpoint in the run's folder\n"
        "  --baseline          train: also train sequentially on one device, for the speedup\n"
        "  --quick             profile: one round, without waiting for the machine to be quiet\n"
        "  --sim, --real       sweep: which engine, or both (default --sim)\n"
        "  --dry-run           sweep: list the points and how long they are predicted to train, run nothing\n"
        "  --retry             sweep: run points again that failed\n"
        "  --repeat N          sim, compare: N more runs with durations that vary, for 90 % intervals\n"
        "  --from PLACE        data: a folder or address to fetch from, instead of the official one\n"
        "  --format F          schedule: text, csv or picture (default text)\n"
        "  --minibatches N     schedule: how many to show (default 12)\n"
        "  -h, --help          this text, and every key of an experiment file\n\n"
        "environment:\n"
        "  WORLD_SIZE, RANK, MASTER_ADDR, MASTER_PORT  train: as one of several processes, with CUDA devices, each "
        "its\n"
        "                      part of them; set by torchrun (mpirun: OMPI_COMM_WORLD_SIZE and _RANK, or PMI_SIZE and\n"
        "                      PMI_RANK); both or neither of the first two\n"
        "                      [1, -, 127.0.0.1, 29500]\n\n"
        "exit status: 0 done; 1 it failed while running; 2 the experiment or the command line is wrong\n\n"
        "keys of an experiment file [default]:\n",
        out);
    char *keys = sp_experiment_help();
    fputs(keys, out);
    free(keys);
    fputs("\nsweep: {KEY: [VALUE, ...], ...} crosses the values of all keys, and with them\n"
          "  zip: {KEY: [..], ..}     lists that go together, as one axis; or a list of such\n"
          "  cases: [{KEY: VALUE}, ..]  one axis, each entry of which sets keys of its own\n"
          "  unless: {KEY: VALUE, ..} leaves out points that match all of it; or a list of such\n"
          "  only: {KEY: VALUE, ..}   keeps points that match; a value may be a list of values\n"
          "  repeat: N                real runs of each point, with train.seed, train.seed + 1, ... [1]\n"
          "  reference: {KEY: VALUE}  which points the others are compared with, in pairs of a repeat\n"
          "  pair: [KEY, ..]          what a pair has in common; else all but what the reference says\n"
          "  baseline: true           real runs train sequentially first, for their speedup [false]\n",
          out);
}

static sp_status wrong(struct sp_error *err, const char *format, const char *word)
{
    struct sp_mark mark = {.file = "command line"};
    char *text = sp_format("%s \"%s\"; see stalepipe --help", format, word);
    sp_status status = sp_reject(err, mark, "%s", text);
    free(text);
    return status;
}

/* The value of an option that needs one. */
static sp_status take_value(int argc, char **argv, int *at, const char **value, struct sp_error *err)
{
    if (*at + 1 >= argc)
        return wrong(err, "a value is missing after", argv[*at]);
    *value = argv[++*at];
    return SP_OK;
}

/* A whole number from low to high. */
static sp_status take_number(int argc, char **argv, int *at, int64_t low, int64_t high, int64_t *out,
                             struct sp_error *err)
{
    const char *option = argv[*at], *value = NULL;
    char *end;
    SP_TRY(take_value(argc, argv, at, &value, err));
    *out = strtoll(value, &end, 10);
    if (*end == '\0' && end != value && *out >= low && *out <= high)
        return SP_OK;
    char *text = sp_format("%s is a whole number from %lld to %lld, not", option, (long long)low, (long long)high);
    sp_status status = wrong(err, text, value);
    free(text);
    return status;
}

static sp_status parse_option(struct program *program, int argc, char **argv, int *at, struct sp_error *err)
{
    const char *word = argv[*at], *value = NULL;
    if (strcmp(word, "--json") == 0) {
        program->json = true;
    } else if (strcmp(word, "-q") == 0) {
        program->quiet = true;
    } else if (strcmp(word, "-v") == 0) {
        program->verbose = true;
    } else if (strcmp(word, "--resume") == 0) {
        program->resume = true;
    } else if (strcmp(word, "--baseline") == 0) {
        program->baseline = true;
    } else if (strcmp(word, "--sim") == 0) {
        program->sim = true;
    } else if (strcmp(word, "--real") == 0) {
        program->real = true;
    } else if (strcmp(word, "--dry-run") == 0) {
        program->dry_run = true;
    } else if (strcmp(word, "--retry") == 0) {
        program->retry = true;
    } else if (strcmp(word, "--quick") == 0) {
        program->quick = true;
    } else if (strcmp(word, "-o") == 0) {
        return take_value(argc, argv, at, &program->out, err);
    } else if (strcmp(word, "--from") == 0) {
        return take_value(argc, argv, at, &program->from, err);
    } else if (strcmp(word, "--format") == 0) {
        SP_TRY(take_value(argc, argv, at, &program->format, err));
        if (strcmp(program->format, "text") != 0 && strcmp(program->format, "csv") != 0 &&
            strcmp(program->format, "picture") != 0)
            return wrong(err, "--format is text, csv or picture, not", program->format);
    } else if (strcmp(word, "--minibatches") == 0) {
        return take_number(argc, argv, at, 1, 1000000, &program->minibatches, err);
    } else if (strcmp(word, "--repeat") == 0) {
        return take_number(argc, argv, at, 20, 1000000, &program->repeat, err);
    } else if (strcmp(word, "--set") == 0) {
        SP_TRY(take_value(argc, argv, at, &value, err));
        *(const char **)sp_grow((void **)&program->sets, program->set_count++, sizeof value) = value;
    } else {
        return wrong(err, "no option", word);
    }
    return SP_OK;
}

static sp_status parse(struct program *program, int argc, char **argv, struct sp_error *err)
{
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] == '-' && argv[i][1] != '\0')
            SP_TRY(parse_option(program, argc, argv, &i, err));
        else if (program->command == NULL)
            program->command = argv[i];
        else if (program->argument == NULL)
            program->argument = argv[i];
        else
            return wrong(err, "one experiment at a time; what is", argv[i]);
    }
    return SP_OK;
}

/* Whether a command is among those of a list, "sim, compare". */
static bool is_among(const char *command, const char *list)
{
    size_t length = strlen(command);
    for (const char *at = list; at != NULL; at = strchr(at, ',')) {
        at += strspn(at, ", ");
        if (strncmp(at, command, length) == 0 && (at[length] == ',' || at[length] == '\0'))
            return true;
    }
    return false;
}

/* An option that the command has no use for is a mistake of the user's. */
static sp_status check_options(const struct program *program, struct sp_error *err)
{
    const struct {
        const char *option, *commands;
        bool given;
    } options[] = {{"--set", "show, schedule, sim, profile, plan, train, compare, sweep", program->set_count > 0},
                   {"--json", "show, schedule, sim, plan, train, compare, sweep", program->json},
                   {"-o", "sim, profile, plan, train, compare, sweep, data", program->out != NULL},
                   {"--resume", "train", program->resume},
                   {"--baseline", "train", program->baseline},
                   {"--sim", "sweep", program->sim},
                   {"--real", "sweep", program->real},
                   {"--dry-run", "sweep", program->dry_run},
                   {"--retry", "sweep", program->retry},
                   {"--quick", "profile", program->quick},
                   {"--repeat", "sim, compare", program->repeat > 0},
                   {"--from", "data", program->from != NULL},
                   {"--format", "schedule", program->format != NULL},
                   {"--minibatches", "schedule", program->minibatches > 0}};
    for (size_t o = 0; o < sizeof options / sizeof *options; o++)
        if (options[o].given && !is_among(program->command, options[o].commands))
            return sp_reject(err, (struct sp_mark){.file = "command line"}, "%s goes with %s, not with %s",
                             options[o].option, options[o].commands, program->command);
    return SP_OK;
}

static sp_status dispatch(const struct program *program, struct sp_error *err)
{
    const char *names[COMMANDS];
    for (int c = 0; c < COMMANDS; c++) {
        names[c] = commands[c].name;
        if (strcmp(program->command, names[c]) != 0)
            continue;
        if (program->argument == NULL)
            return wrong(err, "an experiment file (folder, data set) is missing after", program->command);
        SP_TRY(check_options(program, err));
        return commands[c].run(program, err);
    }
    const char *near = sp_nearest(program->command, names, COMMANDS);
    if (near == NULL)
        return wrong(err, "no command", program->command);
    struct sp_mark mark = {.file = "command line"};
    return sp_reject(err, mark, "no command \"%s\"; did you mean \"%s\"?", program->command, near);
}

int main(int argc, char **argv)
{
    struct program program = {0};
    struct sp_error err = {0};
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "-h") == 0 || strcmp(argv[i], "--help") == 0) {
            print_help(stdout);
            return 0;
        }
    if (argc < 2) {
        print_help(stderr);
        return 2;
    }
    gsl_set_error_handler_off(); /* else odd input ends the program; fits look at what they are told */
    sp_status status = parse(&program, argc, argv, &err);
    if (status == SP_OK && program.command == NULL)
        status = wrong(&err, "a command is missing before", program.argument != NULL ? program.argument : "options");
    if (status == SP_OK)
        status = dispatch(&program, &err);
    if (status == SP_OK && fflush(stdout) != 0)
        status = SP_FAIL(&err, SP_E_IO, "cannot write to standard output");
    if (status != SP_OK && err.text != NULL)
        fprintf(stderr, "%s%s\n", sp_status_exit(status) == 1 ? "stalepipe: " : "", err.text);
    if (program.verbose && err.source != NULL)
        fprintf(stderr, "  (%s:%d, %s)\n", err.source, err.source_line, sp_status_text(err.status));
    sp_error_fini(&err);
    free(program.sets);
    return sp_status_exit(status);
}
