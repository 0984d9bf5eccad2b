/* dataset.c - the table of data sets. */
#include "common/alloc.h"
#include "exec/data/kinds.h"

#include <stdlib.h>
#include <string.h>

const struct exec_dataset_kind exec_dataset_kinds[] = {
    {"fashion-mnist", "28 x 28 grey, 10 classes, 60000 + 10000", exec_fashion_mnist_open},
    {"mnist", "28 x 28 grey, 10 classes, 60000 + 10000", exec_mnist_open},
    {"cifar10", "32 x 32 colour, 10 classes, 50000 + 10000", exec_cifar10_open},
    {"synthetic", "a random pattern per class, under noise", exec_synthetic_open},
    {NULL, NULL, NULL}};

sp_status exec_dataset_open(const struct exec_dataset_config *config, struct exec_dataset **out, struct sp_error *err)
{
    *out = NULL;
    const char *names[8];
    int count = 0;
    for (const struct exec_dataset_kind *kind = exec_dataset_kinds; kind->name; kind++) {
        names[count++] = kind->name;
        if (strcmp(kind->name, config->set) != 0)
            continue;
        struct exec_dataset *set = sp_calloc(1, sizeof *set);
        sp_status status = kind->open(config, set, err);
        if (status != SP_OK) {
            free(set);
            return status;
        }
        *out = set;
        return SP_OK;
    }
    const char *near = sp_nearest(config->set, names, count);
    return sp_reject(err, config->mark, "no data set \"%s\"%s%s%s", config->set, near ? "; did you mean \"" : "",
                     near ? near : "", near ? "\"?" : "");
}

void exec_dataset_close(struct exec_dataset **set)
{
    if (!*set)
        return;
    (*set)->close(*set);
    free(*set);
    *set = NULL;
}
