# Bellhop. Complete by itself; `./configure` may write a config.mak with other paths.
#   make          the daemon and its tool      make run     quick start
#   make check    every test                   make bench   the speed table
#   SAN=1         address and undefined-behaviour sanitizers (objects in build/san)
#   DEV=1         warnings are errors
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
PACKAGES = libevent_core libevent_extra openssl yaml-0.1 jansson
WARN = -Wall -Wextra -Wconversion -Wformat=2 -Wimplicit-fallthrough -Wshadow -Wstrict-prototypes \
       -Wmissing-prototypes -Werror=format-security -Werror=implicit -Werror=int-conversion \
       -Werror=incompatible-pointer-types $(if $(DEV),-Werror)
HARDEN = -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fstack-clash-protection -fPIE \
         -fno-delete-null-pointer-checks -fno-strict-overflow -fno-strict-aliasing \
         $(if $(filter x86_64,$(shell uname -m)),-fcf-protection=full)
OPTIM = -O2 -g
ifdef SAN
HARDEN = -fPIE -fno-strict-aliasing
OPTIM = -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
endif
CFLAGS = $(OPTIM)
ALL_CFLAGS = -std=gnu11 -D_GNU_SOURCE -DBELLHOP_VERSION='"$(VERSION)"' -Idaemon -Iclients/c -MMD -MP \
             $(WARN) $(HARDEN) $(CFLAGS) $(CPPFLAGS)
ALL_LDFLAGS = -pie -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--as-needed $(OPTIM) $(LDFLAGS)
PKG_CFLAGS = $(shell $(PKG_CONFIG) --cflags $(PACKAGES) 2>/dev/null)
LIBS = $(shell $(PKG_CONFIG) --libs $(PACKAGES) 2>/dev/null)

DAEMON_SRC = $(filter-out daemon/app/main.c,$(sort $(wildcard daemon/[!c]*/*.c daemon/codec/*.c daemon/config/*.c daemon/transport/*/*.c)))
DAEMON_OBJ = $(DAEMON_SRC:%.c=$(B)/%.o)
CLI_SRC = $(sort $(wildcard daemon/cli/*.c))
CLI_OBJ = $(CLI_SRC:%.c=$(B)/%.o)
UNIT_SRC = $(sort $(wildcard tests/unit/test_*.c))
UNIT_BIN = $(UNIT_SRC:tests/unit/%.c=$(B)/tests/unit/%)

.PHONY: all run check check-long bench fuzz clean install deps
all: $(B)/bellhopd $(if $(CLI_SRC),$(B)/bellhop)

$(B)/%.o: %.c | deps
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(PKG_CFLAGS) -c $< -o $@

$(B)/libdaemon.a: $(DAEMON_OBJ)
	@rm -f $@
	$(AR) rcs $@ $^

$(B)/bellhopd: $(B)/daemon/app/main.o $(B)/libdaemon.a
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)

$(B)/bellhop: $(CLI_OBJ) $(B)/libbellhop.a $(B)/libdaemon.a
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS) $(shell $(PKG_CONFIG) --libs smartcols 2>/dev/null)

$(B)/tests/unit/%: $(B)/tests/unit/%.o $(B)/libdaemon.a
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS) $(shell $(PKG_CONFIG) --libs check 2>/dev/null)

clean:
	rm -rf build

-include clients/c/module.mk tests/bench/module.mk tests/sim/module.mk tests/fuzz/module.mk
-include $(shell find $(B) -name '*.d' 2>/dev/null)
