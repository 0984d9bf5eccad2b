/*
 * Where a result comes from: the program, its libraries, the machine.
 */
#include "common/program/program.h"
#include "sim/profile_file.h"

#include <gsl/gsl_version.h>
#include <oneapi/dnnl/dnnl.h>
#include <yaml.h>
#include <zlib.h>

#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

/* The Makefile says which revision of the source this is. */
#ifndef PROGRAM_REVISION
#define PROGRAM_REVISION "unknown"
#endif

const char *program_revision(void)
{
    return PROGRAM_REVISION;
}

/* The value of PRETTY_NAME in /etc/os-release. */
static void read_distribution(char *name, size_t room)
{
    FILE *file = fopen("/etc/os-release", "r");
    char line[256];
    name[0] = '\0';
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "PRETTY_NAME=\"%255[^\"]", line) == 1)
            snprintf(name, room, "%s", line);
    if (file != NULL)
        fclose(file);
}

static json_t *machine(void)
{
    struct sim_profile here = {0};
    struct utsname kernel = {0};
    char distribution[256];
    sim_profile_machine(&here);
    uname(&kernel);
    read_distribution(distribution, sizeof distribution);
    double bytes = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGE_SIZE);
    json_t *object = json_pack("{s:s, s:i, s:f, s:s, s:s, s:s, s:s}", "cpu", here.cpu != NULL ? here.cpu : "unknown",
                               "cores", here.cores, "memory_bytes", bytes, "architecture", kernel.machine, "kernel",
                               kernel.release, "system", distribution, "host", kernel.nodename);
    sim_profile_fini(&here);
    return object;
}

static json_t *versions(void)
{
    const dnnl_version_t *dnnl = dnnl_version();
    char onednn[64];
    snprintf(onednn, sizeof onednn, "%d.%d.%d", dnnl->major, dnnl->minor, dnnl->patch);
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "compiler", __VERSION__, "oneDNN", onednn, "GSL", gsl_version,
                     "libyaml", yaml_get_version_string(), "jansson", JANSSON_VERSION, "zlib", zlibVersion());
}

json_t *program_environment(void)
{
    char started[32];
    time_t now = time(NULL);
    struct tm utc;
    strftime(started, sizeof started, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    return json_pack("{s:s, s:s, s:o, s:o}", "started", started, "revision", program_revision(), "versions", versions(),
                     "machine", machine());
}
