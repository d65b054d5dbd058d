# Everything a newcomer needs. Each target sets up what it requires and is safe to run again.
.PHONY: help demo format check test-fast test test-newest test-generic test-thorough integrations integrations-lerobot test-robotwin equivalence lint types layout docs bench bench-gpu setup gl clean
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# Modules are compiled once, by the first process that imports them, also where containers ask for no bytecode.
unexport PYTHONDONTWRITEBYTECODE
NEWEST_MUJOCO := 4.0.0
# One thread, as more would wait for each other.
PYTEST_ALONE := OMP_NUM_THREADS=1 $(BIN)/python -m pytest
# Two processes, a file of tests at a time.
PYTEST := $(PYTEST_ALONE) -n 2 --dist loadfile --no-loadscope-reorder
NEWEST := $(CURDIR)/$(VENV)/mujoco-$(NEWEST_MUJOCO)
INTEGRATIONS := $(CURDIR)/$(VENV)/integrations
LEROBOT_PYTHON ?= python3.12
LEROBOT := $(VENV)/lerobot
ENGINE_TESTS := $(addprefix tests/ttrl_env/,test_libero_version.py test_published_scenes.py engines/mujoco engines/native/test_native_engine.py)
PROCESSOR_TESTS := $(addprefix tests/kernels/test_,$(addsuffix .py,sampling_distribution sample_tokens token_logprobs from_hidden)) \
	$(addprefix tests/agents/policies/test_,$(addsuffix .py,pixels vision))
FIVE_TASKS := libero_spatial-9] or libero_object-6] or libero_goal-7] or libero_10-9] or libero_90-17]
SOURCES := ttrl_env agents kernels benchmarks tests docs

help:
	@echo "make demo    a policy that ships with the package learns a changed LIBERO task, within 10 minutes"
	@echo "make format  ruff: what it can mend, and the format"
	@echo "make check   lint, types and test-fast: before every commit"
	@echo "make test-fast     tests without LIBERO and without those marked slow, 90 seconds on 2 cores"
	@echo "make test    the test suite, 16 minutes on 2 cores"
	@echo "make test-newest   the engine's tests on the newest MuJoCo, beside published LIBERO's"
	@echo "make test-generic  tests of what depends on the processor, as if it were another one"
	@echo "make test-thorough further tasks, GPUs and loops that make test leaves out, 20 minutes"
	@echo "make integrations  TorchRL, RLlib, sb3-contrib, W&B, a CleanRL loop, LeRobot, the notebook, 5 minutes"
	@echo "make test-robotwin  RoboTwin's real runtime on boxes, without assets or a GPU, 2 minutes; see docs/robotwin.md"
	@echo "make equivalence   39 tasks over full episodes against LIBERO, an hour; five on the newest MuJoCo"
	@echo "make lint    ruff: style, imports, docstrings; and the format"
	@echo "make types   mypy over the package, the benchmarks, the tests and the code of docs/"
	@echo "make docs    the documentation as a site in build/site; a warning is an error"
	@echo "make bench   the benchmarks that need no GPU"
	@echo "make bench-gpu     every test and benchmark that wants a GPU, on one: half an hour"
	@echo "make clean   remove the virtual environment and build products (runs/ stays)"

demo: setup gl
	$(BIN)/ttrl demo

format: setup
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

check: lint types test-fast

test-fast: setup
	$(PYTEST) -m "not libero and not slow" $(PYTEST_ARGS)

test: setup gl
	$(PYTEST) $(PYTEST_ARGS)

# A MuJoCo of its own in front of the installed one, which stays as it is. A few long tests, dealt one by one.
# How tasks share threads does not depend on it.
test-newest: setup gl $(NEWEST)
	PYTHONPATH=$(NEWEST) $(PYTEST) --dist worksteal -k "not share" $(ENGINE_TESTS) $(PYTEST_ARGS)

# As on a processor without vector instructions, and with the matrix products of another one. The reference and
# Triton's kernels are not compiled for it, so the tests of single kernels try the compiled one alone. One process:
# most of its minute is compiling, which two would both do.
test-generic: setup gl
	NUMBA_CPU_NAME=generic OPENBLAS_CORETYPE=Haswell \
		$(PYTEST_ALONE) -k "not [reference and not [triton" $(PROCESSOR_TESTS) $(PYTEST_ARGS)

test-thorough: setup gl
	$(PYTEST) -m thorough $(PYTEST_ARGS)

# Other libraries in front of the installed ones, which stay as they are: RLlib wants an older Gymnasium.
integrations: setup $(INTEGRATIONS)
	PYTHONPATH=$(INTEGRATIONS) $(PYTEST_ALONE) -m integrations tests/integrations $(PYTEST_ARGS)
	@if $(LEROBOT_PYTHON) -c pass; then $(MAKE) integrations-lerobot; \
	else echo "LeRobot needs Python 3.12 or newer: make integrations-lerobot LEROBOT_PYTHON=..."; fi

# LeRobot needs a newer Python and its own PyTorch, so it has an environment of its own, of 8 GB.
integrations-lerobot: $(LEROBOT)
	OMP_NUM_THREADS=1 $(LEROBOT)/bin/python -m pytest -m integrations tests/integrations/test_lerobot*.py $(PYTEST_ARGS)

$(LEROBOT): pyproject.toml
	$(LEROBOT_PYTHON) -m venv $@
	$@/bin/python -m pip install --quiet --disable-pip-version-check -e '.[libero,lerobot]' pytest pytest-timeout
	@touch $@

$(INTEGRATIONS): tests/integrations/requirements.txt | setup
	rm -rf $@ $@.draft
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $@.draft -r $<
	mv $@.draft $@
	@touch $@

$(NEWEST): | setup
	rm -rf $@.draft
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $@.draft mujoco==$(NEWEST_MUJOCO) mujoco-core==$(NEWEST_MUJOCO)
	mv $@.draft $@

# Simulations are processes of the interpreter that has the runtime, which `ttrl robotwin setup` installs for it.
test-robotwin: setup
	@$(BIN)/python -c 'from ttrl_env.robotwin.processes import find_python; print(find_python(None))' > $(VENV)/robotwin-python
	TTRL_ROBOTWIN_PYTHON=$$(cat $(VENV)/robotwin-python) \
		$(PYTEST_ALONE) -m robotwin tests/ttrl_env/robotwin $(PYTEST_ARGS)

equivalence: setup gl $(NEWEST)
	$(PYTEST) --dist load -m equivalence $(PYTEST_ARGS)
	PYTHONPATH=$(NEWEST) $(PYTEST) --dist load -m equivalence -k "$(FIVE_TASKS)" $(PYTEST_ARGS)

lint: setup
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)

types: setup layout
	MYPYPATH=build/typing:. $(BIN)/mypy
	$(BIN)/python docs/python_blocks.py build/typing
	MYPYPATH=build/typing:. $(BIN)/mypy -p pages

docs: setup layout
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# mypy and mkdocs do not see packages that setuptools maps from other folders, so they are laid out for them.
layout:
	rm -rf build/typing && mkdir -p build/typing/ttrl_env
	ln -s $(CURDIR)/ttrl_env/* build/typing/ttrl_env/
	ln -s $(CURDIR)/agents $(CURDIR)/kernels build/typing/ttrl_env/

bench: setup gl
	$(BIN)/python -m pytest benchmarks --benchmark-only --benchmark-sort=name

bench-gpu: setup gl
	$(BIN)/python -m benchmarks.gpu

setup: $(INSTALLED)

# torch first and alone: asked for together with packages that need any torch, pip may fetch another build.
# pip would compile all 23,000 modules to bytecode, a minute of CPU; 5,500 are imported, and compiled then.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14) and "Python 3.10 to 3.13 is needed: make PYTHON=python3.11 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --no-compile --quiet --disable-pip-version-check "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --no-compile --quiet --disable-pip-version-check -c constraints.txt -e '.[libero,sb3,dev,docs]'
	@touch $@

gl: setup
	@$(BIN)/python -m ttrl_env.engines.opengl

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .mypy_cache .benchmarks *.egg-info
