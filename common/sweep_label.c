/*
 * What the points of a sweep are called.
 */
#include "common/alloc.h"
#include "common/sweep.h"
#include "common/yaml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct sp_yaml *value_at(const struct sp_sweep *sweep, int point, int axis, int key)
{
    const struct sp_sweep_axis *a = &sweep->axes[axis];
    return a->values[sweep->entries[point * sweep->axis_count + axis] * a->key_count + key];
}

/* The axis that `label` is swept in, and which of its keys that is; -1: none. */
static int find_label(const struct sp_sweep *sweep, int *key)
{
    for (int a = 0; a < sweep->axis_count; a++)
        for (*key = 0; *key < sweep->axes[a].key_count; ++*key)
            if (strcmp(sweep->axes[a].keys[*key], "label") == 0)
                return a;
    return -1;
}

/* The text of `label`; NULL: there is none. */
static const char *own_label(const struct sp_sweep *sweep, int point)
{
    int key, a = find_label(sweep, &key);
    const struct sp_yaml *value = a >= 0 ? value_at(sweep, point, a, key) : NULL;
    return value != NULL ? value->text : sweep->base->label;
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool has_equals(const char **texts, int count)
{
    bool found = false;
    qsort(texts, (size_t)count, sizeof *texts, compare_texts);
    for (int t = 1; t < count && !found; t++)
        found = strcmp(texts[t - 1], texts[t]) == 0;
    return found;
}

void sp_sweep_compare_labels(struct sp_sweep *sweep)
{
    int count = 0, key, a = find_label(sweep, &key), entries = a >= 0 ? sweep->axes[a].entry_count : 0;
    int most = sweep->point_count > entries ? sweep->point_count : entries;
    const char **labels = sp_calloc((size_t)most + 1, sizeof *labels);
    for (int p = 0; p < sweep->point_count; p++)
        if (own_label(sweep, p) != NULL)
            labels[count++] = own_label(sweep, p);
    sweep->labels_repeat = has_equals(labels, count);
    count = 0;
    for (int e = 0; e < entries; e++) {
        const struct sp_yaml *value = sweep->axes[a].values[e * sweep->axes[a].key_count + key];
        if (value != NULL)
            labels[count++] = value->text;
    }
    sweep->label_axis = a >= 0 && !has_equals(labels, count) ? a : -1;
    free(labels);
}

static void write_value(const struct sp_yaml *value, FILE *out)
{
    if (value->kind == SP_YAML_SCALAR)
        fputs(value->text, out);
    else
        sp_yaml_write(value, out);
}

/* Whether the values of an axis' first key alone tell its entries apart. */
static bool first_key_tells(const struct sp_sweep_axis *axis)
{
    char **texts = sp_calloc((size_t)axis->entry_count + 1, sizeof *texts);
    for (int e = 0; e < axis->entry_count; e++) {
        size_t size = 0;
        FILE *out = open_memstream(&texts[e], &size);
        if (axis->values[e * axis->key_count] != NULL)
            write_value(axis->values[e * axis->key_count], out);
        fclose(out);
    }
    bool found = !has_equals((const char **)texts, axis->entry_count);
    for (int e = 0; e < axis->entry_count; e++)
        free(texts[e]);
    free(texts);
    return found;
}

/* The point's values; behind a label those of other axes than its own, and no more of them than tell points apart. */
static void write_values(const struct sp_sweep *sweep, int point, bool behind_label, FILE *out)
{
    const char *gap = behind_label ? " " : "";
    for (int a = 0; a < sweep->axis_count; a++) {
        const struct sp_sweep_axis *axis = &sweep->axes[a];
        bool first_only = behind_label && first_key_tells(axis);
        for (int k = 0; k < axis->key_count; k++) {
            const struct sp_yaml *value = value_at(sweep, point, a, k);
            if ((behind_label && a == sweep->label_axis) || axis->entry_count < 2 || value == NULL ||
                strcmp(axis->keys[k], "published") == 0 || strcmp(axis->keys[k], "label") == 0 || (first_only && k > 0))
                continue;
            fputs(gap, out);
            write_value(value, out);
            gap = " ";
        }
    }
}

char *sp_sweep_label(const struct sp_sweep *sweep, int point)
{
    const char *own = own_label(sweep, point);
    if (own != NULL && !sweep->labels_repeat)
        return sp_strdup(own);
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (own != NULL)
        fputs(own, out);
    write_values(sweep, point, own != NULL, out);
    fflush(out);
    if (size == 0)
        fputs(sweep->base->name, out);
    fclose(out);
    return text;
}
