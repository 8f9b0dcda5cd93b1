/* Streams that pause, and those that wait for the peer's end. */
#include <poll.h>
#include <sys/resource.h>

#include "loop/layer.h"
#include "rig.h"

static struct rig rig;
static struct end end;
static int fds[2];

static void set_up(void)
{
    rig = rig_open();
    pair_unix(fds, SOCK_STREAM);
    end_init(&end, &rig, fds[0]);
}

static void tear_down(void)
{
    end_fini(&end);
    close(fds[1]);
    rig_close(&rig);
}

static void say(const void *p, size_t n)
{
    ck_assert_int_eq(send(fds[1], p, n, MSG_NOSIGNAL), (ssize_t)n);
}

START_TEST(resume_shows_the_leftover_without_new_bytes)
{
    end.most = 1;
    end.pause = true;
    say("a\nbb\nccc", 8);
    RIG_UNTIL(&rig, end.shown == 1);
    rig_for(&rig, 20);
    ck_assert_uint_eq(end.shown, 1);
    stream_resume(end.stream);
    ck_assert_uint_eq(end.shown, 1); /* not from inside the call */
    RIG_UNTIL(&rig, end.shown == 2);
    ck_assert_uint_eq(end.got.len, 5);
    end.pause = false;
    stream_resume(end.stream);
    RIG_UNTIL(&rig, end.shown == 3); /* nothing whole is left: shown once, not again and again */
    rig_for(&rig, 20);
    ck_assert_uint_eq(end.shown, 3);
    say("\n", 1);
    RIG_UNTIL(&rig, end.got.len == 9);
}
END_TEST

static size_t resumes_the_other(void *arg, const uint8_t *p, size_t n)
{
    (void)arg;
    (void)p;
    stream_resume(end.stream);
    return n;
}

START_TEST(what_was_left_is_shown_before_the_end)
{
    static const struct stream_ops ops = {.on_data = resumes_the_other, .on_close = end_on_close};
    int pair[2];
    struct end other = {0};
    end.most = 1;
    end.pause = true;
    say("a\nb\nc\n", 6);
    RIG_UNTIL(&rig, end.shown == 1);
    end.most = 9;
    end.pause = false;
    pair_unix(pair, SOCK_STREAM);
    other.stream = stream_new(rig.loop, pair[0], &ops, &other);
    rig_for(&rig, 1);
    ck_assert_int_eq(write(pair[1], "x", 1), 1); /* both in one turn, this one first */
    shutdown(fds[1], SHUT_WR);
    RIG_UNTIL(&rig, end.closed);
    ck_assert_uint_eq(end.got.len, 6);
    close(pair[1]);
    RIG_UNTIL(&rig, other.closed);
}
END_TEST

/* Over TCP nobody tells twice of what has come. */
START_TEST(nothing_is_forgotten_of_a_paused_one)
{
    struct end tcp;
    int pair[2];
    struct buf all = BUF_EMPTY;
    for (int i = 0; all.len < 3 * STREAM_READ_MAX / 2; i++)
        buf_printf(&all, "line %d\n", i);
    pair_tcp(pair);
    end_init(&tcp, &rig, pair[0]);
    tcp.most = 4000;
    tcp.pause = true;
    RIG_UNTIL(&rig, tcp.opened);
    stream_pause(tcp.stream);
    for (size_t sent = 0; sent < all.len;) {
        ssize_t n = send(pair[1], buf_data(&all) + sent, all.len - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        sent += n > 0 ? (size_t)n : 0;
        stream_resume(tcp.stream);
        rig_for(&rig, 1);
    }
    shutdown(pair[1], SHUT_WR);
    rig_for(&rig, 5);
    while (!tcp.closed) {
        stream_resume(tcp.stream);
        size_t before = tcp.shown;
        RIG_UNTIL(&rig, tcp.closed || tcp.shown > before);
    }
    ck_assert_uint_eq(tcp.got.len, all.len);
    ck_assert_mem_eq(buf_data(&tcp.got), buf_data(&all), all.len);
    close(pair[1]);
    buf_fini(&tcp.got);
    buf_fini(&all);
}
END_TEST

START_TEST(paused_reads_nothing)
{
    RIG_UNTIL(&rig, end.opened);
    stream_pause(end.stream);
    ck_assert(stream_paused(end.stream));
    say("x\n", 2);
    rig_for(&rig, 20);
    ck_assert_uint_eq(end.shown, 0);
    say("y\n", 2);
    stream_resume(end.stream);
    RIG_UNTIL(&rig, end.got.len == 4);
    ck_assert_uint_eq(end.shown, 1);
}
END_TEST

START_TEST(pause_and_resume_in_one_turn_lose_nothing)
{
    RIG_UNTIL(&rig, end.opened);
    for (int i = 0; i < 10; i++) {
        stream_pause(end.stream);
        say("x\n", 2);
        stream_resume(end.stream);
        rig_for(&rig, 1);
    }
    RIG_UNTIL(&rig, end.got.len == 20);
}
END_TEST

/* Whoever is refused and stays costs a descriptor for 5 s; all of them together no more than some. */
START_TEST(few_wait_for_the_peers_end)
{
    enum { MANY = STREAM_LINGER_MAX + 50 };
    static struct end ends[MANY];
    static int peers[MANY];
    struct rlimit limit;
    size_t gone = 0;
    char text[8];
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    for (size_t i = 0; i < MANY; i++) {
        int pair[2];
        pair_unix(pair, SOCK_STREAM);
        end_init(&ends[i], &rig, pair[0]);
        peers[i] = pair[1];
        RIG_UNTIL(&rig, ends[i].opened);
        buf_puts(stream_out(ends[i].stream), "bye\n");
        stream_finish(ends[i].stream);
    }
    rig_for(&rig, 5);
    for (size_t i = 0; i < MANY; i++) {
        struct pollfd p = {.fd = peers[i]};
        ck_assert_int_eq(recv(peers[i], text, sizeof(text), 0), 4); /* each of them has heard why */
        gone += poll(&p, 1, 0) == 1 && (p.revents & POLLHUP) != 0;
    }
    ck_assert_uint_eq(gone, 50);
    for (size_t i = 0; i < MANY; i++)
        close(peers[i]);
    rig_for(&rig, 5); /* and so there is room for others */
    end_fini(&end);
    int pair[2];
    pair_unix(pair, SOCK_STREAM);
    end_init(&end, &rig, pair[0]);
    RIG_UNTIL(&rig, end.opened);
    stream_finish(end.stream);
    end.finish = true; /* it is no more ours */
    rig_for(&rig, 5);
    struct pollfd p = {.fd = pair[1]};
    poll(&p, 1, 0);
    ck_assert((p.revents & POLLHUP) == 0);
    close(pair[1]);
}
END_TEST

/* A layer that has one line and then has to write before it can read on, as TLS after a key update. */
static size_t fake_reads;

static enum layer_step fake_handshake(struct layer *y)
{
    (void)y;
    return LAYER_OK;
}

static enum layer_step fake_read(struct layer *y, uint8_t *p, size_t n, size_t *got)
{
    (void)y;
    if (fake_reads++ > 0)
        return LAYER_WANT_WRITE;
    ck_assert_uint_ge(n, 2);
    memcpy(p, "x\n", *got = 2);
    return LAYER_OK;
}

static bool fake_pending(const struct layer *y)
{
    (void)y;
    return false;
}

static void fake_end(struct layer *y)
{
    (void)y;
}

START_TEST(a_paused_one_does_not_wait_to_write_what_a_read_needs)
{
    static const struct layer_ops fake = {
        .handshake = fake_handshake, .read = fake_read, .pending = fake_pending, .bye = fake_end, .free = fake_end};
    static struct layer layer; /* freed with the stream, in tear_down() */
    layer.ops = &fake;
    struct end e = {.rig = &rig};
    int pair[2], turns = 0;
    pair_unix(pair, SOCK_STREAM);
    fake_reads = 0;
    e.stream = stream_new_layer(rig.loop, pair[0], &layer, &end_ops, &e);
    ck_assert_int_eq(send(pair[1], "x", 1, 0), 1);
    RIG_UNTIL(&rig, e.shown == 1 && fake_reads > 1);
    stream_pause(e.stream);
    for (int64_t until = clock_mono_ms() + 50; clock_mono_ms() < until; turns++) {
        timer_at(rig.tick, until);
        loop_turn(rig.loop, true);
    }
    ck_assert_int_le(turns, 10);
    size_t before = fake_reads;
    stream_resume(e.stream);
    RIG_UNTIL(&rig, fake_reads > before);
    end_fini(&e);
    close(pair[1]);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("stream pause");
    TCase *t = tcase_create("pause");
    const TTest *const tests[] = {
        resume_shows_the_leftover_without_new_bytes,
        what_was_left_is_shown_before_the_end,
        nothing_is_forgotten_of_a_paused_one,
        paused_reads_nothing,
        pause_and_resume_in_one_turn_lose_nothing,
        few_wait_for_the_peers_end,
        a_paused_one_does_not_wait_to_write_what_a_read_needs,
    };
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_set_timeout(t, 60);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(t, tests[i]);
    suite_add_tcase(s, t);
    return run_suite(s);
}
