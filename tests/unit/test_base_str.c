/* Pieces of text, the units that users write, and what counts as text. */
#include "base/mem.h"
#include "base/rand.h"
#include "base/str.h"
#include "rig.h"

START_TEST(pieces_are_compared_by_their_bytes)
{
    ck_assert(str_eq(STR("a"), STR("a")) && !str_eq(STR("a"), STR("ab")) && !str_eq(STR("a"), STR("b")));
    ck_assert(str_eq(STR_NONE, STR("")) && str_is(STR("x"), "x") && !str_is(STR("x"), "xy"));
    ck_assert(str_eq(STR("a\0b"), STR("a\0b")) && !str_eq(STR("a\0b"), STR("a\0c")));
    ck_assert(str_starts(STR("abc"), STR("ab")) && str_starts(STR("abc"), STR("")) && str_starts(STR("ab"), STR("ab")));
    ck_assert(!str_starts(STR("ab"), STR("abc")) && !str_starts(STR("abc"), STR("b")));
    ck_assert(str_ends(STR("abc"), STR("bc")) && str_ends(STR("abc"), STR("")) && str_ends(STR("bc"), STR("bc")));
    ck_assert(!str_ends(STR("bc"), STR("abc")) && !str_ends(STR("abc"), STR("b")));
    ck_assert_int_eq(str_cmp(STR("a"), STR("a")), 0);
    ck_assert_int_eq(str_cmp(STR_NONE, STR("")), 0);
    ck_assert_int_lt(str_cmp(STR("a"), STR("ab")), 0);
    ck_assert_int_gt(str_cmp(STR("b"), STR("ab")), 0);
    ck_assert_int_gt(str_cmp(STR("\xff"), STR("a")), 0); /* bytes, not signed characters */
    ck_assert_ptr_null(str_of(NULL).p);
    ck_assert_uint_eq(str_of(NULL).n, 0);
}
END_TEST

START_TEST(trim_takes_blanks_and_tabs)
{
    static const char *const table[][2] = {
        {"", ""}, {" ", ""}, {" \t \t", ""}, {"a", "a"}, {"  a b\t", "a b"}, {"\na ", "\na"},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        ck_assert_msg(str_is(str_trim(str_of(table[i][0])), table[i][1]), "\"%s\"", table[i][0]);
}
END_TEST

START_TEST(cut_tells_an_empty_rest_from_none)
{
    struct str s = STR("a::b:");
    ck_assert(str_is(str_cut(&s, ':'), "a") && str_is(s, ":b:"));
    ck_assert(str_is(str_cut(&s, ':'), "") && str_is(s, "b:"));
    ck_assert(str_is(str_cut(&s, ':'), "b"));
    ck_assert(s.p != NULL && s.n == 0); /* a separator stood there, nothing behind it */
    ck_assert(str_is(str_cut(&s, ':'), ""));
    ck_assert_ptr_null(s.p);
    ck_assert(str_cut(&s, ':').n == 0 && s.p == NULL);
    char *copy = str_dup(str_make("a\0b", 3));
    ck_assert_mem_eq(copy, "a\0b", 4);
    mem_free(copy);
    copy = str_dup(STR_NONE);
    ck_assert_str_eq(copy, "");
    mem_free(copy);
}
END_TEST

START_TEST(numbers)
{
    static const struct {
        const char *text;
        bool good;
        uint64_t value;
    } table[] = {
        {"0", true, 0}, {"7", true, 7}, {"18446744073709551615", true, UINT64_MAX},
        {"18446744073709551616", false, 0}, {"99999999999999999999", false, 0},
        {"184467440737095516150", false, 0}, {"", false, 0}, {"00", false, 0}, {"01", false, 0},
        {"-1", false, 0}, {"+1", false, 0}, {" 1", false, 0}, {"1 ", false, 0}, {"1a", false, 0},
        {"0x1", false, 0}, {"1.0", false, 0}, {"\xd9\xa1", false, 0},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        uint64_t value = 42;
        ck_assert_msg(str_parse_u64(str_of(table[i].text), &value) == table[i].good, "\"%s\"", table[i].text);
        ck_assert_uint_eq(value, table[i].good ? table[i].value : 42); /* untouched when refused */
    }
}
END_TEST

START_TEST(durations)
{
    static const struct {
        const char *text;
        int64_t ms; /* -1 = refused */
    } table[] = {
        {"0s", 0}, {"250ms", 250}, {"5s", 5000}, {"2m", 120000}, {"1h30m", 5400000}, {"7d", 604800000},
        {"1d2h3m4s5ms", 93784005}, {"90m", 5400000}, {"3660d", INT64_C(316224000000)},
        {"3660d1ms", -1}, {"3661d", -1}, {"3660d0ms", INT64_C(316224000000)}, {"87840h", INT64_C(316224000000)},
        {"", -1}, {"5", -1}, {"s", -1}, {"-5s", -1}, {"+5s", -1}, {"5 s", -1}, {" 5s", -1}, {"5s ", -1},
        {"1.5s", -1}, {"5S", -1}, {"5sec", -1}, {"30m1h", -1}, {"1s1s", -1}, {"1h30", -1}, {"05s", -1},
        {"5ms1s", -1}, {"1w", -1}, {"1us", -1}, {"18446744073709551615d", -1}, {"213503982335d", -1},
        {"18446744073709551616ms", -1}, {"1m\0", 60000},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        int64_t ms = 42;
        bool good = str_parse_duration(str_of(table[i].text), &ms);
        ck_assert_msg(good == (table[i].ms >= 0), "\"%s\"", table[i].text);
        ck_assert_int_eq(ms, good ? table[i].ms : 42);
    }
}
END_TEST

START_TEST(rates)
{
    static const struct {
        const char *text;
        int64_t us; /* -1 = refused */
    } table[] = {
        {"1/s", 1000000}, {"50/s", 20000}, {"1000000/s", 1}, {"30/m", 2000000}, {"100/h", 36000000},
        {"", -1}, {"5", -1}, {"/s", -1}, {"0/s", -1}, {"1000001/s", -1}, {"5/", -1}, {"5/d", -1}, {"5/sec", -1},
        {"-5/s", -1}, {"05/s", -1}, {"5 /s", -1}, {"5/s ", -1}, {"5/s/s", -1},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        int64_t us = 42;
        bool good = str_parse_rate(str_of(table[i].text), &us);
        ck_assert_msg(good == (table[i].us >= 0), "\"%s\"", table[i].text);
        ck_assert_int_eq(us, good ? table[i].us : 42);
    }
}
END_TEST

START_TEST(sizes)
{
    static const struct {
        const char *text;
        bool good;
        uint64_t bytes;
    } table[] = {
        {"0B", true, 0}, {"512B", true, 512}, {"64KiB", true, 65536}, {"4MiB", true, 4194304},
        {"1GiB", true, 1 << 30}, {"1073741824GiB", true, UINT64_C(1) << 60},
        {"1073741825GiB", false, 0}, {"1152921504606846976B", true, UINT64_C(1) << 60},
        {"1152921504606846977B", false, 0}, {"17179869184GiB", false, 0}, {"18446744073709551616B", false, 0},
        {"", false, 0}, {"1", false, 0}, {"B", false, 0}, {"1KB", false, 0}, {"1kib", false, 0},
        {"1 KiB", false, 0}, {"1KiB1B", false, 0}, {"-1B", false, 0}, {"01B", false, 0}, {"1.5MiB", false, 0},
        {"1TiB", false, 0},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        uint64_t bytes = 42;
        ck_assert_msg(str_parse_size(str_of(table[i].text), &bytes) == table[i].good, "\"%s\"", table[i].text);
        ck_assert_uint_eq(bytes, table[i].good ? table[i].bytes : 42);
    }
}
END_TEST

START_TEST(units_are_written_in_their_shortest_exact_form)
{
    static const struct {
        int64_t ms;
        const char *text;
    } spans[] = {
        {0, "0s"}, {1, "1ms"}, {1000, "1s"}, {1500, "1500ms"}, {9999, "9999ms"}, {10500, "10s500ms"},
        {60000, "1m"}, {5400000, "1h30m"}, {86400000, "1d"}, {-5, "0s"},
        {INT64_MAX, "106751991167d7h12m55s807ms"}, /* the longest there is */
    };
    static const struct {
        uint64_t bytes;
        const char *text;
    } amounts[] = {
        {0, "0B"}, {100, "100B"}, {1024, "1KiB"}, {1025, "1025B"}, {1536, "1536B"}, {1 << 20, "1MiB"},
        {3 << 29, "1536MiB"}, {UINT64_C(1) << 40, "1024GiB"}, {UINT64_MAX, "18446744073709551615B"},
    };
    char out[32];
    for (size_t i = 0; i < sizeof(spans) / sizeof(spans[0]); i++)
        ck_assert_str_eq(str_format_duration(spans[i].ms, out), spans[i].text);
    for (size_t i = 0; i < sizeof(amounts) / sizeof(amounts[0]); i++)
        ck_assert_str_eq(str_format_size(amounts[i].bytes, out), amounts[i].text);
}
END_TEST

START_TEST(units_round_trip)
{
    struct rand r;
    char out[32];
    rand_seed(&r, 1);
    for (int i = 0; i < 100000; i++) {
        int64_t ms, most = INT64_C(316224000000) >> rand_below(&r, 38);
        int64_t wanted = (int64_t)rand_below(&r, (uint64_t)most + 1);
        if (!str_parse_duration(str_of(str_format_duration(wanted, out)), &ms) || ms != wanted)
            ck_abort_msg("%lld ms: %s", (long long)wanted, out);
        uint64_t bytes, size = rand_below(&r, (UINT64_C(1) << 60) + 1) >> rand_below(&r, 60) << rand_below(&r, 10);
        size = size <= UINT64_C(1) << 60 ? size : UINT64_C(1) << 60;
        if (!str_parse_size(str_of(str_format_size(size, out)), &bytes) || bytes != size)
            ck_abort_msg("%llu bytes: %s", (unsigned long long)size, out);
    }
}
END_TEST

static const struct {
    struct str text;
    bool good;
} utf8[] = {
    {{"", 0}, true}, {{"plain", 5}, true}, {{"\x00", 1}, true}, {{"\x7f", 1}, true},
    {{"\xc2\x80", 2}, true}, {{"\xdf\xbf", 2}, true},                 /* U+0080, U+07FF */
    {{"\xe0\xa0\x80", 3}, true}, {{"\xef\xbf\xbf", 3}, true},         /* U+0800, U+FFFF */
    {{"\xed\x9f\xbf", 3}, true}, {{"\xee\x80\x80", 3}, true},         /* around the surrogates */
    {{"\xf0\x90\x80\x80", 4}, true}, {{"\xf4\x8f\xbf\xbf", 4}, true}, /* U+10000, U+10FFFF */
    {{"\x80", 1}, false}, {{"\xbf", 1}, false},                       /* a tail alone */
    {{"\xc0\x80", 2}, false}, {{"\xc1\xbf", 2}, false},               /* overlong in two */
    {{"\xe0\x80\x80", 3}, false}, {{"\xe0\x9f\xbf", 3}, false},       /* in three */
    {{"\xf0\x80\x80\x80", 4}, false}, {{"\xf0\x8f\xbf\xbf", 4}, false}, /* in four */
    {{"\xed\xa0\x80", 3}, false}, {{"\xed\xaf\xbf", 3}, false},       /* high surrogates */
    {{"\xed\xb0\x80", 3}, false}, {{"\xed\xbf\xbf", 3}, false},       /* low surrogates */
    {{"\xed\xa0\xbd\xed\xb8\x80", 6}, false},                         /* a pair of them (CESU-8) */
    {{"\xf4\x90\x80\x80", 4}, false}, {{"\xf5\x80\x80\x80", 4}, false}, /* above U+10FFFF */
    {{"\xf8\x88\x80\x80\x80", 5}, false}, {{"\xfb\xbf\xbf\xbf\xbf", 5}, false},
    {{"\xfc\x84\x80\x80\x80\x80", 6}, false}, {{"\xfe", 1}, false}, {{"\xff", 1}, false},
    {{"\xc2", 1}, false}, {{"\xe2\x82", 2}, false}, {{"\xf0\x9f\x98", 3}, false}, /* cut */
    {{"\xc2\x41", 2}, false}, {{"\xe2\x28\xa1", 3}, false}, {{"\xe2\x82\x28", 3}, false},
    {{"\xf0\x28\x8c\xbc", 4}, false}, {{"\xf0\x90\x28\xbc", 4}, false}, {{"\xf0\x90\x8c\x28", 4}, false},
    {{"\xc2\xc2\x80", 3}, false},
};

/* Each at every offset, so that the eight bytes that are looked at together hold it everywhere. */
START_TEST(utf8_is_strict_at_every_offset)
{
    for (size_t i = 0; i < sizeof(utf8) / sizeof(utf8[0]); i++) {
        for (size_t before = 0; before < 18; before++) {
            char text[64];
            memset(text, 'a', sizeof(text));
            memcpy(text + before, utf8[i].text.p, utf8[i].text.n);
            size_t end = before + utf8[i].text.n;
            ck_assert_msg(str_utf8(str_make(text, end)) == utf8[i].good, "%zu at %zu", i, before);
            ck_assert_msg(str_utf8(str_make(text, end + 17)) == utf8[i].good, "%zu within, at %zu", i, before);
        }
    }
}
END_TEST

/* Every sequence of one to three bytes (and those of four by their first three) against RFC 3629. */
static bool utf8_by_rule(uint32_t bytes, unsigned n)
{
    unsigned char p[3] = {(unsigned char)(bytes >> 16), (unsigned char)(bytes >> 8), (unsigned char)bytes};
    uint32_t point;
    if (n == 2)
        point = (p[0] & 0x1Fu) << 6 | (p[1] & 0x3Fu);
    else
        point = (p[0] & 0x0Fu) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu);
    bool tails = (p[1] & 0xC0) == 0x80 && (n == 2 || (p[2] & 0xC0) == 0x80);
    bool lead = n == 2 ? (p[0] & 0xE0) == 0xC0 : (p[0] & 0xF0) == 0xE0;
    return lead && tails && point >= (n == 2 ? 0x80 : 0x800) && !(point >= 0xD800 && point <= 0xDFFF);
}

START_TEST(utf8_of_two_and_three_bytes_is_what_the_rule_says)
{
    for (uint32_t bytes = 0x800000; bytes <= 0xFFFFFF; bytes += 1 + (bytes % 3)) {
        char p[3] = {(char)(bytes >> 16), (char)(bytes >> 8), (char)bytes};
        bool pair = utf8_by_rule(bytes, 2);
        bool good = utf8_by_rule(bytes, 3) || (pair && ((unsigned char)p[2] < 0x80));
        if (str_utf8(str_make(p, 3)) != good || str_utf8(str_make(p, 2)) != pair)
            ck_abort_msg("%06x", bytes);
    }
}
END_TEST

START_TEST(printable_has_no_control_characters)
{
    for (int c = 0; c < 128; c++) {
        char text[12] = "0123456789a";
        text[c % 11] = (char)c;
        ck_assert_msg(str_printable(str_make(text, 11)) == (c >= 0x20 && c != 0x7F), "%02x", c);
    }
    ck_assert(str_printable(STR("")) && str_printable(STR("\xc2\x80\xe2\x82\xac \xf0\x9f\x98\x80")));
    ck_assert(!str_printable(STR("\xe2\x82\xac\n")) && !str_printable(STR("abc\xc3")));
}
END_TEST

/* Of any length, each byte is looked at and none beside them; and so it is where two texts are told apart. */
START_TEST(each_byte_of_a_short_text_counts)
{
    for (size_t n = 1; n <= 20; n++) {
        char text[24], other[24];
        memset(text, '\n', sizeof(text));
        memset(text + 1, 'x', n);
        ck_assert_msg(str_printable(str_make(text + 1, n)), "%zu", n);
        for (size_t i = 1; i <= n; i++) {
            memset(other, '?', sizeof(other));
            memcpy(other + 1, text + 1, n);
            ck_assert_uint_eq(str_spread(str_make(other + 1, n)), str_spread(str_make(text + 1, n)));
            other[i] = '\t';
            ck_assert_msg(!str_printable(str_make(other + 1, n)), "%zu of %zu", i, n);
            ck_assert_msg(str_spread(str_make(other + 1, n)) != str_spread(str_make(text + 1, n)), "%zu of %zu", i, n);
        }
    }
}
END_TEST

static unsigned distance(const char *a, const char *b, unsigned max)
{
    unsigned one = str_distance(str_of(a), str_of(b), max), other = str_distance(str_of(b), str_of(a), max);
    ck_assert_uint_eq(one, other);
    return one;
}

START_TEST(distance_counts_edits)
{
    ck_assert_uint_eq(distance("", "", 9), 0);
    ck_assert_uint_eq(distance("", "abc", 9), 3);
    ck_assert_uint_eq(distance("kitten", "sitting", 9), 3);
    ck_assert_uint_eq(distance("timeout", "tiemout", 9), 2); /* a swap is two edits */
    ck_assert_uint_eq(distance("flaw", "lawn", 9), 2);
    ck_assert_uint_eq(distance("kitten", "sitting", 2), 3); /* max + 1 */
    ck_assert_uint_eq(distance("kitten", "sitting", 0), 1);
    ck_assert_uint_eq(distance("kitten", "kitten", 0), 0);
    char a[101] = {0}, b[101] = {0};
    memset(a, 'a', 100);
    memset(b, 'a', 100);
    b[64] = 'b'; /* beyond what is compared */
    ck_assert_uint_eq(distance(a, b, 9), 0);
    b[63] = 'b';
    ck_assert_uint_eq(distance(a, b, 9), 1);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("base/str");
    TCase *t = tcase_create("str");
    const TTest *const tests[] = {
        pieces_are_compared_by_their_bytes, trim_takes_blanks_and_tabs, cut_tells_an_empty_rest_from_none,
        numbers, durations, rates, sizes, units_are_written_in_their_shortest_exact_form, units_round_trip,
        utf8_is_strict_at_every_offset, utf8_of_two_and_three_bytes_is_what_the_rule_says,
        printable_has_no_control_characters, each_byte_of_a_short_text_counts, distance_counts_edits,
    };
    tcase_set_timeout(t, 60);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(t, tests[i]);
    suite_add_tcase(s, t);
    return run_suite(s);
}
