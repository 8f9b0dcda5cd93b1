#include "route/matcher.h"

#include "base/map.h"
#include "base/mem.h"
#include "route/recent.h"
#include "route/subject.h"

#define EDGES_FIRST 16
#define SUBJECT_STACK 1024 /* longer subjects than any legal one take memory for a moment */

struct values { /* of one filter; never empty */
    uint32_t count, cap;
    uint32_t value[]; /* the lowest first, the others in any order */
};

/* A place in the trie of wildcard filters. Literal children are found in the matcher's edge
 * table, keyed by (parent, token), so that a node costs the same with one child or 100,000.
 * `lowest` is never above any value in the subtree; removal may leave it too low, which costs
 * time, not truth. */
struct node {
    struct values *here; /* filters that end here */
    struct values *tail; /* filters that end in `>` here */
    struct node *star;
    struct node *parent;
    uint32_t lowest;
    uint32_t literals; /* children in the edge table */
    uint32_t hash;     /* of (parent, token); 0 in the root and in a star */
    uint32_t token_len;
    char token[];
};

struct matcher {
    struct map exact; /* filter with `.` only -> struct values */
    struct node *root;
    struct node **edges; /* open addressing, linear probing */
    size_t edges_count, edges_cap;
    uint64_t key[2]; /* of the token hashes */
    size_t count; /* (filter, value) pairs */
    struct recent *recent; /* of matcher_first(); NULL until the first, and after each change */
};

/* ---- values ---- */

static void values_swap(struct values *v, uint32_t i, uint32_t j)
{
    uint32_t value = v->value[i];
    v->value[i] = v->value[j];
    v->value[j] = value;
}

static void values_add(struct values **set, uint32_t value)
{
    struct values *v = *set;
    if (v == NULL || v->count == v->cap) {
        uint32_t count = v != NULL ? v->count : 0, cap = count > 0 ? count * 2 : 1;
        v = mem_realloc(v, sizeof(*v) + cap * sizeof(v->value[0]));
        v->count = count;
        v->cap = cap;
        *set = v;
    }
    v->value[v->count++] = value;
    if (value < v->value[0])
        values_swap(v, 0, v->count - 1);
}

/* Where value stands in v, or v's count. */
static uint32_t values_find(const struct values *v, uint32_t value)
{
    uint32_t i = 0;
    while (i < v->count && v->value[i] != value)
        i++;
    return i;
}

static bool values_remove(struct values **set, uint32_t value)
{
    struct values *v = *set;
    uint32_t at = v != NULL ? values_find(v, value) : 0;
    if (v == NULL || at == v->count)
        return false;
    v->value[at] = v->value[--v->count];
    if (v->count == 0) {
        mem_free(v);
        *set = NULL;
        return true;
    }
    for (uint32_t i = 1; at == 0 && i < v->count; i++) {
        if (v->value[i] < v->value[0])
            values_swap(v, 0, i);
    }
    return true;
}

static uint32_t values_lowest(const struct values *v)
{
    return v != NULL ? v->value[0] : MATCH_NONE;
}

static void values_each(const struct values *v, void (*fn)(void *arg, uint32_t value), void *arg)
{
    for (uint32_t i = 0; v != NULL && i < v->count; i++)
        fn(arg, v->value[i]);
}

/* ---- edges ---- */

/* map_hash has a secret key, so strangers cannot aim at one slot. */
static uint32_t edge_hash(const struct node *parent, uint64_t token_hash)
{
    uint64_t mixed = (token_hash ^ (uintptr_t)parent) * UINT64_C(0x9E3779B97F4A7C15);
    return (uint32_t)(mixed >> 32);
}

static struct node **edge_slot(const struct matcher *m, const struct node *parent, struct str token,
                               uint32_t hash)
{
    for (size_t i = hash & (m->edges_cap - 1);; i = (i + 1) & (m->edges_cap - 1)) {
        struct node *n = m->edges[i];
        if (n == NULL || (n->hash == hash && n->parent == parent &&
                          str_eq(str_make(n->token, n->token_len), token)))
            return &m->edges[i];
    }
}

static void edges_grow(struct matcher *m)
{
    struct node **old = m->edges;
    size_t old_cap = m->edges_cap;
    m->edges_cap = old_cap > 0 ? old_cap * 2 : EDGES_FIRST;
    m->edges = mem_calloc(m->edges_cap, sizeof(struct node *));
    for (size_t i = 0; i < old_cap; i++) {
        struct node *n = old[i];
        if (n != NULL)
            *edge_slot(m, n->parent, str_make(n->token, n->token_len), n->hash) = n;
    }
    mem_free(old);
}

/* Backward-shift deletion: no tombstones, so that coming and going subscribers never slow it
 * down. */
static void edge_remove(struct matcher *m, const struct node *n)
{
    struct str token = str_make(n->token, n->token_len);
    size_t mask = m->edges_cap - 1;
    size_t hole = (size_t)(edge_slot(m, n->parent, token, n->hash) - m->edges);
    for (size_t i = (hole + 1) & mask; m->edges[i] != NULL; i = (i + 1) & mask) {
        if (((i - m->edges[i]->hash) & mask) >= ((i - hole) & mask)) {
            m->edges[hole] = m->edges[i];
            hole = i;
        }
    }
    m->edges[hole] = NULL;
    m->edges_count--;
}

/* ---- nodes ---- */

static struct node *node_new(struct node *parent, struct str token, uint32_t hash)
{
    struct node *n = mem_zalloc(sizeof(*n) + token.n);
    n->parent = parent;
    n->hash = hash;
    n->lowest = MATCH_NONE;
    n->token_len = (uint32_t)token.n;
    bytes_str(n->token, token);
    return n;
}

static struct node *node_literal(const struct matcher *m, const struct node *parent,
                                 struct str token, uint64_t token_hash)
{
    if (parent->literals == 0)
        return NULL;
    return *edge_slot(m, parent, token, edge_hash(parent, token_hash));
}

static struct node *node_child(const struct matcher *m, const struct node *parent, struct str token)
{
    return str_is(token, "*") ? parent->star : node_literal(m, parent, token, map_hash(m->key, token));
}

static struct node *node_child_make(struct matcher *m, struct node *parent, struct str token)
{
    struct node *child = node_child(m, parent, token);
    if (child != NULL)
        return child;
    if (str_is(token, "*"))
        return parent->star = node_new(parent, STR_NONE, 0);
    if ((m->edges_count + 1) * 4 > m->edges_cap * 3)
        edges_grow(m);
    uint32_t hash = edge_hash(parent, map_hash(m->key, token));
    child = node_new(parent, token, hash);
    *edge_slot(m, parent, token, hash) = child;
    m->edges_count++;
    parent->literals++;
    return child;
}

static bool node_empty(const struct node *n)
{
    return n->here == NULL && n->tail == NULL && n->star == NULL && n->literals == 0;
}

static uint32_t min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* After a removal: frees what holds nothing any more and raises `lowest` where that is cheap. */
static void node_prune(struct matcher *m, struct node *n)
{
    while (n != m->root && node_empty(n)) {
        struct node *parent = n->parent;
        if (parent->star == n) {
            parent->star = NULL;
        } else {
            edge_remove(m, n);
            parent->literals--;
        }
        mem_free(n);
        n = parent;
    }
    for (; n != NULL && n->literals == 0; n = n->parent) {
        n->lowest = min_u32(values_lowest(n->here), values_lowest(n->tail));
        if (n->star != NULL)
            n->lowest = min_u32(n->lowest, n->star->lowest);
    }
}

static void node_free(struct node *n)
{
    if (n == NULL)
        return;
    mem_free(n->here);
    mem_free(n->tail);
    mem_free(n);
}

/* Frees a node and its chain of stars; literal nodes below are in the edge table. */
static void node_free_stars(struct node *n)
{
    while (n != NULL) {
        struct node *star = n->star;
        node_free(n);
        n = star;
    }
}

/* ---- filters without wildcards ---- */

/* A copy of path with `.` for every `/`, or path itself where there is none. */
static struct str with_dots(struct str path, char *stack, char **heap)
{
    *heap = NULL;
    if (is_object_subject(path) || path.n == 0 || memchr(path.p, '/', path.n) == NULL)
        return path;
    char *copy = path.n <= SUBJECT_STACK ? stack : (*heap = mem_alloc(path.n));
    bytes_str(copy, path);
    for (size_t i = 0; i < path.n; i++) {
        if (copy[i] == '/')
            copy[i] = '.';
    }
    return str_make(copy, path.n);
}

static struct values *exact_get(const struct matcher *m, struct str path)
{
    char stack[SUBJECT_STACK], *heap;
    if (m->exact.count == 0)
        return NULL;
    struct values *v = map_get(&m->exact, with_dots(path, stack, &heap));
    mem_free(heap);
    return v;
}

static void exact_set(struct matcher *m, struct str path, struct values *v)
{
    char stack[SUBJECT_STACK], *heap;
    struct str key = with_dots(path, stack, &heap);
    if (v != NULL)
        map_set(&m->exact, key, v);
    else
        map_remove(&m->exact, key);
    mem_free(heap);
}

/* ---- the matcher ---- */

struct matcher *matcher_new(void)
{
    struct matcher *m = mem_zalloc(sizeof(*m));
    map_draw_key(m->key);
    m->root = node_new(NULL, STR_NONE, 0);
    return m;
}

void matcher_free(struct matcher *m)
{
    if (m == NULL)
        return;
    size_t i = 0;
    for (struct map_entry *e; (e = map_next(&m->exact, &i)) != NULL;)
        mem_free(e->value);
    map_fini(&m->exact);
    for (i = 0; i < m->edges_cap; i++)
        node_free_stars(m->edges[i]);
    mem_free(m->edges);
    node_free_stars(m->root);
    mem_free(m->recent);
    mem_free(m);
}

static void forget_recent(struct matcher *m)
{
    mem_free(m->recent);
    m->recent = NULL;
}

size_t matcher_count(const struct matcher *m)
{
    return m->count;
}

static struct values **trie_add(struct matcher *m, struct str filter, uint32_t value)
{
    struct node *n = m->root;
    for (;;) {
        n->lowest = min_u32(n->lowest, value);
        if (filter.p == NULL)
            return &n->here;
        struct str token = filter_cut(&filter);
        if (str_is(token, ">"))
            return &n->tail;
        n = node_child_make(m, n, token);
    }
}

void matcher_add(struct matcher *m, struct str filter, uint32_t value)
{
    m->count++;
    forget_recent(m);
    if (filter_wildcards(filter) > 0) {
        values_add(trie_add(m, filter, value), value);
        return;
    }
    struct values *before = exact_get(m, filter), *after = before;
    values_add(&after, value);
    if (after != before)
        exact_set(m, filter, after);
}

static bool trie_remove(struct matcher *m, struct str filter, uint32_t value)
{
    struct node *n = m->root;
    bool tail = false;
    while (n != NULL && filter.p != NULL && !tail) {
        struct str token = filter_cut(&filter);
        tail = str_is(token, ">");
        if (!tail)
            n = node_child(m, n, token);
    }
    if (n == NULL || !values_remove(tail ? &n->tail : &n->here, value))
        return false;
    node_prune(m, n);
    return true;
}

static bool exact_remove(struct matcher *m, struct str filter, uint32_t value)
{
    struct values *v = exact_get(m, filter);
    if (v == NULL || values_find(v, value) == v->count)
        return false;
    if (v->count == 1)
        exact_set(m, filter, NULL);
    return values_remove(&v, value);
}

bool matcher_remove(struct matcher *m, struct str filter, uint32_t value)
{
    bool gone = filter_wildcards(filter) > 0 ? trie_remove(m, filter, value)
                                             : exact_remove(m, filter, value);
    m->count -= gone;
    forget_recent(m);
    return gone;
}

/* ---- walking the trie with a subject ---- */

struct step { /* a node still to be visited, and the stars on the way to it */
    const struct node *node;
    uint32_t depth, stars;
};

struct walk {
    const struct matcher *m;
    struct subject subject;
    uint64_t hashes[MATCH_TOKENS_MAX]; /* of the tokens before `hashed` */
    size_t hashed;
    struct step steps[MATCH_TOKENS_MAX + 2]; /* a step is replaced by at most two that are deeper */
    size_t count;
};

static void walk_start(struct walk *w, const struct matcher *m, struct str subject)
{
    w->m = m;
    w->hashed = 0;
    w->count = 1;
    w->steps[0] = (struct step){m->root, 0, 0};
    subject_split(subject, &w->subject);
}

static bool trie_empty(const struct matcher *m)
{
    return node_empty(m->root);
}

static const struct node *walk_literal(struct walk *w, const struct step *s)
{
    if (s->node->literals == 0)
        return NULL;
    for (; w->hashed <= s->depth; w->hashed++)
        w->hashes[w->hashed] = map_hash(w->m->key, subject_token(&w->subject, w->hashed));
    return node_literal(w->m, s->node, subject_token(&w->subject, s->depth), w->hashes[s->depth]);
}

static void walk_push(struct walk *w, const struct node *n, uint32_t depth, uint32_t stars,
                      uint32_t below)
{
    if (n != NULL && n->lowest < below)
        w->steps[w->count++] = (struct step){n, depth, stars};
}

/* Puts the children that this subject leads to and that hold a value below `below`; the one with
 * the lowest value on top. */
static void walk_down(struct walk *w, const struct step *s, uint32_t below)
{
    const struct node *star = s->node->star, *literal = walk_literal(w, s);
    uint32_t starred = s->stars | UINT32_C(1) << s->depth;
    bool star_first = star != NULL && literal != NULL && star->lowest < literal->lowest;
    if (star_first)
        walk_push(w, literal, s->depth + 1, s->stars, below);
    walk_push(w, star, s->depth + 1, starred, below);
    if (!star_first)
        walk_push(w, literal, s->depth + 1, s->stars, below);
}

static bool walk_at_end(const struct walk *w, const struct step *s)
{
    return s->depth == w->subject.count;
}

static void better(const struct values *v, struct match how, uint32_t *best, struct match *best_how)
{
    uint32_t lowest = values_lowest(v);
    if (lowest < *best) {
        *best = lowest;
        *best_how = how;
    }
}

/* The lowest value below `best`, or `best`; *how only where one was found. */
static uint32_t trie_first(const struct matcher *m, struct str subject, uint32_t best, struct match *how)
{
    struct walk w;
    walk_start(&w, m, subject);
    while (w.count > 0) {
        struct step s = w.steps[--w.count];
        if (s.node->lowest >= best)
            continue;
        if (walk_at_end(&w, &s)) {
            if (!w.subject.more)
                better(s.node->here, (struct match){s.stars, MATCH_NONE}, &best, how);
            continue;
        }
        better(s.node->tail, (struct match){s.stars, s.depth}, &best, how);
        walk_down(&w, &s, best);
    }
    return best;
}

static uint32_t search(const struct matcher *m, struct str subject, struct match *how)
{
    uint32_t best = values_lowest(exact_get(m, subject));
    *how = (struct match){0, MATCH_NONE};
    return m->root->lowest < best && !trie_empty(m) ? trie_first(m, subject, best, how) : best;
}

static uint32_t search_recent(struct matcher *m, struct str subject, struct match *how)
{
    if (subject.n > RECENT_SUBJECT_MAX)
        return search(m, subject, how);
    if (m->recent == NULL)
        m->recent = mem_zalloc(sizeof(*m->recent));
    struct recent_entry *e = recent_place(m->recent, subject);
    if (!recent_is(e, subject)) {
        e->value = search(m, subject, &e->how);
        e->length = (uint32_t)subject.n;
        bytes_str(e->subject, subject);
    }
    *how = e->how;
    return e->value;
}

uint32_t matcher_first(struct matcher *m, struct str subject, struct captures *c)
{
    struct match how;
    struct subject split;
    if (c != NULL)
        c->count = 0;
    if (subject.n == 0)
        return MATCH_NONE;
    uint32_t found = search_recent(m, subject, &how);
    if (c != NULL && (how.stars != 0 || how.tail != MATCH_NONE)) {
        subject_split(subject, &split);
        match_captures(&split, &how, c);
    }
    return found;
}

void matcher_all(const struct matcher *m, struct str subject, void (*fn)(void *arg, uint32_t value),
                 void *arg)
{
    struct walk w;
    if (subject.n == 0)
        return;
    values_each(exact_get(m, subject), fn, arg);
    if (trie_empty(m))
        return;
    walk_start(&w, m, subject);
    while (w.count > 0) {
        struct step s = w.steps[--w.count];
        if (!walk_at_end(&w, &s)) {
            values_each(s.node->tail, fn, arg);
            walk_down(&w, &s, MATCH_NONE);
        } else if (!w.subject.more) {
            values_each(s.node->here, fn, arg);
        }
    }
}
