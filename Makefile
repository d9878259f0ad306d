# A fresh clone needs nothing prepared: each target first runs packaging/dev/bootstrap.sh, which creates .venv and, as
# root on Debian, installs missing system packages. As an ordinary user it only says what is missing.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help bootstrap demo test lint bench soak clean

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

bootstrap: ## create .venv with cotune (editable) and the test tools
	@packaging/dev/bootstrap.sh

demo: bootstrap ## rehearse on a simulated host, then compare a profile with this host; changes nothing
	@packaging/dev/demo.sh

test: bootstrap ## run all tests and linters
	@packaging/dev/test.sh

lint: bootstrap ## run the linters only
	@.venv/bin/pytest -q tests/unit/test_linters.py

bench: bootstrap ## run the benchmarks
	@packaging/dev/bench.sh

soak: bootstrap ## run the long tests
	@packaging/dev/soak.sh

clean: ## remove .venv, caches and build results
	rm -rf .venv dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -path ./.git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
