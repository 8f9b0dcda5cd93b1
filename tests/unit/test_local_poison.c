/* A connection that ends without BYE has crashed: what it held goes alone to one that holds nothing. */
#include "local_rig.h"

static struct client a, b, c;

START_TEST(suspects_go_alone)
{
    attach(&a, "asker");
    attach(&b, "math");
    say(&a, "PUB 1 0 0 slow.a\nPUB 2 0 0 slow.b\nPUB 3 0 0 slow.c\n");
    for (uint64_t id = 1; id <= 3; id++)
        hear(&b, VERB_PUB, id);
    client_close(&b);
    attach(&c, "math");
    for (uint64_t id = 1; id <= 3; id++) {
        char ok[32];
        hear(&c, VERB_PUB, id);
        say(&a, id == 1 ? "PUB 4 0 0 slow.d\n" : ""); /* nothing is put beside a suspect */
        hear_nothing(&c);
        snprintf(ok, sizeof(ok), "OK %llu 0 0\n", (unsigned long long)id);
        say(&c, ok);
    }
    hear(&c, VERB_PUB, 4);
    client_close(&a);
    client_close(&c);
}
END_TEST

/* Nor beside what somebody else has in hand. */
START_TEST(a_suspect_waits_for_empty_hands)
{
    attach(&a, "asker");
    attach(&b, "math");
    attach(&c, "math");
    say(&a, "PUB 1 0 0 slow.a\nPUB 2 0 0 slow.b\n");
    hear(&b, VERB_PUB, 1);
    hear(&c, VERB_PUB, 1);
    client_close(&b);
    RIG_UNTIL(&rig, server_clients(server) == 2);
    for (int64_t until = loop_now(rig.loop) + 50; loop_now(rig.loop) < until;) /* its pause of 10 ms is over */
        hear_nothing(&c);
    say(&c, "OK 1 0 0\n");
    hear(&c, VERB_PUB, 2);
    client_close(&a);
    client_close(&c);
}
END_TEST

/* Twice alone with its process, and it is given up. */
START_TEST(the_guilty_one_is_given_up)
{
    attach(&a, "asker");
    attach(&b, "math");
    say(&a, "PUB 1 0 0 slow.a\n");
    hear(&b, VERB_PUB, 1);
    client_close(&b);
    attach(&b, "math");
    hear(&b, VERB_PUB, 1);
    client_close(&b);
    hear_error(&a, 1, "unavailable", "");
    client_close(&a);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("local_poison");
    TCase *t = tcase_create("poison");
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, suspects_go_alone);
    tcase_add_test(t, a_suspect_waits_for_empty_hands);
    tcase_add_test(t, the_guilty_one_is_given_up);
    suite_add_tcase(s, t);
    return run_suite(s);
}
