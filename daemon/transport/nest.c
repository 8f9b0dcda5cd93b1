#include "transport/nest.h"

#include <inttypes.h>
#include <stdio.h>

#include "msg/headers.h"
#include "wire/json.h"

#define SALT_DIGITS 5
#define NO_HANDLER "\"There is no matching message handler defined in the remote service.\""
#define JSON_LINE STR("content-type: application/json\n")

/* ---------------------------------------------------------------- to a client */

/* {"status":"error","message":…,"code":…}: what NestJS callers read, and our code beside it. */
void nest_put_error(struct buf *out, struct str id, enum code code, struct str detail)
{
    struct buf err = BUF_EMPTY;
    enum json_type type;
    if (detail.n > 0 && json_valid(detail, &type, NULL) && (type == JSON_OBJECT || type == JSON_STRING)) {
        nest_reply_error(out, id, detail);
        return;
    }
    buf_puts(&err, "{\"status\":\"error\",\"message\":");
    json_quote(detail.n > 0 && str_utf8(detail) ? detail : str_of(code_name(code)), &err);
    buf_printf(&err, ",\"code\":\"%s\"}", code_name(code));
    nest_reply_error(out, id, buf_str(&err));
    buf_fini(&err);
}

void nest_put_value(struct buf *out, struct str id, const struct reply *r, bool last)
{
    struct buf scratch = BUF_EMPTY;
    struct str json, type = r->headers.n > 0 ? headers_get(r->headers, "content-type") : STR_NONE;
    if (!nest_body_json(r->body, type, &scratch, &json))
        nest_put_error(out, id, CODE_INVALID, STR("the service's reply is neither JSON nor UTF-8 text"));
    else if (json.p != NULL)
        nest_reply_value(out, id, json, last);
    else if (last)
        nest_reply_end(out, id);
    buf_fini(&scratch);
}

void nest_put_end(struct buf *out, struct str id, const struct reply *r)
{
    if (r->code == CODE_OK)
        nest_put_value(out, id, r, true);
    else if (r->code == CODE_NO_ROUTE)
        nest_reply_no_handler(out, id);
    else
        nest_put_error(out, id, r->code, r->body);
}

const char *nest_refusal(const struct intake *i, enum code code)
{
    static const char *const texts[CODE_COUNT] = {
        [CODE_NO_SERVICE] = "no instance of the service is attached",
        [CODE_UNAVAILABLE] = "the destination is down or its circuit breaker is open",
        [CODE_OVERLOADED] = "the destination's queue or limits.memory is full",
    };
    if (i->why != NULL)
        return i->why;
    return texts[code] != NULL ? texts[code] : code_name(code);
}

/* ---------------------------------------------------------------- to a server */

struct str nest_id(uint32_t salt, uint64_t number, char out[static NEST_ID_DIGITS + 1])
{
    snprintf(out, NEST_ID_DIGITS + 1, "%05" PRIx32 "%016" PRIx64, salt & 0xFFFFF, number);
    return str_make(out, NEST_ID_DIGITS);
}

bool nest_id_parse(struct str raw, uint32_t salt, uint64_t *number)
{
    uint64_t theirs = 0;
    *number = 0;
    if (raw.n != NEST_ID_DIGITS + 2 || raw.p[0] != '"')
        return false;
    for (size_t i = 1; i <= NEST_ID_DIGITS; i++) {
        char d = raw.p[i];
        unsigned digit = d >= '0' && d <= '9' ? (unsigned)(d - '0') : (unsigned)(d - 'a') + 10;
        if (digit > 15)
            return false;
        if (i <= SALT_DIGITS)
            theirs = theirs << 4 | digit;
        else
            *number = *number << 4 | digit;
    }
    return theirs == (salt & 0xFFFFF);
}

void nest_put_handover(struct buf *out, const struct handover *h, struct str data, struct str id, int64_t now_ms)
{
    struct buf metadata = BUF_EMPTY, headers = BUF_EMPTY;
    if (h->kind == MSG_REQUEST)
        buf_printf(&headers, "timeout: %" PRId64 "ms\n", h->deadline_ms > now_ms ? h->deadline_ms - now_ms : 0);
    buf_str_put(&headers, h->msg->headers);
    nest_headers_metadata(buf_str(&headers), &metadata);
    nest_request_format(out, h->subject, data, buf_str(&metadata), id);
    buf_fini(&headers);
    buf_fini(&metadata);
}

struct reply nest_item(const struct nest_reply *r)
{
    return (struct reply){.body = r->response, .headers = r->response.p != NULL ? JSON_LINE : STR_NONE};
}

void nest_settle(struct handover *h, const struct nest_reply *r)
{
    bool no_handler = str_is(r->err, NO_HANDLER);
    struct settlement s = {.outcome = OUTCOME_OK, .reply = nest_item(r), .retry_after_ms = -1, .final = true};
    if (r->err.p != NULL) {
        s.outcome = h->kind == MSG_EVENT && !no_handler ? OUTCOME_RETRY : OUTCOME_REJECT;
        s.reply = (struct reply){.code = no_handler ? CODE_NO_ROUTE : CODE_FAILED, .body = r->err, .headers = JSON_LINE};
    }
    h->core->settled(h, &s);
}
