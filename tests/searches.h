/*
 * searches.h - tests of the planner: files of their own, searches by --set words, and a plan simulated by itself.
 */
#ifndef TESTS_SEARCHES_H
#define TESTS_SEARCHES_H

#include "sim/planner.h"

/* A folder of its own for a network's file and a device's: 1e6 bytes a second, and computation that takes no time
 * beside what an imported network says. */
struct place {
    char folder[64];
    char *network, *device;
    char *network_set, *device_set; /* "network={profile: …}", "cost.device=…" */
};
void place_init(struct place *place, const char *suffix);
void place_fini(struct place *place);
void place_write(const char *path, const char *text);
void place_write_device(const struct place *place, double link_bytes_per_s, bool shared);
/* A line of layers with random times and sizes. */
void place_write_chain(const struct place *place, int layers);

/* Memory in plain float32. */
extern const struct sim_memory_model plain;

/* What came of a search by an experiment "name: p" with --set words. */
struct search {
    sp_status status;
    struct sim_search found;
    struct sp_network *network;
    struct sp_error err;
};
void search_by(const struct sim_memory_model *memory, const char *const *sets, int count, struct search *out);
void search_plain(const char *const *sets, int count, struct search *out);
/* The same, and fails the test where nothing is found. */
void search_well(const char *const *sets, int count, struct search *out);
void search_fini(struct search *search);

/* The least bytes of a device that a search which found nothing told of. */
double search_least_bytes(const struct search *search);

/* Given cuts under --set words, simulated for so many minibatches. */
struct trial {
    double time_s, bottleneck_s, bytes; /* bytes: of the fullest device */
};
struct trial trial_of(const char *const *sets, int count, const struct sp_network *network, const char *cuts,
                      int64_t minibatches);
/* Seconds of a minibatch in the steady state, and the bytes. */
struct trial trial_steady(const char *const *sets, int count, const struct sp_network *network, const char *cuts);

/* "pipeline.cuts=[…]"; the caller frees. */
char *cuts_of(const int *cuts, int count);

/* The cuts whose bits are set: bit c - 1 is a cut after layer c. How many; at most 32. */
int cuts_of_mask(int mask, int layers, int *cuts);

#endif
