# Short names for the usual tasks, in an environment with `pip install -e '.[dev]'`. .ci/run is what hosted CI runs.
.PHONY: check test test-fast coverage docs bench

# lint, types and import contracts
check:
	ruff check .
	ruff format --check .
	mypy
	cd tests && mypy --config-file mypy.ini
	PYTHONPATH=. lint-imports

# the whole suite
test:
	pytest -n 2

# pure decisions only: no processes, no torch
test-fast:
	pytest -m unit

coverage:
	pytest -n 2 --cov

docs:
	mkdocs build --strict

# the benchmarks that take minutes, not hours; each compares with an alternative in the same run
bench:
	python benchmarks/command_line.py
	python benchmarks/search.py
	python benchmarks/trial_overhead.py
