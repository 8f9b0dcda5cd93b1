#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

static struct bellhop_job *job_of(const struct bellhop_delivery *d)
{
    return (struct bellhop_job *)(uintptr_t)d; /* its first member */
}

static struct bellhop_job *job_new(struct bellhop *b)
{
    struct bellhop_job *job = b->spare_jobs;
    if (job != NULL)
        b->spare_jobs = job->next;
    else if ((job = malloc(sizeof *job)) == NULL)
        return NULL;
    job->cancelled = false;
    job->prev = NULL;
    job->next = b->jobs;
    if (b->jobs != NULL)
        b->jobs->prev = job;
    b->jobs = job;
    return job;
}

static void job_free(struct bellhop *b, struct bellhop_job *job)
{
    if (job->prev != NULL)
        job->prev->next = job->next;
    else
        b->jobs = job->next;
    if (job->next != NULL)
        job->next->prev = job->prev;
    job->next = b->spare_jobs;
    b->spare_jobs = job;
}

void bellhop_delivery_receive(struct bellhop *b, const struct bellhop_frame *f)
{
    struct bellhop_job *job = job_new(b);
    if (job == NULL) {
        bellhop_fail(b, "out of memory");
        return;
    }
    job->pub = (struct bellhop_delivery){
        .conn = b,
        .kind = f->verb == BELLHOP_VERB_REQ ? BELLHOP_REQUEST : BELLHOP_EVENT,
        .id = f->id,
        .msg = { f->subject != NULL ? f->subject : "", f->headers, f->headers_len, f->body, f->body_len },
    };
    if (b->on.delivery == NULL) {
        bellhop_delivery_error(&job->pub, "no-service", "this client takes no deliveries", BELLHOP_RETRY_POLICY);
        return;
    }
    b->on.delivery(b, &job->pub, b->user);
    /* When the handler has answered, the job is on the spare list, still ours to write to: clearing is harmless. */
    memset(&job->pub.msg, 0, sizeof job->pub.msg);
}

void bellhop_delivery_cancel(struct bellhop *b, uint64_t id)
{
    for (struct bellhop_job *job = b->jobs; job != NULL; job = job->next) {
        if (job->pub.id != id || id == 0)
            continue;
        job->cancelled = true;
        if (b->on.cancel != NULL)
            b->on.cancel(b, &job->pub, b->user);
        return;
    }
}

void bellhop_delivery_orphan(struct bellhop *b)
{
    for (struct bellhop_job *job = b->jobs; job != NULL; job = job->next) {
        job->pub.id = 0;
        job->cancelled = true;
    }
}

static void job_list_free(struct bellhop_job *job)
{
    while (job != NULL) {
        struct bellhop_job *next = job->next;
        free(job);
        job = next;
    }
}

void bellhop_delivery_fini(struct bellhop *b)
{
    job_list_free(b->jobs);
    job_list_free(b->spare_jobs);
    b->jobs = NULL;
    b->spare_jobs = NULL;
}

/* Sends the final answer and frees the delivery, in that order. */
static int delivery_finish(struct bellhop_delivery *d, struct bellhop_frame *f, const char *extra)
{
    struct bellhop *b = d->conn;
    struct bellhop_job *job = job_of(d);
    bool orphan = job->cancelled && d->id == 0;
    int rc = orphan ? -ENOTCONN : 0;
    f->id = d->id;
    if (d->id != 0)
        rc = bellhop_put(b, f, extra);
    job_free(b, job);
    if (rc == -ENOMEM)
        bellhop_fail(b, "out of memory"); /* an answer that is never sent would hold the credit forever */
    return rc;
}

int bellhop_delivery_ok(struct bellhop_delivery *d)
{
    struct bellhop_frame f = { .verb = d->kind == BELLHOP_REQUEST ? BELLHOP_VERB_REP : BELLHOP_VERB_OK };
    return delivery_finish(d, &f, "");
}

int bellhop_delivery_reply(struct bellhop_delivery *d, const struct bellhop_msg *msg)
{
    struct bellhop_frame f = { .verb = BELLHOP_VERB_REP };
    struct bellhop_msg reply = *msg;
    if (d->kind == BELLHOP_EVENT)
        return bellhop_delivery_ok(d);
    reply.subject = NULL;
    int rc = bellhop_frame_from_msg(d->conn, &reply, &f);
    if (rc == 0)
        return delivery_finish(d, &f, "");
    const char *code = rc == -EMSGSIZE ? "too-large" : "invalid";
    bellhop_delivery_error(d, code, "the service's reply is not one the protocol allows", BELLHOP_RETRY_NO);
    return rc;
}

int bellhop_delivery_error(struct bellhop_delivery *d, const char *code, const char *detail, int64_t retry_ms)
{
    size_t detail_len = detail != NULL ? strlen(detail) : 0;
    size_t code_len = strlen(code);
    if (code_len == 0 || code_len > BELLHOP_SUBJECT_MAX || !bellhop_text_is_valid(code, code_len)) {
        code = "failed";
        code_len = 6;
    }
    if (detail_len > d->conn->limit_body)
        detail_len = d->conn->limit_body;
    char extra[64] = "";
    if (retry_ms == BELLHOP_RETRY_NO)
        snprintf(extra, sizeof extra, "retry: no\n");
    else if (retry_ms == BELLHOP_RETRY_YES)
        snprintf(extra, sizeof extra, "retry: yes\n");
    else if (retry_ms >= 0)
        snprintf(extra, sizeof extra, "retry: after %" PRId64 "ms\n", retry_ms);
    struct bellhop_frame f = { .verb = BELLHOP_VERB_ERR, .subject = code, .subject_len = code_len,
                               .body = detail, .body_len = detail_len };
    return delivery_finish(d, &f, extra);
}

int bellhop_delivery_release(struct bellhop_delivery *d)
{
    struct bellhop_frame f = { .verb = BELLHOP_VERB_ERR, .subject = "release", .subject_len = 7 };
    return delivery_finish(d, &f, "");
}

static int delivery_check(const struct bellhop_delivery *d)
{
    struct bellhop *b = d->conn;
    if (job_of(d)->cancelled || b->state < BELLHOP_GREETING || d->id == 0)
        return -ENOTCONN;
    if (bellhop_buf_len(&b->out) <= b->out_limit)
        return 0;
    b->told_full = true;
    return -EAGAIN;
}

int bellhop_delivery_more(struct bellhop_delivery *d, const struct bellhop_msg *msg)
{
    struct bellhop_frame f = { .verb = BELLHOP_VERB_MORE, .id = d->id };
    struct bellhop_msg item = *msg;
    item.subject = NULL;
    int rc = d->kind == BELLHOP_REQUEST ? delivery_check(d) : -EINVAL;
    if (rc == 0)
        rc = bellhop_frame_from_msg(d->conn, &item, &f);
    return rc != 0 ? rc : bellhop_put(d->conn, &f, "");
}

int bellhop_delivery_wait(struct bellhop_delivery *d)
{
    int rc = delivery_check(d);
    return rc != 0 ? rc : bellhop_put_plain(d->conn, BELLHOP_VERB_WAIT, d->id);
}

int64_t bellhop_delivery_publish(struct bellhop_delivery *d, const struct bellhop_msg *msg, bellhop_answer_fn *fn,
                                 void *user)
{
    struct bellhop_frame f = { .verb = BELLHOP_VERB_PUB };
    char with[BELLHOP_LINE_ROOM];
    int rc = fn == NULL || msg->subject == NULL ? -EINVAL : delivery_check(d);
    if (rc == 0)
        rc = bellhop_frame_from_msg(d->conn, msg, &f);
    if (rc != 0)
        return rc;
    bellhop_line_write(with, "with: ", d->id, "\n");
    return bellhop_ask(d->conn, &f, with, &(struct bellhop_waiting){ .fn = fn, .user = user });
}

unsigned bellhop_delivery_attempt(const struct bellhop_delivery *d)
{
    struct bellhop_header h;
    unsigned n = 0;
    if (!bellhop_header_find(d->msg.headers, d->msg.headers_len, "attempt", &h))
        return 1;
    for (size_t i = 0; i < h.value_len && i < 9 && (unsigned)(h.value[i] - '0') < 10; i++)
        n = n * 10 + (unsigned)(h.value[i] - '0');
    return n > 0 ? n : 1;
}

bool bellhop_delivery_is_cancelled(const struct bellhop_delivery *d)
{
    return job_of(d)->cancelled;
}
