# make install | demo | test | examples | lint | docs | site - everything happens in .venv
PYTHON ?= python3
BIN := .venv/bin

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,demo]'
	touch $@

install: .venv/installed

demo: install
	$(BIN)/python examples/demo.py --out demo

# two processes of about the same length; a failure of either is one of the whole
SLOW := cli experiment launch report runs settings sources terms verdicts
test: install
	@$(BIN)/python -m pytest $(addprefix tests/,$(SLOW)) & slow=$$!; \
	$(BIN)/python -m pytest tests $(addprefix --ignore=tests/,$(SLOW)); others=$$?; \
	wait $$slow && exit $$others

# every example run to its end, and what it should reach: six minutes
examples: install
	$(BIN)/python -m pytest tests/experiment/slow_examples.py

lint: install
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: install
	$(BIN)/python scripts/make_docs.py $(if $(wildcard ../shared/evidence),--shared ../shared)

# the documentation as a site, in site/index.html; a warning is an error
site: install
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs site

.PHONY: install demo test examples lint docs site
