#include "common/report.h"
#include "common/alloc.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* A picture: its script, and the file it needs in the run's folder (or in measured/ and predicted/ of a comparison). */
static const struct {
    const char *name, *needs;
} pictures[] = {
    {"timelines", "timeline.csv"}, {"utilization", "devices.csv"}, {"memory", "devices.csv"},
    {"loss", "losses.csv"},        {"pareto", "candidates.csv"},
};

static bool is_readable(const char *path)
{
    return access(path, R_OK) == 0;
}

static bool has(const char *folder, const char *below, const char *file)
{
    char *path = sp_format("%s/%s%s", folder, below, file);
    bool found = is_readable(path);
    free(path);
    return found;
}

/* The folder of the scripts: beside the program's, or below the working folder. The caller frees; NULL: not found. */
static char *find_plots(void)
{
    char program[4096];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    program[length > 0 ? length : 0] = '\0';
    char *slash = strrchr(program, '/');
    if (slash != NULL)
        *slash = '\0';
    for (int up = 1; up <= 2; up++) { /* build/, build/tests/ */
        char *folder = sp_format("%s/%.*splots", program, 3 * up, "../../");
        if (has(folder, "", "/style.gp"))
            return folder;
        free(folder);
    }
    return is_readable("plots/style.gp") ? sp_strdup("plots") : NULL;
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
    return SP_FAIL(err, SP_E_IO, "gnuplot failed on %s: %s", script, said);
}

static sp_status draw(const char *plots, const char *name, const char *needs, const char *folder, bool quiet,
                      struct sp_error *err)
{
    static const char *const endings[] = {"svg", "pdf", "png"};
    if (strchr(folder, '\'') != NULL)
        return SP_FAIL(err, SP_E_IO, "%s: gnuplot cannot take a folder with a quote in its name", folder);
    sp_status status = SP_OK;
    for (int e = 0; e < 3 && status == SP_OK; e++) {
        char *script = sp_format("%s/%s.gp", plots, name);
        char *out = sp_format("%s/%s.%s", folder, name, endings[e]);
        char *settings = sp_format("plots='%s'; folder='%s'; csv='%s/%s'; out='%s'", plots, folder, folder, needs, out);
        status = run_gnuplot(script, settings, err);
        if (status == SP_OK && !quiet)
            fprintf(stderr, "%s\n", out);
        if (status != SP_OK)
            unlink(out);
        free(script);
        free(out);
        free(settings);
    }
    return status;
}

sp_status sp_report(const char *folder, bool quiet, struct sp_error *err)
{
    struct sp_mark none = {.file = folder};
    int drawn = 0;
    if (!is_readable(folder))
        return sp_reject(err, none, "no such folder; name one that sim, train or compare wrote");
    char *plots = find_plots();
    if (plots == NULL)
        return SP_FAIL(err, SP_E_IO, "the folder plots/ is found neither beside the program nor here");
    sp_status status = SP_OK;
    for (size_t p = 0; p < sizeof pictures / sizeof *pictures && status == SP_OK; p++) {
        const char *needs = pictures[p].needs;
        if (!has(folder, "/", needs) && !has(folder, "/measured/", needs))
            continue;
        status = draw(plots, pictures[p].name, needs, folder, quiet, err);
        drawn++;
    }
    free(plots);
    if (status == SP_OK && drawn == 0)
        return sp_reject(err, none, "nothing to draw: no timeline.csv, devices.csv or losses.csv here or in measured/");
    return status;
}
