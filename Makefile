# make demo     install, stream a real recording to a server, show the results
# make test     install, run every test; SPEECH_DIR=folder adds accuracy on recordings with transcripts
# make check    install, lint and type-check
# make bench    install, compare recognisers over SPEECH_DIR, print a table and draw it (EVERY=3: only print, over one
#               recording of three)
# make serve    install, run the server with config_vad.yaml

PYTHON ?= python3
BIN := .venv/bin
BENCH := $(if $(EVERY),--every $(EVERY),--svg docs/benchmarks-recognizers.svg)
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

.PHONY: demo test check bench serve clean

demo: .venv/.speech
	$(BIN)/python -m demo

test: .venv/.dev .venv/.speech
	$(BIN)/python -m pytest

check: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/.dev .venv-bench/.installed
	$(BIN)/python -m bench.recognizers --bench-python .venv-bench/bin/python $(BENCH)

serve: .venv/.server
	$(BIN)/python tcp_server.py

clean:
	rm -rf .venv .venv-bench test.pcm

.venv/.server: requirements.txt
	$(PYTHON) -m venv .venv
	$(PIP) -r requirements.txt
	touch $@

.venv/.dev: requirements-dev.txt .venv/.server
	$(PIP) -r requirements-dev.txt
	touch $@

.venv-bench/.installed: bench/requirements.txt
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip --disable-pip-version-check install --quiet -r $<
	touch $@

.venv/.speech: requirements-speech.txt .venv/.server
	$(PIP) --no-deps -r requirements-speech.txt
	touch $@
