PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: help crossval test docs bench soak app clean
.DEFAULT_GOAL := help

help:
	@echo 'make crossval   cross-validate both networks on the embedded sounds, about four minutes on two cores; report in runs/'
	@echo 'make test       check generated files, notebooks and tests'
	@echo 'make docs       build the site in _docs/, with Quarto where it is installed'
	@echo 'make bench      measure time and memory on this machine against the baselines; results in runs/bench/'
	@echo 'make soak       kill, fill and damage what can be; an hour, results in bench/soak-*.csv'
	@echo 'make app        serve the web page on this machine'
	@echo 'make clean      remove what these made: caches, _docs/, and runs/ with its trained models; .venv stays (rm -r .venv)'
	@echo 'Each first installs what is missing into .venv; PYTHON=python3.12 chooses the Python for it (3.10 or later).'

crossval: $(INSTALLED)
	@echo 'Ten folds of two networks on the embedded sounds: about four minutes on two cores. Ctrl-C stops, the same command continues.'
	@$(BIN)/urbansounds_crossval --epochs 8

test: $(INSTALLED)
	@$(BIN)/python tools/check.py

docs: $(INSTALLED)
	@$(BIN)/python tools/docs.py

bench: $(INSTALLED)
	@$(BIN)/python bench/run.py --results runs/bench

soak: $(INSTALLED)
	@for part in tools/soak/*.py; do $(BIN)/python $$part || exit 1; done

app: $(INSTALLED)
	@$(BIN)/urbansounds_app

# The stamp is newer than settings.ini once everything is installed: a second run installs nothing
$(INSTALLED): settings.ini setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || \
		{ echo 'urbansounds_nb needs Python 3.10 or later, and $(PYTHON) is not: try make PYTHON=python3.12'; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	@echo 'Installing what is missing into .venv (some minutes the first time) ...'
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

clean:
	rm -rf runs _proc _docs build dist *.egg-info .pytest_cache wandb nbs/wandb
	find . -path ./.venv -prune -o -path ./.git -prune -o \
		\( -name __pycache__ -o -name .ipynb_checkpoints -o -name '*.partial' \) -prune -exec rm -rf {} +
