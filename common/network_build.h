/*
 * network_build.h - putting a network together, layer by layer. For the built-in networks and the reader of files.
 *
 * Mistakes are collected: a wrong layer keeps its name and place, its output has no known shape (0x0x0), and what reads
 * it is not checked. So a network reads as a list, and each mistake is told once. Layers get names such as conv1, bn1,
 * relu1 where none is given.
 */
#ifndef SP_NETWORK_BUILD_H
#define SP_NETWORK_BUILD_H

#include "common/network.h"

struct sp_builder {
    struct sp_network *network;
    struct sp_error *err;
    sp_status status;    /* SP_E_INPUT once something was wrong */
    struct sp_mark mark; /* where the network was asked for: for layers without a mark of their own */
    int classes;
    bool cut_short;                  /* too many layers or mistakes, and told so: the end is missing */
    int counts[SP_LAYER_TYPE_COUNT]; /* of each type so far, for names */
};

/* Starts a network with inputs of that shape. `mark` is where it was asked for. */
void sp_builder_init(struct sp_builder *builder, const char *name, struct sp_mark mark, struct sp_shape input,
                     int classes, struct sp_error *err);

/* Adds a layer that reads `input` (a tensor) and `shortcut` (-1: none), and returns the tensor it makes. `template`
 * gives type, settings, mark and, if not empty, the name; the rest is computed. A layer that is known to be wrong holds
 * its place with input -1, one of an unknown kind (which must be named) as SP_LAYER_TYPE_COUNT; then the caller has
 * told the mistake. */
int sp_builder_layer(struct sp_builder *builder, const struct sp_layer *template, int input, int shortcut);

/* The usual ones. Convolutions have no bias where batch norm follows. */
int sp_builder_convolution(struct sp_builder *builder, int input, int filters, int kernel, int stride, int pad,
                           bool bias);
int sp_builder_plain(struct sp_builder *builder, enum sp_layer_type type, int input); /* no settings but defaults */
int sp_builder_max_pool(struct sp_builder *builder, int input, int kernel, int stride);
int sp_builder_fully_connected(struct sp_builder *builder, int input, int outputs);
int sp_builder_dropout(struct sp_builder *builder, int input, float rate);
int sp_builder_add(struct sp_builder *builder, int main_path, int shortcut);

/* Counts and checks the whole; on SP_OK *out is owned by the caller, else NULL. Ends the builder either way. */
sp_status sp_builder_finish(struct sp_builder *builder, struct sp_network **out);

/* The marks of the layers get a file name that lives as long as the network. */
void sp_network_keep_file(struct sp_network *network, const char *file);

/* A layer's settings where the user gives none. */
struct sp_layer_settings sp_layer_settings_default(enum sp_layer_type type);

/* The built-in networks: one file under common/networks and one row of the table in builtin.c each. `number` is what
 * follows the name (resnet20: 20), 0 when nothing does. Returns the tensor before the loss. */
int sp_network_lenet5(struct sp_builder *builder, int number);
int sp_network_alexnet(struct sp_builder *builder, int number);
int sp_network_vgg16(struct sp_builder *builder, int number);
int sp_network_resnet(struct sp_builder *builder, int number);

/* Builds the network of that name, or rejects the name with those there are. */
void sp_network_builtin(const char *name, struct sp_builder *builder);

/* Reads a YAML list of layers. */
sp_status sp_network_file(const char *path, struct sp_mark mark, struct sp_shape input, int classes,
                          struct sp_network **out, struct sp_error *err);

/* Reads measurements of a network: PipeDream's graph.txt or a CSV of layers. `batch` samples are a minibatch where the
 * file does not say. */
sp_status sp_network_profile(const char *path, struct sp_mark mark, int batch, struct sp_network **out,
                             struct sp_error *err);

#endif
