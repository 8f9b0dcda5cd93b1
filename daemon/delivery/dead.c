#include "base/mem.h"
#include "delivery/history.h"
#include "delivery/internal.h"

static void dead_free(struct hub *h, struct dead_letter *d)
{
    list_remove(&h->dead, &d->link);
    d->dest->routed--;
    h->dead_bytes -= d->msg->size;
    msg_unref(d->msg);
    route_set_unref(d->route->set);
    mem_free(d->subject);
    mem_free(d->first_error);
    mem_free(d->last_error);
    mem_free(d);
}

/* dead -> dropped: purge, or the oldest of a full list. */
static void dead_drop(struct hub *h, struct dead_letter *d)
{
    history_note_dead(h, d, PAST_PURGED, NULL);
    h->counts.state[DELIVERY_DEAD]--;
    h->counts.state[DELIVERY_DROPPED]++;
    dead_free(h, d);
}

static void make_room(struct hub *h, size_t bytes)
{
    while (!list_empty(&h->dead) &&
           (h->dead.count >= h->limits.dead || h->dead_bytes + bytes > h->limits.memory / 4)) {
        struct dead_letter *oldest = CONTAINER_OF(list_first(&h->dead), struct dead_letter, link);
        msg_log(h->env.log, LOG_ERROR, "dead_letter_dropped", oldest->msg,
                (struct log_pair[4]){{"destination", oldest->dest->name},
                                     {"why", "the list of dead letters is full (limits.dead)"}});
        dead_drop(h, oldest);
    }
}

void dead_add(struct hub *h, struct delivery *v, enum code reason)
{
    struct dead_letter *d = mem_zalloc(sizeof(*d));
    make_room(h, v->h.msg->size);
    d->msg = msg_ref(v->h.msg);
    d->route = v->route;
    d->route->set->refs++;
    d->route_name = route_name(v->route);
    d->dest = v->dest;
    d->dest->routed++;
    d->subject = str_dup(v->h.subject);
    d->to = v->h.to;
    d->sent_on = v->target == TARGET_DEAD;
    d->reason = reason;
    d->attempts = v->h.attempt;
    d->first_error = v->first_error;
    d->last_error = v->last_error != NULL ? mem_strdup(v->last_error) : NULL; /* the log and `why` are told it next */
    v->first_error = NULL;
    d->time_wall_ms = h->env.wall(h->env.arg);
    d->accepted_wall_ms = d->time_wall_ms - (hub_now(h) - d->msg->accepted_ms);
    h->dead_bytes += d->msg->size;
    list_push(&h->dead, &d->link);
}

void dead_clear(struct hub *h)
{
    while (!list_empty(&h->dead))
        dead_drop(h, CONTAINER_OF(list_first(&h->dead), struct dead_letter, link));
}

static bool dead_matches(const struct dead_letter *d, const struct dead_query *q)
{
    return (q->id.p == NULL || str_eq(q->id, d->msg->id)) &&
           (q->route.p == NULL || str_is(q->route, d->route_name)) &&
           (q->match.p == NULL || filter_matches(q->match, d->msg->subject, NULL));
}

/* Calls fn for each that matches, oldest first; fn may remove its own. Returns how many. */
static size_t dead_walk(struct hub *h, const struct dead_query *q,
                        void (*fn)(struct hub *h, struct dead_letter *d))
{
    size_t count = 0;
    LIST_EACH(&h->dead, n) {
        struct dead_letter *d = CONTAINER_OF(n, struct dead_letter, link);
        if (q->limit > 0 && count == q->limit)
            break;
        if (!dead_matches(d, q))
            continue;
        count++;
        if (fn != NULL)
            fn(h, d);
    }
    return count;
}

void hub_each_dead(struct hub *h, const struct dead_query *q,
                   void (*fn)(void *arg, const struct dead_letter *d), void *arg)
{
    size_t count = 0;
    LIST_EACH(&h->dead, n) {
        const struct dead_letter *d = CONTAINER_OF(n, struct dead_letter, link);
        if (q->limit > 0 && count == q->limit)
            break;
        if (dead_matches(d, q)) {
            count++;
            fn(arg, d);
        }
    }
}

size_t hub_dead_count(const struct hub *h)
{
    return h->store != NULL ? h->counts.state[DELIVERY_DEAD] : h->dead.count;
}

/* dead -> ready. The delivery is a new object but the same in the books. */
static void redrive(struct hub *h, struct dead_letter *d)
{
    struct plan p = {.dest = d->dest, .route = d->route, .target = d->sent_on ? TARGET_DEAD : 0};
    struct captures none = {.count = 0};
    struct delivery *v = delivery_new(h, d->msg, MSG_EVENT, &p, &none);
    history_note_dead(h, d, PAST_REDRIVEN, NULL);
    h->counts.state[DELIVERY_DEAD]--;
    v->h.to = d->to;
    v->subject = d->subject;
    v->h.subject = str_of(d->subject);
    v->h.redelivered = "redrive";
    v->deadline_ms = SCHED_NEVER; /* its ttl was counted from an acceptance long ago */
    d->subject = NULL;
    dead_free(h, d);
    delivery_ready(v);
}

size_t hub_redrive(struct hub *h, const struct dead_query *q, bool dry_run)
{
    return dead_walk(h, q, dry_run ? NULL : redrive);
}

size_t hub_purge(struct hub *h, const struct dead_query *q, bool dry_run)
{
    return dead_walk(h, q, dry_run ? NULL : dead_drop);
}
