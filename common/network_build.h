/*
 * network_build.h - putting a network together, layer by layer. For the built-in networks and the reader of files.
 *
 * The first mistake is kept in the builder and everything after it is ignored, so that a network reads as a list.
 * Layers get names such as conv1, bn1, relu1 where none is given.
 */
#ifndef SP_NETWORK_BUILD_H
#define SP_NETWORK_BUILD_H

#include "common/network.h"

struct sp_builder {
    struct sp_network *network;
    struct sp_error *err;
    sp_status status;
    int classes;
    int counts[SP_LAYER_TYPE_COUNT]; /* of each type so far, for names */
};

/* Starts a network with inputs of that shape. */
void sp_builder_init(struct sp_builder *builder, const char *name, struct sp_shape input, int classes,
                     struct sp_error *err);

/* Adds a layer that reads `input` (a tensor) and returns the tensor it makes. `template` gives type, settings, mark
 * and, if not empty, the name; the rest is computed. */
int sp_builder_layer(struct sp_builder *builder, const struct sp_layer *template, int input, int shortcut);

/* The usual ones. Convolutions have no bias where batch norm follows. */
int sp_builder_convolution(struct sp_builder *builder, int input, int filters, int kernel, int stride, int pad,
                           bool bias);
int sp_builder_plain(struct sp_builder *builder, enum sp_layer_type type, int input); /* no settings but defaults */
int sp_builder_max_pool(struct sp_builder *builder, int input, int kernel, int stride);
int sp_builder_fully_connected(struct sp_builder *builder, int input, int outputs);
int sp_builder_dropout(struct sp_builder *builder, int input, float rate);
int sp_builder_add(struct sp_builder *builder, int main_path, int shortcut);

/* Counts and checks the whole; on SP_OK *out is owned by the caller. Ends the builder either way. */
sp_status sp_builder_finish(struct sp_builder *builder, struct sp_network **out);

/* A layer's settings where the user gives none. */
struct sp_layer_settings sp_layer_settings_default(enum sp_layer_type type);

/* The built-in networks: one file under common/networks and one row of the table in builtin.c each. `number` is what
 * follows the name (resnet20: 20), 0 when nothing does. Returns the tensor before the loss. */
int sp_network_lenet5(struct sp_builder *builder, int number);
int sp_network_alexnet(struct sp_builder *builder, int number);
int sp_network_vgg16(struct sp_builder *builder, int number);
int sp_network_resnet(struct sp_builder *builder, int number);

/* Builds the network of that name, or rejects it with the names there are. */
sp_status sp_network_builtin(const char *name, struct sp_mark mark, struct sp_builder *builder);

/* Reads a YAML list of layers. */
sp_status sp_network_file(const char *path, struct sp_mark mark, struct sp_shape input, int classes,
                          struct sp_network **out, struct sp_error *err);

#endif
