#include "tests/cuda/devices.h"
#include "tests/cudasim/cudasim.h"

const bool devices_are_virtual = true;
bool devices_through_host;

void devices_set(int count)
{
    cudasim_set_devices(count, (size_t)1 << 30);
}

void devices_delay(uint64_t seed, int microseconds)
{
    cudasim_set_delays(seed, microseconds);
}

void devices_reach(bool they_do)
{
    cudasim_set_peer(they_do);
}

void devices_copies(int microseconds, int bytes_per_microsecond)
{
    cudasim_set_copies(microseconds, bytes_per_microsecond);
}

size_t devices_bytes(int device)
{
    return cudasim_memory(device).live;
}

int64_t devices_objects(void)
{
    static const char *const makers[] = {"cudaMalloc", "cudaHostAlloc", "cudaStreamCreateWithFlags",
                                         "cudaEventCreateWithFlags"};
    int64_t count = 0;
    for (int n = 0; n < 4; n++)
        count += cudasim_calls(makers[n]);
    return count;
}

int64_t devices_leaks(void)
{
    return cudasim_leaks();
}
