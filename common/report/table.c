#include "common/report/table.h"
#include "common/alloc.h"
#include "common/csv.h"
#include "common/file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_BYTES = 1 << 30 };

sp_status sp_table_read(const char *path, struct sp_table *out, struct sp_error *err)
{
    struct sp_mark mark = {.file = path};
    struct sp_csv_record record = {0};
    *out = (struct sp_table){0};
    SP_TRY(sp_file_read_text(path, MOST_BYTES, &mark, &out->text, err));
    char *at = out->text;
    if (!sp_csv_next(&at, &record))
        return sp_reject(err, mark, "no header: the file is empty");
    out->columns = record.count;
    out->names = sp_calloc((size_t)record.count, sizeof *out->names);
    memcpy(out->names, record.fields, (size_t)record.count * sizeof *out->names);
    size_t room = 0;
    for (int line = 2; sp_csv_next(&at, &record); line++) {
        if (record.count != out->columns) {
            out->damaged = out->damaged > 0 ? out->damaged : line;
            continue;
        }
        size_t used = (size_t)out->rows * (size_t)out->columns, more = (size_t)out->columns;
        if (used + more > room)
            out->cells = sp_realloc(out->cells, (room = 2 * (used + more)) * sizeof *out->cells);
        memcpy(out->cells + used, record.fields, more * sizeof *out->cells);
        *(int *)sp_grow((void **)&out->lines, out->rows, sizeof line) = line;
        out->rows++;
    }
    out->torn = *at != '\0';
    sp_csv_fini(&record);
    return SP_OK;
}

void sp_table_fini(struct sp_table *table)
{
    free(table->text);
    free(table->names);
    free(table->cells);
    free(table->lines);
    *table = (struct sp_table){0};
}

int sp_table_column(const struct sp_table *table, const char *name)
{
    for (int c = 0; c < table->columns; c++)
        if (strcmp(table->names[c], name) == 0)
            return c;
    return -1;
}

const char *sp_table_text(const struct sp_table *table, int row, int column)
{
    return column < 0 ? "" : table->cells[(size_t)row * (size_t)table->columns + (size_t)column];
}

double sp_table_number(const struct sp_table *table, int row, int column)
{
    return sp_csv_number(sp_table_text(table, row, column));
}
