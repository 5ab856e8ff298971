# Orrery. `make run` and `make test` are all that a newcomer needs: what is
# missing is installed (Debian, as root) or named. `make help` lists the rest:
# each target with a comment that begins with two signs.

LUA       ?= lua5.4
CC        ?= cc
GO        ?= go
PREFIX    ?= /usr/local
CFLAGS    ?= -O2 -g
LUA_INC   ?= $(firstword $(wildcard /usr/include/lua5.4 \
               /usr/local/include/lua5.4 /usr/local/include))
LUA_LIB   ?= -llua5.4
JANSSON   ?= -ljansson
LLHTTP_INC ?= /usr/share/include/llhttp
LLHTTP_SRC ?= /usr/share/llhttp
BUILD     ?= build
FUZZ_SECONDS ?= 20

# Debian's packages. Another Lua, as in LUA=/opt/bin/lua LUA_INC=/opt/include,
# has to have luv.
LUA_PACKAGES  := lua5.4 liblua5.4-dev lua-luv
RUN_PACKAGES  := gcc libc6-dev lua-check \
                 $(if $(filter lua5.4,$(LUA)),$(LUA_PACKAGES))
# What parts of Orrery need that others do without.
PART_PACKAGES := libjansson-dev node-llhttp
TEST_PACKAGES := $(RUN_PACKAGES) $(LUA_PACKAGES) $(PART_PACKAGES) lua-busted \
                 luarocks strace time procps util-linux nodejs python3 \
                 fish ksh tcsh zsh
# What spec/clients runs; Debian starts the servers among them if it starts any.
CLIENT_PACKAGES := supervisor s6 tini tmux less redis-server redis-tools git \
                 openssh-server openssh-client curl nginx-light
LINT_PACKAGES := lua-check clang clang-format clang-tidy libclang-rt-dev \
                 shellcheck musl-tools gcc-aarch64-linux-gnu \
                 libc6-dev-arm64-cross
SHELL_SCRIPTS := .ci/run .ci/packages .ci/subjects bench/count.sh

# Installs the packages of which something is missing, or says which.
define install
	@.ci/packages $(1)
endef

MAKEFLAGS += --no-print-directory

.PHONY: all help deps deps-run deps-lint deps-clients npm-clients build needs \
        run test test-all test-clients roads lint asan fuzz fuzzers catalogue \
        bench bench-programs bench-peers count count-programs install clean

all: build

help: ## lists the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1 \2/p' Makefile | \
	  awk '{ printf "  %s %-12s ", $$1, $$2; $$1 = $$2 = ""; print }'

deps: deps-run deps-lint deps-clients ## installs what any target needs
	$(call install,$(TEST_PACKAGES))

deps-run:
	$(call install,$(RUN_PACKAGES))
	-@for package in $(PART_PACKAGES); do .ci/packages $$package; done

deps-lint:
	$(call install,$(LINT_PACKAGES))

deps-clients: npm-clients
	$(call install,$(CLIENT_PACKAGES))

# What comes from npm, in the versions of the lock file. A client that is missing
# is named by its specs, which are pending then.
NPM       := build/clients

npm-clients: $(NPM)/installed

$(NPM)/installed: spec/clients/package.json spec/clients/package-lock.json \
    spec/clients/.npmrc
	@mkdir -p $(NPM)
	@cp $^ $(NPM)
	@command -v npm >/dev/null || .ci/packages npm
	@echo "  NPM  $(NPM)"
	@cd $(NPM) && if npm ci --ignore-scripts --no-audit --no-fund \
	    --loglevel=error >npm.log 2>&1; then \
	  touch installed; \
	else \
	  cat npm.log; echo "  without the clients from npm"; \
	fi

# Building ---------------------------------------------------------------------

WARNINGS  := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
             -Wwrite-strings -Wundef -Wvla -Werror
# The engine is compiled without Lua: it knows system calls and nothing else.
ENGINE_CFLAGS = -std=c11 -D_GNU_SOURCE $(WARNINGS) -fPIC -fvisibility=hidden \
                $(CFLAGS)
ALL_CFLAGS    = -Icore -I$(LUA_INC) $(LLHTTP_CFLAGS) $(ENGINE_CFLAGS)
# llhttp and all that use it are compiled alike.
LLHTTP_CFLAGS = -isystem $(LLHTTP_INC) -DLLHTTP_STRICT_MODE=1

# Four modules: jansson is loaded with orrery.json only, llhttp, which is
# compiled in, is in orrery.http only, and orrery.cluster is for processes that
# are of one.
ENGINE    := $(wildcard core/engine/*.c)
BINDING   := $(wildcard core/binding/*.c)
JSON_SOURCES := $(wildcard core/json/*.c)
HTTP_SOURCES := $(wildcard core/http/*.c)
CLUSTER_SOURCES := $(wildcard core/cluster/*.c)
SOURCES   := $(ENGINE) $(BINDING) $(JSON_SOURCES) $(HTTP_SOURCES) \
             $(CLUSTER_SOURCES)
KEEPER_SOURCES := $(wildcard core/keeper/*.c)
HEADERS   := $(wildcard core/*/*.h)
OBJECTS   := $(patsubst core/%.c,$(BUILD)/obj/%.o,$(ENGINE) $(BINDING))
JSON_OBJECTS := $(JSON_SOURCES:core/%.c=$(BUILD)/obj/%.o) \
                $(patsubst %,$(BUILD)/obj/binding/%.o,pace utf8 values)
HTTP_OBJECTS := $(HTTP_SOURCES:core/%.c=$(BUILD)/obj/%.o) \
                $(patsubst %,$(BUILD)/obj/llhttp/%.o,api http llhttp) \
                $(patsubst %,$(BUILD)/obj/%.o,binding/binding engine/buffer \
                  engine/io engine/poll)
CLUSTER_OBJECTS := $(CLUSTER_SOURCES:core/%.c=$(BUILD)/obj/%.o) \
                $(patsubst %,$(BUILD)/obj/%.o,binding/binding engine/io \
                  engine/poll)
CORE      := $(BUILD)/orrery/core.so
JSON      := $(BUILD)/orrery/json.so
HTTP      := $(BUILD)/orrery/http.so
CLUSTER   := $(BUILD)/orrery/cluster.so
MODULES   := $(BUILD)/orrery/modules.luac
KEEPER    := $(BUILD)/orrery/orrery-keeper

# Builds a module if what it includes is there, or says what is missing.
define build_with
	@if echo '#include "$(2)"' | \
	    $(CC) $(ALL_CFLAGS) -w -fsyntax-only -x c - 2>/dev/null; then \
	  $(MAKE) -s $(1); \
	else \
	  echo "  without $(1): no $(3)"; \
	fi
endef

# All else works without JSON and HTTP.
build: $(CORE) $(CLUSTER) $(KEEPER) $(MODULES) ## builds the core and the bytecode (default)
	$(call build_with,$(JSON),jansson.h,jansson.h (Debian: libjansson-dev))
	$(call build_with,$(HTTP),$(LLHTTP_SRC)/api.c,llhttp (Debian: node-llhttp))

# Names what is missing.
needs:
	@test -f "$(LUA_INC)/lua.h" || { echo "no lua.h in LUA_INC=$(LUA_INC):" \
	  "give its folder, or install it (Debian: liblua5.4-dev)" >&2; exit 1; }
	@command -v $(LUA) >/dev/null || { echo "no LUA=$(LUA): give its path," \
	  "or install it (Debian: lua5.4)" >&2; exit 1; }

# Bytecode of the modules, beside the core. COPIED=true if what is installed is
# going to be copied without its times; LUV/VERSION one more
# folder for luv.
COMPILE = $(LUA) -e 'package.path = "$(1)/?.lua;" .. package.path \
            package.cpath = \
              "$(LUV)/" .. _VERSION:sub(5) .. "/?.so;" .. package.cpath \
            if not pcall(require, "luv") then \
              return print("  without bytecode: $(LUA) has no luv, which " \
                .. "Orrery needs (Debian: lua-luv; luarocks install luv)") \
            end \
            require "orrery.cli.bytecode".build("$(1)/orrery", "$(2)/orrery", \
            $(3))'

$(MODULES): $(wildcard lua/orrery/*.lua lua/orrery/*/*.lua) Makefile \
    | needs
	@mkdir -p $(@D)
	@$(call COMPILE,lua,$(BUILD),false)

$(BUILD)/obj/engine/%.o: core/engine/%.c $(wildcard core/engine/*.h) Makefile \
    | needs
	@mkdir -p $(@D)
	@echo "  CC   $<"
	@$(CC) $(ENGINE_CFLAGS) -c -o $@ $<

$(BUILD)/obj/%.o: core/%.c $(HEADERS) Makefile | needs
	@mkdir -p $(@D)
	@echo "  CC   $<"
	@$(CC) $(ALL_CFLAGS) -c -o $@ $<

# Not ours: no warnings.
$(BUILD)/obj/llhttp/%.o: $(LLHTTP_SRC)/%.c Makefile
	@mkdir -p $(@D)
	@echo "  CC   $<"
	@$(CC) -std=c11 -w -fPIC -fvisibility=hidden $(LLHTTP_CFLAGS) $(CFLAGS) \
	  -c -o $@ $<

$(CORE): $(OBJECTS)
	@mkdir -p $(@D)
	@echo "  LINK $@"
	@$(CC) -shared $(CFLAGS) $(LDFLAGS) -o $@ $^

# A program without libc, which nothing of CFLAGS is for: there may be one for
# each child, and it has a few pages.
KEEPER_CFLAGS = -std=gnu11 -Icore $(WARNINGS) -Os -g0 -ffreestanding -fno-pic \
                -fno-stack-protector -fno-asynchronous-unwind-tables \
                -ffunction-sections
KEEPER_LDFLAGS := -static -nostdlib -nostartfiles -no-pie \
                  -Wl,--gc-sections,--build-id=none,-z,noseparate-code,-z,norelro

$(KEEPER): $(KEEPER_SOURCES) $(wildcard core/keeper/*.h) Makefile
	@mkdir -p $(@D)
	@echo "  CC   $@"
	@$(CC) $(KEEPER_CFLAGS) $(KEEPER_LDFLAGS) -o $@ $(KEEPER_SOURCES)

$(JSON): $(JSON_OBJECTS)
	@mkdir -p $(@D)
	@echo "  LINK $@"
	@$(CC) -shared $(CFLAGS) $(LDFLAGS) -o $@ $^ $(JANSSON)

$(HTTP): $(HTTP_OBJECTS)
	@mkdir -p $(@D)
	@echo "  LINK $@"
	@$(CC) -shared $(CFLAGS) $(LDFLAGS) -o $@ $^

$(CLUSTER): $(CLUSTER_OBJECTS)
	@mkdir -p $(@D)
	@echo "  LINK $@"
	@$(CC) -shared $(CFLAGS) $(LDFLAGS) -o $@ $^

run: deps-run ## builds, and runs scripts/cluster/http_cluster.lua
	@$(MAKE) build
	@$(LUA) bin/orrery scripts/cluster/http_cluster.lua

# Checking ---------------------------------------------------------------------

ROADS     := no_clone_vm no_pidfd no_close_range \
             no_clone_vm,no_pidfd,no_close_range

test: ## runs the specs, but for #long, #chaos and #clients
	$(call install,$(TEST_PACKAGES))
	@$(MAKE) build
	busted

test-clients: deps-clients ## runs real parents, children and programs with it
	$(call install,$(TEST_PACKAGES))
	@$(MAKE) build
	busted --run=clients

# The spawn specs run again on every other road into a child.
test-all: deps-clients ## runs all specs, on every road into a child
	$(call install,$(TEST_PACKAGES))
	@$(MAKE) build
	busted --run=all
	@$(MAKE) roads

roads:
	@for road in $(ROADS); do \
	  echo "ORRERY_FORCE=$$road"; \
	  ORRERY_FORCE=$$road busted --tags=spawn || exit 1; \
	done

# Another libc and another processor. Each has headers of its own; those of Lua
# and jansson, which are for any, are looked for after them.
OTHER_CC  := musl-gcc aarch64-linux-gnu-gcc
OTHER_CFLAGS = -Icore $(ENGINE_CFLAGS) $(LLHTTP_CFLAGS) -isystem $(LUA_INC) \
               -idirafter /usr/include \
               -idirafter /usr/include/$(shell $(CC) -print-multiarch)

# clang-tidy 14 sees uninitialized va_lists in a file that is not its first. The
# keeper is linked, for that shows what it would need of libc.
lint: deps-lint ## checks C, Lua and sh by their linters and formats
	clang-format --dry-run -Werror $(SOURCES) $(KEEPER_SOURCES) $(HEADERS)
	clang $(ALL_CFLAGS) -fsyntax-only $(SOURCES)
	clang $(KEEPER_CFLAGS) -fsyntax-only $(KEEPER_SOURCES)
	for compiler in $(OTHER_CC); do \
	  $$compiler $(OTHER_CFLAGS) -fsyntax-only $(SOURCES) || exit 1; \
	done
	@mkdir -p $(BUILD)
	aarch64-linux-gnu-gcc $(KEEPER_CFLAGS) $(KEEPER_LDFLAGS) \
	  -o $(BUILD)/keeper-arm64 $(KEEPER_SOURCES)
	printf '%s\n' $(SOURCES) | xargs -P "$$(nproc)" -I {} \
	  clang-tidy --quiet {} -- $(ALL_CFLAGS)
	printf '%s\n' $(KEEPER_SOURCES) | xargs -P "$$(nproc)" -I {} \
	  clang-tidy --quiet {} -- $(KEEPER_CFLAGS)
	luacheck --quiet lua spec scripts bench bin/orrery
	shellcheck $(SHELL_SCRIPTS)

SANITIZE  := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all \
             -fno-omit-frame-pointer

# The clients start the other build: they have no use for the sanitizers.
asan: build ## runs all specs on a core with AddressSanitizer and UBSan
	$(call install,$(TEST_PACKAGES))
	@$(MAKE) build BUILD=build/asan CFLAGS='$(SANITIZE)'
	ORRERY_BUILD=build/asan \
	  ASAN_OPTIONS=detect_leaks=1:abort_on_error=0 \
	  UBSAN_OPTIONS=print_stacktrace=1 \
	  LD_PRELOAD=$$($(CC) -print-file-name=libasan.so) \
	  busted --run=all --exclude-tags=clients

# libFuzzer, with the sanitizers; clang only.
FUZZERS   := frames msgpack json http http_server
FUZZED    := -O1 -g -fsanitize=fuzzer-no-link,address,undefined \
             -fno-sanitize-recover=all -fno-omit-frame-pointer
FUZZ_SHARED := spec/fuzz/fds.c spec/fuzz/values.c
$(BUILD)/http_server: FUZZ_SHARED += $(wildcard spec/fuzz/http_server/*.c)
$(BUILD)/http_server: $(wildcard spec/fuzz/http_server/*)

# From the inputs that are kept in spec/fuzz/corpus. New ones, and what makes a
# target fail, are left in build/fuzz.
fuzz: deps-run deps-lint ## fuzzes each decoder for FUZZ_SECONDS (20)
	@$(MAKE) fuzzers BUILD=build/fuzz CC=clang CFLAGS='$(FUZZED)'
	@for target in $(FUZZERS); do \
	  new=build/fuzz/new/$$target log=build/fuzz/$$target.log; \
	  rm -rf $$new; mkdir -p $$new; \
	  ASAN_OPTIONS=quarantine_size_mb=32 build/fuzz/$$target \
	    -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=512 -timeout=10 \
	    -dict=spec/fuzz/$$target.dict -artifact_prefix=build/fuzz/$$target- \
	    -print_final_stats=1 $$new spec/fuzz/corpus/$$target >$$log 2>&1 || \
	    { tail -n 60 $$log; exit 1; }; \
	  echo "fuzz $$target:" $$(sed -n 's/^stat:://p' $$log); \
	done

fuzzers: $(FUZZERS:%=$(BUILD)/%)

$(FUZZERS:%=$(BUILD)/%): $(BUILD)/%: spec/fuzz/%.c $(FUZZ_SHARED) \
    $(wildcard spec/fuzz/*.h) $(OBJECTS) $(JSON_OBJECTS) $(HTTP_OBJECTS)
	@echo "  FUZZ $<"
	@$(CC) $(ALL_CFLAGS) -fsanitize=fuzzer -o $@ $< $(FUZZ_SHARED) \
	  $(sort $(OBJECTS) $(JSON_OBJECTS) $(HTTP_OBJECTS)) $(JANSSON) $(LUA_LIB) \
	  -lm

catalogue: ## tells which of Node's own tests have a spec, or why not
	@$(LUA) spec/catalogue.lua

# Measuring --------------------------------------------------------------------

# Our own programs in C and, if there is a Go that can build them, in Go.
BENCH     := build/bench
BENCH_C   := connect exec family handles http messages own_cpu read short \
             spawn
BENCH_GO  := exec spawn
BENCH_CC   = $(CC) -std=c11 -D_GNU_SOURCE -O2 -Wall -Wextra

bench: deps ## measures all rows beside C and others, or ROW="spawn"
	$(call install,lua-cjson wrk)
	@$(MAKE) build bench-programs
	$(LUA) bench/run.lua $(ROW)

bench-programs: $(BENCH_C:%=$(BENCH)/%) $(BENCH)/nothing $(BENCH)/counts.so \
                $(BENCH_GO:%=$(BENCH)/%_go)

# What Debian lacks comes from npm.
bench-peers: ## installs peers that make bench can do without: Go, Bun
	$(call install,golang-go)
	@mkdir -p $(BENCH)
	npm install --prefix $(BENCH) --no-audit --no-fund bun

count: deps ## counts system calls, VM instructions … of each operation
	@bench/count.sh

count-programs: $(BENCH)/counts.so $(BENCH)/connect

$(BENCH)/counts.so: bench/count/counts.c
	@mkdir -p $(@D)
	@echo "  CC   $<"
	@$(BENCH_CC) -I$(LUA_INC) -fPIC -shared -o $@ $<

$(BENCH)/nothing: bench/peers/nothing.c
	@mkdir -p $(@D)
	@echo "  CC   $<"
	@$(BENCH_CC) -ffreestanding -fno-stack-protector -static -nostdlib -o $@ $<

$(BENCH)/%_go: bench/peers/%.go
	@mkdir -p $(@D)
	@! command -v $(GO) >/dev/null || { echo "  GO   $<"; \
	  GOFLAGS=-mod=mod GOPROXY=off GOCACHE=$(abspath $(BENCH))/go-cache \
	    CGO_ENABLED=0 $(GO) build -o $@ $< || echo "  without $@"; }

$(BENCH)/%: bench/peers/%.c
	@mkdir -p $(@D)
	@echo "  CC   $<"
	@$(BENCH_CC) -o $@ $<

# Installing -------------------------------------------------------------------

# bin/orrery looks for its modules there, beside its own folder.
COPIED     ?= false
LUA_VERSION = $(shell $(LUA) -e 'print((_VERSION:match("%d+%.%d+")))')
SHARE       = $(DESTDIR)$(PREFIX)/share/lua/$(LUA_VERSION)
LIB         = $(DESTDIR)$(PREFIX)/lib/lua/$(LUA_VERSION)
BIN         = $(DESTDIR)$(PREFIX)/bin

install: build ## installs into PREFIX (/usr/local)
	install -d "$(SHARE)" "$(LIB)/orrery" "$(BIN)"
	cp -r lua/orrery "$(SHARE)/"
	for so in $(CORE) $(CLUSTER) $(JSON) $(HTTP) $(KEEPER); do \
	  [ ! -e $$so ] || install -m 755 $$so "$(LIB)/orrery/" || exit 1; \
	done
	$(call COMPILE,$(SHARE),$(LIB),$(COPIED))
	lua=$$(command -v $(LUA)) && \
	  lua=$$(cd "$$(dirname "$$lua")" && pwd)/$${lua##*/} && \
	  sed "1s|.*|#!$$lua|" bin/orrery >$(BUILD)/orrery.sh
	install -m 755 $(BUILD)/orrery.sh "$(BIN)/orrery"

clean: ## removes all that was built
	rm -rf build
