/*
 * transport.h - messages between devices, in order, on the plan's channels.
 *
 * A transport says when; what is handed over lies where the memory plan says, and is moved (where it must be) by
 * whoever posts. A channel has one posting and one waiting thread.
 */
#ifndef EXEC_TRANSPORT_H
#define EXEC_TRANSPORT_H

#include "common/plan.h"

struct exec_transport {
    const char *name;
    double patience_s; /* who waits longer sleeps; 0: nobody does */

    sp_status (*create)(const struct sp_plan *plan, void **out, struct sp_error *err);
    void (*destroy)(void **self);

    /* Posts the next message of `channel`; everything written before is visible to who waits for it. Never blocks. */
    void (*post)(void *self, int channel);

    /* Takes the next message of `channel`, waiting for it. False: the run was cancelled. */
    bool (*wait)(void *self, int channel);

    /* Takes it if it is there, else returns false at once. */
    bool (*poll)(void *self, int channel);

    /* Wakes all who wait; every wait from now on returns false. From any thread. */
    void (*cancel)(void *self);
};

extern const struct exec_transport exec_transport_threads; /* devices are threads of one process */

#endif
