/* folder.c - where the files of a data set are. */
#include "common/alloc.h"
#include "exec/data/kinds.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

sp_status exec_dataset_check_file(const char *path, struct sp_mark mark, struct sp_error *err)
{
    struct stat about;
    if (stat(path, &about) != 0 || S_ISREG(about.st_mode))
        return SP_OK;
    return sp_reject(err, mark, "\"%s\" is %s, not a file", path,
                     S_ISDIR(about.st_mode) ? "a folder" : "a device or pipe");
}

sp_status exec_dataset_folder(const struct exec_dataset_config *config, const char *name, char **out,
                              struct sp_error *err)
{
    *out = NULL;
    if (config->dir != NULL && strcmp(config->dir, "auto") != 0) {
        *out = sp_strdup(config->dir);
        return SP_OK;
    }
    char *looked = sp_strdup("");
    for (int p = 0; p < EXEC_DATA_PARENTS && *out == NULL; p++) {
        struct stat about;
        if (config->parents[p] == NULL)
            continue;
        char *place = sp_format("%s/%s", config->parents[p], name);
        char *longer = sp_format("%s%s%s", looked, looked[0] ? ", " : "", place);
        free(looked);
        looked = longer;
        if (stat(place, &about) == 0 && S_ISDIR(about.st_mode))
            *out = sp_strdup(place);
        free(place);
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
