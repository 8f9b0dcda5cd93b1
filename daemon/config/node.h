#pragma once
/*
 * A YAML file as a tree of nodes with their places in the file, and the list of problems found in
 * it. Parsing is strict: one document, no tags, no tabs, no duplicate keys, nesting at most
 * NODE_DEPTH_MAX, at most NODES_MAX nodes after aliases are expanded (an alias shares its anchor's
 * nodes, so that the bound is on the work, not on memory).
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "config/arena.h"
#include "config/schema.h"

#define NODE_DEPTH_MAX 32
#define NODES_MAX 1000000u
#define NODE_FILE_MAX ((size_t)64 << 20) /* bytes of a file: 100,000 routes are 10 MiB */

enum node_kind { NODE_SCALAR, NODE_LIST, NODE_MAP };

struct node {
    const char *key;  /* in a mapping, NUL-terminated; else NULL */
    const char *text; /* of a scalar, NUL-terminated, `${…}` as written; else NULL */
    struct node *first, *next; /* children; the next sibling */
    struct place key_place, place;
    uint32_t key_size, text_size;
    uint32_t count; /* children */
    uint32_t total; /* nodes of this tree, itself included */
    uint8_t kind;   /* enum node_kind */
    uint8_t height; /* levels below it */
    bool plain;     /* a scalar without quotes */
};

struct problem {
    struct place place;
    size_t number;
    char *text;
};

/* Errors or warnings of one file, in the order they were found. At most PROBLEMS_MAX are kept. */
#define PROBLEMS_MAX 1000
struct problems {
    const char *file;
    struct problem *items;
    size_t count, cap, total;
};

/* `text` without place or newline. Returns false, so that a caller can `return problem_add(…)`. */
bool problem_add(struct problems *p, struct place place, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void problems_sort(struct problems *p); /* by place */
void problem_format(const struct problems *p, size_t i, struct buf *out); /* "file:line:column: …" */
void problems_fini(struct problems *p);

/* The root of the document; an empty one gives an empty mapping. Nodes live in `arena`. NULL when
 * the text is no usable YAML at all; duplicate keys are reported and the rest is still returned. */
struct node *node_parse(struct str text, struct arena *arena, struct problems *problems);

const struct node *node_get(const struct node *map, const char *key); /* or NULL; n->kind may be any */
static inline struct str node_text(const struct node *n)
{
    return str_make(n->text, n->text_size);
}
bool node_empty(const struct node *n); /* nothing, `~` or `null`, without quotes */
