/*
 * networks.h - building networks in tests, and what must hold of any.
 */
#ifndef TESTS_NETWORKS_H
#define TESTS_NETWORKS_H

#include "common/network.h"

static const struct sp_shape mnist_shape = {1, 28, 28}, cifar_shape = {3, 32, 32};

/* A built-in network for ten classes; fails the test where there is none. */
struct sp_network *build_network(const char *name, struct sp_shape input);

void assert_shape(struct sp_shape found, int c, int h, int w);
int count_type(const struct sp_network *network, enum sp_layer_type type);

/* What must hold of any network: numbering, groups, totals, names, tensors that are all read. */
void assert_sound(const struct sp_network *network);

#endif
