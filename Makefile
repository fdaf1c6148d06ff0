# `make demo` trains LeNet-5, `make test` passes the tests; both set up what they need in .venv first.
PYTHON ?= python3
EPOCHS ?= 6
DATA ?= auto
VENV := .venv
BIN := $(VENV)/bin
SOURCES := $(shell find src csrc -type f -not -name '*.pyc') CMakeLists.txt pyproject.toml
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
# What an extra of the installed package asks for, without building the package again.
extra = $$($(BIN)/python -c "from importlib.metadata import requires; \
	print(*(r.split(';')[0].strip() for r in requires('striate') if \"'$(1)'\" in r or '\"$(1)\"' in r))")

.PHONY: demo test check torch sanitize neon proofs bench wheel clean

demo: $(VENV)/installed
	$(BIN)/striate train lenet5 --data $(DATA) --epochs $(EPOCHS)

test: $(VENV)/tested  ## the compiled tests are kept: 4 s of a run
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2 --dist worksteal

check: $(VENV)/tested  ## format, lint, types, and the assembly of the inner loops
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(wildcard csrc/*.h csrc/*.cpp)
	$(BIN)/python -m pytest -q -m assembly tests/test_assembly.py

torch: $(VENV)/tested  ## the case table and whole networks beside PyTorch
	$(PIP) install $(call extra,test-torch)
	$(BIN)/python -m pytest -m torch

sanitize:  ## the case table under AddressSanitizer and UndefinedBehaviorSanitizer, every buffer guarded
	$(PYTHON) tests/sanitize.py $(SANITIZE)

neon: $(VENV)/tested  ## the case table on the kernels compiled for aarch64, emulated
	$(BIN)/python tests/neon.py $(NEON)

proofs: $(VENV)/tested  ## what takes minutes: many random problems, long runs, leaks
	$(BIN)/python -m pytest -m slow

bench: $(VENV)/tested  ## beside the peers; `make bench ONLY="--quick --json rows.json"` for one table in 3 minutes
	$(PIP) install -r benchmarks/requirements.txt
	$(BIN)/python benchmarks/peers.py $(ONLY)
ifndef ONLY
	$(BIN)/python benchmarks/peers.py --layers vgg16
	$(BIN)/python benchmarks/peers.py --layers resnet50
	$(BIN)/python benchmarks/accuracy.py
	$(BIN)/python benchmarks/conv_peak.py
	$(BIN)/python benchmarks/lenet_inference.py
	$(BIN)/python benchmarks/lenet_fashion.py
endif

wheel: $(VENV)/python
	$(PIP) wheel --no-deps -w dist .

clean:
	rm -rf $(VENV) .venv-sanitize build dist

$(VENV)/python:
	@command -v $(PYTHON) >/dev/null || { echo "make: needs Python 3.10 or newer as $(PYTHON)"; exit 1; }
	@command -v c++ >/dev/null || { echo "make: needs a C++17 compiler (Debian: apt-get install g++ python3-dev)"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "make: needs Python 3.10 or newer, got $$($(PYTHON) --version)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/installed: $(VENV)/python $(SOURCES)
	$(PIP) install '.[plot]'
	@touch $@

$(VENV)/tested: $(VENV)/python $(SOURCES)
	$(PIP) install '.[plot,test]' -Ccmake.define.STRIATE_EMULATE_WIDTH16=ON
	@touch $@ $(VENV)/installed
