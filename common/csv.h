/*
 * csv.h - records of comma-separated values (RFC 4180: a field with a comma, a quote or a line's end stands in quotes,
 * quotes are doubled).
 */
#ifndef SP_CSV_H
#define SP_CSV_H

#include <stdbool.h>
#include <stdio.h>

struct sp_csv_record {
    char **fields;
    int count;
};

/* Prints a field, in quotes where it needs them. */
void sp_csv_write(const char *field, FILE *out);

/* Prints a number with so many decimals. One that is none is "nan", as gnuplot and pandas read it, whatever its sign.
 */
void sp_csv_real(double x, int decimals, FILE *out);

/* A field as a number; NAN where it is none, or more than one. */
double sp_csv_number(const char *field);

/* Splits the record at *at in place; its fields point into the text. *at moves behind its line's end. False: nothing is
 * left, or the record has no line's end and is torn (*at stays). Start with a zeroed record; sp_csv_fini frees it. */
bool sp_csv_next(char **at, struct sp_csv_record *record);
void sp_csv_fini(struct sp_csv_record *record);

#endif
