# What people and CI type. `make demo` runs the main job, `make test` the tests, `make check` the static checks.

PYTHON ?= python3
BIN := .venv/bin
DATA ?= drawn
OUT ?= runs/$(if $(filter drawn,$(DATA)),demo,demo-$(notdir $(abspath $(DATA))))

.PHONY: help install demo test test-oldest check docs soak release-check format

help:
	@echo "make demo              train, score, report and export on drawn faces"
	@echo "make demo DATA=PATH    the same on FER-2013 / FER+ or your own folder at PATH"
	@echo "make test              all tests, and how much of the code they run"
	@echo "make test-oldest       the same with the oldest versions that pyproject.toml allows (needs uv)"
	@echo "make check             ruff, codespell, mypy, import-linter"
	@echo "make docs              the documentation as a site, site/index.html"
	@echo "make release-check     build sdist and wheel, look through them, use the wheel in a new environment"
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
	$(BIN)/python -m pytest -m "not soak" -n 2 --dist loadfile --cov --cov-report= -p tools.coverage_gate

test-oldest:
	uv venv --quiet --clear .venv/oldest
	uv pip install --quiet --python .venv/oldest/bin/python --resolution lowest-direct --editable ".[dev]"
	# What old versions warn of is no fault of ours.
	.venv/oldest/bin/python -m pytest -m "not soak" -n 2 --dist loadfile -W default

soak: .venv/for-work
	$(BIN)/python -m pytest -m soak

check: .venv/for-work
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/for-work
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

release-check: .venv/for-work
	$(BIN)/python -m tools.release_check

format: .venv/for-work
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
