#include "sim/partition.h"
#include "common/alloc.h"

#include <math.h>
#include <stdlib.h>

enum { MOST_NODES = 20000 };

/* Sums in another order differ in their last digits; they count as equal. */
static const double ROUNDING = 1e-12;

struct sim_rest {
    const struct sim_partition_problem *problem;
    int stage_count;
    double *worst; /* [left * state_count + state]: bottleneck of the best way to cut the rest into `left` stages */
    double *bus;   /* the same of the least sum over the bus; NULL: there is none */
};

/* The beginning of partitions: some stages, up to a state. */
struct node {
    double bound;    /* of all partitions that begin so and have not been reached through its children yet */
    double done;     /* children up to this bound exist already */
    double worst;    /* of its own stages and cuts */
    double bus;      /* sum over its cuts */
    double squares;  /* sum of its stages' squared times */
    double estimate; /* of that sum in the end, were the rest even */
    int state, left, parent;
};

struct sim_cuts {
    const struct sim_rest *rest;
    int stages;
    struct node *nodes;
    int node_count;
    int *heap, heap_count; /* of nodes */
};

static bool contains(const struct sim_partition_problem *p, int large, int small)
{
    if (p->sets == NULL)
        return small < large;
    const uint64_t *l = p->sets + (int64_t)large * p->words, *s = p->sets + (int64_t)small * p->words;
    for (int w = 0; w < p->words; w++)
        if ((s[w] & ~l[w]) != 0)
            return false;
    return small != large;
}

static bool is_last(const struct sim_partition_problem *p, int state)
{
    return state == p->state_count - 1;
}

/* Seconds of the busiest device of the stage between two states, alone. */
static double busy_s(const struct sim_partition_problem *p, int from, int to)
{
    double forward = p->forward_s[to] - p->forward_s[from] + p->forward_stage_s;
    double backward = p->backward_s[to] - p->backward_s[from] + p->backward_stage_s;
    double blocked = p->block_s != NULL ? (from > 0 ? p->block_s[from] : 0) + (is_last(p, to) ? 0 : p->block_s[to]) : 0;
    return blocked + (p->split && !is_last(p, to) ? fmax(forward, backward) : forward + backward);
}

/* Forward and backward of all that lies in the state, without updates. */
static double passes_s(const struct sim_partition_problem *p, int state)
{
    return p->forward_s[state] + p->backward_s[state] - (p->update_s != NULL ? p->update_s[state] : 0);
}

/* Its own work, or what it waits for as well: its update may keep nobody else, except that the first stage's begins the
 * next minibatch. */
static double stage_s(const struct sim_partition_problem *p, int from, int to)
{
    double busy = busy_s(p, from, to);
    if (p->waits_before <= 0 && p->waits_behind <= 0)
        return busy;
    double update = p->update_s != NULL ? p->update_s[to] - p->update_s[from] + p->update_stage_s : 0;
    double waits =
        p->waits_before * passes_s(p, from) + p->waits_behind * (passes_s(p, p->state_count - 1) - passes_s(p, to));
    return fmax(busy, busy - (from > 0 ? p->spared_updates * update : 0) + waits);
}

/* What the stage between two states needs at least; INFINITY: it is not allowed. `left`: stages from this one on. */
static double need(const struct sim_rest *rest, int from, int to, int left)
{
    const struct sim_partition_problem *p = rest->problem;
    int stage = rest->stage_count - left;
    if (p->by_memory)
        return sim_partition_bytes(p, from, to, stage);
    if (p->memory != NULL && sim_partition_bytes(p, from, to, stage) > p->memory_limit)
        return INFINITY;
    if (p->parameters != NULL && stage == p->stale_stages - 1 && p->parameters[to] > p->stale_limit)
        return INFINITY;
    return stage_s(p, from, to);
}

static double link_of(const struct sim_partition_problem *p, int state)
{
    return p->by_memory || is_last(p, state) ? 0 : p->link_s[state];
}

/* Whether a stage needs no less the later it ends. */
static bool grows(const struct sim_partition_problem *p)
{
    return p->sets == NULL && p->block_s == NULL && !(p->split && p->waits_behind > 0);
}

static int64_t cell(const struct sim_rest *rest, int left, int state)
{
    return (int64_t)left * rest->problem->state_count + state;
}

/* The bottleneck of the rest, should its first stage end there. */
static double with_end(const struct sim_rest *rest, int left, int from, int to)
{
    const struct sim_partition_problem *p = rest->problem;
    if (!contains(p, to, from))
        return INFINITY;
    return fmax(fmax(need(rest, from, to, left), link_of(p, to)), rest->worst[cell(rest, left - 1, to)]);
}

static double bus_of(const struct sim_partition_problem *p, int state)
{
    return p->bus_s != NULL && !is_last(p, state) ? p->bus_s[state] : 0;
}

/*
 * Where a stage only needs more as it ends later, the search ends when it alone needs more than the best. `guess`, in
 * and out: an end of the stage that was good for its neighbour; once it is known what is good, little else is looked
 * at.
 */
static void fill_cell(struct sim_rest *rest, int left, int from, int *guess)
{
    const struct sim_partition_problem *p = rest->problem;
    double bus = INFINITY;
    int first = left == 1 ? p->state_count - 1 : from + 1;
    double worst = *guess > first ? with_end(rest, left, from, *guess) : INFINITY;
    for (int to = first; to < p->state_count; to++) {
        int64_t behind = cell(rest, left - 1, to);
        if (rest->worst[behind] == INFINITY || (rest->bus == NULL && rest->worst[behind] >= worst) ||
            !contains(p, to, from))
            continue;
        double needed = need(rest, from, to, left), all = fmax(fmax(needed, link_of(p, to)), rest->worst[behind]);
        if (grows(p) && (needed == INFINITY || (rest->bus == NULL && needed > worst)))
            break;
        if (all < worst) {
            worst = all;
            *guess = to;
        }
        if (rest->bus != NULL && needed < INFINITY)
            bus = fmin(bus, bus_of(p, to) + rest->bus[behind]);
    }
    rest->worst[cell(rest, left, from)] = worst;
    if (rest->bus != NULL)
        rest->bus[cell(rest, left, from)] = bus;
}

struct sim_rest *sim_rest_create(const struct sim_partition_problem *problem, int stage_count)
{
    struct sim_rest *rest = sp_calloc(1, sizeof *rest);
    size_t cells = (size_t)(stage_count + 1) * (size_t)problem->state_count;
    rest->problem = problem;
    rest->stage_count = stage_count;
    rest->worst = sp_calloc(cells, sizeof *rest->worst);
    rest->bus = problem->bus_s != NULL && !problem->by_memory ? sp_calloc(cells, sizeof *rest->bus) : NULL;
    for (int s = 0; s + 1 < problem->state_count; s++) {
        rest->worst[s] = INFINITY; /* no stage left, but layers */
        if (rest->bus != NULL)
            rest->bus[s] = INFINITY;
    }
    for (int left = 1; left <= stage_count; left++) {
        rest->worst[cell(rest, left, problem->state_count - 1)] = INFINITY; /* stages left, but no layer */
        int guess = 0;
        for (int from = problem->state_count - 2; from >= 0; from--)
            fill_cell(rest, left, from, &guess);
    }
    return rest;
}

void sim_rest_destroy(struct sim_rest **rest)
{
    if (*rest == NULL)
        return;
    free((*rest)->worst);
    free((*rest)->bus);
    free(*rest);
    *rest = NULL;
}

/* Smaller bounds first; of equal ones those that are nearly complete, so that one is completed soon; then even ones. */
static bool before(const struct sim_cuts *cuts, int a, int b)
{
    const struct node *x = &cuts->nodes[a], *y = &cuts->nodes[b];
    if (x->bound != y->bound)
        return x->bound < y->bound;
    if (x->left != y->left)
        return x->left < y->left;
    if (x->estimate != y->estimate)
        return x->estimate < y->estimate;
    return a < b;
}

static void push(struct sim_cuts *cuts, int node)
{
    *(int *)sp_grow((void **)&cuts->heap, cuts->heap_count, sizeof(int)) = node;
    int at = cuts->heap_count++;
    for (; at > 0 && before(cuts, node, cuts->heap[(at - 1) / 2]); at = (at - 1) / 2)
        cuts->heap[at] = cuts->heap[(at - 1) / 2];
    cuts->heap[at] = node;
}

static int pop(struct sim_cuts *cuts)
{
    int first = cuts->heap[0], last = cuts->heap[--cuts->heap_count], at = 0;
    for (int child; (child = 2 * at + 1) < cuts->heap_count; at = child) {
        if (child + 1 < cuts->heap_count && before(cuts, cuts->heap[child + 1], cuts->heap[child]))
            child++;
        if (!before(cuts, cuts->heap[child], last))
            break;
        cuts->heap[at] = cuts->heap[child];
    }
    cuts->heap[at] = last;
    return first;
}

static int add_node(struct sim_cuts *cuts, struct node node)
{
    *(struct node *)sp_grow((void **)&cuts->nodes, cuts->node_count, sizeof node) = node;
    return cuts->node_count++;
}

struct sim_cuts *sim_cuts_create(const struct sim_rest *rest, int stages)
{
    struct sim_cuts *cuts = sp_calloc(1, sizeof *cuts);
    int64_t all = cell(rest, stages, 0);
    double bound = fmax(rest->worst[all], rest->bus != NULL ? rest->bus[all] : 0);
    cuts->rest = rest;
    cuts->stages = stages;
    if (bound < INFINITY)
        push(cuts, add_node(cuts, (struct node){.bound = bound, .done = -1, .left = stages, .parent = -1}));
    return cuts;
}

void sim_cuts_destroy(struct sim_cuts **cuts)
{
    if (*cuts == NULL)
        return;
    free((*cuts)->nodes);
    free((*cuts)->heap);
    free(*cuts);
    *cuts = NULL;
}

double sim_cuts_bound(const struct sim_cuts *cuts)
{
    return cuts->heap_count > 0 ? cuts->nodes[cuts->heap[0]].bound : INFINITY;
}

/* The node and one more stage, up to state `to`. Its bound is at least the node's, rounding aside. */
static struct node extended(const struct sim_cuts *cuts, int parent, int to)
{
    const struct sim_rest *rest = cuts->rest;
    const struct sim_partition_problem *p = rest->problem;
    const struct node *node = &cuts->nodes[parent];
    int64_t behind = cell(rest, node->left - 1, to);
    double busy = busy_s(p, node->state, to), ahead = passes_s(p, p->state_count - 1) - passes_s(p, to);
    struct node child = {.done = -1,
                         .worst = fmax(node->worst, fmax(need(rest, node->state, to, node->left), link_of(p, to))),
                         .bus = node->bus + bus_of(p, to),
                         .squares = node->squares + busy * busy,
                         .state = to,
                         .left = node->left - 1,
                         .parent = parent};
    child.estimate = child.squares + (child.left > 0 ? ahead * ahead / child.left : 0);
    child.bound = fmax(child.worst, rest->worst[behind]);
    if (rest->bus != NULL && child.bus + rest->bus[behind] > child.bound * (1 + ROUNDING))
        child.bound = child.bus + rest->bus[behind];
    return child;
}

/* Makes those children whose bound is the node's, and puts it back for the others. */
static void expand(struct sim_cuts *cuts, int parent)
{
    const struct sim_partition_problem *p = cuts->rest->problem;
    struct node node = cuts->nodes[parent];
    double now = node.bound * (1 + ROUNDING), next = INFINITY;
    for (int to = node.left == 1 ? p->state_count - 1 : node.state + 1; to < p->state_count; to++) {
        if (cuts->rest->worst[cell(cuts->rest, node.left - 1, to)] == INFINITY || !contains(p, to, node.state))
            continue;
        struct node child = extended(cuts, parent, to);
        if (child.bound <= node.done || child.bound == INFINITY)
            continue;
        if (child.bound > now) {
            next = fmin(next, child.bound);
            continue;
        }
        child.bound = fmax(child.bound, node.bound);
        push(cuts, add_node(cuts, child));
    }
    if (next < INFINITY) {
        cuts->nodes[parent].done = now;
        cuts->nodes[parent].bound = next;
        push(cuts, parent);
    }
}

bool sim_cuts_next(struct sim_cuts *cuts, int *states, double *bottleneck)
{
    while (cuts->heap_count > 0 && cuts->node_count < MOST_NODES) {
        int at = pop(cuts);
        if (cuts->nodes[at].left > 0) {
            expand(cuts, at);
            continue;
        }
        *bottleneck = cuts->nodes[at].bound;
        int cut = cuts->stages - 2;
        for (int n = cuts->nodes[at].parent; cut >= 0; n = cuts->nodes[n].parent)
            states[cut--] = cuts->nodes[n].state;
        return true;
    }
    return false;
}
