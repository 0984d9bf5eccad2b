#include "common/file.h"
#include "common/alloc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define ASIDE ".tmp" /* and the process */

sp_status sp_file_begin(struct sp_file *file, const char *path, struct sp_error *err)
{
    file->path = sp_strdup(path);
    file->aside = sp_format("%s" ASIDE "%ld", path, (long)getpid());
    file->stream = fopen(file->aside, "w");
    if (file->stream != NULL)
        return SP_OK;
    SP_FAIL(err, SP_E_IO, "%s: cannot write: %s", path, strerror(errno));
    sp_file_abort(file);
    return SP_E_IO;
}

/* A rename lasts only once its folder is on disk. Some file systems cannot fsync a folder; the rename still holds. */
static void sync_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash == NULL ? sp_strdup(".") : sp_format("%.*s", (int)(slash - path + 1), path);
    int fd = open(folder, O_RDONLY | O_DIRECTORY);
    free(folder);
    if (fd < 0)
        return;
    (void)fsync(fd);
    close(fd);
}

sp_status sp_file_commit(struct sp_file *file, struct sp_error *err)
{
    bool good = fflush(file->stream) == 0 && !ferror(file->stream) && fsync(fileno(file->stream)) == 0;
    int reason = errno;
    if (fclose(file->stream) != 0 && good) {
        good = false;
        reason = errno;
    }
    file->stream = NULL;
    if (good && rename(file->aside, file->path) != 0) {
        good = false;
        reason = errno;
    }
    if (!good)
        SP_FAIL(err, SP_E_IO, "%s: cannot write: %s", file->path, strerror(reason));
    else
        sync_folder(file->path);
    if (good) {
        free(file->aside);
        file->aside = NULL;
    }
    sp_file_abort(file);
    return good ? SP_OK : SP_E_IO;
}

void sp_file_abort(struct sp_file *file)
{
    if (file->stream != NULL)
        fclose(file->stream);
    if (file->aside != NULL)
        unlink(file->aside);
    free(file->aside);
    free(file->path);
    *file = (struct sp_file){0};
}

sp_status sp_file_write(const char *path, const char *text, struct sp_error *err)
{
    struct sp_file file;
    SP_TRY(sp_file_begin(&file, path, err));
    fputs(text, file.stream);
    return sp_file_commit(&file, err);
}

sp_status sp_file_set_aside(const char *path, const char *ending, char **to, struct sp_error *err)
{
    struct stat about;
    char *name = sp_format("%s.%s", path, ending);
    *to = NULL;
    for (int n = 2; lstat(name, &about) == 0; n++) {
        free(name);
        name = sp_format("%s.%s%d", path, ending, n);
    }
    if (rename(path, name) == 0) {
        sync_folder(path);
        *to = name;
        return SP_OK;
    }
    SP_FAIL(err, SP_E_IO, "%s: cannot rename it to %s: %s", path, name, strerror(errno));
    free(name);
    return SP_E_IO;
}

sp_status sp_folder_make(const char *path, struct sp_error *err)
{
    char *part = sp_strdup(path);
    for (char *at = part + 1;; at++) {
        char here = *at;
        if (here != '/' && here != '\0')
            continue;
        *at = '\0';
        struct stat about;
        bool made = mkdir(part, 0777) == 0;
        int reason = errno;
        if (!made && (stat(part, &about) != 0 || !S_ISDIR(about.st_mode))) {
            SP_FAIL(err, SP_E_IO, "%s: cannot make the folder: %s", part, strerror(reason));
            free(part);
            return SP_E_IO;
        }
        if (here == '\0')
            break;
        *at = here;
    }
    free(part);
    return SP_OK;
}

/* Whether it is a name that sp_file_begin gave, in a process that is no more. */
static bool is_left_over(const char *name)
{
    const char *at = strrchr(name, '.');
    char *end;
    if (at == NULL || strncmp(at, ASIDE, sizeof ASIDE - 1) != 0)
        return false;
    long process = strtol(at + sizeof ASIDE - 1, &end, 10);
    return *end == '\0' && process > 0 && process <= INT_MAX && kill((pid_t)process, 0) != 0 && errno == ESRCH;
}

/* Removes what processes that were killed had not finished. */
static void remove_left_over(const char *path)
{
    DIR *folder = opendir(path);
    const struct dirent *entry;
    while (folder != NULL && (entry = readdir(folder)) != NULL)
        if (is_left_over(entry->d_name))
            (void)unlinkat(dirfd(folder), entry->d_name, 0);
    if (folder != NULL)
        closedir(folder);
}

sp_status sp_folder_hold(const char *path, struct sp_hold *hold, struct sp_error *err)
{
    SP_TRY(sp_folder_make(path, err));
    hold->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (hold->fd < 0)
        return SP_FAIL(err, SP_E_IO, "%s: cannot open the folder: %s", path, strerror(errno));
    hold->held = true;
    if (flock(hold->fd, LOCK_EX | LOCK_NB) == 0) {
        remove_left_over(path);
        return SP_OK;
    }
    if (errno != EWOULDBLOCK) /* some file systems have no locks */
        return SP_OK;
    sp_folder_let_go(hold);
    return SP_FAIL(err, SP_E_IO, "%s: another run is writing there; -o names another folder", path);
}

void sp_folder_let_go(struct sp_hold *hold)
{
    if (hold->held)
        close(hold->fd);
    hold->held = false;
}

static sp_status unreadable(const char *path, const char *reason, const struct sp_mark *mark, struct sp_error *err)
{
    if (mark != NULL)
        return sp_reject(err, *mark, "cannot read %s: %s", path, reason);
    return SP_FAIL(err, SP_E_IO, "cannot read %s: %s", path, reason);
}

sp_status sp_file_read(const char *path, size_t limit, const struct sp_mark *mark, char **text, size_t *size,
                       struct sp_error *err)
{
    *text = NULL;
    *size = 0;
    FILE *stream = strcmp(path, "-") == 0 ? stdin : fopen(path, "r");
    if (stream == NULL)
        return unreadable(path, strerror(errno), mark, err);
    size_t room = 4096;
    char *buffer = sp_alloc(room + 1);
    errno = 0;
    while (!feof(stream) && !ferror(stream) && *size <= limit) {
        if (*size == room)
            buffer = sp_realloc(buffer, (room *= 2) + 1);
        *size += fread(buffer + *size, 1, room - *size, stream);
    }
    const char *reason = ferror(stream) ? strerror(errno) : *size > limit ? "it is too large" : NULL;
    if (stream != stdin)
        fclose(stream);
    if (reason != NULL) {
        free(buffer);
        return unreadable(path, reason, mark, err);
    }
    buffer[*size] = '\0';
    *text = buffer;
    return SP_OK;
}

/* What some programs write in front of UTF-8. */
static const char MARK[] = "\xEF\xBB\xBF";

sp_status sp_file_read_text(const char *path, size_t limit, const struct sp_mark *mark, char **text,
                            struct sp_error *err)
{
    size_t size;
    int line = 1;
    SP_TRY(sp_file_read(path, limit, mark, text, &size, err));
    const char *end = memchr(*text, '\0', size);
    if (end == NULL) {
        if (strncmp(*text, MARK, sizeof MARK - 1) == 0)
            memmove(*text, *text + sizeof MARK - 1, size - sizeof MARK + 2);
        return SP_OK;
    }
    for (const char *at = *text; at < end; at++)
        line += *at == '\n';
    free(*text);
    *text = NULL;
    return sp_reject(err, (struct sp_mark){path, line, 1}, "a byte 0, which no text has");
}
