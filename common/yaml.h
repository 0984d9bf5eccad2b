/*
 * yaml.h - a YAML file as a tree in which every value knows where it stands.
 */
#ifndef SP_YAML_H
#define SP_YAML_H

#include "common/error.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum sp_yaml_kind { SP_YAML_SCALAR, SP_YAML_LIST, SP_YAML_MAP };

struct sp_yaml {
    enum sp_yaml_kind kind;
    struct sp_mark mark;
    char *text;             /* SCALAR: as written, unquoted */
    bool quoted;            /* SCALAR: was in quotes, so it is text */
    int count;              /* LIST, MAP: entries */
    struct sp_yaml **items; /* LIST: entries; MAP: values */
    struct sp_yaml **keys;  /* MAP: scalars */
};

/* A parsed file; owns the tree and the file name its marks borrow. */
struct sp_document;

/* Reads a file ("-": stdin), which must hold one document. Syntax errors, duplicate keys, aliases, depth over 32 and
 * files over 1 MiB are rejected with their position. */
sp_status sp_document_read(const char *path, struct sp_document **out, struct sp_error *err);

/* The same from text; `name` stands in the marks (copied), all with line 0 when `name` is an option such as "--set
 * a=b". */
sp_status sp_document_parse(const char *text, size_t size, const char *name, bool lines, struct sp_document **out,
                            struct sp_error *err);
void sp_document_destroy(struct sp_document **document);
struct sp_yaml *sp_document_root(const struct sp_document *document); /* NULL: empty */

/* The value of a key, or NULL. */
const struct sp_yaml *sp_yaml_get(const struct sp_yaml *map, const char *key);

/* Prints a value in flow style on one line, such that it reads back to the same. */
void sp_yaml_write(const struct sp_yaml *value, FILE *out);

/* A text as a YAML scalar that reads back to the same. */
void sp_write_text(const char *text, FILE *out);

/* A number in as few digits as read back to the same. */
void sp_write_real(double value, FILE *out);

/* Whether two values mean the same: scalars by text, or as numbers; maps in any order. */
bool sp_yaml_same(const struct sp_yaml *a, const struct sp_yaml *b);

/* Scalars as numbers; false when the text is not entirely one (units are not accepted; 1e-3 and 0x10 are). */
bool sp_yaml_int(const struct sp_yaml *scalar, int64_t *out);
bool sp_yaml_double(const struct sp_yaml *scalar, double *out); /* finite */
bool sp_yaml_bool(const struct sp_yaml *scalar, bool *out);     /* true, false */

/*
 * Small maps of known keys, for lists of things: layers of a network file, device constants.
 * A field is read where its key is present and left alone (its default) where not, unless it is required.
 */
enum sp_field_type { SP_FIELD_INT, SP_FIELD_DOUBLE, SP_FIELD_BOOL, SP_FIELD_TEXT /* char *, owned by the reader */ };
struct sp_field {
    const char *key;
    enum sp_field_type type;
    size_t offset;    /* in the struct that is filled: int, double, bool or char * */
    double low, high; /* numbers: inclusive */
    bool required;
};

/* Reads `map` into `object`; unknown keys ("did you mean"), wrong types and ranges are all collected. `what` names the
 * thing in messages. Keys in `other` (NULL-terminated, may be NULL) are left to the caller. */
sp_status sp_yaml_fields(const struct sp_yaml *map, const char *what, const struct sp_field *fields, int field_count,
                         const char *const *other, void *object, struct sp_error *err);

#endif
