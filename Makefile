# One entry for people and machines: `make demo`, `make test`, `make check`, `make bench`, `make all`.
# A private .venv holds everything; nothing outside this folder is touched but the store (SAEUNIV_STORE).

PYTHON ?= $(shell command -v python3.11 || command -v python3)
# A package index with CPU-only builds of torch, for machines whose default index has CUDA builds only.
TORCH_INDEX ?=

BIN := .venv/bin
# One thread per process: parallelism is by process (two OpenMP threads on contended cores collapse). Programs that
# are started hundreds of times keep their bytecode, also where the environment says otherwise.
ONE_THREAD := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
PIP := $(if $(TORCH_INDEX),PIP_EXTRA_INDEX_URL=$(TORCH_INDEX) )$(BIN)/python -m pip --disable-pip-version-check

.PHONY: setup demo test test-calibration test-demo test-presets test-slurm test-browser check bench bench-all all clean

setup: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: setup
	$(BIN)/python launch.py

# Three processes: those of whole runs mostly wait for what they start.
test: setup
	$(ONE_THREAD) $(BIN)/python -m pytest -m "not calibration and not demo and not slurm and not presets and not browser" -n 3

# p of every null is uniform where nothing is shared (3 minutes).
test-calibration: setup
	$(ONE_THREAD) $(BIN)/python -m pytest -m calibration -n 2

# Every preset from a hub on loopback to results, on tiny models, and whole runs of other kinds (6 minutes).
test-presets: setup
	$(ONE_THREAD) $(BIN)/python -m pytest -m presets -n 2

# The whole embedded experiment from an empty store, timed, against what the README says (3 minutes).
test-demo: setup
	$(ONE_THREAD) $(BIN)/python -m pytest -m demo -s

# Sweeps on a private SLURM, which the tests install from Debian packages and start (as root).
test-slurm: setup
	$(ONE_THREAD) $(BIN)/python -m pytest -m slurm

# The pages in Chromium, which is installed from Debian packages where it is missing (as root); axe-core checks them too
# where npm can fetch it.
test-browser: setup
	command -v chromium || (apt-get update && apt-get install --yes --no-install-recommends chromium)
	test -d node_modules/axe-core || npm install --silent --no-save --no-package-lock axe-core@4.14.1 || true
	$(ONE_THREAD) $(BIN)/python -m pytest -m browser

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

# The kernels against their dense formulations (3 minutes); bench-all adds what users wait for (10 minutes).
bench: setup
	$(ONE_THREAD) $(BIN)/python -m benchmarks numerics

bench-all: setup
	$(ONE_THREAD) $(BIN)/python -m benchmarks

all: test check test-calibration test-presets test-slurm test-browser test-demo bench-all

clean:
	rm -rf .venv dist build
