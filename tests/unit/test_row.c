/* JSON that is written by hand. */
#include "admin/row.h"
#include "rig.h"
#include "wire/json.h"

static struct buf out;

static void wrote(const char *wanted)
{
    ck_assert_str_eq(buf_cstr(&out), wanted);
    ck_assert(json_valid(buf_str(&out), NULL, NULL));
    buf_fini(&out);
}

START_TEST(members_and_commas)
{
    row_open(&out, NULL, '{');
    row_text(&out, "a", "x");
    row_text(&out, "b", NULL);
    row_open(&out, "list", '[');
    row_open(&out, NULL, '{');
    row_close(&out, '}');
    row_open(&out, NULL, '{');
    row_bool(&out, "yes", true);
    row_bool(&out, "no", false);
    row_close(&out, '}');
    row_text(&out, NULL, "y");
    row_close(&out, ']');
    row_u64(&out, "most", UINT64_MAX);
    row_i64(&out, "least", INT64_MIN);
    row_i64(&out, "one", 1);
    row_close(&out, '}');
    wrote("{\"a\":\"x\",\"b\":null,\"list\":[{},{\"yes\":true,\"no\":false},\"y\"],\"most\":18446744073709551615,"
          "\"least\":-9223372036854775808,\"one\":1}");
}
END_TEST

START_TEST(texts_are_any_bytes)
{
    row_open(&out, NULL, '[');
    row_text(&out, NULL, "{[\"\\\n\xc3\xa4"); /* ends in no bracket for the comma to be misled by */
    row_text(&out, NULL, "[");
    row_str(&out, NULL, STR("a\0b"));
    row_str(&out, NULL, STR("\xff"));
    row_str(&out, NULL, STR_NONE);
    row_close(&out, ']');
    wrote("[\"{[\\\"\\\\\\n\xc3\xa4\",\"[\",\"a\\u0000b\",\"(not UTF-8)\",\"\"]");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("row");
    TCase *t = tcase_create("row");
    tcase_add_test(t, members_and_commas);
    tcase_add_test(t, texts_are_any_bytes);
    suite_add_tcase(s, t);
    return run_suite(s);
}
