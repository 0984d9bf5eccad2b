#include "sim/queue.h"

#include "common/alloc.h"
#include "common/error.h"
#include "sim/clock.h"

#include <stdlib.h>
#include <string.h>

enum { CHILDREN = 4, FIRST_CAPACITY = 16 };
#define ID_MASK (((uint64_t)1 << SIM_QUEUE_ID_BITS) - 1)

void sim_queue_fini(struct sim_queue *queue)
{
    free(queue->entries);
    free(queue->place);
    memset(queue, 0, sizeof *queue);
}

/* Time above, order below: compared without jumps, which nobody could predict. */
static sim_long key(const struct sim_entry *entry)
{
    return entry->at * ((sim_long)1 << 64) + (sim_long)entry->order;
}

static bool before(const struct sim_entry *a, const struct sim_entry *b)
{
    return key(a) < key(b);
}

static int id_of(const struct sim_entry *entry)
{
    return (int)(entry->order & ID_MASK);
}

static void put(struct sim_queue *queue, int at, struct sim_entry entry)
{
    queue->entries[at] = entry;
    queue->place[id_of(&entry)] = at;
}

/* Puts `entry` where `hole` is, or above. */
static void rise(struct sim_queue *queue, int hole, struct sim_entry entry)
{
    while (hole > 0) {
        int parent = (hole - 1) / CHILDREN;
        if (!before(&entry, &queue->entries[parent]))
            break;
        put(queue, hole, queue->entries[parent]);
        hole = parent;
    }
    put(queue, hole, entry);
}

/* The earliest of a node's children, of which `first` exists. Of four by pairs, so that comparisons overlap. */
static int least_child(const struct sim_queue *queue, int first)
{
    const struct sim_entry *e = queue->entries;
    int least = first;
    if (first + CHILDREN <= queue->count) {
        int a = first + before(&e[first + 1], &e[first]), b = first + 2 + before(&e[first + 3], &e[first + 2]);
        return before(&e[b], &e[a]) ? b : a;
    }
    for (int child = first + 1; child < queue->count; child++)
        least = before(&e[child], &e[least]) ? child : least;
    return least;
}

/* Puts `entry` where `hole` is, or below. */
static void sink(struct sim_queue *queue, int hole, struct sim_entry entry)
{
    for (int first; (first = CHILDREN * hole + 1) < queue->count;) {
        int least = least_child(queue, first);
        if (!before(&queue->entries[least], &entry))
            break;
        put(queue, hole, queue->entries[least]);
        hole = least;
    }
    put(queue, hole, entry);
}

/* What was last in the heap takes the place of what was popped. */
static void close_hole(struct sim_queue *queue)
{
    queue->hole = false;
    struct sim_entry last = queue->entries[--queue->count];
    if (queue->count > 0)
        sink(queue, 0, last);
}

static void make_room(struct sim_queue *queue, int id)
{
    SP_ASSERT(id >= 0 && (uint64_t)id <= ID_MASK, "id %d in a queue", id);
    int capacity = queue->capacity > 0 ? queue->capacity : FIRST_CAPACITY;
    while (capacity <= id)
        capacity *= 2;
    queue->entries = sp_realloc(queue->entries, (size_t)capacity * sizeof *queue->entries);
    queue->place = sp_realloc(queue->place, (size_t)capacity * sizeof *queue->place);
    for (int i = queue->capacity; i < capacity; i++)
        queue->place[i] = -1;
    queue->capacity = capacity;
}

static int by_order(const void *a, const void *b)
{
    const struct sim_entry *x = a, *y = b;
    return before(x, y) ? -1 : before(y, x);
}

/* A copy of the entries in order. */
static struct sim_entry *sorted_entries(const struct sim_queue *queue, int *count)
{
    int from = queue->hole;
    *count = queue->count - from;
    struct sim_entry *entries = sp_alloc((size_t)*count * sizeof *entries + 1);
    if (*count > 0)
        memcpy(entries, queue->entries + from, (size_t)*count * sizeof *entries);
    qsort(entries, (size_t)*count, sizeof *entries, by_order);
    return entries;
}

/* Insertion numbers start again, long before they are too large. Sorted entries are a heap. */
static void renumber(struct sim_queue *queue)
{
    int count;
    struct sim_entry *entries = sorted_entries(queue, &count);
    queue->hole = false;
    queue->count = count;
    queue->pushed = 0;
    for (int e = 0; e < count; e++) {
        entries[e].order = queue->pushed++ << SIM_QUEUE_ID_BITS | (entries[e].order & ID_MASK);
        put(queue, e, entries[e]);
    }
    free(entries);
}

void sim_queue_push(struct sim_queue *queue, int64_t at, int id)
{
    if (id >= queue->capacity)
        make_room(queue, id);
    SP_ASSERT(queue->place[id] < 0, "id %d is in the queue already", id);
    if (queue->pushed > UINT64_MAX >> (SIM_QUEUE_ID_BITS + 1))
        renumber(queue);
    struct sim_entry entry = {at, queue->pushed++ << SIM_QUEUE_ID_BITS | (uint64_t)id};
    if (queue->hole) {
        queue->hole = false;
        sink(queue, 0, entry);
    } else {
        rise(queue, queue->count++, entry);
    }
}

void sim_queue_move(struct sim_queue *queue, int64_t at, int id)
{
    SP_ASSERT(id < queue->capacity && queue->place[id] >= 0, "id %d is not in the queue", id);
    if (queue->hole)
        close_hole(queue);
    int place = queue->place[id];
    struct sim_entry entry = queue->entries[place];
    bool earlier = at < entry.at;
    entry.at = at;
    if (earlier)
        rise(queue, place, entry);
    else
        sink(queue, place, entry);
}

bool sim_queue_pop(struct sim_queue *queue, struct sim_event *event)
{
    if (queue->hole)
        close_hole(queue);
    if (queue->count == 0)
        return false;
    *event = (struct sim_event){queue->entries[0].at, id_of(&queue->entries[0])};
    queue->place[event->id] = -1;
    queue->hole = true;
    return true;
}

int sim_queue_soon(const struct sim_queue *queue)
{
    int first = queue->hole;
    if (first >= queue->count)
        return -1;
    return id_of(&queue->entries[queue->hole ? least_child(queue, first) : first]);
}

struct sim_event *sim_queue_sorted(const struct sim_queue *queue, int *count)
{
    struct sim_entry *entries = sorted_entries(queue, count);
    struct sim_event *events = sp_alloc((size_t)*count * sizeof *events + 1);
    for (int e = 0; e < *count; e++)
        events[e] = (struct sim_event){entries[e].at, id_of(&entries[e])};
    free(entries);
    return events;
}

void sim_queue_shift(struct sim_queue *queue, int64_t by)
{
    for (int e = queue->hole; e < queue->count; e++)
        queue->entries[e].at += by;
}
