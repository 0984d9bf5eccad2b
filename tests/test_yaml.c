/*
 * YAML with positions: trees, marks, and what is refused.
 */
#include "common/alloc.h"
#include "common/file.h"
#include "common/yaml.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct sp_document *parse(const char *text, struct sp_error *err)
{
    struct sp_document *document = NULL;
    sp_document_parse(text, strlen(text), "a.yaml", true, &document, err);
    return document;
}

static void every_value_knows_where_it_stands(void **state)
{
    (void)state;
    struct sp_error err = {0};
    struct sp_document *document = parse("a: 1\nb:\n  - x\n  - {c: true}\n", &err);
    assert_non_null(document);
    const struct sp_yaml *b = sp_yaml_get(sp_document_root(document), "b");
    assert_int_equal(b->kind, SP_YAML_LIST);
    assert_int_equal(b->count, 2);
    const struct sp_yaml *c = sp_yaml_get(b->items[1], "c");
    assert_int_equal(c->mark.line, 4);
    assert_int_equal(c->mark.column, 9);
    bool value = false;
    assert_true(sp_yaml_bool(c, &value) && value);
    assert_null(sp_yaml_get(b->items[1], "d"));
    sp_document_destroy(&document);
}

static void wrong_yaml_is_refused_with_its_position(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"a: 1\na: 2\n", "a.yaml:2:1: key \"a\" stands here twice"},
        {"a: [1, 2\nb: 3\n", "a.yaml:2:2: not YAML"},
        {"a: &x 1\nb: *x\n", "a.yaml:2:4: YAML aliases"},
        {"a: 1\n---\nb: 1\n", "a.yaml:2:1: a second document"},
        {"? [1]\n: 2\n", "a.yaml:1:3: a key must be a word"},
        {"a: \"\\0\"\n", "a.yaml:1:4: a value holds a NUL"},
        {"\xff\xfe\xff", "not YAML"},
        {"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", "nested deeper than 32"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sp_error err = {0};
        assert_null(parse(cases[i].text, &err));
        assert_int_equal(err.status, SP_E_INPUT);
        if (strstr(err.text, cases[i].message) == NULL)
            fail_msg("case %zu: %s", i, err.text);
        sp_error_fini(&err);
    }
}

struct thing {
    int count;
    double size;
    bool on;
    char *name;
};
static const struct sp_field thing_fields[] = {
    {"count", SP_FIELD_INT, offsetof(struct thing, count), 1, 9, true},
    {"size", SP_FIELD_DOUBLE, offsetof(struct thing, size), 0, 1e9, false},
    {"on", SP_FIELD_BOOL, offsetof(struct thing, on), 0, 0, false},
    {"name", SP_FIELD_TEXT, offsetof(struct thing, name), 0, 0, false},
};

static void fields_are_read_and_all_mistakes_told(void **state)
{
    (void)state;
    struct sp_error err = {0};
    struct thing thing = {0};
    struct sp_document *document = parse("{count: 3, size: 1e-3, on: true, name: \"12\"}", &err);
    assert_int_equal(sp_yaml_fields(sp_document_root(document), "thing", thing_fields, 4, NULL, &thing, &err), SP_OK);
    assert_int_equal(thing.count, 3);
    assert_true(thing.size == 1e-3 && thing.on);
    assert_string_equal(thing.name, "12");
    sp_document_destroy(&document);
    document = parse("{siez: 1, size: big, on: 1}", &err);
    assert_int_equal(sp_yaml_fields(sp_document_root(document), "thing", thing_fields, 4, NULL, &thing, &err),
                     SP_E_INPUT);
    assert_int_equal(err.count, 4);
    assert_non_null(strstr(err.text, "a.yaml:1:2: thing: unknown key \"siez\"; did you mean \"size\"?"));
    assert_non_null(strstr(err.text, "\"count\" is missing"));
    sp_document_destroy(&document);
    sp_error_fini(&err);
    free(thing.name);
}

static void files_appear_whole_or_not_at_all(void **state)
{
    (void)state;
    char folder[] = "/tmp/stalepipe-test-XXXXXX";
    assert_non_null(mkdtemp(folder));
    char *path = sp_format("%s/a/b.txt", folder), *inner = sp_format("%s/a", folder), *text;
    struct sp_error err = {0};
    size_t size;
    assert_int_equal(sp_file_write(path, "x", &err), SP_E_IO); /* no folder yet */
    sp_error_fini(&err);
    assert_int_equal(sp_folder_make(inner, &err), SP_OK);
    assert_int_equal(sp_file_write(path, "first", &err), SP_OK);
    struct sp_file file;
    assert_int_equal(sp_file_begin(&file, path, &err), SP_OK);
    fputs("second", file.stream);
    sp_file_abort(&file);
    assert_int_equal(sp_file_read(path, 100, NULL, &text, &size, &err), SP_OK);
    assert_string_equal(text, "first");
    free(text);
    assert_int_equal(sp_file_read(path, 4, NULL, &text, &size, &err), SP_E_IO); /* larger than the limit */
    sp_error_fini(&err);
    unlink(path);
    rmdir(inner);
    assert_int_equal(rmdir(folder), 0); /* nothing was left aside */
    free(path);
    free(inner);
}

/* 0.1 + 0.2 is the double after 0.3: it needs all its 17 digits. */
static void numbers_are_as_short_as_they_can_be(void **state)
{
    (void)state;
    static const struct {
        double value;
        const char *text;
    } cases[] = {
        {0.03, "0.03"},        {1e-4, "0.0001"}, {0.1 + 0.2, "0.30000000000000004"}, {1.0 / 3, "0.3333333333333333"},
        {2.5e300, "2.5e+300"}, {0, "0"},         {5e-324, "4.94065645841247e-324"}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        char text[64] = "";
        FILE *out = fmemopen(text, sizeof text, "w");
        sp_write_real(cases[c].value, out);
        fclose(out);
        assert_string_equal(text, cases[c].text);
        assert_true(strtod(text, NULL) == cases[c].value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_value_knows_where_it_stands),
        cmocka_unit_test(wrong_yaml_is_refused_with_its_position),
        cmocka_unit_test(fields_are_read_and_all_mistakes_told),
        cmocka_unit_test(files_appear_whole_or_not_at_all),
        cmocka_unit_test(numbers_are_as_short_as_they_can_be),
    };
    return cmocka_run_group_tests_name("yaml", tests, NULL, NULL);
}
