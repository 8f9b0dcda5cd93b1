/* The life of one delivery: requests and events, attempts, deadlines, streams, fan-out, withdrawal. */
#include "hub_rig.h"
#include "msg/headers.h"

static struct ask a, b;

/* ---------------------------------------------------------------- who is there */

START_TEST(a_request_is_refused_at_once_where_nobody_is_there)
{
    struct hub_counts c;
    use_usual();
    set_up_down(&math, false);
    set_up_down(&edge, false);
    ck_assert_int_eq(offer(MSG_REQUEST, "math.add", "", &a), CODE_NO_SERVICE);
    ck_assert_int_eq(offer(MSG_REQUEST, "edge.x", "", &a), CODE_UNAVAILABLE);
    ck_assert_int_eq(offer(MSG_REQUEST, "nowhere", "", &a), CODE_NO_ROUTE);
    ck_assert_int_eq(offer(MSG_EVENT, "nowhere", "", &a), CODE_NO_ROUTE);
    hub_counts(hub, &c);
    ck_assert_uint_eq(c.refused[CODE_NO_SERVICE], 1);
    ck_assert_uint_eq(c.refused[CODE_UNAVAILABLE], 1);
    ck_assert_uint_eq(c.refused[CODE_NO_ROUTE], 2);
    ck_assert_uint_eq(c.accepted, 0);
    all_over();
}
END_TEST

START_TEST(a_request_is_answered)
{
    use_usual();
    request("math.add", "x: y\n", &a);
    struct handover *h = oldest(&math);
    ck_assert(h->kind == MSG_REQUEST && h->attempt == 1 && h->deadline_ms == now_ms + 1000);
    ck_assert(str_is(h->subject, "math.add") && str_is(h->msg->body, "body") && h->to->extra == NULL);
    settle_ok(&math);
    heard(&a, CODE_OK, "fine");
    ck_assert_uint_eq(count_of(DELIVERY_DONE), 1);
    all_over();
}
END_TEST

START_TEST(waiting_requests_are_refused_when_the_last_one_leaves)
{
    struct ask c;
    use_usual();
    math.room = 1;
    request("math.add", "", &a);
    request("math.add", "", &b); /* ready: no room */
    settle(&math, OUTCOME_RETRY, CODE_UNAVAILABLE, "");
    make_room(&math, 1); /* b is in flight, a waits for its second attempt */
    request("math.add", "", &c);
    publish("math.add", "", NULL);
    ck_assert_uint_eq(status_of(&math).waiting, 1);
    ck_assert_uint_eq(status_of(&math).ready, 2);
    set_up_down(&math, false);
    heard(&a, CODE_UNAVAILABLE, "who had the request has gone"); /* and may have done it */
    heard(&c, CODE_NO_SERVICE, "nobody is there");
    ck_assert_uint_eq(b.answers, 0); /* its peer settles it */
    settle(&math, OUTCOME_RETRY, CODE_UNAVAILABLE, "gone");
    heard(&b, CODE_UNAVAILABLE, "gone"); /* nobody to try again with */
    ck_assert_uint_eq(hub_live(hub), 1); /* the event stays */
    ck_assert_uint_eq(hub_deliverable(hub), 0);
}
END_TEST

START_TEST(events_wait_for_their_destination)
{
    use_usual();
    set_up_down(&shop, false);
    publish("shop", "", &a);
    publish("shop", "", NULL);
    pass(3600 * 1000);
    ck_assert_uint_eq(shop.sent, 0);
    ck_assert_uint_eq(a.answers, 0);
    set_up_down(&shop, true);
    ck_assert_uint_eq(shop.sent, 2);
    ck_assert_uint_eq(oldest(&shop)->attempt, 1);
    settle_ok(&shop);
    heard(&a, CODE_OK, "");
    ck_assert_str_eq(a.body, ""); /* an event has no reply */
    settle_ok(&shop);
    all_over();
}
END_TEST

START_TEST(order_is_kept_when_there_is_no_room)
{
    char subject[32];
    use_usual();
    math.room = 1;
    for (int i = 0; i < 20; i++) {
        snprintf(subject, sizeof(subject), "math.%d", i);
        publish(subject, "", NULL);
    }
    for (int i = 0; i < 20; i++) {
        snprintf(subject, sizeof(subject), "math.%d", i);
        ck_assert(str_is(oldest(&math)->subject, subject));
        settle_ok(&math);
    }
    all_over();
}
END_TEST

/* ---------------------------------------------------------------- attempts */

static const struct dead_letter *letter;

static void on_dead(void *arg, const struct dead_letter *d)
{
    ++*(size_t *)arg;
    letter = d;
}

static const struct dead_letter *only_dead(void)
{
    size_t n = 0;
    hub_each_dead(hub, &(struct dead_query){.limit = 0}, on_dead, &n);
    ck_assert_uint_eq(n, 1);
    return letter;
}

START_TEST(attempts_are_used_up_then_it_is_dead)
{
    static const int64_t pauses[] = {100, 200};
    use_usual();
    publish("shop", "id: lost\n", &a);
    for (unsigned attempt = 1; attempt <= 3; attempt++) {
        ck_assert_uint_eq(shop.sent, attempt);
        ck_assert_uint_eq(oldest(&shop)->attempt, attempt);
        settle(&shop, OUTCOME_RETRY, CODE_FAILED, attempt == 1 ? "first" : attempt == 2 ? "second" : "third");
        if (attempt == 3)
            break;
        ck_assert_uint_eq(status_of(&shop).waiting, 1);
        pass(pauses[attempt - 1] - 1);
        ck_assert_uint_eq(shop.sent, attempt);
        pass(1);
    }
    heard(&a, CODE_FAILED, "third");
    const struct dead_letter *d = only_dead();
    ck_assert(str_is(d->msg->id, "lost") && d->attempts == 3 && d->reason == CODE_FAILED);
    ck_assert_str_eq(d->first_error, "failed: first");
    ck_assert_str_eq(d->last_error, "failed: third");
    ck_assert_str_eq(d->subject, "shop");
    ck_assert_str_eq(route_name(d->route), "shop");
    ck_assert_str_eq(dest_name(d->dest), "shop");
    ck_assert_int_eq(d->time_wall_ms, WALL + 1300);
    ck_assert_uint_eq(hub_dead_count(hub), 1);
    struct dest_status s = status_of(&shop);
    ck_assert(s.dead == 1 && s.failed == 1 && s.retries == 2 && s.done == 0);
    all_over();
}
END_TEST

/* Without a store it is an ordinary event there. */
START_TEST(dead_goes_to_another_destination)
{
    struct target_conf to = {.name = (char *)(uintptr_t)"shop", .service = true, .subject = (char *)(uintptr_t)"grave"};
    plain->policy.dead_letter_to = &to;
    use_usual();
    publish("math.sum", "id: one\n", &a);
    settle(&math, OUTCOME_REJECT, CODE_INVALID, "no such sum");
    heard(&a, CODE_INVALID, "no such sum");
    ck_assert(str_is(oldest(&shop)->subject, "grave") && str_is(oldest(&shop)->msg->id, "one"));
    ck_assert_uint_eq(headers_get(oldest(&shop)->msg->headers, "reason").n > 20, 1);
    ck_assert_uint_eq(hub_dead_count(hub), 0);
    settle(&shop, OUTCOME_REJECT, CODE_INVALID, "no");
    ck_assert(shop.sent == 1 && only_dead()->sent_on); /* no loop */
    ck_assert_uint_eq(hub_redrive(hub, &(struct dead_query){.limit = 0}, false), 1);
    settle(&shop, OUTCOME_REJECT, CODE_INVALID, "no");
    ck_assert(shop.sent == 2 && only_dead()->sent_on);
    set_up_down(&shop, false);
    limits(1 << 20, 1, 100); /* no room there: it is kept */
    publish("math.sum", "", NULL);
    publish("shop", "", NULL);
    settle(&math, OUTCOME_REJECT, CODE_INVALID, "no such sum");
    ck_assert_uint_eq(hub_dead_count(hub), 2);
    set_up_down(&shop, true);
    settle_ok(&shop);
    all_over();
}
END_TEST

START_TEST(what_is_rejected_is_dead_at_once)
{
    use_usual();
    publish("shop", "", &a);
    settle(&shop, OUTCOME_REJECT, CODE_INVALID, "no such shop");
    heard(&a, CODE_INVALID, "no such shop");
    ck_assert_uint_eq(only_dead()->attempts, 1);
    ck_assert_str_eq(only_dead()->first_error, only_dead()->last_error);
    ck_assert_uint_eq(shop.sent, 1);
    all_over();
}
END_TEST

START_TEST(what_need_not_be_kept_is_dropped)
{
    plain->policy.dead_letter = false;
    plain->policy.retry.attempts = 1;
    use_usual();
    publish("shop", "", &a);
    settle(&shop, OUTCOME_RETRY, CODE_FAILED, "oops");
    heard(&a, CODE_FAILED, "oops");
    ck_assert_uint_eq(hub_dead_count(hub), 0);
    ck_assert_uint_eq(count_of(DELIVERY_DROPPED), 1);
    all_over();
}
END_TEST

START_TEST(the_peers_wish_is_the_pause)
{
    use_usual();
    publish("shop", "", NULL);
    settle_with(&shop, (struct settlement){.outcome = OUTCOME_RETRY, .retry_after_ms = 7000, .reply = {.code = CODE_FAILED}});
    pass(6999);
    ck_assert_uint_eq(shop.sent, 1);
    pass(1);
    ck_assert_uint_eq(shop.sent, 2);
    settle_with(&shop, (struct settlement){.outcome = OUTCOME_RETRY, .retry_after_ms = 0, .reply = {.code = CODE_FAILED}});
    pass(0);
    ck_assert_uint_eq(shop.sent, 3);
}
END_TEST

START_TEST(what_is_held_counts_no_attempt)
{
    use_usual();
    publish("shop", "", &a);
    for (unsigned i = 1; i <= 50; i++) {
        ck_assert_uint_eq(oldest(&shop)->attempt, 1);
        settle(&shop, OUTCOME_HOLD, CODE_OK, "");
        ck_assert_uint_eq(shop.sent, i); /* a pause, or it would spin */
        pass(20);
    }
    settle_ok(&shop);
    heard(&a, CODE_OK, "");
    ck_assert_uint_eq(status_of(&shop).retries, 0);
    all_over();
}
END_TEST

/* The only instance says BYE, then gives back what it had not begun. */
START_TEST(a_request_given_back_by_the_last_one_is_refused)
{
    use_usual();
    request("math.add", "", &a);
    publish("math.add", "", &b);
    set_up_down(&math, false);
    settle(&math, OUTCOME_HOLD, CODE_OK, "");
    heard(&a, CODE_NO_SERVICE, "nobody is there");
    settle(&math, OUTCOME_HOLD, CODE_OK, "");
    pass(5000);
    ck_assert_uint_eq(b.answers, 0);
    set_up_down(&math, true);
    ck_assert_uint_eq(oldest(&math)->attempt, 1);
    settle_ok(&math);
    heard(&b, CODE_OK, "");
    all_over();
}
END_TEST

START_TEST(an_attempt_that_is_not_answered_is_repeated)
{
    struct hub_counts c;
    use_usual();
    publish("shop", "", &a);
    pass(999);
    ck_assert_uint_eq(shop.cancelled, 0);
    pass(1);
    ck_assert_uint_eq(shop.cancelled, 1);
    ck_assert_uint_eq(shop.abandoned, 0); /* it may still come to an end over there */
    pass(100);
    ck_assert_uint_eq(oldest(&shop)->attempt, 2);
    pass(1000 + 200 + 1000);
    heard(&a, CODE_TIMEOUT, "shop did not answer within 1s");
    hub_counts(hub, &c);
    ck_assert_uint_eq(c.timeouts, 3);
    ck_assert_int_eq(only_dead()->reason, CODE_TIMEOUT);
    all_over();
}
END_TEST

/* ---------------------------------------------------------------- requests: which of them are repeated */

static void fail_request(bool final)
{
    settle_with(&math, (struct settlement){.outcome = OUTCOME_RETRY, .retry_after_ms = -1, .final = final,
                                           .reply = {.code = CODE_FAILED, .body = STR("no")}});
}

START_TEST(a_request_is_repeated_where_that_does_no_harm)
{
    use_usual();
    request("math.add", "timeout: 10s\n", &a);
    fail_request(false);
    ck_assert_uint_eq(a.answers, 0);
    pass(100);
    ck_assert_uint_eq(oldest(&math)->attempt, 2);
    fail_request(true); /* the service itself has answered */
    heard(&a, CODE_FAILED, "no");
    ck_assert_uint_eq(hub_dead_count(hub), 0); /* a request never becomes a dead letter */
    all_over();
}
END_TEST

START_TEST(a_request_that_may_not_be_repeated_is_not)
{
    plain->policy.idempotent = false;
    use_usual();
    request("math.add", "timeout: 10s\n", &a);
    fail_request(false);
    heard(&a, CODE_FAILED, "no");
    publish("math.add", "", &b); /* an event is */
    fail_request(false);
    pass(100);
    ck_assert_uint_eq(oldest(&math)->attempt, 2);
    settle_ok(&math);
    ck_assert_uint_eq(math.sent, 3);
    all_over();
}
END_TEST

START_TEST(a_request_is_not_repeated_beyond_its_deadline)
{
    use_usual();
    request("math.add", "timeout: 100ms\n", &a);
    fail_request(false); /* the pause alone would be 100 ms */
    heard(&a, CODE_FAILED, "no");
    all_over();
}
END_TEST

START_TEST(a_reply_that_has_begun_is_never_repeated)
{
    struct reply item = {.body = STR("1")};
    use_usual();
    for (int i = 0; i < 2; i++) {
        request("math.add", "timeout: 10s\n", &a);
        struct handover *h = oldest(&math);
        ck_assert(h->core->more(h, &item, NULL));
        a.full = true;
        ck_assert(!h->core->more(h, &item, &waiter));
        if (i == 0)
            fail_request(false);
        else
            pass(1000);
        heard(&a, i == 0 ? CODE_FAILED : CODE_TIMEOUT, "");
        ck_assert_uint_eq(a.items, 2);
    }
    ck_assert_uint_eq(math.sent, 2);
    publish("math.add", "", NULL); /* items for nobody */
    ck_assert(oldest(&math)->core->more(oldest(&math), &item, NULL));
    settle_ok(&math);
    all_over();
}
END_TEST

/* ---------------------------------------------------------------- deadlines */

START_TEST(the_askers_deadline_ends_a_request)
{
    use_usual();
    request("math.add", "timeout: 200ms\n", &a);
    ck_assert_int_eq(oldest(&math)->deadline_ms, now_ms + 200);
    pass(199);
    ck_assert_uint_eq(a.answers, 0);
    pass(1);
    heard(&a, CODE_TIMEOUT, "math did not answer within 200ms");
    ck_assert_uint_eq(math.abandoned, 1);
    all_over();
}
END_TEST

START_TEST(the_policys_timeout_ends_a_request_without_one)
{
    use_usual();
    request("math.add", "", &a);
    pass(999);
    ck_assert_uint_eq(a.answers, 0);
    pass(1);
    heard(&a, CODE_TIMEOUT, "math did not answer within 1s");
    ck_assert_uint_eq(math.sent, 1);
    all_over();
}
END_TEST

START_TEST(a_patient_asker_gets_more_attempts)
{
    use_usual();
    request("math.add", "timeout: 2500ms\n", &a);
    ck_assert_int_eq(oldest(&math)->deadline_ms, now_ms + 1000); /* of this attempt */
    pass(1000 + 100);
    ck_assert_uint_eq(oldest(&math)->attempt, 2);
    pass(1000 + 200);
    ck_assert_uint_eq(oldest(&math)->attempt, 3);
    ck_assert_int_eq(oldest(&math)->deadline_ms, now_ms + 200); /* what is left */
    settle_ok(&math);
    heard(&a, CODE_OK, "fine");
    all_over();
}
END_TEST

START_TEST(a_request_that_is_never_sent_times_out_too)
{
    use_usual();
    math.room = 0;
    request("math.add", "timeout: 300ms\n", &a);
    request("math.add", "", &b);
    pass(300);
    heard(&a, CODE_TIMEOUT, "no answer");
    pass(700);
    heard(&b, CODE_TIMEOUT, "no answer");
    ck_assert_uint_eq(count_of(DELIVERY_EXPIRED), 0);
    all_over();
}
END_TEST

static void extend(struct fake *f)
{
    oldest(f)->core->extend(oldest(f));
    sound();
}

START_TEST(wait_moves_the_deadline_of_an_asker_who_named_none)
{
    use_usual();
    request("math.add", "", &a);
    for (int i = 0; i < 10; i++) {
        pass(900);
        extend(&math);
        ck_assert_int_eq(oldest(&math)->deadline_ms, now_ms + 1000);
    }
    pass(999);
    ck_assert_uint_eq(a.answers, 0);
    settle_ok(&math);
    heard(&a, CODE_OK, "fine");
    request("math.add", "", &a);
    pass(900);
    extend(&math);
    pass(1000);
    heard(&a, CODE_TIMEOUT, "");
    all_over();
}
END_TEST

START_TEST(wait_moves_no_deadline_that_the_asker_named)
{
    use_usual();
    request("math.add", "timeout: 1500ms\n", &a);
    pass(900);
    extend(&math);
    ck_assert_int_eq(oldest(&math)->deadline_ms, now_ms + 600);
    pass(599);
    ck_assert_uint_eq(a.answers, 0);
    pass(1);
    heard(&a, CODE_TIMEOUT, "math did not answer within 1500ms");
    ck_assert_uint_eq(math.sent, 1); /* the time-out of the attempt did start again */
    all_over();
}
END_TEST

START_TEST(wait_keeps_an_event_but_not_beyond_its_ttl)
{
    use_usual();
    publish("shop", "ttl: 3s\n", &a);
    for (int i = 0; i < 3; i++) {
        pass(900);
        extend(&shop);
    }
    ck_assert_int_eq(oldest(&shop)->deadline_ms, now_ms + 300);
    pass(300);
    heard(&a, CODE_EXPIRED, "");
    all_over();
}
END_TEST

/* ---------------------------------------------------------------- time to live */

START_TEST(an_event_expires_while_it_is_ready)
{
    use_usual();
    set_up_down(&shop, false);
    publish("shop", "ttl: 5s\n", &a);
    pass(4999);
    ck_assert_uint_eq(a.answers, 0);
    pass(1);
    heard(&a, CODE_EXPIRED, "time to live");
    ck_assert_uint_eq(count_of(DELIVERY_EXPIRED), 1);
    set_up_down(&shop, true);
    ck_assert_uint_eq(shop.sent, 0);
    all_over();
}
END_TEST

START_TEST(an_event_expires_while_it_waits)
{
    use_usual();
    publish("shop", "ttl: 150ms\n", &a);
    settle(&shop, OUTCOME_RETRY, CODE_FAILED, "");
    pass(100);
    settle(&shop, OUTCOME_RETRY, CODE_FAILED, ""); /* the next pause is longer than what is left */
    pass(49);
    ck_assert_uint_eq(a.answers, 0);
    pass(1);
    heard(&a, CODE_EXPIRED, "");
    ck_assert_uint_eq(count_of(DELIVERY_EXPIRED), 1);
    all_over();
}
END_TEST

/* In flight, and it is no dead letter although this was its last attempt. */
START_TEST(an_event_expires_in_flight)
{
    plain->policy.retry.attempts = (uint64_t)_i;
    use_usual();
    publish("shop", "ttl: 500ms\n", &a);
    ck_assert_int_eq(oldest(&shop)->deadline_ms, now_ms + 500);
    pass(500);
    heard(&a, CODE_EXPIRED, "");
    ck_assert_uint_eq(shop.cancelled, 1);
    ck_assert_uint_eq(count_of(DELIVERY_EXPIRED), 1);
    ck_assert_uint_eq(hub_dead_count(hub), 0);
    ck_assert_uint_eq(status_of(&shop).retries, 0);
    all_over();
}
END_TEST

START_TEST(the_shorter_ttl_counts)
{
    plain->policy.ttl_ms = 2000;
    use_usual();
    set_up_down(&shop, false);
    publish("shop", "", &a);
    publish("shop", "ttl: 1s\n", &b);
    pass(1000);
    heard(&b, CODE_EXPIRED, "");
    pass(999);
    ck_assert_uint_eq(a.answers, 0);
    pass(1);
    heard(&a, CODE_EXPIRED, "");
    publish("shop", "ttl: 1h\n", &a);
    pass(2000);
    heard(&a, CODE_EXPIRED, "");
    all_over();
}
END_TEST

/* ---------------------------------------------------------------- fan-out */

START_TEST(fan_out_is_settled_once_with_the_first_failure)
{
    plain->policy.retry.attempts = 1;
    use_usual();
    publish("all", "", &a);
    ck_assert(oldest(&math)->msg == oldest(&shop)->msg && oldest(&shop)->msg == oldest(&edge)->msg);
    settle(&shop, OUTCOME_REJECT, CODE_INVALID, "the first");
    settle_ok(&math);
    ck_assert_uint_eq(a.answers, 0);
    settle(&edge, OUTCOME_RETRY, CODE_UNAVAILABLE, "the second");
    heard(&a, CODE_INVALID, "the first");
    publish("all", "", &a);
    settle_ok(&edge);
    settle_ok(&math);
    settle_ok(&shop);
    heard(&a, CODE_OK, "");
    ck_assert_uint_eq(hub_dead_count(hub), 2);
    struct hub_counts c;
    hub_counts(hub, &c);
    ck_assert(c.messages == 2 && c.accepted == 6);
    all_over();
}
END_TEST

START_TEST(a_request_to_many_is_answered_by_the_first)
{
    use_usual();
    request("all", "", &a);
    ck_assert(oldest(&math)->kind == MSG_REQUEST && oldest(&shop)->kind == MSG_EVENT);
    settle_ok(&math);
    heard(&a, CODE_OK, "fine");
    settle(&shop, OUTCOME_RETRY, CODE_FAILED, ""); /* a copy has its own life */
    pass(100);
    ck_assert_uint_eq(oldest(&shop)->attempt, 2);
    settle_ok(&shop);
    settle_ok(&edge);
    all_over();
}
END_TEST

START_TEST(a_message_is_taken_for_all_of_its_targets_or_for_none)
{
    use_usual();
    limits(1 << 20, 2, 10);
    set_up_down(&edge, false);
    for (int i = 0; i < 2; i++)
        publish("edge.x", "", NULL);
    ck_assert_int_eq(offer(MSG_EVENT, "all", "", &a), CODE_OVERLOADED); /* the third target is full, and down */
    ck_assert_uint_eq(math.sent + shop.sent, 0);
    set_up_down(&math, false);
    ck_assert_int_eq(offer(MSG_REQUEST, "all", "", &a), CODE_NO_SERVICE);
    ck_assert_uint_eq(hub_live(hub), 2);
}
END_TEST

/* Of a route without `match`: what the source's own wildcards stood for, whatever way the message takes. */
START_TEST(captures_are_the_sources)
{
    struct route_view view;
    struct captures c = {.count = 0};
    ROUTE_AS(NULL, "x.{1}", &math);
    plain->routes[0].name = (char *)(uintptr_t)"all";
    plain->routes[0].filter = (char *)(uintptr_t)"site.*.temp";
    routes_use();
    publish("site.7.temp", "", NULL);
    ck_assert(str_is(oldest(&math)->subject, "x.7"));
    settle_ok(&math);
    publish("other", "", NULL); /* of a queue's default binding, say */
    ck_assert(str_is(oldest(&math)->subject, "x."));
    settle_ok(&math);
    ck_assert(hub_explain(hub, "in", STR("site.8.temp"), &view, &c));
    ck_assert(c.count == 1 && str_is(c.text[0], "8"));
}
END_TEST

START_TEST(subjects_are_made_by_templates)
{
    char subject[1100];
    ROUTE_AS("a.*.>", "x.{2}.{1}", &edge);
    ROUTE_AS("b.*", "{1}{1}", &shop);
    routes_use();
    publish("a.1.2.3", "", NULL);
    ck_assert(str_is(oldest(&edge)->subject, "x.2.3.1"));
    ck_assert(str_is(oldest(&edge)->msg->subject, "a.1.2.3"));
    snprintf(subject, sizeof(subject), "b.%0600d", 7);
    publish(subject, "", NULL);
    ck_assert(str_is(oldest(&shop)->subject, subject)); /* too long when expanded: as it was */
    settle_ok(&shop);
    publish("b.7", "", NULL);
    ck_assert(str_is(oldest(&shop)->subject, "77"));
}
END_TEST

/* ---------------------------------------------------------------- withdrawal */

START_TEST(a_withdrawn_request_is_cancelled_where_it_is)
{
    struct ask c;
    use_usual();
    math.room = 1;
    request("math.add", "", &a);
    request("math.add", "", &b);
    request("math.add", "timeout: 10s\n", &c);
    withdraw(&b); /* ready */
    ck_assert_uint_eq(math.cancelled, 0);
    withdraw(&a); /* in flight */
    ck_assert_uint_eq(math.abandoned, 1);
    make_room(&math, 1);
    fail_request(false);
    withdraw(&c); /* waiting */
    pass(20000);
    ck_assert_uint_eq(a.answers + b.answers + c.answers, 0);
    ck_assert_uint_eq(count_of(DELIVERY_DROPPED), 3);
    all_over();
}
END_TEST

START_TEST(a_withdrawn_event_goes_on)
{
    use_usual();
    publish("all", "", &a);
    withdraw(&a);
    settle_ok(&math);
    settle_ok(&edge);
    settle_ok(&shop);
    ck_assert_uint_eq(a.answers, 0);
    ck_assert_uint_eq(count_of(DELIVERY_DONE), 3);
    all_over();
}
END_TEST

START_TEST(the_end_of_the_hub_tells_nobody)
{
    struct ask c;
    use_usual();
    math.room = 1;
    request("math.add", "", &a);
    request("math.add", "", &b);
    publish("all", "", &c);
    publish("edge.x", "", NULL);
    settle(&shop, OUTCOME_REJECT, CODE_INVALID, ""); /* a dead letter too */
    tear_down();
    ck_assert_uint_eq(a.answers + b.answers + c.answers, 0);
    set_up(); /* for the fixture */
}
END_TEST

int main(void)
{
    Suite *s = suite_create("hub");
    TCase *t = tcase_create("hub");
    const TTest *const tests[] = {
        a_request_is_refused_at_once_where_nobody_is_there, a_request_is_answered,
        waiting_requests_are_refused_when_the_last_one_leaves, events_wait_for_their_destination,
        order_is_kept_when_there_is_no_room, attempts_are_used_up_then_it_is_dead, what_is_rejected_is_dead_at_once, dead_goes_to_another_destination,
        what_need_not_be_kept_is_dropped, the_peers_wish_is_the_pause, what_is_held_counts_no_attempt,
        a_request_given_back_by_the_last_one_is_refused, an_attempt_that_is_not_answered_is_repeated,
        a_request_is_repeated_where_that_does_no_harm, a_request_that_may_not_be_repeated_is_not,
        a_request_is_not_repeated_beyond_its_deadline, a_reply_that_has_begun_is_never_repeated,
        the_askers_deadline_ends_a_request, the_policys_timeout_ends_a_request_without_one,
        a_patient_asker_gets_more_attempts, a_request_that_is_never_sent_times_out_too,
        wait_moves_the_deadline_of_an_asker_who_named_none, wait_moves_no_deadline_that_the_asker_named,
        wait_keeps_an_event_but_not_beyond_its_ttl, an_event_expires_while_it_is_ready,
        an_event_expires_while_it_waits, the_shorter_ttl_counts, fan_out_is_settled_once_with_the_first_failure,
        a_request_to_many_is_answered_by_the_first, a_message_is_taken_for_all_of_its_targets_or_for_none,
        subjects_are_made_by_templates, captures_are_the_sources, a_withdrawn_request_is_cancelled_where_it_is, a_withdrawn_event_goes_on,
        the_end_of_the_hub_tells_nobody,
    };
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_set_timeout(t, 60);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(t, tests[i]);
    tcase_add_loop_test(t, an_event_expires_in_flight, 1, 3);
    suite_add_tcase(s, t);
    return run_suite(s);
}
