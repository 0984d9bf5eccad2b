/*
 * engine.h - the seam: whoever can do an instruction for a device can run a plan.
 *
 * The simulator and the executor are engines. A driver feeds each device its instructions in order; the engine does
 * them, in virtual or in real time.
 */
#ifndef SP_ENGINE_H
#define SP_ENGINE_H

#include "common/plan.h"

enum sp_progress {
    SP_DONE,   /* finished (or, an asynchronous one, under way): the device takes its next instruction at once */
    SP_PENDING /* the device rests; `next` names it again when this instruction is finished */
};

struct sp_engine {
    const char *name; /* "sim", "exec" */

    /* Does `instr` for `device`. An engine that is driven by a thread per device waits inside and never says PENDING.
     * `*progress` is set on SP_OK. */
    sp_status (*execute)(void *self, int device, const struct sp_instr *instr, enum sp_progress *progress,
                         struct sp_error *err);

    /* The next device that rests no more, or -1 when no device ever will. NULL: `execute` never says PENDING. */
    int (*next)(void *self);

    /* Optional. The device that `next` will probably name next time, or -1: its cursor is fetched into the cache. */
    int (*soon)(const void *self);

    /* Optional. Called before each `next`, while all cursors stand still: the engine may look at them, and skip. */
    void (*between)(void *self, struct sp_cursor *const *cursors);

    bool gates; /* it wants to see SP_INSTR_GATE */
};

/* Runs all devices of `plan` from the calling thread, to the end. SP_E_DEADLOCK when instructions are left and
 * `next` has none. `stop`, if not NULL, is polled between instructions: when it becomes true, SP_E_INTERRUPTED. */
sp_status sp_drive(const struct sp_plan *plan, const struct sp_engine *engine, void *self, const bool *stop,
                   struct sp_error *err);

/* Runs one device of `plan` from the calling thread. */
sp_status sp_drive_device(const struct sp_plan *plan, int device, const struct sp_engine *engine, void *self,
                          struct sp_error *err);

#endif
