# The simulator. `make check-sim SEEDS=10000`; one seed again: build/tests/sim/sim --seed N --verbose
SEEDS ?= 100000
SIM_OBJ := $(patsubst %,$(B)/tests/sim/%.o,sim world chance sinks routes clock)
$(B)/tests/sim/sim: $(SIM_OBJ) $(B)/libdaemon.a
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)
check-sim: $(B)/tests/sim/sim
	@$< --seeds $(SEEDS)
.PHONY: check-sim
-include $(SIM_OBJ:.o=.d)
