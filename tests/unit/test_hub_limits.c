/* What holds the core within bounds and what changes under it: queues, memory, breakers, dead letters,
 * reloads, subscriptions. */
#include "hub_rig.h"

static struct ask a, b;

/* ---------------------------------------------------------------- queues and memory */

START_TEST(a_full_queue_holds_its_source_until_it_is_half_empty)
{
    use_usual();
    limits(1 << 20, 10, 10);
    math.room = 0;
    for (int i = 0; i < 10; i++)
        publish("math.x", "", NULL);
    ck_assert_int_eq(offer(MSG_EVENT, "math.x", "", &a), CODE_BUSY);
    ck_assert_int_eq(offer(MSG_REQUEST, "math.x", "", &b), CODE_OVERLOADED);
    ck_assert_uint_eq(hub_live(hub), 10);
    make_room(&math, 4); /* six wait */
    ck_assert_uint_eq(resumed, 0);
    make_room(&math, 5);
    ck_assert_uint_eq(resumed, 1);
    ck_assert_int_eq(offer(MSG_EVENT, "math.x", "", &a), CODE_OK);
    ck_assert_ptr_null(waiter.in);
    publish("shop", "", NULL); /* others are not concerned */
}
END_TEST

START_TEST(what_waits_for_its_next_attempt_counts_for_the_queue)
{
    plain->policy.retry.delay_ms = plain->policy.retry.max_delay_ms = 1000;
    use_usual();
    limits(1 << 20, 3, 10);
    for (int i = 0; i < 3; i++) {
        publish("shop", "", NULL);
        settle(&shop, OUTCOME_RETRY, CODE_FAILED, "");
    }
    ck_assert_int_eq(offer(MSG_EVENT, "shop", "", NULL), CODE_BUSY);
    pass(1000);
    ck_assert_uint_eq(resumed, 1);
}
END_TEST

START_TEST(a_source_is_not_held_where_nobody_makes_room)
{
    use_usual();
    limits(1 << 20, 2, 10);
    set_up_down(&math, false);
    publish("math.x", "", NULL);
    publish("math.x", "", NULL);
    ck_assert_int_eq(offer(MSG_EVENT, "math.x", "", &a), CODE_OVERLOADED);
    set_up_down(&math, true);
    math.room = 0;
    settle_ok(&math);
    settle_ok(&math);
    publish("math.x", "", NULL);
    publish("math.x", "", NULL);
    ck_assert_int_eq(offer(MSG_EVENT, "math.x", "", &a), CODE_BUSY);
    set_up_down(&math, false); /* it need not wait for one that has gone */
    ck_assert_uint_eq(resumed, 1);
}
END_TEST

START_TEST(a_source_that_cannot_wait_is_refused)
{
    struct hub_counts c;
    const char *what;
    use_usual();
    limits(1 << 20, 1, 10);
    math.room = 0;
    publish("math.x", "", NULL);
    struct msg *m = msg_new(in->factory, &(struct msg_input){.subject = STR("math.x")}, &what);
    ck_assert_int_eq(intake_accept(in, m, NULL, NULL, NULL), CODE_OVERLOADED);
    msg_unref(m);
    hub_counts(hub, &c);
    ck_assert_uint_eq(c.refused[CODE_OVERLOADED], 1);
    ck_assert_uint_eq(c.refused[CODE_BUSY], 0);
}
END_TEST

START_TEST(memory_is_bounded)
{
    uint64_t one;
    use_usual();
    edge.room = 0;
    publish("edge.x", "", NULL);
    one = hub_memory(hub);
    limits(one * 2 + one / 2, 1000, 10);
    publish("math.x", "", NULL); /* nobody holds much: test_hub_share.c has what one may */
    ck_assert_int_eq(offer(MSG_EVENT, "shop", "", NULL), CODE_BUSY);
    ck_assert_ptr_nonnull(waiter.in);
    ck_assert_ptr_null(in->why);
    ck_assert_uint_le(hub_memory(hub), one * 2 + one / 2);
    ck_assert_int_eq(offer(MSG_REQUEST, "shop", "", &a), CODE_OVERLOADED);
    make_room(&edge, 1000);
    ck_assert_uint_eq(resumed, 0); /* in flight it is held as well */
    settle_ok(&math);
    ck_assert_uint_eq(resumed, 1);
    ck_assert_uint_eq(hub_memory(hub), one);
    ck_assert_int_eq(offer(MSG_EVENT, "math.x", "", NULL), CODE_OK);
    waiter_cancel(&waiter);
    limits(one - 1, 1000, 10); /* can never fit: not held, refused */
    settle_ok(&math);
    settle_ok(&edge);
    ck_assert_int_eq(offer(MSG_EVENT, "math.x", "", NULL), CODE_OVERLOADED);
    ck_assert_ptr_null(waiter.in);
    all_over();
}
END_TEST

START_TEST(a_flood_of_what_is_due_is_done_in_parts)
{
    use_usual();
    limits(16 << 20, 10000, 10);
    set_up_down(&shop, false);
    for (int i = 0; i < 2500; i++)
        publish("shop", "ttl: 1s\n", NULL);
    now_ms += 1000;
    for (int turn = 1; turn <= 3; turn++) {
        ck_assert_int_le(armed_ms, now_ms);
        armed_ms = INT64_MAX;
        hub_tick(hub);
        ck_assert_uint_eq(count_of(DELIVERY_EXPIRED), turn < 3 ? (uint64_t)turn * 1000 : 2500);
    }
    ck_assert_int_eq(armed_ms, INT64_MAX);
    all_over();
}
END_TEST

/* ---------------------------------------------------------------- the breaker */

static void trouble_at(struct fake *f)
{
    settle(f, OUTCOME_RETRY, CODE_UNAVAILABLE, "down");
}

/* Three failures in a row: the events wait, 500 ms until the first probe. */
static void open_breaker(void)
{
    plain->policy.breaker = (struct breaker_conf){.failures = 3, .open_for_ms = 500, .probes = 1};
    plain->policy.retry = (struct retry_conf){.attempts = 100, .delay_ms = 10000, .factor = 1, .max_delay_ms = 10000,
                                              .jitter = JITTER_NONE};
    use_usual();
    for (int i = 0; i < 3; i++) {
        ck_assert_str_eq(status_of(&shop).breaker, "closed");
        publish("shop", "", NULL);
        trouble_at(&shop);
    }
    ck_assert_str_eq(status_of(&shop).breaker, "open");
}

START_TEST(an_open_breaker_refuses_requests_and_holds_events)
{
    open_breaker();
    unsigned sent = shop.sent;
    ck_assert_int_eq(offer(MSG_REQUEST, "shop", "", &a), CODE_UNAVAILABLE);
    for (int i = 0; i < 5; i++)
        publish("shop", "", NULL);
    pass(499);
    ck_assert_uint_eq(shop.sent, sent);
    pass(1);
    ck_assert_uint_eq(shop.sent, sent + 1); /* one probe */
    ck_assert_str_eq(status_of(&shop).breaker, "half-open");
    ck_assert_int_eq(offer(MSG_REQUEST, "shop", "", &a), CODE_UNAVAILABLE);
    pass(900);
    ck_assert_uint_eq(shop.sent, sent + 1);
    trouble_at(&shop);
    ck_assert_str_eq(status_of(&shop).breaker, "open");
    pass(499);
    ck_assert_uint_eq(shop.sent, sent + 1);
    pass(1);
    ck_assert_uint_eq(shop.sent, sent + 2);
    settle_ok(&shop);
    ck_assert_str_eq(status_of(&shop).breaker, "closed");
    ck_assert_uint_eq(shop.held.count, 3); /* all the rest at once */
    request("math.x", "", &a); /* others were never concerned */
}
END_TEST

START_TEST(a_request_may_be_the_probe)
{
    open_breaker();
    pass(500);
    request("shop", "", &a);
    ck_assert_str_eq(status_of(&shop).breaker, "half-open");
    ck_assert_int_eq(offer(MSG_REQUEST, "shop", "", &b), CODE_UNAVAILABLE);
    settle_ok(&shop);
    heard(&a, CODE_OK, "fine");
    request("shop", "", &b);
}
END_TEST

/* The probe ends without a word about the destination: the next one takes its place. */
START_TEST(a_probe_that_is_withdrawn_lets_the_next_one_through)
{
    open_breaker();
    pass(500);
    request("shop", "", &a);
    publish("shop", "", &b);
    publish("shop", "", NULL);
    ck_assert_uint_eq(shop.held.count, 1);
    withdraw(&a);
    ck_assert_uint_eq(shop.held.count, 1);
    settle_ok(&shop);
    heard(&b, CODE_OK, "");
    ck_assert_uint_eq(shop.held.count, 1);
    ck_assert_str_eq(status_of(&shop).breaker, "closed");
}
END_TEST

START_TEST(a_probe_that_is_given_back_lets_the_next_one_through)
{
    open_breaker();
    publish("shop", "", NULL);
    publish("shop", "", &b);
    pass(500);
    settle(&shop, OUTCOME_HOLD, CODE_OK, "");
    settle_ok(&shop);
    heard(&b, CODE_OK, "");
    ck_assert_str_eq(status_of(&shop).breaker, "closed");
}
END_TEST

START_TEST(a_probe_that_is_not_answered_is_a_failure)
{
    open_breaker();
    publish("shop", "", NULL);
    pass(500);
    ck_assert_str_eq(status_of(&shop).breaker, "half-open");
    pass(1000);
    ck_assert_str_eq(status_of(&shop).breaker, "open");
}
END_TEST

START_TEST(only_trouble_of_the_destination_opens_it)
{
    static const enum code harmless[] = {CODE_FAILED, CODE_INVALID, CODE_DENIED, CODE_TOO_LARGE};
    static const enum code troubles[] = {CODE_TIMEOUT, CODE_UNAVAILABLE, CODE_OVERLOADED, CODE_INTERNAL};
    plain->policy.breaker = (struct breaker_conf){.failures = 1, .open_for_ms = 500, .probes = 1};
    use_usual();
    for (int i = 0; i < 4; i++) {
        publish("shop", "", NULL);
        settle(&shop, OUTCOME_RETRY, harmless[i], "");
        publish("shop", "", NULL);
        settle(&shop, OUTCOME_REJECT, troubles[i], "");
        ck_assert_str_eq(status_of(&shop).breaker, "closed");
    }
    for (int i = 0; i < 4; i++) {
        set_up_down(&edge, false);
        set_up_down(&edge, true);
        ck_assert_str_eq(status_of(&edge).breaker, "closed");
        publish("edge.x", "", NULL);
        settle(&edge, OUTCOME_RETRY, troubles[i], "");
        ck_assert_str_eq(status_of(&edge).breaker, "open");
    }
}
END_TEST

START_TEST(new_peers_have_no_record)
{
    open_breaker();
    publish("shop", "", NULL);
    set_up_down(&shop, false);
    set_up_down(&shop, true);
    ck_assert_str_eq(status_of(&shop).breaker, "closed");
    ck_assert_uint_eq(shop.held.count, 1);
}
END_TEST

/* ---------------------------------------------------------------- dead letters */

static char ids[256];

static void on_dead(void *arg, const struct dead_letter *d)
{
    (void)arg;
    size_t n = strlen(ids);
    snprintf(ids + n, sizeof(ids) - n, STR_FMT " ", STR_ARG(d->msg->id));
}

static const char *dead_ids(const struct dead_query *q)
{
    ids[0] = '\0';
    hub_each_dead(hub, q, on_dead, NULL);
    return ids;
}

static void die(const char *subject, const char *id)
{
    char headers[32];
    struct fake *all[] = {&math, &shop, &edge};
    snprintf(headers, sizeof(headers), "id: %s\n", id);
    publish(subject, headers, NULL);
    for (int i = 0; i < 3; i++) {
        if (!list_empty(&all[i]->held))
            settle(all[i], OUTCOME_REJECT, CODE_FAILED, "no");
    }
}

static const struct dead_query everything = {.limit = 0};

START_TEST(dead_letters_are_found)
{
    use_usual();
    die("math.a", "1");
    die("shop", "2");
    die("math.b", "3");
    die("shop", "4");
    ck_assert_str_eq(dead_ids(&everything), "1 2 3 4 ");
    ck_assert_str_eq(dead_ids(&(struct dead_query){.limit = 3}), "1 2 3 ");
    ck_assert_str_eq(dead_ids(&(struct dead_query){.id = STR("3")}), "3 ");
    ck_assert_str_eq(dead_ids(&(struct dead_query){.route = STR("shop")}), "2 4 ");
    ck_assert_str_eq(dead_ids(&(struct dead_query){.match = STR("math.>")}), "1 3 ");
    ck_assert_str_eq(dead_ids(&(struct dead_query){.match = STR("math.*"), .limit = 1}), "1 ");
    ck_assert_str_eq(dead_ids(&(struct dead_query){.id = STR("2"), .match = STR("math.*")}), "");
    ck_assert_uint_eq(hub_dead_count(hub), 4);
}
END_TEST

START_TEST(a_full_list_drops_its_oldest)
{
    use_usual();
    limits(1 << 20, 100, 3);
    die("shop", "1");
    die("shop", "2");
    die("shop", "3");
    die("shop", "4");
    die("shop", "5");
    ck_assert_str_eq(dead_ids(&everything), "3 4 5 ");
    ck_assert_uint_eq(count_of(DELIVERY_DEAD), 3);
    ck_assert_uint_eq(count_of(DELIVERY_DROPPED), 2);
    limits(2000, 100, 3); /* a quarter of the memory at most */
    die("shop", "6");
    ck_assert_uint_lt(hub_dead_count(hub), 3);
    ck_assert(strstr(dead_ids(&everything), "6 ") != NULL);
    all_over();
}
END_TEST

START_TEST(dead_letters_are_redriven_as_they_were)
{
    plain->policy.ttl_ms = 60000;
    ROUTE_AS("s.*", "to.{1}", &shop);
    routes_use();
    publish("s.1", "id: 1\n", &a);
    settle(&shop, OUTCOME_REJECT, CODE_FAILED, "no");
    heard(&a, CODE_FAILED, "no");
    die("s.2", "2");
    die("s.3", "3");
    pass(3600 * 1000);
    set_up_down(&shop, false);
    ck_assert_uint_eq(hub_redrive(hub, &(struct dead_query){.limit = 2}, true), 2);
    ck_assert_uint_eq(hub_dead_count(hub), 3);
    ck_assert_uint_eq(hub_redrive(hub, &(struct dead_query){.limit = 2}, false), 2);
    sound();
    pass(3600 * 1000); /* their ttl does not count again */
    set_up_down(&shop, true);
    ck_assert_str_eq(dead_ids(&everything), "3 ");
    ck_assert(str_is(oldest(&shop)->subject, "to.1") && str_is(oldest(&shop)->msg->id, "1"));
    ck_assert_uint_eq(oldest(&shop)->attempt, 1); /* anew */
    settle_ok(&shop);
    ck_assert_uint_eq(a.answers, 1); /* its asker has been told long ago */
    settle(&shop, OUTCOME_REJECT, CODE_FAILED, "again");
    ck_assert_str_eq(dead_ids(&everything), "3 2 ");
    struct hub_counts c;
    hub_counts(hub, &c);
    ck_assert(c.accepted == 3 && c.state[DELIVERY_DONE] == 1 && c.state[DELIVERY_DEAD] == 2);
    all_over();
}
END_TEST

START_TEST(dead_letters_are_purged)
{
    use_usual();
    die("shop", "1");
    die("math.a", "2");
    die("shop", "3");
    ck_assert_uint_eq(hub_purge(hub, &(struct dead_query){.route = STR("shop")}, true), 2);
    ck_assert_uint_eq(hub_dead_count(hub), 3);
    ck_assert_uint_eq(hub_purge(hub, &(struct dead_query){.route = STR("shop")}, false), 2);
    ck_assert_str_eq(dead_ids(&everything), "2 ");
    ck_assert_uint_eq(count_of(DELIVERY_DROPPED), 2);
    ck_assert_uint_eq(hub_purge(hub, &everything, false), 1);
    all_over();
}
END_TEST

/* ---------------------------------------------------------------- reload */

START_TEST(a_reload_keeps_the_deliveries_of_the_old_routes)
{
    int freed = 0;
    plain->freed = &freed;
    use_usual();
    publish("shop", "", &a);
    publish("math.x", "id: dead\n", NULL);
    settle(&math, OUTCOME_REJECT, CODE_FAILED, "");
    plain_new();
    plain->policy.timeout_ms = 50;
    ROUTE("math.*", &shop);
    routes_use();
    ck_assert_int_eq(freed, 0);
    ck_assert_int_eq(offer(MSG_EVENT, "shop", "", NULL), CODE_NO_ROUTE);
    publish("math.x", "", &b); /* by the new route, to another destination */
    ck_assert_uint_eq(shop.held.count, 2);
    pass(50);
    ck_assert_uint_eq(shop.held.count, 1); /* the new policy's time-out */
    pass(949);
    ck_assert_uint_eq(a.answers, 0);
    settle_ok(&shop);
    heard(&a, CODE_OK, "");
    ck_assert_int_eq(freed, 0);
    ck_assert_uint_eq(hub_redrive(hub, &(struct dead_query){.id = STR("dead")}, false), 1); /* where it was going */
    ck_assert(str_is(oldest(&math)->msg->id, "dead"));
    settle_ok(&math);
    ck_assert_int_eq(freed, 1); /* with the last of them */
}
END_TEST

START_TEST(a_route_may_come_before_its_destination)
{
    struct fake late = {.sink = {.name = "late", .service = true}};
    ROUTE("late", &late);
    routes_use();
    ck_assert_int_eq(offer(MSG_REQUEST, "late", "", &a), CODE_NO_SERVICE);
    publish("late", "", &a);
    fake_init(&late, "late", true); /* joins what the route has made */
    ck_assert_uint_eq(late.held.count, 1);
    settle_ok(&late);
    heard(&a, CODE_OK, "");
    publish("late", "", &b);
    hub_disown(hub, &late.sink); /* what it holds comes back */
    sound();
    ck_assert_uint_eq(late.cancelled, 1);
    ck_assert(list_empty(&late.held) && late.sink.core == NULL);
    pass(1000);
    fake_init(&late, "late", true);
    ck_assert_uint_eq(oldest(&late)->attempt, 2);
    settle_ok(&late);
    heard(&b, CODE_OK, "");
    hub_disown(hub, &late.sink);
}
END_TEST

START_TEST(a_set_finds_its_destinations_bit_by_bit)
{
    int freed = 0;
    struct dest_status d;
    routes_usual(); /* one destination each, and the last three */
    plain->freed = &freed;
    struct route_set *set = route_set_new(plain, plain_free);
    for (size_t i = 0; i < plain->count; i++)
        route_set_add(set, &plain->routes[i], &plain->policy);
    route_set_default(set, &plain->policy);
    ck_assert(!route_set_bind(set, hub, 1));
    dest_status(math.sink.dest, &d);
    ck_assert(d.routed);
    dest_status(shop.sink.dest, &d);
    ck_assert(!d.routed);
    ck_assert(!route_set_bind(set, hub, 2));
    ck_assert(route_set_bind(set, hub, 1));
    ck_assert(route_set_bind(set, hub, 0));
    ck_assert(!hub_forgettable(shop.sink.dest));
    route_set_unref(set); /* it is not used after all */
    ck_assert(freed == 1 && hub_forgettable(math.sink.dest) && hub_forgettable(shop.sink.dest));

    plain_new();
    use_usual(); /* another one, of which hub_use() does all */
    dest_status(edge.sink.dest, &d);
    ck_assert(d.routed);
    publish("all", "", NULL);
    ck_assert(math.held.count == 1 && shop.held.count == 1 && edge.held.count == 1);
}
END_TEST

static size_t seen_routes;

static void on_route(void *arg, const struct route_view *r)
{
    ck_assert_ptr_eq(arg, &a);
    ck_assert_str_eq(r->from, "in");
    ck_assert_uint_eq(r->matched, strcmp(r->name, "math.*") == 0 ? 2 : 0);
    seen_routes++;
}

START_TEST(routes_explain_themselves)
{
    struct route_view v;
    struct captures c;
    use_usual();
    publish("math.x", "", NULL);
    publish("math.y", "", NULL);
    hub_each_route(hub, on_route, &a);
    ck_assert_uint_eq(seen_routes, 4);
    ck_assert(hub_explain(hub, "in", STR("edge.a.b"), &v, &c));
    ck_assert_str_eq(v.name, "edge.>");
    ck_assert(c.count == 1 && str_is(c.text[0], "a.b"));
    ck_assert(!hub_explain(hub, "in", STR("edge"), &v, &c));
    ck_assert(!hub_explain(hub, "elsewhere", STR("shop"), &v, &c));
}
END_TEST

/* ---------------------------------------------------------------- subscriptions */

START_TEST(subscribers_get_copies_of_events)
{
    struct fake one, two;
    use_usual();
    fake_init(&one, "one", true);
    fake_init(&two, "two", true);
    uint32_t first = hub_subscribe(hub, STR("math.*"), one.sink.dest);
    uint32_t second = hub_subscribe(hub, STR(">"), two.sink.dest);
    publish("math.x", "", &a);
    ck_assert(math.held.count == 1 && one.held.count == 1 && two.held.count == 1);
    ck_assert(str_is(oldest(&one)->subject, "math.x"));
    settle_ok(&math);
    settle_ok(&one);
    ck_assert_uint_eq(a.answers, 0);
    settle_ok(&two);
    heard(&a, CODE_OK, "");
    request("math.x", "", &b); /* requests are not for them */
    ck_assert_uint_eq(one.held.count + two.held.count, 0);
    publish("no.route", "", NULL); /* a subscriber is enough */
    settle(&two, OUTCOME_REJECT, CODE_FAILED, "");
    ck_assert_uint_eq(hub_dead_count(hub), 0); /* never a dead letter */
    ck_assert_uint_eq(count_of(DELIVERY_DROPPED), 1);
    hub_unsubscribe(hub, first);
    publish("math.x", "", NULL);
    ck_assert_uint_eq(one.held.count, 0);
    ck_assert_uint_eq(two.held.count, 1);
    ck_assert_uint_eq(hub_subscribe(hub, STR("a"), one.sink.dest), first); /* its place is used again */
    hub_unsubscribe(hub, first);
    hub_unsubscribe(hub, second);
    ck_assert_int_eq(offer(MSG_EVENT, "no.route", "", NULL), CODE_NO_ROUTE);
    hub_retire(hub, one.sink.dest);
    hub_retire(hub, two.sink.dest);
    ck_assert(list_empty(&two.held) && two.cancelled == 1);
    sound();
}
END_TEST

START_TEST(what_waits_for_a_retired_subscriber_is_dropped)
{
    struct fake one;
    use_usual();
    fake_init(&one, "one", true);
    one.room = 1;
    uint32_t at = hub_subscribe(hub, STR("math.x"), one.sink.dest);
    publish("math.x", "", &a);
    publish("math.x", "", &b);
    publish("math.x", "", NULL);
    ck_assert(!hub_forgettable(one.sink.dest) && !hub_forgettable(math.sink.dest));
    settle(&one, OUTCOME_RETRY, CODE_FAILED, "");
    make_room(&one, 1);
    ck_assert(status_of(&one).inflight == 1 && status_of(&one).waiting == 1 && status_of(&one).ready == 1);
    while (!list_empty(&math.held))
        settle_ok(&math);
    hub_unsubscribe(hub, at);
    hub_retire(hub, one.sink.dest);
    heard(&a, CODE_OK, ""); /* nobody failed */
    ck_assert_uint_eq(b.answers, 1);
    all_over();
    fake_init(&one, "one", true);
    ck_assert(hub_forgettable(one.sink.dest));
    hub_retire(hub, one.sink.dest);
}
END_TEST

/* ---------------------------------------------------------------- tap */

static char taps[256];

static void on_tap(void *arg, const struct tap *t)
{
    static const char letters[] = "adorxef"; /* accepted, delivered, ok, retry, dead, expired, failed */
    size_t n = strlen(taps);
    ck_assert_ptr_eq(arg, &b);
    ck_assert(t->msg != NULL && t->route != NULL && t->to != NULL);
    snprintf(taps + n, sizeof(taps) - n, "%c%u ", letters[t->event], t->attempt);
}

START_TEST(tap_sees_each_step)
{
    use_usual();
    hub_tap(hub, on_tap, &b);
    publish("shop", "", NULL);
    settle(&shop, OUTCOME_RETRY, CODE_FAILED, "");
    pass(100);
    settle_ok(&shop);
    ck_assert_str_eq(taps, "a0 d1 r1 d2 o2 ");
    taps[0] = '\0';
    publish("shop", "", NULL);
    settle(&shop, OUTCOME_REJECT, CODE_FAILED, "");
    publish("shop", "ttl: 0s\n", NULL);
    pass(0);
    request("math.x", "", &a);
    settle(&math, OUTCOME_REJECT, CODE_FAILED, "");
    ck_assert_str_eq(taps, "a0 d1 x1 a0 d1 e1 a0 d1 f1 ");
    hub_tap(hub, NULL, NULL);
    publish("shop", "", NULL);
    ck_assert_str_eq(taps, "a0 d1 x1 a0 d1 e1 a0 d1 f1 ");
    ck_assert(!hub_draining(hub));
    hub_drain(hub, true);
    ck_assert(hub_draining(hub));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("hub limits");
    TCase *t = tcase_create("limits");
    const TTest *const tests[] = {
        a_full_queue_holds_its_source_until_it_is_half_empty, what_waits_for_its_next_attempt_counts_for_the_queue,
        a_source_is_not_held_where_nobody_makes_room, a_source_that_cannot_wait_is_refused, memory_is_bounded,
        a_flood_of_what_is_due_is_done_in_parts, an_open_breaker_refuses_requests_and_holds_events,
        a_request_may_be_the_probe, a_probe_that_is_withdrawn_lets_the_next_one_through,
        a_probe_that_is_given_back_lets_the_next_one_through, a_probe_that_is_not_answered_is_a_failure,
        only_trouble_of_the_destination_opens_it, new_peers_have_no_record, dead_letters_are_found,
        a_full_list_drops_its_oldest, dead_letters_are_redriven_as_they_were, dead_letters_are_purged,
        a_reload_keeps_the_deliveries_of_the_old_routes, a_route_may_come_before_its_destination,
        a_set_finds_its_destinations_bit_by_bit, routes_explain_themselves, subscribers_get_copies_of_events, what_waits_for_a_retired_subscriber_is_dropped,
        tap_sees_each_step,
    };
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_set_timeout(t, 60);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(t, tests[i]);
    suite_add_tcase(s, t);
    return run_suite(s);
}
