/* host_device.h - marks functions that are compiled for the host and for GPUs, from one source. */
#ifndef SP_HOST_DEVICE_H
#define SP_HOST_DEVICE_H

#ifdef __CUDACC__
#define SP_HD __host__ __device__
#else
#define SP_HD
#endif

#endif
