# make demo     install, stream a real recording to a server, show the results
# make test.pcm install, make the recording that README.md sends by hand, and say what is in it
# make test     install, run every test, JOBS (2) files at once; SPEECH_DIR=folder adds accuracy on recordings with
#               transcripts (QUICK=1: without those that are marked as thorough)
# make clients  install what `make test` can do without, by leaving tests out: the gateway's clients (in a virtual
#               environment of their own, and beside Node.js), Chromium, HAProxy and promtool (where apt-get brings them)
# make test-pythons  the same on the other Pythons that are there, as far as it depends on them (tests/pythons.py); the
#               first time installs up to 10 GB into ~/.cache/stt-server-pythons (QUICK=1: the oldest, less of it)
# make check    install, lint and type-check
# make check-cuda  install torch's CUDA build (5 GB, .venv-cuda), check devices and shapes of all that runs on a card; it
#               needs none
# make soak     install, run the chaos of tests/chaos for MINUTES (20), then CONNECTIONS (100000) hostile ones, print
#               both
# make soak-fleet  install, run HAProxy, gateways and servers for MINUTES (20) while any of them is killed, print how calls
#               at every door ended
# make fuzz     install, fuzz what reads bytes from the network for SECONDS (300)
# make bench    install, compare recognisers over SPEECH_DIR, print a table and draw it (EVERY=3: only print, over one
#               recording of three)
# make bench-load  install, measure the latency of a server under 1 to 24 clients over SPEECH_DIR, beside one that
#               pushes and under 100 silent ones, print tables and draw the first (SECONDS_EACH=60: that count, of each)
# make bench-live  install, measure how soon words are shown and stable under 1, 4 and 8 clients over SPEECH_DIR, Korean
#               and English, print a table and draw it (SECONDS_EACH=60: that count, with live text and without, of each)
# make bench-long  install, measure the error rate of speech without pauses over SPEECH_DIR, through a server and by
#               recognisers that get the whole file, print a table and draw it
# make bench-gateway  install, measure what the gateway costs beside 50 sessions, and how much later than without it
#               text comes, over SPEECH_DIR, print a table
# make bench-capacity  install, simulate servers under the load test's clients and sessions that come and go, over
#               SPEECH_DIR, print how many engines and cores it takes
# make bench-confidence  install, measure how many of the words said with a confidence are right, and how near their
#               times are to openai-whisper's, over SPEECH_DIR, print tables
# make bench-gpu  install torch's CUDA build and faster-whisper (6 GB, .venv-cuda), measure all of this on a card within ten
#               minutes, over SPEECH_DIR or the demo's recording, print tables, keep and draw them (bench-gpu.*)
# make bench-silence  install, count what is sent where nobody speaks, and short answers that are lost, over SPEECH_DIR
#               (and NOISE_DIRS, folders of more recordings), print tables and draw both sides as one curve
# make bench-telephone  install, measure what a telephone line costs us and others over SPEECH_DIR, print a table
# make bench-paths  install, measure the error rate of each way that a processor may take over SPEECH_DIR, three variants
#               of each recording, print a table
# make screenshot  install, take the picture of the page in README.md (docs/page.png) with Chromium
# make serve    install, run the server and the gateway with config_vad.yaml, print the address of the page

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

.PHONY: demo test clients programs screenshot test-pythons check check-cuda soak soak-fleet fuzz bench bench-load bench-live bench-long bench-gateway bench-capacity bench-confidence bench-gpu bench-silence bench-telephone bench-paths serve clean

demo: .venv/.speech
	$(BIN)/python -m demo

test.pcm: .venv/.speech
	$(BIN)/python -m demo.recording

test: .venv/.dev .venv/.speech
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder --durations 20 \
		$(if $(QUICK),-m "not thorough")

clients: .venv-clients/.installed tests/clients/node_modules/.installed programs

# A browser for the page, which the tests drive with playwright; the balancer; what reads the rules of alerts.
programs:
	@missing=""; \
	has() { command -v "$$1" >/dev/null; }; \
	has chromium || has chromium-browser || has google-chrome || missing="chromium fonts-nanum"; \
	has haproxy || [ -x /usr/sbin/haproxy ] || missing="$$missing haproxy"; \
	has promtool || missing="$$missing prometheus"; \
	if [ -z "$$missing" ]; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	else echo "what needs these is not tested: $$missing (sudo apt install $$missing)"; fi

screenshot: .venv/.dev .venv/.speech
	$(BIN)/python -m tests.screenshot docs/page.png

test-pythons: .venv/.dev .venv/.speech
	$(BIN)/python -m tests.pythons $(if $(QUICK),--quick)

check: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check-cuda: .venv-cuda/.installed
	.venv-cuda/bin/python -m tests.cuda

soak: .venv/.dev .venv/.speech
	$(BIN)/python -m tests.chaos --minutes $(MINUTES) --connections $(CONNECTIONS)

soak-fleet: .venv/.dev .venv/.speech
	$(BIN)/python -m tests.chaos.fleet --minutes $(MINUTES)

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

bench-gateway: .venv/.dev
	$(BIN)/python -m bench.gateway

bench-capacity: .venv/.dev
	$(BIN)/python -m bench.capacity

bench-confidence: .venv/.dev
	$(BIN)/python -m bench.confidence

bench-gpu: .venv-cuda/.bench
	.venv-cuda/bin/python -m bench.gpu --markdown bench-gpu.md --json bench-gpu.json --svg bench-gpu.svg

bench-silence: .venv/.dev .venv-bench/.installed
	$(BIN)/python -m bench.silence $(if $(NOISE_DIRS),--more $(NOISE_DIRS)) --bench-python .venv-bench/bin/python \
		--svg docs/benchmarks-silence.svg

bench-telephone: .venv/.dev .venv-bench/.installed
	$(BIN)/python -m bench.telephone --bench-python .venv-bench/bin/python

bench-paths: .venv/.dev
	$(BIN)/python -m bench.paths

serve: .venv/.gateway
	$(BIN)/python -m demo.serve

clean:
	rm -rf .venv .venv-bench .venv-clients .venv-cuda tests/clients/node_modules .fuzz test.pcm bench-gpu.* recognizer/compiled/built

.venv/.server: requirements.txt
	$(PYTHON) -m venv .venv
	$(PIP) -r requirements.txt
	touch $@

.venv/.gateway: requirements-gateway.txt .venv/.server
	$(PIP) -r requirements-gateway.txt
	touch $@

.venv/.dev: requirements-dev.txt requirements-media.txt requirements-gateway.txt .venv/.server
	$(PIP) -r requirements-dev.txt
	touch $@

.venv/.fuzz: requirements-fuzz.txt .venv/.server
	$(PIP) -r requirements-fuzz.txt
	touch $@

.venv-bench/.installed: bench/requirements.txt
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip --disable-pip-version-check install --quiet -r $<
	touch $@

# Isolated from settings that name other indexes: PyPI's torch is the CUDA build.
.venv-cuda/.installed: requirements.txt
	$(PYTHON) -m venv .venv-cuda
	.venv-cuda/bin/python -m pip --isolated --disable-pip-version-check install --quiet -r $<
	touch $@

.venv-cuda/.bench: bench/gpu/requirements.txt requirements-speech.txt .venv-cuda/.installed
	.venv-cuda/bin/python -m pip --isolated --disable-pip-version-check install --quiet -r $<
	.venv-cuda/bin/python -m pip --isolated --disable-pip-version-check install --quiet --no-deps -r requirements-speech.txt
	touch $@

.venv/.speech: requirements-speech.txt .venv/.server
	$(PIP) --no-deps -r requirements-speech.txt
	touch $@

.venv-clients/.installed: tests/clients/requirements.txt
	$(PYTHON) -m venv .venv-clients
	.venv-clients/bin/python -m pip --disable-pip-version-check install --quiet -r $<
	touch $@

tests/clients/node_modules/.installed: tests/clients/package-lock.json
	@if command -v npm; then npm ci --prefix tests/clients --silent --no-audit --no-fund && touch $@; \
	else echo "npm is not here: neither the clients for Node.js nor the page with axe-core are tested (apt install npm)"; fi
