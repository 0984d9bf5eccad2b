/*
 * copies.h - how long a message takes between two devices that have memories of their own.
 */
#ifndef EXEC_COPIES_H
#define EXEC_COPIES_H

#include "exec/backend.h"

/* A message of n bytes takes latency_s + n * byte_s: from the end of what its sender did to the moment when its
 * receiver may go on. */
struct exec_copies {
    double latency_s, byte_s;
    bool direct; /* from device to device; else through memory of the host */
};

/*
 * Sends messages of several sizes to and fro between two devices, on the way that those of a run take
 * (exec/flow_links.c), and times there and back by events of one device. The least of some repeats counts: what
 * disturbs a copy makes it longer. *out is zero where the backend's devices share the host's memory. Takes some tens of
 * MiB of each device.
 */
sp_status exec_copies_measure(const struct exec_backend *backend, const struct exec_backend_config *config,
                              struct exec_copies *out, struct sp_error *err);

/* The line through seconds of messages, by relative distances; neither latency nor slope is below zero. */
void exec_copies_fit(const double *bytes, const double *seconds, int count, struct exec_copies *out);

#endif
