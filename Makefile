# `make demo` and `make test` are all that a fresh machine needs; both install into .venv, once.
PYTHON ?= python3
TASK ?= image_generation
ARGS ?=
VENV := .venv
RUN := $(VENV)/bin/python
# what an example made in its own folder is replaced; in a folder that is named, --overwrite must be said
ANEW := $(if $(findstring --output,$(ARGS))$(findstring --resume,$(ARGS))$(findstring --overwrite,$(ARGS)),,--overwrite)
TORCH := $(shell sed -n 's/^torch==/torch==/p' constraints.txt)

.PHONY: demo example test test-slow lint bench clean

demo:
	$(MAKE) example TASK=image_generation

example: $(VENV)/.installed
	@test -f examples/$(TASK)/run.py || { echo "no example named $(TASK); there are: $$(cd examples; ls -d */)"; exit 2; }
	@! test -x examples/$(TASK)/setup.sh || examples/$(TASK)/setup.sh
	$(RUN) examples/$(TASK)/run.py $(if $(filter 1,$(COMPARE)),--compare) $(ANEW) $(ARGS)

test test-slow: $(VENV)/.installed
	@examples/image_generation/setup.sh
	OMP_NUM_THREADS=1 $(RUN) -m pytest --numprocesses 2 --dist worksteal -m "$(if $(filter test,$@),not )slow"

lint: $(VENV)/.installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

bench: $(VENV)/.installed
	$(RUN) benchmarks/run.py $(ARGS)

# torch first and pinned: a bare `pip install torch` may bring several gigabytes of GPU libraries
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade pip
	$(RUN) -m pip install --quiet $(TORCH)
	$(RUN) -m pip install --quiet --editable ".[dev]" --constraint constraints.txt
	@touch $@

# outputs/ holds what was trained, by the examples and perhaps by others: remove it by hand
clean:
	rm -rf $(VENV)
