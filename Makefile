# cairn: a file system for AI models. `make help` lists the targets.
#
#   make up | down          the whole file system on this host, mounted on /models
#   make check              install what is needed, build, run all tests
#   SAN=address,undefined   a sanitizer build, in a folder of its own; DEV=1: warnings are errors; V=1: verbose

SHELL      := /bin/bash
.DEFAULT_GOAL := all
V          ?= 0
Q          := $(if $(filter 1,$(V)),,@)
comma      := ,
SAN        ?=
CC         ?= gcc
ifeq ($(origin CC),default)
CC         := gcc
endif
CLANG      ?= clang
DEPS       := build/deps
O          := build$(if $(SAN),/san-$(subst $(comma),-,$(SAN)))
BIN        := $(O)/bin
PREFIX     ?= /usr/local
VERSION    := $(shell git describe --always --dirty 2>/dev/null || echo 0.1)

PKG_CONFIG := PKG_CONFIG_PATH=$(CURDIR)/$(DEPS)/lib/pkgconfig:$(PKG_CONFIG_PATH) pkg-config

# ---- packages ------------------------------------------------------------------------------------
APT_BUILD := gcc make pkg-config protobuf-c-compiler libprotobuf-c-dev libuv1-dev liblmdb-dev libssl-dev \
	libxxhash-dev liblz4-dev libzstd-dev uthash-dev libinih-dev libjansson-dev libpng-dev libsystemd-dev \
	meson ninja-build dpkg-dev ca-certificates fuse3 git
APT_CHECK := check clang libclang-rt-14-dev python3 python3-pytest python3-hypothesis python3-numpy xfsprogs e2fsprogs \
	strace rsync sqlite3 acl attr mandoc iproute2 nftables procps psmisc
APT_BENCH := python3 python3-pytest python3-numpy util-linux gnuplot-nox valgrind

# Optional: the system journal as the log of daemons under systemd (fs/base/log.c). Asked once, by the first recipe that
# needs it: before, the packages may not be there.
SYSTEMD    = $(eval SYSTEMD := $(shell $(PKG_CONFIG) --exists libsystemd && echo libsystemd))$(SYSTEMD)
LIBS_CORE  = libuv libprotobuf-c libcrypto libxxhash liblz4 libzstd inih jansson $(SYSTEMD)
LDLIBS_CORE = $(shell $(PKG_CONFIG) --libs $(LIBS_CORE)) -llmdb -lm -lpthread
FUSE_CFLAGS = $(shell $(PKG_CONFIG) --cflags fuse3)
FUSE_LIBS   = $(shell $(PKG_CONFIG) --static --libs fuse3)
PNG_LIBS    = $(shell $(PKG_CONFIG) --libs libpng)
CHECK_LIBS  = $(shell $(PKG_CONFIG) --libs check)

# ---- flags ---------------------------------------------------------------------------------------
WARN := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wvla -Wundef \
	-Wmissing-prototypes -Wno-sign-conversion -Wno-variadic-macros \
	-Werror=implicit-function-declaration -Werror=incompatible-pointer-types -Werror=int-conversion
CFLAGS   ?= -O2 -g
CPPFLAGS += -D_GNU_SOURCE -I. -I$(O)/gen -DCAIRN_VERSION='"$(VERSION)"' -DUTHASH_FATAL_BUG=1 \
	$(if $(SYSTEMD),-DHAVE_SYSTEMD)
ALL_CFLAGS = -std=gnu11 $(CFLAGS) -fno-omit-frame-pointer $(WARN) $(if $(DEV),-Werror) \
	$(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=undefined -DCAIRN_SLOW_ASSERTS -DCAIRN_FAULTS)
ALL_LDFLAGS = $(LDFLAGS) $(if $(SAN),-fsanitize=$(SAN))

# ---- sources -------------------------------------------------------------------------------------
PROGRAM_MAINS := metadata-server/main.c chunk-server/main.c client/fuse/main.c tools/mkfs_main.c \
	tools/fsck_main.c tools/cairn_main.c
CORE_SRC   := $(wildcard fs/*/*.c)
MDS_SRC    := $(filter-out $(PROGRAM_MAINS),$(wildcard metadata-server/*.c))
CS_SRC     := $(filter-out $(PROGRAM_MAINS),$(wildcard chunk-server/*.c))
CLIENT_SRC := $(wildcard client/core/*.c client/tier/*.c)
FUSE_SRC   := $(filter-out $(PROGRAM_MAINS),$(wildcard client/fuse/*.c))
TOOLS_SRC  := $(filter-out $(PROGRAM_MAINS),$(wildcard tools/*.c))
SIM_SRC    := $(filter-out tests/sim/main.c,$(wildcard tests/sim/*.c))
HEADERS    := $(wildcard fs/*/*.h metadata-server/*.h chunk-server/*.h client/*/*.h tools/*.h tests/*.h tests/*/*.h)

obj = $(patsubst %.c,$(O)/obj/%.o,$(1))
GEN := $(O)/gen/cairn.pb-c.h
LIB_CORE   := $(O)/lib/libcairn-core.a
LIB_MDS    := $(O)/lib/libcairn-mds.a
LIB_CS     := $(O)/lib/libcairn-cs.a
LIB_CLIENT := $(O)/lib/libcairn-client.a
LIB_FUSE   := $(O)/lib/libcairn-fuse.a
LIB_TOOLS  := $(O)/lib/libcairn-tools.a
LIB_SIM    := $(O)/lib/libcairn-sim.a

PROGRAMS := $(foreach p,cairn-mds:metadata-server/main.c cairn-cs:chunk-server/main.c \
	mount.cairn:client/fuse/main.c mkfs.cairn:tools/mkfs_main.c fsck.cairn:tools/fsck_main.c \
	cairn:tools/cairn_main.c,$(if $(wildcard $(lastword $(subst :, ,$(p)))),$(BIN)/$(firstword $(subst :, ,$(p)))))

# Each test file is a program of its own (Check); tests/unit mirrors the tree.
TEST_SRC   := $(wildcard tests/unit/*.c tests/unit/*/*.c tests/model/*.c tests/fault/*.c)
TEST_BIN   := $(patsubst tests/%.c,$(O)/tests/%,$(TEST_SRC))
FUZZ_SRC   := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ_BIN   := $(patsubst tests/fuzz/%.c,$(O)/fuzz/%,$(FUZZ_SRC))
FUZZ_REPLAY := $(patsubst tests/fuzz/%.c,$(O)/tests/fuzz/%,$(FUZZ_SRC))
BENCH_SRC  := $(wildcard tests/bench/*.c)
BENCH_FILES_SRC := $(wildcard tests/bench/files/*.c)
BENCH_BIN  := $(patsubst tests/bench/%.c,$(O)/tests/bench/%,$(BENCH_SRC)) $(O)/tests/bench/bench_files
SIM_BIN    := $(if $(wildcard tests/sim/main.c),$(O)/tests/sim/sim)

# ---- building ------------------------------------------------------------------------------------
.PHONY: all up down bench-programs check check-long check-headers check-includes check-symbols check-style check-man sim sim-long bench fuzz fuzz-programs fuzz-bin deps \
	deps-check install clean help format lint tests clangd
.SECONDARY:

all: deps-build $(PROGRAMS)   ## build the programs into build/bin

# Everything is compiled after it, and it after the packages are there, also with -j.
$(O)/gen/cairn.pb-c.c $(O)/gen/cairn.pb-c.h &: fs/wire/cairn.proto | deps-build
	@mkdir -p $(O)/gen
	@echo "  GEN   $<"
	$(Q)protoc-c --proto_path=fs/wire --c_out=$(O)/gen $<

$(O)/obj/gen/cairn.pb-c.o: $(O)/gen/cairn.pb-c.c
	@mkdir -p $(@D)
	$(Q)$(CC) -std=gnu11 $(CFLAGS) $(if $(SAN),-fsanitize=$(SAN)) -I$(O)/gen -c -o $@ $<

$(O)/obj/%.o: %.c | $(GEN)
	@mkdir -p $(@D)
	@echo "  CC    $<"
	$(Q)$(CC) $(CPPFLAGS) $(ALL_CFLAGS) $(if $(filter client/fuse/%,$<),$(FUSE_CFLAGS)) -MMD -MP -c -o $@ $<

$(LIB_CORE): $(call obj,$(CORE_SRC)) $(O)/obj/gen/cairn.pb-c.o
$(LIB_MDS): $(call obj,$(MDS_SRC))
$(LIB_CS): $(call obj,$(CS_SRC))
$(LIB_CLIENT): $(call obj,$(CLIENT_SRC))
$(LIB_FUSE): $(call obj,$(FUSE_SRC))
$(LIB_TOOLS): $(call obj,$(TOOLS_SRC))
$(LIB_SIM): $(call obj,$(SIM_SRC))
$(O)/lib/%.a:
	@mkdir -p $(@D)
	@rm -f $@
	@echo "  AR    $@"
	$(Q)ar rcs $@ $^

LINK = @mkdir -p $(@D); echo "  LD    $@"; $(if $(filter 1,$(V)),set -x;) \
	$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $(filter %.o %.a,$^) $(1) $(LDLIBS_CORE)

$(BIN)/cairn-mds: $(O)/obj/metadata-server/main.o $(LIB_MDS) $(LIB_CORE)
	$(call LINK)
$(BIN)/cairn-cs: $(O)/obj/chunk-server/main.o $(LIB_CS) $(LIB_CORE)
	$(call LINK)
$(BIN)/mount.cairn: $(O)/obj/client/fuse/main.o $(LIB_FUSE) $(LIB_CLIENT) $(LIB_CORE)
	$(call LINK,$(FUSE_LIBS))
$(BIN)/mkfs.cairn: $(O)/obj/tools/mkfs_main.o $(LIB_TOOLS) $(LIB_MDS) $(LIB_CS) $(LIB_CLIENT) $(LIB_CORE)
	$(call LINK)
$(BIN)/fsck.cairn: $(O)/obj/tools/fsck_main.o $(LIB_TOOLS) $(LIB_MDS) $(LIB_CS) $(LIB_CLIENT) $(LIB_CORE)
	$(call LINK)
$(BIN)/cairn: $(O)/obj/tools/cairn_main.o $(LIB_TOOLS) $(LIB_MDS) $(LIB_CS) $(LIB_CLIENT) $(LIB_CORE)
	$(call LINK,$(PNG_LIBS))

$(O)/tests/unit/%: $(O)/obj/tests/unit/%.o $(LIB_SIM) $(LIB_TOOLS) $(LIB_FUSE) $(LIB_CLIENT) $(LIB_MDS) $(LIB_CS) $(LIB_CORE)
	$(call LINK,$(CHECK_LIBS) $(PNG_LIBS))
$(O)/tests/model/%: $(O)/obj/tests/model/%.o $(LIB_SIM) $(LIB_TOOLS) $(LIB_FUSE) $(LIB_CLIENT) $(LIB_MDS) $(LIB_CS) $(LIB_CORE)
	$(call LINK,$(CHECK_LIBS))
$(O)/tests/fault/%: $(O)/obj/tests/fault/%.o $(LIB_SIM) $(LIB_TOOLS) $(LIB_FUSE) $(LIB_CLIENT) $(LIB_MDS) $(LIB_CS) $(LIB_CORE)
	$(call LINK,$(CHECK_LIBS))
$(O)/tests/sim/sim: $(O)/obj/tests/sim/main.o $(LIB_SIM) $(LIB_CLIENT) $(LIB_MDS) $(LIB_CS) $(LIB_CORE)
	$(call LINK)
# The measuring process: nothing of ours is linked in, so that it is the same on any file system.
$(O)/tests/bench/bench_files: LDLIBS_CORE := -lpthread
$(O)/tests/bench/bench_files: $(call obj,$(BENCH_FILES_SRC))
	$(call LINK)
$(O)/tests/bench/%: $(O)/obj/tests/bench/%.o $(LIB_TOOLS) $(LIB_SIM) $(LIB_CLIENT) $(LIB_MDS) $(LIB_CS) $(LIB_CORE)
	$(call LINK)
# The corpus of a harness replayed without libFuzzer: the same object with a main that reads files.
$(O)/tests/fuzz/%: $(O)/obj/tests/fuzz/%.o $(O)/obj/tests/fuzz/replay_main.o $(LIB_CLIENT) $(LIB_MDS) $(LIB_CS) $(LIB_CORE)
	$(call LINK)
# Only in a build with SAN=fuzzer-no-link,... by clang: `make fuzz-programs` makes one.
$(O)/fuzz/%: $(O)/obj/tests/fuzz/%.o $(LIB_CLIENT) $(LIB_MDS) $(LIB_CS) $(LIB_CORE)
	$(call LINK,-fsanitize=fuzzer)

bench-programs: $(BENCH_BIN)  # what tests/bench measures with
fuzz-programs: deps-build     # what `make fuzz` runs, in a build of its own
	$(Q)$(MAKE) --no-print-directory CC="$(CLANG)" SAN=fuzzer-no-link,address,undefined O=build/san-fuzz fuzz-bin
fuzz-bin: $(FUZZ_BIN)
tests: all $(TEST_BIN) $(SIM_BIN) $(FUZZ_REPLAY) bench-programs   ## build the tests without running them

# ---- dependencies --------------------------------------------------------------------------------
.PHONY: deps-build deps-bench
deps-build:                   # packages to build with, and a libfuse new enough
	@tools/deps build "$(DEPS)" $(APT_BUILD)
deps-check: deps-build        # packages to test with
	@tools/deps packages $(APT_CHECK)
deps-bench: deps-build        # packages to benchmark with
	@tools/deps packages $(APT_BENCH)
deps: deps-check              ## install all packages that building and testing need

# ---- running -------------------------------------------------------------------------------------
up: all                       ## format (once), start and mount a one-host cluster on /models
	$(Q)$(BIN)/cairn up $(UP)
down: all                     ## unmount and stop it; data stays
	$(Q)$(BIN)/cairn down $(DOWN)

check: deps-check             ## build and run all tests; the last line counts them
	$(Q)tests/run check
check-long: deps              ## the same with all builds and full counts
	$(Q)tests/run long
sim: deps-check               ## one simulated cluster: make sim SEED=7 [TRACE=1]
	$(Q)$(MAKE) --no-print-directory $(O)/tests/sim/sim && $(O)/tests/sim/sim --seed $(or $(SEED),1) $(if $(TRACE),--trace)
sim-long: deps-check          ## simulate seeds until one fails: make sim-long FROM=1 COUNT=1000
	$(Q)$(MAKE) --no-print-directory $(O)/tests/sim/sim && $(O)/tests/sim/sim --from $(or $(FROM),1) --count $(or $(COUNT),1000)
bench: deps-bench all $(BENCH_BIN)  ## benchmarks beside ext4 on the same disk: make bench [ONLY=rows] [TIMES=n] [QUICK=1]
	$(Q)tests/bench/run $(if $(TIMES),--times $(TIMES)) $(if $(QUICK),--quick) $(BENCH) $(ONLY)
	$(if $(ONLY)$(QUICK),,$(Q)tests/bench/instructions)
	$(if $(ONLY)$(QUICK),,$(Q)CAIRN_BIN=$(CURDIR)/$(BIN) tests/bench/healing)
fuzz: deps-check fuzz-programs  ## run each fuzzer for SECONDS_EACH (60)
	$(Q)for f in $(FUZZ_SRC:tests/fuzz/%.c=build/san-fuzz/fuzz/%); do c=build/corpus/$$(basename $$f); mkdir -p $$c; \
		$$f -max_total_time=$(or $(SECONDS_EACH),60) -artifact_prefix=$$c/ $$c tests/fuzz/corpus/$$(basename $$f) || exit 1; done

check-headers: | $(GEN)       # every header compiles alone
	$(Q)for h in $(HEADERS); do echo "#include \"$$h\"" | \
		$(CC) $(CPPFLAGS) $(FUSE_CFLAGS) -std=gnu11 -fsyntax-only -x c - || { echo "not self-contained: $$h"; exit 1; }; done
check-includes:               # includes point one way
	$(Q)! grep -rnE '#include "(client|chunk-server|metadata-server|tools|tests)/' fs
	$(Q)! grep -rnE '#include "(client|chunk-server|tools|tests)/' metadata-server
	$(Q)! grep -rnE '#include "(client|metadata-server|tools|tests)/' chunk-server
	$(Q)! grep -rnE '#include "(metadata-server|chunk-server|tools|tests)/' client
	$(Q)! grep -rnE '#include "(client/fuse|metadata-server/serve|chunk-server/serve|tests)' tools
	$(Q)! grep -rnE '#include "fs/(net|io)/' fs/base fs/hash fs/codec fs/tree fs/placement fs/disk fs/wire
SYMBOL_OBJ := $(call obj,$(CORE_SRC) $(MDS_SRC) $(CS_SRC) $(CLIENT_SRC) $(FUSE_SRC) $(TOOLS_SRC) $(wildcard $(PROGRAM_MAINS)))
check-symbols: $(SYMBOL_OBJ)  # foo.c exports only foo_*
	$(Q)tests/check-symbols $(O)/obj $(SYMBOL_OBJ)
check-style:                  # columns, licences, forbidden functions; folders name their files
	$(Q)tests/check-style
check-man:                    # mandoc finds nothing to warn of
	$(Q)for p in man/*.[1-8]; do mandoc -T lint -W warning $$p || exit 1; done

format:                       ## let clang-format decide the layout
	$(Q)clang-format -i $(shell git ls-files '*.c' '*.h')
lint:                         ## cppcheck, with the macros of the containers
	$(Q)tools/deps packages cppcheck
	$(Q)cppcheck --quiet --enable=warning,portability --inline-suppr --error-exitcode=1 -I. -D_GNU_SOURCE \
		--include=/usr/include/uthash.h --include=/usr/include/utlist.h \
		--suppress=missingIncludeSystem fs metadata-server chunk-server client tools
clangd:                       ## compile_commands.json for editors
	$(Q)bear -- $(MAKE) -B all

install: all                  ## install programs and pages under PREFIX
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/share/man/man{1,5,7,8}
	install $(BIN)/cairn $(DESTDIR)$(PREFIX)/bin
	install $(filter-out $(BIN)/cairn,$(PROGRAMS)) $(DESTDIR)$(PREFIX)/sbin
	install -d $(DESTDIR)/sbin && ln -sf $(PREFIX)/sbin/mount.cairn $(DESTDIR)/sbin/mount.cairn
	ln -sf $(PREFIX)/sbin/mount.cairn $(DESTDIR)/sbin/mount.fuse.cairn # mount -o remount asks for it
	for s in 1 5 7 8; do for p in man/*.$$s; do [ -f $$p ] && install -m644 $$p $(DESTDIR)$(PREFIX)/share/man/man$$s/; done; done

clean:                        ## remove what was built (libfuse in build/deps stays)
	rm -rf build/bin build/lib build/obj build/gen build/tests build/clang build/san-*
help:                         ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 14

-include $(shell find $(O)/obj -name '*.d' 2>/dev/null)
