# Packages, the checks of code and documents, and what is shipped. Needs B and SAN from the Makefile that includes it.
.PHONY: deps deps-check deps-bench deps-long check-static check-packaging check-container run
deps:
	@scripts/deps build
deps-check deps-bench deps-long: deps-%:
	@scripts/deps $*

run: all
	@scripts/run-quickstart

# The order of the checks is that of their cost. Sanitizers add globals of their own: the plain objects are looked at.
check-static: deps-check $(if $(SAN),,$(B)/libdaemon.a)
	@scripts/check-layers
	@scripts/check-sizes
	$(if $(SAN),,@scripts/check-banned $(B)/libdaemon.a)
	@scripts/check-docs
	@scripts/check-tidy $(TIDY)

check-packaging: deps-check all
	@tests/packaging/test_systemd.sh
	@tests/packaging/test_transcript.py
	@tests/packaging/test_quickstart.py

check-container: deps-long
	@tests/packaging/test_container.sh
