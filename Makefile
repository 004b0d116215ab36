# What people and CI type. `make demo` runs the main job, `make test` the tests, `make check` the static checks.

PYTHON ?= python3
BIN := .venv/bin
DATA ?= drawn
OUT ?= runs/$(if $(filter drawn,$(DATA)),demo,demo-$(notdir $(abspath $(DATA))))

.PHONY: help install demo test check soak format

help:
	@echo "make demo              train, score, report and export on drawn faces"
	@echo "make demo DATA=PATH    the same on FER-2013 / FER+ or your own folder at PATH"
	@echo "make test              all tests"
	@echo "make check             ruff, mypy, import-linter"
	@echo "make soak              the long forms of the long checks"

.venv/for-use: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[all]"
	@touch $@

.venv/for-work: .venv/for-use
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	@touch $@

install: .venv/for-use

demo: .venv/for-use
	$(BIN)/mien data prepare "$(DATA)" --out "$(OUT)/data"
	$(BIN)/mien reproduce --recipe configs/smoke.toml --study table2 --data "$(OUT)/data" --out "$(OUT)"

test: .venv/for-work
	$(BIN)/python -m pytest -m "not soak" -n 2 --dist loadfile

soak: .venv/for-work
	$(BIN)/python -m pytest -m soak

check: .venv/for-work
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/for-work
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
