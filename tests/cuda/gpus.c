#include "tests/cuda/devices.h"

#include <cuda_runtime_api.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

const bool devices_are_virtual = false;
bool devices_through_host;

void devices_set(int count)
{
    int found = 0;
    (void)count; /* fewer stand for as many */
    if (cudaGetDeviceCount(&found) != cudaSuccess || found == 0) {
        print_message("no GPU here\n");
        skip();
    }
}

void devices_delay(uint64_t seed, int microseconds)
{
    (void)seed;
    (void)microseconds;
}

void devices_reach(bool they_do)
{
    devices_through_host = !they_do;
}

void devices_copies(int microseconds, int bytes_per_microsecond)
{
    (void)microseconds;
    (void)bytes_per_microsecond;
}

size_t devices_bytes(int device)
{
    (void)device;
    return 0;
}

int64_t devices_objects(void)
{
    return 0;
}

int64_t devices_leaks(void)
{
    return 0;
}
