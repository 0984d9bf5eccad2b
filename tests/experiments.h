/*
 * experiments.h - experiments from text in tests, and their networks and plans.
 */
#ifndef TESTS_EXPERIMENTS_H
#define TESTS_EXPERIMENTS_H

#include "common/experiment.h"

/* The file that they are written to, in the suite's folder (tests/folder.h), and that messages name. */
const char *experiment_path(void);

/* NULL where it is wrong, and then there are messages. */
struct sp_experiment *experiment_read(const char *text, const char *const *sets, int set_count, struct sp_error *err);

/* Reads what must be right. */
struct sp_experiment *experiment_right(const char *text);

/* A network and a plan of it; messages of all of them in `err`. The plan is NULL when anything was wrong. */
struct built {
    struct sp_experiment *experiment;
    struct sp_network *network;
    struct sp_plan *plan;
};
void built_init(const char *text, enum sp_plan_use use, struct built *built, struct sp_error *err);
struct built built_right(const char *text, enum sp_plan_use use);
void built_fini(struct built *built);

#endif
