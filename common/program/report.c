#include "common/program/program.h"
#include "common/report.h"

sp_status program_report(const struct program *program, struct sp_error *err)
{
    return sp_report(program->argument, program->quiet, err);
}
