/* The local protocol, said and heard byte by byte: greetings, requests, events, deliveries. */
#include <poll.h>

#include "local_rig.h"
#include "msg/headers.h"

static struct client a, b, c;

static struct server_counts counts(void)
{
    struct server_counts n;
    server_counts(server, &n);
    return n;
}

/* ---------------------------------------------------------------- HELLO */

static uint64_t refusals(enum code code)
{
    struct hub_counts counted;
    hub_counts(hub, &counted);
    return counted.refused[code];
}

START_TEST(hello_is_answered_with_what_one_has_to_know)
{
    attach_with(&a, "math", "version: 1\ncredit: 3\ninstance: x\n");
    ck_assert(str_is(a.frame.subject, "bellhopd"));
    ck_assert(str_is(a.frame.headers, "version: 1\nnode: here\nlimits.body: 65536\nsession: 1\n"));
    attach_with(&b, "math", ""); /* every header may be left out */
    ck_assert(str_is(headers_get(b.frame.headers, "session"), "2"));
    ck_assert_uint_eq(server_clients(server), 2);
    client_close(&a);
    client_close(&b);
    RIG_UNTIL(&rig, server_clients(server) == 0);
}
END_TEST

static const struct {
    const char *said, *code, *part;
} refused[] = {
    {"HELLO 0 11 0 math\nversion: 2\n", "version", "speaks version 1"},
    {"HELLO 1 0 0 math\n", "bad-frame", "byte 0: HELLO 0"},
    {"HELLO 0 0 0\n", "bad-frame", "byte 0: HELLO 0"},
    {"HELLO 0 0 0 two words\n", "bad-frame", "byte 0: HELLO 0"},
    {"HELLO 0 0 0 \xc3\xa4\n", "bad-frame", "byte 0: HELLO 0"},
    {"HELLO 0 0 0 nobody-knows\n", "denied", "no service of this name"},
    {"HELLO 0 0 0 local\n", "denied", "belongs to an endpoint"},
    {"HELLO 0 0 0 other\n", "denied", "this uid may not attach"},
    {"HELLO 0 0 0 vault\n", "denied", "token"},
    {"HELLO 0 22 0 vault\ntoken: s3cret-t0kex!\n\n", "bad-frame", "byte 40: a header line without a colon"},
    {"HELLO 0 20 0 vault\ntoken: s3cret-t0kex\n", "denied", "token"},
    {"HELLO 0 19 0 vault\ntoken: s3cret-t0ke\n", "denied", "token"},
    {"HELLO 0 21 0 vault\ntoken: s3cret-t0kenn\n", "denied", "token"},
    {"HELLO 0 8 0 vault\ntoken: \n", "denied", "token"},
    {"HELLO 0 10 0 math\ncredit: 0\n", "invalid", "1 to 65535"},
    {"HELLO 0 14 0 math\ncredit: 65536\n", "invalid", "1 to 65535"},
    {"HELLO 0 11 0 math\ncredit: -1\n", "invalid", "1 to 65535"},
    {"HELLO 0 0 70000 math\n", "bad-frame", "byte 0: HELLO has no body"},
    {"PING 1 0 0\n", "bad-frame", "byte 0: the first frame has to be HELLO"},
    {"PUB 1 0 0 math.add\n", "bad-frame", "byte 0: the first frame has to be HELLO"},
    {"GET / HTTP/1.1\r\n", "bad-frame", "byte 0: unknown verb"},
    {"hello 0 0 0 math\n", "bad-frame", "byte 0"},
    {"HELLO 0 0  0 math\n", "bad-frame", "byte 10: expected a decimal number"},
    {"HELLO 0 6 0 math\nA: bc\n", "bad-frame", "byte 17: a header name"},
};

START_TEST(hello_is_refused_and_the_connection_ends)
{
    attach(&b, "math"); /* no other connection notices */
    client_open(&a);
    say(&a, refused[_i].said);
    hear_error(&a, 0, refused[_i].code, refused[_i].part);
    hear_the_end(&a);
    in_step(&b);
    ck_assert_uint_eq(counts().denied, strcmp(refused[_i].code, "denied") == 0);
    ck_assert_uint_eq(counts().bad_frames, strcmp(refused[_i].code, "bad-frame") == 0);
    client_close(&a);
    client_close(&b);
}
END_TEST

START_TEST(a_token_opens)
{
    attach_with(&a, "vault", "token: s3cret-t0ken\n");
    say(&a, "HELLO 0 0 0 vault\n");
    hear_error(&a, 0, "bad-frame", "byte 39: HELLO stands only at the start");
    hear_the_end(&a);
    client_close(&a);
}
END_TEST

START_TEST(nobody_is_let_in_where_every_service_has_other_users)
{
    conf->service_count = 0;
    client_open(&a);
    hear_error(&a, 0, "denied", "no service may attach under this uid"); /* before anything is read */
    hear_the_end(&a);
    client_close(&a);
    conf->service_count = 6;
}
END_TEST

/* ---------------------------------------------------------------- requests and events */

START_TEST(a_request_goes_there_and_back)
{
    attach(&a, "asker");
    attach(&b, "math");
    say(&a, "REQ 7 24 5 math.add\nid: i\nx-one: 1\nx-two: 2\n[1,2]");
    struct frame *f = hear(&b, VERB_REQ, 1);
    ck_assert(str_is(f->subject, "math.add") && str_is(f->body, "[1,2]"));
    ck_assert(str_starts(f->headers, STR("attempt: 1\ntimeout: 400ms\nid: i\nsource: asker\ncorrelation-id: i\ntraceparent: 00-")));
    ck_assert(str_ends(f->headers, STR("-01\nx-one: 1\nx-two: 2\n")));
    ck_assert_uint_eq(server_busy(server), 2);
    say(&b, "MORE 1 0 1\n1REP 1 5 1\nz: 1\n3");
    hear_exactly(&a, "MORE 7 0 1\n1");
    hear_exactly(&a, "REP 7 5 1\nz: 1\n3");
    ck_assert_uint_eq(server_busy(server), 0);
    say(&a, "REQ 7 0 0 math.add\n"); /* the id is free again */
    hear(&b, VERB_REQ, 2);
    say(&b, "ERR 2 0 6 teapot\nno tea");
    hear_exactly(&a, "ERR 7 0 6 failed\nno tea");
    client_close(&a);
    client_close(&b);
}
END_TEST

START_TEST(an_event_is_answered_when_it_is_settled)
{
    attach(&a, "asker");
    attach(&b, "math");
    say(&a, "PUB 18446744073709551615 0 2 math.log\nhi");
    struct frame *f = hear(&b, VERB_PUB, 1);
    ck_assert(str_starts(f->headers, STR("attempt: 1\nid: "))); /* events have no time-out of the asker's */
    hear_nothing(&a);
    say(&b, "OK 1 0 0\n");
    hear_exactly(&a, "OK 18446744073709551615 0 0\n");
    say(&a, "PUB 0 0 0 math.log\nPUB 0 0 0 no.route\nPUB 0 0 0\n"); /* nobody wants to hear */
    hear(&b, VERB_PUB, 2);
    say(&b, "OK 2 0 0\n");
    hear_nothing(&a);
    say(&a, "PUB 1 0 0 math.log\n");
    hear(&b, VERB_PUB, 3);
    say(&b, "REP 3 0 4\nbody"); /* as good as OK, and an event has no reply */
    hear_exactly(&a, "OK 1 0 0\n");
    client_close(&a);
    client_close(&b);
}
END_TEST

START_TEST(what_cannot_be_taken_is_refused)
{
    attach(&a, "asker");
    attach(&b, "shop");
    static const char *const table[][3] = {
        {"REQ 1 0 0 nowhere\n", "no-route", "no route takes"}, {"PUB 1 0 0 nowhere\n", "no-route", "no route takes"},
        {"REQ 1 0 0 math.add\n", "no-service", "no instance"}, {"REQ 1 0 0\n", "invalid", "a subject is needed"},
        {"PUB 1 0 0\n", "invalid", "a subject is needed"}, {"PUB 1 0 0 {\"a\":{\"b\":{\"c\":{\"d\":{\"e\":{\"f\":{\"g\":1}}}}}}}\n", "invalid", "valid pattern"},
        {"REQ 1 11 0 shop.x\ntimeout: x\n", "invalid", "header `timeout`"},
        {"PUB 1 7 0 shop.x\nttl: 1\n", "invalid", "header `ttl`"},
        {"PUB 1 10 0 shop.x\ndelay: 1s\n", "invalid", "header `delay`"},
        {"PUB 1 8 0 shop.x\nwith: 1\n", "invalid", "no delivery that is being handled"},
        {"REQ 1 8 0 shop.x\nwith: 1\n", "invalid", "for PUB only"},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        say(&a, table[i][0]);
        hear_error(&a, 1, table[i][1], table[i][2]);
    }
    say(&a, "REQ 0 0 0 shop.x\n");
    hear_error(&a, 0, "invalid", "id that is not 0");
    uint64_t invalid = refusals(CODE_INVALID);
    say(&b, "PUB 1 0 0 math.add\n");
    hear_error(&b, 1, "denied", "services: publish");
    say(&b, "PUB 0 0 0 math.add\n");
    hear_nothing(&b);
    ck_assert_uint_eq(refusals(CODE_DENIED), 2); /* whoever hears of it: the operator does */
    ck_assert_uint_eq(invalid, sizeof(table) / sizeof(table[0]) - 3 + 1);
    client_close(&a);
    client_close(&b);
}
END_TEST

START_TEST(an_id_is_used_once_at_a_time)
{
    attach(&a, "asker");
    attach(&b, "math");
    say(&a, "PUB 5 0 0 math.a\nREQ 5 0 0 math.b\n");
    hear_error(&a, 5, "invalid", "still waiting");
    hear(&b, VERB_PUB, 1);
    say(&b, "OK 1 0 0\n");
    hear_exactly(&a, "OK 5 0 0\n");
    say(&b, "REQ 1 0 0 math.b\n"); /* each side counts its own */
    hear(&b, VERB_REQ, 2);
    say(&b, "REP 2 0 0\n");
    hear_exactly(&b, "REP 1 0 0\n");
    client_close(&a);
    client_close(&b);
}
END_TEST

START_TEST(object_subjects_are_made_canonical)
{
    attach(&a, "asker");
    attach(&b, "shop");
    say(&a, "PUB 1 0 0 { \"cmd\" : \"buy\" }\n");
    ck_assert(str_is(hear(&b, VERB_PUB, 1)->subject, "{\"cmd\":\"buy\"}"));
    client_close(&a);
    client_close(&b);
}
END_TEST

/* ---------------------------------------------------------------- deliveries */

START_TEST(retry_steers)
{
    attach(&a, "asker");
    attach(&b, "math");
    say(&a, "PUB 1 0 0 math.log\n");
    hear(&b, VERB_PUB, 1);
    say(&b, "ERR 1 0 0 failed\n");
    ck_assert(str_starts(hear(&b, VERB_PUB, 2)->headers, STR("attempt: 2\n")));
    say(&b, "ERR 2 10 3 failed\nretry: no\nbad");
    hear_exactly(&a, "ERR 1 0 3 failed\nbad");
    ck_assert_uint_eq(hub_dead_count(hub), 1);
    say(&a, "PUB 2 0 0 math.log\n");
    hear(&b, VERB_PUB, 3);
    say(&b, "ERR 3 0 0 invalid\n"); /* no repetition can mend it */
    hear_exactly(&a, "ERR 2 0 0 invalid\n");
    say(&a, "PUB 3 0 0 math.log\n");
    hear(&b, VERB_PUB, 4);
    int64_t then = clock_mono_ms();
    say(&b, "ERR 4 19 0 invalid\nretry: after 150ms\n");
    hear(&b, VERB_PUB, 5);
    ck_assert_int_ge(clock_mono_ms() - then, 145);
    say(&b, "OK 5 0 0\n");
    hear_exactly(&a, "OK 3 0 0\n");
    say(&a, "REQ 4 0 0 math.add\n");
    hear(&b, VERB_REQ, 6);
    say(&b, "ERR 6 11 0 unavailable\nretry: yes\n"); /* else it goes to the asker */
    hear(&b, VERB_REQ, 7);
    say(&b, "ERR 7 0 0 unavailable\n");
    hear_exactly(&a, "ERR 4 0 0 unavailable\n");
    client_close(&a);
    client_close(&b);
}
END_TEST

START_TEST(release_gives_back)
{
    attach(&a, "asker");
    attach(&b, "math");
    say(&a, "PUB 1 0 0 math.log\n");
    hear(&b, VERB_PUB, 1);
    attach(&c, "math");
    say(&b, "BYE 0 0 0\nERR 1 0 0 release\n");
    ck_assert(str_starts(hear(&c, VERB_PUB, 1)->headers, STR("attempt: 1\n"))); /* no attempt is counted */
    say(&c, "OK 1 0 0\n");
    hear_exactly(&a, "OK 1 0 0\n");
    client_close(&a);
    client_close(&b);
    client_close(&c);
}
END_TEST

/* Times are far apart: on a busy machine this process stands still for a while now and then. */
START_TEST(wait_starts_the_time_out_again)
{
    attach(&a, "asker");
    attach(&b, "math");
    say(&a, "REQ 1 0 0 brisk.add\nREQ 2 16 0 brisk.add\ntimeout: 2200ms\n");
    hear(&b, VERB_REQ, 1);
    hear(&b, VERB_REQ, 2);
    rig_for(&rig, 1000);
    say(&b, "WAIT 1 0 0\nWAIT 2 0 0\nWAIT 99 0 0\n");
    hear_error(&a, 2, "timeout", "within 2200ms"); /* it had named a time-out of its own */
    hear_exactly(&b, "CANCEL 2 0 0\n");
    rig_for(&rig, 50);
    say(&b, "REP 2 0 0\nREP 1 0 0\n");
    hear_exactly(&a, "REP 1 0 0\n");
    hear_nothing(&b);
    ck_assert_uint_eq(counts().late_answers, 1); /* ignored and counted, no error */
    client_close(&a);
    client_close(&b);
}
END_TEST

/* The loop stands still over the end of the time-out: what has come by then is read before anything is over. */
START_TEST(wait_counts_when_the_loop_is_late)
{
    attach(&a, "asker");
    attach(&b, "math");
    say(&a, "REQ 1 0 0 math.add\nREQ 2 0 0 math.add\n");
    hear(&b, VERB_REQ, 1);
    hear(&b, VERB_REQ, 2);
    say(&b, "WAIT 1 0 0\nREP 2 0 0\n");
    poll(NULL, 0, 500);
    hear_exactly(&a, "REP 2 0 0\n");
    say(&b, "REP 1 0 0\n");
    hear_exactly(&a, "REP 1 0 0\n");
    ck_assert_uint_eq(counts().late_answers, 0);
    client_close(&a);
    client_close(&b);
}
END_TEST

START_TEST(answers_to_nothing_are_counted)
{
    attach(&b, "math");
    say(&b, "OK 1 0 0\nREP 0 0 0\nERR 5 0 0 failed\nMORE 6 0 0\nWAIT 7 0 0\nPONG 8 0 0\nCANCEL 9 0 0\nERR 1 0 0 release\n");
    in_step(&b);
    ck_assert_uint_eq(counts().late_answers, 5);
    client_close(&b);
}
END_TEST

START_TEST(cancel_goes_through)
{
    attach(&a, "asker");
    attach(&b, "math");
    say(&a, "REQ 1 0 0 math.add\n");
    hear(&b, VERB_REQ, 1);
    say(&a, "CANCEL 1 0 0\n");
    hear_exactly(&b, "CANCEL 1 0 0\n");
    say(&b, "REP 1 0 0\n");
    hear_nothing(&a);
    say(&a, "REQ 1 0 0 math.add\n"); /* the id is free at once */
    hear(&b, VERB_REQ, 2);
    client_close(&a); /* and an asker who goes away cancels too */
    hear_exactly(&b, "CANCEL 2 0 0\n");
    client_close(&b);
}
END_TEST

START_TEST(what_a_lost_client_held_goes_to_another)
{
    attach(&a, "asker");
    attach(&b, "math");
    say(&a, "PUB 1 0 0 math.log\nREQ 2 13 0 math.add\ntimeout: 5s\n\nREQ 3 0 0 math.add\n");
    hear_error(&a, 0, "bad-frame", "");
    client_close(&a);
    attach(&a, "asker");
    hear(&b, VERB_PUB, 1);
    say(&a, "REQ 2 12 0 math.add\ntimeout: 5s\n");
    hear(&b, VERB_REQ, 2);
    attach(&c, "math");
    client_close(&b);
    struct frame *f = hear(&c, VERB_PUB, 1);
    ck_assert(str_starts(f->headers, STR("attempt: 2\nredelivered: lost\n")));
    f = hear(&c, VERB_REQ, 2);
    ck_assert(str_starts(f->headers, STR("attempt: 2\nredelivered: lost\ntimeout: ")));
    say(&c, "REP 2 0 0\nOK 1 0 0\n");
    hear_exactly(&a, "REP 2 0 0\n");
    say(&a, "REQ 3 0 0 math.add\n");
    hear(&c, VERB_REQ, 3);
    client_close(&c); /* the last one */
    hear_error(&a, 3, "unavailable", "nobody else is there");
    client_close(&a);
}
END_TEST

START_TEST(the_least_busy_instance_is_next)
{
    attach(&a, "asker");
    attach(&b, "math");
    attach(&c, "math");
    say(&a, "PUB 1 0 0 math.1\nPUB 2 0 0 math.2\nPUB 3 0 0 math.3\n");
    hear(&b, VERB_PUB, 1);
    hear(&c, VERB_PUB, 1);
    hear(&b, VERB_PUB, 2);
    say(&b, "OK 1 0 0\nOK 2 0 0\n");
    in_step(&b);
    say(&a, "PUB 4 0 0 math.4\n");
    hear(&b, VERB_PUB, 3); /* c still holds one */
    client_close(&a);
    client_close(&b);
    client_close(&c);
}
END_TEST

/* ---------------------------------------------------------------- credit, BYE */

START_TEST(never_more_than_the_credit_is_out)
{
    attach(&a, "asker");
    attach_with(&b, "math", "credit: 2\n");
    for (int i = 1; i <= 6; i++) {
        char text[64];
        snprintf(text, sizeof(text), "PUB %d 0 0 math.%d\n", i, i);
        say(&a, text);
    }
    hear(&b, VERB_PUB, 1);
    hear(&b, VERB_PUB, 2);
    hear_nothing(&b);
    say(&b, "MORE 1 0 0\nWAIT 1 0 0\n"); /* no answer yet */
    hear_nothing(&b);
    say(&b, "OK 2 0 0\n");
    hear(&b, VERB_PUB, 3);
    hear_nothing(&b);
    say(&b, "CREDIT 1 0 0\n");
    hear(&b, VERB_PUB, 4);
    hear_nothing(&b);
    say(&b, "CREDIT 18446744073709551615 0 0\n"); /* at most what the configuration gives: 4 */
    hear(&b, VERB_PUB, 5);
    hear_nothing(&b);
    say(&b, "OK 1 0 0\n");
    hear(&b, VERB_PUB, 6);
    client_close(&a);
    client_close(&b);
}
END_TEST

START_TEST(bye_lets_a_client_finish)
{
    attach(&a, "asker");
    attach(&b, "math");
    say(&a, "REQ 1 0 0 math.add\n");
    hear(&b, VERB_REQ, 1);
    say(&b, "BYE 0 0 0\nBYE 0 0 0\n");
    in_step(&b);
    say(&a, "REQ 2 0 0 math.add\nPUB 3 0 0 math.log\n");
    hear_error(&a, 2, "no-service", ""); /* nobody takes new ones */
    say(&b, "PUB 9 0 0 no.route\nREP 1 0 2\nok");
    hear_error(&b, 9, "no-route", ""); /* it may still ask */
    hear_exactly(&a, "REP 1 0 2\nok");
    hear_nothing(&b);
    client_close(&b);
    attach(&b, "math");
    hear(&b, VERB_PUB, 1); /* the event has waited */
    client_close(&a);
    client_close(&b);
}
END_TEST

START_TEST(the_daemon_says_bye_once)
{
    attach(&a, "math");
    client_open(&b); /* has not greeted yet */
    in_step(&a);
    hub_drain(hub, true);
    server_stop(server);
    server_bye(server);
    server_bye(server);
    hear_exactly(&a, "BYE 0 0 0\n");
    hear_nothing(&a);
    say(&a, "REQ 1 0 0 math.add\n");
    hear_error(&a, 1, "draining", "shutting down");
    say(&b, "HELLO 0 0 0 math\n");
    hear(&b, VERB_HELLO, 0);
    hear_exactly(&b, "BYE 0 0 0\n");
    client_close(&a);
    client_close(&b);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("local");
    TCase *t = tcase_create("local");
    const TTest *const tests[] = {
        hello_is_answered_with_what_one_has_to_know, a_token_opens,
        nobody_is_let_in_where_every_service_has_other_users, a_request_goes_there_and_back,
        an_event_is_answered_when_it_is_settled, what_cannot_be_taken_is_refused, an_id_is_used_once_at_a_time,
        object_subjects_are_made_canonical, retry_steers, release_gives_back, wait_starts_the_time_out_again, wait_counts_when_the_loop_is_late,
        answers_to_nothing_are_counted, cancel_goes_through, what_a_lost_client_held_goes_to_another,
        the_least_busy_instance_is_next, never_more_than_the_credit_is_out, bye_lets_a_client_finish,
        the_daemon_says_bye_once,
    };
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_set_timeout(t, 60);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(t, tests[i]);
    tcase_add_loop_test(t, hello_is_refused_and_the_connection_ends, 0, (int)(sizeof(refused) / sizeof(refused[0])));
    suite_add_tcase(s, t);
    return run_suite(s);
}
