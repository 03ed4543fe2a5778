# Every target sets up .venv by itself; the second time that costs nothing.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
JOBS   ?= 2

.PHONY: demo test test-slow lint format doctor docs bench clean

demo: $(READY)  ## the whole flow on trained digits; results in build/demo
	$(BIN)/hwmoe run digits --board zcu102 --experts ternary --out build/demo
	$(BIN)/hwmoe package build/demo --count 360
	$(BIN)/hwmoe deploy build/demo

test: $(READY)  ## the default suite
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -q

test-slow: $(READY)  ## minutes each: large shapes, many builds
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -q -m slow

lint: $(READY)  ## style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

doctor: $(READY)  ## what is installed, what is missing
	$(BIN)/hwmoe doctor

bench: $(READY)  ## speed of the tool, accuracy; fails if a promise is broken
	$(BIN)/python benchmarks/reference_speed.py
	$(BIN)/python benchmarks/accuracy.py --quick

docs: $(READY)  ## the documentation as a site in build/site
	$(BIN)/python -m pip install --quiet -e '.[docs]'
	$(BIN)/mkdocs build --strict --site-dir build/site

clean:
	rm -rf build dist *.egg-info

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' || \
	  { echo "hwmoe needs Python 3.10, 3.11 or 3.12: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev,pynq,onnx]'
	@touch $(READY)
