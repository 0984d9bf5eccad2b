#include "common/file.h"
#include "common/alloc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static sp_status cannot(struct sp_error *err, const char *what, const char *path, int why)
{
    return SP_FAIL(err, SP_E_IO, "cannot %s %s: %s", what, path, strerror(why));
}

sp_status sp_file_begin(struct sp_file *file, const char *path, struct sp_error *err)
{
    *file = (struct sp_file){0};
    struct stat status;
    bool exists = stat(path, &status) == 0;
    if (exists && S_ISDIR(status.st_mode))
        return cannot(err, "write", path, EISDIR);
    /* A terminal or a pipe is written in place: a rename would put a file where the device was. */
    bool in_place = exists && !S_ISREG(status.st_mode);
    file->path = sp_strdup(path);
    file->aside = in_place ? NULL : sp_format("%s.tmp%ld", path, (long)getpid());
    file->stream = fopen(in_place ? path : file->aside, "w");
    if (file->stream != NULL)
        return SP_OK;
    int why = errno;
    free(file->path);
    free(file->aside);
    *file = (struct sp_file){0};
    return cannot(err, "write", path, why);
}

/* The rename is on disk only when the folder is. Some file systems cannot sync folders; that is no failure. */
static void sync_folder_of(const char *path)
{
    char *folder = sp_strdup(path);
    char *slash = strrchr(folder, '/');
    if (slash != NULL)
        slash[slash == folder] = '\0';
    int fd = open(slash != NULL ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd);
        close(fd);
    }
    free(folder);
}

sp_status sp_file_commit(struct sp_file *file, struct sp_error *err)
{
    int why = 0;
    errno = 0;
    if (fflush(file->stream) != 0 || ferror(file->stream))
        why = errno != 0 ? errno : EIO;
    if (why == 0 && file->aside != NULL && fsync(fileno(file->stream)) != 0 && errno != EINVAL)
        why = errno;
    if (fclose(file->stream) != 0 && why == 0)
        why = errno;
    file->stream = NULL;
    if (why == 0 && file->aside != NULL && rename(file->aside, file->path) != 0)
        why = errno;
    if (why == 0) {
        if (file->aside != NULL)
            sync_folder_of(file->path);
        sp_file_abort(&(struct sp_file){.path = file->path});
        free(file->aside);
        *file = (struct sp_file){0};
        return SP_OK;
    }
    sp_status status = cannot(err, "write", file->path, why);
    sp_file_abort(file);
    return status;
}

void sp_file_abort(struct sp_file *file)
{
    if (file->stream != NULL)
        fclose(file->stream);
    if (file->aside != NULL)
        unlink(file->aside);
    free(file->path);
    free(file->aside);
    *file = (struct sp_file){0};
}

sp_status sp_file_write(const char *path, const char *text, struct sp_error *err)
{
    struct sp_file file;
    SP_TRY(sp_file_begin(&file, path, err));
    fputs(text, file.stream); /* an error stays in the stream until the commit */
    return sp_file_commit(&file, err);
}

static sp_status folder_make_one(const char *path, struct sp_error *err)
{
    if (mkdir(path, 0777) == 0)
        return SP_OK;
    int why = errno;
    struct stat status;
    if (stat(path, &status) == 0) {
        if (S_ISDIR(status.st_mode))
            return SP_OK;
        why = ENOTDIR;
    }
    return cannot(err, "make the folder", path, why);
}

sp_status sp_folder_make(const char *path, struct sp_error *err)
{
    char *copy = sp_strdup(path);
    sp_status status = SP_OK;
    for (char *c = copy; status == SP_OK && *c != '\0'; c++) {
        if (*c != '/' || c == copy)
            continue;
        *c = '\0';
        status = folder_make_one(copy, err);
        *c = '/';
    }
    free(copy);
    return status == SP_OK ? folder_make_one(path, err) : status;
}

static sp_status unreadable(const char *path, const struct sp_mark *mark, const char *why, struct sp_error *err)
{
    if (mark != NULL)
        return sp_reject(err, *mark, "cannot read %s: %s", path, why);
    return SP_FAIL(err, SP_E_IO, "cannot read %s: %s", path, why);
}

static sp_status read_stream(FILE *stream, const char *path, size_t limit, const struct sp_mark *mark, char **text,
                             size_t *size, struct sp_error *err)
{
    struct stat status;
    if (fstat(fileno(stream), &status) == 0 && S_ISDIR(status.st_mode))
        return unreadable(path, mark, strerror(EISDIR), err);
    size_t room = 4096, length = 0;
    char *buffer = sp_alloc(room + 1);
    for (;;) {
        size_t got = fread(buffer + length, 1, room - length, stream);
        length += got;
        if (got == 0 || length > limit)
            break;
        if (length == room) {
            room *= 2;
            buffer = sp_realloc(buffer, room + 1);
        }
    }
    if (ferror(stream) || length > limit) {
        int why = errno;
        char *reason = length > limit ? sp_format("larger than %zu bytes", limit) : sp_strdup(strerror(why));
        sp_status result = unreadable(path, mark, reason, err);
        free(reason);
        free(buffer);
        return result;
    }
    buffer[length] = '\0';
    *text = buffer;
    if (size != NULL)
        *size = length;
    return SP_OK;
}

sp_status sp_file_read(const char *path, size_t limit, const struct sp_mark *mark, char **text, size_t *size,
                       struct sp_error *err)
{
    *text = NULL;
    if (size != NULL)
        *size = 0;
    FILE *stream = fopen(path, "r");
    if (stream == NULL)
        return unreadable(path, mark, strerror(errno), err);
    sp_status status = read_stream(stream, path, limit, mark, text, size, err);
    fclose(stream);
    return status;
}
