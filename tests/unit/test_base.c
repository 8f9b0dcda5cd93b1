/* daemon/base: text, units, buffers, heap, maps, log. */
#include <check.h>
#include <fcntl.h>
#include <jansson.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/heap.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/rand.h"

START_TEST(durations)
{
    static const struct {
        const char *text;
        int64_t ms; /* -1 = refused */
    } rows[] = {{"250ms", 250}, {"5s", 5000},  {"1h30m", 5400000}, {"7d", 604800000}, {"0s", 0},
                {"5", -1},      {"", -1},      {"-5s", -1},        {"30m1h", -1},     {"1s1s", -1},
                {"1.5s", -1},   {"05s", -1},   {"5 s", -1},        {"99999999999d", -1}, {"5S", -1}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int64_t ms = -1;
        char text[32];
        bool legal = str_parse_duration(str_of(rows[i].text), &ms);
        ck_assert_msg(legal == (rows[i].ms >= 0), "%s", rows[i].text);
        if (!legal)
            continue;
        ck_assert_int_eq(ms, rows[i].ms);
        ck_assert_str_eq(str_format_duration(ms, text), rows[i].text);
    }
}
END_TEST

START_TEST(sizes)
{
    uint64_t bytes;
    char text[32];
    ck_assert(str_parse_size(STR("64KiB"), &bytes) && bytes == 65536);
    ck_assert(str_parse_size(STR("512B"), &bytes) && bytes == 512);
    ck_assert(!str_parse_size(STR("1MB"), &bytes) && !str_parse_size(STR("1"), &bytes));
    ck_assert(!str_parse_size(STR("1GiB1KiB"), &bytes) && !str_parse_size(STR("99999999999GiB"), &bytes));
    ck_assert_str_eq(str_format_size(65536, text), "64KiB");
    ck_assert_str_eq(str_format_size(65537, text), "65537B");
}
END_TEST

START_TEST(utf8)
{
    static const struct {
        const char *bytes;
        bool good;
    } rows[] = {{"plain", true},          {"z\xc5\xbc", true},      {"\xf0\x9f\x90\xa2", true},
                {"\xc0\xaf", false},      {"\xed\xa0\x80", false},  {"\xf4\x90\x80\x80", false},
                {"\xe2\x82", false},      {"\x80", false},          {"\xf8\x88\x80\x80\x80", false},
                {"12345678\xff", false}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        ck_assert_msg(str_utf8(str_of(rows[i].bytes)) == rows[i].good, "row %zu", i);
    ck_assert(!str_printable(STR("a\tb")) && !str_printable(STR("a\x7f")) && str_printable(STR("a b")));
    ck_assert_uint_eq(str_distance(STR("timeout"), STR("timout"), 3), 1);
    ck_assert_uint_eq(str_distance(STR("abc"), STR("xyzuvw"), 3), 4);
}
END_TEST

START_TEST(buffers)
{
    struct buf b = BUF_EMPTY;
    char hex[16];
    for (int i = 0; i < 10000; i++) {
        buf_u64(&b, (uint64_t)i);
        if (i % 3 == 0 && b.len > 10)
            buf_consume(&b, 7);
    }
    ck_assert_mem_eq(buf_data(&b) + b.len - 4, "9999", 4);
    buf_clear(&b);
    buf_printf(&b, "%s-%d", "a", 5);
    char *text = buf_steal(&b);
    ck_assert_str_eq(text, "a-5");
    ck_assert_ptr_null(b.base);
    mem_free(text);
    bytes_hex64(hex, UINT64_C(0x0123456789abcdef));
    ck_assert_mem_eq(hex, "0123456789abcdef", 16);
    ck_assert(bytes_u64(hex, 0) == hex + 1 && hex[0] == '0');
}
END_TEST

START_TEST(heap_against_oracle)
{
    enum { NODES = 200 };
    struct heap h = {0};
    struct heap_node nodes[NODES] = {0};
    struct rand r;
    rand_seed(&r, 7);
    for (int round = 0; round < 100000; round++) {
        struct heap_node *n = &nodes[rand_below(&r, NODES)];
        if (heap_linked(n))
            heap_remove(&h, n);
        else
            heap_push(&h, n, (int64_t)rand_below(&r, 1000));
        int64_t least = INT64_MAX;
        size_t linked = 0;
        for (int i = 0; i < NODES && round % 100 == 0; i++) {
            linked += heap_linked(&nodes[i]);
            if (heap_linked(&nodes[i]) && nodes[i].key < least)
                least = nodes[i].key;
        }
        if (round % 100 == 0 && linked > 0)
            ck_assert_int_eq(heap_min(&h)->key, least);
    }
    heap_fini(&h);
}
END_TEST

START_TEST(maps_against_oracle)
{
    enum { IDS = 600 };
    struct idmap ids = {0};
    struct map names = {0};
    static char values[IDS];
    bool there[IDS] = {false};
    struct rand r;
    rand_seed(&r, 11);
    for (int round = 0; round < 300000; round++) {
        size_t i = rand_below(&r, IDS);
        char key[16];
        struct str name = str_make(key, (size_t)snprintf(key, sizeof(key), "k%zu", i));
        ck_assert_ptr_eq(idmap_get(&ids, i * 64), there[i] ? &values[i] : NULL);
        ck_assert_ptr_eq(map_get(&names, name), there[i] ? &values[i] : NULL);
        if (there[i]) {
            ck_assert_ptr_eq(idmap_remove(&ids, i * 64), &values[i]);
            ck_assert_ptr_eq(map_remove(&names, name), &values[i]);
        } else {
            ck_assert(idmap_add(&ids, i * 64, &values[i]));
            ck_assert_ptr_null(map_set(&names, name, &values[i]));
        }
        there[i] = !there[i];
    }
    ck_assert_uint_eq(ids.count, names.count);
    idmap_fini(&ids);
    map_fini(&names);
}
END_TEST

/* What a log of one line holds, and of many. */
static size_t read_log(const char *path, char *out, size_t size)
{
    int fd = open(path, O_RDONLY);
    ssize_t n = read(fd, out, size - 1);
    ck_assert(n >= 0);
    out[n] = '\0';
    close(fd);
    return (size_t)n;
}

START_TEST(log_lines_are_json)
{
    char path[] = "/tmp/bellhop-log-XXXXXX", text[65536], big[9000];
    close(mkstemp(path));
    struct log *l = log_new(LOG_INFO, LOG_JSON, path);
    memset(big, '"', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    log_write(l, LOG_INFO, "odd", "value", "\"\\\n\x01\xff", "absent", NULL, "last", "z", NULL);
    log_write(l, LOG_DEBUG, "too_fine", NULL);
    log_write(l, LOG_INFO, "big", "value", big, NULL);
    read_log(path, text, sizeof(text));
    size_t lines = 0;
    for (char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1, lines++) {
        json_error_t e;
        ck_assert_int_le(end + 1 - line, LOG_LINE_MAX);
        json_t *j = json_loadb(line, (size_t)(end - line), 0, &e);
        ck_assert_msg(j != NULL, "%s in %.80s", e.text, line);
        json_decref(j);
    }
    ck_assert_uint_eq(lines, 2);
    log_free(l);
    unlink(path);
}
END_TEST

START_TEST(log_floods_are_cut)
{
    char path[] = "/tmp/bellhop-log-XXXXXX", text[65536];
    size_t lines = 0;
    close(mkstemp(path));
    struct log *l = log_new(LOG_INFO, LOG_TEXT, path);
    for (int i = 0; i < 10 * LOG_BURST; i++)
        log_write(l, LOG_WARN, "flood", "n", LOG_NUM(i), NULL);
    read_log(path, text, sizeof(text));
    for (char *p = text; (p = strchr(p, '\n')) != NULL; p++)
        lines++;
    ck_assert_uint_ge(lines, LOG_BURST);
    ck_assert_uint_le(lines, 2 * LOG_BURST + 1); /* a second may have passed */
    log_free(l);
    unlink(path);
}
END_TEST

START_TEST(log_never_blocks)
{
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", ends[1]);
    struct log *l = log_new(LOG_INFO, LOG_TEXT, path);
    for (int i = 0; i < 5000; i++) { /* far more than a pipe holds; nobody reads */
        char kind[16];
        snprintf(kind, sizeof(kind), "k%d", i);
        log_write(l, LOG_INFO, kind, "text", "some text that fills the pipe in the end", NULL);
    }
    ck_assert_uint_gt(log_dropped(l), 0);
    log_free(l);
    close(ends[0]);
    close(ends[1]);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {durations, sizes, utf8, buffers, heap_against_oracle,
                                         maps_against_oracle, log_lines_are_json, log_floods_are_cut,
                                         log_never_blocks};
    Suite *s = suite_create("base");
    TCase *c = tcase_create("base");
    tcase_set_timeout(c, 60);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(c, tests[i]);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed > 0;
}
