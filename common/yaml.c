/*
 * The tree is built from libyaml's events: they carry marks, and aliases and depth can be refused as they come.
 */
#include "common/yaml.h"
#include "common/alloc.h"
#include "common/file.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum { DEPTH_LIMIT = 32, SIZE_LIMIT = 1 << 20, MISTAKE_LIMIT = 64 };

struct sp_document {
    struct sp_yaml *root;
    char **names; /* of the file and of the options put into it: borrowed by the marks */
    int name_count;
};

struct builder {
    yaml_parser_t parser;
    const char *file;
    bool lines;
    bool wrong; /* something was rejected */
    struct sp_error *err;
};

static struct sp_yaml *node_create(enum sp_yaml_kind kind, struct sp_mark mark)
{
    struct sp_yaml *node = sp_calloc(1, sizeof *node);
    node->kind = kind;
    node->mark = mark;
    return node;
}

static void node_destroy(struct sp_yaml *node)
{
    if (node == NULL)
        return;
    for (int i = 0; i < node->count; i++) {
        node_destroy(node->items[i]);
        if (node->keys != NULL)
            node_destroy(node->keys[i]);
    }
    free(node->items);
    free(node->keys);
    free(node->text);
    free(node);
}

static struct sp_yaml *scalar_create(const char *text, struct sp_mark mark)
{
    struct sp_yaml *node = node_create(SP_YAML_SCALAR, mark);
    node->text = sp_strdup(text);
    return node;
}

static void append(struct sp_yaml *parent, struct sp_yaml *key, struct sp_yaml *item)
{
    *(struct sp_yaml **)sp_grow((void **)&parent->items, parent->count, sizeof item) = item;
    if (key != NULL)
        *(struct sp_yaml **)sp_grow((void **)&parent->keys, parent->count, sizeof key) = key;
    parent->count++;
}

static struct sp_mark mark_at(const struct builder *builder, size_t line, size_t column)
{
    if (!builder->lines)
        return (struct sp_mark){builder->file, 0, 0};
    return (struct sp_mark){builder->file, (int)line + 1, (int)column + 1};
}

static struct sp_mark mark_of(const struct builder *builder, const yaml_event_t *event)
{
    return mark_at(builder, event->start_mark.line, event->start_mark.column);
}

/* The reader of libyaml counts bytes, everything above it lines. */
static void reject_syntax(struct builder *builder, const char *text, size_t size)
{
    const yaml_parser_t *parser = &builder->parser;
    builder->wrong = true;
    if (parser->error == YAML_MEMORY_ERROR) {
        (void)SP_FAIL(builder->err, SP_E_MEMORY, "no memory for %s", builder->file);
        return;
    }
    const char *problem = parser->problem != NULL ? parser->problem : "cannot be understood";
    if (parser->error == YAML_READER_ERROR) {
        size_t line = 0, column = 0;
        for (size_t i = 0; i < parser->problem_offset && i < size; i++) {
            column = text[i] == '\n' ? 0 : column + 1;
            line += text[i] == '\n';
        }
        (void)sp_reject(builder->err, mark_at(builder, line, column), "not YAML: %s", problem);
        return;
    }
    struct sp_mark mark = mark_at(builder, parser->problem_mark.line, parser->problem_mark.column);
    if (parser->context != NULL && builder->lines)
        (void)sp_reject(builder->err, mark, "not YAML: %s %s (from line %zu)", problem, parser->context,
                        parser->context_mark.line + 1);
    else
        (void)sp_reject(builder->err, mark, "not YAML: %s", problem);
}

static void reject_node(struct builder *builder, struct sp_mark mark, const char *message)
{
    builder->wrong = true;
    if (builder->err->count < MISTAKE_LIMIT)
        (void)sp_reject(builder->err, mark, "%s", message);
}

static int compare_keys(const void *left, const void *right)
{
    const struct sp_yaml *a = *(struct sp_yaml *const *)left, *b = *(struct sp_yaml *const *)right;
    int order = strcmp(a->text, b->text);
    if (order == 0)
        order = (a->mark.line > b->mark.line) - (a->mark.line < b->mark.line);
    return order != 0 ? order : (a->mark.column > b->mark.column) - (a->mark.column < b->mark.column);
}

static void reject_duplicates(struct builder *builder, const struct sp_yaml *map)
{
    if (map->count < 2)
        return;
    struct sp_yaml **sorted = sp_alloc((size_t)map->count * sizeof *sorted);
    memcpy(sorted, map->keys, (size_t)map->count * sizeof *sorted);
    qsort(sorted, (size_t)map->count, sizeof *sorted, compare_keys);
    for (int i = 1, first = 0; i < map->count; i++) {
        if (strcmp(sorted[first]->text, sorted[i]->text) != 0) {
            first = i;
            continue;
        }
        char *message = builder->lines ? sp_format("key \"%s\" stands here for the second time, first in line %d",
                                                   sorted[i]->text, sorted[first]->mark.line)
                                       : sp_format("key \"%s\" stands twice", sorted[i]->text);
        reject_node(builder, sorted[i]->mark, message);
        free(message);
    }
    free(sorted);
}

static bool next_event(struct builder *builder, yaml_event_t *event)
{
    return yaml_parser_parse(&builder->parser, event) != 0;
}

static struct sp_yaml *build_scalar(struct builder *builder, const yaml_event_t *event)
{
    const char *text = (const char *)event->data.scalar.value;
    struct sp_mark mark = mark_of(builder, event);
    if (event->data.scalar.tag != NULL)
        reject_node(builder, mark, "tags such as !!str have no meaning here");
    if (strlen(text) != event->data.scalar.length)
        reject_node(builder, mark, "text with a zero byte");
    struct sp_yaml *node = scalar_create(text, mark);
    node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    return node;
}

static struct sp_yaml *build_node(struct builder *builder, yaml_event_t *event, int depth);

/* The entries of a list or map up to its end event; NULL after a syntax error or when too deep. */
static struct sp_yaml *build_entries(struct builder *builder, struct sp_yaml *parent, int depth)
{
    yaml_event_type_t end = parent->kind == SP_YAML_MAP ? YAML_MAPPING_END_EVENT : YAML_SEQUENCE_END_EVENT;
    if (depth > DEPTH_LIMIT) {
        reject_node(builder, parent->mark, "nested more than 32 deep");
        goto fail;
    }
    for (;;) {
        yaml_event_t event;
        struct sp_yaml *key = NULL;
        if (!next_event(builder, &event))
            goto fail;
        if (event.type == end) {
            yaml_event_delete(&event);
            break;
        }
        if (parent->kind == SP_YAML_MAP) {
            key = build_node(builder, &event, depth);
            if (key == NULL)
                goto fail;
            if (key->kind != SP_YAML_SCALAR) {
                reject_node(builder, key->mark, "a key must be a word, not a list or map");
                struct sp_mark mark = key->mark;
                node_destroy(key);
                key = scalar_create("", mark);
            }
            if (!next_event(builder, &event)) {
                node_destroy(key);
                goto fail;
            }
        }
        struct sp_yaml *item = build_node(builder, &event, depth);
        if (item == NULL) {
            node_destroy(key);
            goto fail;
        }
        append(parent, key, item);
    }
    if (parent->kind == SP_YAML_MAP)
        reject_duplicates(builder, parent);
    return parent;
fail:
    node_destroy(parent);
    return NULL;
}

/* The node that `event` (which is used up) begins. */
static struct sp_yaml *build_node(struct builder *builder, yaml_event_t *event, int depth)
{
    struct sp_mark mark = mark_of(builder, event);
    struct sp_yaml *node = NULL;
    bool tagged = false;
    enum sp_yaml_kind kind = SP_YAML_SCALAR;
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        node = build_scalar(builder, event);
        break;
    case YAML_SEQUENCE_START_EVENT:
        kind = SP_YAML_LIST;
        tagged = event->data.sequence_start.tag != NULL;
        break;
    case YAML_MAPPING_START_EVENT:
        kind = SP_YAML_MAP;
        tagged = event->data.mapping_start.tag != NULL;
        break;
    default:
        reject_node(builder, mark, "aliases (*name) are not understood; write the value out");
        node = scalar_create("", mark);
        break;
    }
    yaml_event_delete(event);
    if (tagged)
        reject_node(builder, mark, "tags such as !!map have no meaning here");
    return node != NULL ? node : build_entries(builder, node_create(kind, mark), depth + 1);
}

/* STREAM-START (DOCUMENT-START node DOCUMENT-END)? STREAM-END. False after a syntax error. */
static bool build_stream(struct builder *builder, struct sp_yaml **root)
{
    yaml_event_t event;
    int documents = 0;
    for (;;) {
        if (!next_event(builder, &event))
            return false;
        yaml_event_type_t type = event.type;
        if (type == YAML_DOCUMENT_START_EVENT && documents++ == 1) {
            reject_node(builder, mark_of(builder, &event), "a second document begins here, only one is legal");
            yaml_event_delete(&event);
            return true;
        }
        if (type == YAML_SCALAR_EVENT || type == YAML_SEQUENCE_START_EVENT || type == YAML_MAPPING_START_EVENT ||
            type == YAML_ALIAS_EVENT) {
            *root = build_node(builder, &event, 0);
            if (*root == NULL)
                return false;
            continue;
        }
        yaml_event_delete(&event);
        if (type == YAML_STREAM_END_EVENT)
            return true;
    }
}

static sp_status parse(const char *text, size_t size, const char *file, bool lines, struct sp_yaml **root,
                       struct sp_error *err)
{
    struct builder builder = {.file = file, .lines = lines, .err = err};
    *root = NULL;
    if (size > SIZE_LIMIT)
        return sp_reject(err, (struct sp_mark){file, 0, 0}, "larger than 1 MiB");
    if (yaml_parser_initialize(&builder.parser) == 0)
        return SP_FAIL(err, SP_E_MEMORY, "no memory for a YAML parser");
    yaml_parser_set_input_string(&builder.parser, (const unsigned char *)text, size);
    yaml_parser_set_encoding(&builder.parser, YAML_UTF8_ENCODING);
    if (!build_stream(&builder, root) && builder.parser.error != YAML_NO_ERROR)
        reject_syntax(&builder, text, size);
    yaml_parser_delete(&builder.parser);
    if (builder.wrong) {
        node_destroy(*root);
        *root = NULL;
        return err->status;
    }
    if (*root != NULL && (*root)->kind == SP_YAML_SCALAR && !(*root)->quoted && (*root)->text[0] == '\0') {
        node_destroy(*root);
        *root = NULL;
    }
    return SP_OK;
}

static const char *add_name(struct sp_document *document, const char *name)
{
    char **slot = sp_grow((void **)&document->names, document->name_count, sizeof *slot);
    document->name_count++;
    *slot = sp_strdup(name);
    return *slot;
}

sp_status sp_document_parse(const char *text, size_t size, const char *name, bool lines, struct sp_document **out,
                            struct sp_error *err)
{
    struct sp_document *document = sp_calloc(1, sizeof *document);
    sp_status status = parse(text, size, add_name(document, name), lines, &document->root, err);
    if (status != SP_OK)
        sp_document_destroy(&document);
    *out = document;
    return status;
}

sp_status sp_document_read(const char *path, struct sp_document **out, struct sp_error *err)
{
    *out = NULL;
    bool from_stdin = strcmp(path, "-") == 0;
    const char *name = from_stdin ? "stdin" : path;
    struct sp_mark mark = {name, 0, 0};
    char *text;
    size_t size;
    SP_TRY(sp_file_read(from_stdin ? "/dev/stdin" : path, SIZE_LIMIT, &mark, &text, &size, err));
    sp_status status = sp_document_parse(text, size, name, true, out, err);
    free(text);
    return status;
}

void sp_document_destroy(struct sp_document **document)
{
    if (*document == NULL)
        return;
    node_destroy((*document)->root);
    for (int i = 0; i < (*document)->name_count; i++)
        free((*document)->names[i]);
    free((*document)->names);
    free(*document);
    *document = NULL;
}

struct sp_yaml *sp_document_root(const struct sp_document *document)
{
    return document->root;
}

const char *sp_document_name(const struct sp_document *document)
{
    return document->names[0];
}

static int find_key(const struct sp_yaml *map, const char *key)
{
    for (int i = 0; map != NULL && map->kind == SP_YAML_MAP && i < map->count; i++)
        if (strcmp(map->keys[i]->text, key) == 0)
            return i;
    return -1;
}

const struct sp_yaml *sp_yaml_get(const struct sp_yaml *map, const char *key)
{
    int i = find_key(map, key);
    return i >= 0 ? map->items[i] : NULL;
}

/* The place of `part` in *slot, made where it is missing; NULL with a message when a list has no such entry. */
static struct sp_yaml **descend(struct sp_yaml **slot, const char *part, struct sp_mark mark, struct sp_error *err)
{
    struct sp_yaml *node = *slot;
    if (node != NULL && node->kind == SP_YAML_LIST) {
        char *end;
        unsigned long index = strtoul(part, &end, 10);
        if (isdigit((unsigned char)part[0]) && *end == '\0' && index < (unsigned long)node->count)
            return &node->items[index];
        (void)sp_reject(err, mark, "no entry \"%s\" in a list of %d (the first is 0)", part, node->count);
        return NULL;
    }
    if (node == NULL || node->kind != SP_YAML_MAP) {
        node_destroy(node);
        *slot = node = node_create(SP_YAML_MAP, mark);
    }
    int i = find_key(node, part);
    if (i < 0) {
        i = node->count;
        append(node, scalar_create(part, mark), scalar_create("", mark));
    }
    node->keys[i]->mark = mark;
    return &node->items[i];
}

sp_status sp_document_set(struct sp_document *document, const char *assignment, struct sp_error *err)
{
    char *option = sp_format("--set %s", assignment);
    struct sp_mark mark = {add_name(document, option), 0, 0};
    free(option);
    const char *equals = strchr(assignment, '=');
    if (equals == NULL || equals == assignment)
        return sp_reject(err, mark, "needs key=value, such as train.batch=64");
    struct sp_yaml *value;
    SP_TRY(parse(equals + 1, strlen(equals + 1), mark.file, false, &value, err));
    if (value == NULL)
        value = scalar_create("", mark);

    char *path = sp_strdup(assignment);
    path[equals - assignment] = '\0';
    struct sp_yaml **slot = &document->root;
    int depth = 0;
    for (char *part = path, *rest; part != NULL && slot != NULL; part = rest) {
        rest = strchr(part, '.');
        if (rest != NULL)
            *rest++ = '\0';
        if (*part == '\0' || ++depth > DEPTH_LIMIT) {
            (void)sp_reject(err, mark, "\"%.*s\" is not a key", (int)(equals - assignment), assignment);
            slot = NULL;
        } else {
            slot = descend(slot, part, mark, err);
        }
    }
    free(path);
    if (slot == NULL) {
        node_destroy(value);
        return SP_E_INPUT;
    }
    node_destroy(*slot);
    *slot = value;
    return SP_OK;
}

bool sp_yaml_int(const struct sp_yaml *scalar, int64_t *out)
{
    if (scalar->kind != SP_YAML_SCALAR || scalar->quoted)
        return false;
    const char *digits = scalar->text + (scalar->text[0] == '-' || scalar->text[0] == '+');
    if (!isdigit((unsigned char)digits[0]))
        return false;
    bool hex = digits[0] == '0' && (digits[1] == 'x' || digits[1] == 'X');
    char *end;
    errno = 0;
    long long value = strtoll(scalar->text, &end, hex ? 16 : 10);
    if (errno != 0 || *end != '\0')
        return false;
    *out = value;
    return true;
}

bool sp_yaml_double(const struct sp_yaml *scalar, double *out)
{
    if (scalar->kind != SP_YAML_SCALAR || scalar->quoted)
        return false;
    const char *digits = scalar->text + (scalar->text[0] == '-' || scalar->text[0] == '+');
    if (!isdigit((unsigned char)digits[0]) && digits[0] != '.')
        return false;
    char *end;
    double value = strtod(scalar->text, &end);
    if (*end != '\0' || !isfinite(value))
        return false;
    *out = value;
    return true;
}

bool sp_yaml_bool(const struct sp_yaml *scalar, bool *out)
{
    if (scalar->kind != SP_YAML_SCALAR || scalar->quoted)
        return false;
    *out = strcmp(scalar->text, "true") == 0;
    return *out || strcmp(scalar->text, "false") == 0;
}

const char *sp_yaml_describe(const struct sp_yaml *node, char buffer[SP_YAML_DESCRIBE])
{
    if (node->kind != SP_YAML_SCALAR)
        return node->kind == SP_YAML_LIST ? "a list" : "a map";
    if (sp_yaml_null(node))
        return "nothing";
    snprintf(buffer, SP_YAML_DESCRIBE, "%s\"%.60s%s\"", node->quoted ? "the text " : "", node->text,
             strlen(node->text) > 60 ? "..." : "");
    return buffer;
}

bool sp_yaml_null(const struct sp_yaml *node)
{
    return node->kind == SP_YAML_SCALAR && !node->quoted &&
           (node->text[0] == '\0' || strcmp(node->text, "~") == 0 || strcmp(node->text, "null") == 0);
}

void sp_yaml_reject_key(const struct sp_yaml *key, const char *what, const char *const *names, int count,
                        struct sp_error *err)
{
    const char *colon = what[0] != '\0' ? ": " : "";
    const char *near = sp_nearest(key->text, names, count);
    if (near != NULL) {
        (void)sp_reject(err, key->mark, "%s%sunknown key \"%.60s\"; did you mean \"%s\"?", what, colon, key->text,
                        near);
        return;
    }
    char *list = sp_strdup("");
    for (int i = 0; i < count; i++) {
        char *longer = sp_format("%s%s%s", list, i > 0 ? ", " : "", names[i]);
        free(list);
        list = longer;
    }
    (void)sp_reject(err, key->mark, "%s%sunknown key \"%.60s\"; legal: %s", what, colon, key->text, list);
    free(list);
}

static const struct sp_field *find_field(const struct sp_field *fields, int count, const char *key)
{
    for (int i = 0; i < count; i++)
        if (strcmp(fields[i].key, key) == 0)
            return &fields[i];
    return NULL;
}

static void reject_range(const struct sp_yaml *node, const char *what, const struct sp_field *field,
                         struct sp_error *err)
{
    char found[SP_YAML_DESCRIBE], range[SP_YAML_RANGE];
    (void)sp_reject(err, node->mark, "%s: %s needs a %snumber %s, found %s", what, field->key,
                    field->type == SP_FIELD_INT ? "whole " : "", sp_yaml_range(field->low, field->high, range),
                    sp_yaml_describe(node, found));
}

const char *sp_yaml_range(double low, double high, char buffer[SP_YAML_RANGE])
{
    if (isinf(high))
        snprintf(buffer, SP_YAML_RANGE, "of at least %.15g", low);
    else
        snprintf(buffer, SP_YAML_RANGE, "from %.15g to %.15g", low, high);
    return buffer;
}

static void read_field(const struct sp_yaml *node, const char *what, const struct sp_field *field, void *object,
                       struct sp_error *err)
{
    char *at = (char *)object + field->offset;
    char found[SP_YAML_DESCRIBE];
    int64_t whole;
    double number;
    bool truth;
    switch (field->type) {
    case SP_FIELD_INT:
        if (!sp_yaml_int(node, &whole) || (double)whole < field->low || (double)whole > field->high ||
            whole > INT32_MAX || whole < INT32_MIN)
            reject_range(node, what, field, err);
        else
            *(int *)at = (int)whole;
        return;
    case SP_FIELD_DOUBLE:
        if (!sp_yaml_double(node, &number) || number < field->low || number > field->high)
            reject_range(node, what, field, err);
        else
            *(double *)at = number;
        return;
    case SP_FIELD_BOOL:
        if (sp_yaml_bool(node, &truth))
            *(bool *)at = truth;
        else
            (void)sp_reject(err, node->mark, "%s: %s needs true or false, found %s", what, field->key,
                            sp_yaml_describe(node, found));
        return;
    case SP_FIELD_TEXT:
        if (node->kind != SP_YAML_SCALAR || sp_yaml_null(node)) {
            (void)sp_reject(err, node->mark, "%s: %s needs a text, found %s", what, field->key,
                            sp_yaml_describe(node, found));
            return;
        }
        free(*(char **)at);
        *(char **)at = sp_strdup(node->text);
        return;
    }
}

/* The names of all fields and of `other`, for "did you mean". */
static void reject_field_key(const struct sp_yaml *key, const char *what, const struct sp_field *fields,
                             int field_count, const char *const *other, struct sp_error *err)
{
    int count = field_count;
    while (other != NULL && other[count - field_count] != NULL)
        count++;
    const char **names = sp_alloc((size_t)(count + 1) * sizeof *names);
    for (int i = 0; i < count; i++)
        names[i] = i < field_count ? fields[i].key : other[i - field_count];
    sp_yaml_reject_key(key, what, names, count, err);
    free(names);
}

static bool contains(const char *const *names, const char *name)
{
    for (; names != NULL && *names != NULL; names++)
        if (strcmp(*names, name) == 0)
            return true;
    return false;
}

sp_status sp_yaml_fields(const struct sp_yaml *map, const char *what, const struct sp_field *fields, int field_count,
                         const char *const *other, void *object, struct sp_error *err)
{
    char found[SP_YAML_DESCRIBE];
    int before = err->count;
    if (map->kind != SP_YAML_MAP)
        return sp_reject(err, map->mark, "%s: needs a map of keys, found %s", what, sp_yaml_describe(map, found));
    for (int i = 0; i < map->count && err->count < MISTAKE_LIMIT; i++) {
        const struct sp_field *field = find_field(fields, field_count, map->keys[i]->text);
        if (field != NULL)
            read_field(map->items[i], what, field, object, err);
        else if (!contains(other, map->keys[i]->text))
            reject_field_key(map->keys[i], what, fields, field_count, other, err);
    }
    for (int f = 0; f < field_count; f++)
        if (fields[f].required && sp_yaml_get(map, fields[f].key) == NULL)
            (void)sp_reject(err, map->mark, "%s: needs a key \"%s\"", what, fields[f].key);
    return err->count == before ? SP_OK : SP_E_INPUT;
}
