# Orrery. `make run` and `make test` are all that a newcomer needs: what is
# missing is installed (Debian, as root) or named.

LUA       ?= lua5.4
CC        ?= cc
PREFIX    ?= /usr/local
CFLAGS    ?= -O2 -g
LUA_INC   ?= $(firstword $(wildcard /usr/include/lua5.4 \
               /usr/local/include/lua5.4 /usr/local/include))
WARNINGS  := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
             -Wwrite-strings -Wundef -Wvla -Werror
# The engine is compiled without Lua: it knows system calls and nothing else.
ENGINE_CFLAGS = -std=c11 -D_GNU_SOURCE $(WARNINGS) -fPIC -fvisibility=hidden \
                $(CFLAGS)
ALL_CFLAGS    = -Icore -I$(LUA_INC) $(ENGINE_CFLAGS)

BUILD     ?= build
# Two modules: jansson is loaded with orrery.json only.
ENGINE    := $(wildcard core/engine/*.c)
BINDING   := $(wildcard core/binding/*.c)
JSON_SOURCES := $(wildcard core/json/*.c)
SOURCES   := $(ENGINE) $(BINDING) $(JSON_SOURCES)
HEADERS   := $(wildcard core/*/*.h)
OBJECTS   := $(patsubst core/%.c,$(BUILD)/obj/%.o,$(ENGINE) $(BINDING))
JSON_OBJECTS := $(JSON_SOURCES:core/%.c=$(BUILD)/obj/%.o) \
                $(BUILD)/obj/binding/utf8.o $(BUILD)/obj/binding/values.o
CORE      := $(BUILD)/orrery/core.so
JSON      := $(BUILD)/orrery/json.so
MODULES   := $(BUILD)/orrery/modules.luac
JANSSON   ?= -ljansson

SANITIZE  := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all \
             -fno-omit-frame-pointer
# libFuzzer, with the sanitizers; clang only.
FUZZERS   := frames msgpack json
FUZZED    := -O1 -g -fsanitize=fuzzer-no-link,address,undefined \
             -fno-sanitize-recover=all -fno-omit-frame-pointer
FUZZ_SECONDS ?= 20
LUA_LIB   ?= -llua5.4

ROADS     := no_clone_vm no_pidfd no_close_range \
             no_clone_vm,no_pidfd,no_close_range

RUN_PACKAGES  := gcc libc6-dev lua5.4 liblua5.4-dev lua-luv lua-check \
                 libjansson-dev
TEST_PACKAGES := $(RUN_PACKAGES) lua-busted luarocks strace time procps \
                 util-linux nodejs python3
LINT_PACKAGES := lua-check clang clang-format clang-tidy libclang-rt-dev

.PHONY: all deps deps-run deps-lint build run test test-all lint asan fuzz fuzzers bench catalogue \
        install clean roads

all: build

# Installs the packages of which something is missing, or says which.
define install
	@.ci/packages $(1)
endef

deps: deps-run deps-lint
	$(call install,$(TEST_PACKAGES))

deps-run:
	$(call install,$(RUN_PACKAGES))

deps-lint:
	$(call install,$(LINT_PACKAGES))

build: $(CORE) $(JSON) $(MODULES)

# Bytecode of the modules, beside the core.
COMPILE = $(LUA) -e 'package.path = "$(1)/?.lua;" .. package.path \
            require "orrery.cli.bytecode".build("$(1)/orrery", "$(2)/orrery")'

$(MODULES): $(wildcard lua/orrery/*.lua lua/orrery/*/*.lua) Makefile
	@mkdir -p $(@D)
	@$(call COMPILE,lua,$(BUILD))

$(BUILD)/obj/engine/%.o: core/engine/%.c $(wildcard core/engine/*.h) Makefile
	@mkdir -p $(@D)
	@echo "  CC   $<"
	@$(CC) $(ENGINE_CFLAGS) -c -o $@ $<

$(BUILD)/obj/%.o: core/%.c $(HEADERS) Makefile
	@mkdir -p $(@D)
	@echo "  CC   $<"
	@$(CC) $(ALL_CFLAGS) -c -o $@ $<

$(CORE): $(OBJECTS)
	@mkdir -p $(@D)
	@echo "  LINK $@"
	@$(CC) -shared $(CFLAGS) $(LDFLAGS) -o $@ $^

$(JSON): $(JSON_OBJECTS)
	@mkdir -p $(@D)
	@echo "  LINK $@"
	@$(CC) -shared $(CFLAGS) $(LDFLAGS) -o $@ $^ $(JANSSON)

run: deps-run
	@$(MAKE) --no-print-directory build
	@bin/orrery scripts/tour.lua

# The suite but for what takes longest (#long, #chaos), then the spawn specs again
# on every other road into a child.
test:
	$(call install,$(TEST_PACKAGES))
	@$(MAKE) --no-print-directory build
	busted
	@$(MAKE) --no-print-directory roads

# The same with nothing left out.
test-all:
	$(call install,$(TEST_PACKAGES))
	@$(MAKE) --no-print-directory build
	busted --run=all
	@$(MAKE) --no-print-directory roads

roads:
	@for road in $(ROADS); do \
	  echo "ORRERY_FORCE=$$road"; \
	  ORRERY_FORCE=$$road busted --tags=spawn || exit 1; \
	done

# clang-tidy 14 sees uninitialized va_lists in a file that is not its first.
lint: deps-lint
	clang-format --dry-run -Werror $(SOURCES) $(HEADERS)
	clang $(ALL_CFLAGS) -fsyntax-only $(SOURCES)
	printf '%s\n' $(SOURCES) | xargs -P "$$(nproc)" -I {} \
	  clang-tidy --quiet {} -- $(ALL_CFLAGS)
	luacheck --quiet lua spec scripts bench bin/orrery

# The suite on a core with AddressSanitizer and UBSan.
asan: build
	$(call install,$(TEST_PACKAGES))
	@$(MAKE) --no-print-directory build BUILD=build/asan CFLAGS='$(SANITIZE)'
	ORRERY_BUILD=build/asan \
	  ASAN_OPTIONS=detect_leaks=1:abort_on_error=0 UBSAN_OPTIONS=print_stacktrace=1 \
	  LD_PRELOAD=$$($(CC) -print-file-name=libasan.so) busted --run=all

# Each target for FUZZ_SECONDS, from the inputs that are kept in spec/fuzz/corpus.
# New ones, and what makes a target fail, are left in build/fuzz.
fuzz: deps-run deps-lint
	@$(MAKE) --no-print-directory fuzzers BUILD=build/fuzz CC=clang \
	  CFLAGS='$(FUZZED)'
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

FUZZ_SHARED := spec/fuzz/fds.c spec/fuzz/values.c

fuzzers: $(FUZZERS:%=$(BUILD)/%)

$(FUZZERS:%=$(BUILD)/%): $(BUILD)/%: spec/fuzz/%.c $(FUZZ_SHARED) \
    $(wildcard spec/fuzz/*.h) $(OBJECTS) $(JSON_OBJECTS)
	@echo "  FUZZ $<"
	@$(CC) $(ALL_CFLAGS) -fsanitize=fuzzer -o $@ $< $(FUZZ_SHARED) \
	  $(sort $(OBJECTS) $(JSON_OBJECTS)) $(JANSSON) $(LUA_LIB) -lm

bench: deps
	$(call install,lua-cjson)
	@$(MAKE) --no-print-directory build
	$(LUA) bench/run.lua

# Which rows of the conformance catalogue have a spec, and why others have none.
catalogue:
	@$(LUA) spec/catalogue.lua

install: build
	install -d $(DESTDIR)$(PREFIX)/share/lua/5.4 \
	  $(DESTDIR)$(PREFIX)/lib/lua/5.4/orrery $(DESTDIR)$(PREFIX)/bin
	cp -r lua/orrery $(DESTDIR)$(PREFIX)/share/lua/5.4/
	install -m 755 $(CORE) $(JSON) $(DESTDIR)$(PREFIX)/lib/lua/5.4/orrery/
	$(call COMPILE,$(DESTDIR)$(PREFIX)/share/lua/5.4,$(DESTDIR)$(PREFIX)/lib/lua/5.4)
	sed "1s|.*|#!$$(command -v $(LUA))|" bin/orrery > $(BUILD)/orrery.sh
	install -m 755 $(BUILD)/orrery.sh $(DESTDIR)$(PREFIX)/bin/orrery

clean:
	rm -rf build
