# make demo   install, generate the sample dataset, train, evaluate, write drawn images
# make test   install, run the tests
# make slow   install, run what takes minutes: trainings from end to end, several processes, and
#             every command of the README
# make gpu    install, measure a CUDA GPU for at most 8 minutes: docs/gpu.json, and rows in the README
# make litert install what writes .tflite files
# make matrix install each supported combination of versions, and use it; needs the disk's space
# Needs only Python 3.10 to 3.14 with venv and pip; everything goes into .venv.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
WORK := work_dirs/ssdlite_mbv2_sample
# Where it is set, each of many processes compiles torch and the toolboxes anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test slow lint gpu litert matrix clean

define CHECK
import sys; here = sys.version_info[:2]; \
(3, 10) <= here < (3, 15) or sys.exit("Python %d.%d is too %s: this installs on Python 3.10 to 3.14. \
Use one of them: make clean, then make PYTHON=python3.13 with what you want to make" \
% (here + ("old" if here < (3, 10) else "new",)))
endef

.venv/bin/python:
	@$(PYTHON) -c '$(CHECK)'
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python setup.cfg setup.py constraints.txt
	@$(BIN)/python -c '$(CHECK)'
	@echo '== Installing torch, the OpenMMLab stack and this package into .venv'
	$(INSTALL) -e '.[openmmlab]'
	@touch $@

.venv/installed-dev: .venv/installed
	@echo '== Installing the tools of the tests into .venv'
	$(INSTALL) -e '.[openmmlab,dev]'
	@touch $@

demo: .venv/installed
	@echo '== Generating the sample dataset in data/sample'
	$(BIN)/python tools/data.py sample
	@echo '== Training configs/ssdlite_mbv2_sample.py; log and checkpoints in $(WORK)'
	$(BIN)/python tools/train.py configs/ssdlite_mbv2_sample.py --work-dir $(WORK)
	@echo '== Evaluating the held-out images with COCO metrics; log and metrics in $(WORK)'
	$(BIN)/python tools/test.py configs/ssdlite_mbv2_sample.py $$(cat $(WORK)/last_checkpoint) --work-dir $(WORK)
	@echo '== Predicting on held-out images; drawn images and predictions.json in $(WORK)/predictions'
	$(BIN)/python tools/predict.py configs/ssdlite_mbv2_sample.py $$(cat $(WORK)/last_checkpoint) 'data/sample/JPEGImages/val_*.jpg' --out $(WORK)/predictions

test: .venv/installed-dev
	$(PYTEST) -m 'not slow and not runtime'
	$(PYTEST) -m 'not slow and runtime'

slow: .venv/installed-dev
	$(PYTEST) -m slow

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

gpu: .venv/installed
	$(BIN)/python tools/benchmark.py gpu configs/ssdlite_mbv2_coco.py --json docs/gpu.json
	$(BIN)/python tools/benchmark.py table docs/gpu.json --mark gpu --into docs/speed.md
	$(BIN)/python tools/benchmark.py table docs/gpu.json --mark gpu --brief --into README.md

litert: .venv/installed
	@echo '== Installing what writes LiteRT files into .venv; 750 MB'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile --no-deps -r litert.txt

matrix: .venv/installed-dev
	$(BIN)/python tests/matrix/run.py $(ROWS)

clean:
	rm -rf .venv .matrix build dist *.egg-info mbv2_backbone/.mim
