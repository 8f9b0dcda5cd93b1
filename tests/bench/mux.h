#pragma once

#include <stdint.h>

/* What relay-mux puts in front of each NestJS frame on the one connection to its backend, both
 * ways: whose frame it is and how long. */
struct mux_head {
    uint64_t id;
    uint32_t len;
    uint32_t zero;
};
