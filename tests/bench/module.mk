# The bench: yardsticks, load generators and the table. Needs B, CC, CFLAGS (and LDFLAGS) from the
# Makefile that includes it. `make bench` runs the table, `make bench-tools` only builds the programs.
B ?= build
BENCH := tests/bench
BENCH_LIB := util conn nest local
BENCH_TOOLS := nestload pubsub durable sync service echo-nest echo-mux relay-pair relay-mux forward sink straight-redis \
               straight-rabbit
BENCH_PROGS := $(BENCH_TOOLS:%=$(B)/bench/%)
BENCH_LIB_OBJS := $(BENCH_LIB:%=$(B)/bench/%.o)

$(B)/bench/%.o: $(BENCH)/%.c
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -D_GNU_SOURCE $(WARN) $(CFLAGS) $(CPPFLAGS) -MMD -MP -c -o $@ $<

$(B)/bench/nestload $(B)/bench/service $(B)/bench/sync $(B)/bench/forward $(B)/bench/sink: $(B)/bench/%: $(B)/bench/%.o $(BENCH_LIB_OBJS)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^
$(B)/bench/pubsub: $(B)/bench/pubsub.o $(B)/bench/dialect.o $(BENCH_LIB_OBJS)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^
$(B)/bench/durable: $(B)/bench/durable.o $(B)/bench/queue.o $(B)/bench/dialect.o $(BENCH_LIB_OBJS)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^
$(B)/bench/straight-redis: $(B)/bench/straight_redis.o $(BENCH_LIB_OBJS)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(shell $(PKG_CONFIG) --libs hiredis)
$(B)/bench/straight-rabbit: $(B)/bench/straight_rabbit.o $(BENCH_LIB_OBJS)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(shell $(PKG_CONFIG) --libs librabbitmq)
$(B)/bench/echo-nest: $(B)/bench/echo_nest.o $(BENCH_LIB_OBJS)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^
$(B)/bench/echo-mux: $(B)/bench/echo_mux.o $(BENCH_LIB_OBJS)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^
$(B)/bench/relay-pair: $(B)/bench/relay_pair.o $(BENCH_LIB_OBJS)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^
$(B)/bench/relay-mux: $(B)/bench/relay_mux.o $(BENCH_LIB_OBJS)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^

-include $(wildcard $(B)/bench/*.d)

BENCH_ROUNDS ?= 5
BENCH_ROWS ?=
.PHONY: bench bench-tools
bench-tools: $(BENCH_PROGS)
bench: $(BENCH_PROGS) $(B)/bellhopd
	@scripts/deps bench || echo "make bench: goes on without the yardsticks that are missing"
	$(BENCH)/run.py --build $(B) --rounds $(BENCH_ROUNDS) $(if $(BENCH_ROWS),--rows $(BENCH_ROWS))
