#include "sim/queue.h"

#include "common/alloc.h"

#include <stdlib.h>
#include <string.h>

void sim_queue_fini(struct sim_queue *queue)
{
    free(queue->events);
    memset(queue, 0, sizeof *queue);
}

static bool before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at < b->at || (a->at == b->at && a->number < b->number);
}

void sim_queue_push(struct sim_queue *queue, int64_t at, int device)
{
    struct sim_event event = {at, queue->pushed++, device};
    sp_grow((void **)&queue->events, queue->count, sizeof event);
    int hole = queue->count++;
    while (hole > 0 && before(&event, &queue->events[(hole - 1) / 2])) {
        queue->events[hole] = queue->events[(hole - 1) / 2];
        hole = (hole - 1) / 2;
    }
    queue->events[hole] = event;
}

bool sim_queue_pop(struct sim_queue *queue, struct sim_event *event)
{
    if (queue->count == 0)
        return false;
    *event = queue->events[0];
    struct sim_event last = queue->events[--queue->count];
    int hole = 0, child;
    while ((child = 2 * hole + 1) < queue->count) {
        if (child + 1 < queue->count && before(&queue->events[child + 1], &queue->events[child]))
            child++;
        if (!before(&queue->events[child], &last))
            break;
        queue->events[hole] = queue->events[child];
        hole = child;
    }
    queue->events[hole] = last;
    return true;
}
