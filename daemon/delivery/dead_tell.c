/* Who waits for an event that has become a dead letter hears of it when that is on disk: it is an acknowledgement. */
#include "base/mem.h"
#include "delivery/internal.h"

struct burying {
    struct list_node link; /* in hub->burying */
    struct hub *hub;
    struct receipt *receipt;
    enum code code;
    char *detail;
};

static void burying_free(struct burying *b)
{
    list_remove(&b->hub->burying, &b->link);
    mem_free(b->detail);
    mem_free(b);
}

/* What could not be stored is nowhere: upstream keeps it, and offers it again. */
static void on_buried(void *arg, enum store_result result)
{
    struct burying *b = arg;
    struct reply reply = {.code = b->code, .body = str_of(b->detail)};
    if (result != STORE_OK)
        reply = (struct reply){.code = CODE_OVERLOADED, .body = STR("it failed, and could not be stored as a dead letter")};
    receipt_end(b->receipt, &reply, result == STORE_OK);
    burying_free(b);
}

void dead_tell(struct delivery *v, const struct reply *reply)
{
    struct hub *h = v->dest->hub;
    if (v->receipt == NULL)
        return;
    struct burying *b = mem_alloc(sizeof(*b));
    *b = (struct burying){.hub = h, .receipt = v->receipt, .code = reply->code,
                          .detail = mem_strndup(reply->body.p, reply->body.n)};
    v->receipt = NULL;
    list_push(&h->burying, &b->link);
    store_then(h->store, on_buried, b);
}

void dead_tells_forget(struct hub *h)
{
    LIST_EACH(&h->burying, n) {
        struct burying *b = CONTAINER_OF(n, struct burying, link);
        struct reply none = {.code = CODE_OK};
        b->receipt->asker.ops = NULL;
        receipt_end(b->receipt, &none, false); /* others of it may be out yet */
        burying_free(b);
    }
}
