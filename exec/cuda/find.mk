# Finds CUDA, cuDNN and NCCL, which need not lie in one folder. Each is looked for in its own *_HOME and there only, where
# that is given; else in CUDA_HOME, then in the system's folders. A home has its headers in include and its
# libraries in lib64, lib, Debian's folder below lib, or targets/CHIP; those of Python packages have no lib*.so, but lib*.so.N.

CUDA_SYSTEM ?= /usr
CUDA_HOME ?= $(or $(patsubst %/include/cuda_runtime.h,%,$(firstword $(wildcard \
    $(addsuffix /include/cuda_runtime.h,/usr/local/cuda $(CUDA_SYSTEM))))),/usr/local/cuda)
CUDNN_HOMES := $(or $(CUDNN_HOME),$(CUDA_HOME) $(CUDA_SYSTEM))
NCCL_HOMES := $(or $(NCCL_HOME),$(CUDA_HOME) $(CUDA_SYSTEM))

# The first in $(2), homes: the folder of header $(1); library $(1). Each home is asked for itself: `wildcard` sorts.
cuda-include = $(patsubst %/$(1),%,$(firstword $(foreach h,$(2),$(foreach d,include include/*-linux-gnu targets/*/include,$(wildcard $h/$d/$(1))))))
cuda-library = $(firstword $(foreach h,$(2),$(foreach d,lib64 lib lib/*-linux-gnu targets/*/lib,$(foreach n,so so.[0-9] so.[0-9][0-9],$(wildcard $h/$d/lib$(1).$n)))))

ifneq ($(CUDA),0)
CUDA_INCLUDE := $(call cuda-include,cuda_runtime.h,$(CUDA_HOME))
CUDNN_INCLUDE := $(call cuda-include,cudnn.h,$(CUDNN_HOMES))
CUDNN_LIBRARY := $(call cuda-library,cudnn,$(CUDNN_HOMES))
CUDNN_MAJOR := $(if $(CUDNN_INCLUDE),$(shell awk '$$2 == "CUDNN_MAJOR" {print $$3}' $(CUDNN_INCLUDE)/cudnn_version.h 2>/dev/null))
CUDA_RUNTIME := $(call cuda-library,cudart,$(CUDA_HOME))
CUBLAS_LIBRARY := $(call cuda-library,cublas,$(CUDA_HOME))
NCCL_INCLUDE := $(call cuda-include,nccl.h,$(NCCL_HOMES))
NCCL_LIBRARY := $(call cuda-library,nccl,$(NCCL_HOMES))
NVCC ?= $(firstword $(wildcard $(CUDA_HOME)/bin/nvcc) $(shell command -v nvcc))
endif
CUDA_HEADERS := $(and $(CUDA_INCLUDE),$(CUDNN_INCLUDE))
NCCL := $(and $(NCCL_INCLUDE),$(NCCL_LIBRARY))

# What tests on the stand-in need, and what the program needs beside it.
CUDA_MISSING := $(if $(filter 0,$(CUDA)),CUDA=0,$(strip \
    $(if $(CUDA_INCLUDE),,no cuda_runtime.h in $(CUDA_HOME);) \
    $(if $(CUDNN_INCLUDE),,no cudnn.h in $(CUDNN_HOMES);) \
    $(if $(CUDNN_LIBRARY),,no libcudnn in $(CUDNN_HOMES);) \
    $(if $(filter-out 9,$(CUDNN_MAJOR)),cuDNN $(CUDNN_MAJOR) in $(CUDNN_INCLUDE)$(comma) 9 is needed;) \
    $(if $(shell command -v $(CXX)),,no $(CXX);)))
CUDA_FOUND := $(if $(CUDA_MISSING),,yes)
ifeq ($(CUDA)$(CUDA_FOUND),1)
$(error CUDA=1: $(CUDA_MISSING))
endif
CUDA_MISSING += $(if $(CUDA_FOUND),$(strip \
    $(if $(CUDA_RUNTIME),,no libcudart in $(CUDA_HOME);) \
    $(if $(CUBLAS_LIBRARY),,no libcublas in $(CUDA_HOME);) \
    $(if $(NVCC),,no nvcc in $(CUDA_HOME)/bin or PATH;)))
CUDA_READY := $(if $(SAN)$(strip $(CUDA_MISSING)),,yes)
ifeq ($(CUDA)$(SAN)$(CUDA_READY),1)
$(error CUDA=1: $(CUDA_MISSING))
endif

# CUDA_CHIPS: compute capabilities to build for, by default those of these that nvcc knows; newer chips compile the newest
# one's PTX.
ifndef CUDA_CHIPS
CUDA_CHIPS := 75 80 86 89 90 100 120
CUDA_CHIPS := $(or $(filter $(CUDA_CHIPS),$(if $(CUDA_READY),$(patsubst compute_%,%,$(shell $(NVCC) --list-gpu-arch 2>/dev/null)))),$(CUDA_CHIPS))
endif

# The compiler's own folders come behind all others by themselves, and must not be named.
CUDA_FLAGS := $(addprefix -isystem ,$(filter-out /usr/include,$(CUDA_INCLUDE) $(filter-out $(CUDA_INCLUDE),$(CUDNN_INCLUDE) $(NCCL_INCLUDE))))
CUDA_REAL := $(CUDNN_LIBRARY) $(CUBLAS_LIBRARY) $(CUDA_RUNTIME) $(if $(NCCL),$(NCCL_LIBRARY))
CUDA_RPATH := $(patsubst %/,-Wl$(comma)-rpath$(comma)%,$(sort $(filter-out /usr/lib/%,$(dir $(CUDA_REAL)))))
CUDA_SUMMARY = $(if $(CUDA_READY),in $(CUDA_HOME) for chips $(CUDA_CHIPS)$(comma) \
    cuDNN $(CUDNN_MAJOR) in $(dir $(CUDNN_LIBRARY))$(comma) $(if $(NCCL),NCCL in $(dir $(NCCL_LIBRARY)),no NCCL: one process a run),not \
    found ($(or $(strip $(CUDA_MISSING)),builds with SAN do without)): no backend cuda)
