#include "tests/cudasim/gate.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

enum { MOMENTS = 30000 };

static atomic_bool is_open;

void gate_close(void)
{
    atomic_store_explicit(&is_open, false, memory_order_relaxed);
}

void gate_open(void)
{
    atomic_store_explicit(&is_open, true, memory_order_relaxed);
}

/* Counts moments, not time: a process that is stopped meanwhile has lost one. */
void gate_wait(void *unused)
{
    const struct timespec moment = {.tv_nsec = 1000000};
    (void)unused;
    for (int m = 0; m < MOMENTS && !atomic_load_explicit(&is_open, memory_order_relaxed); m++)
        nanosleep(&moment, NULL);
}
