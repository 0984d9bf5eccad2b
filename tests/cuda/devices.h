/*
 * devices.h - the devices that the CUDA tests run on: the stand-in of tests/cudasim (tests/cuda/standin.c), or the GPUs
 * of this machine (tests/cuda/gpus.c). The tests are the same.
 */
#ifndef TESTS_CUDA_DEVICES_H
#define TESTS_CUDA_DEVICES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What can only be had of devices that are not real. */
extern const bool devices_are_virtual;

/* Virtual: so many devices; real: whatever there are. Skips the test where there is none. */
void devices_set(int count);

/* Virtual: work starts late by up to so many microseconds, at random. */
void devices_delay(uint64_t seed, int microseconds);

/* Whether devices reach each other. Real ones do or do not: runs are told to go through_host, as is said here. */
void devices_reach(bool they_do);
extern bool devices_through_host;

/* Virtual: a copy over a bus takes so long, and a microsecond more for so many bytes; 0, 0: as long as it takes. */
void devices_copies(int microseconds, int bytes_per_microsecond);

/* Virtual: bytes of device memory taken now (device -1: host memory). */
size_t devices_bytes(int device);

/* Virtual: calls so far that make something that lasts: memory, streams, events, handles. */
int64_t devices_objects(void);

/* Virtual: prints and counts what lives. */
int64_t devices_leaks(void);

#endif
