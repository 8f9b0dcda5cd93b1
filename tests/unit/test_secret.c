/* Secrets that pass through buffers which are used again: no copy of them is left in the heap. */
#include "base/mem.h"
#include "rig.h"

#define SECRET_BYTES 48

static struct rig rig;
static int fds[2];
static struct stream *stream;
static size_t wanted; /* what on_data waits for, and then consumes */
static bool wipes, shown;

/* Never in memory as it is but where a test puts it. */
static void put_secret(uint8_t *to)
{
    for (size_t i = 0; i < SECRET_BYTES; i++)
        to[i] = (uint8_t)('!' + i * 37 % 90);
}

static bool is_secret(const uint8_t *p)
{
    for (size_t i = 0; i < SECRET_BYTES / 2; i++) { /* half of it is too much already */
        if (p[i] != (uint8_t)('!' + i * 37 % 90))
            return false;
    }
    return true;
}

static size_t secrets_in(FILE *memory, unsigned long from, unsigned long to)
{
    static uint8_t piece[1 << 16];
    size_t found = 0;
    for (unsigned long at = from; at < to; at += sizeof(piece) - SECRET_BYTES) {
        fseek(memory, (long)at, SEEK_SET);
        size_t n = fread(piece, 1, to - at < sizeof(piece) ? to - at : sizeof(piece), memory);
        for (size_t i = 0; i + SECRET_BYTES / 2 <= n && (i < sizeof(piece) - SECRET_BYTES); i++)
            found += is_secret(piece + i);
    }
    explicit_bzero(piece, sizeof(piece));
    return found;
}

/* In everything that can be written but the stack and what is static. */
static size_t secrets_left(void)
{
    FILE *maps = fopen("/proc/self/maps", "r"), *memory = fopen("/proc/self/mem", "r");
    char line[512], rights[8], name[256];
    unsigned long from, to;
    size_t found = 0;
    ck_assert(maps != NULL && memory != NULL);
    setvbuf(memory, NULL, _IONBF, 0);
    while (fgets(line, sizeof(line), maps) != NULL) {
        name[0] = '\0';
        int n = sscanf(line, "%lx-%lx %7s %*s %*s %*s %255s", &from, &to, rights, name);
        if (n >= 3 && rights[1] == 'w' && strcmp(name, "[heap]") == 0)
            found += secrets_in(memory, from, to);
    }
    fclose(maps);
    fclose(memory);
    return found;
}

static size_t on_data(void *arg, const uint8_t *p, size_t n)
{
    (void)arg;
    if (n < wanted)
        return 0;
    shown = true;
    if (wipes)
        bytes_wipe(p, wanted);
    return wanted;
}

static void on_close(void *arg, const char *reason)
{
    (void)arg;
    (void)reason;
    stream = NULL;
}

static const struct stream_ops ops = {.on_data = on_data, .on_close = on_close};

static void set_up(void)
{
    rig = rig_open();
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    stream = stream_new(rig.loop, fds[0], &ops, NULL);
    wanted = SECRET_BYTES + 100;
    wipes = true;
    shown = false;
}

static void tear_down(void)
{
    stream_close(stream);
    close(fds[1]);
    rig_close(&rig);
}

static void send_secret(size_t first)
{
    uint8_t text[SECRET_BYTES + 100] = {0};
    put_secret(text + 20);
    ck_assert_int_eq(send(fds[1], text, first, 0), (ssize_t)first);
    rig_for(&rig, 5);
    if (first < sizeof(text))
        ck_assert_int_eq(send(fds[1], text + first, sizeof(text) - first, 0), (ssize_t)(sizeof(text) - first));
    explicit_bzero(text, sizeof(text));
    RIG_UNTIL(&rig, shown);
}

START_TEST(what_is_not_marked_is_found)
{
    struct buf b = BUF_EMPTY;
    put_secret(buf_reserve(&b, SECRET_BYTES));
    ck_assert_uint_eq(secrets_left(), 1);
    bytes_wipe(b.base, b.cap);
    ck_assert_uint_eq(secrets_left(), 0);
    buf_fini(&b);
    wipes = false;
    send_secret(wanted);
    ck_assert_uint_ge(secrets_left(), 1);
}
END_TEST

START_TEST(a_secret_buffer_leaves_nothing)
{
    struct buf b = BUF_EMPTY, other = BUF_EMPTY;
    buf_secret(&b);
    put_secret(buf_reserve(&b, SECRET_BYTES));
    buf_commit(&b, SECRET_BYTES);
    buf_reserve(&other, 1000);
    for (int i = 0; i < 5000; i++)
        buf_putc(&b, 'x'); /* it moves */
    ck_assert_uint_eq(secrets_left(), 1);
    ck_assert(is_secret(buf_data(&b)));
    buf_consume(&b, SECRET_BYTES);
    buf_clear(&b);
    ck_assert_uint_eq(secrets_left(), 0);
    put_secret(buf_reserve(&b, SECRET_BYTES));
    buf_fini(&b);
    ck_assert_uint_eq(secrets_left(), 0);
    ck_assert(!b.secret);
    buf_fini(&other);
}
END_TEST

START_TEST(output_is_wiped_once_it_is_written)
{
    uint8_t heard[4096];
    for (int i = 0; i < 3; i++) {
        struct buf *out = stream_out(stream);
        buf_secret(out);
        put_secret(buf_reserve(out, SECRET_BYTES));
        buf_commit(out, SECRET_BYTES);
        for (int k = 0; k < 600; k++)
            buf_putc(stream_out(stream), 'y');
        RIG_UNTIL(&rig, stream_pending(stream) == 0);
        ck_assert_int_eq(recv(fds[1], heard, sizeof(heard), 0), SECRET_BYTES + 600);
        ck_assert(is_secret(heard));
        ck_assert_uint_eq(secrets_left(), 0);
        buf_puts(stream_out(stream), "and on"); /* no secret any more */
        ck_assert(!stream_out(stream)->secret);
        RIG_UNTIL(&rig, stream_pending(stream) == 0);
        ck_assert_int_eq(recv(fds[1], heard, sizeof(heard), 0), 6);
    }
}
END_TEST

START_TEST(output_that_is_never_written_is_wiped)
{
    put_secret(buf_reserve(stream_out(stream), SECRET_BYTES));
    buf_secret(stream_out(stream));
    stream_close(stream);
    stream = NULL;
    rig_for(&rig, 5);
    ck_assert_uint_eq(secrets_left(), 0);
}
END_TEST

START_TEST(input_is_wiped_however_it_comes)
{
    for (size_t first = 60; first <= wanted; first += 29) {
        shown = false;
        stream_secret_input(stream);
        send_secret(first);
        ck_assert_msg(secrets_left() == 0, "a copy is left where %zu bytes came first", first);
    }
}
END_TEST

START_TEST(input_that_is_never_whole_is_wiped)
{
    uint8_t text[SECRET_BYTES];
    stream_secret_input(stream);
    put_secret(text);
    ck_assert_int_eq(send(fds[1], text, sizeof(text), 0), SECRET_BYTES);
    rig_for(&rig, 5);
    ck_assert_uint_eq(secrets_left(), 1);
    stream_close(stream);
    stream = NULL;
    rig_for(&rig, 5);
    ck_assert_uint_eq(secrets_left(), 0);
}
END_TEST

int main(void)
{
#ifdef __SANITIZE_ADDRESS__
    puts("secret: nothing is looked for where the heap is the sanitizer's");
    return 0;
#endif
    Suite *s = suite_create("secret");
    TCase *t = tcase_create("secret");
    const TTest *const tests[] = {what_is_not_marked_is_found, a_secret_buffer_leaves_nothing, output_is_wiped_once_it_is_written,
                                  output_that_is_never_written_is_wiped, input_is_wiped_however_it_comes,
                                  input_that_is_never_whole_is_wiped};
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_set_timeout(t, 60);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        tcase_add_test(t, tests[i]);
    suite_add_tcase(s, t);
    return run_suite(s);
}
