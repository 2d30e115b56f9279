# make demo    the shipped model explains the shipped clip; light runtime, no torch
# make test    what the project promises, checked: lint, format, types, sanitizers, tests
#              as many at a time as there are cores, four at most (WORKERS=1 for one after the other), and PyTorch's apart:
#              its native libraries and those of four backends need not meet in one process
# make sanitize  the CPU kernels' tests under AddressSanitizer and UndefinedBehaviorSanitizer
# make fuzz    a minute of random requests to the kernels, and one of broken files to the loaders
# make bench   every benchmark that needs no data set, under 20 minutes on two cores; writes benchmarks/results/*.json and
#              docs/performance.md. Leave the machine alone meanwhile.
# make gpu-report  what only an NVIDIA GPU can show, in eight minutes; writes benchmarks/results/gpu-*.json and docs/gpu.md
# make check   lint, format and types alone
# make clean   removes the environments, the caches and the demo
#
# PYTHON=python3.12 takes another interpreter; INDEX="--index-url URL" another package index for torch and torchvision,
# such as PyTorch's own index of CPU builds, a tenth of the download.
PYTHON ?= python3
INDEX ?=
WORKERS ?= $(shell nproc 2>/dev/null || echo 2)

MODEL := edgex/models/shipped.onnx
CLIP := edgex/models/shipped.mp4
SHIPPED := pyproject.toml $(shell find edgex kernels -type f -not -path '*/__pycache__/*' -not -name _native.so)
PYTEST = .venv/bin/python -m pytest -rs -n $(WORKERS) --maxprocesses 4 --dist loadfile
PIP := bin/python -m pip --disable-pip-version-check -qq install

# $(call environment,FOLDER): makes a virtual environment unless a working one stands there.
define environment
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo \
		"expected Python 3.10 or newer as $(PYTHON), got $$($(PYTHON) --version 2>&1); run: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(1)/bin/python -m pip --version >/dev/null 2>&1 || { rm -rf $(1) && $(PYTHON) -m venv $(1); } || { rm -rf $(1); echo \
		"expected Python's venv module, $(PYTHON) lacks it; on Debian and Ubuntu run: apt-get install python3-venv" >&2; exit 1; }
endef

.PHONY: demo test sanitize fuzz bench gpu-report check clean

demo: .venv-demo/installed
	@mkdir -p demo
	.venv-demo/bin/edgex run --source $(CLIP) --output demo/overlay.mp4 --contact-sheet demo/contact-sheet.png --records demo/records.jsonl
	@echo "look at demo/contact-sheet.png and demo/overlay.mp4; demo/records.jsonl has one line a frame"

test: check sanitize
	$(PYTEST) --durations=15 --ignore=tests/training
	OMP_NUM_THREADS=1 $(PYTEST) --durations=5 tests/training

check: .venv/installed
	scripts/check

sanitize: .venv/installed
	@PYTHON=.venv/bin/python scripts/sanitize

fuzz: .venv/installed
	.venv/bin/python -m benchmarks.fuzz_kernels --seconds 60
	.venv/bin/python -m benchmarks.fuzz_loaders --seconds 60

BENCHED := build/bench# the engines that are measured
bench: .venv/installed
	@.venv/$(PIP) --constraint constraints.txt --editable '.[train,dev,peers]'
	@mkdir -p $(BENCHED)
	for each in onnxruntime openvino; do .venv/bin/python -m edgex build $(MODEL) --int8 --backend $$each \
		--output $(BENCHED)/int8.$$each.onnx || exit 1; done
	.venv/bin/python -m benchmarks.demo
	.venv/bin/python -m benchmarks.kernels --rounds 10
	.venv/bin/python -m benchmarks.live --rounds 2 --threads 1 0 --engine $(BENCHED)/int8.openvino.onnx
	.venv/bin/python -m benchmarks.peers --rounds 6 --engines $(BENCHED)
	.venv/bin/python -m benchmarks.costs --rounds 8 --engines $(BENCHED)
	.venv/bin/python -m benchmarks.kernels_plot
	.venv/bin/python -m benchmarks.live_tables
	.venv/bin/python -m benchmarks.performance_page

# Each on its own, since a machine may lack what one of them needs: the report names what is missing then.
GPU_PACKAGES := '--editable .[gpu]' '--editable .[rtx]' '--editable .[tensorrt]' nvidia-cuda-nvrtc nvidia-curand cupy-cuda13x
gpu-report: .venv/installed
	@for each in $(GPU_PACKAGES); do echo "installing $$each"; .venv/$(PIP) --constraint constraints.txt $$each || \
		echo "gpu-report: $$each could not be installed; the report says what is missing without it" >&2; done
	.venv/bin/python -m benchmarks.gpu_report

clean:
	rm -f edgex/_native.so
	rm -rf .venv .venv-demo demo dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv-demo/installed: $(SHIPPED)
	$(call environment,.venv-demo)
	@echo "installing the light runtime into .venv-demo (once, about a minute)"
	@.venv-demo/$(PIP) .
	@touch $@

# torch first, at the pinned version, and torchvision without its dependencies: so nothing asks for another torch.
.venv/installed: pyproject.toml constraints.txt scripts/packages $(wildcard kernels/*.h kernels/*.cpp kernels/build.py)
	$(call environment,.venv)
	@scripts/packages
	@echo "installing what the tests need into .venv (once, a few minutes)"
	@.venv/$(PIP) --constraint constraints.txt $(INDEX) torch
	@.venv/$(PIP) --constraint constraints.txt --no-deps $(INDEX) torchvision
	@.venv/$(PIP) --constraint constraints.txt --editable '.[train,dev]'
	@touch $@
