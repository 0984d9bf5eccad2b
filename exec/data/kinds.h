/* kinds.h - the kinds of data sets, for the table in dataset.c. */
#ifndef EXEC_DATA_KINDS_H
#define EXEC_DATA_KINDS_H

#include "exec/data/data.h"

sp_status exec_fashion_mnist_open(const struct exec_dataset_config *config, struct exec_dataset *out,
                                  struct sp_error *err);
sp_status exec_mnist_open(const struct exec_dataset_config *config, struct exec_dataset *out, struct sp_error *err);
sp_status exec_cifar10_open(const struct exec_dataset_config *config, struct exec_dataset *out, struct sp_error *err);
sp_status exec_synthetic_open(const struct exec_dataset_config *config, struct exec_dataset *out, struct sp_error *err);

/* The folder of a data set: `config->dir`, or for "auto" the first there is of PARENT/NAME. None is SP_E_INPUT. The
 * caller frees *out. */
sp_status exec_dataset_folder(const struct exec_dataset_config *config, const char *name, char **out,
                              struct sp_error *err);

/* SP_E_INPUT where the path is there and no file: reading a pipe would wait for ever. */
sp_status exec_dataset_check_file(const char *path, struct sp_mark mark, struct sp_error *err);

#endif
