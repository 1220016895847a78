# SPDX-License-Identifier: MIT
# The verbs. Each is thin: Meson builds, scripts/ checks. Everything lands under build/.
#
#   make run [DIR=/path]     count the words of every file under DIR, on all cores (needs only cc and make)
#   make check               build and test, under three minutes; gets what it needs from Debian (YES=1: by sudo)
#   make bench [BENCH=fanout,stream] [LIBS=crewpool,tbb] [REPEAT=5] [FORMAT=tsv] [SMOKE=1]
#                            measurements beside other pools, about twenty minutes; gets those from Debian, as far as it can
#   make stress [SECONDS=60] random programs, each replayed by its seed; then faults of the library that tests must notice
#   make fuzz [SECONDS=60]   inputs that clang's libFuzzer makes up: files, calls, schedules
#   make coverage           which lines and branches of the library its tests run: some three minutes
#   make repeat [TIMES=50] [LOAD=1]
#                            the contract TIMES times, with LOAD beside two busy threads for each CPU; any failure is told with its seed
#   make install [PREFIX=/usr/local] [LIBDIR=lib] [DESTDIR=]

PREFIX = /usr/local
LIBDIR = lib
SECONDS = 60
TIMES = 50
LOAD =
DIR = $(firstword $(wildcard /usr/share/doc /usr/include) .)
WORDCOUNT = $(wildcard examples/wordcount/*.c)
LIBRARY = $(wildcard include/crewpool/*.h src/*.[ch] src/*/*.[ch])

SETUP_check = -Dpython=auto
SETUP_bench = --buildtype=plain -Dc_args=-O2 -Dcpp_args=-O2 -Dhardening=false -Dtests=false -Dexamples=false -Dbench=true
# (-O1: what a sanitizer adds takes long to optimise, and runs hardly slower.)
SETUP_asan = -Doptimization=1 -Dexamples=false -Db_sanitize=address,undefined -Db_lundef=false
SETUP_tsan = -Doptimization=1 -Dexamples=false -Db_sanitize=thread -Db_lundef=false
INSIDE = --suite unit --suite contract --suite fault --suite stress
# Newer kernels spread addresses wider than ThreadSanitizer expects; -R stops that, where it is allowed.
FIXED_ADDRESSES = $(shell setarch -R true 2>/dev/null && echo setarch -R)

.PHONY: help run check check-all check-deps-all asan tsan stress repeat fuzz bench coverage python docs install deps fmt clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

run: build/run/wordcount ## the main job: the words of every file under DIR, on all cores
	build/run/wordcount "$(DIR)"

build/run/wordcount: $(WORDCOUNT) $(wildcard examples/wordcount/*.h) $(LIBRARY)
	@mkdir -p $(@D)
	$(CC) -std=c11 -O2 -pthread -Iinclude -o $@ $(WORDCOUNT) src/crewpool_all.c

check: build/check/build.ninja ## build, and run the suites that every change must pass
	scripts/test build/check check --suite check

check-all: check-deps-all ## what takes longer: other compilers and machines, sanitizers, slow suites, mutations
	scripts/check-all

asan: build/asan/build.ninja ## the tests that look inside under AddressSanitizer and UBSan
	scripts/test build/asan asan $(INSIDE)

tsan: build/tsan/build.ninja ## the tests that look inside under ThreadSanitizer
	$(FIXED_ADDRESSES) scripts/test build/tsan tsan $(INSIDE)

stress: build/check/build.ninja ## random programs for SECONDS, then faults of the library that its tests must notice
	ninja -C build/check tests/stress
	build/check/tests/stress --seconds=$(SECONDS)
	scripts/mutations

fuzz: ## what clang's libFuzzer makes up, for SECONDS: files, calls, schedules
	scripts/fuzz $(SECONDS)

repeat: build/check/build.ninja ## the contract TIMES times: no case may fail now and then
	ninja -C build/check tests/contract
	scripts/repeat $(TIMES) $(if $(LOAD),--load) build/check/tests/contract

# Its standard output is the table. bench/run gets the variables of make's command line by the environment.
bench: ## measurements beside other pools, as a table
	@{ scripts/deps check && scripts/deps bench && \
	    meson setup build/bench $(if $(wildcard build/bench/build.ninja),--reconfigure) $(SETUP_bench) && \
	    ninja -C build/bench bench/bench-crewpool && \
	    { ninja -C build/bench -k 0 || echo "what could not be built is left out"; }; } >&2
	@bench/run build/bench/bench

coverage: ## which lines and branches of src/ the tests run
	@scripts/coverage

PYTHON = /usr/bin/python3
python: ## the Python module: built, installed into build/python and tested
	scripts/deps python
	$(PYTHON) -m venv --clear --system-site-packages build/python
	build/python/bin/pip install --quiet --no-build-isolation --no-index .
	for test in pool rows life; do build/python/bin/python -X dev bindings/python/tests/test_$$test.py || exit; done

docs: ## the guide and the manual pages
	@echo "not yet: the guide comes with an issue of its own; the headers in include/crewpool are the reference"

install: ## the library, its headers and package files into PREFIX (and DESTDIR)
	scripts/deps build
	meson setup build/install $(if $(wildcard build/install/build.ninja),--reconfigure) --prefix="$(abspath $(PREFIX))" \
	    --libdir="$(LIBDIR)" --buildtype=release -Dtests=false -Dexamples=false
	meson install -C build/install $(if $(DESTDIR),--destdir "$(abspath $(DESTDIR))")

deps: ## get what check needs from Debian's packages
	scripts/deps check

check-deps-all:
	scripts/deps all
	scripts/deps machines
	scripts/deps python-tests

fmt: ## clang-format over all C
	find include src tests examples bench bindings \( -name '*.[ch]' -o -name '*.cpp' \) -exec clang-format -i {} +

clean: ## remove all that was built
	rm -rf build

build/%/build.ninja: | deps
	meson setup build/$* $(SETUP_$*)
