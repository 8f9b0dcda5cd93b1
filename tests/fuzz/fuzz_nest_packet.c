/* Packets of daemon/codec/nest.h: what is parsed can be written and parsed again to the same. */
#include "codec/nest.h"
#include "fuzz.h"
#include "msg/headers.h"
#include "wire/json.h"

#define LIMIT UINT64_C(9999999999)

static struct str unframe(const struct buf *frame)
{
    struct nest_framer f = {0};
    struct nest_found found;
    HOLDS(nest_frame_next(&f, buf_str(frame), LIMIT, &found) == NEST_FRAME);
    HOLDS(found.used == frame->len);
    return found.json;
}

static void check_request(struct str subject, const struct nest_request *q)
{
    struct buf frame = BUF_EMPTY, again = BUF_EMPTY;
    struct nest_request parsed;
    const char *what = NULL;
    nest_request_format(&frame, subject, q->data, q->metadata, STR("i d"));
    HOLDS(nest_request_parse(unframe(&frame), &parsed, &what));
    HOLDS(nest_subject(parsed.pattern, &again) && str_eq(buf_str(&again), subject));
    HOLDS(str_eq(parsed.data, q->data.p != NULL ? q->data : STR("null")));
    HOLDS(str_eq(parsed.metadata, q->metadata) && str_is(parsed.id, "\"i d\""));
    buf_fini(&frame);
    buf_fini(&again);
}

static void check_subject(const struct nest_request *q)
{
    struct buf subject = BUF_EMPTY, again = BUF_EMPTY;
    buf_puts(&subject, "before");
    bool ok = nest_subject(q->pattern, &subject);
    HOLDS(str_starts(buf_str(&subject), STR("before")) && (ok || subject.len == 6));
    buf_consume(&subject, 6);
    if (ok) {
        HOLDS(subject.len > 0 && subject.len <= 1024 && str_printable(buf_str(&subject)));
        HOLDS(nest_subject_text(buf_str(&subject), &again) && str_eq(buf_str(&again), buf_str(&subject)));
        check_request(buf_str(&subject), q);
    }
    buf_fini(&subject);
    buf_fini(&again);
}

static void check_replies(const struct nest_request *q)
{
    struct buf frame = BUF_EMPTY;
    struct nest_reply r;
    const char *what = NULL;
    struct str id = q->id.p != NULL ? q->id : STR("1"), data = q->data.p != NULL ? q->data : STR("[]");
    nest_reply_value(&frame, id, data, true);
    HOLDS(nest_reply_parse(unframe(&frame), &r, &what));
    HOLDS(str_eq(r.id, id) && str_eq(r.response, data) && r.last && r.err.p == NULL);
    buf_clear(&frame);
    nest_reply_error(&frame, id, data);
    HOLDS(nest_reply_parse(unframe(&frame), &r, &what));
    HOLDS(str_eq(r.id, id) && r.last && (r.err.p == NULL || str_eq(r.err, data)));
    buf_clear(&frame);
    nest_reply_no_handler(&frame, id);
    HOLDS(nest_reply_parse(unframe(&frame), &r, &what) && r.last && r.err.p != NULL);
    buf_clear(&frame);
    nest_reply_end(&frame, id);
    HOLDS(nest_reply_parse(unframe(&frame), &r, &what) && r.last && r.err.p == NULL && r.response.p == NULL);
    buf_fini(&frame);
}

static void check_metadata(struct str metadata)
{
    struct buf headers = BUF_EMPTY, back = BUF_EMPTY, again = BUF_EMPTY, last = BUF_EMPTY;
    const char *what;
    size_t offset;
    nest_metadata_headers(metadata, &headers);
    HOLDS(headers_check(buf_str(&headers), &what, &offset));
    nest_headers_metadata(buf_str(&headers), &back);
    HOLDS(back.len == 0 || json_valid(buf_str(&back), NULL, NULL));
    HOLDS((back.len == 0) == (headers.len == 0));
    nest_metadata_headers(buf_str(&back), &again);
    HOLDS(again.len <= headers.len); /* a name that stood twice is there once */
    nest_headers_metadata(buf_str(&again), &last);
    HOLDS(str_eq(buf_str(&last), buf_str(&back)));
    buf_fini(&headers);
    buf_fini(&back);
    buf_fini(&again);
    buf_fini(&last);
}

static void check_body(struct str body)
{
    static const char *const types[] = {"", "text/plain", "application/json"};
    struct buf scratch = BUF_EMPTY;
    for (size_t i = 0; i < 3; i++) {
        struct str json;
        bool ok = nest_body_json(body, str_of(types[i]), &scratch, &json);
        HOLDS(!ok || json.p == NULL || json_valid(json, NULL, NULL));
        HOLDS((json.p == NULL) == (body.n == 0 || !ok));
    }
    buf_fini(&scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = str_make(data, size);
    struct nest_request q;
    struct nest_reply r;
    const char *what = NULL;
    check_body(text);
    if (nest_reply_parse(text, &r, &what)) {
        HOLDS(fuzz_inside(r.id, text) && fuzz_inside(r.response, text) && fuzz_inside(r.err, text));
        HOLDS(r.err.p == NULL || (r.last && r.response.p == NULL));
        check_metadata(text);
    } else {
        HOLDS(what != NULL);
    }
    what = NULL;
    if (!nest_request_parse(text, &q, &what)) {
        HOLDS(what != NULL);
        return 0;
    }
    HOLDS(fuzz_inside(q.pattern, text) && fuzz_inside(q.data, text) && fuzz_inside(q.id, text));
    check_subject(&q);
    check_replies(&q);
    return 0;
}
