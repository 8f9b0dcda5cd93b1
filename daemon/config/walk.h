#pragma once
/*
 * Tables of keys at work: fills structs from nodes, applies defaults, prints, compares. All
 * problems are collected, so the functions that return bool return it only for their callers'
 * flow: false = reported already.
 */
#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "config/config.h"
#include "config/features.h"
#include "config/node.h"

struct walk {
    struct arena *arena; /* what the structs own */
    struct problems *errors, *warnings;
    struct config *config;
    const struct config_features *features;
    const struct config_transport *const *transports;
};

struct part { /* a table and the struct it fills; a NULL table is legal */
    const struct key *table;
    void *base;
};

/* Fills the parts from a mapping; what is not set gets its default. `lenient`: keys of no table
 * are passed over (where the transport that would own them is not known). */
bool walk_map(struct walk *w, const struct node *n, const struct part *parts, size_t count,
              bool lenient);
bool walk_table(struct walk *w, const struct node *n, const struct key *table, void *base);
void walk_defaults(struct walk *w, const struct key *table, void *base); /* no file involved */

/* "`key` must be …; found …". Returns false. */
bool walk_wrong(struct walk *w, const struct node *n, const char *key, const char *expects);

/* A scalar with its references replaced, in the arena. NULL = reported. */
const char *walk_text(struct walk *w, const struct node *n, const char *key, bool *secret);
/* The same where no secret may stand; names also follow the rule for names. */
const char *walk_open_text(struct walk *w, const struct node *n, const char *key);
const char *walk_lines(struct walk *w, const struct node *n, const char *key); /* the same; line ends and tabs may stand in it */
const char *walk_name(struct walk *w, const struct node *n, const char *key);
bool walk_name_valid(const char *name);
#define WALK_NAME_RULE "letters, digits, `.`, `_` and `-`, at most 64"

/* Collects candidates for "did you mean"; suggest_end appends "; did you mean `x`?" or nothing. */
struct suggest {
    struct str word;
    const char *best;
    unsigned distance;
};
void suggest_try(struct suggest *s, const char *candidate);
void suggest_end(const struct suggest *s, struct buf *out);

/* What a key takes: "a size such as 64KiB, at least 1KiB". Appends. */
void key_expects(const struct key *key, struct buf *out);

struct printer {
    struct buf *out;
    unsigned indent;
    bool reveal; /* secrets too: for comparison only, never for people */
};

void print_indent(struct printer *p);
void print_table(struct printer *p, const struct key *table, const void *base);
void print_text(struct printer *p, const char *text); /* quoted where it must be */
/* One value; false where it is not set (then nothing is appended). Not for KEY_TABLE. */
bool print_value(struct printer *p, const struct key *key, const void *base);

bool table_equal(const struct key *table, const void *a, const void *b);
bool key_equal(const struct key *key, const void *a, const void *b);
bool text_equal(const char *a, const char *b); /* NULL equals only NULL */
