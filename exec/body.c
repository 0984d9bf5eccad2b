#include "exec/body.h"
#include "common/alloc.h"
#include "exec/flow.h"

#include <stdlib.h>
#include <string.h>

const char *const exec_graphs_names[] = {"auto", "on", "off", NULL};

/*
 * When graphs are `auto`: steps in a row that are worth one, at least. To launch a graph costs the host about what one
 * launch costs, whatever its length; to make one costs some hundred launches, once. Shorter rows save too little to be
 * worth their memory in the driver. The figure is an estimate: it has not been measured on a GPU.
 */
enum { WORTH_STEPS = 8 };

/* Rows of steps kept for each phase, stage and pass. */
enum { KEPT = 128 };

struct step {
    int layer; /* -1: a sum */
    enum sp_pass pass;
    struct exec_io io;
    struct exec_sum sum;
};

/* Steps in a row that were given before. */
struct row {
    uint64_t hash;
    void *graph; /* NULL: given once */
    struct step *steps;
    int count;
};

/* The rows of one pass of a stage in a phase. */
struct table {
    struct row *rows;
    int count;
    bool closed; /* nothing is captured any more */
};

struct exec_body {
    struct step *steps; /* [room] */
    int count, room;
    void *model;
    struct table *table;
    struct exec_graph_count counted; /* its `why` is owned */
};

struct exec_bodies {
    struct exec_body *bodies; /* [device] */
    struct table *tables;     /* [(phase * stages + stage) * SP_PASS_COUNT + pass] */
    int least, kept;
};

static int table_count(const struct exec_run *run)
{
    return run->plan->phase_count * run->plan->stage_count * SP_PASS_COUNT;
}

sp_status exec_bodies_create(struct exec_run *run, struct sp_error *err)
{
    (void)err;
    bool on = run->config.graphs == EXEC_GRAPHS_ON;
    if (!on && exec_team_size(run->team) > 1)
        return SP_OK;
    if (run->config.graphs == EXEC_GRAPHS_OFF || run->flow->async->capture_begin == NULL || run->layers != NULL)
        return SP_OK;
    struct exec_bodies *bodies = run->flow->bodies = sp_calloc(1, sizeof *bodies);
    bodies->least = on ? 1 : WORTH_STEPS;
    bodies->kept = run->config.graphs_kept > 0 ? run->config.graphs_kept : KEPT;
    bodies->bodies = sp_calloc((size_t)run->plan->device_count, sizeof *bodies->bodies);
    for (int d = 0; d < run->plan->device_count; d++) { /* a layer's pass, two sums of tensors, one of parameters */
        bodies->bodies[d].room = 4 * run->plan->network->layer_count;
        bodies->bodies[d].steps = sp_calloc((size_t)bodies->bodies[d].room, sizeof(struct step));
    }
    bodies->tables = sp_calloc((size_t)table_count(run), sizeof *bodies->tables);
    for (int t = 0; t < table_count(run); t++)
        bodies->tables[t].rows = sp_calloc((size_t)bodies->kept, sizeof *bodies->tables[t].rows);
    return SP_OK;
}

void exec_bodies_destroy(struct exec_run *run)
{
    struct exec_bodies *bodies = run->flow->bodies;
    if (bodies == NULL)
        return;
    for (int t = 0; t < table_count(run); t++) {
        for (int r = 0; r < bodies->tables[t].count; r++) {
            run->flow->async->graph_destroy(&bodies->tables[t].rows[r].graph);
            free(bodies->tables[t].rows[r].steps);
        }
        free(bodies->tables[t].rows);
    }
    for (int d = 0; d < run->plan->device_count; d++) {
        free(bodies->bodies[d].steps);
        free(bodies->bodies[d].counted.why);
    }
    free(bodies->tables);
    free(bodies->bodies);
    free(bodies);
    run->flow->bodies = NULL;
}

void exec_bodies_count(const struct exec_run *run, struct exec_graph_count *count)
{
    *count = (struct exec_graph_count){0};
    for (int d = 0; run->flow != NULL && run->flow->bodies != NULL && d < run->plan->device_count; d++) {
        const struct exec_graph_count *one = &run->flow->bodies->bodies[d].counted;
        count->captured += one->captured;
        count->replayed += one->replayed;
        count->refused += one->refused;
        count->why = count->why != NULL ? count->why : one->why;
    }
}

struct exec_body *exec_body_begin(struct exec_run *run, int device, const struct sp_instr *instr, enum sp_pass pass)
{
    if (run->flow == NULL || run->flow->bodies == NULL)
        return NULL;
    struct exec_body *body = &run->flow->bodies->bodies[device];
    int at = instr->phase * run->plan->stage_count + instr->stage;
    body->count = 0;
    body->model = run->models[instr->phase];
    body->table = &run->flow->bodies->tables[at * SP_PASS_COUNT + (int)pass];
    return body;
}

/* The next step, all of it zero, padding too: steps are compared as bytes. */
static struct step *next_step(struct exec_body *body)
{
    SP_ASSERT(body->count < body->room, "a body of %d steps", body->count + 1);
    struct step *step = &body->steps[body->count++];
    memset(step, 0, sizeof *step);
    return step;
}

sp_status exec_body_run(struct exec_run *run, struct exec_body *body, void *model, int layer, enum sp_pass pass,
                        const struct exec_io *io, struct sp_error *err)
{
    if (body == NULL)
        return run->backend->run(model, layer, pass, io, err);
    struct step *step = next_step(body);
    step->layer = layer;
    step->pass = pass;
    memcpy(&step->io, io, sizeof *io);
    return SP_OK;
}

sp_status exec_body_add(struct exec_run *run, struct exec_body *body, void *model, const struct exec_sum *sum,
                        struct sp_error *err)
{
    if (body == NULL)
        return run->backend->add(model, sum->queue, sum->tensor, sum->bytes, sum->sum, sum->addend, err);
    struct step *step = next_step(body);
    step->layer = -1;
    step->sum.queue = sum->queue;
    step->sum.tensor = sum->tensor;
    step->sum.bytes = sum->bytes;
    step->sum.sum = sum->sum;
    step->sum.addend = sum->addend;
    return SP_OK;
}

/* Gives steps one by one. */
static sp_status give(struct exec_run *run, const struct exec_body *body, const struct step *steps, int count,
                      struct sp_error *err)
{
    for (int s = 0; s < count; s++) {
        const struct step *step = &steps[s];
        const struct exec_sum *sum = &step->sum;
        if (step->layer < 0)
            SP_TRY(run->backend->add(body->model, sum->queue, sum->tensor, sum->bytes, sum->sum, sum->addend, err));
        else
            SP_TRY(run->backend->run(body->model, step->layer, step->pass, &step->io, err));
    }
    return SP_OK;
}

static void *queue_of(const struct step *step)
{
    return step->layer < 0 ? step->sum.queue : step->io.queue;
}

/* FNV-1a over words. */
static uint64_t hash_of(const struct step *steps, int count)
{
    uint64_t hash = 14695981039346656037u, word;
    const char *bytes = (const char *)steps;
    _Static_assert(sizeof(struct step) % sizeof word == 0, "a step is whole words");
    for (size_t at = 0; at < (size_t)count * sizeof *steps; at += sizeof word) {
        memcpy(&word, bytes + at, sizeof word);
        hash = (hash ^ word) * 1099511628211u;
    }
    return hash;
}

static bool is_same(const struct row *row, const struct step *steps, int count)
{
    return row->count == count && memcmp(row->steps, steps, (size_t)count * sizeof *steps) == 0;
}

/* The row of these steps; a new one where there is room, NULL where there is none. *again: they were given before. */
static struct row *find_row(const struct exec_bodies *bodies, struct table *table, const struct step *steps, int count,
                            bool *again)
{
    uint64_t hash = hash_of(steps, count);
    *again = false;
    for (int r = 0; r < table->count; r++) {
        *again = table->rows[r].hash == hash && is_same(&table->rows[r], steps, count);
        if (*again)
            return &table->rows[r];
    }
    if (table->closed || table->count == bodies->kept)
        return NULL;
    struct row *row = &table->rows[table->count++];
    row->hash = hash;
    row->count = count;
    row->steps = sp_alloc((size_t)count * sizeof *steps);
    memcpy(row->steps, steps, (size_t)count * sizeof *steps);
    return row;
}

static void refuse(struct exec_body *body, const struct sp_error *why)
{
    body->table->closed = true;
    body->counted.refused++;
    if (body->counted.why == NULL)
        body->counted.why = sp_strdup(why->text);
}

/* Makes the row's graph. Where that fails the pass does without graphs from then on; what is wrong with the device
 * itself will be told by the steps. */
static void capture(struct exec_run *run, struct exec_body *body, struct row *row)
{
    const struct exec_async *async = run->flow->async;
    void *queue = queue_of(row->steps);
    struct sp_error why = {0}, at_end = {0};
    sp_status status = async->capture_begin(queue, &why);
    if (status == SP_OK) {
        status = give(run, body, row->steps, row->count, &why);
        sp_status ended = async->capture_end(queue, &row->graph, &at_end);
        if (status != SP_OK)
            async->graph_destroy(&row->graph);
        else if (ended != SP_OK)
            status = SP_FAIL(&why, ended, "%s", at_end.text);
    }
    if (status != SP_OK)
        refuse(body, &why);
    else
        body->counted.captured++;
    sp_error_fini(&why);
    sp_error_fini(&at_end);
}

/* Steps in a row, as a graph if they were given before. */
static sp_status give_row(struct exec_run *run, struct exec_body *body, const struct step *steps, int count,
                          struct sp_error *err)
{
    const struct exec_bodies *bodies = run->flow->bodies;
    bool again = false;
    struct row *row = count < bodies->least ? NULL : find_row(bodies, body->table, steps, count, &again);
    if (again && row->graph == NULL && !body->table->closed)
        capture(run, body, row);
    if (row == NULL || row->graph == NULL)
        return give(run, body, steps, count, err);
    body->counted.replayed++;
    return run->flow->async->replay(queue_of(steps), row->graph, err);
}

/* Whether a step differs each time. */
static bool draws(const struct step *step)
{
    return step->layer >= 0 && step->io.sequence != 0;
}

sp_status exec_body_end(struct exec_run *run, struct exec_body *body, struct sp_error *err)
{
    int from = 0;
    for (int s = 0; body != NULL && s < body->count; s++) {
        if (!draws(&body->steps[s]))
            continue;
        SP_TRY(give_row(run, body, &body->steps[from], s - from, err));
        SP_TRY(give(run, body, &body->steps[s], 1, err));
        from = s + 1;
    }
    return body == NULL ? SP_OK : give_row(run, body, &body->steps[from], body->count - from, err);
}
