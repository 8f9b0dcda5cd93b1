/* What no reply acknowledges is acknowledged early. */
#include <netinet/tcp.h>

#include "loop/quickack.h"
#include "rig.h"

static struct rig rig;

static void set_up(void)
{
    rig = rig_open();
}

static void tear_down(void)
{
    rig_close(&rig);
}

static int quickack_of(int fd)
{
    int on = -1;
    socklen_t size = sizeof(on);
    ck_assert_int_eq(getsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &on, &size), 0);
    return on;
}

static void check_quickack(enum stream_quickack how)
{
    struct end tcp;
    int pair[2], off = 0;
    pair_tcp(pair);
    end_init(&tcp, &rig, pair[0]);
    stream_quickack(tcp.stream, how);
    RIG_UNTIL(&rig, tcp.opened);
    setsockopt(pair[0], IPPROTO_TCP, TCP_QUICKACK, &off, sizeof(off));
    tcp.echo = true;
    ck_assert_int_eq(send(pair[1], "a\n", 2, 0), 2);
    RIG_UNTIL(&rig, tcp.shown == 1);
    rig_for(&rig, 20);
    ck_assert_int_eq(quickack_of(pair[0]), 0); /* the answer has carried it */
    tcp.echo = false;
    ck_assert_int_eq(send(pair[1], "b\n", 2, 0), 2);
    RIG_UNTIL(&rig, tcp.shown == 2);
    RIG_UNTIL(&rig, quickack_of(pair[0]) == 1);
    end_fini(&tcp);
    close(pair[1]);
}

START_TEST(quickack_after_input_without_answer)
{
    check_quickack(QUICKACK_LAZY);
}
END_TEST

START_TEST(quickack_at_once)
{
    check_quickack(QUICKACK_EAGER);
}
END_TEST

#define CROWD 150

/* Where many wait, it is we who are late: they are acknowledged in turn, the oldest first. */
START_TEST(a_crowd_is_acknowledged_bit_by_bit)
{
    struct quickack crowd[CROWD] = {0};
    struct quickacks all;
    size_t waits = CROWD, before = CROWD, most = 0;
    quickacks_init(&all, rig.loop);
    for (size_t i = 0; i < CROWD; i++) {
        crowd[i] = (struct quickack){.fd = -1, .how = QUICKACK_LAZY};
        quickack_waits(&all, &crowd[i]);
    }
    for (; waits > 0; before = waits) {
        loop_turn(rig.loop, true);
        while (waits > 0 && !list_linked(&crowd[CROWD - waits].link))
            waits--;
        most = before - waits > most ? before - waits : most;
    }
    ck_assert_uint_eq(most, 64);
    for (size_t i = 0; i < CROWD; i++)
        ck_assert(!list_linked(&crowd[i].link));
    quickacks_fini(&all);
}
END_TEST

static void on_bell(void *arg)
{
    *(bool *)arg = true;
}

/* Nobody is woken for what an answer has acknowledged. */
START_TEST(an_answer_takes_the_tick_along)
{
    struct quickack q = {.fd = -1, .how = QUICKACK_LAZY};
    struct quickacks all;
    bool rung = false;
    struct timer *bell = timer_new(rig.loop, on_bell, &rung);
    quickacks_init(&all, rig.loop);
    quickack_waits(&all, &q);
    quickack_forget(&all, &q);
    timer_after(bell, 30);
    loop_turn(rig.loop, true);
    ck_assert(rung);
    timer_free(bell);
    quickacks_fini(&all);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("quickack");
    TCase *t = tcase_create("quickack");
    const TTest *const tests[] = {
        quickack_after_input_without_answer, quickack_at_once, an_answer_takes_the_tick_along,
        a_crowd_is_acknowledged_bit_by_bit,
    };
    tcase_add_checked_fixture(t, set_up, tear_down);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(t, tests[i]);
    suite_add_tcase(s, t);
    return run_suite(s);
}
