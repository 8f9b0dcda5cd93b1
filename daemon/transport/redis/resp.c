#include "transport/redis/resp.h"

#include <hiredis/read.h>
#include <stdio.h>

#include "base/mem.h"

#define BLOCK_BYTES 65536
#define LINE_SLACK 64 /* "$1048576\r\n" and its end, beside the text */

/* Nodes and texts of one reply live in a chain of blocks; the first is kept from reply to reply. */
struct block {
    struct block *next;
    size_t used, size;
    max_align_t data[];
};

struct resp_reader {
    redisReader *reader;
    struct resp_limits limits;
    struct block *blocks; /* the newest first */
    size_t bytes;         /* of the reply that is being read */
    struct resp root;
    bool too_long;
    char what[160];
};

/* ---------------------------------------------------------------- the arena */

static void *take(struct resp_reader *r, size_t n)
{
    struct block *b = r->blocks;
    n = (n + sizeof(max_align_t) - 1) & ~(sizeof(max_align_t) - 1);
    r->bytes += n;
    if (r->bytes > r->limits.reply) {
        r->too_long = true;
        return NULL;
    }
    if (b == NULL || b->size - b->used < n) {
        size_t size = n > BLOCK_BYTES ? n : BLOCK_BYTES;
        b = mem_alloc(sizeof(*b) + size);
        *b = (struct block){.next = r->blocks, .size = size};
        r->blocks = b;
    }
    b->used += n;
    return (char *)b->data + b->used - n;
}

static void reset(struct resp_reader *r)
{
    struct block *b = r->blocks;
    while (b != NULL && b->next != NULL) {
        struct block *next = b->next;
        mem_free(b);
        b = next;
    }
    if (b != NULL && b->size > BLOCK_BYTES) {
        mem_free(b);
        b = NULL;
    }
    if (b != NULL)
        b->used = 0;
    r->blocks = b;
    r->bytes = 0;
}

/* ---------------------------------------------------------------- what hiredis calls for each node */

static struct resp *node(const redisReadTask *task, enum resp_type type)
{
    struct resp_reader *r = task->privdata;
    struct resp *at = &r->root;
    if (task->parent != NULL) {
        const struct resp *parent = task->parent->obj;
        at = (struct resp *)&parent->items[task->idx];
    }
    *at = (struct resp){.type = type};
    return at;
}

/* Errors are shown to people. */
static void make_printable(char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (text[i] < ' ' || text[i] > '~')
            text[i] = '?';
    }
}

static void *on_string(const redisReadTask *task, char *p, size_t n)
{
    enum resp_type type = task->type == REDIS_REPLY_ERROR ? RESP_ERROR
                        : task->type == REDIS_REPLY_STATUS ? RESP_STATUS : RESP_STRING;
    struct resp *s = node(task, type);
    size_t kept = type != RESP_STRING && n > RESP_LINE_MAX ? RESP_LINE_MAX : n;
    char *copy = take(task->privdata, kept + 1);
    if (copy == NULL)
        return NULL;
    *bytes_copy(copy, p, kept) = '\0';
    if (type != RESP_STRING)
        make_printable(copy, kept);
    s->text = str_make(copy, kept);
    return s;
}

static void *on_array(const redisReadTask *task, int elements)
{
    struct resp *a = node(task, RESP_ARRAY);
    size_t count = (size_t)elements;
    struct resp *items = take(task->privdata, count * sizeof(*items));
    if (items == NULL)
        return NULL;
    for (size_t i = 0; i < count; i++)
        items[i] = (struct resp){.type = RESP_NIL};
    a->items = items;
    a->count = count;
    return a;
}

static void *on_integer(const redisReadTask *task, long long value)
{
    struct resp *i = node(task, RESP_INTEGER);
    i->integer = value;
    return i;
}

static void *on_nil(const redisReadTask *task)
{
    return node(task, RESP_NIL);
}

static void on_free(void *object)
{
    (void)object; /* the arena's */
}

static redisReplyObjectFunctions *functions(void)
{
    /* hiredis wants it writable and writes nothing. */
    static const redisReplyObjectFunctions table = {.createString = on_string, .createArray = on_array,
                                                    .createInteger = on_integer, .createNil = on_nil,
                                                    .freeObject = on_free};
    return (redisReplyObjectFunctions *)&table;
}

/* ---------------------------------------------------------------- reading */

struct resp_reader *resp_reader_new(const struct resp_limits *limits)
{
    struct resp_reader *r = mem_zalloc(sizeof(*r));
    r->limits = *limits;
    r->reader = redisReaderCreateWithFunctions(functions());
    if (r->reader == NULL)
        snprintf(r->what, sizeof(r->what), "out of memory");
    else
        r->reader->privdata = r;
    return r;
}

void resp_reader_free(struct resp_reader *r)
{
    if (r == NULL)
        return;
    if (r->reader != NULL)
        redisReaderFree(r->reader);
    reset(r);
    mem_free(r->blocks);
    mem_free(r);
}

void resp_feed(struct resp_reader *r, struct str bytes)
{
    if (r->reader != NULL && bytes.n > 0)
        redisReaderFeed(r->reader, bytes.p, bytes.n);
}

static enum resp_read bad(struct resp_reader *r, const char **what)
{
    if (r->too_long && r->what[0] == '\0')
        snprintf(r->what, sizeof(r->what), "a reply above %zu bytes", r->limits.reply);
    else if (r->what[0] == '\0')
        snprintf(r->what, sizeof(r->what), "%s", r->reader->errstr);
    *what = r->what;
    return RESP_BAD;
}

enum resp_read resp_read(struct resp_reader *r, const struct resp **out, const char **what)
{
    void *reply = NULL;
    if (r->reader == NULL || r->what[0] != '\0')
        return bad(r, what);
    if (r->reader->ridx < 0) /* between two replies: what the last one held is no longer needed */
        reset(r);
    if (redisReaderGetReply(r->reader, &reply) != REDIS_OK)
        return bad(r, what);
    if (reply != NULL) {
        *out = reply;
        return RESP_REPLY;
    }
    if (r->reader->len - r->reader->pos <= r->limits.element + LINE_SLACK)
        return RESP_MORE;
    snprintf(r->what, sizeof(r->what), "a text above %zu bytes", r->limits.element);
    r->too_long = true;
    return bad(r, what);
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

/* ---------------------------------------------------------------- who it is */

static struct str member(const struct resp *reply, const char *name)
{
    for (size_t i = 0; reply->type == RESP_ARRAY && i + 1 < reply->count; i += 2) {
        if (reply->items[i].type == RESP_STRING && str_is(reply->items[i].text, name))
            return reply->items[i + 1].text;
    }
    return STR_NONE;
}

enum server_kind hello_parse(const struct resp *reply)
{
    struct str role = member(reply, "role");
    if (str_is(member(reply, "mode"), "sentinel"))
        return SERVER_SENTINEL;
    return str_is(role, "replica") || str_is(role, "slave") ? SERVER_REPLICA : SERVER_PRIMARY;
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
    struct str rest = text, ms = str_cut(&rest, '-');
    return rest.p != NULL && str_parse_u64(ms, &out->ms) && str_parse_u64(rest, &out->seq);
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
