#pragma once
/* CRC-32C (Castagnoli; RFC 3720 appendix B.4): finds every flipped bit and every burst up to 32 bits. */
#include <stddef.h>
#include <stdint.h>

/* Continues `crc` (0 at the start) over n bytes: crc32c(crc32c(0, a), b) is that of a and b together. */
uint32_t crc32c(uint32_t crc, const void *p, size_t n);

/* The same without the instruction that some processors have for it; what the test compares with. */
uint32_t crc32c_plain(uint32_t crc, const void *p, size_t n);
