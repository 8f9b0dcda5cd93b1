#include "loop/quickack.h"

#include <assert.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "loop/impl.h"

#define QUICKACK_MS 4
#define QUICKACK_MOST 64 /* a tick: where so many wait, we are late ourselves, and each costs a call */

static void add(struct quickacks *all, struct quickack *q, enum quick_age age)
{
    q->age = (uint8_t)age;
    list_push(&all->lists[age], &q->link);
}

static void arm(struct quickacks *all)
{
    all->planned = true;
    event_add(all->tick, &(struct timeval){.tv_usec = QUICKACK_MS * 1000});
}

static void plan(struct quickacks *all)
{
    if (all->planned)
        return;
    all->due_ms = loop_now(all->loop) + QUICKACK_MS + 1; /* now is cut to whole ms */
    arm(all);
}

static struct quickack *first(struct quickacks *all, enum quick_age age)
{
    struct list_node *n = list_first(&all->lists[age]);
    return n != NULL ? CONTAINER_OF(n, struct quickack, link) : NULL;
}

static void acknowledge(struct quickacks *all, enum quick_age age, size_t most)
{
    struct quickack *q;
    int on = 1;
    for (; most > 0 && (q = first(all, age)) != NULL; most--) {
        quickack_forget(all, q);
        setsockopt(q->fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof(on));
    }
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct quickacks *all = arg;
    struct quickack *q;
    (void)fd;
    (void)what;
    loop_woke(all->loop);
    all->planned = false;
    if (loop_now(all->loop) < all->due_ms) { /* libevent's clock is a coarse one */
        arm(all);
        return;
    }
    acknowledge(all, QUICK_OLD, QUICKACK_MOST);
    while ((q = first(all, QUICK_NEW)) != NULL) {
        quickack_forget(all, q);
        add(all, q, QUICK_OLD);
    }
    if (!list_empty(&all->lists[QUICK_OLD]))
        plan(all);
}

void quickacks_init(struct quickacks *all, struct loop *l)
{
    all->loop = l;
    all->planned = false;
    all->tick = event_new(l->base, -1, 0, on_tick, all);
    assert(all->tick != NULL);
    for (int i = 0; i < QUICK_AGES; i++)
        list_init(&all->lists[i]);
}

void quickacks_fini(struct quickacks *all)
{
    event_free(all->tick);
}

void quickacks_end_turn(struct quickacks *all)
{
    acknowledge(all, QUICK_NOW, SIZE_MAX);
}

void quickack_waits(struct quickacks *all, struct quickack *q)
{
    if (q->how == QUICKACK_OFF || list_linked(&q->link))
        return;
    add(all, q, q->how == QUICKACK_EAGER ? QUICK_NOW : QUICK_NEW);
    if (q->how == QUICKACK_LAZY)
        plan(all);
}

void quickack_forget(struct quickacks *all, struct quickack *q)
{
    list_remove(&all->lists[q->age], &q->link);
    if (all->planned && list_empty(&all->lists[QUICK_NEW]) && list_empty(&all->lists[QUICK_OLD])) {
        all->planned = false;
        event_del(all->tick);
    }
}
