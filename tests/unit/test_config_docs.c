/* The tables, the manual and the annotated sample say the same: every key stands in all three. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "app/transports.h"
#include "base/buf.h"
#include "base/mem.h"
#include "config/config.h"

#define MANUAL "man/bellhop.yaml.5"
#define SAMPLE "conf/bellhop.yaml"

/* Tests run in the checkout, or beside it where the source folder is named. */
static char *file_text(const char *name)
{
    const char *root = getenv("BELLHOP_SOURCE");
    struct buf path = BUF_EMPTY, text = BUF_EMPTY;
    buf_printf(&path, "%s/%s", root != NULL ? root : ".", name);
    FILE *f = fopen(buf_cstr(&path), "r");
    ck_assert_msg(f != NULL, "cannot open %s", buf_cstr(&path));
    for (size_t n = 1; n > 0; buf_commit(&text, n))
        n = fread(buf_reserve(&text, 4096), 1, 4096, f);
    fclose(f);
    buf_fini(&path);
    return buf_steal(&text);
}

/* Calls fn with "section.key" of each row. Returns how many there were. */
static size_t each_key(void (*fn)(const char *key, const char *text), const char *text)
{
    struct buf list = BUF_EMPTY;
    size_t count = 0;
    config_keys_print(app_config_transports, &list);
    for (struct str rest = buf_str(&list); rest.n > 0;) {
        struct str row = str_cut(&rest, '\n');
        if (!str_starts(row, STR(".It Cm ")))
            continue;
        char *key = str_dup(str_make(row.p + 7, row.n - 7));
        fn(key, text);
        mem_free(key);
        count++;
    }
    buf_fini(&list);
    return count;
}

static void in_manual(const char *key, const char *text)
{
    struct buf row = BUF_EMPTY;
    buf_printf(&row, "\n.It Cm %s\n", key);
    ck_assert_msg(strstr(text, buf_cstr(&row)) != NULL, "%s lacks the key %s", MANUAL, key);
    buf_fini(&row);
}

/* "key:" at the start of a line or after a blank, a `#` or a brace. */
static bool has_word(const char *text, const char *word)
{
    const char *at = strstr(text, word);
    while (at != NULL && at > text && strchr(" #{\n", at[-1]) == NULL)
        at = strstr(at + 1, word);
    return at != NULL;
}

static void in_sample(const char *key, const char *text)
{
    struct buf word = BUF_EMPTY;
    const char *dot = strrchr(key, '.');
    buf_printf(&word, "%s:", dot != NULL ? dot + 1 : key);
    ck_assert_msg(has_word(text, buf_cstr(&word)), "%s lacks the key %s", SAMPLE, key);
    buf_fini(&word);
}

START_TEST(manual_has_every_key)
{
    char *text = file_text(MANUAL);
    ck_assert_uint_gt(each_key(in_manual, text), 60);
    mem_free(text);
}
END_TEST

START_TEST(sample_has_every_key)
{
    char *text = file_text(SAMPLE);
    ck_assert_uint_gt(each_key(in_sample, text), 60);
    mem_free(text);
}
END_TEST

/* The other way round: no key in the manual that the tables do not have. */
START_TEST(manual_has_no_other_key)
{
    struct buf list = BUF_EMPTY;
    char *text = file_text(MANUAL);
    config_keys_print(app_config_transports, &list);
    for (struct str rest = str_of(text); rest.n > 0;) {
        struct str row = str_cut(&rest, '\n');
        if (!str_starts(row, STR(".It Cm ")))
            continue;
        bool there = str_is(row, ".It Cm services.open"); /* no key of a table: a word among names */
        for (struct str keys = buf_str(&list); keys.n > 0 && !there;)
            there = str_eq(str_cut(&keys, '\n'), row);
        ck_assert_msg(there, "%s: " STR_FMT " is no key", MANUAL, STR_ARG(row));
    }
    buf_fini(&list);
    mem_free(text);
}
END_TEST

static char *printed(const char *text, struct str whole)
{
    struct err err = {0};
    struct buf out = BUF_EMPTY;
    struct config *c = config_parse(text, whole, app_config_transports, &err);
    char *errors = err_text(&err);
    ck_assert_msg(c != NULL, "%s", errors);
    ck_assert_uint_eq(c->warnings.count, 0);
    config_print(c, &out);
    config_free(c);
    mem_free(errors);
    err_fini(&err);
    return buf_steal(&out);
}

/* What the sample sets is what an empty file means. */
START_TEST(sample_shows_the_defaults)
{
    char *text = file_text(SAMPLE);
    char *sample = printed(SAMPLE, str_of(text)), *empty = printed("empty", STR(""));
    ck_assert_str_eq(sample, empty);
    mem_free(text);
    mem_free(sample);
    mem_free(empty);
}
END_TEST

START_TEST(samples_are_right)
{
    static const char *const names[] = {"conf/quickstart.yaml", "conf/nestjs-tcp.yaml",
                                        "conf/mtls.yaml", "conf/redis.yaml", "conf/rabbitmq.yaml", "conf/nats.yaml"};
    char *text = file_text(names[_i]);
    mem_free(printed(names[_i], str_of(text)));
    mem_free(text);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("config_docs");
    TCase *t = tcase_create("docs");
    tcase_add_test(t, manual_has_every_key);
    tcase_add_test(t, manual_has_no_other_key);
    tcase_add_test(t, sample_has_every_key);
    tcase_add_test(t, sample_shows_the_defaults);
    tcase_add_loop_test(t, samples_are_right, 0, 6);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
