/* sync: what the disk gives a bare loop that writes BATCH records and syncs them, over and over; the
 * limit of any group commit. See usage(). */
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { AHEAD = 64 << 20 };

struct loop {
    const char *path;
    long batch, size, warm_ms, run_ms;
    bool ahead;

    int fd;
    char *data;
    size_t bytes;       /* of a batch */
    off_t at;
    uint64_t done;
    bool measuring;
    struct hist hist;
};

static void usage(void)
{
    errno = 0;
    die("usage: sync -f FILE [-b RECORDS OF A BATCH] [-s BYTES OF A RECORD]\n"
        "  [-w WARM-UP MS] [-d MEASURED MS] [-P: over %d MiB written before, else the file grows]", AHEAD >> 20);
}

static void write_all(struct loop *l)
{
    for (size_t sent = 0; sent < l->bytes;) {
        ssize_t n = pwrite(l->fd, l->data + sent, l->bytes - sent, l->at + (off_t)sent);

        if (n < 0)
            die("%s", l->path);
        sent += (size_t)n;
    }
    l->at += (off_t)l->bytes;
}

/* Real blocks: an allocated but unwritten one still needs the file system's journal. */
static void write_ahead(struct loop *l)
{
    while (l->at + (off_t)l->bytes <= AHEAD)
        write_all(l);
    if (fsync(l->fd) < 0)
        die("%s", l->path);
    l->at = 0;
}

static void turn(struct loop *l)
{
    int64_t start = now_ns();

    if (l->ahead && l->at + (off_t)l->bytes > AHEAD)
        l->at = 0;
    write_all(l);
    if (fdatasync(l->fd) < 0)
        die("%s", l->path);
    if (!l->measuring)
        return;
    hist_add(&l->hist, now_ns() - start);
    l->done += (uint64_t)l->batch;
}

static void run_until(struct loop *l, int64_t end_ns)
{
    while (now_ns() < end_ns)
        turn(l);
}

static void prepare(struct loop *l)
{
    l->bytes = (size_t)(l->batch * l->size);
    l->data = malloc(l->bytes);
    l->fd = open(l->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (l->fd < 0 || !l->data)
        die("%s", l->path);
    for (size_t i = 0; i < l->bytes; i++)
        l->data[i] = (char)('a' + i % 26);
    if (l->ahead)
        write_ahead(l);
}

static void measure(struct loop *l)
{
    struct watch nobody = { .count = 0 };
    int64_t t0, ns;

    run_until(l, now_ns() + l->warm_ms * 1000000);
    watch_start(&nobody);
    l->measuring = true;
    t0 = now_ns();
    run_until(l, t0 + l->run_ms * 1000000);
    ns = now_ns() - t0;
    printf("{\"done\":%lu,\"rate\":%.1f,\"p50_us\":%.2f,\"p99_us\":%.2f,", (unsigned long)l->done,
           (double)l->done * 1e9 / (double)ns, hist_us(&l->hist, .5), hist_us(&l->hist, .99));
    watch_print(&nobody, (double)l->done);
    puts("}");
}

static void options(struct loop *l, int argc, char **argv)
{
    int o;

    while ((o = getopt(argc, argv, "f:b:s:Pw:d:")) != -1) {
        switch (o) {
        case 'f': l->path = optarg; break;
        case 'b': l->batch = number(optarg, "-b", 1, 4096); break;
        case 's': l->size = number(optarg, "-s", 1, 4096); break;
        case 'P': l->ahead = true; break;
        case 'w': l->warm_ms = number(optarg, "-w", 0, 60000); break;
        case 'd': l->run_ms = number(optarg, "-d", 1, 600000); break;
        default: usage();
        }
    }
    if (!l->path || optind != argc)
        usage();
}

int main(int argc, char **argv)
{
    static struct loop l = { .batch = 1, .size = 100, .warm_ms = 200, .run_ms = 1000 };

    options(&l, argc, argv);
    prepare(&l);
    measure(&l);
    return 0;
}
