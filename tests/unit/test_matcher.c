/* daemon/route/matcher.h: filters, matching against a naive oracle, captures, cover, templates, memory. */
#include <check.h>
#include <malloc.h>

#include "base/mem.h"
#include "base/rand.h"
#include "route/matcher.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const char *capture(const struct captures *c, size_t i)
{
    static char text[64];
    *bytes_str(text, c->text[i]) = '\0';
    return text;
}

START_TEST(test_filter_valid)
{
    static const char *const good[] = {"a", "a.b", "a/b.c", "*", ">", "a.*.c", "*.*", "a.>", "*.>",
        "{\"cmd\":\"*.>\"}", "{", "a b", "\xc5\xbc.*"};
    static const char *const bad[] = {"", ".", "a.", ".a", "a..b", "a.>.b", ">.a", "a*", "*a.b", "a.b>",
        "**", "a.>>", "a/", "/a", ">/"};
    const char *why = NULL;
    for (size_t i = 0; i < COUNT(good); i++)
        ck_assert_msg(filter_valid(str_of(good[i]), &why), "refused: %s (%s)", good[i], why);
    for (size_t i = 0; i < COUNT(bad); i++) {
        why = NULL;
        ck_assert_msg(!filter_valid(str_of(bad[i]), &why) && why != NULL, "taken: %s", bad[i]);
    }
    struct buf b = BUF_EMPTY;
    for (int i = 0; i < MATCH_TOKENS_MAX; i++)
        buf_puts(&b, "a.");
    buf_puts(&b, "a");
    ck_assert(filter_valid(buf_str(&b), NULL));
    buf_data(&b)[0] = '*';
    ck_assert(!filter_valid(buf_str(&b), &why));
    ck_assert(filter_valid(str_make(buf_data(&b), b.len - 2), &why));
    buf_fini(&b);
    ck_assert_uint_eq(filter_wildcards(STR("a.*.b.*.>")), 3);
    ck_assert_uint_eq(filter_wildcards(STR("{a.*.b}")), 0);
    ck_assert_uint_eq(filter_wildcards(STR("a*")), 0);
}
END_TEST

START_TEST(test_matches)
{
    static const struct {
        const char *filter, *subject, *captures; /* NULL = no match; captures joined by | */
    } rows[] = {
        {"a.b", "a.b", ""},       {"a.b", "a/b", ""},     {"a/b", "a.b", ""},        {"a.b", "a.b.c", NULL},
        {"a.b", "a", NULL},
        {"*", "a", "a"},          {"*", "a.b", NULL},     {">", "a", "a"},           {">", "a/b.c",
        "a/b.c"},  {"a.>", "a", NULL},
        {"a.>", "a.b/c", "b/c"},  {"a.*.c", "a.b.c", "b"}, {"*.*.>", "a/b.c.d", "a|b|c.d"}, {"a.*", "a.",
        ""},  {"a.>", "a.", ""},
        {"*", "{\"a.b\":\"/\"}", "{\"a.b\":\"/\"}"},      {">", "{\"a.b\":1}", "{\"a.b\":1}"}, {"*.*",
        "{a.b}", NULL},
        {"{\"a\":1}", "{\"a\":1}", ""},                   {"{a.b}", "{a/b}", NULL},  {"*", "", NULL},
        {">", "", NULL},
        {"*.b", "*.b", "*"},      {"a.*", "a.>", ">"},     {"a.{x}.*", "a.{x}.y", "y"}, {"a.{x.y}",
        "a.{x/y}", ""},    {"a.b", "A.b", NULL},      {"*.*.*.*.*.*.*.*.*.*", "1.2.3.4.5.6.7.8.9.0",
        "1|2|3|4|5|6|7|8|9"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct captures c;
        struct buf joined = BUF_EMPTY;
        bool yes = filter_matches(str_of(rows[i].filter), str_of(rows[i].subject), &c);
        ck_assert_msg(yes == (rows[i].captures != NULL), "%s %s: %d", rows[i].filter, rows[i].subject, yes);
        for (size_t k = 0; yes && k < c.count; k++) {
            buf_puts(&joined, k > 0 ? "|" : "");
            buf_str_put(&joined, c.text[k]);
        }
        ck_assert_msg(!yes || str_is(buf_str(&joined), rows[i].captures), "%s %s: %s", rows[i].filter, rows[i].subject,
                      buf_cstr(&joined));
        buf_fini(&joined);
    }
}
END_TEST

START_TEST(test_first)
{
    struct matcher *m = matcher_new();
    struct captures c;
    ck_assert_uint_eq(matcher_first(m, STR("a.b"), &c), MATCH_NONE);
    matcher_add(m, STR("a.*"), 5);
    matcher_add(m, STR("a.b"), 7);
    matcher_add(m, STR(">"), 9);
    matcher_add(m, STR("{\"cmd\":\"sum\"}"), 3);
    ck_assert_uint_eq(matcher_count(m), 4);
    ck_assert_uint_eq(matcher_first(m, STR("a/b"), &c), 5);
    ck_assert(c.count == 1 && strcmp(capture(&c, 0), "b") == 0);
    ck_assert_uint_eq(matcher_first(m, STR("x.y"), &c), 9);
    ck_assert(c.count == 1 && strcmp(capture(&c, 0), "x.y") == 0);
    ck_assert_uint_eq(matcher_first(m, STR("{\"cmd\":\"sum\"}"), &c), 3);
    ck_assert_uint_eq(c.count, 0);
    ck_assert(matcher_remove(m, STR("a/*"), 5));
    ck_assert(!matcher_remove(m, STR("a.*"), 5));
    ck_assert(!matcher_remove(m, STR("a.b"), 8));
    ck_assert_uint_eq(matcher_first(m, STR("a.b"), NULL), 7);
    ck_assert_uint_eq(matcher_first(m, STR(""), NULL), MATCH_NONE);
    matcher_free(m);
    matcher_free(NULL);
}
END_TEST

/* Subjects beyond 32 tokens: exact filters and those with a final `>` only. */
START_TEST(test_many_tokens)
{
    struct matcher *m = matcher_new();
    struct buf b = BUF_EMPTY;
    struct captures c;
    for (int i = 0; i < MATCH_TOKENS_MAX - 1; i++)
        buf_puts(&b, "*.");
    buf_putc(&b, '*');
    matcher_add(m, buf_str(&b), 1);
    buf_data(&b)[b.len - 1] = '>';
    matcher_add(m, buf_str(&b), 2);
    for (size_t i = 0; i < b.len; i += 2)
        buf_data(&b)[i] = 't';
    ck_assert_uint_eq(matcher_first(m, buf_str(&b), &c), 1);
    ck_assert_uint_eq(c.count, 9);
    buf_puts(&b, "/u");
    ck_assert_uint_eq(matcher_first(m, buf_str(&b), &c), 2);
    matcher_add(m, buf_str(&b), 0);
    ck_assert_uint_eq(matcher_first(m, buf_str(&b), &c), 0);
    for (int i = 0; i < 1000; i++)
        buf_puts(&b, "/longer.than.any");
    ck_assert_uint_eq(matcher_first(m, buf_str(&b), &c), 2);
    matcher_add(m, buf_str(&b), 0);
    ck_assert_uint_eq(matcher_first(m, buf_str(&b), NULL), 0);
    buf_fini(&b);
    matcher_free(m);
}
END_TEST

/* ---- the oracle: tokens one by one, recursively, as the rule is told ---- */

static struct str first_token(struct str s, struct str *rest)
{
    size_t n = 0;
    while (n < s.n && s.p[n] != '.' && s.p[n] != '/')
        n++;
    *rest = n < s.n ? str_make(s.p + n + 1, s.n - n - 1) : STR_NONE;
    return str_make(s.p, n);
}

static bool oracle_path(struct str filter, struct str subject)
{
    struct str filter_rest, subject_rest;
    if (filter.p == NULL || subject.p == NULL)
        return filter.p == NULL && subject.p == NULL;
    struct str f = first_token(filter, &filter_rest), s = first_token(subject, &subject_rest);
    if (str_is(f, ">"))
        return true;
    return (str_is(f, "*") || str_eq(f, s)) && oracle_path(filter_rest, subject_rest);
}

static bool oracle(struct str filter, struct str subject)
{
    if (filter.p[0] == '{' || subject.p[0] == '{')
        return str_eq(filter, subject) || str_is(filter, "*") || str_is(filter, ">");
    return oracle_path(filter, subject);
}

static void random_path(struct buf *b, struct rand *r, bool filter)
{
    static const char *const words[] = {"a", "b", "c", "longer-token", "{x.y}", ""};
    uint64_t n = rand_below(r, 5) + 1;
    buf_clear(b);
    if (rand_below(r, 12) == 0) {
        buf_puts(b, rand_below(r, 2) ? "{\"a\":\"x.y\"}" : "{\"b\":1}");
        return;
    }
    for (uint64_t i = 0; i < n; i++) {
        uint64_t kind = rand_below(r, filter ? 9 : 6);
        if (i > 0)
            buf_putc(b, rand_below(r, 4) ? '.' : '/');
        if (kind >= 6)
            buf_puts(b, kind == 8 && i + 1 == n ? ">" : "*");
        else if (filter || i == 0)
            buf_puts(b, words[kind % 4]);
        else
            buf_puts(b, words[kind]);
    }
}

#define FILTERS 200

struct seen {
    unsigned times[FILTERS];
};

static void on_value(void *arg, uint32_t value)
{
    ((struct seen *)arg)->times[value]++;
}

struct world {
    struct matcher *m;
    struct buf filters[FILTERS]; /* len 0 = not added */
    struct rand r;
};

static void check_subject(struct world *w, struct str subject)
{
    struct seen seen = {{0}};
    uint32_t first = MATCH_NONE;
    struct captures ours, theirs;
    matcher_all(w->m, subject, on_value, &seen);
    for (uint32_t i = 0; i < FILTERS; i++) {
        struct str filter = buf_str(&w->filters[i]);
        bool yes = filter.n > 0 && oracle(filter, subject);
        if (seen.times[i] != yes || (filter.n > 0 && filter_matches(filter, subject, NULL) != yes))
            ck_abort_msg("filter " STR_FMT ", subject " STR_FMT ": %u times, oracle says %d", STR_ARG(filter), STR_ARG(subject),
                         seen.times[i], yes);
        if (yes && first == MATCH_NONE)
            first = i;
    }
    /* searched for, and remembered */
    if (matcher_first(w->m, subject, NULL) != first || matcher_first(w->m, subject, &ours) != first)
        ck_abort_msg("subject " STR_FMT ": first is %u", STR_ARG(subject), first);
    if (first == MATCH_NONE)
        return;
    filter_matches(buf_str(&w->filters[first]), subject, &theirs);
    ck_assert_uint_eq(ours.count, theirs.count);
    for (size_t i = 0; i < ours.count; i++)
        ck_assert(ours.text[i].p == theirs.text[i].p && ours.text[i].n == theirs.text[i].n);
}

static void change_filter(struct world *w, uint32_t i)
{
    struct buf *b = &w->filters[i];
    if (b->len > 0) {
        ck_assert(matcher_remove(w->m, buf_str(b), i));
        buf_clear(b);
        return;
    }
    random_path(b, &w->r, true);
    ck_assert(filter_valid(buf_str(b), NULL));
    matcher_add(w->m, buf_str(b), i);
}

START_TEST(test_against_oracle)
{
    struct world w = {.m = matcher_new()};
    struct buf subject = BUF_EMPTY;
    rand_seed(&w.r, 5);
    for (int round = 0; round < 20000; round++) {
        change_filter(&w, (uint32_t)rand_below(&w.r, FILTERS));
        random_path(&subject, &w.r, false);
        char *exact = mem_alloc(subject.len + 1);
        bytes_str(exact, buf_str(&subject));
        if (subject.len > 0)
            check_subject(&w, str_make(exact, subject.len));
        mem_free(exact);
    }
    size_t left = 0;
    for (uint32_t i = 0; i < FILTERS; i++) {
        left += w.filters[i].len > 0;
        buf_fini(&w.filters[i]);
    }
    ck_assert_uint_eq(matcher_count(w.m), left);
    matcher_free(w.m);
    buf_fini(&subject);
}
END_TEST

/* Everything that was added and removed again leaves nothing behind. */
START_TEST(test_churn_leaves_nothing)
{
    struct matcher *m = matcher_new();
    char filter[64];
    for (int round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 3000; i++) {
            snprintf(filter, sizeof(filter), i % 2 ? "a.%u.*.b%u" : "x%u.*.>", i, i);
            matcher_add(m, str_of(filter), i);
        }
        for (unsigned i = 0; i < 3000; i++) {
            snprintf(filter, sizeof(filter), i % 2 ? "a.%u.*.b%u" : "x%u.*.>", i, i);
            ck_assert(matcher_remove(m, str_of(filter), i));
        }
        ck_assert_uint_eq(matcher_count(m), 0);
    }
    matcher_free(m);
}
END_TEST

/* ---- cover: compared with every subject of up to 4 tokens over an alphabet that no filter exhausts ---- */

static void covers_by_trying(struct str wide, struct str narrow, bool *covers)
{
    static const char *const words[] = {"a", "b", "zz"};
    *covers = true;
    for (unsigned n = 1; n <= 5; n++) {
        unsigned total = n == 1 ? 3 : n == 2 ? 9 : n == 3 ? 27 : n == 4 ? 81 : 243;
        for (unsigned code = 0; code < total; code++) {
            char subject[32], *to = subject;
            for (unsigned i = 0, c = code; i < n; i++, c /= 3) {
                to = bytes_copy(to, ".", i > 0);
                to = bytes_str(to, str_of(words[c % 3]));
            }
            struct str s = str_make(subject, (size_t)(to - subject));
            *covers &= !oracle(narrow, s) || oracle(wide, s);
        }
    }
}

static void random_small_filter(char out[static 16], struct rand *r)
{
    static const char *const words[] = {"a", "b", "*", ">"};
    uint64_t n = rand_below(r, 4) + 1;
    for (uint64_t i = 0; i < n; i++) {
        out = bytes_copy(out, ".", i > 0);
        out = bytes_str(out, str_of(words[rand_below(r, i + 1 == n ? 4 : 3)]));
    }
    *out = '\0';
}

START_TEST(test_covers)
{
    struct rand r;
    unsigned yes = 0;
    rand_seed(&r, 6);
    for (int round = 0; round < 3000; round++) {
        char wide[16], narrow[16];
        bool expected;
        random_small_filter(wide, &r);
        random_small_filter(narrow, &r);
        covers_by_trying(str_of(wide), str_of(narrow), &expected);
        ck_assert_msg(filter_covers(str_of(wide), str_of(narrow)) == expected, "%s covers %s: %d", wide, narrow, !expected);
        yes += expected;
    }
    ck_assert_uint_gt(yes, 100);
    ck_assert(filter_covers(STR("*"), STR("{\"a\":1}")) && filter_covers(STR(">"), STR("{\"a.b\":1}")));
    ck_assert(!filter_covers(STR("{\"a\":1}"), STR("*")) && !filter_covers(STR("*.*"), STR("{a.b}")));
    ck_assert(filter_covers(STR("a/b"), STR("a.b")));
}
END_TEST

START_TEST(test_templates)
{
    const char *why = NULL;
    struct buf b = BUF_EMPTY;
    struct captures c = {.count = 2};
    c.text[0] = STR("one");
    c.text[1] = STR("a\"\\b");
    ck_assert(template_valid(STR("x.{1}.{2}"), 2, &why) && template_valid(STR("{\"cmd\":\"{1}\"}"), 1, &why));
    ck_assert(template_valid(STR("{a}{}{12}{"), 0, &why));
    ck_assert(!template_valid(STR("x.{3}"), 2, &why) && why != NULL);
    ck_assert(!template_valid(STR("x.{0}"), 2, &why) && !template_valid(STR(""), 2, NULL));
    template_expand(STR("x.{1}.{2}{1}{"), &c, &b);
    ck_assert_str_eq(buf_cstr(&b), "x.one.a\"\\bone{");
    buf_clear(&b);
    template_expand(STR("{\"cmd\":\"{2}\",\"x\":{}}"), &c, &b);
    ck_assert_str_eq(buf_cstr(&b), "{\"cmd\":\"a\\\"\\\\b\",\"x\":{}}");
    buf_clear(&b);
    template_expand(STR("{2}.{1}"), &c, &b);
    ck_assert_str_eq(buf_cstr(&b), "a\"\\b.one");
    buf_fini(&b);
}
END_TEST

static size_t heap_in_use(void)
{
    struct mallinfo2 info = mallinfo2(); /* all zeros under a sanitizer */
    return info.uordblks + info.hblkhd;
}

START_TEST(test_memory)
{
    static const char *const shapes[] = {"orders.shop%u.created", "orders.shop%u.*", "orders.*.item%u",
        "shop%u.*.created.>"};
    for (size_t shape = 0; shape < COUNT(shapes); shape++) {
        size_t before = heap_in_use();
        struct matcher *m = matcher_new();
        char filter[64];
        for (unsigned i = 0; i < 100000; i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
            snprintf(filter, sizeof(filter), shapes[shape], i);
#pragma GCC diagnostic pop
            matcher_add(m, str_of(filter), i);
        }
        size_t used = heap_in_use() - before;
        ck_assert_msg(used <= 30u << 20, "%s: %zu bytes for 100,000 filters", shapes[shape], used);
        matcher_free(m);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("matcher");
    TCase *tc = tcase_create("matcher");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, test_filter_valid);
    tcase_add_test(tc, test_matches);
    tcase_add_test(tc, test_first);
    tcase_add_test(tc, test_many_tokens);
    tcase_add_test(tc, test_against_oracle);
    tcase_add_test(tc, test_churn_leaves_nothing);
    tcase_add_test(tc, test_covers);
    tcase_add_test(tc, test_templates);
    tcase_add_test(tc, test_memory);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
