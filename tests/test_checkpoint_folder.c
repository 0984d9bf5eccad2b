/* Which checkpoints of a folder are found, kept and set aside. */
#include "common/alloc.h"
#include "common/file.h"
#include "exec/checkpoint.h"
#include "exec/safetensors.h"
#include "tests/folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static sp_status write_nothing(void *self, int tensor, struct exec_tensor_sink *sink, struct sp_error *err)
{
    (void)self;
    (void)tensor;
    (void)sink;
    (void)err;
    return SP_OK;
}

/* A whole file, but without tensors. */
static void leave_whole(int64_t done)
{
    struct sp_error err = {0};
    json_t *metadata = json_object();
    char *path = exec_checkpoint_path(test_folder, done);
    assert_int_equal(exec_safetensors_write(path, metadata, NULL, 0, write_nothing, NULL, &err), SP_OK);
    json_decref(metadata);
    free(path);
}

/* One with that text in it. */
static void leave_damaged(int64_t done, const char *text)
{
    struct sp_error err = {0};
    char *path = exec_checkpoint_path(test_folder, done);
    assert_int_equal(sp_file_write(path, text, &err), SP_OK);
    free(path);
}

static void expect_files(const char *names)
{
    test_shell("test \"$(echo $(ls | sed 's/minibatch-0*//; s/safetensors/s/'))\" = \"%s\"", names);
}

/*
 * After 20 minibatches a whole one; newer ones are damaged, and one that is older: what is older stays. The second
 * time, names are taken, and nothing is written over. Then the newest one that is kept is the whole one.
 */
static void newer_damaged_ones_are_set_aside(void **state)
{
    (void)state;
    leave_damaged(10, "ten");
    leave_whole(20);
    for (int round = 1; round <= 2; round++) {
        struct sp_error err = {0};
        char *path, *notes;
        leave_damaged(30, round == 1 ? "thirty" : "again");
        leave_damaged(40, "forty");
        assert_int_equal(exec_checkpoint_find(test_folder, &path, &notes, &err), SP_OK);
        assert_non_null(strstr(path, "minibatch-000000020.safetensors"));
        free(notes);
        assert_int_equal(exec_checkpoint_set_aside(test_folder, path, &notes, &err), SP_OK);
        assert_non_null(strstr(notes, round == 1 ? "40.safetensors.damaged now\n" : "40.safetensors.damaged2 now\n"));
        free(notes);
        assert_int_equal(exec_checkpoint_set_aside(test_folder, path, &notes, &err), SP_OK);
        assert_null(notes);
        free(path);
    }
    expect_files("10.s 20.s 30.s.damaged 30.s.damaged2 40.s.damaged 40.s.damaged2");
    test_shell("test $(cat *30.safetensors.damaged) = thirty && test $(cat *30.safetensors.damaged2) = again");
    exec_checkpoint_prune(test_folder, 1);
    expect_files("20.s 30.s.damaged 30.s.damaged2 40.s.damaged 40.s.damaged2");
}

/* In the order of numbers, not of names, and with what an interrupted writing left. */
static void the_newest_are_kept(void **state)
{
    (void)state;
    test_shell("rm -f *");
    leave_whole(999999999);
    leave_whole(1000000000);
    leave_whole(7);
    test_shell("touch minibatch-000000008.safetensors.tmp123 note");
    exec_checkpoint_prune(test_folder, 2);
    expect_files("1000000000.s 999999999.s note");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(newer_damaged_ones_are_set_aside),
        cmocka_unit_test(the_newest_are_kept),
    };
    return cmocka_run_group_tests_name("checkpoint_folder", tests, test_folder_make, test_folder_remove);
}
