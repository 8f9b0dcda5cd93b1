# libbellhop. Included by the top Makefile, which sets B (build folder), CC, AR, ALL_CFLAGS, ALL_LDFLAGS and the folders;
# `make -f clients/c/module.mk` builds the library alone.
libbellhop:
B ?= build
VERSION ?= 0.1.0
prefix ?= /usr/local
libdir ?= $(prefix)/lib
includedir ?= $(prefix)/include
ALL_CFLAGS ?= -O2 -g -Wall -Wextra $(CFLAGS) $(CPPFLAGS) -MMD -MP
ALL_LDFLAGS ?= $(LDFLAGS)

LIBBELLHOP_SOVERSION := 1
LIBBELLHOP_SRC := answer.c buf.c client.c delivery.c frame.c headers.c send.c waiting.c
LIBBELLHOP_OBJ := $(LIBBELLHOP_SRC:%.c=$(B)/clients/c/%.o)
# One set of objects for both libraries: position-independent, with only the API visible.
LIBBELLHOP_CFLAGS := -std=c11 -D_GNU_SOURCE -fPIC -fvisibility=hidden

libbellhop: $(B)/libbellhop.a $(B)/libbellhop.so.$(LIBBELLHOP_SOVERSION) $(B)/bellhop.pc
.PHONY: libbellhop install-libbellhop

$(LIBBELLHOP_OBJ): $(B)/clients/c/%.o: clients/c/%.c
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC      $<")
	$(Q)$(CC) $(ALL_CFLAGS) $(LIBBELLHOP_CFLAGS) -c -o $@ $<

$(B)/libbellhop.a: $(LIBBELLHOP_OBJ)
	@rm -f $@
	$(Q)$(AR) rcs $@ $^

$(B)/libbellhop.so.$(LIBBELLHOP_SOVERSION): $(LIBBELLHOP_OBJ)
	$(CC) $(filter-out -pie,$(ALL_LDFLAGS)) -shared -Wl,-soname,$(@F) -o $@ $^
	ln -sf $(@F) $(B)/libbellhop.so

# Phony: `make install prefix=…` may differ from the build before it.
.PHONY: $(B)/bellhop.pc
$(B)/bellhop.pc: clients/c/bellhop.pc.in
	@mkdir -p $(@D)
	sed -e 's|@PREFIX@|$(prefix)|' -e 's|@LIBDIR@|$(libdir)|' -e 's|@INCLUDEDIR@|$(includedir)|' \
	    -e 's|@VERSION@|$(VERSION)|' $< >$@

# The examples, linked with the static library: build/examples/c/{math,call}
$(B)/examples/c/%: clients/c/examples/%.c $(B)/libbellhop.a
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -std=c11 -D_GNU_SOURCE -Iclients/c $(ALL_LDFLAGS) -o $@ $< $(B)/libbellhop.a
examples-c: $(B)/examples/c/math $(B)/examples/c/call
.PHONY: examples-c

# The adapter of tests/conformance.
$(B)/clients/c/conformance: clients/c/conformance.c $(B)/libbellhop.a
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -std=gnu11 -D_GNU_SOURCE -Iclients/c $(ALL_LDFLAGS) -o $@ $< $(B)/libbellhop.a -ljansson

# The unit tests (Check) see the internals through the static library; the fuzz target is with the others, in tests/fuzz.
CLIENT_C_TESTS := $(B)/clients/c/tests/test_client $(B)/clients/c/tests/test_frame
$(CLIENT_C_TESTS): $(B)/clients/c/tests/%: clients/c/tests/%.c $(B)/libbellhop.a
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -std=gnu11 -D_GNU_SOURCE -Iclients/c $$(pkg-config --cflags check) $(ALL_LDFLAGS) \
	    -o $@ $< $(B)/libbellhop.a $$(pkg-config --libs check)
check-client-c: $(CLIENT_C_TESTS)
	@set -e; for t in $(CLIENT_C_TESTS); do $$t; done
.PHONY: check-client-c

install-libbellhop: libbellhop
	install -d $(DESTDIR)$(includedir) $(DESTDIR)$(libdir)/pkgconfig
	install -m 644 clients/c/bellhop.h $(DESTDIR)$(includedir)/bellhop.h
	install -m 644 $(B)/libbellhop.a $(DESTDIR)$(libdir)/libbellhop.a
	install -m 755 $(B)/libbellhop.so.$(LIBBELLHOP_SOVERSION) $(DESTDIR)$(libdir)/
	ln -sf libbellhop.so.$(LIBBELLHOP_SOVERSION) $(DESTDIR)$(libdir)/libbellhop.so
	install -m 644 $(B)/bellhop.pc $(DESTDIR)$(libdir)/pkgconfig/bellhop.pc

-include $(LIBBELLHOP_OBJ:.o=.d)
