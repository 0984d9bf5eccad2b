# stalepipe - make, make demo, make check, make bench; SAN=address|undefined|thread, V=1.
SAN ?=
B := build$(if $(SAN),-$(SAN))
CC ?= cc
CFLAGS ?= -O2 -g
# psabi: vectors of 32 bytes are only passed between functions that are inlined.
WARN := -Wall -Wextra -Wshadow -Wmissing-prototypes -Wstrict-prototypes -Wno-psabi
PACKAGES := yaml-0.1 jansson zlib gsl
comma := ,
FLAGS := -std=c11 -D_GNU_SOURCE -I. $(WARN) -ffp-contract=off $(shell pkg-config --cflags $(PACKAGES) 2>/dev/null) \
    $(if $(SAN),-fsanitize=$(if $(filter address,$(SAN)),address$(comma)undefined,$(SAN)) -fno-omit-frame-pointer -DSP_DEBUG=1)
# ONEDNN=PREFIX builds against another oneDNN (2.6 or 3.x) than the system's.
ifdef ONEDNN
FLAGS += -isystem $(ONEDNN)/include
LDFLAGS += -L$(ONEDNN)/lib -Wl,-rpath,$(ONEDNN)/lib
endif
LIBS := $(LDFLAGS) $(shell pkg-config --libs $(PACKAGES) 2>/dev/null) -ldnnl -lgomp -lm -lpthread

SOURCES := $(sort $(wildcard common/*.c common/layers/*.c common/networks/*.c common/report/*.c common/schedules/*.c sim/*.c sim/costs/*.c \
    exec/*.c exec/ref/*.c exec/cpu/*.c exec/data/*.c exec/transport/*.c) exec/cuda/find.c)
PROGRAM := $(wildcard common/program/*.c)
SUITES := $(patsubst tests/%.c,%,$(sort $(wildcard tests/test_*.c tests/properties/test_*.c)))
# The comparison with SimGrid needs its headers (Debian: libsimgrid-dev); everything else does without.
SIMGRID := $(wildcard /usr/include/simgrid/engine.h)
# CUDA=0 does without CUDA, CUDA=1 makes absence an error. Tests link tests/cudasim in its place.
include exec/cuda/find.mk
NO_NCCL := $(if $(NCCL),,exec/cuda/nccl.c tests/cudasim/nccl.c tests/cudasim/nccl_reduce.c tests/cudasim/test_nccl.c tests/cuda/test_processes.c)
CUDA_SUITES := $(if $(CUDA_FOUND),$(patsubst tests/%.c,%,$(filter-out $(NO_NCCL),$(sort $(wildcard tests/cudasim/test_*.c tests/cuda/test_*.c)))))
SUITES += $(CUDA_SUITES)
BENCHES := $(patsubst tests/%.c,%,$(filter-out $(if $(SIMGRID),,tests/bench/simgrid.c),$(sort $(wildcard tests/bench/*.c))))
objects = $(patsubst %.c,$B/%.o,$(1))

ifeq ($(V),1)
SAY =
Q =
else
SAY = @printf '  %-6s %s\n' $(1) $(2);
Q = @
endif

.DEFAULT_GOAL := all
.PHONY: all demo check bench deps clean format FORCE
# What was found, once a build.
summary:
	@printf 'oneDNN %s; CUDA %s; MPI %s\n' \
	    "$$(printf '#include <oneapi/dnnl/dnnl_version.h>\nDNNL_VERSION_MAJOR.DNNL_VERSION_MINOR\n' | $(CC) $(FLAGS) -E -P - 2>/dev/null | tail -1 | tr -d ' ')" \
	    "$(CUDA_SUMMARY)" \
	    "$$(command -v mpicc >/dev/null && echo 'found, no transport uses it' || echo 'not found')"
.PHONY: summary
all: summary $(if $(PROGRAM),$B/stalepipe,$B/libstalepipe.a) $(if $(CUDA_READY),$B/stalepipe-cuda.so)

# The CUDA backend is a library that the program opens; what it needs of ours it finds in the program.
CUDA_HOST := $(call objects,$(filter-out exec/cuda/find.c $(NO_NCCL),$(wildcard exec/cuda/*.c)))
$B/stalepipe: $(call objects,$(PROGRAM)) $B/libstalepipe.a
	$(call SAY,LINK,$@)$(CC) $(FLAGS) $(CFLAGS) -rdynamic -o $@ $^ $(LIBS)
	$(if $(CUDA_READY),,$(Q)rm -f $B/stalepipe-cuda.so)
$B/stalepipe-cuda.so: $(CUDA_HOST) $B/exec/cuda/kernels.o
	$(call SAY,LINK,$@)$(CC) $(FLAGS) $(CFLAGS) -shared -o $@ $^ $(CUDA_RPATH) $(CUDA_REAL) -lstdc++

# Prints what each kernel takes on the chip where that is most, and fails where registers do not suffice.
NVCC_FLAGS := -std=c++17 -O3 -Xcompiler -fPIC -fmad=false -I. -ccbin $(CC) -Werror all-warnings -Xptxas -v \
    $(foreach c,$(CUDA_CHIPS),-gencode arch=compute_$(c)$(comma)code=sm_$(c)) \
    -gencode arch=compute_$(lastword $(CUDA_CHIPS))$(comma)code=compute_$(lastword $(CUDA_CHIPS))
$B/exec/cuda/%.o: exec/cuda/%.cu $B/flags $B/cuda-flags
	@mkdir -p $(@D)
	$(call SAY,NVCC,$<)$(NVCC) $(NVCC_FLAGS) -MMD -MF $(@:.o=.d) -c $< -o $@ 2>$@.log || { cat $@.log; exit 1; }
	$(Q)awk -f exec/cuda/spills.awk $@.log || { rm -f $@; exit 1; }
$B/cuda-flags: FORCE
	@mkdir -p $(@D); echo '$(NVCC) $(NVCC_FLAGS) $(CUDA_FLAGS)' | cmp -s - $@ || echo '$(NVCC) $(NVCC_FLAGS) $(CUDA_FLAGS)' > $@

$B/libstalepipe.a: $(call objects,$(SOURCES))
	$(call SAY,AR,$@)rm -f $@; ar rcs $@ $^

$B/%.o: %.c $B/flags
	@mkdir -p $(@D)
	$(call SAY,CC,$<)$(CC) $(FLAGS) $(DEFINES) $(CFLAGS) -MMD -MP -c $< -o $@

# The source's revision, which results name: only the file that has it is compiled again when it changes.
$B/common/program/environment.o: private DEFINES = -DPROGRAM_REVISION='"$(shell cat $B/revision)"'
$B/common/program/environment.o: $B/revision
$B/revision: FORCE
	@mkdir -p $(@D); now=$$(git describe --always --dirty --abbrev=12 2>/dev/null || echo unknown); \
	    [ "$$now" = "$$(cat $@ 2>/dev/null)" ] || echo "$$now" > $@

$B/flags: FORCE        # touched only when the command line changes: new flags rebuild, same flags do not
	@mkdir -p $(@D); echo '$(CC) $(FLAGS) $(CFLAGS)' | cmp -s - $@ || echo '$(CC) $(FLAGS) $(CFLAGS)' > $@

$B/tests/bench/simgrid: LIBS += -lsimgrid
HELPERS := $(call objects,$(addprefix tests/,training.c networks.c chain.c folder.c experiments.c searches.c port.c program.c stream.c))
$B/tests/test_cpu: $B/tests/layers.o
$B/tests/%: $B/tests/%.o $(HELPERS) $B/libstalepipe.a
	$(call SAY,LINK,$@)$(CC) $(FLAGS) $(CFLAGS) -o $@ $^ $(LIBS) -lcmocka

# The stand-in for CUDA devices. ThreadSanitizer must not see its queues, so it is told of them by hand.
CUDASIM_FLAGS := $(filter-out -fsanitize=thread,$(FLAGS)) $(if $(filter thread,$(SAN)),-DCUDASIM_TSAN=1) $(CUDA_FLAGS)
CUDASIM := $(call objects,$(filter-out tests/cudasim/test_% $(NO_NCCL),$(wildcard tests/cudasim/*.c)))
CUDASIM_KERNELS := $B/tests/cudasim/kernels.cudasim.o
$(CUDASIM) $(CUDA_HOST): $B/cuda-flags
$(CUDASIM): private FLAGS := $(CUDASIM_FLAGS) -fPIC
$(CUDA_HOST): private FLAGS += $(CUDA_FLAGS) -fPIC
$B/tests/cudasim/test_%.o: private FLAGS += $(CUDA_FLAGS)
$B/tests/libcudasim.a: $(CUDASIM)
	$(call SAY,AR,$@)rm -f $@; ar rcs $@ $^
# A .cu file as C++: its kernels run on the stand-in.
$B/%.cudasim.o: %.cu $B/flags
	@mkdir -p $(@D)
	$(call SAY,CXX,$<)$(CXX) -std=c++17 $(filter-out -std=% -Wmissing-prototypes -Wstrict-prototypes,$(FLAGS)) $(CUDA_FLAGS) $(CFLAGS) \
	    -fPIC -include tests/cudasim/kernel.h -MMD -MP -x c++ -c $< -o $@
$B/tests/cudasim/%: $B/tests/cudasim/%.o $(CUDASIM_KERNELS) $B/tests/libcudasim.a $B/libstalepipe.a
	$(call SAY,LINK,$@)$(CC) $(FLAGS) $(CFLAGS) -o $@ $^ $(CUDA_RPATH) $(CUDNN_LIBRARY) $(LIBS) -lcmocka -lstdc++

# The CUDA executor on it; and the same tests on the GPUs of this machine.
$B/tests/cuda/%.o: private FLAGS += $(CUDA_FLAGS)
$B/tests/cuda/%: $B/tests/cuda/%.o $B/tests/cuda/standin.o $B/tests/layers.o $(HELPERS) $(CUDA_HOST) $B/exec/cuda/kernels.cudasim.o \
    $B/tests/libcudasim.a $B/libstalepipe.a
	$(call SAY,LINK,$@)$(CC) $(FLAGS) $(CFLAGS) -o $@ $^ $(CUDA_RPATH) $(CUDNN_LIBRARY) $(LIBS) -lcmocka -lstdc++
# Named, so that they count as there before they are made: else the rule of tests/% would do, where all else is there.
$B/tests/cuda/standin.o $B/tests/cuda/gpus.o $B/exec/cuda/kernels.cudasim.o: $B/cuda-flags
$B/tests/gpu/%: $B/tests/cuda/%.o $B/tests/cuda/gpus.o $B/tests/layers.o $(HELPERS) $(CUDA_HOST) $B/exec/cuda/kernels.o $B/libstalepipe.a
	@mkdir -p $(@D)
	$(call SAY,LINK,$@)$(CC) $(FLAGS) $(CFLAGS) -o $@ $^ $(CUDA_RPATH) $(CUDA_REAL) $(LIBS) -lcmocka -lstdc++

# The program on the stand-in device, for trying commands: build/standin/stalepipe.
$B/standin/stalepipe: $B/stalepipe $B/standin/stalepipe-cuda.so
	$(Q)cp $B/stalepipe $@
$B/standin/stalepipe-cuda.so: $(CUDA_HOST) $B/exec/cuda/kernels.cudasim.o $B/tests/libcudasim.a
	@mkdir -p $(@D)
	$(call SAY,LINK,$@)$(CC) $(FLAGS) $(CFLAGS) -shared -o $@ $^ $(CUDA_RPATH) $(CUDNN_LIBRARY) -lstdc++

$B/tests/cuda/test_copies: | $B/standin/stalepipe

# Everything again on the GPUs of this machine, and what they do as a table.
GPU_SUITES := $(addprefix $B/tests/gpu/,test_layers test_training test_sync test_graphs test_copies)
check-gpu: deps
	@$(MAKE) --no-print-directory check-gpu-only
check-gpu-only: $(if $(CUDA_READY),$(GPU_SUITES) $B/stalepipe $B/stalepipe-cuda.so)
	$(if $(CUDA_READY),,$(error check-gpu needs CUDA: $(CUDA_MISSING)))
	@tests/cuda/check_gpu "tests/cuda/gpu_table $B/stalepipe" $(GPU_SUITES)
.PHONY: check-gpu check-gpu-only

# Their names, for builds that want only these.
cuda-suites:
	@echo $(addprefix $B/tests/,$(CUDA_SUITES))
.PHONY: cuda-suites

# Debian packages, only what is missing; as root or through sudo.
DEBS := gcc make curl pkg-config libyaml-dev libjansson-dev zlib1g-dev libdnnl-dev libgsl-dev libcmocka-dev gnuplot-nox \
    dataset-fashion-mnist $(if $(CUDA_HEADERS),g++)
deps:
	@missing=$$(for p in $(DEBS); do dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done); \
	if [ -n "$$missing" ]; then sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	    echo "installing Debian packages:" $$missing; \
	    $$sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y -qq --no-install-recommends $$missing; fi

# deps may install what the variables above probe for, so the work is done by a second make.
check: deps
	@$(MAKE) --no-print-directory check-only
check-only: $(addprefix $B/tests/,$(SUITES)) $(if $(PROGRAM),$B/stalepipe) $(if $(CUDA_READY),$B/stalepipe-cuda.so)
	@tests/run $(addprefix $B/tests/,$(SUITES)) "tests/regression/check --test" tests/cuda/layouts "tests/cuda/check_gpu --test" \
	    $(if $(SAN),,"STALEPIPE=$B/stalepipe tests/bench/predictions --short")
.PHONY: check-only

# The main job: one schedule, simulated and really run, on real data; predicted beside measured, with pictures.
demo: deps
	@$(MAKE) --no-print-directory demo-only
demo-only: $B/stalepipe
	@mkdir -p runs
	$B/stalepipe profile --quick experiments/quickstart.yaml -o runs/quickstart.profile.yaml
	$B/stalepipe compare experiments/quickstart.yaml --set cost.model=profile --set cost.file=runs/quickstart.profile.yaml
	$B/stalepipe report runs/quickstart
.PHONY: demo-only

# The paper's tables and figures in their quick forms, and a page with published, predicted and measured figures.
paper-quick: deps
	@$(MAKE) --no-print-directory all
	experiments/paper/run-quick
.PHONY: paper-quick

bench: $(addprefix $B/tests/,$(BENCHES)) $B/stalepipe
	@for bench in $(addprefix $B/tests/,$(BENCHES)); do $$bench || exit 1; done
	@tests/bench/step_pairs
	@tests/bench/predictions --out $B/predictions.csv && tests/regression/check $B/predictions.csv
	@tests/bench/sweep_points
	@tests/bench/sweep_killed

format:
	clang-format -i $$(git ls-files '*.c' '*.h')

clean:
	rm -rf $B

-include $(shell find $B -name '*.d' 2>/dev/null)
.PRECIOUS: $B/%.o $B/%.cudasim.o
