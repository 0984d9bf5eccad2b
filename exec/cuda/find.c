/*
 * Finds the CUDA backend: a library of its own beside the program, so that nobody waits for cuBLAS who does not use it,
 * and one program runs where CUDA is installed and where it is not. Without it a backend stands in that says what is
 * missing.
 */
#include "exec/backend.h"

#include <dlfcn.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

static char why[PATH_MAX + 256] =
    "this program was built without CUDA; build it where nvcc, cuBLAS and cuDNN are installed (no stalepipe-cuda.so is "
    "beside the program)";

static sp_status create(const struct exec_backend_config *config, void **context, struct sp_error *err)
{
    (void)config;
    *context = NULL;
    return SP_FAIL(err, SP_E_UNSUPPORTED, "cuda: %s", why);
}

static void destroy(void **context)
{
    *context = NULL;
}

static const char *supports(const struct sp_layer *layer)
{
    (void)layer;
    return NULL;
}

static const struct exec_backend missing = {
    .name = "cuda", .help = "NVIDIA GPUs; not here", .create = create, .destroy = destroy, .supports = supports};

/* The library's path; false when there is none. */
static bool find_library(char path[PATH_MAX + 32])
{
    char program[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (length < 0)
        return false;
    program[length] = '\0';
    snprintf(path, PATH_MAX + 32, "%s/stalepipe-cuda.so", dirname(program));
    return access(path, R_OK) == 0;
}

const struct exec_backend *exec_cuda_find(void)
{
    char path[PATH_MAX + 32];
    if (!find_library(path))
        return &missing;
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    const struct exec_backend *found = library != NULL ? dlsym(library, "exec_cuda_backend") : NULL;
    const size_t *layout = found != NULL ? dlsym(library, "exec_cuda_layout") : NULL;
    if (found == NULL)
        snprintf(why, sizeof why, "%s", dlerror());
    else if (layout == NULL || *layout != EXEC_BACKEND_LAYOUT) {
        snprintf(why, sizeof why, "%s is of another build than this program; make builds both", path);
        found = NULL;
    }
    return found != NULL ? found : &missing;
}
