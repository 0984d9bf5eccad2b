/*
 * backend.h - what the executor asks of a compute library.
 *
 * A backend is a const table. Its objects: a context (one per run: engine, library handles), and models: a network
 * compiled for one microbatch size, with the layout of every tensor and parameter chosen for the whole network at
 * once, so that no layout depends on the cuts. A model is read-only after creation except for `run`, which may be
 * called by several threads at once on different layers; each call gets all memory it needs from the caller.
 *
 * Device memory is opaque: `void *` from `allocate`, valid for that backend only, offsets by bytes.
 * `cpu` starts from `ref`'s table of operations and replaces what oneDNN does better.
 *
 * A backend with `async` has devices that compute behind queues: calls that take a queue return when the work is in it,
 * and report there what an earlier one came to. The others return when it is done, and their queue is NULL.
 */
#ifndef EXEC_BACKEND_H
#define EXEC_BACKEND_H

#include "common/memory.h"
#include "common/network.h"

/* Where one layer finds everything, for one pass: what a pass does depends on the model, the layer and this alone.
 * Pointers that a layer or pass does not have are NULL; all are memory of the device, those for labels and results too.
 */
struct exec_io {
    void *queue;          /* NULL: done when the call returns */
    int batch;            /* samples of the microbatch */
    const void *input[2]; /* values, in the model's layout of that tensor */
    void *output;         /* F: written; B: read where the kind keeps its output. May be input[0] (in place) */
    void *saved;          /* F: written; B: read */
    const void *parameter[SP_PARAMETER_COUNT];
    void *state;                 /* batch norm: mean, variance; F: updated; EVALUATE: read */
    const void *output_gradient; /* B */
    void *input_gradient[2];     /* B: written (overwritten); NULL: not wanted. [0] may be output_gradient (in place) */
    void *parameter_gradient[SP_PARAMETER_COUNT]; /* B: written (overwritten), stored as the parameter */
    void *scratch;
    /* The loss (SOFTMAX_CROSS_ENTROPY): mean over the minibatch, so the gradient is divided by minibatch_size. */
    const int32_t *labels; /* batch entries; negative: padding, counts for nothing */
    int minibatch_size;
    float label_smoothing; /* F, B: s; the target is (1 - s) [c = label] + s / classes. EVALUATE: not applied */
    double *loss_sum;      /* F, EVALUATE: set to the sum of the losses of the samples */
    int64_t *correct;      /* F, EVALUATE: set to the samples whose largest score is the label's */
    /* Dropout: the mask depends on these only. */
    uint64_t seed, sequence; /* sequence: differs for each layer and microbatch; 0 where nothing is drawn */
};

/* Blocks of a stage's parameters, all of `bytes`. */
struct exec_parameters {
    size_t bytes;
    const void *before; /* weights */
    void *after;        /* weights; may be `before` */
    void *velocity;
    const void *gradient;
};

struct exec_sgd {
    float lr, momentum, weight_decay;
    bool nesterov;
};

/* Which algorithm convolutions use, where a backend has several: the faster one is found by timing, once a machine. */
enum exec_convolution { EXEC_CONVOLUTION_DIRECT, EXEC_CONVOLUTION_WINOGRAD, EXEC_CONVOLUTION_AUTO };
extern const char *const exec_convolution_names[]; /* of that enum; the words of devices.convolution */

struct exec_team;
struct exec_backend_config {
    int devices; /* of the plan */
    /* Where several processes run the plan (exec/team.h; NULL: this one alone), the devices of this one, and how many
     * others of this host come before them; end 0: all are here. What makes the run's plan fills them in. */
    struct exec_team *team;
    int first_device, device_end, host_devices_before;
    int threads;       /* of the compute library per device, as `bind` will set them; what is compiled depends on it */
    bool through_host; /* cuda: messages go through the host's memory even where devices reach each other: for tests */
    bool tf32;         /* cuda: products may be rounded to TF32 where the chip is faster so */
    enum exec_convolution convolution;
    const char *choices_path; /* AUTO: a file that remembers what was found; NULL: none. Borrowed until create ends */
    const char *choices;      /* AUTO: choices to follow, as `choices` gave them; NULL: none. Borrowed likewise */
    /* What the user should know of and is no failure: told while create or model_create is called. May be NULL. */
    void (*tell)(void *self, const char *text);
    void *tell_self;
    bool separate; /* one operation a layer, none fused: for tests of layers */
};

/* A part of a message, in memory of a device. */
struct exec_part {
    void *at;
    size_t bytes;
};

/*
 * Messages between devices of two processes: connections, each in one direction, with one end in each process. A
 * message is given to both ends, in the same order, as parts of the same sizes; it comes when both have come to it.
 */
enum { EXEC_PEER_NAME = 128 };
struct exec_peers {
    /* Names a new connection. Both of its ends are opened by that name; it may be of a third process. */
    sp_status (*name)(char name[EXEC_PEER_NAME], struct sp_error *err);
    /* Opens an end; returns when the other is there and a first message has come. */
    sp_status (*open)(void *context, int device, const char name[EXEC_PEER_NAME], bool sends, void **peer,
                      struct sp_error *err);
    void (*close)(void **peer); /* nothing is under way; accepts NULL */

    /* Puts a message into the queue of the end's device; no parts: one that carries nothing. */
    sp_status (*move)(void *peer, void *queue, const struct exec_part *parts, int count, struct sp_error *err);

    /* Whether it has failed by itself, the network perhaps, while the devices wait for it. From any thread. */
    sp_status (*check)(void *peer, struct sp_error *err);

    /* Ends what is under way on several at once, whatever has come, and fails what is moved from now on. From any
     * thread, and again. */
    void (*abandon)(void *const *peers, int count);
};

/*
 * Devices that compute behind queues. What is put in a queue is done in order; `wait` puts it behind an event. Memory
 * given to a queued call stays as it is until that is done. A queue is used by one thread at a time; so is an event,
 * but for those that wait for it. Queues, events and copies of one device may be used by any thread.
 */
struct exec_async {
    /* `computes`: for `run`, `add` and `update` too; else for copies alone. */
    sp_status (*queue_create)(void *context, int device, bool computes, void **queue, struct sp_error *err);
    void (*queue_destroy)(void **queue); /* waits until all is done; accepts NULL */

    /* `timed`: for elapsed_s. */
    sp_status (*event_create)(void *context, int device, bool timed, void **event, struct sp_error *err);
    void (*event_destroy)(void **event); /* accepts NULL */

    /* The event comes when all that is in the queue now is done; until then and after that it may be recorded again,
     * which changes nothing for those that wait already. */
    sp_status (*record)(void *queue, void *event, struct sp_error *err);
    sp_status (*wait)(void *queue, void *event, struct sp_error *err);
    sp_status (*is_done)(void *event, bool *done, struct sp_error *err);
    sp_status (*finish)(void *event, struct sp_error *err);                              /* returns when it has come */
    sp_status (*elapsed_s)(void *from, void *to, double *seconds, struct sp_error *err); /* both have; of one device */

    /* Between devices of the context and host memory from take_host. */
    sp_status (*copy)(void *queue, void *to, const void *from, size_t bytes, struct sp_error *err);
    bool (*reaches)(const void *context, int from, int to); /* device `from` can be copied to device `to` directly */

    /* Host memory that is copied while the host goes on. */
    sp_status (*take_host)(void *context, size_t bytes, void **memory, struct sp_error *err); /* zeroed */
    void (*release_host)(void *context, void *memory);

    /* Optional (all NULL), of queues that compute. What the thread puts in the queue after begin is kept, not done,
     * until end, which gives it as a graph, or says why there can be none; either way the capture is over. Between them
     * the thread calls nothing else here. A replay puts all that was kept in a queue of the same device; a graph is
     * destroyed when its replays are done. */
    sp_status (*capture_begin)(void *queue, struct sp_error *err);
    sp_status (*capture_end)(void *queue, void **graph, struct sp_error *err); /* *graph: NULL when it fails */
    sp_status (*replay)(void *queue, void *graph, struct sp_error *err);
    void (*graph_destroy)(void **graph); /* accepts NULL */

    const struct exec_peers *peers; /* NULL: this build reaches no devices of other processes */
};

struct exec_backend {
    const char *name; /* "ref", "cpu" */
    const char *help;
    bool shared_memory;             /* devices see each other's memory: messages are handed over without copies */
    const struct exec_async *async; /* NULL: nothing is queued */

    sp_status (*create)(const struct exec_backend_config *config, void **context, struct sp_error *err);
    void (*destroy)(void **context);

    /* Optional. What AUTO has chosen for the models made so far, as text; the caller frees. The same choices, given to
     * another run, make it compute the same bits. */
    char *(*choices)(const void *context);

    /* Optional. What must be the same in all processes of a run for the same bits, as text; the caller frees. */
    char *(*kind)(const void *context);

    /* Optional. What its devices are, a line each that no other device of any host has; the caller frees. */
    char *(*places)(const void *context);

    /* NULL when the backend can do the layer, else the reason why not (static text). */
    const char *(*supports)(const struct sp_layer *layer);

    /* Called once by each worker thread before its first `run`: library threads, pinning to `cores` (first core,
     * count; count 0: do not pin). */
    sp_status (*bind)(void *context, int first_core, int core_count, int threads, struct sp_error *err);

    /* Compiles `network` (borrowed) for microbatches of `batch`. `like` is another model of the same network whose
     * parameter layouts this one must share, or NULL. */
    sp_status (*model_create)(void *context, const struct sp_network *network, int batch, const void *like,
                              void **model, struct sp_error *err);
    void (*model_destroy)(void **model);

    /* Sizes of this model; the footprint borrows the model. The batch argument of its entries must be the model's. */
    struct sp_footprint (*footprint)(const void *model);

    /* Runs one layer's pass. */
    sp_status (*run)(void *model, int layer, enum sp_pass pass, const struct exec_io *io, struct sp_error *err);

    /* sum[i] += addend[i] over the storage of a tensor (or `bytes` of parameters when tensor < 0). */
    sp_status (*add)(void *model, void *queue, int tensor, size_t bytes, void *sum, const void *addend,
                     struct sp_error *err);

    /* One pass over a parameter block of `bytes` (float32): out <- step(in). `out` may be `in`. */
    sp_status (*update)(void *context, void *queue, const struct exec_parameters *parameters,
                        const struct exec_sgd *sgd, struct sp_error *err);

    /* Optional. Whether there is room for so many bytes on each device: before anything is taken. */
    sp_status (*reserve)(void *context, const size_t *bytes, struct sp_error *err);
    sp_status (*allocate)(void *context, int device, size_t bytes, void **memory,
                          struct sp_error *err); /* zeroed, 64-byte aligned */
    void (*release)(void *context, void *memory, size_t bytes);
    /* Between devices, and with host memory; not while the memory is in use by a queue. So are those that follow. */
    sp_status (*copy)(void *context, void *to, const void *from, size_t bytes, struct sp_error *err);

    /* Between plain float32 (host; C order: (O, I, H, W), (N, C, H, W), …) and stored form. */
    sp_status (*import_parameter)(void *model, int layer, enum sp_parameter which, const float *plain, void *stored,
                                  struct sp_error *err);
    sp_status (*export_parameter)(void *model, int layer, enum sp_parameter which, const void *stored, float *plain,
                                  struct sp_error *err);
    sp_status (*import_tensor)(void *model, int tensor, const float *plain, void *stored, struct sp_error *err);
    sp_status (*export_tensor)(void *model, int tensor, const void *stored, float *plain, struct sp_error *err);
};

extern const struct exec_backend exec_ref_backend;
extern const struct exec_backend exec_cpu_backend;

/* Where it cannot be had, one whose create says why. */
const struct exec_backend *exec_cuda_find(void);

/* What the program and a backend in a library of its own tell each other: another number, another build. */
#define EXEC_BACKEND_LAYOUT                                                                                            \
    ((((sizeof(struct exec_backend) * 1024 + sizeof(struct exec_async)) * 1024 + sizeof(struct exec_io)) * 1024 +      \
      sizeof(struct exec_backend_config)) *                                                                            \
         1024 +                                                                                                        \
     sizeof(struct exec_peers))

/* Those that work everywhere, NULL-terminated; and any by name (NULL: none of that name). */
extern const struct exec_backend *const exec_backends[];
const struct exec_backend *exec_backend_find(const char *name);

#endif
