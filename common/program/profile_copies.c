/*
 * Messages between devices that have memories of their own: measured by themselves, not seen in trainings.
 */
#include "common/program/profile.h"
#include "exec/copies.h"

#include <stdio.h>
#include <stdlib.h>

sp_status profile_copies(struct profiling *p, struct sp_error *err)
{
    const struct sp_experiment *e = p->setup->experiment;
    char *path = program_choices_path();
    struct exec_backend_config config = program_backend_config(e, path);
    struct exec_copies copies;
    sp_status status = exec_copies_measure(exec_backend_find(e->devices.backend), &config, &copies, err);
    free(path);
    SP_TRY(status);
    p->profile->copy_s = copies.latency_s;
    p->profile->copy_byte_s = copies.byte_s;
    if (copies.byte_s > 0 && !p->program->quiet)
        printf("  a message from device to device, %s: %.1f us and %.2f GB/s\n",
               copies.direct ? "directly" : "through the host", 1e6 * copies.latency_s, 1e-9 / copies.byte_s);
    return SP_OK;
}
