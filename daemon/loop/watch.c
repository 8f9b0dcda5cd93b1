#include "loop/watch.h"

#include <errno.h>
#include <event2/event.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "loop/impl.h"
#include "loop/timer.h"

#define SETTLE_MS 200
#define WATCH_EVENTS (IN_CREATE | IN_CLOSE_WRITE | IN_MOVE | IN_DELETE | IN_ATTRIB | IN_ONLYDIR)

/* What tells one version of a file from another. All zero = it is not there. */
struct version {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec changed;
};

struct watched {
    char *path;
    struct version told; /* the owner knows */
    struct version seen; /* at the last look */
};

struct watch {
    struct loop *loop;
    loop_fn *fn;
    void *arg;
    int fd; /* -1: there is no inotify, the owner is never told */
    struct event *event;
    struct timer *settle;
    bool settling;
    struct watched *files;
    size_t count;
};

static struct version version_of(const char *path)
{
    struct stat st;
    struct version v = {0};
    if (stat(path, &st) != 0)
        return v;
    v.device = st.st_dev;
    v.inode = st.st_ino;
    v.size = st.st_size;
    v.changed = st.st_ctim;
    return v;
}

static bool version_same(const struct version *a, const struct version *b)
{
    return a->device == b->device && a->inode == b->inode && a->size == b->size &&
           a->changed.tv_sec == b->changed.tv_sec && a->changed.tv_nsec == b->changed.tv_nsec;
}

static void folder_add(struct watch *w, const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash == NULL ? mem_strdup(".") : mem_strndup(path, (size_t)(slash - path) + 1);
    inotify_add_watch(w->fd, folder, WATCH_EVENTS); /* the same folder twice is one watch */
    mem_free(folder);
}

/* The folder of the path, and that of the file it leads to: links may have been swapped. */
static void folders_add(struct watch *w)
{
    char real[PATH_MAX];
    for (size_t i = 0; i < w->count; i++) {
        folder_add(w, w->files[i].path);
        if (realpath(w->files[i].path, real) != NULL)
            folder_add(w, real);
    }
}

/* Looks at all files. Folders may be busy with other files: those alone never tell the owner. */
static void watch_on_settle(void *arg)
{
    struct watch *w = arg;
    bool moving = false, changed = false;
    for (size_t i = 0; i < w->count; i++) {
        struct version now = version_of(w->files[i].path);
        moving = moving || !version_same(&now, &w->files[i].seen);
        changed = changed || !version_same(&now, &w->files[i].told);
        w->files[i].seen = now;
    }
    w->settling = moving;
    if (moving) {
        timer_after(w->settle, SETTLE_MS);
        return;
    }
    if (!changed)
        return;
    folders_add(w);
    for (size_t i = 0; i < w->count; i++)
        w->files[i].told = w->files[i].seen;
    w->fn(w->arg); /* may free us */
}

static void watch_on_event(evutil_socket_t fd, short what, void *arg)
{
    struct watch *w = arg;
    char events[4096];
    (void)what;
    loop_woke(w->loop);
    while (read((int)fd, events, sizeof(events)) > 0)
        continue;
    if (w->settling)
        return;
    w->settling = true;
    for (size_t i = 0; i < w->count; i++)
        w->files[i].seen = version_of(w->files[i].path);
    timer_after(w->settle, SETTLE_MS);
}

struct watch *watch_new(struct loop *l, const char *const *paths, size_t count, loop_fn *fn, void *arg)
{
    struct watch *w = mem_zalloc(sizeof(*w));
    w->loop = l;
    w->fn = fn;
    w->arg = arg;
    w->settle = timer_new(l, watch_on_settle, w);
    w->files = mem_calloc(count, sizeof(*w->files));
    w->count = count;
    w->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    for (size_t i = 0; i < count; i++)
        w->files[i].path = mem_strdup(paths[i]);
    if (w->fd < 0) {
        log_write(loop_log(l), LOG_WARN, "watch_failed", "reason", strerror(errno), NULL);
        return w;
    }
    folders_add(w); /* first: what changes after the look below makes an event */
    for (size_t i = 0; i < count; i++)
        w->files[i].told = version_of(paths[i]);
    w->event = event_new(l->base, w->fd, EV_READ | EV_PERSIST, watch_on_event, w);
    event_add(w->event, NULL);
    return w;
}

uint64_t watch_print(const char *const *paths, size_t count)
{
    uint64_t print = 0;
    for (size_t i = 0; i < count; i++) {
        const struct version v = version_of(paths[i]);
        print = map_hash((const uint64_t[2]){print, i}, str_make(&v, sizeof(v)));
    }
    return print;
}

bool watch_is_of(const struct watch *w, const char *const *paths, size_t count)
{
    size_t i = 0;
    while (i < count && i < w->count && strcmp(paths[i], w->files[i].path) == 0)
        i++;
    return i == count && i == w->count;
}

int watch_end(struct watch *w)
{
    int fd = w->fd;
    if (w->event != NULL)
        event_free(w->event);
    timer_free(w->settle);
    for (size_t i = 0; i < w->count; i++)
        mem_free(w->files[i].path);
    mem_free(w->files);
    mem_free(w);
    return fd;
}

void watch_free(struct watch *w)
{
    int fd = w != NULL ? watch_end(w) : -1;
    if (fd >= 0)
        close(fd);
}
