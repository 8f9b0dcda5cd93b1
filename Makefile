# Bellhop. Complete by itself; `./configure` may write a config.mak with other paths.
#   make          the daemon and its tool      make run     quick start
#   make check    every test                   make bench   the speed table
#   SAN=1         address and undefined-behaviour sanitizers (objects in build/san)
#   DEV=1         warnings are errors
#   LTO=          the daemon is not optimised as a whole: links faster, runs slower by a sixth
VERSION = 0.1.0
prefix = /usr/local
bindir = $(prefix)/bin
sbindir = $(prefix)/sbin
libdir = $(prefix)/lib
includedir = $(prefix)/include
mandir = $(prefix)/share/man
sysconfdir = /etc
CC = gcc
PKG_CONFIG = pkg-config
-include config.mak

B = build$(if $(SAN),/san)
X86_64 = $(filter x86_64,$(shell uname -m))
PACKAGES = libevent_core libevent_extra openssl yaml-0.1 jansson sqlite3 hiredis librabbitmq
WARN = -Wall -Wextra -Wconversion -Wformat=2 -Wimplicit-fallthrough -Wshadow -Wstrict-prototypes \
       -Wmissing-prototypes -Werror=format-security -Werror=implicit -Werror=int-conversion \
       -Werror=incompatible-pointer-types $(if $(DEV),-Werror)
HARDEN = -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fstack-clash-protection -fPIE \
         -fno-delete-null-pointer-checks -fno-strict-overflow -fno-strict-aliasing \
         $(if $(X86_64),-fcf-protection=full)
# Runs on any processor, is fastest on the servers of the last years.
OPTIM = -O3 -g $(if $(X86_64),-mtune=icelake-server)
# Objects hold plain code as well: of the programs that share them only the daemon waits for the long link.
LTO = $(if $(SAN)$(findstring clang,$(CC)),,-flto=auto -ffat-lto-objects)
ifdef SAN
HARDEN = -fPIE -fno-strict-aliasing
OPTIM = -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
endif
CFLAGS = $(OPTIM)
ALL_CFLAGS = -std=gnu11 -D_GNU_SOURCE -DBELLHOP_VERSION='"$(VERSION)"' -Idaemon -Iclients/c -MMD -MP \
             $(WARN) $(HARDEN) $(CFLAGS) $(CPPFLAGS)
ALL_LDFLAGS = -pie -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--as-needed $(OPTIM) -fno-lto $(LDFLAGS)
PKG_CFLAGS = $(shell $(PKG_CONFIG) --cflags $(PACKAGES) 2>/dev/null)
LIBS = $(shell $(PKG_CONFIG) --libs $(PACKAGES) 2>/dev/null)

Q = $(if $(V),,@)

DAEMON_SRC = $(filter-out daemon/app/main.c daemon/cli/%,$(sort $(wildcard daemon/*/*.c daemon/*/*/*.c)))
DAEMON_OBJ = $(DAEMON_SRC:%.c=$(B)/%.o)
CLI_SRC = $(sort $(wildcard daemon/cli/*.c))
CLI_OBJ = $(CLI_SRC:%.c=$(B)/%.o)
UNIT_BIN = $(patsubst tests/unit/%.c,$(B)/tests/unit/%,$(sort $(wildcard tests/unit/test_*.c)))

.PHONY: all check check-long check-unit clean install
all: $(B)/bellhopd $(B)/bellhop

# Objects wait for the packages they need, and are made anew when the way they are built changes.
$(B)/%.o: %.c Makefile | deps
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC      $<")
	$(Q)$(CC) $(ALL_CFLAGS) $(if $(filter $(B)/daemon/%,$@),$(LTO)) $(PKG_CFLAGS) -c $< -o $@

$(B)/libdaemon.a: $(DAEMON_OBJ)
	@rm -f $@
	$(Q)$(AR) rcs $@ $^

$(B)/bellhopd: $(B)/daemon/app/main.o $(B)/libdaemon.a
	$(if $(V),,@echo "  LINK    $@")
	$(Q)$(CC) $(filter-out -fno-lto,$(ALL_LDFLAGS)) $(LTO) -o $@ $^ $(LIBS)

$(B)/bellhop: $(CLI_OBJ) $(B)/libbellhop.a $(B)/libdaemon.a
	$(if $(V),,@echo "  LINK    $@")
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS) $(shell $(PKG_CONFIG) --libs smartcols 2>/dev/null)

$(B)/tests/unit/%: $(B)/tests/unit/%.o $(B)/libdaemon.a
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS) $(shell $(PKG_CONFIG) --libs check 2>/dev/null)

check-unit: deps-check $(UNIT_BIN)
	@status=0; for t in $(UNIT_BIN); do $$t || status=1; done; exit $$status

# Every step, its time and its closing line; logs under build/check/.
check: deps-check
	@scripts/check
check-long: deps-long
	@scripts/check long

clean:
	rm -rf build

install: all libbellhop
	install -d $(DESTDIR)$(sbindir) $(DESTDIR)$(bindir) $(DESTDIR)$(mandir)/man1 $(DESTDIR)$(mandir)/man5 \
	    $(DESTDIR)$(mandir)/man7 $(DESTDIR)$(mandir)/man8 $(DESTDIR)$(sysconfdir)/bellhop
	install -m 755 $(B)/bellhopd $(DESTDIR)$(sbindir)/
	install -m 755 $(B)/bellhop $(DESTDIR)$(bindir)/
	for n in 1 5 7 8; do install -m 644 man/*.$$n $(DESTDIR)$(mandir)/man$$n/; done
	test -e $(DESTDIR)$(sysconfdir)/bellhop/bellhop.yaml || \
	    install -m 640 conf/bellhop.yaml $(DESTDIR)$(sysconfdir)/bellhop/
	$(MAKE) install-libbellhop

include scripts/module.mk clients/c/module.mk
# An image is built without the tests.
-include tests/bench/module.mk tests/sim/module.mk tests/fuzz/module.mk tests/crash/module.mk
-include tests/storefault/module.mk tests/contract/module.mk tests/model/module.mk tests/torture/module.mk
-include $(DAEMON_OBJ:.o=.d) $(B)/daemon/app/main.d $(CLI_OBJ:.o=.d) $(UNIT_BIN:=.d)

# Against the real daemon and real peers; with SAN=1 against the sanitized one.
.PHONY: check-conformance check-e2e
check-conformance: all
	@$(MAKE) -s SAN= build/clients/c/conformance
	BELLHOPD=$(abspath $(B)/bellhopd) tests/conformance/run.py
check-e2e: all
	@$(MAKE) -s SAN= build/bellhopd
	BELLHOPD=$(abspath $(B)/bellhopd) tests/e2e/run.py $(NAMES)
