/*
 * file.h - files that appear whole or not at all.
 */
#ifndef SP_FILE_H
#define SP_FILE_H

#include "common/error.h"

#include <stdio.h>

/* Opens "PATH.tmpPID" for writing; sp_file_commit flushes, fsyncs and renames it to PATH (and fsyncs the folder);
 * sp_file_abort removes it. Either ends `file`. */
struct sp_file {
    FILE *stream;
    char *path, *aside;
};
sp_status sp_file_begin(struct sp_file *file, const char *path, struct sp_error *err);
sp_status sp_file_commit(struct sp_file *file, struct sp_error *err);
void sp_file_abort(struct sp_file *file);

/* Writes a whole text at once. */
sp_status sp_file_write(const char *path, const char *text, struct sp_error *err);

/* Renames a file or folder to PATH.ENDING, or PATH.ENDING2, PATH.ENDING3, ... where that is taken: nothing is written
 * over. *to is its name now (the caller frees), NULL after a failure. */
sp_status sp_file_set_aside(const char *path, const char *ending, char **to, struct sp_error *err);

/* Makes a folder and those above it. */
sp_status sp_folder_make(const char *path, struct sp_error *err);

/* Makes the folder and holds it against other processes, until it is let go or the process ends: SP_E_IO when another
 * one holds it. What sp_file_begin had opened there in processes that were killed is removed. */
struct sp_hold {
    bool held;
    int fd;
};
sp_status sp_folder_hold(const char *path, struct sp_hold *hold, struct sp_error *err);
void sp_folder_let_go(struct sp_hold *hold);

/* Reads a whole file; the caller frees *text (NUL-terminated, *size without it). Larger than `limit` is refused.
 * A file that cannot be read is SP_E_INPUT when `mark` is not NULL (the user named it there), else SP_E_IO. */
sp_status sp_file_read(const char *path, size_t limit, const struct sp_mark *mark, char **text, size_t *size,
                       struct sp_error *err);

/* The same of a text, without a byte order mark in front. A byte 0 is told by its line, SP_E_INPUT: else what is behind
 * it would seem not to be there. */
sp_status sp_file_read_text(const char *path, size_t limit, const struct sp_mark *mark, char **text,
                            struct sp_error *err);

#endif
