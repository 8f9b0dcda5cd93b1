#pragma once
/* W3C Trace Context, level 1: https://www.w3.org/TR/trace-context/ */
#include <stdbool.h>

#include "base/rand.h"
#include "base/str.h"

#define TRACEPARENT_LENGTH 55

/* "00-<32 hex>-<16 hex>-<2 hex>", lower case, neither id all zeros. Higher versions are accepted
 * when they begin like that; "ff" is not. */
bool traceparent_valid(struct str value);

/* A new root: TRACEPARENT_LENGTH bytes, no NUL. */
void traceparent_make(char out[static TRACEPARENT_LENGTH], struct rand *r, bool sampled);
