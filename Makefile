# `make train` and `make test` work from a bare clone: each first sets up .venv, once.

PYTHON ?= python3
MODEL ?= pointnet
ARGS ?=

RUN = .venv/bin/python
INSTALL = $(RUN) -m pip install --quiet --disable-pip-version-check --editable

# Two processes of one thread each: on two cores they finish sooner than one of two threads.
WORKERS = TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1 OMP_NUM_THREADS=1

# What Open3D's wheel links to and does not bring: library=Debian package.
ifeq ($(shell uname -s),Linux)
LIBRARIES = libGL.so.1=libgl1 libEGL.so.1=libegl1 libX11.so.6=libx11-6 libidn2.so.0=libidn2-0 \
	libudev.so.1=libudev1 libusb-1.0.so.0=libusb-1.0-0
endif

.PHONY: help install train test test-changed lint format table docs clean
.DEFAULT_GOAL = help

help:  ## list what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s%s\n", $$1, $$2 }' Makefile

install: .venv/.base  ## set up and no more

train: .venv/.base  ## set up and train: make train MODEL=pointnet ARGS="--epochs 3"
	$(RUN) train.py --model $(MODEL) $(ARGS)

test: .venv/.test  ## set up and test: make test ARGS="-k pointnet"
	$(WORKERS) $(RUN) -m pytest -n 2 --dist loadfile --durations=10 $(ARGS)

test-changed: lint  ## lint, and test what the changes since main can break
	$(WORKERS) $(RUN) -m pytest -n 2 --dist loadfile $$($(RUN) -m tests.changed)

lint: .venv/.test  ## check style and layout of the code
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

format: .venv/.test  ## bring the code into that style
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

table: .venv/.base  ## write README.md, docs/ and the table of results again
	$(RUN) -m benchmarks.pages

docs: .venv/.docs  ## build docs/ as a site with search, in site/
	$(RUN) -m mkdocs build --strict

clean:  ## remove .venv and the caches; runs/ stays
	rm -rf .venv build site *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

# The set-up, each step remembered by an empty file.

.venv/.base: .venv/.made setup.cfg pyproject.toml
	@echo "Installing the Python packages into .venv: 3 GB, some minutes the first time ..."
	$(INSTALL) .
	@touch $@

.venv/.test: .venv/.made setup.cfg pyproject.toml
	@echo "Installing the Python packages and those of the tests into .venv: 4 GB, some minutes ..."
	$(INSTALL) ".[test]"
	@touch .venv/.base $@

.venv/.docs: .venv/.made setup.cfg pyproject.toml
	@echo "Installing what builds the site into .venv ..."
	$(INSTALL) ".[docs]"
	@touch .venv/.base $@

.venv/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(PYTHON) is not Python 3.11 or newer; name one: make train PYTHON=python3.12"; exit 1; }
	@missing=; \
	$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	  missing=$$($(PYTHON) -c 'import sys; print(" python%d.%d-venv" % sys.version_info[:2])'); \
	for pair in $(LIBRARIES); do \
	  $(PYTHON) -c "import ctypes; ctypes.CDLL('$${pair%=*}')" 2>/dev/null || \
	    missing="$$missing $${pair#*=}"; \
	done; \
	test "$$missing" || exit 0; \
	echo "This system lacks$$missing."; \
	command -v apt-get >/dev/null || { \
	  echo "It has no apt-get: install these, under its own names for them, then try again."; exit 1; }; \
	install="apt-get update && apt-get install --yes --no-install-recommends$$missing"; \
	if test "$$(id -u)" = 0; then become=sh; \
	elif sudo -n true 2>/dev/null; then become="sudo -n sh"; \
	else \
	  become=su; command -v sudo >/dev/null && become="sudo sh"; \
	  echo "Only root may install them. Run this command, then try again:"; \
	  echo "  $$become -c '$$install'"; exit 1; \
	fi; \
	echo "$$install"; \
	DEBIAN_FRONTEND=noninteractive $$become -c "$$install"
	$(PYTHON) -m venv .venv
	@touch $@
