#include "common/yaml.h"
#include "common/alloc.h"
#include "common/file.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <yaml.h>

enum { DEPTH_LIMIT = 32, SIZE_LIMIT = 1 << 20 };

struct sp_document {
    char *name;
    struct sp_yaml *root;
};

/* Reads events into a tree. */
struct reader {
    yaml_parser_t parser;
    const char *name;
    bool lines; /* positions mean something */
    struct sp_error *err;
};

static void yaml_free(struct sp_yaml *node)
{
    if (node == NULL)
        return;
    for (int i = 0; i < node->count; i++) {
        yaml_free(node->items[i]);
        if (node->keys != NULL)
            yaml_free(node->keys[i]);
    }
    free(node->items);
    free(node->keys);
    free(node->text);
    free(node);
}

static struct sp_mark mark_of(const struct reader *reader, yaml_mark_t at)
{
    return (struct sp_mark){reader->name, reader->lines ? (int)at.line + 1 : 0, (int)at.column + 1};
}

static sp_status next_event(struct reader *reader, yaml_event_t *event)
{
    if (yaml_parser_parse(&reader->parser, event))
        return SP_OK;
    const yaml_parser_t *parser = &reader->parser;
    yaml_mark_t at = parser->problem_mark;
    if (parser->error == YAML_READER_ERROR)
        at = (yaml_mark_t){0};
    return sp_reject(reader->err, mark_of(reader, at), "not YAML: %s%s%s",
                     parser->problem != NULL ? parser->problem : "unreadable", parser->context != NULL ? ", " : "",
                     parser->context != NULL ? parser->context : "");
}

static sp_status read_node(struct reader *reader, const yaml_event_t *event, int depth, struct sp_yaml **out);

static sp_status read_list(struct reader *reader, int depth, struct sp_yaml *list)
{
    for (;;) {
        yaml_event_t event;
        SP_TRY(next_event(reader, &event));
        if (event.type == YAML_SEQUENCE_END_EVENT) {
            yaml_event_delete(&event);
            return SP_OK;
        }
        struct sp_yaml *item = NULL;
        sp_status status = read_node(reader, &event, depth, &item);
        yaml_event_delete(&event);
        if (status != SP_OK)
            return status;
        *(struct sp_yaml **)sp_grow((void **)&list->items, list->count, sizeof item) = item;
        list->count++;
    }
}

/* One key and its value; both belong to the map at once, so that a failure frees them with it. */
static sp_status read_entry(struct reader *reader, const yaml_event_t *key_event, int depth, struct sp_yaml *map)
{
    struct sp_yaml *key = NULL, *value = NULL;
    SP_TRY(read_node(reader, key_event, depth, &key));
    sp_status status = SP_OK;
    if (key->kind != SP_YAML_SCALAR)
        status = sp_reject(reader->err, key->mark, "a key must be a word");
    else if (sp_yaml_get(map, key->text) != NULL)
        status = sp_reject(reader->err, key->mark, "key \"%s\" stands here twice", key->text);
    yaml_event_t event;
    if (status == SP_OK && (status = next_event(reader, &event)) == SP_OK) {
        status = read_node(reader, &event, depth, &value);
        yaml_event_delete(&event);
    }
    if (status != SP_OK) {
        yaml_free(key);
        return status;
    }
    *(struct sp_yaml **)sp_grow((void **)&map->keys, map->count, sizeof key) = key;
    *(struct sp_yaml **)sp_grow((void **)&map->items, map->count, sizeof value) = value;
    map->count++;
    return SP_OK;
}

static sp_status read_map(struct reader *reader, int depth, struct sp_yaml *map)
{
    for (;;) {
        yaml_event_t event;
        SP_TRY(next_event(reader, &event));
        bool end = event.type == YAML_MAPPING_END_EVENT;
        sp_status status = end ? SP_OK : read_entry(reader, &event, depth, map);
        yaml_event_delete(&event);
        if (end || status != SP_OK)
            return status;
    }
}

static sp_status read_node(struct reader *reader, const yaml_event_t *event, int depth, struct sp_yaml **out)
{
    struct sp_mark mark = mark_of(reader, event->start_mark);
    if (depth > DEPTH_LIMIT)
        return sp_reject(reader->err, mark, "nested deeper than %d levels", DEPTH_LIMIT);
    struct sp_yaml *node = sp_calloc(1, sizeof *node);
    node->mark = mark;
    sp_status status = SP_OK;
    if (event->type == YAML_SCALAR_EVENT) {
        node->kind = SP_YAML_SCALAR;
        node->text = sp_strdup((const char *)event->data.scalar.value);
        node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
        if (strlen(node->text) != event->data.scalar.length)
            status = sp_reject(reader->err, mark, "a value holds a NUL character");
    } else if (event->type == YAML_SEQUENCE_START_EVENT) {
        node->kind = SP_YAML_LIST;
        status = read_list(reader, depth + 1, node);
    } else if (event->type == YAML_MAPPING_START_EVENT) {
        node->kind = SP_YAML_MAP;
        status = read_map(reader, depth + 1, node);
    } else {
        status = sp_reject(reader->err, mark, "YAML aliases are not used here: write the value again");
    }
    if (status != SP_OK)
        yaml_free(node);
    else
        *out = node;
    return status;
}

/* stream start, document start, one node, document end, stream end. */
static sp_status read_stream(struct reader *reader, struct sp_yaml **root)
{
    int documents = 0;
    for (;;) {
        yaml_event_t event;
        SP_TRY(next_event(reader, &event));
        sp_status status = SP_OK;
        bool end = event.type == YAML_STREAM_END_EVENT;
        if (event.type == YAML_DOCUMENT_START_EVENT && documents++ > 0)
            status =
                sp_reject(reader->err, mark_of(reader, event.start_mark), "a second document: one file, one document");
        else if (event.type == YAML_SCALAR_EVENT || event.type == YAML_SEQUENCE_START_EVENT ||
                 event.type == YAML_MAPPING_START_EVENT || event.type == YAML_ALIAS_EVENT)
            status = read_node(reader, &event, 0, root);
        yaml_event_delete(&event);
        if (end || status != SP_OK)
            return status;
    }
}

sp_status sp_document_parse(const char *text, size_t size, const char *name, bool lines, struct sp_document **out,
                            struct sp_error *err)
{
    *out = NULL;
    struct sp_document *document = sp_calloc(1, sizeof *document);
    document->name = sp_strdup(name);
    struct reader reader = {.name = document->name, .lines = lines, .err = err};
    if (!yaml_parser_initialize(&reader.parser)) {
        sp_document_destroy(&document);
        return SP_FAIL(err, SP_E_MEMORY, "%s: no memory for a YAML parser", name);
    }
    yaml_parser_set_input_string(&reader.parser, (const unsigned char *)text, size);
    sp_status status = read_stream(&reader, &document->root);
    yaml_parser_delete(&reader.parser);
    if (status == SP_OK)
        *out = document;
    else
        sp_document_destroy(&document);
    return status;
}

sp_status sp_document_read(const char *path, struct sp_document **out, struct sp_error *err)
{
    *out = NULL;
    char *text;
    size_t size;
    struct sp_mark mark = {0};
    SP_TRY(sp_file_read(path, SIZE_LIMIT, &mark, &text, &size, err));
    sp_status status = sp_document_parse(text, size, strcmp(path, "-") == 0 ? "stdin" : path, true, out, err);
    free(text);
    return status;
}

void sp_document_destroy(struct sp_document **document)
{
    if (*document == NULL)
        return;
    yaml_free((*document)->root);
    free((*document)->name);
    free(*document);
    *document = NULL;
}

struct sp_yaml *sp_document_root(const struct sp_document *document)
{
    return document->root;
}

const struct sp_yaml *sp_yaml_get(const struct sp_yaml *map, const char *key)
{
    if (map == NULL || map->kind != SP_YAML_MAP)
        return NULL;
    for (int i = 0; i < map->count; i++)
        if (strcmp(map->keys[i]->text, key) == 0)
            return map->items[i];
    return NULL;
}

bool sp_yaml_int(const struct sp_yaml *scalar, int64_t *out)
{
    if (scalar->kind != SP_YAML_SCALAR || scalar->quoted || scalar->text[0] == '\0')
        return false;
    char *end;
    errno = 0;
    long long value = strtoll(scalar->text, &end, strncmp(scalar->text, "0x", 2) == 0 ? 16 : 10);
    if (*end != '\0' || errno != 0)
        return false;
    *out = value;
    return true;
}

bool sp_yaml_double(const struct sp_yaml *scalar, double *out)
{
    if (scalar->kind != SP_YAML_SCALAR || scalar->quoted || scalar->text[0] == '\0')
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

static const struct sp_field *find_field(const struct sp_field *fields, int count, const char *key)
{
    for (int f = 0; f < count; f++)
        if (strcmp(fields[f].key, key) == 0)
            return &fields[f];
    return NULL;
}

static sp_status unknown_key(const struct sp_yaml *key, const char *what, const struct sp_field *fields,
                             int field_count, const char *const *other, struct sp_error *err)
{
    const char **names = NULL;
    int count = 0;
    for (int f = 0; f < field_count; f++)
        *(const char **)sp_grow((void **)&names, count++, sizeof *names) = fields[f].key;
    for (int o = 0; other != NULL && other[o] != NULL; o++)
        *(const char **)sp_grow((void **)&names, count++, sizeof *names) = other[o];
    const char *near = sp_nearest(key->text, names, count);
    sp_status status =
        near != NULL ? sp_reject(err, key->mark, "%s: unknown key \"%s\"; did you mean \"%s\"?", what, key->text, near)
                     : sp_reject(err, key->mark, "%s: unknown key \"%s\"", what, key->text);
    free(names);
    return status;
}

static sp_status read_number(const struct sp_yaml *value, const char *what, const struct sp_field *field, void *object,
                             struct sp_error *err)
{
    int64_t integer = 0;
    double number = 0;
    bool whole = field->type == SP_FIELD_INT;
    if (whole ? !sp_yaml_int(value, &integer) : !sp_yaml_double(value, &number))
        return sp_reject(err, value->mark, "%s.%s: expected a %s, found \"%s\"", what, field->key,
                         whole ? "whole number" : "number",
                         value->kind == SP_YAML_SCALAR ? value->text : "a list or map");
    if (whole)
        number = (double)integer;
    if (number < field->low || number > field->high)
        return sp_reject(err, value->mark, "%s.%s: %s is out of range: %g to %g", what, field->key, value->text,
                         field->low, field->high);
    if (whole)
        *(int *)((char *)object + field->offset) = (int)integer;
    else
        *(double *)((char *)object + field->offset) = number;
    return SP_OK;
}

static sp_status read_field(const struct sp_yaml *value, const char *what, const struct sp_field *field, void *object,
                            struct sp_error *err)
{
    char *target = (char *)object + field->offset;
    if (field->type == SP_FIELD_INT || field->type == SP_FIELD_DOUBLE)
        return read_number(value, what, field, object, err);
    if (value->kind != SP_YAML_SCALAR)
        return sp_reject(err, value->mark, "%s.%s: expected a word, found a list or map", what, field->key);
    if (field->type == SP_FIELD_BOOL) {
        if (!sp_yaml_bool(value, (bool *)target))
            return sp_reject(err, value->mark, "%s.%s: expected true or false, found \"%s\"", what, field->key,
                             value->text);
        return SP_OK;
    }
    free(*(char **)target);
    *(char **)target = sp_strdup(value->text);
    return SP_OK;
}

sp_status sp_yaml_fields(const struct sp_yaml *map, const char *what, const struct sp_field *fields, int field_count,
                         const char *const *other, void *object, struct sp_error *err)
{
    if (map->kind != SP_YAML_MAP)
        return sp_reject(err, map->mark, "%s: expected keys and values", what);
    sp_status status = SP_OK;
    for (int i = 0; i < map->count; i++) {
        const struct sp_yaml *key = map->keys[i];
        const struct sp_field *field = find_field(fields, field_count, key->text);
        bool others = false;
        for (int o = 0; other != NULL && other[o] != NULL; o++)
            others = others || strcmp(other[o], key->text) == 0;
        sp_status one = SP_OK;
        if (field != NULL)
            one = read_field(map->items[i], what, field, object, err);
        else if (!others)
            one = unknown_key(key, what, fields, field_count, other, err);
        status = one != SP_OK ? one : status;
    }
    for (int f = 0; f < field_count; f++)
        if (fields[f].required && sp_yaml_get(map, fields[f].key) == NULL)
            status = sp_reject(err, map->mark, "%s: \"%s\" is missing", what, fields[f].key);
    return status;
}
