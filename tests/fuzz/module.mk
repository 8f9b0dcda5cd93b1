# Fuzzing. `make check-fuzz` replays every corpus with the build's own compiler; `make fuzz` runs each target
# for FUZZ_SECONDS under libFuzzer with address and undefined-behaviour sanitizers (FUZZ=json for one of them).
# Uses of the top Makefile: B, CC, ALL_CFLAGS, PKG_CFLAGS, ALL_LDFLAGS, LIBS, DAEMON_SRC, $(B)/libdaemon.a.
FUZZ_SECONDS = 30
FUZZ_CC = clang-14
FUZZ_ALL := $(sort $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c)))
FUZZ = $(FUZZ_ALL)
FUZZ_SAN = -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined
FUZZ_CFLAGS = -std=gnu11 -D_GNU_SOURCE -DBELLHOP_VERSION='"fuzz"' -Idaemon -Iclients/c -MMD -MP -O1 -g \
              -fno-omit-frame-pointer $(FUZZ_SAN)
FUZZ_OBJ = $(DAEMON_SRC:%.c=$(B)/fuzz/%.o)

.PHONY: check-fuzz
check-fuzz: $(FUZZ_ALL:%=$(B)/tests/fuzz/replay_%)
	@for name in $(FUZZ_ALL); do $(B)/tests/fuzz/replay_$$name tests/fuzz/corpus/$$name || exit 1; done

$(B)/tests/fuzz/replay_%: $(B)/tests/fuzz/fuzz_%.o $(B)/tests/fuzz/replay.o $(B)/libdaemon.a
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)

fuzz: $(FUZZ:%=$(B)/fuzz/fuzz_%)
	FUZZ_SECONDS=$(FUZZ_SECONDS) tests/fuzz/run $(B)/fuzz $(FUZZ)

$(B)/fuzz/%.o: %.c | deps
	@mkdir -p $(@D)
	$(FUZZ_CC) $(FUZZ_CFLAGS) $(PKG_CFLAGS) -c $< -o $@

$(B)/fuzz/libdaemon.a: $(FUZZ_OBJ)
	@rm -f $@
	$(AR) rcs $@ $^

$(B)/fuzz/fuzz_%: $(B)/fuzz/tests/fuzz/fuzz_%.o $(B)/fuzz/libdaemon.a
	$(FUZZ_CC) -fsanitize=fuzzer,address,undefined -o $@ $^ $(LIBS)

# The parser of libbellhop.
$(B)/tests/fuzz/replay_client_frame: $(B)/libbellhop.a
$(B)/fuzz/fuzz_client_frame: $(B)/fuzz/clients/c/frame.o $(B)/fuzz/clients/c/headers.o

.SECONDARY: $(FUZZ_ALL:%=$(B)/tests/fuzz/fuzz_%.o) $(FUZZ_ALL:%=$(B)/fuzz/tests/fuzz/fuzz_%.o)

-include $(FUZZ_ALL:%=$(B)/tests/fuzz/fuzz_%.d) $(B)/tests/fuzz/replay.d
-include $(FUZZ_ALL:%=$(B)/fuzz/tests/fuzz/fuzz_%.d) $(FUZZ_OBJ:.o=.d) $(wildcard $(B)/fuzz/clients/c/*.d)
