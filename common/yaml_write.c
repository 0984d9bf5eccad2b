/*
 * YAML values in flow style, and whether two are the same.
 */
#include "common/yaml.h"

#include <stdlib.h>
#include <string.h>

void sp_write_real(double value, FILE *out)
{
    char text[32];
    int digits = 15;
    do
        snprintf(text, sizeof text, "%.*g", digits, value);
    while (strtod(text, NULL) != value && ++digits <= 17);
    fputs(text, out);
}

void sp_write_text(const char *text, FILE *out)
{
    size_t plain = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_./-0123456789");
    if (text[plain] == '\0' && strchr("-.0123456789", text[0]) == NULL) {
        fputs(text, out);
        return;
    }
    fputc('"', out);
    for (const unsigned char *at = (const unsigned char *)text; *at != '\0'; at++) {
        if (*at == '"' || *at == '\\')
            fprintf(out, "\\%c", *at);
        else if (*at < 0x20)
            fprintf(out, "\\x%02x", *at);
        else
            fputc(*at, out);
    }
    fputc('"', out);
}

/* A scalar that was not quoted may be a number or a truth value: it stays unquoted where it can. */
static void write_scalar(const struct sp_yaml *scalar, FILE *out)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_./+-0123456789";
    bool bare = !scalar->quoted && scalar->text[0] != '\0' && scalar->text[strspn(scalar->text, plain)] == '\0' &&
                strcmp(scalar->text, "-") != 0 && strncmp(scalar->text, "---", 3) != 0;
    if (bare)
        fputs(scalar->text, out);
    else
        sp_write_text(scalar->text, out);
}

void sp_yaml_write(const struct sp_yaml *value, FILE *out)
{
    if (value->kind == SP_YAML_SCALAR) {
        write_scalar(value, out);
        return;
    }
    bool map = value->kind == SP_YAML_MAP;
    fputc(map ? '{' : '[', out);
    for (int i = 0; i < value->count; i++) {
        if (i > 0)
            fputs(", ", out);
        if (map) {
            write_scalar(value->keys[i], out);
            fputs(": ", out);
        }
        sp_yaml_write(value->items[i], out);
    }
    fputc(map ? '}' : ']', out);
}

bool sp_yaml_same(const struct sp_yaml *a, const struct sp_yaml *b)
{
    double x, y;
    if (a->kind != b->kind || a->count != b->count)
        return false;
    if (a->kind == SP_YAML_SCALAR)
        return strcmp(a->text, b->text) == 0 || (sp_yaml_double(a, &x) && sp_yaml_double(b, &y) && x == y);
    for (int i = 0; i < a->count; i++) {
        const struct sp_yaml *other = a->kind == SP_YAML_LIST ? b->items[i] : sp_yaml_get(b, a->keys[i]->text);
        if (other == NULL || !sp_yaml_same(a->items[i], other))
            return false;
    }
    return true;
}
