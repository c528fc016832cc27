# Each of these sets up what it needs on a new machine, then does its job.
#   make test    the tests that must always pass
#   make demo    the main job on real input: data, pretraining, evaluation, export, report
#   make proofs  every method learns: trains all small recipes, writes docs/methods/index.md
#   make soak    the long versions of the robustness tests
#   make lint    style and types

PYTHON ?= python3
# The build that development and CI use; users may bring any torch >= 2.6.
TORCH ?= torch==2.14.1 torchvision==0.29.1
BIN := .venv/bin

.PHONY: setup test demo proofs soak lint clean

setup: .venv/ready

.venv/ready: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet $(TORCH)
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch .venv/ready

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Files of tests side by side, one thread each: faster than one test on all cores. The longest first.
# Threads wait asleep, as after `import foveal`: tests load torch first, which reads it only then.
test: lint
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest tests/proofs tests -m 'not proof and not soak' \
		-n auto --dist loadfile --no-loadscope-reorder

demo: setup
	$(BIN)/python benchmarks/demo.py demo

proofs: setup
	$(BIN)/python benchmarks/proofs.py

soak: setup
	$(BIN)/python -m pytest -m soak

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache demo
