/*
 * queue.h - events in order of (time, insertion number).
 *
 * A binary heap. Events of one time come out as they went in, whatever else is in the queue.
 */
#ifndef SIM_QUEUE_H
#define SIM_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

struct sim_event {
    int64_t at;
    uint64_t number; /* of insertion */
    int device;
};

struct sim_queue {
    struct sim_event *events;
    int count;
    uint64_t pushed;
};

/* A zeroed struct is an empty queue. */
void sim_queue_fini(struct sim_queue *queue);
void sim_queue_push(struct sim_queue *queue, int64_t at, int device);

/* False when empty. */
bool sim_queue_pop(struct sim_queue *queue, struct sim_event *event);

#endif
