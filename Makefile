# Moongate: `make run` serves a page, `make test` passes everything; README.md says more.

VERSION = 0.1.0
PREFIX  = /usr/local
BUILD   = build

CC     ?= gcc
CFLAGS ?= -O2 -g
WARN    = -Wall -Wextra -Werror
LUAJIT_CFLAGS = $(shell pkg-config --cflags luajit 2>/dev/null || echo -I/usr/include/luajit-2.1)
LUAJIT_LIBS   = $(shell pkg-config --libs luajit 2>/dev/null || echo -lluajit-5.1)
CARES_CFLAGS  = $(shell pkg-config --cflags libcares 2>/dev/null)
CARES_LIBS    = $(shell pkg-config --libs libcares 2>/dev/null || echo -lcares)
LMDB_LIBS     = $(shell pkg-config --libs lmdb 2>/dev/null || echo -llmdb)
# libev's own headers break strict aliasing.
FLAGS   = -std=gnu11 -D_GNU_SOURCE -DMG_VERSION='"$(VERSION)"' $(WARN) -fno-strict-aliasing \
          $(LUAJIT_CFLAGS) $(CARES_CFLAGS) $(CFLAGS)
# Lua's own C API is exported, so that C modules of Lua can be loaded.
LIBS    = -Wl,-E -lev -lhttp_parser $(CARES_LIBS) $(LMDB_LIBS) $(LUAJIT_LIBS) -lm -ldl

CORE    = $(wildcard core/*.c)
LUA     = $(shell find lua -name '*.lua' | LC_ALL=C sort)
OBJECTS = $(CORE:%.c=$(BUILD)/%.o) $(BUILD)/lua_modules.o $(BUILD)/mime_types.o

all: $(BUILD)/moongate

$(BUILD)/moongate: $(OBJECTS)
	@echo "  LD  $@"
	@$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC  $<"
	@$(CC) $(FLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/%.o: $(BUILD)/%.c
	@$(CC) $(FLAGS) -c -o $@ $<

# The Lua library as bytecode, inside the binary.
$(BUILD)/lua_modules.c: $(LUA) tools/embed-lua
	@mkdir -p $(BUILD)
	@tools/embed-lua $(LUA) > $@.new && mv $@.new $@

# The media types of the system that builds (package media-types), sorted by extension.
$(BUILD)/mime_types.c: /etc/mime.types tools/embed-mime
	@mkdir -p $(BUILD)
	@LC_ALL=C tools/embed-mime /etc/mime.types > $@.new && mv $@.new $@

-include $(CORE:%.c=$(BUILD)/%.d)

# --- tests ---

# What each unit test links beside itself: the list is the check on what a module needs.
UNITS = access addr arena backlog buf census cgi date fcgi forwarded h1 ledger ledger_crowd netset \
        proxyproto range realip resolve shared spool str uri
links_access = access date request arena str addr spool buf
links_addr   = addr str
links_arena  = arena str
links_backlog = backlog spool buf str
links_buf    = buf str
links_census = census addr str
links_cgi    = cgi request arena str addr spool buf
links_date   = date str
links_fcgi   = fcgi buf str
links_forwarded = forwarded addr str
links_h1     = h1 chunked request uri arena str addr spool buf
links_resolve = resolve loop date addr str
links_ledger = ledger ledger_lists ledger_servers str
links_ledger_crowd = $(links_ledger)
links_netset = netset addr arena str
links_proxyproto = proxyproto addr str
links_range  = range str
links_realip = realip forwarded netset request uri arena addr str spool buf
links_shared = shared shared_folder link user buf str
links_spool  = spool buf str
links_str    = str
links_uri    = uri arena str
test_libs_shared = $(LMDB_LIBS) -lm
test_libs_resolve = -lev $(CARES_LIBS)
UNIT_TESTS = $(UNITS:%=$(BUILD)/tests/%_test)

.SECONDEXPANSION:
$(UNIT_TESTS): $(BUILD)/tests/%_test: $(BUILD)/tests/unit/%_test.o \
               $$(addprefix $(BUILD)/core/,$$(addsuffix .o,$$(links_$$*)))
	@echo "  LD  $@"
	@$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -lhttp_parser $(test_libs_$*)

$(BUILD)/tests/responder: $(BUILD)/tests/support/responder.o
	@echo "  LD  $@"
	@$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -lev

$(BUILD)/tests/load: $(BUILD)/tests/support/load.o
	@echo "  LD  $@"
	@$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -lev -lhttp_parser

-include $(wildcard $(BUILD)/tests/unit/*.d $(BUILD)/tests/support/*.d)

programs: $(BUILD)/moongate $(UNIT_TESTS) $(BUILD)/tests/responder $(BUILD)/tests/load

# Everything is installed by name, and only what is missing, before it is needed.
test:
	@tools/install build run test
	@$(MAKE) --no-print-directory programs
	@tools/test all

unit spec integration: programs
	@tools/test $@

# The whole suite again, with AddressSanitizer, UndefinedBehaviorSanitizer and LeakSanitizer. LuaJIT
# keeps its memory to itself, so leaks are those of the core.
ASAN = -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
asan:
	@tools/install build run test
	@$(MAKE) --no-print-directory BUILD=build/asan CFLAGS="$(ASAN)" programs
	@tools/test --asan all

# The same on Debian 12 and 13: clang-format 14 and 19 agree on all that is here. What only 13's
# cppcheck says is left out: it reports how far it looked, and each allocation that is not looked at.
lint:
	@tools/install build lint
	clang-format --dry-run -Werror core/*.[ch] tests/unit/*.[ch] tests/support/*.c
	cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr \
	  --suppress=missingIncludeSystem --suppress=normalCheckLevelMaxBranches \
	  --suppress=nullPointerOutOfMemory --suppress=nullPointerArithmeticOutOfMemory \
	  --error-exitcode=1 -DMG_VERSION='""' core tests/unit tests/support
	luacheck --quiet lua spec tests examples tools

bench:
	@tools/install build bench
	@$(MAKE) --no-print-directory $(BUILD)/moongate $(BUILD)/tests/responder $(BUILD)/tests/load
	@tests/bench/run $(BENCH)

# Both words of a newcomer, on systems that have nothing yet: needs root and debootstrap, and takes a
# quarter of an hour for each RELEASE ("bookworm trixie").
trial:
	@tools/trial $(RELEASE)

# --- use ---

# LISTEN=127.0.0.1:8081 serves on another address.
run:
	@tools/install build run
	@$(MAKE) --no-print-directory all
	@tools/run-example examples/hello

# /etc is the administrator's: the example for logrotate lies with the documentation.
UNITS_DIR = $(DESTDIR)$(PREFIX)/lib/systemd/system
install: $(BUILD)/moongate
	install -D -m 755 $(BUILD)/moongate "$(DESTDIR)$(PREFIX)/bin/moongate"
	install -d "$(DESTDIR)$(PREFIX)/share/doc/moongate"
	install -m 644 README.md CONTRIBUTING.md CHANGELOG.md LICENSE "$(DESTDIR)$(PREFIX)/share/doc/moongate/"
	cp -r docs examples "$(DESTDIR)$(PREFIX)/share/doc/moongate/"
	install -D -m 644 dist/logrotate/moongate \
	  "$(DESTDIR)$(PREFIX)/share/doc/moongate/logrotate/moongate"
	install -d "$(UNITS_DIR)"
	for unit in moongate.service moongate@.service moongate.socket; do \
	  sed 's|@PREFIX@|$(PREFIX)|g' "dist/systemd/$$unit" >"$(UNITS_DIR)/$$unit" && \
	  chmod 644 "$(UNITS_DIR)/$$unit" || exit 1; \
	done

clean:
	rm -rf build

format:
	clang-format -i core/*.[ch] tests/unit/*.[ch] tests/support/*.c

.PHONY: all programs test unit spec integration asan lint bench trial run install clean format
