# `make run` and `make test` each set up what they need: Python 3.11 or later, make and the
# Python registry are all that a machine must have.
PYTHON ?= python3
export UV_COMPILE_BYTECODE = 1
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: run test test-cluster lint lock clean

# A run that was killed leaves Snakemake's lock behind; this one ends with its last process, so a
# second run can tell a dead one from a living one. Incomplete outputs are made again.
run: .venv/installed
	python -m pipeline_steps.study.alone results/.running \
		snakemake --nolock --workflow-profile workflow/profiles/demo

test: .venv/installed
	python -m pytest -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder

# The slurm profile on a SLURM of this machine's own, out of Debian's packages; where these cannot be
# had it says so.
test-cluster: .venv/installed
	python -m pytest tests/cluster

lint: .venv/installed
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile workflow
	snakemake --lint

# The stamp is written last, so an interrupted installation is done again.
.venv/installed: envs/test.txt
	$(PYTHON) -c "import sys; sys.exit('error: Python is %d.%d, expected 3.11 or later' % sys.version_info[:2] if sys.version_info < (3, 11) else 0)"
	$(PYTHON) -m venv --clear .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.8
	.venv/bin/uv pip install --quiet --python .venv/bin/python --require-hashes -r envs/test.txt
	touch $@

# Locks are resolved anew from pyproject.toml; one set of versions for all supported Pythons.
LOCK = uv pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-annotate --no-header pyproject.toml

lock: .venv/installed
	$(LOCK) -o envs/run.txt
	$(LOCK) --group test -c envs/run.txt -o envs/test.txt

clean:
	rm -rf results logs benchmarks .snakemake
