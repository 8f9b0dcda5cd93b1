# The model of the acknowledgement order, and its mutants: `make check-model`.
.PHONY: check-model
check-model: deps-check
	@tests/model/run
