#include "codec/nest.h"

#include "wire/json.h"

#define PARTS_MAX 12

/* A frame is gathered as a list of texts: counted first, because the length stands before them,
 * then written in one go. */
struct parts {
    struct str text[PARTS_MAX];
    size_t count, bytes;
    uint64_t units;
};

static inline void add_units(struct parts *parts, struct str text, uint64_t units)
{
    parts->text[parts->count++] = text;
    parts->bytes += text.n;
    parts->units += units;
}

static void add(struct parts *parts, struct str text)
{
    add_units(parts, text, nest_units(text));
}

/* Our own text is ASCII. */
static inline void add_ours(struct parts *parts, struct str text)
{
    add_units(parts, text, text.n);
}

static void put_parts(struct buf *out, const struct parts *parts)
{
    char *from = (char *)buf_reserve(out, parts->bytes + 21), *to = bytes_u64(from, parts->units);
    *to++ = '#';
    for (size_t i = 0; i < parts->count; i++)
        to = bytes_str(to, parts->text[i]);
    buf_commit(out, (size_t)(to - from));
}

static bool not_a_packet(const char **what, const struct json_error *e)
{
    *what = e->what;
    return false;
}

bool nest_request_parse(struct str json, struct nest_request *out, const char **what)
{
    struct json_member m[] = {{.name = STR("pattern")}, {.name = STR("data")}, {.name = STR("id")},
                              {.name = STR("metadata")}};
    struct json_error e;
    if (!json_members(json, m, 4, NULL, &e))
        return not_a_packet(what, &e);
    *out = (struct nest_request){m[0].value, m[1].value, m[2].value, m[3].value};
    if (m[3].value.p != NULL && m[3].type != JSON_OBJECT)
        out->metadata = STR_NONE;
    if (out->pattern.p == NULL)
        *what = "no pattern";
    return out->pattern.p != NULL;
}

static bool is_object(struct str text)
{
    enum json_type type;
    return text.n > 0 && text.p[0] == '{' && json_valid(text, &type, NULL);
}

static bool is_plain(struct str subject)
{
    return subject.n == 0 || (memchr(subject.p, '"', subject.n) == NULL &&
                              memchr(subject.p, '\\', subject.n) == NULL);
}

static void add_pattern(struct parts *parts, struct str subject, struct buf *scratch)
{
    if (is_object(subject)) {
        add(parts, subject);
    } else if (is_plain(subject)) {
        add_ours(parts, STR("\""));
        add(parts, subject);
        add_ours(parts, STR("\""));
    } else {
        json_quote(subject, scratch);
        add(parts, buf_str(scratch));
    }
}

void nest_request_format(struct buf *out, struct str subject, struct str data, struct str metadata,
                         struct str id)
{
    struct parts parts = {.count = 0};
    struct buf scratch = BUF_EMPTY;
    add_ours(&parts, STR("{\"pattern\":"));
    add_pattern(&parts, subject, &scratch);
    add_ours(&parts, STR(",\"data\":"));
    add(&parts, data.p != NULL ? data : STR("null"));
    if (metadata.p != NULL) {
        add_ours(&parts, STR(",\"metadata\":"));
        add(&parts, metadata);
    }
    if (id.p != NULL) {
        add_ours(&parts, STR(",\"id\":\""));
        add(&parts, id);
        add_ours(&parts, STR("\""));
    }
    add_ours(&parts, STR("}"));
    put_parts(out, &parts);
    buf_fini(&scratch);
}

/* Is a number 0 in JavaScript? (A number too small for a double is, too; nobody sends those.) */
static bool is_zero(struct str number)
{
    for (size_t i = 0; i < number.n && (number.p[i] | 0x20) != 'e'; i++) {
        if (number.p[i] >= '1' && number.p[i] <= '9')
            return false;
    }
    return true;
}

/* JavaScript's truth of a member; an absent one is undefined. */
static bool is_truthy(const struct json_member *m)
{
    if (m->value.p == NULL || m->type == JSON_NULL)
        return false;
    if (m->type == JSON_BOOL)
        return m->value.p[0] == 't';
    if (m->type == JSON_STRING)
        return m->value.n > 2;
    return m->type != JSON_NUMBER || !is_zero(m->value);
}

bool nest_reply_parse(struct str json, struct nest_reply *out, const char **what)
{
    enum { ID, RESPONSE, ERR, DISPOSED, STATUS };
    struct json_member m[] = {{.name = STR("id")}, {.name = STR("response")}, {.name = STR("err")},
                              {.name = STR("isDisposed")}, {.name = STR("status")}};
    struct json_error e;
    size_t others;
    if (!json_members(json, m, 5, &others, &e))
        return not_a_packet(what, &e);
    *out = (struct nest_reply){.id = m[ID].value};
    if (others > 0) { /* foreign: NestJS 12 takes the whole object for the value */
        out->response = json;
        out->last = true;
    } else if (is_truthy(&m[ERR])) {
        out->err = m[ERR].value;
        out->last = true;
    } else {
        out->response = m[RESPONSE].value;
        out->last = is_truthy(&m[DISPOSED]);
    }
    return true;
}

void nest_reply_value(struct buf *out, struct str id, struct str response_json, bool last)
{
    struct parts parts = {.count = 0};
    add_ours(&parts, STR("{\"response\":"));
    add(&parts, response_json);
    add_ours(&parts, last ? STR(",\"isDisposed\":true,\"id\":") : STR(",\"id\":"));
    add(&parts, id);
    add_ours(&parts, STR("}"));
    put_parts(out, &parts);
}

static void put_reply(struct buf *out, struct str before, struct str middle, struct str behind)
{
    struct parts parts = {.count = 0};
    add(&parts, before);
    add(&parts, middle);
    add(&parts, behind);
    put_parts(out, &parts);
}

void nest_reply_end(struct buf *out, struct str id)
{
    put_reply(out, STR("{\"isDisposed\":true,\"id\":"), id, STR("}"));
}

void nest_reply_error(struct buf *out, struct str id, struct str err_json)
{
    struct parts parts = {.count = 0};
    add_ours(&parts, STR("{\"err\":"));
    add(&parts, err_json);
    add_ours(&parts, STR(",\"isDisposed\":true,\"id\":"));
    add(&parts, id);
    add_ours(&parts, STR("}"));
    put_parts(out, &parts);
}

void nest_reply_no_handler(struct buf *out, struct str id)
{
    put_reply(out, STR("{\"id\":"), id,
              STR(",\"status\":\"error\",\"err\":\"There is no matching message handler defined "
                  "in the remote service.\"}"));
}
