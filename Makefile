# make demo     install, stream a real recording to a server, show the results
# make test     install, run every test; SPEECH_DIR=folder adds accuracy on recordings with transcripts
# make check    install, lint and type-check
# make serve    install, run the server with config_vad.yaml

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

.PHONY: demo test check serve clean

demo: .venv/.speech
	$(BIN)/python -m demo

test: .venv/.dev .venv/.speech
	$(BIN)/python -m pytest

check: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

serve: .venv/.server
	$(BIN)/python tcp_server.py

clean:
	rm -rf .venv test.pcm

.venv/.server: requirements.txt
	$(PYTHON) -m venv .venv
	$(PIP) -r requirements.txt
	touch $@

.venv/.dev: requirements-dev.txt .venv/.server
	$(PIP) -r requirements-dev.txt
	touch $@

.venv/.speech: requirements-speech.txt .venv/.server
	$(PIP) --no-deps -r requirements-speech.txt
	touch $@
