#include "common/report/draw.h"
#include "common/alloc.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static bool has_scripts(const char *folder)
{
    char *path = sp_format("%s/style.gp", folder);
    bool found = access(path, R_OK) == 0;
    free(path);
    return found;
}

sp_status sp_plots_find(char **out, struct sp_error *err)
{
    char program[4096];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    program[length > 0 ? length : 0] = '\0';
    char *slash = strrchr(program, '/');
    if (slash != NULL)
        *slash = '\0';
    for (int up = 1; up <= 2; up++) { /* build/, build/tests/ */
        *out = sp_format("%s/%.*splots", program, 3 * up, "../../");
        if (has_scripts(*out))
            return SP_OK;
        free(*out);
    }
    *out = NULL;
    if (!has_scripts("plots"))
        return SP_FAIL(err, SP_E_IO, "the folder plots/ is found neither beside the program nor here");
    *out = sp_strdup("plots");
    return SP_OK;
}

/* Runs gnuplot on a script; what it says stands in `said`. */
static sp_status run_gnuplot(const char *script, const char *settings, struct sp_error *err)
{
    int pipe_ends[2];
    if (pipe(pipe_ends) != 0)
        return SP_FAIL(err, SP_E_IO, "cannot start gnuplot: %s", strerror(errno));
    pid_t child = fork();
    if (child < 0) {
        close(pipe_ends[0]);
        close(pipe_ends[1]);
        return SP_FAIL(err, SP_E_IO, "cannot start gnuplot: %s", strerror(errno));
    }
    if (child == 0) {
        dup2(pipe_ends[1], STDERR_FILENO);
        close(pipe_ends[0]);
        close(pipe_ends[1]);
        setenv("LC_ALL", "C.UTF-8", 1); /* in the C locale it warns of characters that the scripts do not have */
        execlp("gnuplot", "gnuplot", "-e", settings, script, (char *)NULL);
        _exit(127);
    }
    close(pipe_ends[1]);
    char said[1024];
    size_t count = 0;
    ssize_t got;
    char drop[256];
    while ((got = read(pipe_ends[0], count < sizeof said - 1 ? said + count : drop,
                       count < sizeof said - 1 ? sizeof said - 1 - count : sizeof drop)) > 0)
        count += count < sizeof said - 1 ? (size_t)got : 0;
    said[count] = '\0';
    close(pipe_ends[0]);
    int state = 0;
    waitpid(child, &state, 0);
    if (WIFEXITED(state) && WEXITSTATUS(state) == 0)
        return SP_OK;
    if (WIFEXITED(state) && WEXITSTATUS(state) == 127)
        return SP_FAIL(err, SP_E_IO, "gnuplot is not installed (Debian: gnuplot-nox)");
    said[strcspn(said, "\n")] = '\0';
    return SP_FAIL(err, SP_E_IO, "%s: %s", script, said[0] != '\0' ? said : "gnuplot failed");
}

sp_status sp_draw(const char *plots, const char *script, const char *data, const char *path, const char *out,
                  struct sp_error *err)
{
    static const char *const endings[] = {"svg", "pdf", "png"};
    enum { ENDINGS = sizeof endings / sizeof *endings };
    if (strchr(path, '\'') != NULL || strchr(out, '\'') != NULL || strchr(plots, '\'') != NULL)
        return SP_FAIL(err, SP_E_IO, "%s: gnuplot cannot take a folder with a quote in its name", path);
    char *file = sp_format("%s/%s.gp", plots, script);
    sp_status status = SP_OK;
    for (int e = 0; e < ENDINGS && status == SP_OK; e++) {
        char *settings = sp_format("plots='%s'; %s='%s'; out='%s.%s'", plots, data, path, out, endings[e]);
        status = run_gnuplot(file, settings, err);
        free(settings);
    }
    for (int e = 0; e < ENDINGS && status != SP_OK; e++) {
        char *left = sp_format("%s.%s", out, endings[e]);
        unlink(left);
        free(left);
    }
    free(file);
    return status;
}
