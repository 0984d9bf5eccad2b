/*
 * nccl_reduce.c - what NCCL's reductions come to.
 */
#include "tests/cudasim/nccl_reduce.h"

#include <stdint.h>

static double value_at(const char *data, size_t i, ncclDataType_t type)
{
    switch (type) {
    case ncclFloat32:
        return ((const float *)data)[i];
    case ncclFloat64:
        return ((const double *)data)[i];
    case ncclInt32:
        return ((const int32_t *)data)[i];
    default:
        return (double)((const int64_t *)data)[i];
    }
}

static void set_value(char *data, size_t i, ncclDataType_t type, double value)
{
    switch (type) {
    case ncclFloat32:
        ((float *)data)[i] = (float)value;
        break;
    case ncclFloat64:
        ((double *)data)[i] = value;
        break;
    case ncclInt32:
        ((int32_t *)data)[i] = (int32_t)value;
        break;
    default:
        ((int64_t *)data)[i] = (int64_t)value;
    }
}

static double combine(ncclRedOp_t reduction, double a, double b)
{
    switch (reduction) {
    case ncclProd:
        return a * b;
    case ncclMax:
        return a > b ? a : b;
    case ncclMin:
        return a < b ? a : b;
    default:
        return a + b;
    }
}

void cudasim_reduce(void *to, size_t count, ncclDataType_t type, ncclRedOp_t reduction, const char *const *parts,
                    int ranks)
{
    for (size_t i = 0; i < count; i++) {
        double result = value_at(parts[0], i, type);
        for (int rank = 1; rank < ranks; rank++)
            result = combine(reduction, result, value_at(parts[rank], i, type));
        set_value(to, i, type, reduction == ncclAvg ? result / ranks : result);
    }
}
