/*
 * options.h - the table of everything that an experiment file can say. Internal to the reading of experiments.
 */
#ifndef SP_OPTIONS_H
#define SP_OPTIONS_H

#include "common/experiment.h"
#include "common/yaml.h"

#include <stdio.h>

enum sp_option_type {
    SP_OPTION_INT,
    SP_OPTION_INT64,
    SP_OPTION_DOUBLE,
    SP_OPTION_BOOL,
    SP_OPTION_TEXT,
    SP_OPTION_OTHER
};

struct sp_option {
    const char *path; /* "train.batch"; no dot: a key of the root */
    enum sp_option_type type;
    size_t offset;        /* of the value in struct sp_experiment */
    double low, high;     /* numbers: inclusive */
    const char *words;    /* TEXT: what is allowed, separated by ", "; NULL: anything */
    const char *fallback; /* the default, as YAML; NULL: none */
    const char *help;
    /* OTHER: values with a shape of their own. `read` may be called twice (default, then the file's). `write` prints
     * flow style YAML on one line, and nothing at all when there is nothing to say. */
    sp_status (*read)(struct sp_experiment *experiment, const struct sp_yaml *value, struct sp_error *err);
    void (*write)(const struct sp_experiment *experiment, FILE *out);
};

extern const struct sp_option sp_options[];
extern const int sp_option_count;

/* The option of that path; -1: none. */
int sp_option_find(const char *path);

/* Reads one value into the experiment, or rejects it at its mark. */
sp_status sp_option_read(const struct sp_option *option, struct sp_experiment *experiment, const struct sp_yaml *value,
                         struct sp_error *err);

/* Prints an option's value as YAML; nothing when it has none. */
void sp_option_write(const struct sp_option *option, const struct sp_experiment *experiment, FILE *out);

/* Rejects `word` where only `words` (", "-separated) are legal, with the nearest of them. */
sp_status sp_reject_word(struct sp_error *err, struct sp_mark mark, const char *path, const char *word,
                         const char *words);

/* The readers and writers of the values with a shape of their own (common/option_values.c). */
sp_status sp_read_name(struct sp_experiment *, const struct sp_yaml *, struct sp_error *);
sp_status sp_read_network(struct sp_experiment *, const struct sp_yaml *, struct sp_error *);
sp_status sp_read_data_shape(struct sp_experiment *, const struct sp_yaml *, struct sp_error *);
sp_status sp_read_cuts(struct sp_experiment *, const struct sp_yaml *, struct sp_error *);
sp_status sp_read_schedule(struct sp_experiment *, const struct sp_yaml *, struct sp_error *);
sp_status sp_read_weights(struct sp_experiment *, const struct sp_yaml *, struct sp_error *);
sp_status sp_read_placement(struct sp_experiment *, const struct sp_yaml *, struct sp_error *);
sp_status sp_read_cost_stages(struct sp_experiment *, const struct sp_yaml *, struct sp_error *);
sp_status sp_read_cost_transfers(struct sp_experiment *, const struct sp_yaml *, struct sp_error *);
sp_status sp_read_lr_steps(struct sp_experiment *, const struct sp_yaml *, struct sp_error *);
sp_status sp_read_stage_lr(struct sp_experiment *, const struct sp_yaml *, struct sp_error *);
sp_status sp_read_phases(struct sp_experiment *, const struct sp_yaml *, struct sp_error *);
sp_status sp_read_sweep(struct sp_experiment *, const struct sp_yaml *, struct sp_error *);
void sp_write_name(const struct sp_experiment *, FILE *);
void sp_write_network(const struct sp_experiment *, FILE *);
void sp_write_data_shape(const struct sp_experiment *, FILE *);
void sp_write_cuts(const struct sp_experiment *, FILE *);
void sp_write_schedule(const struct sp_experiment *, FILE *);
void sp_write_weights(const struct sp_experiment *, FILE *);
void sp_write_placement(const struct sp_experiment *, FILE *);
void sp_write_cost_stages(const struct sp_experiment *, FILE *);
void sp_write_cost_transfers(const struct sp_experiment *, FILE *);
void sp_write_lr_steps(const struct sp_experiment *, FILE *);
void sp_write_stage_lr(const struct sp_experiment *, FILE *);
void sp_write_phases(const struct sp_experiment *, FILE *);
sp_status sp_read_published(struct sp_experiment *, const struct sp_yaml *, struct sp_error *);
void sp_write_published(const struct sp_experiment *, FILE *);
void sp_write_sweep(const struct sp_experiment *, FILE *);

void sp_phase_specs_free(struct sp_experiment *experiment);

#endif
