#include "common/alloc.h"
#include "common/program/program.h"
#include "exec/data/fetch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

sp_status program_data(const struct program *program, struct sp_error *err)
{
    const char *names[16] = {0};
    int count = 0, chosen = -1;
    for (; exec_sources[count].set != NULL; count++) {
        names[count] = exec_sources[count].set;
        if (strcmp(names[count], program->argument) == 0)
            chosen = count;
    }
    if (chosen < 0) {
        const char *near = sp_nearest(program->argument, names, count);
        return sp_reject(err, (struct sp_mark){.file = "command line"},
                         "no data set \"%s\"%s%s%s; there are fashion-mnist, mnist, cifar10", program->argument,
                         near != NULL ? "; did you mean \"" : "", near != NULL ? near : "", near != NULL ? "\"?" : "");
    }
    const struct exec_source *source = &exec_sources[chosen];
    char *cache = program_cache_folder();
    if (program->out == NULL && cache == NULL)
        return sp_reject(err, (struct sp_mark){.file = "command line"}, "no home folder: say where with -o FOLDER");
    char *folder = program->out != NULL ? sp_strdup(program->out) : sp_format("%s/%s", cache, source->folder);
    free(cache);
    sp_status status = exec_fetch(source, program->from, folder, program->quiet, err);
    if (status == SP_OK)
        printf("%s is in %s\n", source->set, folder);
    free(folder);
    return status;
}
