/* checkpoint_folder.c - the checkpoints in a folder: their names, which is the newest, which are removed or renamed. */
#include "common/alloc.h"
#include "common/file.h"
#include "exec/checkpoint.h"
#include "exec/safetensors.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char prefix[] = "minibatch-", suffix[] = ".safetensors";

char *exec_checkpoint_path(const char *folder, int64_t done)
{
    return sp_format("%s/%s%09" PRId64 "%s", folder, prefix, done, suffix);
}

static bool is_checkpoint(const char *name)
{
    if (strncmp(name, prefix, strlen(prefix)) != 0)
        return false;
    const char *digits = name + strlen(prefix);
    size_t count = strspn(digits, "0123456789");
    return count > 0 && strcmp(digits + count, suffix) == 0;
}

static int64_t minibatches_of(const char *name)
{
    return strtoll(name + strlen(prefix), NULL, 10);
}

static int newest_first(const void *a, const void *b)
{
    int64_t x = minibatches_of(*(char *const *)a), y = minibatches_of(*(char *const *)b);
    return x < y ? 1 : x > y ? -1 : 0;
}

/* Names of the checkpoints in a folder, newest first; what interrupted writing left is removed on the way. A folder
 * that is not there has none. */
static char **names_in(const char *folder, int *count)
{
    char **names = NULL;
    DIR *dir = opendir(folder);
    struct dirent *entry;
    *count = 0;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (is_checkpoint(entry->d_name)) {
            *(char **)sp_grow((void **)&names, *count, sizeof *names) = sp_strdup(entry->d_name);
            ++*count;
        } else if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0 && strstr(entry->d_name, ".safetensors.tmp")) {
            char *path = sp_format("%s/%s", folder, entry->d_name);
            unlink(path);
            free(path);
        }
    }
    if (dir != NULL)
        closedir(dir);
    if (*count > 0)
        qsort(names, (size_t)*count, sizeof *names, newest_first);
    return names;
}

static void free_names(char **names, int count)
{
    for (int n = 0; n < count; n++)
        free(names[n]);
    free(names);
}

void exec_checkpoint_prune(const char *folder, int keep)
{
    int count;
    char **names = names_in(folder, &count);
    for (int n = keep; n < count; n++) {
        char *path = sp_format("%s/%s", folder, names[n]);
        unlink(path);
        free(path);
    }
    free_names(names, count);
}

static sp_status set_aside(const char *folder, const char *name, char **notes, struct sp_error *err)
{
    char *path = sp_format("%s/%s", folder, name), *to;
    sp_status status = sp_file_set_aside(path, "damaged", &to, err);
    if (status == SP_OK) {
        char *longer =
            sp_format("%s%s%s is %s now", *notes != NULL ? *notes : "", *notes != NULL ? "\n" : "", path, to);
        free(*notes);
        *notes = longer;
    }
    free(to);
    free(path);
    return status;
}

sp_status exec_checkpoint_set_aside(const char *folder, const char *path, char **notes, struct sp_error *err)
{
    int count;
    char **names = names_in(folder, &count);
    const char *slash = strrchr(path, '/'), *resumed = slash != NULL ? slash + 1 : path;
    sp_status status = SP_OK;
    *notes = NULL;
    for (int n = 0; n < count && status == SP_OK && newest_first(&names[n], &resumed) < 0; n++)
        status = set_aside(folder, names[n], notes, err);
    free_names(names, count);
    return status;
}

sp_status exec_checkpoint_find(const char *folder, char **path, char **notes, struct sp_error *err)
{
    int count;
    char **names = names_in(folder, &count);
    struct sp_error why = {0};
    *path = *notes = NULL;
    for (int n = 0; n < count && *path == NULL; n++) {
        struct exec_safetensors *file;
        char *candidate = sp_format("%s/%s", folder, names[n]);
        if (exec_safetensors_open(candidate, &file, &why) == SP_OK) {
            *path = candidate;
            exec_safetensors_close(&file);
        } else {
            free(candidate);
        }
    }
    free_names(names, count);
    sp_status status = SP_OK;
    if (count > 0 && *path == NULL)
        status = sp_reject(err, (struct sp_mark){.file = folder}, "no checkpoint there is whole:\n%s", why.text);
    else
        *notes = sp_strdup(why.text);
    sp_error_fini(&why);
    return status;
}
