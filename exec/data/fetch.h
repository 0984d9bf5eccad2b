/*
 * fetch.h - getting the official files of a data set, with their published checksums.
 *
 * Downloads are left to curl, checksums to md5sum, archives to tar: programs that a Debian system has or installs.
 */
#ifndef EXEC_DATA_FETCH_H
#define EXEC_DATA_FETCH_H

#include "common/error.h"

enum { EXEC_SOURCE_FILES = 4, EXEC_SOURCE_HOLDS = 8 };

/* Where a set comes from. */
struct exec_source {
    const char *set;    /* the name in an experiment */
    const char *folder; /* the name of the folder that `data.dir: auto` looks for */
    const char *from;   /* what the files' names follow in their address */
    struct {
        const char *name, *md5;
    } files[EXEC_SOURCE_FILES]; /* ended by NULL or the end */
    bool archive; /* the one file is a gzipped tar that holds `folder`, and in it these, of so many bytes each */
    const char *holds[EXEC_SOURCE_HOLDS];
    int64_t held_bytes;
    const char *advice; /* another way to get it, as a sentence; NULL: none */
};

extern const struct exec_source exec_sources[]; /* ended by set NULL */

/*
 * Brings the set's files into `folder` (made where it is not there), from `from` (NULL: the source's own; a folder or
 * an address) and tells what it does on stderr unless `quiet`. Files that are there and whole are kept. A file appears
 * under its name only when its checksum is right; an interrupted download goes on where it ended. SP_E_IO with what to
 * do by hand when it cannot be had.
 */
sp_status exec_fetch(const struct exec_source *source, const char *from, const char *folder, bool quiet,
                     struct sp_error *err);

#endif
