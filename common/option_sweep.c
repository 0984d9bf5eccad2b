/*
 * The values of an experiment file that belong to sweeps: what to vary (read in common/sweep.c once all is known), and
 * what others published.
 */
#include "common/alloc.h"
#include "common/options.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

sp_status sp_read_sweep(struct sp_experiment *experiment, const struct sp_yaml *value, struct sp_error *err)
{
    bool empty = value->kind == SP_YAML_SCALAR ? value->text[0] == '\0' : value->count == 0;
    experiment->sweep = NULL;
    if (empty)
        return SP_OK;
    if (value->kind != SP_YAML_MAP)
        return sp_reject(err, value->mark,
                         "sweep: expected keys and lists of values, such as {pipeline.cuts: [[1], [2]]}");
    experiment->sweep = value;
    return SP_OK;
}

void sp_write_sweep(const struct sp_experiment *experiment, FILE *out)
{
    if (experiment->sweep != NULL)
        sp_yaml_write(experiment->sweep, out);
}

/* The kind and metric that a key such as "accuracy_difference" names; false: neither. */
static bool find_published(const char *key, int *kind, int *metric)
{
    for (*kind = 0; *kind < SP_PUBLISHED_COUNT; ++*kind)
        for (*metric = 0; *metric < SP_METRIC_COUNT; ++*metric) {
            size_t length = strlen(sp_metrics[*metric].name);
            if (strncmp(key, sp_metrics[*metric].name, length) == 0 &&
                strcmp(key + length, sp_published_endings[*kind]) == 0)
                return true;
        }
    return false;
}

static sp_status reject_published(const struct sp_yaml *key, struct sp_error *err)
{
    char *texts[SP_PUBLISHED_COUNT * SP_METRIC_COUNT];
    const char *names[SP_PUBLISHED_COUNT * SP_METRIC_COUNT];
    int count = 0;
    for (int k = 0; k < SP_PUBLISHED_COUNT; k++)
        for (int m = 0; m < SP_METRIC_COUNT; m++, count++)
            names[count] = texts[count] = sp_format("%s%s", sp_metrics[m].name, sp_published_endings[k]);
    const char *near = sp_nearest(key->text, names, count);
    sp_reject(err, key->mark, "published: no metric \"%s\"%s%s%s", key->text, near != NULL ? "; did you mean \"" : "",
              near != NULL ? near : "", near != NULL ? "\"?" : "");
    for (int n = 0; n < count; n++)
        free(texts[n]);
    return SP_E_INPUT;
}

sp_status sp_read_published(struct sp_experiment *experiment, const struct sp_yaml *value, struct sp_error *err)
{
    sp_status status = SP_OK;
    for (int k = 0; k < SP_PUBLISHED_COUNT; k++)
        for (int m = 0; m < SP_METRIC_COUNT; m++)
            experiment->published[k][m] = NAN;
    if (value->kind == SP_YAML_SCALAR && value->text[0] == '\0')
        return SP_OK;
    if (value->kind != SP_YAML_MAP)
        return sp_reject(err, value->mark, "published: expected metrics and numbers, such as {speedup: 1.65}");
    for (int i = 0; i < value->count; i++) {
        int kind, metric;
        if (!find_published(value->keys[i]->text, &kind, &metric))
            status = reject_published(value->keys[i], err);
        else if (!sp_yaml_double(value->items[i], &experiment->published[kind][metric]))
            status = sp_reject(err, value->items[i]->mark, "published.%s: expected a number", value->keys[i]->text);
    }
    return status;
}

void sp_write_published(const struct sp_experiment *experiment, FILE *out)
{
    bool any = false;
    for (int k = 0; k < SP_PUBLISHED_COUNT; k++)
        for (int m = 0; m < SP_METRIC_COUNT; m++)
            if (!isnan(experiment->published[k][m])) {
                fprintf(out, "%s%s%s: ", any ? ", " : "{", sp_metrics[m].name, sp_published_endings[k]);
                sp_write_real(experiment->published[k][m], out);
                any = true;
            }
    if (any)
        fputc('}', out);
}
