/* The local protocol where clients misbehave or want much: subscriptions, staged messages, bodies above
 * the limit, bad frames, floods, streams that nobody reads, a thousand idle connections. */
#include <malloc.h>

#include "local_rig.h"
#include "msg/headers.h"

static struct client a, b, c, d;

/* ---------------------------------------------------------------- SUB and UNSUB */

START_TEST(subscribers_hear_of_events)
{
    attach(&a, "asker");
    attach(&b, "reader");
    say(&b, "SUB 5 0 0 math.*\nSUB 6 0 0 >\n");
    hear_exactly(&b, "OK 5 0 0\n");
    hear_exactly(&b, "OK 6 0 0\n");
    say(&a, "PUB 1 0 1 math.x\n1");
    ck_assert(str_is(hear(&b, VERB_PUB, 1)->subject, "math.x"));
    hear(&b, VERB_PUB, 2); /* one of each subscription */
    say(&b, "OK 1 0 0\nOK 2 0 0\n");
    attach(&c, "math"); /* the route's own target settles it */
    hear(&c, VERB_PUB, 1);
    say(&c, "OK 1 0 0\n");
    hear_exactly(&a, "OK 1 0 0\n");
    say(&b, "UNSUB 6 0 0\nUNSUB 7 0 0\n");
    hear_exactly(&b, "OK 6 0 0\n");
    hear_error(&b, 7, "invalid", "no subscription");
    say(&a, "PUB 2 0 0 anything.else\nPUB 3 0 0 math.y\n");
    hear_error(&a, 2, "no-route", "");
    hear(&b, VERB_PUB, 3);
    say(&b, "UNSUB 5 0 0\n"); /* what it still holds is not wanted back */
    hear_exactly(&b, "OK 5 0 0\n");
    say(&b, "OK 3 0 0\n");
    hear(&c, VERB_PUB, 2);
    say(&c, "OK 2 0 0\n");
    hear_exactly(&a, "OK 3 0 0\n");
    hear_nothing(&b);
    say(&b, "SUB 5 0 0 math.z\n"); /* the id is free */
    hear_exactly(&b, "OK 5 0 0\n");
    client_close(&a);
    client_close(&b);
    client_close(&c);
}
END_TEST

START_TEST(a_group_shares_the_load)
{
    attach(&a, "asker");
    attach(&b, "reader");
    attach(&c, "reader");
    attach(&d, "math");
    say(&b, "SUB 1 9 0 news.>\ngroup: g\n");
    hear_exactly(&b, "OK 1 0 0\n");
    say(&c, "SUB 1 9 0 news.>\ngroup: g\n");
    hear_exactly(&c, "OK 1 0 0\n");
    say(&d, "SUB 1 0 0 news.>\n");
    hear_exactly(&d, "OK 1 0 0\n");
    say(&a, "PUB 1 0 0 news.a\nPUB 2 0 0 news.b\n");
    hear(&b, VERB_PUB, 1);
    hear(&c, VERB_PUB, 1);
    hear(&d, VERB_PUB, 1);
    hear(&d, VERB_PUB, 2);
    hear_nothing(&b);
    hear_nothing(&c);
    say(&b, "BYE 0 0 0\n");
    client_close(&b); /* the other one of the group gets what it held */
    hear(&c, VERB_PUB, 2);
    say(&c, "OK 1 0 0\nOK 2 0 0\n");
    say(&d, "OK 1 0 0\nOK 2 0 0\n");
    hear_exactly(&a, "OK 1 0 0\n");
    hear_exactly(&a, "OK 2 0 0\n");
    client_close(&c); /* the group has gone with its last member */
    client_close(&d);
    RIG_UNTIL(&rig, server_clients(server) == 1);
    say(&a, "PUB 3 0 0 news.c\n");
    hear_error(&a, 3, "no-route", "");
    client_close(&a);
}
END_TEST

/* Group and filter may hold any text: two pairs that read alike when they are put together are two groups. */
START_TEST(groups_of_other_filters_are_not_joined)
{
    attach(&a, "asker");
    attach(&b, "reader");
    attach(&c, "shop");
    say(&b, "SUB 1 9 0 secret of news.x\ngroup: g\n");
    hear(&b, VERB_OK, 1);
    say(&c, "SUB 1 19 0 news.x\ngroup: g of secret\n"); /* it may have this filter, not the other */
    hear(&c, VERB_OK, 1);
    for (int i = 1; i <= 4; i++) {
        say(&a, "PUB 0 0 0 secret of news.x\n");
        hear(&b, VERB_PUB, (uint64_t)i);
    }
    hear_nothing(&c);
    client_close(&a);
    client_close(&b);
    client_close(&c);
}
END_TEST

START_TEST(subscriptions_are_refused)
{
    static const char *const table[][2] = {
        {"SUB 1 0 0\n", "invalid"}, {"SUB 1 0 0 news..x\n", "invalid"}, {"SUB 1 0 0 news.>.x\n", "invalid"},
        {"SUB 1 0 0 news.a*\n", "invalid"}, {"SUB 1 0 0 >\n", "denied"}, {"SUB 1 0 0 news.>\n", "denied"},
        {"SUB 1 0 0 math.x\n", "denied"}, {"UNSUB 1 0 0\n", "invalid"},
    };
    attach(&b, "shop");
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        say(&b, table[i][0]);
        hear_error(&b, 1, table[i][1], "");
    }
    say(&b, "SUB 0 0 0 news.x\n");
    hear_error(&b, 0, "invalid", "not 0");
    say(&b, "SUB 1 0 0 news.x\nSUB 1 0 0 news.y\n");
    hear_exactly(&b, "OK 1 0 0\n");
    hear_error(&b, 1, "invalid", "not in use");
    client_close(&b);
    attach(&b, "reader");
    char text[64];
    for (int i = 1; i <= 1025; i++) {
        snprintf(text, sizeof(text), "SUB %d 0 0 s.%d\n", i, i);
        say(&b, text);
        if (i <= 1024)
            hear(&b, VERB_OK, (uint64_t)i);
    }
    hear_error(&b, 1025, "invalid", "1,024 subscriptions");
    client_close(&b);
}
END_TEST

/* ---------------------------------------------------------------- PUB with `with` */

START_TEST(staged_messages_go_out_with_the_answer)
{
    attach(&a, "asker");
    attach(&b, "math");
    attach(&c, "reader");
    say(&c, "SUB 1 0 0 done.*\n");
    hear_exactly(&c, "OK 1 0 0\n");
    say(&a, "REQ 1 0 0 math.add\nPUB 2 0 0 math.log\n");
    hear(&b, VERB_REQ, 1);
    hear(&b, VERB_PUB, 2);
    say(&b, "PUB 10 8 1 done.a\nwith: 1\nAPUB 0 8 1 done.b\nwith: 1\nBPUB 11 8 1 done.c\nwith: 2\nC");
    hear_nothing(&b); /* one answer of its own, at that moment */
    hear_nothing(&c);
    say(&b, "REP 1 0 0\n");
    hear_exactly(&a, "REP 1 0 0\n");
    struct frame *f = hear(&c, VERB_PUB, 1);
    ck_assert(str_is(f->subject, "done.a") && str_is(f->body, "A") && headers_get(f->headers, "with").p == NULL);
    ck_assert(str_is(hear(&c, VERB_PUB, 2)->body, "B"));
    hear_nothing(&c);
    say(&c, "OK 1 0 0\n");
    hear_exactly(&b, "OK 10 0 0\n");
    say(&b, "ERR 2 10 0 failed\nretry: no\n");
    hear_error(&b, 11, "failed", "dropped");
    hear_error(&a, 2, "failed", "");
    hear_nothing(&c);
    client_close(&a);
    client_close(&b);
    client_close(&c);
}
END_TEST

START_TEST(staged_messages_die_with_their_delivery)
{
    attach(&a, "asker");
    attach(&b, "math");
    attach(&c, "reader");
    say(&c, "SUB 1 0 0 done.*\n");
    hear_exactly(&c, "OK 1 0 0\n");
    say(&a, "REQ 1 0 0 math.add\n");
    hear(&b, VERB_REQ, 1);
    say(&b, "PUB 10 8 0 done.a\nwith: 1\n");
    in_step(&b);
    say(&a, "CANCEL 1 0 0\n");
    hear_error(&b, 10, "failed", "dropped");
    hear_exactly(&b, "CANCEL 1 0 0\n");
    say(&b, "PUB 10 8 0 done.a\nwith: 1\n");
    hear_error(&b, 10, "invalid", "no delivery that is being handled");
    say(&a, "PUB 2 0 0 math.log\n");
    hear(&b, VERB_PUB, 2);
    say(&b, "PUB 10 8 0 done.a\nwith: 2\nERR 2 0 0 release\n");
    hear_error(&b, 10, "failed", "dropped");
    hear(&b, VERB_PUB, 3);
    say(&b, "PUB 0 8 0 done.a\nwith: 3\n");
    in_step(&b);
    client_close(&b); /* it dies */
    hear_nothing(&c);
    client_close(&a);
    client_close(&c);
}
END_TEST

/* What was staged is not lost because nobody takes it: the delivery is not settled then. */
START_TEST(staged_messages_that_are_refused)
{
    attach(&a, "asker");
    attach(&b, "math");
    attach(&c, "reader");
    say(&c, "SUB 1 0 0 done.*\n");
    hear_exactly(&c, "OK 1 0 0\n");
    say(&a, "PUB 1 0 0 math.log\n");
    hear(&b, VERB_PUB, 1);
    say(&b, "PUB 10 8 0 done.a\nwith: 1\nPUB 11 8 0 nowhere\nwith: 1\nPUB 12 8 0 done.b\nwith: 1\nOK 1 0 0\n");
    hear_error(&b, 11, "no-route", "");
    hear_error(&b, 12, "failed", "dropped");
    ck_assert(str_is(hear(&c, VERB_PUB, 1)->subject, "done.a"));
    say(&c, "OK 1 0 0\n");
    hear_exactly(&b, "OK 10 0 0\n");
    hear(&b, VERB_PUB, 2); /* again */
    hear_nothing(&a);
    say(&b, "PUB 13 8 0 done.c\nwith: 2\nOK 2 0 0\n");
    hear(&c, VERB_PUB, 2);
    hear_exactly(&a, "OK 1 0 0\n");
    say(&a, "REQ 2 0 0 math.add\n");
    hear(&b, VERB_REQ, 3);
    say(&b, "PUB 0 8 0 nowhere\nwith: 3\nREP 3 0 0\n");
    hear_error(&a, 2, "no-route", "staged");
    hear_nothing(&c);
    client_close(&a);
    client_close(&b);
    client_close(&c);
}
END_TEST

/* An id that waits for the end of a delivery is in use: two receipts under one id would outlive the session. */
START_TEST(staged_messages_have_ids_of_their_own)
{
    attach(&a, "asker");
    attach(&b, "math");
    attach(&c, "shop");
    say(&a, "PUB 1 0 0 slow.log\n");
    hear(&b, VERB_PUB, 1);
    say(&b, "PUB 7 8 0 shop.x\nwith: 1\nPUB 7 8 0 shop.y\nwith: 1\nREQ 7 0 0 shop.z\n");
    hear_error(&b, 7, "invalid", "still waiting");
    hear_error(&b, 7, "invalid", "still waiting");
    say(&b, "OK 1 0 0\n");
    hear_exactly(&a, "OK 1 0 0\n");
    ck_assert(str_is(hear(&c, VERB_PUB, 1)->subject, "shop.x"));
    hear_nothing(&c);
    client_close(&b);
    RIG_UNTIL(&rig, server_clients(server) == 2);
    rig_for(&rig, 20); /* its memory has gone */
    say(&c, "OK 1 0 0\nOK 2 0 0\nREP 3 0 0\n");
    in_step(&c);
    client_close(&a);
    client_close(&c);
}
END_TEST

START_TEST(staged_messages_are_bounded)
{
    struct buf big = BUF_EMPTY;
    attach(&a, "asker");
    attach(&b, "math");
    say(&a, "PUB 1 0 0 math.log\n");
    hear(&b, VERB_PUB, 1);
    for (int i = 0; i < 1024; i++)
        say(&b, "PUB 0 8 0 x.y\nwith: 1\n");
    say(&b, "PUB 9 8 0 x.y\nwith: 1\n");
    hear_error(&b, 9, "invalid", "more than 1,024");
    say(&b, "ERR 1 19 0 failed\nretry: after 100us\n\n");
    hear_error(&b, 0, "bad-frame", ""); /* a line feed too many */
    client_close(&b);
    attach(&b, "math");
    hear(&b, VERB_PUB, 1);
    buf_puts(&big, "PUB 0 8 65536 x.y\nwith: 1\n");
    for (int i = 0; i < 65536; i++)
        buf_putc(&big, 'x');
    for (int i = 0; i < 255; i++)
        say_bytes(&b, buf_data(&big), big.len);
    say(&b, "PUB 9 8 0 x.y\nwith: 1\n");
    in_step(&b);
    say_bytes(&b, buf_data(&big), big.len); /* 16 MiB and a little */
    say(&b, "PUB 8 8 0 x.y\nwith: 1\nOK 1 0 0\n");
    hear_error(&b, 9, "failed", "dropped"); /* the first was refused: no route */
    hear_error(&b, 8, "failed", "dropped");
    hear(&b, VERB_PUB, 2);
    say(&b, "OK 2 0 0\n");
    hear_exactly(&a, "OK 1 0 0\n");
    buf_fini(&big);
    client_close(&a);
    client_close(&b);
}
END_TEST

/* ---------------------------------------------------------------- too large, bad frames */

static void say_body(struct client *to, size_t n)
{
    struct buf body = BUF_EMPTY;
    for (size_t i = 0; i < n; i++)
        buf_putc(&body, i % 7 == 0 ? '\n' : 'P');
    say_bytes(to, buf_data(&body), n);
    buf_fini(&body);
}

START_TEST(a_body_above_the_limit_is_skipped)
{
    attach(&a, "asker");
    attach(&b, "math");
    say(&a, "REQ 1 0 65536 math.add\n");
    say_body(&a, 65536);
    ck_assert_uint_eq(hear(&b, VERB_REQ, 1)->body.n, 65536);
    say(&a, "REQ 2 5 65537 math.add\na: b\n");
    hear_error(&a, 2, "too-large", "a body of 65537 bytes; limits.body is 64KiB"); /* before it has come */
    say_body(&a, 65537);
    say(&a, "PUB 0 0 3000000 math.add\n");
    say_body(&a, 3000000);
    say(&a, "PUB 3 0 70000 math.add\n");
    say_body(&a, 70000);
    say(&a, "PING 4 0 0\n");
    hear_error(&a, 3, "too-large", "70000");
    hear_exactly(&a, "PONG 4 0 0\n"); /* it goes on where the body ends */
    struct hub_counts counted;
    hub_counts(hub, &counted);
    ck_assert_uint_eq(counted.refused[CODE_TOO_LARGE], 3);
    say(&b, "REP 1 0 65537\n");
    say_body(&b, 65537);
    hear_error(&a, 1, "too-large", "the reply is above");
    in_step(&b);
    ck_assert_uint_eq(server_busy(server), 0);
    client_close(&a);
    client_close(&b);
}
END_TEST

/* Only an answer ends a delivery: the id of any other frame is the client's own. */
START_TEST(a_large_frame_that_is_no_answer_ends_no_delivery)
{
    static const char *const frames[] = {"PING 1 0 65537\n", "SUB 1 0 65537 x.y\n", "CANCEL 1 0 65537\n",
                                         "CREDIT 1 0 65537\n", "WAIT 1 0 65537\n", "HELLO 1 0 65537 math\n"};
    attach(&a, "asker");
    attach(&b, "math");
    say(&a, "REQ 1 0 0 math.add\n");
    hear(&b, VERB_REQ, 1);
    for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
        say(&b, frames[i]);
        say_body(&b, 65537);
        in_step(&b);
    }
    say(&b, "REP 1 0 2\nok");
    hear_exactly(&a, "REP 1 0 2\nok");
    client_close(&a);
    client_close(&b);
}
END_TEST

static const struct {
    const char *frame;
    size_t offset;
    const char *what;
} bad[] = {
    {"NOPE 1 0 0\n", 0, "unknown verb"},
    {"PUB 1 0 0x\n", 9, "expected one blank"},
    {"PUB 1 6 0 s\na: \x01\x01\n", 12, "a header value"},
    {"PUB 1 11 0 s\na: b\nB: cc\n", 18, "a header name"},
    {"REP 9 5 0\na: bc", 10, "do not end with a line feed"},
    {"PUB 1 0 0 \xff\n", 10, "not UTF-8"},
};

/* After a greeting, frames of each kind, one skipped and several in one piece: counted from the first byte. */
START_TEST(a_bad_frame_is_told_with_its_place_in_all_that_was_said)
{
    static const char *const first[] = {"HELLO 0 11 0 asker\nversion: 1\n", "PING 1 0 0\n",
                                        "PUB 0 5 3 math.x\na: b\nxyz", "OK 99 0 0\n"};
    char place[64];
    struct buf said = BUF_EMPTY;
    attach(&b, "math");
    for (size_t i = 0; i < 4; i++)
        buf_puts(&said, first[i]);
    if (_i % 2 == 0)
        buf_printf(&said, "PUB 0 0 70000 math.x\n%070000d", 0);
    size_t before = said.len;
    buf_puts(&said, bad[_i].frame);
    client_open(&a);
    for (size_t at = 0; at < said.len;) { /* in pieces of odd sizes */
        size_t n = _i < 3 ? said.len : 13 + at % 5000;
        n = n < said.len - at ? n : said.len - at;
        say_bytes(&a, buf_data(&said) + at, n);
        loop_turn(rig.loop, false);
        at += n;
    }
    hear(&a, VERB_HELLO, 0);
    hear(&a, VERB_PONG, 1);
    snprintf(place, sizeof(place), "byte %zu: ", before + bad[_i].offset);
    hear_error(&a, 0, "bad-frame", place);
    hear_the_end(&a);
    ck_assert_ptr_nonnull(strstr(buf_cstr(&a.text), bad[_i].what));
    hear(&b, VERB_PUB, 1); /* what had been accepted is not lost */
    in_step(&b);
    buf_fini(&said);
    client_close(&a);
    client_close(&b);
}
END_TEST

START_TEST(frames_may_be_split_at_any_byte)
{
    static const char request[] = "REQ 3 5 4 math.add\na: b\nbody";
    attach(&a, "asker");
    attach(&b, "math");
    for (size_t at = 1; at < sizeof(request) - 1; at++) {
        say_bytes(&a, request, at);
        loop_turn(rig.loop, false);
        loop_turn(rig.loop, false);
        say(&a, request + at);
        struct frame *f = hear(&b, VERB_REQ, at);
        ck_assert(str_is(f->body, "body"));
        char reply[32];
        snprintf(reply, sizeof(reply), "REP %zu 0 1\nr", at);
        for (const char *p = reply; *p != '\0'; p++) {
            say_bytes(&b, p, 1);
            loop_turn(rig.loop, false);
        }
        hear_exactly(&a, "REP 3 0 1\nr");
    }
    client_close(&a);
    client_close(&b);
}
END_TEST

/* ---------------------------------------------------------------- those who ask for too much */

START_TEST(who_asks_faster_than_it_reads_is_held_back)
{
    char pings[4096] = "";
    size_t said = 0, heard = 0, n = 0;
    attach(&a, "asker");
    attach(&b, "math");
    while (n + 11 < sizeof(pings))
        n += (size_t)snprintf(pings + n, sizeof(pings) - n, "PING 1 0 0\n");
    for (int idle = 0; idle < 30;) { /* until nothing is taken any more */
        ssize_t k = send(a.fd, pings + said % 11, n - 11, MSG_NOSIGNAL);
        said += k > 0 ? (size_t)k : 0;
        idle = k > 0 ? 0 : idle + 1;
        loop_turn(rig.loop, false);
        ck_assert_uint_lt(said, 16 << 20);
    }
    in_step(&b); /* others do not notice */
    size_t left = said % 11;
    for (bool over = false; !over;) {
        client_read(&a);
        if (a.got.len > 0)
            ck_assert_int_eq(buf_data(&a.got)[0], heard % 11 == 0 ? 'P' : buf_data(&a.got)[0]);
        heard += a.got.len;
        buf_clear(&a.got);
        over = heard >= said - left;
        loop_turn(rig.loop, false);
    }
    ck_assert_uint_eq(heard, said - left); /* each was answered once */
    client_close(&a);
    client_close(&b);
}
END_TEST

START_TEST(a_full_queue_holds_the_publisher_back)
{
    attach(&a, "asker");
    attach_with(&b, "math", "credit: 1\n");
    for (int i = 1; i <= 30; i++) {
        char text[64];
        snprintf(text, sizeof(text), "PUB %d 0 0 math.%d\n", i, i);
        say(&a, text);
    }
    say(&a, "PING 1 0 0\n");
    hear(&b, VERB_PUB, 1);
    hear_nothing(&a); /* 1 is out, 20 wait, 9 and the PING are not read */
    ck_assert_uint_eq(hub_live(hub), 21);
    for (uint64_t i = 1; i <= 30; i++) {
        char text[64], subject[32];
        snprintf(text, sizeof(text), "OK %llu 0 0\n", (unsigned long long)i);
        snprintf(subject, sizeof(subject), "math.%llu", (unsigned long long)i);
        ck_assert(str_is(b.frame.subject, subject)); /* in order */
        say(&b, text);
        if (i < 30)
            hear(&b, VERB_PUB, i + 1);
    }
    uint64_t sum = 0;
    for (int i = 0; i < 31; i++) {
        RIG_UNTIL(&rig, frame_is_there(&a));
        sum += a.frame.verb == VERB_OK ? a.frame.id : 1000;
    }
    ck_assert_uint_eq(sum, 30 * 31 / 2 + 1000);
    client_close(&a);
    client_close(&b);
}
END_TEST

START_TEST(descriptors_that_are_passed_are_closed)
{
    int ends[2];
    char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec io = {(char[]){"PING 5 0 0\n"}, 11};
    struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
    attach(&a, "asker");
    ck_assert_int_eq(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    h->cmsg_level = SOL_SOCKET;
    h->cmsg_type = SCM_RIGHTS;
    h->cmsg_len = CMSG_LEN(sizeof(int));
    bytes_copy((char *)CMSG_DATA(h), &ends[1], sizeof(int));
    ck_assert_int_eq(sendmsg(a.fd, &m, 0), 11);
    close(ends[1]);
    hear_exactly(&a, "PONG 5 0 0\n");
    ck_assert_int_eq(read(ends[0], control, 1), 0); /* nobody holds the other end */
    close(ends[0]);
    client_close(&a);
}
END_TEST

START_TEST(a_stream_that_nobody_reads_ends)
{
    struct buf item = BUF_EMPTY;
    attach(&a, "asker");
    attach(&c, "reader");
    attach(&b, "math");
    say(&a, "REQ 1 13 0 slow.add\ntimeout: 20s\n");
    hear(&b, VERB_REQ, 1);
    buf_puts(&item, "MORE 1 0 60000\n");
    buf_printf(&item, "%060000d", 0);
    size_t said = 0;
    int64_t then = clock_mono_ms();
    for (bool over = false; !over;) {
        ssize_t k = send(b.fd, buf_data(&item) + said % item.len, item.len - said % item.len, MSG_NOSIGNAL);
        said += k > 0 ? (size_t)k : 0;
        ck_assert_uint_lt(said, 32 << 20);
        timer_at(rig.tick, clock_mono_ms() + 20);
        loop_turn(rig.loop, k <= 0);
        over = frame_is_there(&b);
    }
    ck_assert(b.frame.verb == VERB_CANCEL && b.frame.id == 1);
    ck_assert_int_ge(clock_mono_ms() - then, 1900);
    say_bytes(&b, buf_data(&item) + said % item.len, item.len - said % item.len);
    say(&c, "REQ 2 0 0 slow.sub\n"); /* the service's other callers go on */
    hear(&b, VERB_REQ, 2);
    say(&b, "REP 2 0 0\n");
    hear_exactly(&c, "REP 2 0 0\n");
    do
        RIG_UNTIL(&rig, frame_is_there(&a));
    while (a.frame.verb == VERB_MORE);
    ck_assert(a.frame.verb == VERB_ERR && str_is(a.frame.subject, "overloaded"));
    buf_fini(&item);
    client_close(&a);
    client_close(&b);
    client_close(&c);
}
END_TEST

START_TEST(a_stream_is_paced_by_its_reader)
{
    struct buf item = BUF_EMPTY;
    attach(&a, "asker");
    attach(&b, "math");
    say(&a, "REQ 1 13 0 slow.add\ntimeout: 20s\n");
    hear(&b, VERB_REQ, 1);
    buf_puts(&item, "MORE 1 0 60000\n");
    buf_printf(&item, "%060000d", 7);
    size_t said = 0, whole = item.len * 100;
    uint64_t items = 0;
    buf_puts(&item, "REP 1 0 0\n");
    for (bool over = false; !over;) {
        size_t at = said % (item.len - 10), n = said < whole ? item.len - 10 - at : item.len - 10 - at + 10;
        if (said < whole) {
            ssize_t k = send(b.fd, buf_data(&item) + at, n, MSG_NOSIGNAL);
            said += k > 0 ? (size_t)k : 0;
            if (said >= whole)
                say(&b, "REP 1 0 0\n");
        }
        loop_turn(rig.loop, false);
        while (!over && frame_is_there(&a)) {
            items += a.frame.verb == VERB_MORE && a.frame.body.n == 60000;
            over = a.frame.verb == VERB_REP;
            ck_assert(over || a.frame.verb == VERB_MORE);
        }
    }
    ck_assert_uint_eq(items, 100);
    buf_fini(&item);
    client_close(&a);
    client_close(&b);
}
END_TEST

#if defined(__SANITIZE_ADDRESS__)
#define MEASURED false /* the sanitizer's allocator has books of its own */
#else
#define MEASURED true
#endif

START_TEST(a_thousand_idle_connections_cost_little)
{
    static struct client idle[1000], last[97];
    attach(&a, "asker");
    attach(&b, "math");
    client_open(&c);
    loop_turn(rig.loop, false);
    size_t before = mallinfo2().uordblks;
    for (int i = 0; i < 1000; i++) {
        client_open(&idle[i]);
        say(&idle[i], "HELLO 0 11 0 reader\nversion: 1\n");
        loop_turn(rig.loop, false);
    }
    RIG_UNTIL(&rig, server_clients(server) == 1003);
    for (int i = 0; i < 1000; i++) {
        hear(&idle[i], VERB_HELLO, 0);
        buf_fini(&idle[i].got);
        buf_fini(&idle[i].text);
    }
    rig_for(&rig, 20);
    size_t each = (mallinfo2().uordblks - before) / 1000;
    if (MEASURED)
        ck_assert_uint_le(each, 1024);
    say(&a, "REQ 1 0 0 math.add\n");
    hear(&b, VERB_REQ, 1);
    say(&b, "REP 1 0 0\n");
    hear_exactly(&a, "REP 1 0 0\n");
    for (int i = 0; i < 97; i++) { /* limits.clients: 1100 */
        client_open(&last[i]);
        loop_turn(rig.loop, false);
    }
    RIG_UNTIL(&rig, server_clients(server) == 1100);
    struct client late;
    client_open(&late);
    hear_error(&late, 0, "overloaded", "limits.clients");
    hear_the_end(&late);
    client_close(&late);
    in_step(&a);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("local limits");
    TCase *t = tcase_create("limits");
    const TTest *const tests[] = {
        subscribers_hear_of_events, a_group_shares_the_load, groups_of_other_filters_are_not_joined, subscriptions_are_refused,
        staged_messages_go_out_with_the_answer, staged_messages_die_with_their_delivery,
        staged_messages_that_are_refused,
        staged_messages_have_ids_of_their_own, staged_messages_are_bounded, a_body_above_the_limit_is_skipped,
        a_large_frame_that_is_no_answer_ends_no_delivery, frames_may_be_split_at_any_byte,
        who_asks_faster_than_it_reads_is_held_back, a_full_queue_holds_the_publisher_back,
        descriptors_that_are_passed_are_closed, a_stream_that_nobody_reads_ends, a_stream_is_paced_by_its_reader,
        a_thousand_idle_connections_cost_little,
    };
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_set_timeout(t, 60);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(t, tests[i]);
    tcase_add_loop_test(t, a_bad_frame_is_told_with_its_place_in_all_that_was_said, 0,
                        (int)(sizeof(bad) / sizeof(bad[0])));
    suite_add_tcase(s, t);
    return run_suite(s);
}
