/*
 * queue.h - events in order of (time, insertion number), at most one for each of the things that have them.
 *
 * A heap of four children a node. Events of one time come out as they went in, whatever else is in the queue.
 */
#ifndef SIM_QUEUE_H
#define SIM_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

struct sim_event {
    int64_t at;
    int id;
};

/* The insertion number above, the id below: one comparison for both, and four events in a cache line. */
struct sim_entry {
    int64_t at;
    uint64_t order;
};
enum { SIM_QUEUE_ID_BITS = 24 };

struct sim_queue {
    struct sim_entry *entries;
    int *place;   /* [id] in entries; -1: not there */
    int count;    /* of entries */
    int capacity; /* of ids, and so of entries */
    uint64_t pushed;
    bool hole; /* entries[0] was popped and nothing has taken its place yet; it counts */
};

/* A zeroed struct is an empty queue. Ids are below 2^24. */
void sim_queue_fini(struct sim_queue *queue);

/* `id` must not be in the queue. */
void sim_queue_push(struct sim_queue *queue, int64_t at, int id);

/* Changes when the event of `id`, which is in the queue, comes; among equals it keeps its number. */
void sim_queue_move(struct sim_queue *queue, int64_t at, int id);

/* False when empty. */
bool sim_queue_pop(struct sim_queue *queue, struct sim_event *event);

/* Whose event is next after the one just popped, if nothing earlier comes in; -1: nobody's. */
int sim_queue_soon(const struct sim_queue *queue);

/* All that is in the queue, in order, without taking it out; the caller frees. */
struct sim_event *sim_queue_sorted(const struct sim_queue *queue, int *count);

/* Adds to all times. */
void sim_queue_shift(struct sim_queue *queue, int64_t by);

#endif
