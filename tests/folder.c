#include "tests/folder.h"

#include "common/alloc.h"
#include "common/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

char test_folder[64];

int test_folder_make(void **state)
{
    (void)state;
    strcpy(test_folder, "/tmp/stalepipe-test-XXXXXX");
    return mkdtemp(test_folder) == NULL;
}

int test_folder_remove(void **state)
{
    (void)state;
    char *command = sp_format("rm -rf %s", test_folder);
    int status = system(command);
    free(command);
    return status;
}

char *test_read(const char *name)
{
    char *path = sp_format("%s/%s", test_folder, name), *text;
    size_t size;
    struct sp_error err = {0};
    if (sp_file_read(path, 1 << 26, NULL, &text, &size, &err) != SP_OK)
        fail_msg("%s", err.text);
    free(path);
    return text;
}

void test_shell(const char *form, ...)
{
    char *asked;
    va_list values;
    va_start(values, form);
    assert_true(vasprintf(&asked, form, values) >= 0);
    va_end(values);
    char *command = sp_format("cd %s && { %s\n}", test_folder, asked);
    if (system(command) != 0)
        fail_msg("in %s: %s", test_folder, asked);
    free(command);
    free(asked);
}
