#include "tests/folder.h"

#include "common/alloc.h"

#include <stdlib.h>
#include <string.h>

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
