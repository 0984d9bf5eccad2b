#include "exec/backend.h"

#include <string.h>

const char *const exec_convolution_names[] = {"direct", "winograd", "auto", NULL};

const struct exec_backend *const exec_backends[] = {&exec_ref_backend, &exec_cpu_backend, NULL};

const struct exec_backend *exec_backend_find(const char *name)
{
    for (int b = 0; exec_backends[b] != NULL; b++)
        if (strcmp(exec_backends[b]->name, name) == 0)
            return exec_backends[b];
    return strcmp(name, "cuda") == 0 ? exec_cuda_find() : NULL;
}
