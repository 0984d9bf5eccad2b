/*
 * math.h - formulas of one element, shared by C and CUDA: loops and launches live in each backend.
 */
#ifndef EXEC_MATH_H
#define EXEC_MATH_H

#include "common/host_device.h"

#endif
