/*
 * device.c - how many devices there are and what they say of themselves.
 */
#include "tests/cudasim/inside.h"

#include <stdlib.h>
#include <string.h>

_Thread_local int cudasim_current_device;

static struct cudasim_device devices[CUDASIM_DEVICES_MAX + 1]; /* [0] is the host */
static int device_count = 2;
static bool peer_possible = true;

struct cudasim_device *cudasim_device(int device)
{
    return &devices[device + 1];
}

int cudasim_device_count(void)
{
    return device_count;
}

bool cudasim_peer_possible(void)
{
    return peer_possible;
}

static void set_devices(int count, size_t bytes_each)
{
    device_count = count < 0 ? 0 : count > CUDASIM_DEVICES_MAX ? CUDASIM_DEVICES_MAX : count;
    for (int device = 0; device < CUDASIM_DEVICES_MAX; device++) {
        memset(cudasim_device(device)->peers, 0, sizeof cudasim_device(device)->peers);
        cudasim_device(device)->total = bytes_each;
        cudasim_device(device)->capability = 86;
    }
}

static void from_environment(void)
{
    const char *count = getenv("CUDASIM_DEVICES"), *bytes = getenv("CUDASIM_MEMORY");
    const char *delays = getenv("CUDASIM_DELAYS"), *peer = getenv("CUDASIM_PEER");
    set_devices(count != NULL ? atoi(count) : device_count,
                bytes != NULL ? (size_t)strtoull(bytes, NULL, 10) : (size_t)4 << 30);
    if (peer != NULL)
        peer_possible = atoi(peer) != 0;
    unsigned long long seed;
    int microseconds;
    int bytes_per_microsecond;
    const char *copies = getenv("CUDASIM_COPIES");
    if (copies != NULL && sscanf(copies, "%d:%d", &microseconds, &bytes_per_microsecond) == 2)
        cudasim_set_copies(microseconds, bytes_per_microsecond);
    if (delays != NULL && sscanf(delays, "%llu:%d", &seed, &microseconds) == 2)
        cudasim_set_delays(seed, microseconds);
}

void cudasim_setup(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    cudasim_hide();
    pthread_once(&once, from_environment);
    cudasim_show();
}

void cudasim_set_devices(int count, size_t bytes_each)
{
    cudasim_setup();
    cudasim_lock();
    set_devices(count, bytes_each);
    cudasim_unlock();
    cudasim_current_device = 0;
}

void cudasim_set_capability(int device, int capability)
{
    cudasim_setup();
    cudasim_device(device)->capability = capability;
}

void cudasim_set_peer(int possible)
{
    cudasim_setup();
    peer_possible = possible != 0;
}

struct cudasim_bytes cudasim_memory(int device)
{
    cudasim_lock();
    struct cudasim_bytes bytes = cudasim_device(device)->bytes;
    cudasim_unlock();
    return bytes;
}

void cudasim_reset_peak(void)
{
    cudasim_lock();
    for (int device = -1; device < CUDASIM_DEVICES_MAX; device++)
        cudasim_device(device)->bytes.peak = cudasim_device(device)->bytes.live;
    cudasim_unlock();
}

/* ---- the calls ---- */

cudaError_t cudaGetDeviceCount(int *count)
{
    CUDASIM_BEGIN();
    *count = device_count;
    return cudasim_end(device_count == 0 ? cudaErrorNoDevice : cudaSuccess);
}

cudaError_t cudaSetDevice(int device)
{
    cudaError_t code = (cudaError_t)CUDASIM_ENTER(CUDASIM_RELEASING);
    if (code != cudaSuccess)
        return cudasim_end(code);
    if (device < 0 || device >= device_count)
        return cudasim_end((cudaError_t)cudasim_fault(cudaErrorInvalidDevice, "there is no device %d, only %d devices",
                                                      device, device_count));
    cudasim_current_device = device;
    return cudaSuccess;
}

cudaError_t cudaGetDevice(int *device)
{
    CUDASIM_BEGIN();
    *device = cudasim_current_device;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int device)
{
    CUDASIM_BEGIN();
    if (device < 0 || device >= device_count)
        return cudasim_end(cudaErrorInvalidDevice);
    memset(properties, 0, sizeof *properties);
    snprintf(properties->name, sizeof properties->name, "stand-in %d", device);
    properties->uuid.bytes[15] = (char)(device + 1);
    properties->totalGlobalMem = cudasim_device(device)->total;
    properties->major = cudasim_device(device)->capability / 10;
    properties->minor = cudasim_device(device)->capability % 10;
    properties->warpSize = 32;
    properties->multiProcessorCount = 4;
    properties->maxThreadsPerBlock = 1024;
    properties->maxThreadsPerMultiProcessor = 1536;
    properties->maxThreadsDim[0] = properties->maxThreadsDim[1] = 1024;
    properties->maxThreadsDim[2] = 64;
    properties->maxGridSize[0] = 0x7fffffff;
    properties->maxGridSize[1] = properties->maxGridSize[2] = 65535;
    properties->sharedMemPerBlock = 48 << 10;
    properties->asyncEngineCount = 2;
    properties->concurrentKernels = 1;
    properties->unifiedAddressing = 1;
    properties->canMapHostMemory = 1;
    properties->pciBusID = device + 1;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device)
{
    CUDASIM_BEGIN();
    if (device < 0 || device >= device_count)
        return cudasim_end(cudaErrorInvalidDevice);
    switch (attribute) {
    case cudaDevAttrComputeCapabilityMajor:
        *value = cudasim_device(device)->capability / 10;
        break;
    case cudaDevAttrComputeCapabilityMinor:
        *value = cudasim_device(device)->capability % 10;
        break;
    case cudaDevAttrMultiProcessorCount:
        *value = 4;
        break;
    case cudaDevAttrMaxThreadsPerBlock:
        *value = 1024;
        break;
    case cudaDevAttrWarpSize:
        *value = 32;
        break;
    case cudaDevAttrAsyncEngineCount:
        *value = 2;
        break;
    case cudaDevAttrUnifiedAddressing:
    case cudaDevAttrConcurrentKernels:
    case cudaDevAttrCanMapHostMemory:
        *value = 1;
        break;
    case cudaDevAttrIntegrated:
    case cudaDevAttrMemoryPoolsSupported:
        *value = 0;
        break;
    default:
        return cudasim_end(
            (cudaError_t)cudasim_fault(cudaErrorInvalidValue, "attribute %d is not known here", (int)attribute));
    }
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *version)
{
    CUDASIM_BEGIN();
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    CUDASIM_BEGIN();
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest)
{
    CUDASIM_BEGIN();
    *least = 0;
    *greatest = -5;
    return cudaSuccess;
}

cudaError_t cudaDeviceCanAccessPeer(int *possible, int device, int peer)
{
    CUDASIM_BEGIN();
    if (device < 0 || device >= device_count || peer < 0 || peer >= device_count)
        return cudasim_end(cudaErrorInvalidDevice);
    *possible = peer_possible && device != peer;
    return cudaSuccess;
}

cudaError_t cudaDeviceEnablePeerAccess(int peer, unsigned flags)
{
    CUDASIM_BEGIN();
    if (peer < 0 || peer >= device_count || peer == cudasim_current_device || flags != 0)
        return cudasim_end(
            (cudaError_t)cudasim_fault(cudaErrorInvalidDevice, "from device %d to %d", cudasim_current_device, peer));
    if (!peer_possible)
        return cudasim_end(cudaErrorPeerAccessUnsupported);
    bool *enabled = &cudasim_device(cudasim_current_device)->peers[peer];
    cudasim_lock();
    bool before = *enabled;
    *enabled = true;
    cudasim_unlock();
    return cudasim_end(before ? cudaErrorPeerAccessAlreadyEnabled : cudaSuccess);
}

cudaError_t cudaDeviceDisablePeerAccess(int peer)
{
    CUDASIM_BEGIN();
    if (peer < 0 || peer >= device_count)
        return cudasim_end(cudaErrorInvalidDevice);
    cudasim_lock();
    bool *enabled = &cudasim_device(cudasim_current_device)->peers[peer];
    bool before = *enabled;
    *enabled = false;
    cudasim_unlock();
    return cudasim_end(before ? cudaSuccess : cudaErrorPeerAccessNotEnabled);
}

/* ---- texts ---- */

static const struct {
    cudaError_t code;
    const char *name, *text;
} errors[] = {
#define ROW(code, text)                                                                                                \
    {                                                                                                                  \
        code, #code, text                                                                                              \
    }
    ROW(cudaSuccess, "no error"),
    ROW(cudaErrorInvalidValue, "invalid argument"),
    ROW(cudaErrorMemoryAllocation, "out of memory"),
    ROW(cudaErrorInitializationError, "initialization error"),
    ROW(cudaErrorInvalidConfiguration, "invalid configuration argument"),
    ROW(cudaErrorInsufficientDriver, "CUDA driver version is insufficient for CUDA runtime version"),
    ROW(cudaErrorNoDevice, "no CUDA-capable device is detected"),
    ROW(cudaErrorInvalidDevice, "invalid device ordinal"),
    ROW(cudaErrorNoKernelImageForDevice, "no kernel image is available for execution on the device"),
    ROW(cudaErrorECCUncorrectable, "uncorrectable ECC error encountered"),
    ROW(cudaErrorPeerAccessUnsupported, "peer access is not supported between these two devices"),
    ROW(cudaErrorPeerAccessAlreadyEnabled, "peer access is already enabled"),
    ROW(cudaErrorPeerAccessNotEnabled, "peer access has not been enabled"),
    ROW(cudaErrorInvalidResourceHandle, "invalid resource handle"),
    ROW(cudaErrorNotReady, "device not ready"),
    ROW(cudaErrorIllegalAddress, "an illegal memory access was encountered"),
    ROW(cudaErrorLaunchFailure, "unspecified launch failure"),
    ROW(cudaErrorLaunchTimeout, "the launch timed out and was terminated"),
    ROW(cudaErrorStreamCaptureUnsupported, "operation not permitted when stream is capturing"),
    ROW(cudaErrorStreamCaptureInvalidated, "operation failed due to a previous error during capture"),
    ROW(cudaErrorStreamCaptureUnjoined, "capturing stream has unjoined work"),
    ROW(cudaErrorStreamCaptureIsolation, "dependency created on uncaptured work in another stream"),
    ROW(cudaErrorUnknown, "unknown error"),
#undef ROW
};

static int find_error(cudaError_t code)
{
    for (int i = 0; i < (int)(sizeof errors / sizeof *errors); i++)
        if (errors[i].code == code)
            return i;
    return -1;
}

const char *cudaGetErrorString(cudaError_t code)
{
    int at = find_error(code);
    return at < 0 ? "unrecognized error code" : errors[at].text;
}

const char *cudaGetErrorName(cudaError_t code)
{
    int at = find_error(code);
    return at < 0 ? "unrecognized error code" : errors[at].name;
}
