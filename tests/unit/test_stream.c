#include <malloc.h>
#include <poll.h>
#include <sys/resource.h>

#include "base/list.h"
#include "base/mem.h"
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
    if (fds[1] >= 0)
        close(fds[1]);
    rig_close(&rig);
}

static void say(const void *p, size_t n)
{
    ck_assert_int_eq(send(fds[1], p, n, MSG_NOSIGNAL), (ssize_t)n);
}

/* What the peer has got by now. */
static size_t hear(struct buf *into)
{
    ssize_t n = recv(fds[1], buf_reserve(into, 262144), 262144, 0);
    if (n > 0)
        buf_commit(into, (size_t)n);
    return n > 0 ? (size_t)n : 0;
}

START_TEST(split_at_every_byte)
{
    static const char text[] = "a\nhello\n\nworld!\n";
    size_t n = sizeof(text) - 1;
    for (size_t i = 1; i < n; i++) {
        buf_clear(&end.got);
        say(text, i);
        rig_for(&rig, 1);
        say(text + i, n - i);
        RIG_UNTIL(&rig, end.got.len == n);
        ck_assert_mem_eq(buf_data(&end.got), text, n);
    }
    ck_assert(!end.closed);
}
END_TEST

START_TEST(byte_by_byte)
{
    static const char text[] = "one\ntwo\n";
    for (size_t i = 0; i < sizeof(text) - 1; i++) {
        size_t before = end.shown;
        say(text + i, 1);
        RIG_UNTIL(&rig, end.shown > before);
    }
    ck_assert_uint_eq(end.got.len, 8);
    ck_assert_mem_eq(buf_data(&end.got), text, 8);
}
END_TEST

START_TEST(glued_comes_in_one_call)
{
    struct buf all = BUF_EMPTY;
    for (int i = 0; i < 1000; i++)
        buf_printf(&all, "line %d\n", i);
    say(buf_data(&all), all.len);
    RIG_UNTIL(&rig, end.got.len == all.len);
    ck_assert_mem_eq(buf_data(&end.got), buf_data(&all), all.len);
    ck_assert_uint_eq(end.shown, 1);
    buf_fini(&all);
}
END_TEST

START_TEST(open_comes_first_and_not_from_inside)
{
    ck_assert(!end.opened);
    buf_puts(stream_out(end.stream), "early\n");
    RIG_UNTIL(&rig, end.opened);
    struct buf heard = BUF_EMPTY;
    RIG_UNTIL(&rig, hear(&heard) > 0 || heard.len > 0);
    ck_assert_mem_eq(buf_data(&heard), "early\n", 6);
    buf_fini(&heard);
}
END_TEST

START_TEST(peer_gone_before_the_first_turn)
{
    say("last\n", 5);
    close(fds[1]);
    fds[1] = -1;
    RIG_UNTIL(&rig, end.closed);
    ck_assert(end.opened);
    ck_assert_uint_eq(end.got.len, 5);
    ck_assert_str_eq(end.reason, "closed by peer");
}
END_TEST

START_TEST(eof_within_a_frame_is_told)
{
    say("half", 4);
    close(fds[1]);
    fds[1] = -1;
    RIG_UNTIL(&rig, end.closed);
    ck_assert_str_eq(end.reason, "closed by peer within a frame");
}
END_TEST

/* TCP is told once of what comes: all of it has to be taken, and its end found, without a further event. */
static void tcp_ends(bool reset, bool paused)
{
    struct end tcp;
    struct linger hard = {reset, 0};
    struct buf text = BUF_EMPTY;
    int pair[2];
    while (text.len < (reset ? 50000 : 200000)) /* a reset takes along what is not on its way yet */
        buf_printf(&text, "line %zu\n", text.len);
    pair_tcp(pair);
    end_init(&tcp, &rig, pair[0]);
    RIG_UNTIL(&rig, tcp.opened);
    if (paused)
        stream_pause(tcp.stream);
    ck_assert_int_eq(send(pair[1], buf_data(&text), text.len, MSG_NOSIGNAL), (ssize_t)text.len);
    setsockopt(pair[1], SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    close(pair[1]);
    if (paused) {
        rig_for(&rig, 20);
        ck_assert(!tcp.closed && tcp.got.len == 0);
        stream_resume(tcp.stream);
    }
    RIG_UNTIL(&rig, tcp.closed);
    ck_assert_str_eq(tcp.reason, reset ? "connection reset by peer" : "closed by peer");
    ck_assert_uint_eq(tcp.got.len, text.len);
    ck_assert_mem_eq(buf_data(&tcp.got), buf_data(&text), text.len);
    end_fini(&tcp);
    buf_fini(&text);
}

START_TEST(an_end_behind_data_is_found)
{
    tcp_ends(false, false);
    tcp_ends(false, true);
}
END_TEST

START_TEST(a_reset_behind_data_is_found)
{
    tcp_ends(true, false);
    tcp_ends(true, true);
}
END_TEST

START_TEST(reset_is_told)
{
    struct end tcp;
    struct linger hard = {1, 0};
    int pair[2];
    pair_tcp(pair);
    end_init(&tcp, &rig, pair[0]);
    RIG_UNTIL(&rig, tcp.opened);
    ck_assert_int_eq(strncmp(stream_peer(tcp.stream), "127.0.0.1:", 10), 0);
    setsockopt(pair[1], SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    close(pair[1]);
    RIG_UNTIL(&rig, tcp.closed);
    ck_assert_str_eq(tcp.reason, "connection reset by peer");
    end_fini(&tcp);
}
END_TEST

START_TEST(one_write_a_turn)
{
    /* A packet socket keeps what one write sent apart from the next. */
    struct end packets;
    int pair[2];
    char got[64];
    pair_unix(pair, SOCK_SEQPACKET);
    end_init(&packets, &rig, pair[0]);
    RIG_UNTIL(&rig, packets.opened);
    for (int i = 0; i < 3; i++)
        buf_puts(stream_out(packets.stream), "part.");
    ck_assert_uint_eq(stream_pending(packets.stream), 15);
    loop_turn(rig.loop, false);
    ck_assert_uint_eq(stream_pending(packets.stream), 0);
    ck_assert_int_eq(recv(pair[1], got, sizeof(got), 0), 15);
    ck_assert_int_eq(recv(pair[1], got, sizeof(got), 0), -1);
    end_fini(&packets);
    close(pair[1]);
}
END_TEST

START_TEST(an_eager_one_writes_once_before_the_end_of_its_turn)
{
    struct end packets;
    int pair[2];
    char got[64];
    pair_unix(pair, SOCK_SEQPACKET);
    end_init(&packets, &rig, pair[0]);
    stream_limit(packets.stream, &(struct stream_limits){.eager = 10});
    RIG_UNTIL(&rig, packets.opened);
    for (int turn = 0; turn < 2; turn++) {
        for (int i = 0; i < 9; i++)
            buf_puts(stream_out(packets.stream), "part.");
        ck_assert_int_eq(recv(pair[1], got, sizeof(got), 0), 10);
        ck_assert_int_eq(recv(pair[1], got, sizeof(got), 0), -1);
        loop_turn(rig.loop, false);
        ck_assert_int_eq(recv(pair[1], got, sizeof(got), 0), 35);
    }
    buf_puts(stream_out(packets.stream), "unread");
    loop_turn(rig.loop, false);
    for (int i = 0; i < 9; i++)
        buf_puts(stream_out(packets.stream), "part."); /* it has something to do */
    ck_assert_uint_eq(stream_pending(packets.stream), 45);
    close(pair[1]);
    loop_turn(rig.loop, false);
    RIG_UNTIL(&rig, packets.closed);
    end_fini(&packets);
}
END_TEST

static void fill(size_t n)
{
    struct buf *out = stream_out(end.stream);
    uint8_t *to = buf_reserve(out, n);
    for (size_t i = 0; i < n; i++)
        to[i] = (uint8_t)(i * 7 + i / 251);
    buf_commit(out, n);
}

static void check_filled(const struct buf *b, size_t n)
{
    ck_assert_uint_eq(b->len, n);
    size_t same = 0;
    while (same < n && buf_data(b)[same] == (uint8_t)(same * 7 + same / 251))
        same++;
    ck_assert_uint_eq(same, n);
}

static bool at_end(void)
{
    char c;
    return recv(fds[1], &c, 1, 0) == 0;
}

START_TEST(finish_writes_all_then_closes)
{
    struct buf heard = BUF_EMPTY;
    RIG_UNTIL(&rig, end.opened);
    fill(3000000);
    end.finish = true; /* the stream is not ours any more */
    stream_finish(end.stream);
    say("more\n", 5);
    rig_for(&rig, 20);
    for (bool over = false; !over;) {
        RIG_UNTIL(&rig, hear(&heard) > 0 || (over = at_end()));
    }
    check_filled(&heard, 3000000);
    ck_assert_uint_eq(end.shown, 0);
    ck_assert(!end.closed);
    close(fds[1]);
    fds[1] = -1;
    rig_for(&rig, 20);
    ck_assert_int_eq(fcntl(fds[0], F_GETFD), -1); /* closed on our side too */
    buf_fini(&heard);
}
END_TEST

START_TEST(finish_is_no_reset_for_a_peer_that_still_sends)
{
    struct end tcp;
    struct buf heard = BUF_EMPTY;
    char junk[4096] = {0}, got[64];
    int pair[2];
    ssize_t n;
    pair_tcp(pair);
    end_init(&tcp, &rig, pair[0]);
    RIG_UNTIL(&rig, tcp.opened);
    tcp.finish = true;
    ck_assert_int_eq(send(pair[1], "bad\n", 4, 0), 4);
    for (int i = 0; i < 20; i++)
        ck_assert_int_gt(send(pair[1], junk, sizeof(junk), 0), 0);
    buf_puts(stream_out(tcp.stream), "error\n");
    RIG_UNTIL(&rig, tcp.shown == 1);
    rig_for(&rig, 20);
    ck_assert_int_gt(send(pair[1], junk, sizeof(junk), MSG_NOSIGNAL), 0);
    rig_for(&rig, 20);
    n = recv(pair[1], got, sizeof(got), 0);
    ck_assert_int_eq(n, 6);
    ck_assert_int_eq(recv(pair[1], got, sizeof(got), 0), 0);
    close(pair[1]);
    end_fini(&tcp);
    buf_fini(&heard);
}
END_TEST

START_TEST(close_in_callback_ends_all_callbacks)
{
    end.close = true;
    say("a\nb\n", 4);
    RIG_UNTIL(&rig, end.shown == 1);
    ck_assert_int_eq(send(fds[1], "c\n", 2, MSG_NOSIGNAL), -1);
    rig_for(&rig, 20);
    ck_assert_uint_eq(end.shown, 1);
    ck_assert(!end.closed);
    ck_assert_int_eq(fcntl(fds[0], F_GETFD), -1);
}
END_TEST

START_TEST(close_another_that_has_an_event_too)
{
    struct end other;
    int pair[2];
    pair_unix(pair, SOCK_STREAM);
    end_init(&other, &rig, pair[0]);
    RIG_UNTIL(&rig, end.opened && other.opened);
    end.close_other = &other; /* whichever comes first closes the other one */
    other.close_other = &end;
    say("a\n", 2);
    ck_assert_int_eq(send(pair[1], "b\n", 2, 0), 2);
    rig_for(&rig, 30);
    ck_assert_uint_eq(end.shown + other.shown, 1);
    ck_assert(!end.closed && !other.closed);
    struct end *left = end.shown == 1 ? &end : &other, *gone = left == &end ? &other : &end;
    gone->close = true; /* tells end_fini() */
    end_fini(&other);
    close(pair[1]);
}
END_TEST

START_TEST(use_after_close_in_the_same_turn_is_harmless)
{
    RIG_UNTIL(&rig, end.opened);
    stream_close(end.stream);
    stream_close(end.stream);
    buf_puts(stream_out(end.stream), "lost");
    stream_pause(end.stream);
    stream_resume(end.stream);
    stream_finish(end.stream);
    end.close = true;
    rig_for(&rig, 5);
    ck_assert(!end.closed);
    ck_assert(at_end());
}
END_TEST

START_TEST(input_limit)
{
    stream_limit(end.stream, &(struct stream_limits){.input = 100});
    struct buf line = BUF_EMPTY;
    for (int i = 0; i < 100; i++)
        buf_putc(&line, 'x');
    say(buf_data(&line), 100);
    RIG_UNTIL(&rig, end.shown == 1);
    rig_for(&rig, 5);
    ck_assert(!end.closed);
    say("x", 1);
    RIG_UNTIL(&rig, end.closed);
    ck_assert_str_eq(end.reason, "frame is larger than the limit of 100 bytes");
    buf_fini(&line);
}
END_TEST

START_TEST(input_limit_spares_whole_frames_of_a_paused_one)
{
    stream_limit(end.stream, &(struct stream_limits){.input = 10});
    end.most = 1;
    end.pause = true;
    say("a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n", 20);
    for (size_t lines = 1; lines <= 10; lines++) {
        RIG_UNTIL(&rig, end.got.len == 2 * lines);
        stream_resume(end.stream);
    }
    ck_assert(!end.closed);
}
END_TEST

START_TEST(partial_frame_times_out)
{
    stream_limit(end.stream, &(struct stream_limits){.partial_ms = 80});
    rig_for(&rig, 150);
    ck_assert(!end.closed); /* idle is no crime */
    say("whole\nhal", 9);
    int64_t start = clock_mono_ms();
    RIG_UNTIL(&rig, end.closed);
    ck_assert_str_eq(end.reason, "incomplete frame for 80ms");
    ck_assert_int_ge(clock_mono_ms() - start, 79);
}
END_TEST

START_TEST(dripping_does_not_help)
{
    int64_t start = clock_mono_ms();
    stream_limit(end.stream, &(struct stream_limits){.partial_ms = 100});
    while (!end.closed) {
        ck_assert_int_lt(clock_mono_ms() - start, 5000);
        send(fds[1], "x", 1, MSG_NOSIGNAL);
        rig_for(&rig, 10);
    }
    ck_assert_str_eq(end.reason, "incomplete frame for 100ms");
}
END_TEST

START_TEST(partial_time_stands_still_while_paused)
{
    stream_limit(end.stream, &(struct stream_limits){.partial_ms = 60});
    end.pause = true;
    say("whole\nhal", 9);
    RIG_UNTIL(&rig, end.shown == 1);
    rig_for(&rig, 150);
    ck_assert(!end.closed);
    end.pause = false;
    stream_resume(end.stream);
    RIG_UNTIL(&rig, end.closed);
    ck_assert_str_eq(end.reason, "incomplete frame for 60ms");
}
END_TEST

START_TEST(size_buys_time)
{
    char block[4096];
    for (size_t i = 0; i < sizeof(block); i++)
        block[i] = 'x';
    stream_limit(end.stream, &(struct stream_limits){.partial_ms = 60});
    say(block, sizeof(block));
    rig_for(&rig, 300);
    ck_assert(!end.closed);
}
END_TEST

START_TEST(peer_that_never_reads_times_out)
{
    stream_limit(end.stream, &(struct stream_limits){.write_ms = 120});
    RIG_UNTIL(&rig, end.opened);
    fill(4000000);
    RIG_UNTIL(&rig, end.closed);
    ck_assert_str_eq(end.reason, "peer takes no data for 120ms");
}
END_TEST

START_TEST(slow_reader_is_no_dead_one)
{
    struct buf heard = BUF_EMPTY;
    stream_limit(end.stream, &(struct stream_limits){.write_ms = 400});
    RIG_UNTIL(&rig, end.opened);
    fill(1500000);
    while (heard.len < 1500000) {
        rig_for(&rig, 30);
        hear(&heard);
        ck_assert(!end.closed);
    }
    check_filled(&heard, 1500000);
    rig_for(&rig, 500);
    ck_assert(!end.closed);
    buf_fini(&heard);
}
END_TEST

START_TEST(drain_is_told_below_half_of_the_mark)
{
    struct buf heard = BUF_EMPTY;
    stream_limit(end.stream, &(struct stream_limits){.high = 1000000});
    RIG_UNTIL(&rig, end.opened);
    fill(900000);
    rig_for(&rig, 10);
    ck_assert_uint_gt(stream_pending(end.stream), 0);
    fill(2000000);
    rig_for(&rig, 10);
    ck_assert(!end.drained);
    while (!end.drained) {
        ck_assert(stream_pending(end.stream) > 500000);
        RIG_UNTIL(&rig, hear(&heard) > 0);
        rig_for(&rig, 1);
    }
    ck_assert_uint_le(stream_pending(end.stream), 500000);
    ck_assert_uint_gt(stream_pending(end.stream), 0);
    buf_fini(&heard);
}
END_TEST

START_TEST(drain_is_told_when_all_left_at_once)
{
    stream_limit(end.stream, &(struct stream_limits){.high = 100});
    RIG_UNTIL(&rig, end.opened);
    fill(100);
    rig_for(&rig, 5);
    ck_assert(!end.drained);
    fill(101);
    RIG_UNTIL(&rig, end.drained);
}
END_TEST

START_TEST(large_frame_is_collected)
{
    size_t size = 16u << 20, sent = 0;
    struct buf body = BUF_EMPTY;
    uint8_t *p = buf_reserve(&body, size);
    for (size_t i = 0; i < size; i++)
        p[i] = (uint8_t)('a' + i % 17);
    p[size - 1] = '\n';
    stream_limit(end.stream, &(struct stream_limits){.input = size});
    while (sent < size) {
        ssize_t n = send(fds[1], p + sent, size - sent, MSG_NOSIGNAL);
        if (n > 0)
            sent += (size_t)n;
        loop_turn(rig.loop, false);
    }
    RIG_UNTIL(&rig, end.got.len == size);
    ck_assert_mem_eq(buf_data(&end.got), p, size);
    buf_fini(&body);
}
END_TEST

START_TEST(leftovers_of_all_sizes)
{
    /* From small to large: every way a leftover is kept and joined. */
    static const size_t sizes[] = {1, 100, 16383, 16384, 16385, 32767, 32768, 32769, 49151, 49152, 49153,
                                   100000, 131071, 131072, 131073, 300000};
    stream_limit(end.stream, &(struct stream_limits){.input = 1u << 20});
    for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
        struct buf all = BUF_EMPTY;
        buf_puts(&all, "short\n");
        for (size_t i = 0; i < sizes[k]; i++)
            buf_putc(&all, (char)('a' + i % 23));
        buf_puts(&all, "\nnext\n");
        buf_clear(&end.got);
        for (size_t sent = 0; sent < all.len;) {
            size_t n = all.len - sent < 70001 ? all.len - sent : 70001;
            say(buf_data(&all) + sent, n);
            sent += n;
            rig_for(&rig, 2);
        }
        RIG_UNTIL(&rig, end.got.len == all.len);
        ck_assert_mem_eq(buf_data(&end.got), buf_data(&all), all.len);
        buf_fini(&all);
    }
}
END_TEST

START_TEST(echo_under_load_keeps_order)
{
    struct buf sent = BUF_EMPTY, heard = BUF_EMPTY;
    end.echo = true;
    for (int i = 0; sent.len < 2000000; i++)
        buf_printf(&sent, "%d line of some length\n", i);
    for (size_t at = 0; heard.len < sent.len;) {
        size_t n = sent.len - at < 50000 ? sent.len - at : 50000;
        ssize_t k = n > 0 ? send(fds[1], buf_data(&sent) + at, n, MSG_NOSIGNAL) : 0;
        at += k > 0 ? (size_t)k : 0;
        loop_turn(rig.loop, false);
        hear(&heard);
    }
    ck_assert_mem_eq(buf_data(&heard), buf_data(&sent), sent.len);
    buf_fini(&sent);
    buf_fini(&heard);
}
END_TEST

#define IDLE 10000

START_TEST(idle_streams_are_small)
{
    static struct end ends[IDLE];
    static int peers[IDLE];
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    size_t most = limit.rlim_cur < 2 * IDLE + 100 ? (limit.rlim_cur - 100) / 2 : IDLE;
    size_t before = mallinfo2().uordblks;
    for (size_t i = 0; i < most; i++) {
        int pair[2];
        pair_unix(pair, SOCK_STREAM);
        end_init(&ends[i], &rig, pair[0]);
        ends[i].echo = true;
        peers[i] = pair[1];
        ck_assert_int_eq(send(pair[1], "hi\n", 3, 0), 3);
    }
    for (size_t i = 0; i < most; i++)
        RIG_UNTIL(&rig, ends[i].got.len == 3);
    rig_for(&rig, 5);
    for (size_t i = 0; i < most; i++)
        buf_fini(&ends[i].got);
    size_t each = (mallinfo2().uordblks - before) / most;
    printf("%zu idle streams: %zu bytes each\n", most, each);
    ck_assert_uint_le(each, 512);
    for (size_t i = 0; i < most; i++) {
        end_fini(&ends[i]);
        close(peers[i]);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("stream");
    TCase *t = tcase_create("stream");
    const TTest *const tests[] = {
        split_at_every_byte, byte_by_byte, glued_comes_in_one_call, open_comes_first_and_not_from_inside,
        peer_gone_before_the_first_turn, eof_within_a_frame_is_told, reset_is_told,
        an_end_behind_data_is_found, a_reset_behind_data_is_found,
        one_write_a_turn, an_eager_one_writes_once_before_the_end_of_its_turn, finish_writes_all_then_closes,
        finish_is_no_reset_for_a_peer_that_still_sends, close_in_callback_ends_all_callbacks,
        close_another_that_has_an_event_too, use_after_close_in_the_same_turn_is_harmless,
        input_limit, input_limit_spares_whole_frames_of_a_paused_one, partial_frame_times_out,
        dripping_does_not_help, partial_time_stands_still_while_paused, size_buys_time,
        peer_that_never_reads_times_out, slow_reader_is_no_dead_one,
        drain_is_told_below_half_of_the_mark, drain_is_told_when_all_left_at_once,
        large_frame_is_collected, leftovers_of_all_sizes, echo_under_load_keeps_order,
        idle_streams_are_small,
    };
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_set_timeout(t, 60);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(t, tests[i]);
    suite_add_tcase(s, t);
    return run_suite(s);
}
