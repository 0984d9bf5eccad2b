#include "common/csv.h"
#include "common/alloc.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void sp_csv_write(const char *field, FILE *out)
{
    if (field[strcspn(field, ",\"\n\r")] == '\0') {
        fputs(field, out);
        return;
    }
    fputc('"', out);
    for (; *field != '\0'; field++) {
        if (*field == '"')
            fputc('"', out);
        fputc(*field, out);
    }
    fputc('"', out);
}

void sp_csv_real(double x, int decimals, FILE *out)
{
    if (isnan(x)) /* printf has "-nan" too, which is what 0 / 0 is on x86 */
        fputs("nan", out);
    else
        fprintf(out, "%.*f", decimals, x);
}

double sp_csv_number(const char *field)
{
    char *end;
    double x = strtod(field, &end);
    return end == field || *end != '\0' ? NAN : x;
}

/* The record's line end; NULL: it has none. */
static char *find_end(char *at)
{
    bool quoted = false;
    for (; *at != '\0'; at++) {
        quoted ^= *at == '"';
        if (*at == '\n' && !quoted)
            return at;
    }
    return NULL;
}

/* Takes one field's quotes away in place; returns where it ends, which is at a comma or at `end`. */
static char *unquote(char *field, const char *end)
{
    char *to = field, *from = field;
    bool quoted = false;
    for (; from < end && (quoted || *from != ','); from++) {
        if (*from != '"') {
            *to++ = *from;
        } else if (quoted && from + 1 < end && from[1] == '"') {
            *to++ = '"';
            from++;
        } else {
            quoted = !quoted;
        }
    }
    if (from == end && to > field && to[-1] == '\r')
        to--;
    if (to < from)
        *to = '\0';
    return from;
}

bool sp_csv_next(char **at, struct sp_csv_record *record)
{
    char *end = find_end(*at);
    if (end == NULL)
        return false;
    record->count = 0;
    for (char *field = *at;;) {
        *(char **)sp_grow((void **)&record->fields, record->count, sizeof field) = field;
        record->count++;
        char *stop = unquote(field, end);
        bool last = stop == end;
        *stop = '\0';
        if (last)
            break;
        field = stop + 1;
    }
    *at = end + 1;
    return true;
}

void sp_csv_fini(struct sp_csv_record *record)
{
    free(record->fields);
    *record = (struct sp_csv_record){0};
}
