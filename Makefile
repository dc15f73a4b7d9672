# Moongate: `make run` serves a page, `make test` passes everything; README.md says more.

VERSION = 0.1.0
PREFIX  = /usr/local
# `make MINIMAL=1` leaves out what a program can do without: TLS (libssl), HTTP/2 (libnghttp2), brotli and
# zstd. It has a folder of its own, since objects of one build don't fit the other.
MINIMAL =
BUILD   = build$(if $(MINIMAL),/minimal)

CC     ?= gcc
CFLAGS ?= -O2 -g
WARN   ?= -Wall -Wextra -Werror
LUAJIT_CFLAGS = $(shell pkg-config --cflags luajit 2>/dev/null || echo -I/usr/include/luajit-2.1)
LUAJIT_LIBS   = $(shell pkg-config --libs luajit 2>/dev/null || echo -lluajit-5.1)
CARES_CFLAGS  = $(shell pkg-config --cflags libcares 2>/dev/null)
CARES_LIBS    = $(shell pkg-config --libs libcares 2>/dev/null || echo -lcares)
LMDB_LIBS     = $(shell pkg-config --libs lmdb 2>/dev/null || echo -llmdb)
CRYPTO_LIBS   = $(shell pkg-config --libs libcrypto zlib libcrypt 2>/dev/null || echo -lcrypto -lz -lcrypt)
# Content codings beside gzip (core/http/coder_*).
CODER_FLAGS   = $(if $(MINIMAL),,-DMG_BROTLI -DMG_ZSTD)
CODER_LIBS    = $(if $(MINIMAL),,$(shell pkg-config --libs libbrotlienc libzstd 2>/dev/null || echo -lbrotlienc -lzstd))
# TLS of listeners; without it tls/none takes the place of the files that use OpenSSL.
TLS           = $(if $(MINIMAL),,1)
TLS_FILES     = certificate connection error facts given ktls localhost server store
TLS_FLAGS     = $(if $(TLS),-DMG_TLS)
TLS_LIBS      = $(if $(TLS),$(shell pkg-config --libs libssl libcrypto 2>/dev/null || echo -lssl -lcrypto))
PCRE2_LIBS    = $(shell pkg-config --libs libpcre2-8 2>/dev/null || echo -lpcre2-8)
# HTTP/2 (core/front/http2*); `make HTTP2=` leaves it out.
HTTP2         = $(if $(MINIMAL),,1)
HTTP2_FLAGS   = $(if $(HTTP2),-DMG_HTTP2)
HTTP2_LIBS    = $(if $(HTTP2),$(shell pkg-config --libs libnghttp2 2>/dev/null || echo -lnghttp2))
# libev's own headers break strict aliasing.
FLAGS   = -std=gnu11 -D_GNU_SOURCE -DMG_VERSION='"$(VERSION)"' $(WARN) -fno-strict-aliasing \
          $(LUAJIT_CFLAGS) $(CARES_CFLAGS) $(TLS_FLAGS) $(HTTP2_FLAGS) $(CODER_FLAGS) $(CFLAGS)
# Lua's own C API is exported, so that C modules of Lua can be loaded.
LIBS    = -Wl,-E -lev -lhttp_parser $(CARES_LIBS) $(LMDB_LIBS) $(PCRE2_LIBS) $(TLS_LIBS) $(CRYPTO_LIBS) $(HTTP2_LIBS) $(CODER_LIBS) \
          $(LUAJIT_LIBS) -lm -ldl -pthread

ABSENT  = $(if $(HTTP2),,core/front/http2%.c) \
          $(if $(TLS),core/tls/none.c,$(TLS_FILES:%=core/tls/%.c))
CORE    = $(filter-out $(ABSENT),$(shell find core -name '*.c' | LC_ALL=C sort))
C_SOURCES = $(shell find core tests -name '*.[ch]' | LC_ALL=C sort)
LUA     = $(shell find lua -name '*.lua' | LC_ALL=C sort)
EXAMPLES = $(shell find examples -type f | LC_ALL=C sort)
OBJECTS = $(CORE:%.c=$(BUILD)/%.o) $(BUILD)/lua_modules.o $(BUILD)/mime_types.o

all: $(BUILD)/moongate

# A program takes the place of the last one whole: somebody may start it, or upgrade to it, meanwhile.
link = echo "  LD  $@" && $(CC) $(CFLAGS) $(LDFLAGS) -o $@.new $^ $(1) && mv -f $@.new $@

$(BUILD)/moongate: $(OBJECTS)
	@$(call link,$(LIBS))

# The rooms of core/, each with those whose headers it may include. A room is compiled with the one
# include path $(BUILD)/sees/ROOM, which has links to these rooms and to nothing else.
ROOMS         = base http fastcgi shm tls backend script exchange front process
sees_base     =
sees_http     = base
sees_fastcgi  = base http
sees_shm      = base http
sees_tls      = base http shm
sees_backend  = base http fastcgi shm
sees_script   = $(sees_backend) backend
sees_exchange = $(sees_script) script
sees_front    = $(sees_exchange) exchange tls
sees_process  = $(sees_front) front
room          = $(firstword $(subst /, ,$*))

$(ROOMS:%=$(BUILD)/sees/%): $(BUILD)/sees/%: Makefile
	@rm -rf $@ && mkdir -p $@
	@for room in $(sees_$*) $*; do ln -s "$(CURDIR)/core/$$room" $@/$$room; done

$(BUILD)/core/%.o: core/%.c | $(ROOMS:%=$(BUILD)/sees/%)
	@mkdir -p $(@D)
	@echo "  CC  $<"
	@$(CC) $(FLAGS) -I$(BUILD)/sees/$(room) -MMD -MP -c -o $@ $<

$(BUILD)/tests/%.o: tests/%.c
	@mkdir -p $(@D)
	@echo "  CC  $<"
	@$(CC) $(FLAGS) -Icore -MMD -MP -c -o $@ $<

$(BUILD)/%.o: $(BUILD)/%.c
	@$(CC) $(FLAGS) -c -o $@ $<

# The Lua library as bytecode, inside the binary, the examples for `moongate init`, and the dashboard.
EXAMPLES_LUA = $(BUILD)/lua/moongate/core/examples.lua
$(EXAMPLES_LUA): $(EXAMPLES) tools/embed-examples
	@mkdir -p $(@D)
	@tools/embed-examples $(EXAMPLES) > $@.new && mv $@.new $@
DASHBOARD_LUA = $(BUILD)/lua/moongate/core/dashboard.lua
$(DASHBOARD_LUA): lua/moongate/worker/dashboard.html tools/embed-text
	@mkdir -p $(@D)
	@tools/embed-text $< > $@.new && mv $@.new $@
$(BUILD)/lua_modules.c: $(LUA) $(EXAMPLES_LUA) $(DASHBOARD_LUA) tools/embed-lua
	@mkdir -p $(BUILD)
	@tools/embed-lua $(LUA) $(EXAMPLES_LUA) $(DASHBOARD_LUA) > $@.new && mv $@.new $@

# The media types of the system that builds (package media-types), sorted by extension.
$(BUILD)/mime_types.c: /etc/mime.types tools/embed-mime
	@mkdir -p $(BUILD)
	@LC_ALL=C tools/embed-mime /etc/mime.types > $@.new && mv $@.new $@

-include $(CORE:%.c=$(BUILD)/%.d)

# --- tests ---

# What each unit test links beside itself: the list is the check on what a module needs.
UNITS = base/addr base/arena base/backlog base/buf base/datagram base/date base/input base/json base/log base/lookup base/loop base/netset base/outlet \
        base/password base/region base/resolve base/spool base/str base/walk base/writer http/access http/check http/coder http/coding http/filecache http/forwarded http/h1 \
        http/range http/spans http/traceparent \
        http/h2 http/realip http/settings http/uri fastcgi/cgi fastcgi/cgi_in fastcgi/connection fastcgi/record shm/census shm/ledger shm/ledger_crowd \
        shm/changes shm/metrics shm/scripts shm/shared shm/tail shm/trace shm/underway exchange/front front/listener front/proxyproto front/sender process/bind process/history
links_request = http/request base/arena base/str base/addr base/spool base/input base/buf
links_base/addr = base/addr base/str
links_base/arena = base/arena base/str
links_base/backlog = base/backlog base/spool base/input base/buf base/str
links_base/buf = base/buf base/str
links_base/date = base/date base/str
links_base/json = base/json base/str
links_base/lookup = base/lookup base/finding base/walk base/str
links_base/walk = base/walk
links_outlet = base/outlet base/datagram base/addr base/date base/str
links_log = base/log base/line base/writer $(links_outlet)
links_base/datagram = base/datagram base/addr base/date base/str
links_base/log = $(links_log)
links_base/outlet = $(links_log)
links_base/writer = base/writer $(links_outlet)
links_base/input = base/input base/str
links_base/loop = base/loop base/input base/date base/str
links_base/netset = base/netset base/addr base/arena base/str
links_base/password = base/password
links_base/region = base/region
links_base/resolve = base/resolve base/loop base/input base/date base/addr base/str
links_base/spool = base/spool base/input base/buf base/str
links_base/str = base/str
links_http/access = http/access base/date $(links_request)
links_http/forwarded = http/forwarded base/addr base/str
links_http/coder = http/coder http/coder_gzip http/coder_brotli http/coder_zstd http/coding base/str
links_http/coding = http/coding base/str
links_http/check = http/check http/uri $(links_request)
links_http/filecache = http/filecache http/media base/lookup base/finding base/walk base/date base/str
objects_http/filecache = mime_types
links_http/h1 = http/h1 http/check http/chunked http/uri $(links_request)
links_http/h2 = http/h2 http/check http/uri $(links_request)
links_http/range = http/range base/str
links_http/realip = http/realip http/forwarded http/uri base/netset $(links_request)
links_http/settings = http/settings base/arena base/str
links_http/spans = http/spans http/traceparent base/json $(links_request)
links_http/traceparent = http/traceparent $(links_request)
links_http/uri = http/uri base/arena base/str
links_fastcgi/cgi = fastcgi/cgi $(links_request)
links_fastcgi/cgi_in = fastcgi/cgi_in fastcgi/record http/check http/uri $(links_request)
links_fastcgi/connection = fastcgi/connection fastcgi/channel fastcgi/dial fastcgi/offer fastcgi/events fastcgi/record base/loop base/input base/date base/addr base/buf base/str
links_fastcgi/record = fastcgi/record base/buf base/str
links_shm/census = shm/census base/addr base/str
links_shm/ledger = shm/ledger shm/ledger_claims shm/ledger_turns shm/ledger_servers shm/ledger_share shm/lock base/str
links_shm/ledger_crowd = $(links_shm/ledger)
links_shm/tail = shm/tail base/str
links_shm/trace = shm/trace base/str
links_shm/underway = shm/underway $(links_log) $(links_http/access)
links_shm/changes = shm/changes shm/lock base/addr base/str
links_shm/metrics = shm/metrics shm/lock base/str
links_shm/scripts = shm/scripts base/str
links_shm/shared = shm/shared shm/entry shm/shared_file shm/lock shm/undo base/str
links_exchange/front = exchange/front exchange/filter base/str
links_tls = $(if $(TLS),tls/store tls/server tls/connection tls/ktls tls/certificate tls/error,tls/none) tls/asked tls/pem shm/tickets
links_front/farewell = front/farewell tls/ktls $(links_base/loop)
links_front/listener = front/listener $(links_log) \
                       base/loop base/input shm/metrics shm/lock base/str $(links_tls)
links_process/bind = process/bind base/addr base/str
links_process/history = process/history base/str
links_front/proxyproto = front/proxyproto base/addr base/str
links_front/sender = front/sender front/transport base/loop base/input base/date base/backlog base/spool base/input base/buf \
                     base/str
test_libs_shm/shared = $(LMDB_LIBS) -lm
test_libs_http/coder = -lz $(CODER_LIBS) $(if $(MINIMAL),,-lbrotlidec)
test_libs_base/loop = -lev
test_libs_base/log = -pthread
test_libs_base/writer = -pthread
test_libs_base/password = $(CRYPTO_LIBS) -pthread
test_libs_fastcgi/connection = -lev
test_libs_front/farewell = -lev
test_libs_front/listener = -lev $(TLS_LIBS)
test_libs_front/sender = -lev
test_libs_base/resolve = -lev $(CARES_LIBS)
UNITS += http/caching shm/cache shm/tickets $(if $(TLS),front/farewell tls/asked tls/certificate tls/connection tls/pem tls/server)
links_shm/tickets = shm/tickets
links_tls/asked = tls/asked $(links_tls/certificate)
links_tls/certificate = tls/certificate tls/pem tls/error base/str
links_tls/connection = tls/connection tls/ktls tls/asked $(links_tls/server)
links_tls/pem = tls/pem base/str
links_tls/server = tls/server shm/tickets $(links_tls/certificate)
test_libs_shm/tickets = -pthread
test_libs_tls/asked = $(TLS_LIBS)
test_libs_tls/certificate = $(TLS_LIBS)
test_libs_tls/connection = $(TLS_LIBS)
test_libs_tls/server = $(TLS_LIBS)
links_http/caching = http/caching base/date $(links_request)
links_shm/cache = shm/cache shm/cachefiles shm/cachestore shm/lock base/date $(links_request)
UNIT_TESTS = $(UNITS:%=$(BUILD)/tests/%_test)

# The fuzz targets, tests/fuzz/TARGET.c: as tests, they replay what is in tests/fuzz/corpus/TARGET.
FUZZ = answer chunks forwarded gateway $(if $(HTTP2),http2) params proxy range records request target webserver
links_fuzz/answer = fastcgi/cgi $(links_http/h1)
links_fuzz/chunks = http/chunked base/str
links_fuzz/forwarded = $(links_http/forwarded)
links_fuzz/gateway = front/gateway front/gateway_request front/gateway_out front/clients front/farewell front/admission front/proxyproto \
                     front/transport_tls $(links_tls) $(links_front/sender) $(links_fastcgi/cgi_in) $(links_http/realip) $(links_shm/census) shm/metrics shm/lock
links_fuzz/http2 = front/http2 front/http2_session front/http2_stream front/http2_leave front/http2_out front/http2_toll base/region front/clients front/farewell \
                   front/transport_tls $(links_tls) front/admission front/proxyproto exchange/front http/h2 http/check http/uri $(links_front/sender) \
                   $(links_http/realip) $(links_shm/census) shm/metrics shm/lock
libs_fuzz/http2 = $(HTTP2_LIBS)
links_fuzz/params = $(links_fastcgi/record)
links_fuzz/proxy = $(links_front/proxyproto)
links_fuzz/range = $(links_http/range)
links_fuzz/records = $(links_fastcgi/record)
links_fuzz/request = $(links_http/h1)
links_fuzz/target = $(links_http/uri)
links_fuzz/webserver = $(links_fastcgi/cgi_in) fastcgi/cgi
FUZZ_TESTS = $(FUZZ:%=$(BUILD)/tests/fuzz/%_test)
FUZZERS = $(FUZZ:%=$(BUILD)/tests/fuzz/%_fuzzer)

.SECONDEXPANSION:
$(FUZZ_TESTS): $(BUILD)/tests/fuzz/%_test: $(BUILD)/tests/fuzz/%.o $(BUILD)/tests/fuzz/replay.o \
               $$(addprefix $(BUILD)/core/,$$(addsuffix .o,$$(links_fuzz/$$*)))
	@$(call link,-lhttp_parser -lev $(TLS_LIBS) $(libs_fuzz/$*))

$(FUZZERS): $(BUILD)/tests/fuzz/%_fuzzer: $(BUILD)/tests/fuzz/%.o \
            $$(addprefix $(BUILD)/core/,$$(addsuffix .o,$$(links_fuzz/$$*)))
	@$(call link,-fsanitize=fuzzer -lhttp_parser -lev $(TLS_LIBS) $(libs_fuzz/$*))

$(UNIT_TESTS): $(BUILD)/tests/%_test: $(BUILD)/tests/unit/%_test.o \
               $$(addprefix $(BUILD)/core/,$$(addsuffix .o,$$(links_$$*))) \
               $$(addprefix $(BUILD)/,$$(addsuffix .o,$$(objects_$$*)))
	@mkdir -p $(@D)
	@$(call link,-lhttp_parser $(test_libs_$*))

$(BUILD)/tests/responder: $(BUILD)/tests/support/responder.o
	@$(call link,-lev)

$(BUILD)/tests/multiplexer: $(BUILD)/tests/support/multiplexer.o
	@$(call link,-lev)

$(BUILD)/tests/load: $(BUILD)/tests/support/load.o
	@$(call link,-lev -lhttp_parser)

$(BUILD)/tests/no_openat2: $(BUILD)/tests/support/no_openat2.o
	@$(call link,)

$(BUILD)/tests/slow_disk.so: tests/support/slow_disk.c
	@mkdir -p $(@D) && $(CC) -O1 -g -fPIC -shared -Wall -Wextra -Werror -o $@ $< -ldl

# What the benchmark takes for the least that a relay can cost.
$(BUILD)/tests/floor: $(BUILD)/tests/bench/floor.o
	@$(call link,)

-include $(wildcard $(BUILD)/tests/unit/*/*.d $(BUILD)/tests/support/*.d $(BUILD)/tests/fuzz/*.d)

programs: $(BUILD)/moongate $(UNIT_TESTS) $(FUZZ_TESTS) $(BUILD)/tests/responder $(BUILD)/tests/multiplexer \
          $(BUILD)/tests/load $(BUILD)/tests/floor $(BUILD)/tests/no_openat2 $(BUILD)/tests/slow_disk.so

JOBS = $(shell nproc)

# Everything is installed by name, and only what is missing, before it is needed.
test:
	@tools/install build run test
	@$(MAKE) --no-print-directory -j$(JOBS) programs
	@tools/test all

unit spec integration: programs
	@tools/test $@

# The whole suite again, with AddressSanitizer, UndefinedBehaviorSanitizer and LeakSanitizer. LuaJIT
# keeps its memory to itself, so leaks are those of the core.
ASAN = -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
asan:
	@tools/install build run test
	@$(MAKE) --no-print-directory -j$(JOBS) BUILD=build/asan CFLAGS="$(ASAN)" programs
	@tools/test --asan all

# Looks for inputs that break a fuzz target's rules: each target for SECONDS, a minute by default;
# FUZZ="request answer" names some. What is found is printed, and lies in build/fuzz/found. clang would
# also report NULL + 0, which is the end of an empty buf, and which C2y allows.
fuzz:
	@tools/install build clang
	@$(MAKE) --no-print-directory -j$(JOBS) BUILD=build/fuzz CC=clang \
	  CFLAGS="-O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize=pointer-overflow \
	  -fno-sanitize-recover=undefined" fuzzers
	@tools/fuzz $(FUZZ)

fuzzers: $(FUZZERS)

# The same on Debian 12 and 13: clang-format 14 and 19 agree on all that is here. What only 13's
# cppcheck says is left out: it reports how far it looked, and each allocation that is not looked at.
lint:
	@tools/install build lint
	clang-format --dry-run -Werror $(C_SOURCES)
	cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr \
	  --suppress=missingIncludeSystem --suppress=normalCheckLevelMaxBranches \
	  --suppress=nullPointerOutOfMemory --suppress=nullPointerArithmeticOutOfMemory \
	  --error-exitcode=1 -j$(JOBS) -DMG_VERSION='""' -Icore core tests/unit tests/fuzz tests/support
	luacheck --quiet lua spec tests examples tools

bench: release
	@tools/install build run bench
	@$(MAKE) --no-print-directory -j$(JOBS) $(BUILD)/moongate $(BUILD)/tests/responder \
	  $(BUILD)/tests/load $(BUILD)/tests/floor
	@tests/bench/run $(BENCH)

# What docs/tuning.md shows: four minutes, with a real PHP-FPM.
tuning:
	@tools/install build run test
	@$(MAKE) --no-print-directory -j$(JOBS) $(BUILD)/moongate $(BUILD)/tests/load
	@LUA_PATH="./?.lua;./lua/?.lua;$${LUA_PATH:-;}" MOONGATE="$(CURDIR)/$(BUILD)/moongate" \
	  luajit tests/bench/tuning.lua

# The build without what a program can do without, in build/minimal: its unit tests, and a part of the suite.
test-minimal:
	@MINIMAL=1 tools/install build
	@tools/install run test
	@$(MAKE) --no-print-directory -j$(JOBS) MINIMAL=1 programs
	@BUILD=build/minimal tools/test unit
	@BUILD=build/minimal tools/test integration tests/integration/20-fastcgi_spec.lua \
	  tests/integration/22-http_spec.lua tests/integration/24-attack_spec.lua tests/integration/26-files_spec.lua \
	  tests/integration/31-serve_spec.lua tests/integration/33-start_spec.lua tests/integration/50-reload_spec.lua \
	  tests/integration/55a-minimal_spec.lua

# `moongate import`: some fifty configurations in nginx and Apache, and the routes made of them beside. Takes a
# minute; some of it is part of `make test`.
test-import:
	@tools/install build run test
	@$(MAKE) --no-print-directory -j$(JOBS) programs
	@tools/test integration tests/import/import_spec.lua

# examples/wordpress-cache with the real WordPress and a MariaDB, as Debian packages them. Takes three minutes.
test-wordpress:
	@tools/install build run test wordpress
	@$(MAKE) --no-print-directory -j$(JOBS) programs
	@tools/test integration tests/wordpress/wordpress_spec.lua

# Several PHPs at once, those of other releases of Debian: needs root. The first time it takes some minutes
# for each RELEASE ("bullseye trixie"), which stays in CACHE (/var/cache/moongate), and seconds from then on.
test-multiphp:
	@tools/install build run test systems
	@$(MAKE) --no-print-directory -j$(JOBS) programs
	@tools/multiphp $(RELEASE)

# `make run` and `make test` on systems that have nothing yet: needs root, and takes ten minutes for each
# RELEASE ("bookworm trixie").
trial:
	@tools/install systems
	@tools/trial $(RELEASE)

# The package of Debian on clean systems of it: needs root, and takes ten minutes or more for each RELEASE
# ("bookworm trixie"). DEB_BUILD_OPTIONS=nopgo builds in one go.
test-deb:
	@tools/install systems test
	@tools/trial-deb $(RELEASE)

# The image of the Dockerfile: by Docker where it runs, else by buildah; needs root, and a minute.
test-docker:
	@tools/install run systems test
	@tools/trial-docker

# TLS in the kernel, in a machine of qemu with Debian's kernel; that is only unpacked. The first time it
# fetches 80 MB, and takes ten minutes.
trial-ktls:
	@tools/install build ktls
	@$(MAKE) --no-print-directory -j$(JOBS) $(BUILD)/moongate
	@MOONGATE=$(BUILD)/moongate tools/trial-ktls

# --- use ---

# The binary for packages: compiled by what a short run of the benchmark does most (PGO), as one (LTO).
# The first build counts, tests/bench/train.lua runs it, the second one is made by its counts. Both lie in
# build/release, so that gcc finds the counts of each object where it left them. Warnings of the linker
# are errors, too; the one that is off sees a u64 of 21 digits, once it knows how often loops run.
RELEASE_FLAGS = -O2 -g -flto=auto -Werror -Wno-aggressive-loop-optimizations
release:
	@tools/install build release
	@command -v $(CC) >/dev/null && $(CC) --version | grep -q 'Free Software' || \
	  { echo "make release: needs gcc; CC is $(CC)" >&2; exit 2; }
	@$(MAKE) --no-print-directory -j$(JOBS) $(BUILD)/tests/responder $(BUILD)/tests/load
	@CC="$(CC)" tools/release build/release "$(RELEASE_FLAGS)" $(JOBS)

# That the release build serves: some scenarios with its binary. Takes minutes, so it isn't part of `make
# test`.
test-release: release
	@$(MAKE) --no-print-directory -j$(JOBS) programs
	@MOONGATE="$(CURDIR)/build/release/moongate" tools/test integration \
	  tests/integration/20-fastcgi_spec.lua tests/integration/22-http_spec.lua \
	  tests/integration/26-files_spec.lua tests/integration/30-php_spec.lua \
	  tests/integration/50-reload_spec.lua

# LISTEN=127.0.0.1:8081 serves on another address.
run:
	@MINIMAL=$(MINIMAL) tools/install build run
	@$(MAKE) --no-print-directory -j$(JOBS) all
	@BUILD=$(BUILD) tools/run-example examples/hello

# Manual pages and completions, from the texts of `moongate help` and `moongate types`.
MANUAL = $(BUILD)/manual/man $(BUILD)/manual/route $(BUILD)/manual/bash $(BUILD)/manual/zsh $(BUILD)/manual/fish
$(MANUAL): $(BUILD)/manual/%: $(LUA) $(wildcard tools/manual/*.lua)
	@mkdir -p $(@D)
	@luajit tools/manual/write.lua $* $(VERSION) > $@.new && mv $@.new $@

# /etc is the administrator's: the example for logrotate lies with the documentation. All of it is put
# into a folder first, so that what `make uninstall` takes away is what `make install` has put.
STAGE     = $(BUILD)/stage
DOC       = $(STAGE)/share/doc/moongate
UNITS_DIR = $(STAGE)/lib/systemd/system
ZSH_DIR   = share/zsh/site-functions
BINARY    = $(BUILD)/moongate
install: $(BINARY) $(MANUAL)
	@rm -rf $(STAGE)
	@install -D -m 755 $(BINARY) $(STAGE)/bin/moongate
	@install -d "$(DOC)"
	install -m 644 README.md CONTRIBUTING.md CHANGELOG.md LICENSE "$(STAGE)/share/doc/moongate/"
	cp -r docs examples "$(STAGE)/share/doc/moongate/"
	cp -r dist/prometheus dist/grafana dist/logrotate "$(STAGE)/share/doc/moongate/"
	@install -D -m 644 $(BUILD)/manual/man $(STAGE)/share/man/man1/moongate.1
	@install -D -m 644 $(BUILD)/manual/route $(STAGE)/share/man/man5/route.lua.5
	@install -D -m 644 $(BUILD)/manual/bash $(STAGE)/share/bash-completion/completions/moongate
	@install -D -m 644 $(BUILD)/manual/zsh $(STAGE)/$(ZSH_DIR)/_moongate
	@install -D -m 644 $(BUILD)/manual/fish $(STAGE)/share/fish/vendor_completions.d/moongate.fish
	@install -d $(UNITS_DIR)
	@for unit in moongate.service moongate@.service moongate.socket; do \
	  sed 's|@PREFIX@|$(PREFIX)|g' "dist/systemd/$$unit" >"$(UNITS_DIR)/$$unit" || exit 1; \
	done
	@tools/put install $(STAGE) "$(DESTDIR)" "$(PREFIX)"
	@rm -rf $(STAGE)

# Only what `make install` has put there, with the same DESTDIR and PREFIX.
uninstall:
	@tools/put remove "$(DESTDIR)" "$(PREFIX)"

# A package of Debian from what lies here, in build/deb. lintian looks at it: an error ends it with 1.
deb:
	@tools/install build release deb
	@tools/deb

clean:
	rm -rf build

format:
	clang-format -i $(C_SOURCES)

.PHONY: all programs test test-minimal test-import test-wordpress test-multiphp unit spec integration asan fuzz fuzzers lint bench trial trial-ktls run install uninstall deb test-deb test-docker tuning clean format
