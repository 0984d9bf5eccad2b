/*
 * Fetching data sets, from folders that stand for the network: good, wrong, interrupted, absent.
 */
#include "common/alloc.h"
#include "common/file.h"
#include "exec/data/fetch.h"
#include "tests/folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* `printf abc | md5sum`, `printf defg | md5sum` */
static const struct exec_source two = {
    .set = "two",
    .folder = "two",
    .from = "http://host.invalid/",
    .files = {{"a", "900150983cd24fb0d6963f7d28e17f72"}, {"b", "025e4da7edac35ede583f5e8d51aa7ec"}},
    .advice = "ask a friend"};

static sp_status fetch(const struct exec_source *source, const char *into, struct sp_error *err)
{
    char *from = sp_format("%s/from", test_folder), *to = sp_format("%s/%s", test_folder, into);
    sp_status status = exec_fetch(source, from, to, true, err);
    free(from);
    free(to);
    return status;
}

static void whole_files_arrive_and_are_kept(void **state)
{
    (void)state;
    struct sp_error err = {0};
    test_shell("mkdir -p from && printf abc > from/a && printf defg > from/b");
    assert_int_equal(fetch(&two, "deep/er/to", &err), SP_OK);
    test_shell("cmp from/a deep/er/to/a && cmp from/b deep/er/to/b && test $(ls deep/er/to | wc -l) = 2");
    test_shell("rm -r from"); /* nothing is asked for again */
    assert_int_equal(fetch(&two, "deep/er/to", &err), SP_OK);
}

/* Folders are named as people name them, not as addresses. */
static void any_folder_s_name_will_do(void **state)
{
    static const char *const names[] = {"fr m", "50%20", "a#b?c", "pl+us&", "f\xc3\xbcr", "quo'te\"s"};
    (void)state;
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        struct sp_error err = {0};
        char *from = sp_format("%s/%s", test_folder, names[n]), *to = sp_format("%s/to %s", test_folder, names[n]);
        char *a = sp_format("%s/a", from), *b = sp_format("%s/b", from), *got = sp_format("%s/b", to);
        assert_int_equal(sp_folder_make(from, &err), SP_OK);
        assert_int_equal(sp_file_write(a, "abc", &err), SP_OK);
        assert_int_equal(sp_file_write(b, "defg", &err), SP_OK);
        if (exec_fetch(&two, from, to, true, &err) != SP_OK)
            fail_msg("%s", err.text);
        assert_int_equal(access(got, F_OK), 0);
        free(from);
        free(to);
        free(a);
        free(b);
        free(got);
    }
}

/* Below the folder that the program was started in. */
static void a_folder_may_be_named_from_here(void **state)
{
    (void)state;
    struct sp_error err = {0};
    char here[4096];
    assert_non_null(getcwd(here, sizeof here));
    test_shell("mkdir -p near && printf abc > near/a && printf defg > near/b");
    char *to = sp_format("%s/from near", test_folder);
    assert_int_equal(chdir(test_folder), 0);
    sp_status status = exec_fetch(&two, "near", to, true, &err);
    assert_int_equal(chdir(here), 0);
    assert_int_equal(status, SP_OK);
    assert_int_equal(exec_fetch(&two, "nowhere at all", to, true, &err), SP_OK); /* all is there */
    test_shell("rm 'from near/a'");
    assert_int_equal(exec_fetch(&two, "nowhere at all", to, true, &err), SP_E_IO);
    assert_non_null(strstr(err.text, "/nowhere%20at%20all/a: there is no such file"));
    sp_error_fini(&err);
    free(to);
}

static void a_wrong_file_is_not_kept(void **state)
{
    (void)state;
    struct sp_error err = {0};
    test_shell("mkdir -p from && printf abc > from/a && printf wrong > from/b");
    assert_int_equal(fetch(&two, "wrong", &err), SP_E_IO);
    assert_non_null(strstr(err.text, "its checksum is not 025e4da7edac35ede583f5e8d51aa7ec"));
    test_shell("test \"$(ls wrong)\" = a");
    sp_error_fini(&err);
}

static void an_interrupted_download_goes_on(void **state)
{
    (void)state;
    struct sp_error err = {0};
    test_shell("mkdir -p from part && printf abc > from/a && printf defg > from/b && printf de > part/b.part");
    assert_int_equal(fetch(&two, "part", &err), SP_OK);
    test_shell("cmp from/b part/b && test $(ls part | wc -l) = 2");
    /* one that was complete but for its name */
    test_shell("mv part/a part/a.part && rm from/a");
    assert_int_equal(fetch(&two, "part", &err), SP_OK);
    test_shell("test -e part/a");
}

static void what_cannot_be_had_is_said_with_what_to_do(void **state)
{
    (void)state;
    struct sp_error err = {0};
    test_shell("rm -rf from && mkdir from");
    assert_int_equal(fetch(&two, "none", &err), SP_E_IO);
    assert_non_null(strstr(err.text, "there is no such file"));
    assert_non_null(strstr(err.text, "by hand: put these files into"));
    assert_non_null(strstr(err.text, "025e4da7edac35ede583f5e8d51aa7ec"));
    assert_non_null(strstr(err.text, "ask a friend"));
    sp_error_fini(&err);
}

static void an_archive_is_unpacked_whole(void **state)
{
    (void)state;
    struct sp_error err = {0};
    char md5[33] = "";
    test_shell("rm -rf from && mkdir -p from/set && printf abc > from/set/x && tar -C from -czf from/set.tgz set");
    char *command = sp_format("md5sum < %s/from/set.tgz", test_folder);
    FILE *sum = popen(command, "r");
    assert_int_equal(fscanf(sum, "%32s", md5), 1);
    pclose(sum);
    free(command);
    struct exec_source source = {
        .set = "set", .folder = "set", .from = "http://host.invalid/", .files = {{"set.tgz", md5}}, .archive = true};
    assert_int_equal(fetch(&source, "got/set", &err), SP_OK);
    test_shell("cmp from/set/x got/set/x && test \"$(ls got)\" = set");
    test_shell("rm -r from");
    assert_int_equal(fetch(&source, "got/set", &err), SP_OK); /* it is there */
    source.holds[0] = "x";
    source.holds[1] = "y";
    source.held_bytes = 3;
    assert_int_equal(fetch(&source, "got/set", &err), SP_E_IO);
    assert_non_null(strstr(err.text, "is there, but not whole: y is missing or has not 3 bytes"));
    sp_error_fini(&err);
    test_shell("printf xyz > got/set/y");
    assert_int_equal(fetch(&source, "got/set", &err), SP_OK);
    md5[0] = md5[0] == '0' ? '1' : '0';
    assert_int_equal(fetch(&source, "other/set", &err), SP_E_IO);
    sp_error_fini(&err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_files_arrive_and_are_kept), cmocka_unit_test(any_folder_s_name_will_do),
        cmocka_unit_test(a_folder_may_be_named_from_here), cmocka_unit_test(a_wrong_file_is_not_kept),
        cmocka_unit_test(an_interrupted_download_goes_on), cmocka_unit_test(what_cannot_be_had_is_said_with_what_to_do),
        cmocka_unit_test(an_archive_is_unpacked_whole),
    };
    return cmocka_run_group_tests_name("fetch", tests, test_folder_make, test_folder_remove);
}
