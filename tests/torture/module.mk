# Every allocation and every store call of some scenarios failed in turn. `make check-torture` takes a sample of them,
# `make check-torture EVERY=1` all; once more: tests/torture/run.py --scenario NAME --fault "KIND:NUMBER"
# Not with SAN=1: the sanitizers have a malloc of their own.
EVERY ?=
TORTURE_OBJ := $(B)/tests/torture/fail.o
$(B)/tests/torture/bellhopd: $(B)/daemon/app/main.o $(TORTURE_OBJ) $(B)/libdaemon.a
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)
check-torture: $(B)/tests/torture/bellhopd
	@tests/torture/run.py --daemon $< $(if $(EVERY),--every)
.PHONY: check-torture
-include $(TORTURE_OBJ:.o=.d)
