# Everything a developer or CI types. The two that a newcomer needs: make demo, make test.
.PHONY: setup demo demo-all test test-fast test-all check docs bench bench-recipes bench-search bench-mixed bench-low-bits bench-real bench-verdict bench-serving bench-verify bench-packages bench-watching bench-calm bench-drift bench-rollout clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# One process more than processors (tests/conftest.py). Tests of the group "measures" run one after another, in one of them.
# A test process that dies ends the run: pytest-xdist does not hand the tests of its group to another one, and waits.
PYTEST := $(BIN)/python -m pytest -n logical --dist loadgroup --max-worker-restart=0 --durations=10
# Where the environment switches off the caches of compiled modules, every process that a test starts would compile anew.
export PYTHONDONTWRITEBYTECODE :=
# Set on a machine that has only the packages of the standard index; found links of pip are handed on by pip itself.
STAMP := $(VENV)/.ready

setup: $(STAMP)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "edgehone needs Python 3.11 or newer; $(PYTHON) is older. Try: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' || \
	  { echo "Python's venv module is missing. Install it, on Debian: apt-get install python3-venv"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable ".[certify,package,registry-postgres,serve]" --group dev
	@touch $@

demo: setup
	$(BIN)/edgehone optimize src/edgehone/data/demo-model --effort quick \
	  --backends llamacpp,olive,openvino,mlx --out demo-bundle || [ $$? -eq 3 ]
	$(BIN)/edgehone run demo-bundle --prompt "The people of the United States" --max-tokens 80

demo-all: setup
	$(BIN)/python -m examples.demo_all --out demo-all

test: setup
	tools/system_packages.sh
	$(BIN)/edgehone backends install
	$(PYTEST) -m "not long"

test-fast: setup
	$(PYTEST) -m "not real and not whole and not long"

test-all: setup
	tools/system_packages.sh
	$(BIN)/edgehone backends install
	$(PYTEST) -m "not alone"
	$(BIN)/python -m pytest -m alone

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python tools/check_imports.py
	$(BIN)/python tools/check_docs.py
	$(BIN)/python tools/decision_schema.py

docs: setup
	$(BIN)/python tools/check_docs.py --write
	$(BIN)/python tools/decision_schema.py --write

bench: setup
	$(BIN)/python benchmarks/run.py

bench-recipes: setup
	$(BIN)/edgehone backends install
	$(BIN)/python benchmarks/recipes.py

bench-search: setup
	$(BIN)/edgehone backends install
	$(BIN)/python benchmarks/searching.py

bench-real: setup
	$(BIN)/edgehone backends install
	$(BIN)/python -m benchmarks.real.run

bench-low-bits: setup
	$(BIN)/edgehone backends install llamacpp
	$(BIN)/python -m benchmarks.low_bits

bench-verdict: setup
	$(BIN)/edgehone backends install
	$(BIN)/python -m benchmarks.verdict

bench-serving: setup
	$(BIN)/edgehone backends install
	$(BIN)/python -m benchmarks.serving.run

bench-watching: setup
	$(BIN)/python -m benchmarks.watching

bench-verify: setup
	$(BIN)/python -m benchmarks.verifying

bench-packages: setup
	$(BIN)/edgehone backends install
	$(BIN)/python -m benchmarks.packages

bench-calm: setup
	$(BIN)/edgehone backends install llamacpp
	$(BIN)/python -m benchmarks.calm

bench-drift: setup
	$(BIN)/python -m benchmarks.drift

bench-rollout: setup
	$(BIN)/edgehone backends install llamacpp
	$(BIN)/python -m benchmarks.rollout --real 30

bench-mixed: setup
	$(BIN)/edgehone backends install
	$(BIN)/python -m benchmarks.mixed

clean:
	rm -rf $(VENV) demo-bundle demo-all
