/*
 * memory.h - the memory plan: what every device holds, at which offset, for how long; from the instructions alone.
 *
 * Kinds of bytes:
 *   weights      trainable parameters (one version) and untrained state (batch-norm statistics)
 *   optimizer    velocity of SGD with momentum
 *   gradients    weight gradients
 *   versions     further versions of the weights that are alive at once (weights: stash)
 *   activations  what F keeps for B: tensors, masks, pool indices, statistics; in_flight copies ("slots") per stage
 *   boundary     tensors that cross a cut and their gradients, in slots; buffers of evaluation; weights under way
 *   scratch      temporaries of one instruction and the compute library's scratchpads; shared by a device's stages
 *
 * A stage's parameters are one contiguous block, in layer order, weight before bias; gradients, velocity and every
 * version have the same layout, so that an update is one pass. Within a slot and within scratch every tensor has an
 * offset; tensors share storage where a layer works in place or is a view (SP_IN_PLACE, SP_VIEW) and nobody needs
 * the older value. Scratch offsets are assigned by liveness, so that two tensors overlap only if never alive together.
 *
 * How many bytes a tensor, a parameter or a scratchpad takes is asked of a footprint: plain float32 by default, or
 * the backend that will run it (blocked layouts, its own workspaces).
 *
 * Handing over where devices share memory: the stage that makes a tensor owns its buffer, and the buffer of its
 * gradient, in its slot; later stages read and write them there. That is safe without further waiting, because the
 * owner's B comes after every other use.
 *
 * Without shared memory a tensor goes from stage to stage: each has a copy of what crosses the cut before it, and of
 * its gradient, in as many arrival slots as the sender has slots; so a slot is free when the sender's is. Stages that
 * follow each other on one device share the copy. Where a stage has two devices, both have slots, boundary and arrivals
 * alike, and what B reads is copied from the forward to the backward device.
 */
#ifndef SP_MEMORY_H
#define SP_MEMORY_H

#include "common/plan.h"

#include <stddef.h>

enum sp_memory_kind {
    SP_MEMORY_WEIGHTS,
    SP_MEMORY_OPTIMIZER,
    SP_MEMORY_GRADIENTS,
    SP_MEMORY_VERSIONS,
    SP_MEMORY_ACTIVATIONS,
    SP_MEMORY_BOUNDARY,
    SP_MEMORY_SCRATCH,
    SP_MEMORY_KIND_COUNT
};

extern const char *const sp_memory_kind_names[SP_MEMORY_KIND_COUNT]; /* the JSON keys */

/* All blocks start at multiples of this. */
enum { SP_MEMORY_ALIGN = 64 };
size_t sp_memory_align(size_t bytes);

enum sp_pass { SP_PASS_FORWARD, SP_PASS_BACKWARD, SP_PASS_EVALUATE, SP_PASS_COUNT };

/* How large things are. All sizes in bytes, of the whole microbatch of `batch` samples where there is a batch. */
struct sp_footprint {
    const void *self;
    size_t (*tensor)(const void *self, int tensor, int batch);                 /* value; its gradient is as large */
    size_t (*saved)(const void *self, int layer, int batch);                   /* what F leaves for B beside tensors */
    size_t (*parameter)(const void *self, int layer, enum sp_parameter which); /* as stored; 0: has none */
    size_t (*state)(const void *self, int layer);
    size_t (*scratch)(const void *self, int layer, enum sp_pass pass, int batch);
    int (*keeps)(const void *self, int layer); /* SP_KEEPS_… and the other flags; NULL: those of the layer's kind */
};

/* Plain float32 in C order, labels 4 bytes a sample, no scratchpads; `self` is the network. */
struct sp_footprint sp_footprint_plain(const struct sp_network *network);

/* Where something lies. */
enum sp_region {
    SP_REGION_NONE,     /* not in this stage, or not needed in this pass */
    SP_REGION_SLOT,     /* activations: base + slot * slot_bytes + offset */
    SP_REGION_BOUNDARY, /* boundary: base + slot * boundary_bytes + offset */
    SP_REGION_EVALUATE, /* boundary: evaluation ring: base + (minibatch % ring) * evaluate_bytes + offset */
    SP_REGION_SCRATCH,  /* scratch: base + offset */
    SP_REGION_ARRIVAL,  /* boundary: arrival_base + slot of stage `owner` - 1 * arrival_bytes + offset */
    SP_REGION_PEER      /* shared memory only: in stage `owner`'s BOUNDARY or EVALUATE region, same meaning there */
};

struct sp_place {
    enum sp_region region;
    int owner; /* the stage whose region it is */
    size_t offset;
};

/* One stage in one phase (the microbatch size, hence sizes, may differ between phases). Arrays over tensors are indexed
 * by the network's tensor number, those over layers by layer - first_layer. */
struct sp_stage_memory {
    int batch;                 /* samples of a microbatch */
    size_t slot_bytes;         /* activations of one slot */
    size_t boundary_bytes;     /* boundary of one slot */
    size_t arrival_bytes;      /* copies of what crosses the cut before this stage, and of its gradient: one slot */
    size_t evaluate_bytes;     /* boundary of one evaluation minibatch */
    struct sp_place *value;    /* per tensor, in FORWARD, and in BACKWARD unless it is stashed */
    struct sp_place *stashed;  /* per tensor: its copy on the backward device, of a value that is not in the slot; NONE
                                  where memory is shared, the stage has one device, or B does not read it */
    struct sp_place *gradient; /* per tensor, in BACKWARD */
    struct sp_place *evaluate; /* per tensor, in EVALUATE */
    size_t *saved_offset;      /* per layer: in the slot */
    size_t labels_offset;      /* last stage: in the slot */
    size_t
        scratchpad_offset[SP_PASS_COUNT]; /* where the layers' own scratchpad begins in scratch: largest layer's fits */
    /* BACKWARD: where further contributions to tensors' gradients are made before they are added: room for two of
     * addend_bytes, the largest such tensor's; 0 when there is none. */
    size_t addend_offset, addend_bytes;
    size_t partial_offset; /* BACKWARD, M > 1: where a layer's weight gradient is made before it is added */
    size_t scratch_bytes[SP_PASS_COUNT];
};

/* One stage's parameters, the same in all phases. */
struct sp_parameter_memory {
    size_t block_bytes; /* one version */
    size_t state_bytes;
    size_t (*offset)[SP_PARAMETER_COUNT]; /* per layer - first_layer: in the block */
    size_t *state_offset;                 /* per layer - first_layer: in the state */
};

/*
 * Without shared memory: what goes between the host and a stage's forward device lies in one of SP_STAGING entries
 * until the stage (or the host) takes it: a microbatch's pixels where the stage is the first; its labels, and
 * SP_RESULT_BYTES that the loss tells the host, where it is the last. Offsets in the entry.
 */
enum { SP_STAGING = 2, SP_RESULT_BYTES = 16 };
struct sp_staging {
    size_t pixels, labels, result, bytes;
};

struct sp_memory_plan {
    const struct sp_plan *plan;             /* borrowed */
    struct sp_stage_memory *stages;         /* [phase * stage_count + stage] */
    struct sp_parameter_memory *parameters; /* [stage] */
    int *evaluate_ring;                     /* [stage]: evaluation minibatches whose outputs are kept at once */
    /* [stage]: in the stage's boundary part, behind the slots: the arrival slots, the evaluation ring, the buffer of
     * weights under way to another forward device, and without shared memory the staging ring. */
    size_t *arrival_base, *evaluate_base, *arriving_base, *staging_base;
    struct sp_staging *staging; /* [stage]: what one entry of the staging ring holds */
    /*
     * Where a stage's part of each kind begins in its device's block: [stage * SP_MEMORY_KIND_COUNT + kind]. WEIGHTS:
     * parameter block, then state. On one device both offsets are the same. On two: the forward device has slots,
     * boundary, one version and the state; the backward device the newest version, velocity, gradients, versions and
     * (without shared memory) slots of its own.
     */
    size_t *forward_offset, *backward_offset;
    size_t (*bytes)[SP_MEMORY_KIND_COUNT]; /* [device]: what the device's block of each kind takes */
};

sp_status sp_memory_plan_create(const struct sp_plan *plan, const struct sp_footprint *footprint,
                                struct sp_memory_plan **out, struct sp_error *err);
void sp_memory_plan_destroy(struct sp_memory_plan **memory);

size_t sp_memory_device_bytes(const struct sp_memory_plan *memory, int device); /* all kinds */

/*
 * Bytes alive as instructions go by, per device and kind: slots from the start of F to the end of B (always, where a
 * stage has two devices), versions from the update that makes them until the update after which nobody reads them; all
 * else always. The analysis and the executor feed it the instructions they do. One sp_live per device, one thread each.
 */
struct sp_live {
    const struct sp_memory_plan *memory;
    int device;
    size_t now[SP_MEMORY_KIND_COUNT], peak[SP_MEMORY_KIND_COUNT];
    size_t peak_total;
    int64_t *versions; /* [stage]: alive now */
};

void sp_live_init(struct sp_live *live, const struct sp_memory_plan *memory, int device);
void sp_live_fini(struct sp_live *live);
void sp_live_begin(struct sp_live *live, const struct sp_instr *instr);
void sp_live_end(struct sp_live *live, const struct sp_instr *instr);

#endif
