#pragma once
/* The steps from the nodes of a file to a struct config; each reports all it finds. */
#include "base/map.h"
#include "config/tables.h"
#include "config/walk.h"

struct config_index {
    struct map tls, policies, services, endpoints, routes, schedules; /* name -> struct */
};

/* The base of config_parse: with other features than the build's own (tests). */
struct config *config_build(const char *file, struct str text, const struct walk *settings,
                            struct err *err);

/* Sections of named things. `n` is the section's value or NULL. */
void build_tls(struct walk *w, const struct node *n);
void build_endpoints(struct walk *w, const struct node *n);
void build_services(struct walk *w, const struct node *n);
void build_policies(struct walk *w, const struct node *n); /* after endpoints and services */
void build_routes(struct walk *w, const struct node *n);   /* after all of the above */
void build_schedules(struct walk *w, const struct node *n);

/* One item of such a section: its name is checked and put into `index`. NULL = reported. */
const char *build_name(struct walk *w, struct map *index, const struct node *n, void *item);
bool build_section(struct walk *w, const struct node *n, const char *name); /* is it a mapping? */

struct wildcards { /* what a template may name */
    size_t count;
    const char *whose; /* for people: "`match` has" */
};
/* The targets of a route, once the rest of it is known. */
bool build_targets(struct walk *w, const struct node *route, struct route_conf *r);
/* One target. */
bool target_read(struct walk *w, const struct node *n, const struct wildcards *may, struct target_conf *t);
bool target_print(struct printer *p, const struct target_conf *t);
void print_codec(struct printer *p, unsigned codec); /* ", codec: nest", or nothing */
void print_flow(struct printer *p, const struct key *table, const void *base); /* ", key: value"… */
bool target_equal(const struct target_conf *a, const struct target_conf *b);

/* "; did you mean `x`?" among the names of one or two maps (b may be NULL). Appends. */
void suggest_name(const char *word, const struct map *a, const struct map *b, struct buf *out);

/* Is it built in, and one that the transport speaks? t NULL = a service, or one that is not known. */
void check_codec(struct walk *w, const struct node *map, unsigned codec, const struct config_transport *t);
/* Likewise, of one side of a route: fewer asks its transport (NULL = all), and the endpoint's codec counts too. */
struct side {
    unsigned codec;
    const struct endpoint_conf *endpoint; /* NULL = not known, or a service */
    const void *keys; /* the transport's, or NULL */
    const char *(*fewer)(const void *keys, unsigned *codecs);
};
void check_side_codec(struct walk *w, const struct node *map, const struct side *s);

/* A name stands for one log, with one `keep` and `max_size`. */
void check_event_logs(struct walk *w);

/* What no single section can see: endpoints that share an address, names that nothing uses,
 * routes that never match. */
void check_all(struct walk *w);
bool route_conf_equal(const struct route_conf *a, const struct route_conf *b);
