/* The text format of Prometheus, byte by byte. */
#include "metrics/exposition.h"
#include "rig.h"

static struct buf out;

static void wrote(const char *wanted)
{
    ck_assert_str_eq(buf_cstr(&out), wanted);
    buf_fini(&out);
}

START_TEST(heads_and_samples)
{
    metric_head(&out, "bellhop_x_total", "counter", "What it counts.");
    metric_u64(&out, "bellhop_x_total", NULL, NULL, 0);
    metric_u64(&out, "bellhop_x_total", "route", "edge#3", UINT64_MAX);
    metric_i64(&out, "bellhop_y", NULL, NULL, -1);
    metric_i64(&out, "bellhop_y", "to", "", INT64_MIN);
    wrote("# HELP bellhop_x_total What it counts.\n"
          "# TYPE bellhop_x_total counter\n"
          "bellhop_x_total 0\n"
          "bellhop_x_total{route=\"edge#3\"} 18446744073709551615\n"
          "bellhop_y -1\n"
          "bellhop_y{to=\"\"} -9223372036854775808\n");
}
END_TEST

START_TEST(label_values_are_escaped)
{
    metric_u64(&out, "m", "l", "group g of {\"cmd\":\"a\\b\"}", 1);
    wrote("m{l=\"group g of {\\\"cmd\\\":\\\"a\\\\b\\\"}\"} 1\n");
    metric_u64(&out, "m", "l", "two\nlines", 1);
    wrote("m{l=\"two\\nlines\"} 1\n");
    metric_u64(&out, "m", "l", "\xc3\xa4", 1);
    wrote("m{l=\"\xc3\xa4\"} 1\n");
}
END_TEST

START_TEST(histograms_are_cumulative)
{
    static const uint64_t count[] = {3, 0, 2};
    static const int64_t bounds[] = {1, 10};
    metric_histogram(&out, "h", &(struct metric_buckets){count, bounds, 3, 77});
    wrote("h_bucket{le=\"1\"} 3\n"
          "h_bucket{le=\"10\"} 3\n"
          "h_bucket{le=\"+Inf\"} 5\n"
          "h_sum 77\n"
          "h_count 5\n");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("exposition");
    TCase *t = tcase_create("exposition");
    tcase_add_test(t, heads_and_samples);
    tcase_add_test(t, label_values_are_escaped);
    tcase_add_test(t, histograms_are_cumulative);
    suite_add_tcase(s, t);
    return run_suite(s);
}
