/*
 * drive.c - feeds devices their instructions, in whatever order the engine lets them go on.
 */
#include "common/alloc.h"
#include "common/engine.h"

#include <stdlib.h>

enum { FEW = 32 }; /* devices whose cursors stay in the cache by themselves */

static struct sp_cursor *open_cursor(const struct sp_plan *plan, int device, const struct sp_engine *engine)
{
    struct sp_cursor *cursor = sp_cursor_create(plan, device);
    if (engine->gates)
        sp_cursor_show_gates(cursor);
    return cursor;
}

/* Runs one device until it rests or has no more instructions. */
static sp_status run_device(struct sp_cursor *cursor, int device, const struct sp_engine *engine, void *self,
                            const bool *stop, bool *ended, struct sp_error *err)
{
    enum sp_progress progress = SP_DONE;
    *ended = false;
    while (progress == SP_DONE) {
        if (stop && *(const volatile bool *)stop)
            return SP_FAIL(err, SP_E_INTERRUPTED, "interrupted");
        const struct sp_instr *instr = sp_cursor_take(cursor);
        if (instr == NULL) {
            *ended = true;
            return SP_OK;
        }
        SP_TRY(engine->execute(self, device, instr, &progress, err));
    }
    SP_ASSERT(engine->next, "engine %s rests but cannot be asked who goes on", engine->name);
    return SP_OK;
}

sp_status sp_drive(const struct sp_plan *plan, const struct sp_engine *engine, void *self, const bool *stop,
                   struct sp_error *err)
{
    int count = plan->device_count, left = count;
    struct sp_cursor **cursors = sp_calloc((size_t)count, sizeof *cursors);
    sp_status status = SP_OK;
    bool ended;
    for (int d = 0; d < count; d++)
        cursors[d] = open_cursor(plan, d, engine);
    for (int d = 0; d < count && status == SP_OK; d++) {
        status = run_device(cursors[d], d, engine, self, stop, &ended, err);
        left -= status == SP_OK && ended;
    }
    while (status == SP_OK && left > 0) {
        if (engine->between != NULL)
            engine->between(self, cursors);
        int d = engine->next(self);
        if (d < 0) {
            status = SP_FAIL(err, SP_E_DEADLOCK, "%d of %d devices wait for ever", left, count);
            break;
        }
        int soon = engine->soon != NULL && count > FEW ? engine->soon(self) : -1;
        if (soon >= 0)
            sp_cursor_prefetch(cursors[soon]);
        status = run_device(cursors[d], d, engine, self, stop, &ended, err);
        left -= status == SP_OK && ended;
    }
    for (int d = 0; d < count; d++)
        sp_cursor_destroy(&cursors[d]);
    free(cursors);
    return status;
}

sp_status sp_drive_device(const struct sp_plan *plan, int device, const struct sp_engine *engine, void *self,
                          struct sp_error *err)
{
    struct sp_cursor *cursor = open_cursor(plan, device, engine);
    struct sp_instr instr;
    enum sp_progress progress = SP_DONE;
    sp_status status = SP_OK;
    while (status == SP_OK && sp_cursor_next(cursor, &instr)) {
        status = engine->execute(self, device, &instr, &progress, err);
        SP_ASSERT(status != SP_OK || progress == SP_DONE, "engine %s rests in a thread of device %d", engine->name,
                  device);
    }
    sp_cursor_destroy(&cursor);
    return status;
}
