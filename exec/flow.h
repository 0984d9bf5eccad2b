/*
 * flow.h - devices that compute behind queues: who waits for what, and what the host learns afterwards. Internal to
 * exec/.
 *
 * A worker goes through its device's instructions and only enqueues. A stage has a compute queue on each of its
 * devices; a device does one instruction after the other, whatever stage it is of, for the stages share its scratch. A
 * channel has a queue of its own for copies out of its sender (and one for copies into its receiver where memory of the
 * host lies between), and an event for each message that may be under way. What comes from the loader goes through a
 * queue and a ring of two staging entries.
 *
 * Who may overwrite what follows from the plan, as it does where workers compute themselves: the sender's slot is free
 * again when B is done, B waits for the gradient, the gradient was sent when the receiver was through with its copy.
 * Only four things need a wait of their own: an update waits until weights sent before it have left; copies out wait
 * for the instruction they carry away, copies in until the message is in host memory; a staging entry waits for its
 * last use.
 *
 * Timing: each instruction lies between two events. They are read when they have come, mostly much later, and become
 * spans on the run's clock: seconds after an anchor that was recorded while the device stood still. It is set again
 * whenever a device is drained, for clocks drift; and every few seconds the end of what was read last becomes the
 * anchor, for what lies between two events is told in floats, and a long time leaves no room for microseconds.
 *
 * Everything does nothing, or gives NULL, where run->flow is NULL.
 */
#ifndef EXEC_FLOW_H
#define EXEC_FLOW_H

#include "exec/run.h"

enum { EXEC_FLOW_WINDOW = 128 }; /* instructions of a device that may be under way */

enum exec_flow_kind {
    EXEC_FLOW_STEP,   /* F, B, U, evaluation */
    EXEC_FLOW_WAITED, /* for a message */
    EXEC_FLOW_LOADED  /* for pixels or labels */
};

/* Something that a device has been given to do. */
struct exec_flow_entry {
    enum exec_flow_kind kind;
    struct sp_instr instr;
    void *start, *end; /* events; start: STEP only */
    bool scores;       /* the host finds in `scores` of the lane what the loss said */
    int marks;         /* layers of it that are timed */
};

/* The end of a layer's pass, where layers are timed. */
struct exec_flow_mark {
    void *event;
    int layer;
};

/* A device, of its worker's thread alone. */
struct exec_flow_lane {
    struct exec_flow_entry entries[EXEC_FLOW_WINDOW];
    int64_t given, told;          /* entries enqueued, and read */
    void *queue;                  /* in which the last entry is; NULL: none yet */
    struct exec_score *scores;    /* host memory, [EXEC_FLOW_WINDOW] */
    struct exec_flow_mark *marks; /* ring of mark_room; NULL: layers are not timed */
    int mark_room;
    int64_t marked, marks_told;
    void *anchor, *next_anchor; /* events; the anchor came at anchor_s of the run's clock */
    void *since;                /* event at since_s: the anchor or the last entry read; NULL: before the first */
    double since_s, anchor_s;
};

/* A part of a message that lies in host memory between two devices. */
struct exec_flow_part {
    void *to;
    size_t offset, bytes;
};

/* A message's copies on their way, timed: out of the sender, and where host memory lies between, into the receiver. */
struct exec_flow_transfer {
    void *begun, *left, *entered, *arrived; /* events; the last two NULL where the devices reach each other */
    void *anchor;                           /* the lane's when it was sent, at anchor_s */
    double anchor_s;
    struct sp_instr instr;
};
enum { EXEC_FLOW_TRANSFERS = 16 }; /* of a channel that are timed at once */

/* A channel. All but `received` is of the sender's thread. */
struct exec_flow_link {
    void *out, *in;    /* queues; out NULL: nothing is copied; in NULL: the devices reach each other */
    void **events;     /* [ring]: message n % ring has arrived */
    bool *recorded;    /* [ring]: false: it was sent before the run was interrupted */
    void *left;        /* event, where `in`: the message is in host memory */
    char *host;        /* [ring * host_bytes] */
    size_t host_bytes; /* of one message */
    struct exec_flow_part *parts;
    int part_count, part_room, ring;
    struct exec_flow_transfer *transfers; /* ring */
    int64_t timed, told;
    int trace_lane;
    long long sent, received; /* counted by the sender's, by the receiver's thread */
    /* Between a device here and one of another process (exec/flow_peers.c); else NULL. Then `out` or `in` is here. */
    void *peer;
    struct exec_part *pieces; /* of a message, [part_room] */
    struct sp_instr *instrs;  /* [ring]: of what was sent last */
    long long posted;         /* messages that `in` has been given, or that came before the run was interrupted */
};

/* Where a stage takes pixels or labels from the loader; of its forward device's thread. */
struct exec_flow_feed {
    void *queue;             /* NULL: the stage takes nothing */
    void *full[SP_STAGING];  /* events: copied to the device */
    void *empty[SP_STAGING]; /* and taken there */
    int64_t turn;            /* microbatches loaded so far */
    struct exec_flow_held {
        struct exec_loader *loader; /* NULL: none */
        int64_t number;
        int times;
    } held[SP_STAGING]; /* batches to release when `full` has come */
};

/* A connection to another process that has failed by itself: written by the team's thread, before `device`. */
struct exec_flow_break {
    atomic_int device; /* its end here; -1: none has */
    struct sp_error err;
    double since_s; /* by the machine's clock; 0: not yet */
};

struct exec_flow {
    const struct exec_async *async;
    struct exec_bodies *bodies;   /* graphs (exec/body.h); NULL: none */
    void **queues;                /* [2 * stage + backward]; the same where both are one device */
    struct exec_flow_lane *lanes; /* [device] */
    struct exec_flow_link *links; /* [channel] */
    struct exec_flow_feed *feeds; /* [stage] */
    struct exec_flow_break broken;
    pthread_mutex_t abandoning; /* held while links are abandoned */
    bool over;                  /* all processes have come to the end of the plan */
};

/* Lanes of the trace for copies, and their names. */
int exec_flow_trace_lanes(const struct exec_run *run);

/* Open after the models are there, create after memory and trace; destroy waits until all queues are empty. */
sp_status exec_flow_open(struct exec_run *run, struct sp_error *err);
sp_status exec_flow_create(struct exec_run *run, struct sp_error *err);
void exec_flow_destroy(struct exec_run *run);

/* The clock starts; the devices stand still. */
sp_status exec_flow_start(struct exec_run *run, struct sp_error *err);

/* The queue for a stage's F, or for its B and U. */
void *exec_flow_queue(const struct exec_run *run, const struct sp_instr *instr, bool backward);

/* Around what an F, B or U enqueues. `score`: where the loss left its result on the device; NULL: there is none. */
sp_status exec_flow_begin(struct exec_run *run, int device, const struct sp_instr *instr, struct sp_error *err);
sp_status exec_flow_end(struct exec_run *run, int device, const struct exec_score *score, struct sp_error *err);

/* Behind a layer's pass, where layers are timed. */
sp_status exec_flow_layer(struct exec_run *run, int device, int layer, struct sp_error *err);

/* SEND, before the message is posted; RECV, after it was taken (exec/flow_links.c). */
sp_status exec_flow_send(struct exec_run *run, int device, const struct sp_instr *instr, struct sp_error *err);
sp_status exec_flow_receive(struct exec_run *run, int device, const struct sp_instr *instr, struct sp_error *err);

/*
 * Input of a stage's forward (exec/flow_feeds.c), in this order: make_room gives back what was copied, before the next
 * batch is awaited; load copies it to the device; after exec_flow_begin, take copies it to `pixels` and `labels` (NULL:
 * not wanted) and tells where the layers find labels and leave the score; release gives the batch back to the loader as
 * soon as it was copied.
 */
sp_status exec_flow_make_room(struct exec_run *run, const struct sp_instr *instr, struct sp_error *err);
sp_status exec_flow_load(struct exec_run *run, int device, const struct sp_instr *instr, const struct exec_batch *batch,
                         struct sp_error *err);
sp_status exec_flow_take(struct exec_run *run, const struct sp_instr *instr, void *pixels, int32_t *labels,
                         const int32_t **labels_at, struct exec_score **score_at, struct sp_error *err);
void exec_flow_release(struct exec_run *run, const struct sp_instr *instr, struct exec_loader *loader, int64_t number,
                       int times);

/* Waits until everything that this device was given is done, and tells what there is to tell. */
sp_status exec_flow_drain(struct exec_run *run, int device, struct sp_error *err);

/* Adds to `err` what a device was doing when `instr` failed to be enqueued, or when it was drained (NULL): the
 * instruction, or what it was given before. */
void exec_flow_blame(const struct exec_run *run, int device, const struct sp_instr *instr, struct sp_error *err);

/* For the parts of the flow. */
sp_status exec_flow_turn_to(struct exec_run *run, int device, void *queue, struct sp_error *err);
sp_status exec_flow_waited(struct exec_run *run, int device, enum exec_flow_kind kind, const struct sp_instr *instr,
                           struct sp_error *err);
sp_status exec_flow_links_create(struct exec_run *run, struct sp_error *err);
void exec_flow_links_destroy(struct exec_run *run);

/*
 * Links to other processes (exec/flow_peers.c): opened when all else is there, by all ranks in the same order. A
 * message is put into the receiver's copy queue when its RECV comes to the host, mostly long before it is sent; that it
 * does not arrive while its place is in use follows from the plan, as always. Where all devices pause, what was sent
 * and not yet received is received ahead, so that it lies where it will be read. `abandon`: nothing is awaited any
 * more, from any thread; `finish`: all that was sent has arrived.
 *
 * A connection may fail by itself while devices wait for it. `watch`, from the team's thread now and then, finds that;
 * true: it has, as is sure now, and the run is to be stopped. Abandoned links end what waits, with whatever has come;
 * so after a wait `sound` says whether to believe it, and the device's worker tells of the failure (device -1: of any).
 * `explain` does so at the end of a worker that was stopped by it.
 */
sp_status exec_flow_peers_open(struct exec_run *run, struct sp_error *err);
sp_status exec_flow_post(struct exec_run *run, const struct sp_instr *instr, struct sp_error *err);
sp_status exec_flow_settle(struct exec_run *run, struct sp_error *err);
sp_status exec_flow_peers_finish(struct exec_run *run, struct sp_error *err);
void exec_flow_abandon(struct exec_run *run);
bool exec_flow_watch(struct exec_run *run);
sp_status exec_flow_sound(const struct exec_run *run, int device, struct sp_error *err);
sp_status exec_flow_explain(const struct exec_run *run, int device, sp_status status, struct sp_error *err);
sp_status exec_flow_links_drain(struct exec_run *run, int device, struct sp_error *err);
sp_status exec_flow_transfers_create(struct exec_run *run, int channel, struct sp_error *err);
void exec_flow_transfers_destroy(struct exec_run *run, struct exec_flow_link *link);
sp_status exec_flow_transfers_tell(struct exec_run *run, int channel, struct sp_error *err);
struct exec_flow_transfer *exec_flow_transfer_next(struct exec_flow_link *link, const struct exec_flow_lane *lane,
                                                   const struct sp_instr *instr); /* NULL: none is free */
/* Whether a transfer that was not told yet counts from an event. */
bool exec_flow_transfers_use(const struct exec_run *run, int device, const void *anchor);
sp_status exec_flow_feeds_create(struct exec_run *run, struct sp_error *err);
void exec_flow_feeds_destroy(struct exec_run *run);
sp_status exec_flow_taken(struct exec_run *run, const struct sp_instr *instr, struct sp_error *err);
sp_status exec_flow_feeds_drain(struct exec_run *run, int device, struct sp_error *err);
sp_status exec_flow_weights_left(struct exec_run *run, int device, const struct sp_instr *instr, struct sp_error *err);

#endif
