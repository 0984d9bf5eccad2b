#include "common/schedules/schedules.h"

#include <string.h>

const struct sp_schedule *const sp_schedules[] = {
    &sp_schedule_sequential, &sp_schedule_stale, &sp_schedule_gpipe, &sp_schedule_1f1b, &sp_schedule_1f1b_async, NULL,
};

const struct sp_schedule *sp_schedule_find(const char *name)
{
    for (int s = 0; sp_schedules[s] != NULL; s++)
        if (strcmp(sp_schedules[s]->name, name) == 0)
            return sp_schedules[s];
    return NULL;
}
