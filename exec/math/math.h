/*
 * math.h - formulas of one element, shared by C and CUDA: loops and launches live in each backend.
 */
#ifndef EXEC_MATH_H
#define EXEC_MATH_H

#ifdef __CUDACC__
#define SP_HD __host__ __device__
#else
#define SP_HD
#endif

#endif
