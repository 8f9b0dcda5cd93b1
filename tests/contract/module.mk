# The contract suite, and a daemon that has the fake transport beside the real ones.
FAKE_OBJ = $(patsubst %.c,$(B)/%.o,$(sort $(wildcard tests/contract/fake/*.c)))
$(FAKE_OBJ): CPPFLAGS += -Itests/contract

$(B)/bellhopd-fake: $(B)/daemon/app/main.o $(FAKE_OBJ) $(B)/libdaemon.a
	$(if $(V),,@echo "  LINK    $@")
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)

.PHONY: check-contract
check-contract: all $(B)/bellhopd-fake
	BELLHOPD=$(abspath $(B)/bellhopd) tests/contract/run.py
	BELLHOPD=$(abspath $(B)/bellhopd) tests/contract/matrix.py

-include $(FAKE_OBJ:.o=.d)
