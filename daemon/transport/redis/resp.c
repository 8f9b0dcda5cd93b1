#include "transport/redis/resp.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"

#define BLOCK_NODES 512
#define DEPTH_MAX 7      /* of arrays within arrays, the first included; an answer to XREADGROUP has 5 */
#define DIGITS_MAX 19
#define LINE_MAX_IN 65536 /* of a status or an error that is read */
#define IDLE_BYTES 262144 /* an empty buffer above that is given back */

/* Nodes of one reply live in a chain of blocks; the first is kept from reply to reply. Texts stay where they were fed. */
struct block {
    struct block *next;
    size_t used, size; /* nodes */
    struct resp nodes[];
};

struct level { /* an array whose items are being read */
    struct resp *items;
    size_t count, at;
};

struct resp_reader {
    struct resp_limits limits;
    struct buf in;        /* from the start of the reply that is being read */
    size_t at;            /* how far it was read */
    size_t scanned;       /* of an unfinished line of text: there is no end in it yet */
    bool done;            /* the reply was given out: it goes before the next one is read */
    struct block *blocks; /* the newest first */
    size_t bytes;         /* of the reply */
    struct resp root;
    struct level levels[DEPTH_MAX];
    size_t depth;
    bool broken, too_long;
    char what[160];
};

/* ---------------------------------------------------------------- nodes */

static struct resp *nodes_take(struct resp_reader *r, size_t n)
{
    struct block *b = r->blocks;
    if (b == NULL || b->size - b->used < n) {
        size_t size = n > BLOCK_NODES ? n : BLOCK_NODES;
        b = mem_alloc(sizeof(*b) + size * sizeof(struct resp));
        *b = (struct block){.next = r->blocks, .size = size};
        r->blocks = b;
    }
    struct resp *nodes = b->nodes + b->used;
    b->used += n;
    for (size_t i = 0; i < n; i++)
        nodes[i] = (struct resp){.type = RESP_NIL};
    return nodes;
}

static void nodes_reset(struct resp_reader *r)
{
    struct block *b = r->blocks;
    while (b != NULL && (b->next != NULL || b->size > BLOCK_NODES)) {
        struct block *next = b->next;
        mem_free(b);
        b = next;
    }
    if (b != NULL)
        b->used = 0;
    r->blocks = b;
}

/* The bytes have moved: so have the texts in them. */
static void nodes_move(struct resp_reader *r, const uint8_t *from, const uint8_t *to)
{
    for (struct block *b = r->blocks; b != NULL; b = b->next) {
        for (size_t i = 0; i < b->used; i++) {
            struct resp *node = &b->nodes[i];
            if (node->text.p != NULL)
                node->text.p = (const char *)to + (node->text.p - (const char *)from);
        }
    }
}

/* ---------------------------------------------------------------- reading */

struct resp_reader *resp_reader_new(const struct resp_limits *limits)
{
    struct resp_reader *r = mem_zalloc(sizeof(*r));
    r->limits = *limits;
    return r;
}

void resp_reader_free(struct resp_reader *r)
{
    if (r == NULL)
        return;
    nodes_reset(r);
    mem_free(r->blocks);
    buf_fini(&r->in);
    mem_free(r);
}

static void begin_reply(struct resp_reader *r)
{
    buf_consume(&r->in, r->at);
    if (r->in.len == 0 && r->in.cap > IDLE_BYTES)
        buf_fini(&r->in);
    r->at = r->scanned = r->bytes = r->depth = 0;
    r->done = false;
    nodes_reset(r);
}

void resp_feed(struct resp_reader *r, struct str bytes)
{
    if (r->done)
        begin_reply(r);
    const uint8_t *before = buf_data(&r->in);
    buf_str_put(&r->in, bytes);
    if (before != NULL && before != buf_data(&r->in))
        nodes_move(r, before, buf_data(&r->in));
}

__attribute__((format(printf, 2, 3))) static bool bad(struct resp_reader *r, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(r->what, sizeof(r->what), fmt, args);
    va_end(args);
    r->broken = true;
    return false;
}

static bool too_long(struct resp_reader *r, const char *what, size_t limit)
{
    r->too_long = true;
    return bad(r, "%s above %zu bytes", what, limit);
}

static bool weigh(struct resp_reader *r, size_t bytes)
{
    r->bytes += bytes;
    return r->bytes <= r->limits.reply || too_long(r, "a reply", r->limits.reply);
}

static void make_printable(char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (text[i] < ' ' || text[i] > '~')
            text[i] = '?';
    }
}

/* A line of text. false: not there yet, or (broken) too long. Errors are shown to people. */
static bool read_line(struct resp_reader *r, struct resp *node)
{
    char *text = (char *)buf_data(&r->in) + r->at + 1;
    size_t there = r->in.len - r->at - 1;
    char *end = there > r->scanned ? memchr(text + r->scanned, '\n', there - r->scanned) : NULL;
    size_t n = end != NULL ? (size_t)(end - text) : there;
    r->scanned = end != NULL ? 0 : there;
    if (n > LINE_MAX_IN)
        return bad(r, "a line above %d bytes", LINE_MAX_IN);
    if (end == NULL)
        return false;
    if (n == 0 || text[n - 1] != '\r')
        return bad(r, "a line without its end");
    size_t kept = n - 1 < RESP_LINE_MAX ? n - 1 : RESP_LINE_MAX;
    make_printable(text, kept);
    text[kept] = '\0';
    node->type = text[-1] == '-' ? RESP_ERROR : RESP_STATUS;
    node->text = str_make(text, kept);
    r->at += n + 2;
    return weigh(r, n);
}

/* The number behind a type byte: no blank, no `+`, no leading zeros. *used: all of it, with its end. false: not there yet, or
 * (broken) none. */
static inline bool head_at(struct resp_reader *r, int64_t *value, size_t *used)
{
    const uint8_t *from = r->in.base + r->in.off + r->at, *end = from + (r->in.len - r->at), *p = from + 1;
    bool negative = p < end && *p == '-';
    const uint8_t *first = p += negative, *stop = end - p > DIGITS_MAX ? p + DIGITS_MAX : end;
    uint64_t n = 0;
    for (; p < stop && *p - (unsigned)'0' <= 9; p++)
        n = n * 10 + (*p - (unsigned)'0');
    *value = negative ? -(int64_t)n : (int64_t)n;
    *used = (size_t)(p - from) + 2;
    bool none = p == first || (*first == '0' && (negative || p - first > 1)) || n > INT64_MAX;
    if (p < end && (none || *p != '\r' || (p + 1 < end && p[1] != '\n')))
        return bad(r, "a number that is none");
    return p + 1 < end;
}

static bool read_integer(struct resp_reader *r, struct resp *node)
{
    size_t used;
    if (!head_at(r, &node->integer, &used))
        return false;
    node->type = RESP_INTEGER;
    r->at += used;
    return true;
}

/* Its end becomes a NUL. */
static bool read_string(struct resp_reader *r, struct resp *node)
{
    int64_t n;
    size_t used;
    if (!head_at(r, &n, &used))
        return false;
    if (n < -1)
        return bad(r, "a text of a negative length");
    if (n == -1) {
        node->type = RESP_NIL;
        r->at += used;
        return true;
    }
    size_t length = (size_t)n;
    if (length > r->limits.element)
        return too_long(r, "a text", r->limits.element);
    if (r->in.len - r->at < used + length + 2)
        return false;
    char *text = (char *)buf_data(&r->in) + r->at + used;
    if (text[length] != '\r' || text[length + 1] != '\n')
        return bad(r, "a text without its end");
    text[length] = '\0';
    node->type = RESP_STRING;
    node->text = str_make(text, length);
    r->at += used + length + 2;
    return weigh(r, length + 1);
}

static bool read_array(struct resp_reader *r, struct resp *node)
{
    int64_t n;
    size_t used;
    if (!head_at(r, &n, &used))
        return false;
    if (n < -1)
        return bad(r, "an array of a negative length");
    r->at += used;
    node->type = n < 0 ? RESP_NIL : RESP_ARRAY;
    if (n <= 0)
        return true;
    size_t count = (size_t)n;
    if (count > r->limits.reply / sizeof(struct resp))
        return too_long(r, "a reply", r->limits.reply);
    if (!weigh(r, count * sizeof(struct resp)))
        return false;
    if (r->depth == DEPTH_MAX)
        return bad(r, "arrays that are more than %d deep", DEPTH_MAX);
    struct resp *items = nodes_take(r, count);
    node->items = items;
    node->count = count;
    r->levels[r->depth++] = (struct level){items, count, 0};
    return true;
}

static bool read_node(struct resp_reader *r, struct resp *node)
{
    const uint8_t *bytes = buf_data(&r->in);
    uint8_t type = bytes != NULL ? bytes[r->at] : 0;
    switch (type) {
    case '$': return read_string(r, node);
    case '*': return read_array(r, node);
    case ':': return read_integer(r, node);
    case '+':
    case '-': return read_line(r, node);
    default: return bad(r, "byte 0x%02x where a reply begins", type);
    }
}

/* The place of the next node: the innermost array that is not full. NULL: the reply is whole. */
static struct resp *next_node(struct resp_reader *r, bool begun)
{
    while (r->depth > 0) {
        struct level *l = &r->levels[r->depth - 1];
        if (l->at < l->count)
            return &l->items[l->at];
        r->depth--;
    }
    return begun ? NULL : &r->root;
}

enum resp_read resp_read(struct resp_reader *r, const struct resp **out, const char **what)
{
    if (r->done)
        begin_reply(r);
    struct resp *node = r->broken ? NULL : next_node(r, r->at > 0);
    if (node == &r->root)
        r->root = (struct resp){.type = RESP_NIL};
    while (node != NULL && r->at < r->in.len) {
        struct level *in = r->depth > 0 ? &r->levels[r->depth - 1] : NULL;
        if (!read_node(r, node))
            break;
        if (in != NULL)
            in->at++;
        node = next_node(r, true);
    }
    if (r->broken) {
        *what = r->what;
        return RESP_BAD;
    }
    if (node != NULL)
        return RESP_MORE;
    r->done = true;
    *out = &r->root;
    return RESP_REPLY;
}

bool resp_reader_overflowed(const struct resp_reader *r)
{
    return r->too_long;
}

/* ---------------------------------------------------------------- commands */

static void put_count(struct buf *out, char mark, uint64_t n)
{
    char *from = (char *)buf_reserve(out, 23), *to = from;
    *to++ = mark;
    to = bytes_u64(to, n);
    to = bytes_copy(to, "\r\n", 2);
    buf_commit(out, (size_t)(to - from));
}

void resp_begin(struct buf *out, size_t count)
{
    put_count(out, '*', count);
}

void resp_arg(struct buf *out, struct str arg)
{
    put_count(out, '$', arg.n);
    buf_str_put(out, arg);
    buf_put(out, "\r\n", 2);
}

void resp_arg_u64(struct buf *out, uint64_t arg)
{
    char text[20];
    resp_arg(out, str_make(text, (size_t)(bytes_u64(text, arg) - text)));
}

/* ---------------------------------------------------------------- errors */

enum resp_fault resp_fault(const struct resp *reply)
{
    static const struct { const char *word; enum resp_fault fault; } table[] = {
        {"NOAUTH", FAULT_DENIED}, {"WRONGPASS", FAULT_DENIED}, {"NOPERM", FAULT_DENIED},
        {"MOVED", FAULT_ELSEWHERE}, {"ASK", FAULT_ELSEWHERE}, {"CROSSSLOT", FAULT_ELSEWHERE},
        {"CLUSTERDOWN", FAULT_ELSEWHERE}, {"LOADING", FAULT_NOT_NOW}, {"BUSY", FAULT_NOT_NOW},
        {"TRYAGAIN", FAULT_NOT_NOW}, {"MASTERDOWN", FAULT_NOT_NOW}, {"READONLY", FAULT_READONLY},
        {"OOM", FAULT_FULL}, {"MISCONF", FAULT_FULL}, {"NOREPLICAS", FAULT_FULL},
        {"BUSYGROUP", FAULT_EXISTS}, {"NOGROUP", FAULT_NO_GROUP}, {"UNBLOCKED", FAULT_NO_GROUP},
    };
    if (reply->type != RESP_ERROR)
        return FAULT_NONE;
    struct str rest = reply->text, word = str_cut(&rest, ' ');
    /* A server without ACLs says "-ERR invalid password", "-ERR Client sent AUTH, but no password is set",
     * one with a limit "-ERR max number of clients reached". */
    if (str_is(word, "ERR") && (str_starts(rest, STR("invalid password")) || str_starts(rest, STR("Client sent AUTH")) ||
                                str_starts(rest, STR("AUTH "))))
        return FAULT_DENIED;
    if (str_is(word, "ERR") && str_starts(rest, STR("max number of clients")))
        return FAULT_NOT_NOW;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (str_is(word, table[i].word))
            return table[i].fault;
    }
    return FAULT_OTHER;
}

/* ---------------------------------------------------------------- pushes */

static bool is_text(const struct resp *r)
{
    return r->type == RESP_STRING;
}

/* The channel of "unsubscribe" without a subscription is nil. */
static bool confirmation(const struct resp *reply)
{
    return reply->count == 3 && (is_text(&reply->items[1]) || reply->items[1].type == RESP_NIL) &&
           reply->items[2].type == RESP_INTEGER;
}

bool push_parse(const struct resp *reply, struct push *out)
{
    static const struct { const char *word; enum push_kind kind; bool pattern; } table[] = {
        {"message", PUSH_MESSAGE, false}, {"pmessage", PUSH_MESSAGE, true},
        {"subscribe", PUSH_SUBSCRIBED, false}, {"psubscribe", PUSH_SUBSCRIBED, true},
        {"unsubscribe", PUSH_UNSUBSCRIBED, false}, {"punsubscribe", PUSH_UNSUBSCRIBED, true},
        {"pong", PUSH_PONG, false},
    };
    size_t i = 0, last = reply->count - 1;
    if (reply->type != RESP_ARRAY || reply->count < 2 || reply->count > 4 || !is_text(&reply->items[0]))
        return false;
    while (i < sizeof(table) / sizeof(table[0]) && !str_is(reply->items[0].text, table[i].word))
        i++;
    if (i == sizeof(table) / sizeof(table[0]))
        return false;
    *out = (struct push){.kind = table[i].kind};
    if (table[i].pattern)
        out->pattern = reply->items[1].text;
    if (out->kind == PUSH_PONG)
        return reply->count == 2;
    if (out->kind != PUSH_MESSAGE) {
        out->channel = reply->items[1].text;
        return confirmation(reply);
    }
    out->channel = reply->items[last - 1].text;
    out->payload = reply->items[last].text;
    return reply->count == (table[i].pattern ? 4 : 3) && is_text(&reply->items[1]) &&
           is_text(&reply->items[last - 1]) && is_text(&reply->items[last]);
}

/* ---------------------------------------------------------------- streams */

bool entry_id_parse(struct str text, struct entry_id *out)
{
    const char *hyphen = text.n > 0 ? memchr(text.p, '-', text.n) : NULL;
    if (hyphen == NULL)
        return false;
    size_t n = (size_t)(hyphen - text.p);
    return str_parse_u64(str_make(text.p, n), &out->ms) && str_parse_u64(str_make(hyphen + 1, text.n - n - 1), &out->seq);
}

struct str entry_id_text(struct entry_id id, char out[static ENTRY_ID_MAX])
{
    char *end = bytes_u64(out, id.ms);
    *end++ = '-';
    end = bytes_u64(end, id.seq);
    *end = '\0';
    return str_make(out, (size_t)(end - out));
}

int entry_id_cmp(struct entry_id a, struct entry_id b)
{
    if (a.ms != b.ms)
        return a.ms < b.ms ? -1 : 1;
    return a.seq < b.seq ? -1 : a.seq > b.seq;
}

bool entry_parse(const struct resp *item, struct entry *out)
{
    if (item->type != RESP_ARRAY || item->count != 2 || !is_text(&item->items[0]))
        return false;
    const struct resp *fields = &item->items[1];
    *out = (struct entry){.text = item->items[0].text, .fields = fields->items, .count = fields->count, .deleted = fields->type == RESP_NIL};
    if (!entry_id_parse(item->items[0].text, &out->id))
        return false;
    if (out->deleted)
        return true;
    if (fields->type != RESP_ARRAY || fields->count % 2 != 0)
        return false;
    for (size_t i = 0; i < fields->count; i++) {
        if (!is_text(&fields->items[i]))
            return false;
    }
    return true;
}

bool xread_parse(const struct resp *reply, const struct resp **items, size_t *count)
{
    *items = NULL;
    *count = 0;
    if (reply->type == RESP_NIL)
        return true;
    if (reply->type != RESP_ARRAY || reply->count != 1)
        return false;
    const struct resp *stream = &reply->items[0];
    if (stream->type != RESP_ARRAY || stream->count != 2 || stream->items[1].type != RESP_ARRAY)
        return false;
    *items = stream->items[1].items;
    *count = stream->items[1].count;
    return true;
}

/* Redis 6.2 has two parts, 7 three; 6.2 lists a deleted entry as nil. */
bool xautoclaim_parse(const struct resp *reply, struct xclaim *out)
{
    *out = (struct xclaim){.items = NULL};
    if (reply->type != RESP_ARRAY || reply->count < 2 || !is_text(&reply->items[0]) ||
        reply->items[1].type != RESP_ARRAY || !entry_id_parse(reply->items[0].text, &out->next))
        return false;
    out->items = reply->items[1].items;
    out->count = reply->items[1].count;
    if (reply->count > 2 && reply->items[2].type == RESP_ARRAY) {
        out->gone = reply->items[2].items;
        out->gone_count = reply->items[2].count;
    }
    return true;
}

bool xpending_parse(const struct resp *item, struct xpending *out)
{
    if (item->type != RESP_ARRAY || item->count != 4 || !is_text(&item->items[0]) ||
        item->items[3].type != RESP_INTEGER || item->items[3].integer < 0)
        return false;
    out->deliveries = (uint64_t)item->items[3].integer;
    return entry_id_parse(item->items[0].text, &out->id);
}
