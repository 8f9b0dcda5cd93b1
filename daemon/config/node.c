#include "config/node.h"

#include <yaml.h>

#include "base/map.h"
#include "base/mem.h"

#define ANCHORS_MAX 1000
#define KEYS_HASHED 16 /* above so many keys a mapping looks for duplicates in a hash map */

struct level { /* a mapping or list that is being read */
    struct node *node;
    struct node **tail;
    char *anchor;          /* or NULL; set on the node once it is complete: no node holds itself */
    const struct node *twin; /* an earlier value of the same key: the next one is dropped */
    const char *key;       /* of the pair whose value comes next; NULL = a key comes next */
    uint32_t key_size;
    struct place key_place;
    struct map keys;       /* key -> its node, once there are many */
};

struct reader {
    yaml_parser_t yaml;
    struct arena *arena;
    struct problems *problems;
    struct level levels[NODE_DEPTH_MAX];
    size_t depth;
    struct map anchors; /* name -> node */
    size_t nodes;       /* so far, aliases expanded */
    struct node *root;
};

static struct place mark_place(yaml_mark_t mark)
{
    return (struct place){(unsigned)mark.line + 1, (unsigned)mark.column + 1};
}

static struct level *reader_top(struct reader *r)
{
    return r->depth > 0 ? &r->levels[r->depth - 1] : NULL;
}

static bool reader_count(struct reader *r, struct place place, size_t nodes)
{
    r->nodes += nodes;
    if (r->nodes > NODES_MAX)
        return problem_add(r->problems, place,
                           "more than %u values (each use of an alias counts all it stands for)",
                           NODES_MAX);
    return true;
}

static const struct node *level_find(const struct level *l, struct str key)
{
    if (l->keys.count > 0)
        return map_get(&l->keys, key);
    for (const struct node *n = l->node->first; n != NULL; n = n->next) {
        if (str_eq(str_make(n->key, n->key_size), key))
            return n;
    }
    return NULL;
}

static void level_index(struct level *l, struct node *added)
{
    if (l->node->count < KEYS_HASHED)
        return;
    struct node *n = l->keys.count > 0 ? added : l->node->first;
    for (; n != NULL; n = n->next)
        map_set(&l->keys, str_make(n->key, n->key_size), n);
}

/* Puts a complete node into the collection that is open, or makes it the root. */
static void reader_attach(struct reader *r, struct node *n)
{
    struct level *l = reader_top(r);
    if (l == NULL) {
        r->root = n;
        return;
    }
    bool drop = l->twin != NULL;
    l->twin = NULL;
    if (l->node->kind == NODE_MAP) {
        n->key = l->key;
        n->key_size = l->key_size;
        n->key_place = l->key_place;
        l->key = NULL;
    }
    if (drop)
        return;
    *l->tail = n;
    l->tail = &n->next;
    l->node->count++;
    l->node->total += n->total;
    if (l->node->height <= n->height)
        l->node->height = (uint8_t)(n->height + 1);
    if (l->node->kind == NODE_MAP)
        level_index(l, n);
}

static void reader_anchor(struct reader *r, const char *name, struct node *n)
{
    if (name != NULL && r->anchors.count < ANCHORS_MAX)
        map_set(&r->anchors, str_of(name), n);
}

static struct node *reader_node(struct reader *r, enum node_kind kind, const yaml_event_t *e)
{
    struct node *n = arena_alloc(r->arena, sizeof(*n));
    n->kind = (uint8_t)kind;
    n->place = mark_place(e->start_mark);
    n->total = 1;
    return n;
}

static bool reader_key(struct reader *r, struct level *l, struct str text, struct place place)
{
    l->key = arena_str(r->arena, text);
    l->key_size = (uint32_t)text.n;
    l->key_place = place;
    l->twin = level_find(l, text);
    if (l->twin != NULL)
        problem_add(r->problems, place, "duplicate key `%s`, first on line %u", l->key,
                    l->twin->key_place.line);
    return true;
}

static bool on_scalar(struct reader *r, const yaml_event_t *e)
{
    struct place place = mark_place(e->start_mark);
    struct str text = str_make(e->data.scalar.value, e->data.scalar.length);
    struct level *top = reader_top(r);
    if (e->data.scalar.tag != NULL)
        return problem_add(r->problems, place, "tags such as `!name` are not supported");
    if (memchr(text.p, '\0', text.n) != NULL)
        return problem_add(r->problems, place, "a NUL byte cannot be part of a value");
    if (top != NULL && top->node->kind == NODE_MAP && top->key == NULL)
        return reader_key(r, top, text, place);
    struct node *n = reader_node(r, NODE_SCALAR, e);
    n->text = arena_str(r->arena, text);
    n->text_size = (uint32_t)text.n;
    n->plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    reader_anchor(r, (const char *)e->data.scalar.anchor, n);
    reader_attach(r, n);
    return reader_count(r, place, 1);
}

static bool reader_open(struct reader *r, enum node_kind kind, const yaml_event_t *e)
{
    bool map = kind == NODE_MAP;
    const yaml_char_t *tag = map ? e->data.mapping_start.tag : e->data.sequence_start.tag;
    const yaml_char_t *anchor = map ? e->data.mapping_start.anchor : e->data.sequence_start.anchor;
    struct level *top = reader_top(r);
    struct place place = mark_place(e->start_mark);
    if (tag != NULL)
        return problem_add(r->problems, place, "tags such as `!name` are not supported");
    if (top != NULL && top->node->kind == NODE_MAP && top->key == NULL)
        return problem_add(r->problems, place, "a key must be text, not a mapping or a list");
    if (r->depth == NODE_DEPTH_MAX)
        return problem_add(r->problems, place, "nested deeper than %d levels", NODE_DEPTH_MAX);
    struct level *l = &r->levels[r->depth++];
    *l = (struct level){.node = reader_node(r, kind, e)};
    l->tail = &l->node->first;
    l->node->height = 1;
    l->anchor = anchor != NULL ? mem_strdup((const char *)anchor) : NULL;
    return reader_count(r, place, 1);
}

static void level_fini(struct level *l)
{
    map_fini(&l->keys);
    mem_free(l->anchor);
}

static bool on_list(struct reader *r, const yaml_event_t *e)
{
    return reader_open(r, NODE_LIST, e);
}

static bool on_map(struct reader *r, const yaml_event_t *e)
{
    return reader_open(r, NODE_MAP, e);
}

static bool on_close(struct reader *r, const yaml_event_t *e)
{
    (void)e;
    struct level *l = &r->levels[--r->depth];
    struct node *n = l->node;
    reader_anchor(r, l->anchor, n);
    level_fini(l);
    reader_attach(r, n);
    return true;
}

static bool on_alias(struct reader *r, const yaml_event_t *e)
{
    struct place place = mark_place(e->start_mark);
    const char *name = (const char *)e->data.alias.anchor;
    struct level *top = reader_top(r);
    const struct node *target = map_get(&r->anchors, str_of(name));
    if (target == NULL)
        return problem_add(r->problems, place, "alias `*%s` has no anchor `&%s` before it", name,
                           name);
    if (top != NULL && top->node->kind == NODE_MAP && top->key == NULL)
        return problem_add(r->problems, place, "a key must be text, not an alias");
    if (r->depth + target->height > NODE_DEPTH_MAX)
        return problem_add(r->problems, place, "nested deeper than %d levels", NODE_DEPTH_MAX);
    if (!reader_count(r, place, target->total))
        return false;
    struct node *copy = arena_alloc(r->arena, sizeof(*copy));
    *copy = *target;
    copy->next = NULL;
    copy->key = NULL;
    copy->place = place;
    reader_attach(r, copy);
    return true;
}

static bool on_document(struct reader *r, const yaml_event_t *e)
{
    if (r->root == NULL)
        return true;
    return problem_add(r->problems, mark_place(e->start_mark),
                       "only one document in a file, and this is the second");
}

static bool reader_event(struct reader *r, const yaml_event_t *e)
{
    static bool (*const handlers[])(struct reader *, const yaml_event_t *) = {
        [YAML_DOCUMENT_START_EVENT] = on_document, [YAML_ALIAS_EVENT] = on_alias,
        [YAML_SCALAR_EVENT] = on_scalar,           [YAML_SEQUENCE_START_EVENT] = on_list,
        [YAML_SEQUENCE_END_EVENT] = on_close,      [YAML_MAPPING_START_EVENT] = on_map,
        [YAML_MAPPING_END_EVENT] = on_close,
    };
    if ((size_t)e->type >= sizeof(handlers) / sizeof(handlers[0]) || handlers[e->type] == NULL)
        return true;
    return handlers[e->type](r, e);
}

static struct place offset_place(struct str text, size_t offset)
{
    struct place at = {1, 1};
    for (size_t i = 0; i < offset && i < text.n; i++) {
        at.column++;
        if (text.p[i] == '\n')
            at = (struct place){at.line + 1, 1};
    }
    return at;
}

static void reader_failed(struct reader *r, struct str text)
{
    const yaml_parser_t *y = &r->yaml;
    const char *what = y->problem != NULL ? y->problem : "unreadable";
    if (y->error == YAML_MEMORY_ERROR)
        mem_fail(); /* the file is not to blame */
    if (y->error == YAML_READER_ERROR)
        problem_add(r->problems, offset_place(text, y->problem_offset), "not YAML: %s", what);
    else if (y->context != NULL)
        problem_add(r->problems, mark_place(y->problem_mark), "not YAML: %s, %s on line %zu", what,
                    y->context, y->context_mark.line + 1);
    else
        problem_add(r->problems, mark_place(y->problem_mark), "not YAML: %s", what);
}

/* libyaml lets some tabs pass; here none does, so that no file depends on how wide one is. */
static bool text_clean(struct str text, struct problems *problems)
{
    bool clean = true;
    unsigned line = 0;
    while (text.p != NULL) {
        struct str row = str_cut(&text, '\n');
        const char *tab = row.n > 0 ? memchr(row.p, '\t', row.n) : NULL;
        line++;
        if (tab != NULL)
            clean = problem_add(problems, (struct place){line, (unsigned)(tab - row.p) + 1},
                                "a tab; use spaces (within quotes: \\t)");
        if (!str_utf8(row))
            clean = problem_add(problems, (struct place){line, 1}, "not valid UTF-8");
    }
    return clean;
}

static bool reader_run(struct reader *r, struct str text)
{
    yaml_event_t event;
    bool ok = true, done = false;
    while (ok && !done) {
        if (!yaml_parser_parse(&r->yaml, &event)) {
            reader_failed(r, text);
            return false;
        }
        done = event.type == YAML_STREAM_END_EVENT;
        ok = reader_event(r, &event);
        yaml_event_delete(&event);
    }
    return ok;
}

struct node *node_parse(struct str text, struct arena *arena, struct problems *problems)
{
    struct reader r = {.arena = arena, .problems = problems};
    if (text.n > NODE_FILE_MAX) {
        problem_add(problems, (struct place){0, 0}, "larger than 64MiB");
        return NULL;
    }
    if (!text_clean(text, problems))
        return NULL;
    if (!yaml_parser_initialize(&r.yaml))
        mem_fail();
    yaml_parser_set_encoding(&r.yaml, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.yaml, (const unsigned char *)(text.p != NULL ? text.p : ""),
                                 text.n);
    bool ok = reader_run(&r, text);
    for (size_t i = 0; i < r.depth; i++)
        level_fini(&r.levels[i]);
    map_fini(&r.anchors);
    yaml_parser_delete(&r.yaml);
    if (ok && r.root == NULL) {
        r.root = arena_alloc(arena, sizeof(*r.root));
        r.root->kind = NODE_MAP;
        r.root->total = 1;
        r.root->place = (struct place){1, 1};
    }
    return ok ? r.root : NULL;
}

const struct node *node_get(const struct node *map, const char *key)
{
    if (map->kind != NODE_MAP)
        return NULL;
    for (const struct node *n = map->first; n != NULL; n = n->next) {
        if (strcmp(n->key, key) == 0)
            return n;
    }
    return NULL;
}

bool node_empty(const struct node *n)
{
    struct str text = node_text(n);
    return n->kind == NODE_SCALAR && n->plain &&
           (text.n == 0 || str_is(text, "~") || str_is(text, "null"));
}
