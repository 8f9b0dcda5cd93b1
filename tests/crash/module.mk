# The crash loop. `make check-crash KILLS=200`; once more: tests/crash/run.py --kills 200 --seed N
# The named points are passed by a daemon of its own: tests/crash/fault.o goes before the archive that has an empty one.
KILLS ?= 2000
CRASH_OBJ := $(B)/tests/crash/fault.o
$(B)/tests/crash/bellhopd: $(B)/daemon/app/main.o $(CRASH_OBJ) $(B)/libdaemon.a
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)
check-crash: $(B)/bellhopd $(B)/tests/crash/bellhopd
	@tests/crash/run.py --daemon $(B)/bellhopd --points $(B)/tests/crash/bellhopd --kills $(KILLS)
# `make check-backlog MESSAGES=100000`
MESSAGES ?= 10000000
check-backlog: $(B)/bellhopd
	@tests/crash/backlog.py --daemon $(B)/bellhopd --messages $(MESSAGES)
.PHONY: check-crash check-backlog
-include $(CRASH_OBJ:.o=.d)
