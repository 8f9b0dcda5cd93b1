#include "transport/nats/wire.h"

#include <inttypes.h>
#include <strings.h>

#include "wire/json.h"

/* ---------------------------------------------------------------- in */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* The next word of a line; n 0 = there is none. */
static struct str word_cut(struct str *line)
{
    size_t from = 0, to;
    while (from < line->n && is_blank(line->p[from]))
        from++;
    for (to = from; to < line->n && !is_blank(line->p[to]);)
        to++;
    struct str word = str_make(line->p + from, to - from);
    *line = str_make(line->p + to, line->n - to);
    return word;
}

static enum wire_status bad(const char **what, const char *why)
{
    *what = why;
    return WIRE_BAD;
}

static bool size_parse(struct str word, uint64_t *out)
{
    return str_parse_u64(word, out) && *out <= WIRE_BYTES_MAX;
}

/* words: the last ones of the line, in order: [reply] [header-bytes] bytes. */
static bool sizes_parse(const struct str *words, size_t count, bool headers, uint64_t sizes[2])
{
    sizes[0] = 0;
    return size_parse(words[count - 1], &sizes[1]) &&
           (!headers || (size_parse(words[count - 2], &sizes[0]) && sizes[0] <= sizes[1]));
}

struct found { /* a line that was cut off the input */
    struct str verb, rest, behind;
    size_t size;
};

static enum wire_status payload(const struct found *f, const uint64_t sizes[2], struct wire_in *out, const char **what)
{
    size_t all = (size_t)sizes[1], head = (size_t)sizes[0];
    if (f->behind.n < all + 2)
        return WIRE_MORE;
    if (f->behind.p[all] != '\r' || f->behind.p[all + 1] != '\n')
        return bad(what, "a message that does not end where its length says");
    out->size = f->size + all + 2;
    out->headers = head > 0 ? str_make(f->behind.p, head) : STR_NONE;
    out->body = str_make(f->behind.p + head, all - head);
    return WIRE_WHOLE;
}

static enum wire_status message(struct found *f, uint64_t body_max, struct wire_in *out, const char **what)
{
    struct str words[6];
    bool headers = f->verb.n == 4;
    size_t least = headers ? 4 : 3, count = 0;
    uint64_t sizes[2];
    while (count < 6 && (words[count] = word_cut(&f->rest)).n > 0)
        count++;
    if (count < least || count > least + 1 || !str_parse_u64(words[1], &out->sid) ||
        !sizes_parse(words, count, headers, sizes))
        return bad(what, "a message whose line is none");
    out->op = WIRE_MSG;
    out->subject = words[0];
    out->reply = count > least ? words[2] : STR_NONE;
    if (sizes[1] - sizes[0] <= body_max && sizes[0] <= WIRE_HEADERS_MAX)
        return payload(f, sizes, out, what);
    out->size = f->size;
    out->skip = (size_t)sizes[1] + 2;
    return WIRE_WHOLE;
}

static const struct {
    const char *verb;
    enum wire_op op;
} verbs[] = {{"MSG", WIRE_MSG},   {"HMSG", WIRE_MSG}, {"INFO", WIRE_INFO}, {"PING", WIRE_PING},
             {"PONG", WIRE_PONG}, {"+OK", WIRE_OK},   {"-ERR", WIRE_ERR}};

static bool verb_find(struct str verb, enum wire_op *op)
{
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        if (strlen(verbs[i].verb) == verb.n && strncasecmp(verb.p, verbs[i].verb, verb.n) == 0) {
            *op = verbs[i].op;
            return true;
        }
    }
    return false;
}

static size_t line_max(struct str in)
{
    return in.n >= 5 && strncasecmp(in.p, "INFO ", 5) == 0 ? WIRE_INFO_MAX : WIRE_LINE_MAX;
}

/* The line at the start of in, without its end. */
static enum wire_status line_cut(struct str in, struct found *f, const char **what)
{
    size_t most = line_max(in);
    const char *end = in.n > 0 ? memchr(in.p, '\n', in.n < most ? in.n : most) : NULL;
    if (end == NULL)
        return in.n < most              ? WIRE_MORE
               : most == WIRE_INFO_MAX ? bad(what, "an INFO above 64 KiB")
                                       : bad(what, "a line above 8 KiB: this is no NATS server");
    size_t n = (size_t)(end - in.p);
    f->size = n + 1;
    f->rest = str_make(in.p, n > 0 && in.p[n - 1] == '\r' ? n - 1 : n);
    f->behind = str_make(in.p + f->size, in.n - f->size);
    f->verb = word_cut(&f->rest);
    return WIRE_WHOLE;
}

static struct str unquoted(struct str text)
{
    text = str_trim(text);
    bool quoted = text.n >= 2 && text.p[0] == '\'' && text.p[text.n - 1] == '\'';
    return quoted ? str_make(text.p + 1, text.n - 2) : text;
}

enum wire_status nats_parse(struct str in, uint64_t body_max, struct wire_in *out, const char **what)
{
    struct found f;
    enum wire_status status = line_cut(in, &f, what);
    *out = (struct wire_in){.op = WIRE_OK};
    if (status != WIRE_WHOLE)
        return status;
    if (!verb_find(f.verb, &out->op))
        return bad(what, "a word that no NATS server says");
    if (out->op == WIRE_MSG)
        return message(&f, body_max, out, what);
    out->size = f.size;
    out->text = unquoted(f.rest);
    return WIRE_WHOLE;
}

/* ---------------------------------------------------------------- headers */

static struct str header_line(struct str *rest)
{
    struct str line = str_cut(rest, '\n');
    return line.n > 0 && line.p[line.n - 1] == '\r' ? str_make(line.p, line.n - 1) : line;
}

/* "NATS/1.0", " 503" and a description behind it where it is the server that speaks. */
int nats_headers(struct str block, struct str *rest)
{
    static const struct str version = {"NATS/1.0", 8};
    uint64_t status = 0;
    *rest = block;
    struct str line = header_line(rest);
    if (!str_starts(line, version))
        return -1;
    line = str_make(line.p + version.n, line.n - version.n);
    struct str word = word_cut(&line);
    if (word.n == 0)
        return 0;
    return word.n == 3 && str_parse_u64(word, &status) ? (int)status : -1;
}

bool nats_next(struct str *rest, struct header *h)
{
    while (rest->n > 0) {
        struct str value = header_line(rest);
        bool has = value.n > 0 && memchr(value.p, ':', value.n) != NULL;
        if (has) {
            h->name = str_cut(&value, ':');
            h->value = str_trim(value);
            return true;
        }
    }
    return false;
}

/* ---------------------------------------------------------------- what the server says of itself */

static bool is_true(const struct json_member *m)
{
    return m->type == JSON_BOOL && str_is(m->value, "true");
}

bool nats_info_parse(struct str json, struct wire_info *out, const char **what)
{
    enum { PAYLOAD, HEADERS, REQUIRED, AVAILABLE, LAME, COUNT };
    struct json_member m[COUNT] = {[PAYLOAD] = {.name = STR("max_payload")}, [HEADERS] = {.name = STR("headers")},
                                   [REQUIRED] = {.name = STR("tls_required")}, [AVAILABLE] = {.name = STR("tls_available")},
                                   [LAME] = {.name = STR("ldm")}};
    *out = (struct wire_info){.max_payload = 0};
    *what = "an INFO that is none";
    if (!json_members(json, m, COUNT, NULL, NULL) || !str_parse_u64(m[PAYLOAD].value, &out->max_payload))
        return false;
    out->headers = is_true(&m[HEADERS]);
    out->tls_required = is_true(&m[REQUIRED]);
    out->tls_available = is_true(&m[AVAILABLE]);
    out->lame_duck = is_true(&m[LAME]);
    return true;
}

static const struct {
    const char *prefix;
    enum wire_fault fault;
} faults[] = {
    {"authorization violation", FAULT_REFUSED},
    {"user authentication", FAULT_REFUSED}, /* expired, revoked */
    {"account authentication", FAULT_REFUSED},
    {"secure connection", FAULT_REFUSED},
    {"permissions violation for publish", FAULT_PUBLISH},
    {"permissions violation for subscription", FAULT_SUBSCRIBE},
    {"maximum subscriptions exceeded", FAULT_SUBSCRIBE},
    {"invalid subject", FAULT_SUBSCRIBE},
};

/* The text between the first quote and the last: Go writes it with %q, whose escapes of printable text are JSON's. */
static void quoted_put(struct str text, struct buf *out)
{
    const char *from = text.n > 0 ? memchr(text.p, '"', text.n) : NULL;
    const char *to = from != NULL ? memrchr(text.p, '"', text.n) : NULL;
    struct str string = from != to ? str_make(from, (size_t)(to - from) + 1) : STR_NONE;
    enum json_type type;
    if (string.p != NULL && json_valid(string, &type, NULL) && type == JSON_STRING)
        json_unquote(string, out);
}

enum wire_fault nats_fault(struct str text, struct buf *subject)
{
    size_t i = 0;
    enum wire_fault fault = FAULT_LOST;
    for (; i < sizeof(faults) / sizeof(faults[0]); i++) {
        size_t n = strlen(faults[i].prefix);
        if (text.n >= n && strncasecmp(text.p, faults[i].prefix, n) == 0) {
            fault = faults[i].fault;
            break;
        }
    }
    if (fault == FAULT_PUBLISH)
        quoted_put(text, subject);
    return fault;
}

/* ---------------------------------------------------------------- out */

static void member_put(struct buf *out, const char *name, const char *value)
{
    if (value == NULL)
        return;
    buf_printf(out, ",\"%s\":", name);
    json_quote(str_of(value), out);
}

void nats_put_connect(struct buf *out, const struct wire_hello *h)
{
    buf_puts(out, "CONNECT {\"verbose\":false,\"pedantic\":false,\"protocol\":1,\"headers\":true,\"no_responders\":true,"
                  "\"echo\":false,\"lang\":\"c\",\"version\":\"1\"");
    member_put(out, "name", h->name);
    member_put(out, "user", h->user);
    member_put(out, "pass", h->password);
    member_put(out, "auth_token", h->token);
    buf_puts(out, "}\r\n");
}

void nats_put_sub(struct buf *out, struct str subject, const char *queue, uint64_t sid)
{
    buf_puts(out, "SUB ");
    buf_str_put(out, subject);
    buf_putc(out, ' ');
    if (queue != NULL)
        buf_printf(out, "%s ", queue);
    buf_printf(out, "%" PRIu64 "\r\n", sid);
}

void nats_put_unsub(struct buf *out, uint64_t sid)
{
    buf_printf(out, "UNSUB %" PRIu64 "\r\n", sid);
}

/* "NATS/1.0\r\n", each line with CR, "\r\n". */
static size_t headers_size(struct str block)
{
    size_t lines = 0;
    for (size_t i = 0; i < block.n; i++)
        lines += block.p[i] == '\n';
    return block.n > 0 ? block.n + lines + 12 : 0;
}

uint64_t nats_payload(const struct wire_pub *p)
{
    return headers_size(p->headers) + p->body.n;
}

static void headers_write(struct buf *out, struct str block)
{
    buf_puts(out, "NATS/1.0\r\n");
    while (block.n > 0) {
        buf_str_put(out, str_cut(&block, '\n'));
        buf_put(out, "\r\n", 2);
    }
    buf_put(out, "\r\n", 2);
}

void nats_put_pub(struct buf *out, const struct wire_pub *p)
{
    size_t headers = headers_size(p->headers);
    buf_puts(out, headers > 0 ? "HPUB " : "PUB ");
    buf_str_put(out, p->subject);
    buf_putc(out, ' ');
    buf_str_put(out, p->reply);
    if (p->reply.n > 0)
        buf_putc(out, ' ');
    if (headers > 0) {
        buf_u64(out, headers);
        buf_putc(out, ' ');
    }
    buf_u64(out, headers + p->body.n);
    buf_put(out, "\r\n", 2);
    if (headers > 0)
        headers_write(out, p->headers);
    buf_str_put(out, p->body);
    buf_put(out, "\r\n", 2);
}

/* ---------------------------------------------------------------- subjects */

static bool has_blank(struct str text)
{
    for (size_t i = 0; i < text.n; i++) {
        if ((unsigned char)text.p[i] <= ' ' || text.p[i] == '\177')
            return true;
    }
    return false;
}

static const char *tokens_fault(struct str text, bool wildcards)
{
    do {
        struct str token = str_cut(&text, '.');
        if (token.n == 0)
            return "a subject of NATS has no empty token: no `.` at either end, no two together";
        if (!wildcards && (str_is(token, "*") || str_is(token, ">")))
            return "nothing can be published to a subject with `*` or `>` as a token";
        if (str_is(token, ">") && text.p != NULL)
            return "`>` is the last token of a subject";
    } while (text.p != NULL);
    return NULL;
}

static const char *fault(struct str text, bool wildcards)
{
    if (has_blank(text))
        return "a subject of NATS holds no blank";
    return tokens_fault(text, wildcards);
}

const char *nats_subject_fault(struct str subject)
{
    return fault(subject, false);
}

const char *nats_filter_fault(struct str filter)
{
    return fault(filter, true);
}
