/* folder.c - where the files of a data set are. */
#include "common/alloc.h"
#include "exec/data/kinds.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { PLACES = 3 };

/* PARENT/MIDDLE/NAME; NULL where there is no parent. */
static char *place(const char *parent, const char *middle, const char *name)
{
    return parent == NULL || parent[0] == '\0' ? NULL : sp_format("%s%s/%s", parent, middle, name);
}

sp_status exec_dataset_folder(const struct exec_dataset_config *config, const char *name, char **out,
                              struct sp_error *err)
{
    *out = NULL;
    if (config->dir != NULL && strcmp(config->dir, "auto") != 0) {
        *out = sp_strdup(config->dir);
        return SP_OK;
    }
    const char *cache = getenv("XDG_CACHE_HOME");
    bool home = cache == NULL || cache[0] == '\0';
    char *places[PLACES] = {
        place(getenv("STALEPIPE_DATA"), "", name),
        place(home ? getenv("HOME") : cache, home ? "/.cache/stalepipe" : "/stalepipe", name),
        place("/usr/share/datasets", "", name),
    };
    char *looked = sp_strdup("");
    for (int p = 0; p < PLACES; p++) {
        struct stat about;
        if (places[p] == NULL)
            continue;
        if (*out == NULL && stat(places[p], &about) == 0 && S_ISDIR(about.st_mode))
            *out = sp_strdup(places[p]);
        char *longer = sp_format("%s%s%s", looked, looked[0] ? ", " : "", places[p]);
        free(looked);
        looked = longer;
        free(places[p]);
    }
    sp_status status = SP_OK;
    if (*out == NULL)
        status = sp_reject(
            err, config->mark,
            "no folder of the data set %s: looked for %s; `stalepipe data %s` fetches it, or set data.dir, or "
            "STALEPIPE_DATA to the folder that holds %s%s",
            config->set, looked, config->set, name,
            strcmp(name, "fashion-mnist") == 0 ? "; Debian has it in dataset-fashion-mnist" : "");
    free(looked);
    return status;
}
