/* Replies of daemon/transport/redis/resp.h: the same ones whatever the pieces they come in, within the limits,
 * and whatever they hold is a push, an entry or nothing. */
#include "fuzz.h"
#include "transport/redis/resp.h"

#define ELEMENT 4096
#define REPLY 65536

static void check_entry(const struct resp *item)
{
    struct entry e;
    struct xpending p;
    char text[ENTRY_ID_MAX];
    struct entry_id again;
    if (entry_parse(item, &e)) {
        HOLDS(e.count % 2 == 0 && (!e.deleted || e.count == 0));
        HOLDS(entry_id_parse(entry_id_text(e.id, text), &again) && entry_id_cmp(e.id, again) == 0);
        for (size_t i = 0; i < e.count; i++)
            HOLDS(e.fields[i].type == RESP_STRING);
    }
    (void)xpending_parse(item, &p);
}

static size_t weigh(const struct resp *r, unsigned depth)
{
    size_t bytes = sizeof(*r) + r->text.n;
    HOLDS(depth < 10);
    check_entry(r);
    for (size_t i = 0; i < r->count; i++)
        bytes += weigh(&r->items[i], depth + 1);
    return bytes;
}

static void check_reply(const struct resp *r)
{
    struct push p;
    struct xclaim c;
    const struct resp *items;
    size_t count;
    HOLDS(weigh(r, 0) <= REPLY + sizeof(*r) + ELEMENT);
    HOLDS((resp_fault(r) == FAULT_NONE) == (r->type != RESP_ERROR));
    if (push_parse(r, &p) && p.kind == PUSH_MESSAGE)
        HOLDS(p.channel.p != NULL && p.payload.p != NULL);
    if (xread_parse(r, &items, &count))
        HOLDS(count == 0 || items != NULL);
    if (xautoclaim_parse(r, &c))
        HOLDS(c.count == 0 || c.items != NULL);
}

/* How many replies the input holds, and whether it ends in an error. */
static size_t read_all(struct str in, size_t piece, bool *broken)
{
    struct resp_reader *reader = resp_reader_new(&(struct resp_limits){.element = ELEMENT, .reply = REPLY});
    const struct resp *reply;
    const char *what = NULL;
    size_t count = 0;
    enum resp_read got = RESP_MORE;
    for (size_t at = 0; at < in.n && got != RESP_BAD; at += piece) {
        resp_feed(reader, str_make(in.p + at, in.n - at < piece ? in.n - at : piece));
        while ((got = resp_read(reader, &reply, &what)) == RESP_REPLY) {
            check_reply(reply);
            count++;
        }
    }
    *broken = got == RESP_BAD;
    HOLDS(*broken == (what != NULL));
    resp_reader_free(reader);
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str in = str_make(data, size);
    bool broken, broken_again;
    size_t count = read_all(in, RESP_FEED, &broken);
    /* An unfinished text is weighed after each piece: only well below the limit do the pieces not matter. */
    if (size < ELEMENT) {
        HOLDS(read_all(in, 1, &broken_again) == count && broken_again == broken);
        HOLDS(read_all(in, 7, &broken_again) == count && broken_again == broken);
    }
    return 0;
}
