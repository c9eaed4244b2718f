# make demo     install, stream a real recording to a server, show the results
# make test.pcm install, make the recording that README.md sends by hand, and say what is in it
# make test     install, run every test, JOBS (2) files at once; SPEECH_DIR=folder adds accuracy on recordings with
#               transcripts
# make test-pythons  the same on the other Pythons that are there, as far as it depends on them (tests/pythons.py); the
#               first time installs up to 10 GB into ~/.cache/stt-server-pythons
# make check    install, lint and type-check
# make soak     install, run the chaos of tests/chaos for MINUTES (20), then CONNECTIONS (100000) hostile ones, print
#               both
# make fuzz     install, fuzz what reads bytes from the network for SECONDS (300)
# make bench    install, compare recognisers over SPEECH_DIR, print a table and draw it (EVERY=3: only print, over one
#               recording of three)
# make bench-load  install, measure the latency of a server under 1 to 24 clients over SPEECH_DIR, beside one that
#               pushes and under 100 silent ones, print tables and draw the first (SECONDS_EACH=60: that count, of each)
# make bench-live  install, measure how soon words are shown and stable under 1, 4 and 8 clients over SPEECH_DIR, Korean
#               and English, print a table and draw it (SECONDS_EACH=60: that count, with live text and without, of each)
# make bench-long  install, measure the error rate of speech without pauses over SPEECH_DIR, through a server and by
#               recognisers that get the whole file, print a table and draw it
# make bench-confidence  install, measure how many of the words said with a confidence are right, and how near their
#               times are to openai-whisper's, over SPEECH_DIR, print tables
# make serve    install, run the server with config_vad.yaml

PYTHON ?= python3
BIN := .venv/bin
BENCH := $(if $(EVERY),--every $(EVERY),--svg docs/benchmarks-recognizers.svg)
SECONDS_EACH ?= 60
JOBS ?= 2
MINUTES ?= 20
CONNECTIONS ?= 100000
SECONDS ?= 300
LOAD := $(BIN)/python -m bench.load --seconds $(SECONDS_EACH)
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

.PHONY: demo test test-pythons check soak fuzz bench bench-load bench-live bench-long bench-confidence serve clean

demo: .venv/.speech
	$(BIN)/python -m demo

test.pcm: .venv/.speech
	$(BIN)/python -m demo.recording

test: .venv/.dev .venv/.speech
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile

test-pythons: .venv/.dev .venv/.speech
	$(BIN)/python -m tests.pythons

check: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

soak: .venv/.dev .venv/.speech
	$(BIN)/python -m tests.chaos --minutes $(MINUTES) --connections $(CONNECTIONS)

fuzz: .venv/.dev .venv/.fuzz
	$(BIN)/python -m tests.fuzz.fuzz_protocol .fuzz -max_total_time=$(SECONDS) -max_len=70000 -print_final_stats=1

bench: .venv/.dev .venv-bench/.installed
	$(BIN)/python -m bench.recognizers --bench-python .venv-bench/bin/python $(BENCH)

bench-load: .venv/.dev .venv-bench/.installed
	$(LOAD) --clients 1 8 16 24 --bench-python .venv-bench/bin/python --svg docs/benchmarks-load.svg
	$(LOAD) --clients 8 --neighbour
	$(LOAD) --clients 100 --silence

bench-live: .venv/.dev .venv-bench/.installed
	$(BIN)/python -m bench.live --seconds $(SECONDS_EACH) --bench-python .venv-bench/bin/python \
		--svg docs/benchmarks-live.svg

bench-long: .venv/.dev .venv-bench/.installed
	$(BIN)/python -m bench.long --bench-python .venv-bench/bin/python --svg docs/benchmarks-long.svg

bench-confidence: .venv/.dev
	$(BIN)/python -m bench.confidence

serve: .venv/.server
	$(BIN)/python tcp_server.py

clean:
	rm -rf .venv .venv-bench .fuzz test.pcm

.venv/.server: requirements.txt
	$(PYTHON) -m venv .venv
	$(PIP) -r requirements.txt
	touch $@

.venv/.dev: requirements-dev.txt requirements-media.txt .venv/.server
	$(PIP) -r requirements-dev.txt
	touch $@

.venv/.fuzz: requirements-fuzz.txt .venv/.server
	$(PIP) -r requirements-fuzz.txt
	touch $@

.venv-bench/.installed: bench/requirements.txt
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip --disable-pip-version-check install --quiet -r $<
	touch $@

.venv/.speech: requirements-speech.txt .venv/.server
	$(PIP) --no-deps -r requirements-speech.txt
	touch $@
