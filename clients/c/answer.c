#include <string.h>

#include "internal.h"

/* An error code lies on the frame's line, or is a constant: either way NUL-terminated by the time we are here. */
static void answer_read_error(struct bellhop_answer *a, const struct bellhop_frame *f)
{
    struct bellhop_header h;
    a->code = f->subject != NULL && f->subject_len > 0 ? f->subject : "failed";
    if (!bellhop_header_find(f->headers, f->headers_len, "retry", &h))
        return;
    if (h.value_len == 2 && memcmp(h.value, "no", 2) == 0)
        a->retry_ms = BELLHOP_RETRY_NO;
    if (h.value_len == 3 && memcmp(h.value, "yes", 3) == 0)
        a->retry_ms = BELLHOP_RETRY_YES;
    if (h.value_len > 6 && memcmp(h.value, "after ", 6) == 0) {
        int64_t ms = bellhop_duration_ms(h.value + 6, h.value_len - 6);
        a->retry_ms = ms >= 0 ? ms : BELLHOP_RETRY_POLICY;
    }
}

static enum bellhop_result result_of(enum bellhop_verb verb)
{
    switch (verb) {
    case BELLHOP_VERB_MORE: return BELLHOP_MORE;
    case BELLHOP_VERB_REP: return BELLHOP_REPLY;
    case BELLHOP_VERB_ERR: return BELLHOP_ERROR;
    default: return BELLHOP_OK;
    }
}

/* ERR 0 is about the connection: the daemon closes it next. */
static void answer_to_connection(struct bellhop *b, const struct bellhop_frame *f)
{
    if (f->verb != BELLHOP_VERB_ERR)
        return;
    struct bellhop_answer a = { .retry_ms = BELLHOP_RETRY_POLICY };
    answer_read_error(&a, f);
    if (strcmp(a.code, "denied") == 0 || strcmp(a.code, "version") == 0 || a.retry_ms == BELLHOP_RETRY_NO)
        b->no_retry = true;
    int detail = f->body_len > 180 ? 180 : (int)f->body_len;
    bellhop_fail(b, "%s%s%.*s", a.code, detail > 0 ? ": " : "", detail, f->body);
}

void bellhop_answer_receive(struct bellhop *b, const struct bellhop_frame *f)
{
    struct bellhop_waiting w;
    if (f->id == 0) {
        answer_to_connection(b, f);
        return;
    }
    /* Unknown: cancelled or timed out here; the answer crossed our CANCEL. */
    if (!bellhop_waiting_get(&b->waiting, f->id, f->verb != BELLHOP_VERB_MORE, &w))
        return;
    if (f->verb == BELLHOP_VERB_ERR && w.first_sub)
        bellhop_subscription_drop(b, f->id);
    if (w.fn == NULL)
        return;
    struct bellhop_answer a = { .result = result_of(f->verb), .id = f->id, .headers = f->headers,
                                .headers_len = f->headers_len, .body = f->body, .body_len = f->body_len,
                                .retry_ms = BELLHOP_RETRY_POLICY };
    if (a.result == BELLHOP_ERROR)
        answer_read_error(&a, f);
    else
        a.subject = f->subject;
    w.fn(b, &a, w.user);
}

static void answer_local(struct bellhop *b, const struct bellhop_waiting *w, const char *code, const char *detail)
{
    struct bellhop_answer a = { .result = BELLHOP_ERROR, .id = w->id, .code = code, .headers = "", .body = detail,
                                .body_len = strlen(detail), .retry_ms = BELLHOP_RETRY_POLICY, .local = true };
    if (w->fn != NULL)
        w->fn(b, &a, w->user);
}

void bellhop_answer_expire(struct bellhop *b, int64_t now_ms)
{
    struct bellhop_waiting w;
    while (bellhop_waiting_pop(&b->waiting, now_ms, &w)) {
        if (b->state >= BELLHOP_GREETING)
            bellhop_put_plain(b, BELLHOP_VERB_CANCEL, w.id);
        answer_local(b, &w, "timeout", "no answer in time");
    }
}

void bellhop_answer_fail_all(struct bellhop *b, const char *reason)
{
    struct bellhop_waiting w;
    while (bellhop_waiting_pop(&b->waiting, INT64_MAX, &w))
        answer_local(b, &w, "unavailable", reason);
}
