/* What a line of the log looks like whatever it is given, and that it never holds anybody up. */
#include <jansson.h>
#include <signal.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/rand.h"
#include "rig.h"

static char folder[] = "/tmp/test-log-XXXXXX";
static char path[64];
static struct log *logger;
static struct buf text; /* of the file, as read last */

static void set_up(void)
{
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/log", folder);
    logger = log_new(LOG_DEBUG, LOG_JSON, path);
    ck_assert_ptr_nonnull(logger);
}

static void tear_down(void)
{
    char other[80];
    log_free(logger);
    buf_fini(&text);
    snprintf(other, sizeof(other), "%s.1", path);
    unlink(other);
    unlink(path);
    rmdir(folder);
}

static void read_all(const char *name)
{
    FILE *f = fopen(name, "r");
    size_t n;
    ck_assert_ptr_nonnull(f);
    buf_clear(&text);
    do {
        n = fread(buf_reserve(&text, 65536), 1, 65536, f);
        buf_commit(&text, n);
    } while (n > 0);
    fclose(f);
    buf_cstr(&text);
}

/* What has been written since the last call, one line; borrowed until the next one. */
static struct str line(void)
{
    read_all(path);
    ck_assert_int_eq(truncate(path, 0), 0);
    struct str all = buf_str(&text), one = str_cut(&all, '\n');
    ck_assert_msg(all.p != NULL && all.n == 0, "not one line: %s", buf_cstr(&text));
    return one;
}

static json_t *parsed(struct str l)
{
    json_error_t e;
    json_t *object = json_loadb(l.p, l.n, JSON_REJECT_DUPLICATES, &e);
    ck_assert_msg(object != NULL, "%s at %d of …%.*s", e.text, e.position,
                  (int)(l.n < 200 ? l.n : 200), l.p + (l.n < 200 ? 0 : l.n - 200));
    return object;
}

static const char *member(const json_t *object, const char *name)
{
    const char *value = json_string_value(json_object_get(object, name));
    return value != NULL ? value : "(none)";
}

/* A kind of event is limited: tests of many lines draw a new one each. */
static const char *kind(void)
{
    static char name[32];
    static unsigned number;
    snprintf(name, sizeof(name), "kind_%u", number++);
    return name;
}

START_TEST(a_line_is_one_object)
{
    log_write(logger, LOG_WARN, "something_happened", "service", "math", "none", NULL, "reason", "a \"b\"\n", "n",
              LOG_NUM(-7), NULL);
    json_t *o = parsed(line());
    ck_assert_uint_eq(json_object_size(o), 6);
    ck_assert_str_eq(member(o, "level"), "warn");
    ck_assert_str_eq(member(o, "event"), "something_happened");
    ck_assert_str_eq(member(o, "service"), "math");
    ck_assert_str_eq(member(o, "reason"), "a \"b\"\n");
    ck_assert(json_is_integer(json_object_get(o, "n")));
    ck_assert_int_eq(json_integer_value(json_object_get(o, "n")), -7);
    const char *when = member(o, "time");
    ck_assert_uint_eq(strlen(when), 24);
    ck_assert(when[10] == 'T' && when[19] == '.' && when[23] == 'Z');
    json_decref(o);
}
END_TEST

START_TEST(only_numbers_stand_without_quotes)
{
    static const char *const texts[] = {"7", "\x01" "1,\"a\":2", "\x01", "\x01-", "\x01" "1-2"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        log_write(logger, LOG_WARN, kind(), "t", texts[i], NULL);
        json_t *o = parsed(line());
        ck_assert_str_eq(member(o, "t"), texts[i]);
        ck_assert_ptr_null(json_object_get(o, "a"));
        json_decref(o);
    }
    log_write(logger, LOG_WARN, kind(), "least", LOG_NUM(INT64_MIN), "most", LOG_NUM(INT64_MAX), NULL);
    json_t *o = parsed(line());
    ck_assert(json_integer_value(json_object_get(o, "least")) == INT64_MIN);
    ck_assert(json_integer_value(json_object_get(o, "most")) == INT64_MAX);
    json_decref(o);
}
END_TEST

START_TEST(text_quotes_where_it_has_to)
{
    log_set(logger, LOG_INFO, LOG_TEXT);
    log_write(logger, LOG_INFO, "up", "a", "plain", "b", "two words", "c", "", "d", "x=\"y\"\n\x01", NULL);
    struct str l = line();
    ck_assert_msg(str_ends(l, STR("Z info  up a=plain b=\"two words\" c=\"\" d=\"x=\\\"y\\\"\\u000a\\u0001\"")),
                  STR_FMT, STR_ARG(l));
}
END_TEST

START_TEST(levels_are_obeyed)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    for (int set = LOG_ERROR; set <= LOG_DEBUG; set++) {
        log_set(logger, (enum log_level)set, LOG_JSON);
        for (int at = LOG_ERROR; at <= LOG_DEBUG; at++) {
            log_write(logger, (enum log_level)at, kind(), NULL);
            ck_assert(log_on(logger, (enum log_level)at) == (at <= set));
            if (at <= set) {
                json_t *o = parsed(line());
                ck_assert_str_eq(member(o, "level"), names[at]);
                json_decref(o);
            }
            read_all(path);
            ck_assert_uint_eq(text.len, 0);
        }
    }
    log_write(NULL, LOG_ERROR, "nobody_listens", NULL);
}
END_TEST

/* Every byte alone, then random ones: valid JSON, and valid UTF-8 comes back as it was. */
START_TEST(any_bytes_are_escaped)
{
    struct rand r;
    rand_seed(&r, 2);
    for (int i = 1; i < 3000; i++) {
        char value[64] = {(char)i};
        size_t n = i < 256 ? 1 : rand_below(&r, 63);
        for (size_t k = 0; k < n && i >= 256; k++)
            value[k] = (char)(1 + rand_below(&r, i % 2 == 0 ? 127 : 255));
        log_write(logger, LOG_ERROR, kind(), "value", value, NULL);
        struct str l = line();
        for (size_t k = 0; k < l.n; k++)
            if ((unsigned char)l.p[k] < 0x20 || l.p[k] == 0x7F)
                ck_abort_msg("a control character in a line");
        json_t *o = parsed(l);
        if (str_utf8(str_of(value)))
            ck_assert_str_eq(member(o, "value"), value);
        else
            ck_assert_ptr_nonnull(json_object_get(o, "value"));
        json_decref(o);
    }
}
END_TEST

/* Units of text that must not be torn, each long enough to be cut at every place within. */
static const char *const units[] = {
    "a", "\"", "\\", "\x01", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xff", "ab\"\\\x1f\xc3\xa4\xf0\x9f\x98\x80",
};

START_TEST(a_long_line_is_cut_and_stays_an_object)
{
    char value[6000];
    size_t unit = strlen(units[_i]), cut = 0, whole = 0;
    for (size_t length = 500; length < 5000; length += length < 3800 ? 317 : 7) {
        size_t n = 0;
        for (; n + unit <= length; n += unit)
            memcpy(value + n, units[_i], unit);
        value[n] = '\0';
        log_write(logger, LOG_ERROR, kind(), "first", value, "second", "x", NULL);
        struct str l = line();
        ck_assert_uint_lt(l.n, LOG_LINE_MAX); /* one more for the line feed */
        json_t *o = parsed(l);
        if (strcmp(member(o, "cut"), "yes") != 0) {
            ck_assert_str_eq(member(o, "second"), "x");
            whole++;
        } else {
            const char *left = member(o, "first");
            ck_assert_ptr_null(json_object_get(o, "second"));
            ck_assert_uint_ge(l.n, LOG_LINE_MAX - 64); /* no more was cut than had to be */
            ck_assert(units[_i][0] == '\xff' || strncmp(value, left, strlen(left)) == 0);
            cut++;
        }
        json_decref(o);
    }
    ck_assert(cut > 5 && whole > 0);
}
END_TEST

/* The end of what fits falls into each byte of names, quotes and commas. */
START_TEST(a_line_may_be_cut_between_its_members)
{
    char value[LOG_LINE_MAX];
    for (size_t n = LOG_LINE_MAX - 300; n < LOG_LINE_MAX - 60; n++) {
        memset(value, 'v', n);
        value[n] = '\0';
        log_write(logger, LOG_ERROR, kind(), "first", value, "second_name", "short", "third_name", "\x02\x02", NULL);
        struct str l = line();
        ck_assert_uint_lt(l.n, LOG_LINE_MAX);
        json_t *o = parsed(l);
        bool all = strcmp(member(o, "first"), value) == 0 && strcmp(member(o, "second_name"), "short") == 0 &&
                   strcmp(member(o, "third_name"), "\x02\x02") == 0;
        ck_assert(all == (json_object_get(o, "cut") == NULL));
        json_decref(o);
    }
}
END_TEST

START_TEST(text_lines_are_cut_too)
{
    char value[LOG_LINE_MAX * 2] = {0};
    memset(value, ' ', sizeof(value) - 1);
    log_set(logger, LOG_INFO, LOG_TEXT);
    log_write(logger, LOG_INFO, "long", "value", value, "next", "x", NULL);
    struct str l = line();
    ck_assert_uint_lt(l.n, LOG_LINE_MAX);
    ck_assert(str_ends(l, STR("  \" cut=yes")));
}
END_TEST

static size_t lines_of(const char *event)
{
    size_t n = 0;
    char wanted[64];
    snprintf(wanted, sizeof(wanted), "\"event\":\"%s\"", event);
    read_all(path);
    for (const char *at = buf_cstr(&text); (at = strstr(at, wanted)) != NULL; at++)
        n++;
    return n;
}

START_TEST(a_burst_is_limited_by_kind_and_told)
{
    while (clock_mono_ms() % 1000 > 500)
        usleep(10000);
    for (int i = 0; i < LOG_BURST + 17; i++)
        log_write(logger, LOG_INFO, "flood", NULL);
    log_write(logger, LOG_INFO, "other", NULL);
    log_write(logger, LOG_DEBUG, "other", NULL);
    ck_assert_uint_eq(lines_of("flood"), LOG_BURST);
    ck_assert_uint_eq(lines_of("other"), 2);
    ck_assert_uint_eq(lines_of("suppressed"), 0);
    ck_assert_uint_eq(log_dropped(logger), 0); /* that is another matter */
    usleep((useconds_t)(1001 - clock_mono_ms() % 1000) * 1000);
    ck_assert_int_eq(truncate(path, 0), 0);
    log_write(logger, LOG_INFO, "flood", "n", "1", NULL);
    log_write(logger, LOG_INFO, "flood", "n", "2", NULL);
    log_write(logger, LOG_INFO, "other", NULL);
    ck_assert_uint_eq(lines_of("flood"), 2);
    ck_assert_uint_eq(lines_of("other"), 1);
    struct str all = buf_str(&text);
    json_t *o = parsed(str_cut(&all, '\n'));
    ck_assert_str_eq(member(o, "event"), "suppressed");
    ck_assert_str_eq(member(o, "kind"), "flood");
    ck_assert_int_eq(json_integer_value(json_object_get(o, "lines")), 17);
    json_decref(o);
    ck_assert_uint_eq(lines_of("suppressed"), 1);
}
END_TEST

START_TEST(a_full_pipe_never_blocks)
{
    char fifo[80], value[3000] = {0};
    snprintf(fifo, sizeof(fifo), "%s.1", path);
    ck_assert_int_eq(mkfifo(fifo, 0600), 0);
    int reader = open(fifo, O_RDONLY | O_NONBLOCK);
    struct log *l = log_new(LOG_INFO, LOG_JSON, fifo);
    memset(value, 'x', sizeof(value) - 1);
    uint64_t written = 0;
    alarm(10); /* it would hang here */
    for (int i = 0; i < 300; i++) {
        uint64_t before = log_dropped(l);
        log_write(l, LOG_INFO, kind(), "value", value, NULL);
        written += log_dropped(l) == before;
    }
    ck_assert_uint_gt(written, 5);
    ck_assert_uint_eq(written + log_dropped(l), 300);
    ssize_t n;
    while ((n = read(reader, buf_reserve(&text, 65536), 65536)) > 0)
        buf_commit(&text, (size_t)n);
    struct str all = buf_str(&text);
    for (uint64_t i = 0; i < written; i++)
        json_decref(parsed(str_cut(&all, '\n'))); /* whole lines only */
    ck_assert_uint_eq(all.n, 0);
    log_write(l, LOG_INFO, kind(), NULL); /* there is room again */
    ck_assert_uint_eq(written + log_dropped(l), 300);
    signal(SIGPIPE, SIG_IGN);
    close(reader);
    log_write(l, LOG_INFO, kind(), NULL); /* nobody reads */
    ck_assert_uint_eq(written + log_dropped(l), 301);
    log_free(l);
}
END_TEST

START_TEST(a_full_disk_is_counted)
{
    struct log *l = log_new(LOG_INFO, LOG_JSON, "/dev/full");
    log_write(l, LOG_INFO, "lost", NULL);
    ck_assert_uint_eq(log_dropped(l), 1);
    log_free(l);
}
END_TEST

START_TEST(rotation)
{
    char other[80];
    struct stat st;
    snprintf(other, sizeof(other), "%s.1", path);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_uint_eq(st.st_mode & 0777 & ~0640u, 0);
    log_write(logger, LOG_INFO, "one", NULL);
    rename(path, other);
    log_write(logger, LOG_INFO, "two", NULL); /* still to the old one */
    ck_assert(log_reopen(logger));
    log_write(logger, LOG_INFO, "three", NULL);
    ck_assert_uint_eq(lines_of("three"), 1);
    ck_assert_uint_eq(lines_of("two"), 0);
    read_all(other);
    ck_assert_ptr_nonnull(strstr(buf_cstr(&text), "\"two\""));
    unlink(path);
    ck_assert_int_eq(mkdir(path, 0700), 0); /* cannot be opened for writing */
    ck_assert(!log_reopen(logger));
    log_write(logger, LOG_INFO, "four", NULL); /* to the file that is still open */
    ck_assert_uint_eq(log_dropped(logger), 0);
    ck_assert_int_eq(rmdir(path), 0);
    ck_assert(log_reopen(logger));
    struct log *l = log_new(LOG_INFO, LOG_JSON, NULL);
    ck_assert(log_reopen(l)); /* stderr stays */
    log_free(l);
    errno = 0;
    ck_assert_ptr_null(log_new(LOG_INFO, LOG_JSON, "/nonexistent/log"));
    ck_assert_int_eq(errno, ENOENT);
    log_free(NULL);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("base/log");
    TCase *t = tcase_create("log");
    const TTest *const tests[] = {
        a_line_is_one_object, only_numbers_stand_without_quotes, text_quotes_where_it_has_to, levels_are_obeyed, any_bytes_are_escaped,
        a_line_may_be_cut_between_its_members, text_lines_are_cut_too, a_burst_is_limited_by_kind_and_told,
        a_full_pipe_never_blocks, a_full_disk_is_counted, rotation,
    };
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_set_timeout(t, 60);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(t, tests[i]);
    tcase_add_loop_test(t, a_long_line_is_cut_and_stays_an_object, 0, (int)(sizeof(units) / sizeof(units[0])));
    suite_add_tcase(s, t);
    return run_suite(s);
}
