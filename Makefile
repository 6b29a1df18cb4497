# Everything runs from a bare clone: the targets set up .venv first, with the versions of constraints.txt.
PYTHON ?= python3
BIN := .venv/bin
DEMO_OUT ?= demo
# Options of the demo, such as DEMO=--short
DEMO ?=

.PHONY: demo test faults interop bench-interop bench-gpu docs lint format clean

demo: .venv/installed
	$(BIN)/labram-jax demo --out $(DEMO_OUT) $(DEMO)

# On Linux the tests also plan for TPUs, with the TPU's compiler; it lies apart, so that nothing else looks for a TPU.
ifeq ($(shell uname -s)-$(shell uname -m),Linux-x86_64)
TPU_COMPILER := .venv/libtpu
TPU_LIBRARY := TPU_LIBRARY_PATH=$(CURDIR)/.venv/libtpu/libtpu/libtpu.so
endif

# Tests compile far longer than they compute, and less so without the compiler's most expensive passes. Its older way of
# writing fused loops, with each program in one part, halves what is left. The same stands in tests/golden_data.py.
QUICK := --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true \
  --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1

# In the order of tests/conftest.py, not by how many tests a file has: that says little of how long it takes. Two
# processes on two cores: threads of BLAS beside them only wait for each other.
test: .venv/installed $(TPU_COMPILER)
	OPENBLAS_NUM_THREADS=1 JAX_PLATFORMS=cpu XLA_FLAGS="$(QUICK)" $(TPU_LIBRARY) $(BIN)/python -m pytest \
	  --numprocesses 2 --dist loadfile --no-loadscope-reorder

# Kills of builds and trainings, stops of two processes, 10,000 damaged files: the tests make a few of each. Takes hours.
faults: .venv/installed
	$(BIN)/python -m tests.faults.killed_builds
	JAX_PLATFORMS=cpu XLA_FLAGS="$(QUICK)" $(BIN)/python -m tests.faults.killed_trainings
	JAX_PLATFORMS=cpu XLA_FLAGS="$(QUICK)" $(BIN)/python -m tests.faults.stopped_pairs
	JAX_PLATFORMS=cpu XLA_FLAGS="$(QUICK)" LABRAM_ELASTIC_FULL=1 $(BIN)/python -m pytest tests/faults/test_elastic.py
	JAX_PLATFORMS=cpu $(BIN)/python tests/convert/mutations.py tests/golden/labram.pth 2000 1
	JAX_PLATFORMS=cpu XLA_FLAGS="$(QUICK)" $(BIN)/python -m tests.faults.fuzz --count 10000

# Import and export beside PyTorch and braindecode themselves, and our estimators in an evaluation of MOABB.
interop: .venv/interop
	JAX_PLATFORMS=cpu $(BIN)/python -m pytest tests/convert/test_interop.py tests/test_moabb.py

# Speed beside braindecode. Its threads wait asleep: what they spin away would count as its processor seconds.
bench-interop: .venv/interop
	OMP_WAIT_POLICY=passive JAX_PLATFORMS=cpu $(BIN)/python benchmarks/side_by_side.py

# On a machine with an NVIDIA GPU: what the attention kernels give there, and how long steps take with each of them.
bench-gpu: .venv/cuda
	$(BIN)/python -c "import jax; print(jax.devices('gpu'))"
	$(BIN)/python -m pytest tests/models/test_attention_gpu.py
	for size in base large; do for attention in xla cudnn triton; do \
	  $(BIN)/python benchmarks/steps.py --size $$size --dtype bfloat16 --rows 64 --attention $$attention || exit 1; \
	done; done
	for attention in xla triton; do \
	  $(BIN)/python benchmarks/steps.py --dtype bfloat16 --rows 64 --packed 4 --attention $$attention || exit 1; \
	done

# The site, in build/docs; a warning, such as of a link that leads nowhere, is an error. The variable spares a notice of
# the theme's makers.
docs: .venv/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --config-file docs/mkdocs.yml

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --disable-pip-version-check --constraint constraints.txt --editable '.[dev,beam]'
	touch $@

.venv/libtpu: .venv/installed
	$(BIN)/pip install --disable-pip-version-check --constraint constraints.txt --no-deps --target $@ --upgrade libtpu
	touch $@

.venv/cuda: .venv/installed
	$(BIN)/pip install --disable-pip-version-check --constraint constraints.txt --editable '.[cuda]'
	touch $@

.venv/docs: .venv/installed
	$(BIN)/pip install --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	touch $@

# braindecode comes without its dependencies: the extra names what its Labram needs of them. The last version whose
# Labram was another model lies apart.
.venv/interop: .venv/installed
	$(BIN)/pip install --disable-pip-version-check --constraint constraints.txt --editable '.[interop,moabb]'
	$(BIN)/pip install --disable-pip-version-check --constraint constraints.txt --no-deps braindecode
	$(BIN)/pip install --disable-pip-version-check --no-deps --target .venv/braindecode-1.3.2 --upgrade braindecode==1.3.2
	touch $@

clean:
	rm -rf .venv build *.egg-info
