# The store in a file against a disk that fails, fills up, hangs, loses, tears and flips.
# `make SAN=1 check-storefault STATES=100000 FLIPS=30000` is the long form.
STATES ?= 2000
FLIPS ?= 3000
STOREFAULT_NAMES := test_faults test_crash_states test_bit_flips
STOREFAULT_BIN := $(STOREFAULT_NAMES:%=$(B)/tests/storefault/%)
STOREFAULT_OBJ := $(patsubst %,$(B)/tests/storefault/%.o,vfs states scenario)
STOREFAULT_WRAP = -Wl,--wrap=posix_fallocate,--wrap=clock_mono_ms,--wrap=sqlite3_wal_hook

$(STOREFAULT_BIN): $(B)/tests/storefault/%: $(B)/tests/storefault/%.o $(STOREFAULT_OBJ) $(B)/libdaemon.a
	$(Q)$(CC) $(ALL_LDFLAGS) $(STOREFAULT_WRAP) -o $@ $^ $(LIBS) $(shell $(PKG_CONFIG) --libs check 2>/dev/null)

STOREFAULT_RUN := $(STOREFAULT_NAMES:%=run-%)
.PHONY: check-storefault $(STOREFAULT_RUN)
check-storefault: deps-check $(STOREFAULT_RUN)
$(STOREFAULT_RUN): run-%: $(B)/tests/storefault/%
	@STATES=$(STATES) FLIPS=$(FLIPS) $<
-include $(STOREFAULT_OBJ:.o=.d) $(STOREFAULT_BIN:=.d)
