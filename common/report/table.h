/*
 * table.h - a CSV file with a header, read whole; cells by row and column name.
 */
#ifndef SP_TABLE_H
#define SP_TABLE_H

#include "common/error.h"

#include <stdbool.h>

struct sp_table {
    char *text;   /* owns what the cells point at */
    char **names; /* of the columns */
    int columns, rows;
    char **cells; /* [row * columns + column] */
    int *lines;   /* of the rows, where no field has a line's end in it */
    int damaged;  /* the first line that was left out; 0: none */
    bool torn;    /* the last row has no line's end */
};

/* Reads a file. Rows with another number of fields than the header, and a last one without its line's end, are left
 * out: `damaged` and `torn` say so. No file, no header: SP_E_INPUT, told with the path. Free with sp_table_fini, also
 * after a failure. */
sp_status sp_table_read(const char *path, struct sp_table *out, struct sp_error *err);
void sp_table_fini(struct sp_table *table);

/* The column of that name; -1: there is none. */
int sp_table_column(const struct sp_table *table, const char *name);

/* A cell; "" where the column is -1. */
const char *sp_table_text(const struct sp_table *table, int row, int column);

/* A cell as a number; NAN where it is none, or the column is -1. */
double sp_table_number(const struct sp_table *table, int row, int column);

#endif
