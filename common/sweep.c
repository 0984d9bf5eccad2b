#include "common/sweep.h"
#include "common/alloc.h"
#include "common/options.h"

#include <stdlib.h>
#include <string.h>

enum { POINTS_LIMIT = 1000000, REPEAT_LIMIT = 10000, RUNS_LIMIT = 10000000 };

static const char *const words[] = {"zip", "cases", "unless", "only", "repeat", "reference", "pair", "baseline"};
enum { WORDS = sizeof words / sizeof *words };

static bool is_word_of_sweep(const char *key)
{
    for (int w = 0; w < WORDS; w++)
        if (strcmp(key, words[w]) == 0)
            return true;
    return false;
}

/* The option that may be swept under that name; NULL and a message: none. */
static const char *find_key(const struct sp_sweep *sweep, const struct sp_yaml *key, struct sp_error *err)
{
    int option = sp_option_find(key->text);
    if (option >= 0 && (strcmp(key->text, "sweep") == 0 || strcmp(key->text, "name") == 0)) {
        sp_reject(err, key->mark, "sweep: \"%s\" cannot be varied", key->text);
        return NULL;
    }
    if (option < 0) {
        const char *names[256] = {0};
        int count = 0;
        for (int w = 0; w < WORDS; w++)
            names[count++] = words[w];
        for (int o = 0; o < sp_option_count && count < 256; o++)
            names[count++] = sp_options[o].path;
        const char *near = sp_nearest(key->text, names, count);
        sp_reject(err, key->mark, "sweep: no key \"%s\"%s%s%s", key->text, near != NULL ? "; did you mean \"" : "",
                  near != NULL ? near : "", near != NULL ? "\"?" : "");
        return NULL;
    }
    const struct sp_mark *set = &sweep->base->marks[option];
    if (set->line == 0 && set->file != NULL && strncmp(set->file, "--set ", 6) == 0) {
        sp_reject(err, key->mark, "sweep: \"%s\" is swept here and set on the command line", key->text);
        return NULL;
    }
    return sp_options[option].path;
}

static int find_axis(const struct sp_sweep *sweep, const char *path, int *key)
{
    for (int a = 0; a < sweep->axis_count; a++)
        for (*key = 0; *key < sweep->axes[a].key_count; ++*key)
            if (strcmp(sweep->axes[a].keys[*key], path) == 0)
                return a;
    return -1;
}

/* Reads every value into an experiment of its own, to hear what the option says of it. */
static sp_status check_values(const struct sp_sweep *sweep, const char *path, const struct sp_yaml *list,
                              struct sp_error *err)
{
    sp_status status = SP_OK;
    for (int i = 0; i < list->count; i++) {
        struct sp_experiment *experiment;
        struct sp_override override = {path, list->items[i]};
        sp_status one = sp_experiment_vary(sweep->base, &override, 1, &experiment, err);
        sp_experiment_destroy(&experiment);
        status = one != SP_OK ? one : status;
    }
    return status;
}

/* Adds keys[0..count) with their lists as one axis. */
static sp_status add_axis(struct sp_sweep *sweep, struct sp_yaml *const *keys, struct sp_yaml *const *lists, int count,
                          struct sp_error *err)
{
    sp_status status = SP_OK;
    struct sp_sweep_axis axis = {.keys = sp_calloc((size_t)count + 1, sizeof *axis.keys)};
    int seen;
    for (int k = 0; k < count; k++) {
        const char *path = find_key(sweep, keys[k], err);
        if (path == NULL)
            status = SP_E_INPUT;
        else if (find_axis(sweep, path, &seen) >= 0)
            status = sp_reject(err, keys[k]->mark, "sweep: \"%s\" is swept twice", path);
        else if (lists[k]->kind != SP_YAML_LIST || lists[k]->count == 0)
            status = sp_reject(err, lists[k]->mark, "sweep: \"%s\": expected a list of values", path);
        else if (lists[k]->count != lists[0]->count)
            status = sp_reject(err, lists[k]->mark, "sweep.zip: %d values of \"%s\", but %d of \"%s\"", lists[k]->count,
                               path, lists[0]->count, keys[0]->text);
        else if (check_values(sweep, path, lists[k], err) != SP_OK)
            status = SP_E_INPUT;
        axis.keys[k] = path;
    }
    if (status != SP_OK || count == 0) {
        free(axis.keys);
        return status;
    }
    axis.key_count = count;
    axis.entry_count = lists[0]->count;
    axis.values = sp_calloc((size_t)count * (size_t)axis.entry_count, sizeof *axis.values);
    for (int e = 0; e < axis.entry_count; e++)
        for (int k = 0; k < count; k++)
            axis.values[e * count + k] = lists[k]->items[e];
    *(struct sp_sweep_axis *)sp_grow((void **)&sweep->axes, sweep->axis_count, sizeof axis) = axis;
    sweep->axis_count++;
    return SP_OK;
}

/* Calls `each` on a map, or on every map of a list of them. */
static sp_status for_each_map(struct sp_sweep *sweep, const char *word, const struct sp_yaml *value,
                              sp_status (*each)(struct sp_sweep *, const struct sp_yaml *, struct sp_error *),
                              struct sp_error *err)
{
    sp_status status = SP_OK;
    int count = value->kind == SP_YAML_LIST ? value->count : 1;
    for (int i = 0; i < count; i++) {
        const struct sp_yaml *map = value->kind == SP_YAML_LIST ? value->items[i] : value;
        sp_status one = map->kind == SP_YAML_MAP
                            ? each(sweep, map, err)
                            : sp_reject(err, map->mark, "sweep.%s: expected keys and values", word);
        status = one != SP_OK ? one : status;
    }
    return status;
}

static sp_status add_zip(struct sp_sweep *sweep, const struct sp_yaml *map, struct sp_error *err)
{
    return add_axis(sweep, map->keys, map->items, map->count, err);
}

/* The place of a key in the axis, which gets it if it is new. NULL and a message: it cannot be swept here. */
static sp_status take_key(struct sp_sweep *sweep, struct sp_sweep_axis *axis, const struct sp_yaml *key, int *place,
                          struct sp_error *err)
{
    int seen;
    const char *path = find_key(sweep, key, err);
    if (path == NULL)
        return SP_E_INPUT;
    for (*place = 0; *place < axis->key_count; ++*place)
        if (strcmp(axis->keys[*place], path) == 0)
            return SP_OK;
    if (find_axis(sweep, path, &seen) >= 0)
        return sp_reject(err, key->mark, "sweep: \"%s\" is swept twice", path);
    *(const char **)sp_grow((void **)&axis->keys, axis->key_count, sizeof path) = path;
    axis->key_count++;
    return SP_OK;
}

/* Finds the keys of all cases, then fills in who sets what. */
static sp_status fill_cases(struct sp_sweep *sweep, struct sp_sweep_axis *axis, const struct sp_yaml *cases,
                            struct sp_error *err)
{
    sp_status status = SP_OK;
    for (int fill = 0; fill < 2 && status == SP_OK; fill++) {
        if (fill)
            axis->values = sp_calloc((size_t)axis->key_count * (size_t)cases->count + 1, sizeof *axis->values);
        for (int c = 0; c < cases->count; c++)
            for (int k = 0; k < cases->items[c]->count; k++) {
                int place;
                struct sp_yaml *value = cases->items[c]->items[k], **values = &value;
                struct sp_yaml one = {.kind = SP_YAML_LIST, .count = 1, .items = values};
                sp_status found = take_key(sweep, axis, cases->items[c]->keys[k], &place, err);
                if (found == SP_OK && fill)
                    axis->values[c * axis->key_count + place] = value;
                else if (found == SP_OK)
                    found = check_values(sweep, axis->keys[place], &one, err);
                status = found != SP_OK ? found : status;
            }
    }
    return status;
}

static sp_status add_cases(struct sp_sweep *sweep, const struct sp_yaml *cases, struct sp_error *err)
{
    if (cases->kind != SP_YAML_LIST || cases->count == 0)
        return sp_reject(err, cases->mark, "sweep.cases: expected a list of keys and values");
    for (int c = 0; c < cases->count; c++)
        if (cases->items[c]->kind != SP_YAML_MAP)
            return sp_reject(err, cases->items[c]->mark, "sweep.cases: expected keys and values");
    struct sp_sweep_axis axis = {.entry_count = cases->count};
    sp_status status = fill_cases(sweep, &axis, cases, err);
    if (status != SP_OK) {
        free(axis.keys);
        free(axis.values);
        return status;
    }
    *(struct sp_sweep_axis *)sp_grow((void **)&sweep->axes, sweep->axis_count, sizeof axis) = axis;
    sweep->axis_count++;
    return SP_OK;
}

static sp_status read_axes(struct sp_sweep *sweep, const struct sp_yaml *map, struct sp_error *err)
{
    sp_status status = SP_OK;
    for (int i = 0; i < map->count; i++) {
        sp_status one = SP_OK;
        if (strcmp(map->keys[i]->text, "zip") == 0)
            one = for_each_map(sweep, "zip", map->items[i], add_zip, err);
        else if (strcmp(map->keys[i]->text, "cases") == 0)
            one = add_cases(sweep, map->items[i], err);
        else if (!is_word_of_sweep(map->keys[i]->text))
            one = add_axis(sweep, &map->keys[i], &map->items[i], 1, err);
        status = one != SP_OK ? one : status;
    }
    return status;
}

static bool value_matches(const struct sp_yaml *value, const struct sp_yaml *wanted)
{
    if (sp_yaml_same(value, wanted))
        return true;
    for (int i = 0; wanted->kind == SP_YAML_LIST && i < wanted->count; i++)
        if (sp_yaml_same(value, wanted->items[i]))
            return true;
    return false;
}

/* Whether a value of the axis' key matches. */
static bool ever_matches(const struct sp_sweep_axis *axis, int key, const struct sp_yaml *wanted)
{
    for (int e = 0; e < axis->entry_count; e++) {
        const struct sp_yaml *value = axis->values[e * axis->key_count + key];
        if (value != NULL && value_matches(value, wanted))
            return true;
    }
    return false;
}

/* Every key of a condition must be swept, and its values be among those. */
static sp_status check_condition(struct sp_sweep *sweep, const struct sp_yaml *map, struct sp_error *err)
{
    sp_status status = SP_OK;
    int key;
    for (int i = 0; i < map->count; i++) {
        int a = find_axis(sweep, map->keys[i]->text, &key);
        if (a < 0)
            status = sp_reject(err, map->keys[i]->mark, "sweep: \"%s\" is not swept", map->keys[i]->text);
        else if (!ever_matches(&sweep->axes[a], key, map->items[i]))
            status = sp_reject(err, map->items[i]->mark, "sweep: \"%s\" never has this value", map->keys[i]->text);
    }
    return status;
}

/* Whether the entries, one of each axis, match all of a condition. Entries of -1 are not asked. */
static bool entries_match(const struct sp_sweep *sweep, const int *entries, const struct sp_yaml *condition)
{
    for (int i = 0; i < condition->count; i++) {
        int key, axis = find_axis(sweep, condition->keys[i]->text, &key);
        const struct sp_sweep_axis *a = &sweep->axes[axis];
        if (entries[axis] < 0)
            continue;
        const struct sp_yaml *value = a->values[entries[axis] * a->key_count + key];
        if (value == NULL || !value_matches(value, condition->items[i]))
            return false;
    }
    return true;
}

/* Whether they match one of a list of conditions, or the only one. */
static bool any_matches(const struct sp_sweep *sweep, const int *entries, const struct sp_yaml *conditions)
{
    if (conditions->kind == SP_YAML_MAP)
        return entries_match(sweep, entries, conditions);
    for (int i = 0; i < conditions->count; i++)
        if (entries_match(sweep, entries, conditions->items[i]))
            return true;
    return false;
}

static sp_status make_points(struct sp_sweep *sweep, const struct sp_yaml *map, struct sp_error *err)
{
    const struct sp_yaml *unless = sp_yaml_get(map, "unless"), *only = sp_yaml_get(map, "only");
    int64_t all = 1;
    for (int a = 0; a < sweep->axis_count && all <= POINTS_LIMIT; a++)
        all *= sweep->axes[a].entry_count;
    if (all > POINTS_LIMIT)
        return sp_reject(err, map->mark, "sweep: more than %d points", POINTS_LIMIT);
    size_t width = (size_t)sweep->axis_count;
    sweep->entries = sp_calloc((size_t)all * width + 1, sizeof *sweep->entries);
    sweep->point_of = sp_calloc((size_t)all, sizeof *sweep->point_of);
    for (int64_t c = 0; c < all; c++) {
        int *entries = &sweep->entries[(size_t)sweep->point_count * width]; /* stays where it is kept */
        int64_t rest = c;
        for (int a = sweep->axis_count - 1; a >= 0; a--) {
            entries[a] = (int)(rest % sweep->axes[a].entry_count);
            rest /= sweep->axes[a].entry_count;
        }
        bool kept = (unless == NULL || !any_matches(sweep, entries, unless)) &&
                    (only == NULL || any_matches(sweep, entries, only));
        sweep->point_of[c] = kept ? sweep->point_count++ : -1;
    }
    return sweep->point_count > 0 ? SP_OK : sp_reject(err, map->mark, "sweep: the conditions leave no point");
}

static const int *entries_of(const struct sp_sweep *sweep, int point)
{
    return &sweep->entries[(size_t)point * (size_t)sweep->axis_count];
}

/* The entry of each axis that has one of the reference's keys; -1 for the others. */
static sp_status find_reference_entries(const struct sp_sweep *sweep, const struct sp_yaml *map, int *reference,
                                        struct sp_error *err)
{
    int *probe = sp_calloc((size_t)sweep->axis_count + 1, sizeof *probe);
    sp_status status = SP_OK;
    for (int a = 0; a < sweep->axis_count; a++)
        reference[a] = probe[a] = -1;
    for (int i = 0; i < map->count && status == SP_OK; i++) {
        int key, a = find_axis(sweep, map->keys[i]->text, &key);
        for (int e = sweep->axes[a].entry_count - 1; e >= 0; e--) {
            probe[a] = e;
            if (entries_match(sweep, probe, map))
                reference[a] = e;
        }
        probe[a] = -1;
        if (reference[a] < 0)
            status =
                sp_reject(err, map->items[i]->mark, "sweep.reference: \"%s\" never has this value", map->keys[i]->text);
    }
    free(probe);
    return status;
}

/* The partner is where the reference says on its axes, and where the point is on all others. */
static void find_partners_by_axes(struct sp_sweep *sweep, const int *reference)
{
    for (int p = 0; p < sweep->point_count; p++) {
        int64_t combination = 0;
        for (int a = 0; a < sweep->axis_count; a++)
            combination =
                combination * sweep->axes[a].entry_count + (reference[a] >= 0 ? reference[a] : entries_of(sweep, p)[a]);
        int other = sweep->point_of[combination];
        sweep->partner[p] = other == p ? -1 : other;
    }
}

static bool have_in_common(const struct sp_sweep *sweep, int p, int q, const struct sp_yaml *keys)
{
    for (int k = 0; k < keys->count; k++) {
        int key, axis = find_axis(sweep, keys->items[k]->text, &key);
        const struct sp_sweep_axis *a = &sweep->axes[axis];
        const struct sp_yaml *x = a->values[entries_of(sweep, p)[axis] * a->key_count + key];
        const struct sp_yaml *y = a->values[entries_of(sweep, q)[axis] * a->key_count + key];
        if (x == NULL || y == NULL ? x != y : !sp_yaml_same(x, y))
            return false;
    }
    return true;
}

/* The partner is the first point that matches the reference and has the values of the pair's keys. */
static void find_partners_by_keys(struct sp_sweep *sweep, const struct sp_yaml *reference, const struct sp_yaml *keys)
{
    for (int p = 0; p < sweep->point_count; p++) {
        bool is_one = entries_match(sweep, entries_of(sweep, p), reference);
        sweep->partner[p] = -1;
        for (int q = 0; q < sweep->point_count && !is_one && sweep->partner[p] < 0; q++)
            if (entries_match(sweep, entries_of(sweep, q), reference) && have_in_common(sweep, p, q, keys))
                sweep->partner[p] = q;
    }
}

static sp_status check_pair(const struct sp_sweep *sweep, const struct sp_yaml *pair, struct sp_error *err)
{
    sp_status status = SP_OK;
    int key;
    if (pair->kind != SP_YAML_LIST)
        return sp_reject(err, pair->mark, "sweep.pair: expected a list of swept keys");
    for (int k = 0; k < pair->count; k++)
        if (pair->items[k]->kind != SP_YAML_SCALAR || find_axis(sweep, pair->items[k]->text, &key) < 0)
            status = sp_reject(err, pair->items[k]->mark, "sweep.pair: \"%s\" is not swept",
                               pair->items[k]->kind == SP_YAML_SCALAR ? pair->items[k]->text : "a list");
    return status;
}

static sp_status read_reference(struct sp_sweep *sweep, const struct sp_yaml *map, const struct sp_yaml *pair,
                                struct sp_error *err)
{
    if (map == NULL)
        return pair == NULL ? SP_OK : sp_reject(err, pair->mark, "sweep.pair: there is no reference");
    if (map->kind != SP_YAML_MAP)
        return sp_reject(err, map->mark, "sweep.reference: expected keys and values");
    SP_TRY(check_condition(sweep, map, err));
    if (pair != NULL)
        SP_TRY(check_pair(sweep, pair, err));
    int *reference = sp_calloc((size_t)sweep->axis_count + 1, sizeof *reference);
    sp_status status = find_reference_entries(sweep, map, reference, err);
    if (status == SP_OK) {
        sweep->partner = sp_calloc((size_t)sweep->point_count, sizeof *sweep->partner);
        if (pair != NULL)
            find_partners_by_keys(sweep, map, pair);
        else
            find_partners_by_axes(sweep, reference);
    }
    free(reference);
    return status;
}

static sp_status read_scalars(struct sp_sweep *sweep, const struct sp_yaml *map, struct sp_error *err)
{
    const struct sp_yaml *repeat = sp_yaml_get(map, "repeat"), *baseline = sp_yaml_get(map, "baseline");
    int64_t count = 1;
    sp_status status = SP_OK;
    if (repeat != NULL && (!sp_yaml_int(repeat, &count) || count < 1 || count > REPEAT_LIMIT))
        status = sp_reject(err, repeat->mark, "sweep.repeat: expected a whole number from 1 to %d", REPEAT_LIMIT);
    if (baseline != NULL && !sp_yaml_bool(baseline, &sweep->baseline))
        status = sp_reject(err, baseline->mark, "sweep.baseline: expected true or false");
    sweep->repeat = (int)count;
    return status;
}

static sp_status read_sweep(struct sp_sweep *sweep, const struct sp_yaml *map, struct sp_error *err)
{
    static const char *const conditions[] = {"unless", "only"};
    sp_status status = read_axes(sweep, map, err), scalars = read_scalars(sweep, map, err);
    status = status != SP_OK ? status : scalars;
    if (status != SP_OK)
        return status;
    for (int c = 0; c < 2; c++) {
        const struct sp_yaml *condition = sp_yaml_get(map, conditions[c]);
        sp_status one = condition != NULL ? for_each_map(sweep, conditions[c], condition, check_condition, err) : SP_OK;
        status = one != SP_OK ? one : status;
    }
    if (status == SP_OK)
        status = make_points(sweep, map, err);
    if (status == SP_OK && (int64_t)sweep->point_count * (1 + sweep->repeat) > RUNS_LIMIT)
        status = sp_reject(err, map->mark, "sweep: %d points, simulated and run %d times each, are more than %d runs",
                           sweep->point_count, sweep->repeat, RUNS_LIMIT);
    if (status == SP_OK)
        sp_sweep_compare_labels(sweep);
    if (status == SP_OK)
        status = read_reference(sweep, sp_yaml_get(map, "reference"), sp_yaml_get(map, "pair"), err);
    return status;
}

sp_status sp_sweep_create(const struct sp_experiment *base, struct sp_sweep **out, struct sp_error *err)
{
    *out = NULL;
    if (base->sweep == NULL)
        return sp_reject(err, sp_experiment_mark(base, "sweep"),
                         "sweep: nothing to vary; say what, such as sweep: {pipeline.cuts: [[1], [2]]}");
    struct sp_sweep *sweep = sp_calloc(1, sizeof *sweep);
    sweep->base = base;
    sp_status status = read_sweep(sweep, base->sweep, err);
    *out = sweep;
    if (status != SP_OK)
        sp_sweep_destroy(out);
    return status;
}

void sp_sweep_destroy(struct sp_sweep **sweep)
{
    struct sp_sweep *s = *sweep;
    if (s == NULL)
        return;
    for (int a = 0; a < s->axis_count; a++) {
        free(s->axes[a].keys);
        free(s->axes[a].values);
    }
    free(s->axes);
    free(s->entries);
    free(s->point_of);
    free(s->partner);
    free(s);
    *sweep = NULL;
}

int sp_sweep_key_count(const struct sp_sweep *sweep)
{
    int count = 0;
    for (int a = 0; a < sweep->axis_count; a++)
        count += sweep->axes[a].key_count;
    return count;
}

/* The axis of the key-th swept key; *key becomes its place there. */
static int locate(const struct sp_sweep *sweep, int *key)
{
    int a = 0;
    while (*key >= sweep->axes[a].key_count)
        *key -= sweep->axes[a++].key_count;
    return a;
}

const char *sp_sweep_key(const struct sp_sweep *sweep, int key)
{
    int a = locate(sweep, &key);
    return sweep->axes[a].keys[key];
}

const struct sp_yaml *sp_sweep_value(const struct sp_sweep *sweep, int point, int key)
{
    int a = locate(sweep, &key);
    return sweep->axes[a].values[sweep->entries[point * sweep->axis_count + a] * sweep->axes[a].key_count + key];
}

sp_status sp_sweep_experiment(const struct sp_sweep *sweep, int point, int repeat, struct sp_experiment **out,
                              struct sp_error *err)
{
    int keys = sp_sweep_key_count(sweep), count = 0;
    struct sp_override *overrides = sp_calloc((size_t)keys + 1, sizeof *overrides);
    for (int k = 0; k < keys; k++)
        if (sp_sweep_value(sweep, point, k) != NULL)
            overrides[count++] = (struct sp_override){sp_sweep_key(sweep, k), sp_sweep_value(sweep, point, k)};
    sp_status status = sp_experiment_vary(sweep->base, overrides, count, out, err);
    free(overrides);
    if (status == SP_OK)
        (*out)->train.seed += repeat;
    return status;
}

int sp_sweep_reference(const struct sp_sweep *sweep, int point)
{
    return sweep->partner != NULL ? sweep->partner[point] : -1;
}
