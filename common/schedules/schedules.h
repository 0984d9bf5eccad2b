/* schedules.h - the rows of the table of schedules. */
#ifndef SP_SCHEDULES_H
#define SP_SCHEDULES_H

#include "common/schedule.h"

extern const struct sp_schedule sp_schedule_sequential, sp_schedule_stale, sp_schedule_gpipe, sp_schedule_1f1b,
    sp_schedule_1f1b_async;

#endif
