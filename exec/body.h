/*
 * body.h - what one F, B or evaluation gives to its device: its steps, which are passes of layers and sums of
 * gradients. Internal to exec/.
 *
 * Without graphs a step is given to the device when it is added. With them the steps are gathered, and at the end of
 * the body those that were given before go as one graph, in one launch. "The same" means every byte of every step, and
 * a step holds all that decides what it does: addresses of slots, versions of weights, staging entries, sizes. So a
 * graph needs no knowledge of schedules, and can be wrong about none; the memory plan makes addresses come again after
 * some minibatches. What differs each time stays outside: dropout that draws is given by itself, between two graphs;
 * updates (one launch, with the learning rate of the minibatch), copies, events and scores are no part of a body.
 *
 * The first time steps are just given, and remembered; the second time they are captured; from then on replayed. So
 * what a library does once (load a kernel) is done before the capture, and what never comes again costs no graph. After
 * two rounds of all addresses nothing is captured any more. A run of steps is kept until the end, up to a bound for
 * each stage and kind of pass; what is beyond the bound, or what cannot be captured, is given step by step as without
 * graphs.
 *
 * Times do not depend on it: they are read from events before and behind the body. Where single layers are timed there
 * are no graphs. With several processes there are none unless the experiment says `on`: to make one may wait for the
 * device, whose messages wait for the other process, which may wait for its own device likewise.
 */
#ifndef EXEC_BODY_H
#define EXEC_BODY_H

#include "exec/run.h"

struct exec_body;

/* All bodies' graphs. None where the experiment or the backend does without, or layers are timed. */
sp_status exec_bodies_create(struct exec_run *run, struct sp_error *err);
void exec_bodies_destroy(struct exec_run *run);
void exec_bodies_count(const struct exec_run *run, struct exec_graph_count *count);

/* Begins the body of an instruction's pass on `device`, by the device's thread; NULL: steps are given at once. */
struct exec_body *exec_body_begin(struct exec_run *run, int device, const struct sp_instr *instr, enum sp_pass pass);

/* A layer's pass; and sum += addend over a tensor, or over `bytes` of parameters when tensor < 0. */
sp_status exec_body_run(struct exec_run *run, struct exec_body *body, void *model, int layer, enum sp_pass pass,
                        const struct exec_io *io, struct sp_error *err);
struct exec_sum {
    void *queue;
    int tensor;
    size_t bytes;
    void *sum;
    const void *addend;
};
sp_status exec_body_add(struct exec_run *run, struct exec_body *body, void *model, const struct exec_sum *sum,
                        struct sp_error *err);

sp_status exec_body_end(struct exec_run *run, struct exec_body *body, struct sp_error *err);

#endif
