/*
 * kernel.h - what makes g++ compile a `.cu` file: force-included, before everything else.
 *
 * A kernel is an ordinary function that a loop over the grid calls; launched by cudaLaunchKernelEx, with arguments
 * that are copied at the call. Pointers among the arguments, and within structs passed by value, are translated.
 * __shared__ is one variable a stream's thread: static sizes only.
 */
#ifndef CUDASIM_KERNEL_H
#define CUDASIM_KERNEL_H

#ifndef __cplusplus
#error "kernel.h is for .cu files, compiled as C++"
#endif

#define __DEVICE_LAUNCH_PARAMETERS_H__ /* its threadIdx and the like are ours */
#define __shared__                     static thread_local

#include <cuda_runtime.h>
#include "tests/cudasim/launch.h"
#include <cmath>
#include <tuple>
#include <type_traits>
#include <utility>

#define CUDASIM 1

static const int warpSize = 32;

static inline void __syncthreads()
{
    cudasim_barrier(1);
}

static inline void __syncwarp(unsigned = 0xffffffffu)
{
    cudasim_barrier(0);
}

/* Of one warp all lanes must come, as with a full mask. */
template <typename T> static inline T cudasim_shuffle(T value, int lane)
{
    static_assert(sizeof(T) % sizeof(unsigned) == 0, "shuffles move words");
    unsigned words[sizeof(T) / sizeof(unsigned)];
    __builtin_memcpy(words, &value, sizeof value);
    for (unsigned &word : words)
        word = cudasim_exchange(word, lane);
    __builtin_memcpy(&value, words, sizeof value);
    return value;
}

template <typename T> static inline T __shfl_sync(unsigned, T value, int lane, int width = 32)
{
    return cudasim_shuffle(value, (cudasim_lane() & -width) + (lane & (width - 1)));
}

template <typename T> static inline T __shfl_xor_sync(unsigned, T value, int mask, int = 32)
{
    return cudasim_shuffle(value, cudasim_lane() ^ mask);
}

template <typename T> static inline T __shfl_down_sync(unsigned, T value, unsigned by, int width = 32)
{
    int lane = cudasim_lane(), from = lane + (int)by;
    return cudasim_shuffle(value, (from & -width) == (lane & -width) ? from : lane);
}

template <typename T> static inline T __ldg(const T *at)
{
    return *at;
}

/* ---- launches ---- */

template <typename... Parameters> struct cudasim_call_of {
    void (*kernel)(Parameters...);
    std::tuple<std::decay_t<Parameters>...> arguments;

    static void run(void *self)
    {
        auto *call = static_cast<cudasim_call_of *>(self);
        std::apply(call->kernel, call->arguments);
    }
};

template <typename T> static inline void cudasim_translate(struct cudasim_op *op, T &argument, int number)
{
    static_assert(std::is_trivially_copyable<T>::value, "arguments of kernels are copied bytewise");
    if constexpr (std::is_pointer<T>::value)
        cudasim_launch_pointers(
            op, &argument, sizeof argument,
            std::is_const<typename std::remove_pointer<T>::type>::value ? CUDASIM_INPUT : CUDASIM_OUTPUT, number);
    else if constexpr (std::is_class<T>::value || std::is_array<T>::value)
        cudasim_launch_pointers(op, &argument, sizeof argument, CUDASIM_HOLDS_POINTERS, number);
    else
        (void)op, (void)argument, (void)number;
}

template <typename... Parameters, typename... Arguments>
static inline cudaError_t cudasim_launch(const char *name, const cudaLaunchConfig_t *config,
                                         void (*kernel)(Parameters...), Arguments &&...arguments)
{
    using call_of = cudasim_call_of<Parameters...>;
    call_of call{kernel, {static_cast<Parameters>(arguments)...}};
    void *copied;
    struct cudasim_op *op = cudasim_launch_begin(config, name, call_of::run, &call, sizeof call, &copied);
    std::apply(
        [op](auto &...argument) {
            int number = 0;
            (cudasim_translate(op, argument, ++number), ...);
        },
        static_cast<call_of *>(copied)->arguments);
    return cudasim_launch_end(op);
}

/* In place of CUDA's template; the macro keeps the kernel's name. */
#define cudaLaunchKernelEx(config, ...) cudasim_launch(CUDASIM_FIRST(__VA_ARGS__, ), config, __VA_ARGS__)
#define CUDASIM_FIRST(first, ...)       #first

#endif
