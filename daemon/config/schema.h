#pragma once
/*
 * Configuration as data. A folder describes its keys in a table of `struct key`; this folder walks
 * the YAML nodes by the table, fills a struct by offsets, and collects every error with its place.
 * The same tables print the effective configuration, the defaults and the manual's list.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum key_type {
    KEY_TEXT,     /* char * (owned), UTF-8 without control characters; `${file:…}` is refused: it would be printed */
    KEY_SECRET,   /* char * (owned), UTF-8 without control characters, masked wherever it is printed */
    KEY_BOOL,     /* bool */
    KEY_COUNT,    /* uint64_t; min … max */
    KEY_DURATION, /* int64_t, ms; "unlimited" = INT64_MAX where KEY_UNLIMITED is set */
    KEY_SIZE,     /* uint64_t, bytes; "unlimited" = UINT64_MAX where KEY_UNLIMITED is set */
    KEY_NUMBER,   /* double */
    KEY_CHOICE,   /* unsigned: the index in choices; a choice "" stands for "not set" */
    KEY_TEXTS,    /* struct texts (owned): a list of texts; one text is a list of one */
    KEY_MODE,     /* unsigned: octal file mode, quoted in YAML ("0660") */
    KEY_TABLE,    /* nested mapping described by `table`, in place at offset */
    KEY_CUSTOM,   /* read, printed and compared by the functions of `custom` */
};

enum key_flag {
    KEY_REQUIRED = 1,
    KEY_UNLIMITED = 2,
    KEY_RESTART = 4, /* a change needs a restart; otherwise reloadable */
    KEY_FILLED = 8,  /* of KEY_TEXTS: an empty list is refused, since it would let in anyone as an absent one does */
};

struct texts {
    char **items; /* NULL = not given; not NULL with count 0 = given as an empty list */
    size_t count;
};

struct place { /* where in the file something stands, from 1; line 0 = nowhere */
    unsigned line, column;
};

struct walk;
struct node;
struct printer;
struct key;

/* A value that no table describes. `base` is the struct that holds it (not offset into). */
struct key_custom {
    const char *expects; /* "`true`, `false` or `{to: …}`" */
    bool (*read)(struct walk *w, const struct key *key, const struct node *n, void *base);
    bool (*print)(struct printer *p, const struct key *key, const void *base); /* false = not set */
    bool (*equal)(const void *a, const void *b);
};

/* NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding): rows are written in this order */
struct key {
    const char *name;
    enum key_type type;
    size_t offset;
    const char *standard; /* default, as the user would write it; NULL = none (zero) */
    double min, max;      /* KEY_COUNT, KEY_DURATION (ms), KEY_SIZE (bytes), KEY_NUMBER; 0, 0 = any */
    unsigned flags;
    const char *const *choices; /* KEY_CHOICE, NULL-terminated */
    const struct key *table;    /* KEY_TABLE; ends with a row whose name is NULL */
    const char *help;           /* one line for the manual */
    const struct key_custom *custom; /* KEY_CUSTOM */
};
