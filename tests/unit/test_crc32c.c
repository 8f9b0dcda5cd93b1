/* CRC-32C: the vectors of RFC 3720 B.4, and both ways of computing it against each other. */
#include "base/crc32c.h"
#include "base/rand.h"
#include "rig.h"

START_TEST(crc32c_of_rfc_3720)
{
    uint8_t bytes[4][32];
    const uint32_t expected[4] = {0x8a9136aa, 0x62a8ab43, 0x46dd794e, 0x113fdb5c};
    for (uint8_t i = 0; i < 32; i++) {
        bytes[0][i] = 0;
        bytes[1][i] = 0xff;
        bytes[2][i] = i;
        bytes[3][i] = (uint8_t)(31 - i);
    }
    for (size_t i = 0; i < 4; i++) {
        ck_assert_uint_eq(crc32c(0, bytes[i], 32), expected[i]);
        ck_assert_uint_eq(crc32c_plain(0, bytes[i], 32), expected[i]);
    }
    ck_assert_uint_eq(crc32c(0, "123456789", 9), 0xe3069283);
    ck_assert_uint_eq(crc32c(0, NULL, 0), 0);
}
END_TEST

START_TEST(crc32c_both_ways_and_in_pieces)
{
    struct rand r;
    uint8_t bytes[600];
    rand_seed(&r, 1);
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)rand_u64(&r);
    for (size_t i = 0; i < 500; i++) {
        size_t from = rand_below(&r, 16), n = rand_below(&r, sizeof(bytes) - from + 1);
        size_t cut = rand_below(&r, n + 1);
        uint32_t whole = crc32c(0, bytes + from, n);
        ck_assert_uint_eq(whole, crc32c_plain(0, bytes + from, n));
        ck_assert_uint_eq(whole, crc32c(crc32c(0, bytes + from, cut), bytes + from + cut, n - cut));
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("base/crc32c");
    TCase *t = tcase_create("crc32c");
    tcase_add_test(t, crc32c_of_rfc_3720);
    tcase_add_test(t, crc32c_both_ways_and_in_pieces);
    suite_add_tcase(s, t);
    return run_suite(s);
}
