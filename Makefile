# make demo   set up .venv, run the main job on the embedded model and text, end with a report
# make test   set up .venv, lint, type check, tests
# make test-slow   the checks that take minutes: whole runs, killed and resumed
# make test-cluster   two and three nodes, an autoscaler, S3, submitted jobs: all on this machine
# make test-browser   the pages in headless Chromium (CHROMIUM=path)
# make test-llm   the embedded decoder, Gemma 3 270M: installs 255 MB
# make test-side-by-side   against the adapters library, in a venv of its own
# make results, sensitivity-results, multitask-results, comparison-results   run it anew and keep tables and figures in experiments/results/
# make sensitivity-demo   what sparsity weight, noise and perturbed text do to the search and three baselines
# make docs   write docs/config.md from the configuration model

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-slow test-cluster test-browser test-llm test-side-by-side lint format docs results sensitivity-demo sensitivity-results multitask-results multitask-nlu-results comparison-results decoder-results task-overlap equal-params small-budgets stopping search-efficiency clean

demo: $(READY)
	$(BIN)/slat run experiments/quickstart.yaml $(ARGS)

test: lint
	$(BIN)/pytest -m "not slow and not cluster and not browser and not llm and not side_by_side" $(ARGS)

test-slow: $(READY)
	$(BIN)/pytest -m slow $(ARGS)

test-cluster: $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[offline,dev,cluster]'
	$(BIN)/pytest -m cluster $(ARGS)

test-browser: $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[offline,dev,browser]'
	$(BIN)/pytest -m browser $(ARGS)

LLM = $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[offline,dev,llm]'

test-llm: $(READY)
	$(LLM)
	$(BIN)/pytest -m llm $(ARGS)

test-side-by-side: $(READY)
	$(PYTHON) -m venv .venv-adapters
	.venv-adapters/bin/pip install --quiet --disable-pip-version-check torch==2.13.0
	.venv-adapters/bin/pip install --quiet --disable-pip-version-check adapters==1.3.0 safetensors
	ADAPTERS_PYTHON=$(CURDIR)/.venv-adapters/bin/python $(BIN)/pytest -m side_by_side $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

sensitivity-demo: $(READY)
	$(BIN)/slat sensitivity experiments/sensitivity_headline.yaml $(ARGS)

KEPT := config.yaml environment.json trials.csv history.csv results.csv budget.csv perturbation.csv robustness.csv comparison.* answer.md pareto.csv \
	hypervolume.json selection.json structures figures report.html

results: $(READY)
	$(BIN)/slat run experiments/quickstart.yaml --overwrite
	rm -rf experiments/results/quickstart
	mkdir -p experiments/results/quickstart
	cd runs/quickstart && cp -r $(KEPT) ../../experiments/results/quickstart/

STUDIES := config.yaml environment.json points.json results.csv curves.csv screening.csv importance.csv figures report.html

sensitivity-results: $(READY)
	$(BIN)/slat sensitivity experiments/sensitivity_headline.yaml --overwrite
	rm -rf experiments/results/sensitivity_headline
	mkdir -p experiments/results/sensitivity_headline
	cd runs/sensitivity_headline/sensitivity && cp -r $(STUDIES) ../../../experiments/results/sensitivity_headline/

# a decoder: an hour on CPUs after a minute or two in which it is converted, and it goes on where it was stopped
decoder-results: $(READY)
	$(LLM)
	$(BIN)/slat run experiments/decoder_headline.yaml --resume
	rm -rf experiments/results/decoder_headline
	mkdir -p experiments/results/decoder_headline
	cd runs/decoder_headline && cp -r $(KEPT) ../../experiments/results/decoder_headline/

# three tasks that share one pool of modules, beside each of them alone: about an hour
multitask-results: $(READY)
	$(BIN)/slat run experiments/multitask_embedded.yaml --overwrite
	rm -rf experiments/results/multitask_embedded
	mkdir -p experiments/results/multitask_embedded
	cd runs/multitask_embedded && cp -r $(KEPT) transfer.csv ../../experiments/results/multitask_embedded/

# six tasks of English understanding over one pool; DATA is a folder of them: about two hours, and it goes on where it was stopped
multitask-nlu-results: $(READY)
	test -e experiments/data || ln -s "$(abspath $(DATA))" experiments/data
	$(BIN)/slat run experiments/multitask_nlu_small.yaml --resume
	rm -rf experiments/results/multitask_nlu_small
	mkdir -p experiments/results/multitask_nlu_small
	cd runs/multitask_nlu_small && cp -r $(KEPT) ../../experiments/results/multitask_nlu_small/
	for file in config.yaml report.html; do sed 's#$(CURDIR)/experiments/##' runs/multitask_nlu_small/$$file \
		> experiments/results/multitask_nlu_small/$$file || exit 1; done

# three tasks in one comparison: an hour and a half to two hours, and it goes on where it was stopped
THREE := headline article match
comparison-results: $(READY)
	for run in $(THREE); do $(BIN)/slat run experiments/$$run.yaml --resume || exit 1; done
	rm -rf experiments/results/three_tasks
	$(BIN)/slat compare $(THREE:%=runs/%) --out experiments/results/three_tasks
	for run in $(THREE); do mkdir -p experiments/results/three_tasks/$$run && \
		(cd runs/$$run && cp -r $(KEPT) ../../experiments/results/three_tasks/$$run/) || exit 1; done

# do related tasks share structure? needs files; a quarter of an hour and more on CPUs, and it goes on where it was stopped
task-overlap: $(READY)
	$(BIN)/python experiments/benchmarks/task_overlap.py --data $(DATA) --out runs/task_overlap $(ARGS)
	mkdir -p experiments/results/task_overlap
	cp runs/task_overlap/task_overlap.* experiments/results/task_overlap/

# the benchmark that says whether the search is any good, on a folder of tasks or on the embedded ones; hours, and it goes on
# where it was stopped. RESULT names what is kept
RESULT ?= $(if $(DATA),equal_params,equal_params_embedded)
equal-params: $(READY)
	$(BIN)/python experiments/benchmarks/equal_params.py $(if $(DATA),--data $(DATA)) --out runs/$(RESULT) $(ARGS)
	mkdir -p experiments/results/$(RESULT)
	cd runs/$(RESULT) && cp results.json equal_params.md equal_params.png ../../experiments/results/$(RESULT)/

# does the search win where little is spent: sizes from 16 parameters on; hours, and it goes on where it was stopped
SMALL ?= $(if $(DATA),small_budgets,small_budgets_embedded)
small-budgets: $(READY)
	$(BIN)/python experiments/benchmarks/small_budgets.py $(if $(DATA),--data $(DATA)) --out runs/$(SMALL) $(ARGS)
	mkdir -p experiments/results/$(SMALL)
	cd runs/$(SMALL) && cp results.json small_budgets.md small_budgets.png ../../experiments/results/$(SMALL)/

# which early stopping finds most for its steps: about ten minutes
stopping: $(READY)
	$(BIN)/slat run experiments/stopping_headline.yaml --resume
	$(BIN)/python experiments/benchmarks/stopping.py runs/stopping_headline --out experiments/results/stopping

# a search in each trial, or a structure in each: up to an hour, and it goes on where it was stopped
search-efficiency: $(READY)
	$(BIN)/python experiments/benchmarks/search_efficiency.py --out runs/search_efficiency $(ARGS)
	mkdir -p experiments/results/search_efficiency
	cp runs/search_efficiency/search_efficiency.* experiments/results/search_efficiency/

docs: $(READY)
	$(BIN)/python -m slat_search.config.reference > docs/config.md

# torch first and by its exact version: a range would pull a build with CUDA where a CPU build is at hand
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; set PYTHON=...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[offline,dev]'
	touch $(READY)

clean:
	rm -rf $(VENV) .venv-adapters runs build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
