#include "exec/data/fetch.h"
#include "common/alloc.h"
#include "common/file.h"

#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* Checksums: of MNIST and CIFAR-10 as published on the sets' pages, of Fashion-MNIST as in its repository. */
const struct exec_source exec_sources[] = {
    {.set = "fashion-mnist",
     .folder = "fashion-mnist",
     .from = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
     .files = {{"train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"},
               {"train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"},
               {"t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"},
               {"t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"}},
     .advice = "Debian has it too: apt install dataset-fashion-mnist"},
    {.set = "mnist",
     .folder = "mnist",
     .from = "https://ossci-datasets.s3.amazonaws.com/mnist/",
     .files = {{"train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"},
               {"train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"},
               {"t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"},
               {"t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"}}},
    {.set = "cifar10",
     .folder = "cifar-10-batches-bin",
     .from = "https://www.cs.toronto.edu/~kriz/",
     .files = {{"cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530"}},
     .archive = true,
     .holds = {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin",
               "test_batch.bin"},
     .held_bytes = 10000 * (1 + 3 * 32 * 32)},
    {.set = NULL},
};

/* Runs a program to its end; its exit status, 127 when there is no such program. */
static int run(char *const *words)
{
    pid_t child;
    int status;
    if (posix_spawnp(&child, words[0], NULL, NULL, words, environ) != 0)
        return 127;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return 127;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static bool is_there(const char *path)
{
    struct stat about;
    return stat(path, &about) == 0;
}

/* Whether the file has that checksum. The path goes to the program as a line of its input, so it needs no quoting. */
static bool is_whole(const char *path, const char *md5)
{
    if (!is_there(path))
        return false;
    FILE *checker = popen("md5sum --check --status - 2>/dev/null", "w");
    if (checker == NULL)
        return false;
    fprintf(checker, "%s  %s\n", md5, path);
    return pclose(checker) == 0;
}

static const char *why(int status)
{
    switch (status) {
    case 127:
        return "there is no program curl (Debian: apt install curl)";
    case 6:
        return "the host is not known: no network?";
    case 7:
    case 28:
        return "no connection";
    case 22:
        return "the server does not have it";
    case 23:
        return "it cannot be written: is the disk full?";
    case 37:
        return "there is no such file";
    default:
        return "curl failed";
    }
}

static sp_status by_hand(const struct exec_source *source, const char *from, const char *folder, struct sp_error *err)
{
    char *list = sp_strdup("");
    for (int f = 0; f < EXEC_SOURCE_FILES && source->files[f].name != NULL; f++) {
        char *longer = sp_format("%s\n  %s%s  (md5 %s)", list, from, source->files[f].name, source->files[f].md5);
        free(list);
        list = longer;
    }
    sp_error_context(err, "by hand: put %s%s into %s:%s%s%s",
                     source->archive ? "what is in the folder " : "these files", source->archive ? source->folder : "",
                     folder, list, source->advice != NULL ? "\n" : "", source->advice != NULL ? source->advice : "");
    free(list);
    return SP_E_IO;
}

/* Downloads one file to `path`. What an interrupted download left is gone on with; what turns out wrong is removed. */
static sp_status download(const char *address, const char *path, const char *md5, bool quiet, struct sp_error *err)
{
    char *part = sp_format("%s.part", path);
    char *words[] = {"curl",
                     "--fail",
                     "--location",
                     "--retry",
                     "2",
                     "--connect-timeout",
                     "20",
                     "--speed-time",
                     "60",
                     "--speed-limit",
                     "1",
                     "--continue-at",
                     "-",
                     quiet ? "--silent" : "--progress-bar",
                     "--output",
                     part,
                     (char *)address,
                     NULL};
    if (!quiet)
        fprintf(stderr, "%s\n", address);
    bool goes_on = is_there(part);
    int failed = run(words);
    if (failed != 0 && goes_on && !is_whole(part, md5)) { /* what is there may be what the server cannot go on with */
        unlink(part);
        failed = run(words);
    }
    sp_status status = SP_OK;
    if (is_whole(part, md5)) { /* also when nothing was left to download */
        if (rename(part, path) != 0)
            status = SP_FAIL(err, SP_E_IO, "%s: cannot write: %s", path, strerror(errno));
    } else if (failed != 0) {
        status = SP_FAIL(err, SP_E_IO, "cannot get %s: %s (status %d)", address, why(failed), failed);
    } else {
        unlink(part);
        status = SP_FAIL(err, SP_E_IO, "%s is not the official file: its checksum is not %s; nothing was kept", address,
                         md5);
    }
    free(part);
    return status;
}

/* Unpacks beside the folder and moves it there whole. */
static sp_status unpack(const struct exec_source *source, const char *archive, const char *folder, struct sp_error *err)
{
    char *aside = sp_format("%s.tmp%ld", folder, (long)getpid());
    char *inner = sp_format("%s/%s", aside, source->folder);
    char *words[] = {"tar", "-xzf", (char *)archive, "-C", aside, NULL}, *clear[] = {"rm", "-rf", aside, NULL};
    sp_status status = sp_folder_make(aside, err);
    if (status == SP_OK && run(words) != 0)
        status = SP_FAIL(err, SP_E_IO, "%s: cannot unpack it with tar", archive);
    if (status == SP_OK && rmdir(folder) != 0 && errno != ENOENT)
        status = SP_FAIL(err, SP_E_IO, "%s: something else is in that folder", folder);
    if (status == SP_OK && rename(inner, folder) != 0)
        status = SP_FAIL(err, SP_E_IO, "%s: cannot move %s there: %s", folder, inner, strerror(errno));
    (void)run(clear);
    free(inner);
    free(aside);
    return status;
}

static sp_status fetch_archive(const struct exec_source *source, const char *from, const char *folder, bool quiet,
                               struct sp_error *err)
{
    char *archive = sp_format("%s.%s", folder, source->files[0].name);
    char *address = sp_format("%s%s", from, source->files[0].name);
    sp_status status = SP_OK;
    if (!is_whole(archive, source->files[0].md5))
        status = download(address, archive, source->files[0].md5, quiet, err);
    if (status == SP_OK)
        status = unpack(source, archive, folder, err);
    if (status == SP_OK)
        unlink(archive);
    free(address);
    free(archive);
    return status;
}

static sp_status fetch_files(const struct exec_source *source, const char *from, const char *folder, bool quiet,
                             struct sp_error *err)
{
    SP_TRY(sp_folder_make(folder, err));
    sp_status status = SP_OK;
    for (int f = 0; f < EXEC_SOURCE_FILES && source->files[f].name != NULL && status == SP_OK; f++) {
        char *path = sp_format("%s/%s", folder, source->files[f].name);
        char *address = sp_format("%s%s", from, source->files[f].name);
        if (!is_whole(path, source->files[f].md5))
            status = download(address, path, source->files[f].md5, quiet, err);
        else if (!quiet)
            fprintf(stderr, "%s is there\n", path);
        free(address);
        free(path);
    }
    return status;
}

/* A path as an address has it: what is neither a letter, a digit nor one of "-._~/" is %XX (RFC 3986, 2.3). */
static char *in_address(const char *path)
{
    char *text = sp_alloc(3 * strlen(path) + 1), *to = text;
    for (const unsigned char *at = (const unsigned char *)path; *at != '\0'; at++) {
        bool plain = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') || (*at >= '0' && *at <= '9') ||
                     strchr("-._~/", *at) != NULL;
        to += sprintf(to, plain ? "%c" : "%%%02X", *at);
    }
    *to = '\0';
    return text;
}

/* "DIR" and "http://host/dir" become what a file's name can follow. */
static char *prefix_of(const char *from)
{
    const char *slash = from[0] != '\0' && from[strlen(from) - 1] == '/' ? "" : "/";
    if (strstr(from, "://") != NULL)
        return sp_format("%s%s", from, slash);
    char *here = from[0] == '/' ? NULL : getcwd(NULL, 0);
    char *whole = sp_format("%s%s%s%s", here != NULL ? here : "", here != NULL ? "/" : "", from, slash);
    char *path = in_address(whole), *prefix = sp_format("file://%s", path);
    free(path);
    free(whole);
    free(here);
    return prefix;
}

/* The folder of an archive that is not empty: is it whole? */
static sp_status check_folder(const struct exec_source *source, const char *folder, bool quiet, struct sp_error *err)
{
    for (int f = 0; f < EXEC_SOURCE_HOLDS && source->holds[f] != NULL; f++) {
        struct stat about;
        char *path = sp_format("%s/%s", folder, source->holds[f]);
        bool whole = stat(path, &about) == 0 && about.st_size == source->held_bytes;
        free(path);
        if (!whole)
            return SP_FAIL(err, SP_E_IO,
                           "%s is there, but not whole: %s is missing or has not %lld bytes; move the folder away",
                           folder, source->holds[f], (long long)source->held_bytes);
    }
    if (!quiet)
        fprintf(stderr, "%s is there\n", folder);
    return SP_OK;
}

sp_status exec_fetch(const struct exec_source *source, const char *from, const char *folder, bool quiet,
                     struct sp_error *err)
{
    char *prefix = prefix_of(from != NULL ? from : source->from), *parent = sp_strdup(folder);
    char *slash = strrchr(parent, '/');
    sp_status status = SP_OK;
    if (slash != NULL && slash != parent) {
        *slash = '\0';
        status = sp_folder_make(parent, err);
    }
    if (status == SP_OK && source->archive && is_there(folder) && rmdir(folder) != 0) {
        status = check_folder(source, folder, quiet, err);
    } else if (status == SP_OK) {
        status = (source->archive ? fetch_archive : fetch_files)(source, prefix, folder, quiet, err);
    }
    if (status != SP_OK)
        (void)by_hand(source, prefix, folder, err);
    free(parent);
    free(prefix);
    return status;
}
