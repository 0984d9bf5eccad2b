/* folder.h - a temporary folder for a suite: cmocka's group setup and teardown. */
#ifndef TEST_FOLDER_H
#define TEST_FOLDER_H

/* Its path, between the two. */
extern char test_folder[64];

int test_folder_make(void **state);
int test_folder_remove(void **state);

/* A file there, whole; the caller frees. */
char *test_read(const char *name);

/* Runs a shell's command there, and fails the test, naming it, where that fails. */
void test_shell(const char *form, ...) __attribute__((format(printf, 1, 2)));

#endif
