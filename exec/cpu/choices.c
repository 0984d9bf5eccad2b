#include "exec/cpu/choices.h"
#include "common/alloc.h"
#include "common/file.h"

#include <ctype.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_LIMIT = 4 << 20 };

static const char *const words[] = {[CPU_DIRECT] = "direct", [CPU_WINOGRAD] = "winograd"};

/* What this process knows, as text of the file's form. */
static char *known;
static char *loaded_path;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

/* The processor's name with nothing in it that a line uses. */
static void machine_name(char *name, size_t size)
{
    char line[256];
    FILE *file = fopen("/proc/cpuinfo", "r");
    snprintf(name, size, "unknown processor");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        const char *value = strchr(line, ':');
        if (strncmp(line, "model name", strlen("model name")) != 0 || value == NULL)
            continue;
        snprintf(name, size, "%s", value + 1 + strspn(value + 1, " "));
        break;
    }
    if (file != NULL)
        fclose(file);
    for (char *at = name; *at != '\0'; at++)
        if (*at == '\n')
            *at = '\0';
        else if (!isalnum((unsigned char)*at) && strchr(" -().@", *at) == NULL)
            *at = ' ';
}

void cpu_choices_machine(int threads, char key[CPU_CHOICE_KEY])
{
    char name[128];
    machine_name(name, sizeof name);
    const dnnl_version_t *version = dnnl_version();
    snprintf(key, CPU_CHOICE_KEY, "%s, oneDNN %d.%d.%d, %d thread%s", name, version->major, version->minor,
             version->patch, threads, threads == 1 ? "" : "s");
}

bool cpu_choices_in(const char *text, const char *key, enum cpu_algorithm *out)
{
    size_t length = strlen(key);
    for (const char *line = text; line != NULL && *line != '\0';) {
        const char *end = strchr(line, '\n');
        if (strncmp(line, key, length) == 0 && strncmp(line + length, ": ", 2) == 0)
            for (int w = 0; w < 2; w++) {
                size_t word = strlen(words[w]);
                const char *after = line + length + 2 + word;
                if (strncmp(line + length + 2, words[w], word) == 0 && !isalnum((unsigned char)*after)) {
                    *out = (enum cpu_algorithm)w;
                    return true;
                }
            }
        line = end == NULL ? NULL : end + 1;
    }
    return false;
}

static void append(char **text, const char *more)
{
    char *longer = sp_format("%s%s", *text != NULL ? *text : "", more);
    free(*text);
    *text = longer;
}

/* The file's text, ending with a newline; NULL: none. */
static char *read_file(const char *path)
{
    struct sp_error err = {0};
    char *text = NULL;
    size_t size;
    if (sp_file_read(path, FILE_LIMIT, NULL, &text, &size, &err) == SP_OK && size > 0 && text[size - 1] != '\n')
        append(&text, "\n");
    sp_error_fini(&err);
    return text;
}

void cpu_choices_load(const char *path)
{
    if (path == NULL)
        return;
    pthread_mutex_lock(&mutex);
    if (loaded_path == NULL || strcmp(loaded_path, path) != 0) {
        char *text = read_file(path);
        if (text != NULL)
            append(&known, text);
        free(text);
        free(loaded_path);
        loaded_path = sp_strdup(path);
    }
    pthread_mutex_unlock(&mutex);
}

bool cpu_choices_find(const char *key, enum cpu_algorithm *out)
{
    pthread_mutex_lock(&mutex);
    bool found = cpu_choices_in(known, key, out);
    pthread_mutex_unlock(&mutex);
    return found;
}

static void add_to_file(const char *path, const char *line)
{
    struct sp_error err = {0};
    const char *slash = strrchr(path, '/');
    char *folder = sp_format("%.*s", slash != NULL ? (int)(slash - path) : 1, slash != NULL ? path : ".");
    char *text = read_file(path);
    append(&text, line);
    if (sp_folder_make(folder, &err) == SP_OK)
        (void)sp_file_write(path, text, &err);
    sp_error_fini(&err);
    free(folder);
    free(text);
}

void cpu_choices_keep(const char *key, enum cpu_algorithm choice, double direct_s, double winograd_s, const char *path)
{
    char *line =
        sp_format("%s: %s (direct %.3f ms, winograd %.3f ms)\n", key, words[choice], 1e3 * direct_s, 1e3 * winograd_s);
    pthread_mutex_lock(&mutex);
    append(&known, line);
    if (path != NULL)
        add_to_file(path, line);
    pthread_mutex_unlock(&mutex);
    free(line);
}

void cpu_choices_note(char **text, const char *key, enum cpu_algorithm choice)
{
    enum cpu_algorithm noted;
    if (cpu_choices_in(*text, key, &noted))
        return;
    char *line = sp_format("%s: %s\n", key, words[choice]);
    append(text, line);
    free(line);
}
