#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

/* On the hot path, where printf would cost as much as the rest of a request. */
void bellhop_line_write(char out[static BELLHOP_LINE_ROOM], const char *before, uint64_t n, const char *after)
{
    size_t len = strlen(before);
    memcpy(out, before, len);
    char *p = bellhop_number_write(out + len, n);
    memcpy(p, after, strlen(after) + 1);
}

int bellhop_put(struct bellhop *b, const struct bellhop_frame *f, const char *extra)
{
    size_t extra_len = strlen(extra);
    if (!bellhop_buf_reserve(&b->out, BELLHOP_LINE_MAX + f->headers_len + extra_len + f->body_len))
        return -ENOMEM;
    struct bellhop_frame line = *f;
    line.headers_len += extra_len;
    b->out.end += bellhop_frame_line(b->out.data + b->out.end, &line);
    bellhop_buf_put(&b->out, f->headers, f->headers_len);
    bellhop_buf_put(&b->out, extra, extra_len);
    bellhop_buf_put(&b->out, f->body, f->body_len);
    return 0;
}

int bellhop_put_plain(struct bellhop *b, enum bellhop_verb verb, uint64_t id)
{
    struct bellhop_frame f = { .verb = verb, .id = id };
    return bellhop_put(b, &f, "");
}

int bellhop_put_hello(struct bellhop *b)
{
    struct bellhop_headers h = { 0 };
    char credit[16];
    snprintf(credit, sizeof credit, "%u", b->credit);
    bellhop_headers_add(&h, "version", "1");
    bellhop_headers_add(&h, "credit", credit);
    if (b->token != NULL)
        bellhop_headers_add(&h, "token", b->token);
    if (b->instance != NULL)
        bellhop_headers_add(&h, "instance", b->instance);
    struct bellhop_frame f = { .verb = BELLHOP_VERB_HELLO, .subject = b->name, .subject_len = strlen(b->name),
                               .headers = h.data, .headers_len = h.len };
    int rc = h.error != 0 ? h.error : bellhop_put(b, &f, "");
    bellhop_headers_fini(&h);
    return rc;
}

int bellhop_frame_from_msg(const struct bellhop *b, const struct bellhop_msg *msg, struct bellhop_frame *f)
{
    f->subject = msg->subject;
    f->subject_len = msg->subject != NULL ? strlen(msg->subject) : 0;
    f->headers = msg->headers;
    f->headers_len = msg->headers_len;
    f->body = msg->body;
    f->body_len = msg->body_len;
    if (f->subject_len > BELLHOP_SUBJECT_MAX || !bellhop_text_is_valid(f->subject, f->subject_len))
        return -EINVAL;
    if (f->headers_len > BELLHOP_HEADERS_MAX || f->body_len > b->limit_body)
        return -EMSGSIZE;
    return f->headers_len > 0 && f->headers[f->headers_len - 1] != '\n' ? -EINVAL : 0;
}

/* Whether something new may be sent now. */
static int send_check(struct bellhop *b)
{
    if (b->state < BELLHOP_GREETING || b->state == BELLHOP_LEAVING || b->reason[0] != '\0')
        return -ENOTCONN;
    if (bellhop_buf_len(&b->out) <= b->out_limit)
        return 0;
    b->told_full = true;
    return -EAGAIN;
}

/* With the line of ours behind it: what is above a limit the daemon takes for a bad frame. */
static bool headers_fit(const struct bellhop_frame *f, const char *extra)
{
    size_t lines = extra[0] != '\0' ? 1 : 0;
    const char *p = f->headers, *end = p + f->headers_len;
    if (f->headers_len + strlen(extra) > BELLHOP_HEADERS_MAX)
        return false;
    while (f->headers_len >= BELLHOP_HEADERS_LINES && p < end && (p = memchr(p, '\n', (size_t)(end - p))) != NULL) {
        p++;
        lines++;
    }
    return lines <= BELLHOP_HEADERS_LINES;
}

int64_t bellhop_ask(struct bellhop *b, struct bellhop_frame *f, const char *extra, const struct bellhop_waiting *w)
{
    if (!headers_fit(f, extra))
        return -EMSGSIZE;
    struct bellhop_waiting entry = *w;
    struct bellhop_waiting gone;
    entry.id = f->id = ++b->last_id;
    if (!bellhop_waiting_add(&b->waiting, entry))
        return -ENOMEM;
    int rc = bellhop_put(b, f, extra);
    if (rc != 0)
        bellhop_waiting_get(&b->waiting, entry.id, true, &gone);
    return rc != 0 ? rc : (int64_t)entry.id;
}

int64_t bellhop_request(struct bellhop *b, const struct bellhop_msg *msg, int64_t timeout_ms, bellhop_answer_fn *fn,
                        void *user)
{
    struct bellhop_frame f = { .verb = BELLHOP_VERB_REQ };
    int rc = send_check(b);
    if (rc == 0)
        rc = fn == NULL || msg->subject == NULL ? -EINVAL : bellhop_frame_from_msg(b, msg, &f);
    if (rc != 0)
        return rc;
    struct bellhop_waiting w = { .fn = fn, .user = user };
    char extra[BELLHOP_LINE_ROOM] = "";
    if (timeout_ms > 0) {
        /* rounded up to 10 ms, so that sweeps for many different deadlines stay rare */
        w.deadline_ms = (bellhop_now_ms() + timeout_ms + 10) / 10 * 10;
        bellhop_line_write(extra, "timeout: ", (uint64_t)timeout_ms, "ms\n");
    }
    return bellhop_ask(b, &f, extra, &w);
}

int bellhop_cancel(struct bellhop *b, int64_t id)
{
    struct bellhop_waiting gone;
    if (!bellhop_waiting_get(&b->waiting, (uint64_t)id, true, &gone))
        return -ENOENT;
    return bellhop_put_plain(b, BELLHOP_VERB_CANCEL, (uint64_t)id);
}

int64_t bellhop_publish(struct bellhop *b, const struct bellhop_msg *msg, bellhop_answer_fn *fn, void *user)
{
    struct bellhop_frame f = { .verb = BELLHOP_VERB_PUB };
    int rc = send_check(b);
    if (rc == 0)
        rc = msg->subject == NULL ? -EINVAL : bellhop_frame_from_msg(b, msg, &f);
    if (rc != 0)
        return rc;
    if (fn == NULL)
        return bellhop_put(b, &f, "");
    return bellhop_ask(b, &f, "", &(struct bellhop_waiting){ .fn = fn, .user = user });
}

int64_t bellhop_ping(struct bellhop *b, bellhop_answer_fn *fn, void *user)
{
    struct bellhop_frame f = { .verb = BELLHOP_VERB_PING };
    int rc = send_check(b);
    return rc != 0 ? rc : bellhop_ask(b, &f, "", &(struct bellhop_waiting){ .fn = fn, .user = user });
}

int bellhop_credit(struct bellhop *b, unsigned more)
{
    if (more == 0 || more > 65535 || b->credit + more > 65535)
        return -EINVAL;
    b->credit += more; /* a reconnect asks for the sum at once */
    return b->state >= BELLHOP_GREETING ? bellhop_put_plain(b, BELLHOP_VERB_CREDIT, more) : 0;
}

static int subscription_put(struct bellhop *b, const struct bellhop_subscription *sub)
{
    struct bellhop_headers h = { 0 };
    if (sub->group != NULL)
        bellhop_headers_add(&h, "group", sub->group);
    struct bellhop_frame f = { .verb = BELLHOP_VERB_SUB, .id = sub->id, .subject = sub->filter,
                               .subject_len = strlen(sub->filter), .headers = h.data, .headers_len = h.len };
    int rc = h.error != 0 ? h.error : bellhop_put(b, &f, "");
    bellhop_headers_fini(&h);
    return rc;
}

static void subscription_free(struct bellhop_subscription *sub)
{
    free(sub->filter);
    free(sub->group);
    free(sub);
}

static struct bellhop_subscription *subscription_new(const char *filter, const char *group)
{
    struct bellhop_subscription *sub = calloc(1, sizeof *sub);
    if (sub == NULL)
        return NULL;
    sub->filter = strdup(filter);
    sub->group = group != NULL ? strdup(group) : NULL;
    if (sub->filter != NULL && (group == NULL || sub->group != NULL))
        return sub;
    subscription_free(sub);
    return NULL;
}

int64_t bellhop_subscribe(struct bellhop *b, const char *filter, const char *group, bellhop_answer_fn *fn, void *user)
{
    struct bellhop_frame f = { 0 };
    int rc = send_check(b);
    if (rc == 0)
        rc = bellhop_frame_from_msg(b, &(struct bellhop_msg){ .subject = filter }, &f);
    if (rc != 0)
        return rc;
    if (f.subject_len == 0 || (group != NULL && !bellhop_text_is_valid(group, strlen(group))))
        return -EINVAL;
    struct bellhop_subscription *sub = subscription_new(filter, group);
    if (sub == NULL)
        return -ENOMEM;
    sub->id = ++b->last_id;
    bool known = bellhop_waiting_add(&b->waiting, (struct bellhop_waiting){ .id = sub->id, .fn = fn, .user = user,
                                                                            .first_sub = true });
    if (!known || (rc = subscription_put(b, sub)) != 0) {
        struct bellhop_waiting gone;
        bellhop_waiting_get(&b->waiting, sub->id, true, &gone);
        subscription_free(sub);
        return rc != 0 ? rc : -ENOMEM;
    }
    sub->next = b->subs;
    b->subs = sub;
    return (int64_t)sub->id;
}

static struct bellhop_subscription **subscription_find(struct bellhop *b, uint64_t id)
{
    struct bellhop_subscription **at = &b->subs;
    while (*at != NULL && (*at)->id != id)
        at = &(*at)->next;
    return at;
}

void bellhop_subscription_drop(struct bellhop *b, uint64_t id)
{
    struct bellhop_subscription **at = subscription_find(b, id);
    struct bellhop_subscription *gone = *at;
    if (gone == NULL)
        return;
    *at = gone->next;
    subscription_free(gone);
}

void bellhop_subscription_fini(struct bellhop *b)
{
    while (b->subs != NULL)
        bellhop_subscription_drop(b, b->subs->id);
}

static void renewal_answered(struct bellhop *b, const struct bellhop_answer *a, void *user)
{
    (void)user;
    if (a->result == BELLHOP_ERROR && !a->local)
        bellhop_fail(b, "subscription %" PRIu64 " refused: %s", a->id, a->code);
}

int bellhop_put_subscriptions(struct bellhop *b)
{
    int rc = 0;
    for (struct bellhop_subscription *sub = b->subs; sub != NULL && rc == 0; sub = sub->next) {
        struct bellhop_waiting w = { .id = sub->id, .fn = renewal_answered };
        rc = bellhop_waiting_add(&b->waiting, w) ? subscription_put(b, sub) : -ENOMEM;
    }
    return rc;
}

int bellhop_unsubscribe(struct bellhop *b, int64_t id)
{
    if (*subscription_find(b, (uint64_t)id) == NULL)
        return -ENOENT;
    bellhop_subscription_drop(b, (uint64_t)id);
    return b->state >= BELLHOP_GREETING ? bellhop_put_plain(b, BELLHOP_VERB_UNSUB, (uint64_t)id) : 0;
}
