/* Every error of a file with its exact place and text; what a valid file becomes. */
#include "config_rig.h"

#define CANARY "c4n4ry-s3cret"

/* ---- defaults and values ---- */

START_TEST(empty_file_is_all_defaults)
{
    struct config *c = parse("");
    ck_assert_str_eq(c->local.socket, "/run/bellhop/bellhop.sock");
    ck_assert_uint_eq(c->local.mode, 0660);
    ck_assert_uint_eq(c->store.max_size, UINT64_C(8) << 30);
    ck_assert_uint_eq(c->limits.body, 1 << 20);
    ck_assert_uint_eq(c->limits.queue, 10000);
    ck_assert_uint_eq(c->limits.dead, 1000);
    ck_assert_int_eq(c->limits.drain_timeout_ms, 30000);
    ck_assert_ptr_null(c->admin.http);
    ck_assert(c->services_open);
    ck_assert(*c->node != '\0');
    const struct policy_conf *p = config_policy(c, "default");
    ck_assert_int_eq(p->timeout_ms, 5000);
    ck_assert_int_eq(p->ttl_ms, INT64_MAX);
    ck_assert_uint_eq(p->retry.attempts, 5);
    ck_assert_int_eq(p->retry.max_delay_ms, 30000);
    ck_assert_int_eq(p->breaker.open_for_ms, 10000);
    ck_assert(p->dead_letter && p->idempotent);
    config_free(c);
}
END_TEST

START_TEST(policies_inherit_the_built_in_defaults)
{
    struct config *c = parse("policies:\n  default: { timeout: 1s }\n"
                             "  slow: { retry: { delay: 2s } }\n"
                             "routes:\n  - { from: local, to: x, policy: slow }\n");
    ck_assert_int_eq(config_policy(c, "default")->timeout_ms, 1000);
    ck_assert_int_eq(config_policy(c, "slow")->timeout_ms, 5000);
    ck_assert_int_eq(config_policy(c, "slow")->retry.delay_ms, 2000);
    ck_assert_uint_eq(config_policy(c, "slow")->retry.attempts, 5);
    ck_assert_uint_eq(c->policy_count, 2);
    config_free(c);
}
END_TEST

START_TEST(services_open_or_not)
{
    struct config *c = parse("services: { open: true, math: { users: root, credit: 3 } }\n"
                             "routes: [ { from: local, to: [math, any.name] } ]\n");
    ck_assert(c->services_open);
    ck_assert_uint_eq(c->service_count, 1);
    ck_assert_str_eq(config_service(c, "math")->users.items[0], "root");
    ck_assert(!config_service(c, "math")->has_publish);
    config_free(c);
    c = parse("services: { math: { publish: [] } }\n");
    ck_assert(!c->services_open);
    ck_assert(config_service(c, "math")->has_publish);
    config_free(c);
    c = parse("services:\n");
    ck_assert(!c->services_open);
    config_free(c);
}
END_TEST

static void match_is(const char *yaml, const char *subject)
{
    struct buf text = BUF_EMPTY;
    buf_printf(&text, "routes:\n  - from: local\n    to: x\n    match: %s\n", yaml);
    struct config *c = parse(buf_cstr(&text));
    ck_assert_str_eq(c->routes[0].match, subject);
    config_free(c);
    buf_fini(&text);
}

START_TEST(match_takes_filters_and_patterns)
{
    match_is("\"order.*\"", "order.*");
    match_is("7", "7");
    match_is("{ cmd: sum }", "{\"cmd\":\"sum\"}");
    match_is("{ b: \"1\", a: 1, ok: true, no: null, s: \"true\" }",
             "{\"a\":1,\"b\":\"1\",\"no\":null,\"ok\":true,\"s\":\"true\"}");
    match_is("{ z: { y: 2, x: a } }", "{\"z\":{\"x\":\"a\",\"y\":2}}");
    match_is("'{ \"cmd\" : \"sum\", \"a\": 1 }'", "{\"a\":1,\"cmd\":\"sum\"}");
}
END_TEST

START_TEST(routes_are_named_and_resolved)
{
    struct config *c = parse(EDGE "routes:\n  - { name: one, from: edge, match: a, to: m }\n"
                                  "  - { from: edge, match: \"b.*\", to: { service: m, subject: \"x.{1}\" } }\n");
    ck_assert_str_eq(c->routes[0].name, "one");
    ck_assert_str_eq(c->routes[1].name, "edge#2");
    ck_assert(c->routes[1].to[0].service);
    ck_assert_str_eq(c->routes[1].to[0].subject, "x.{1}");
    ck_assert_ptr_eq(c->routes[0].from_transport, &tcp);
    ck_assert_uint_eq(c->routes[1].place.line, 4);
    config_free(c);
}
END_TEST

START_TEST(urls)
{
    setenv("T_PASS", "p@ss/w:rd", 1);
    struct config *c = parse("endpoints:\n"
                             "  a: { listen: \"tcp://[::1]:4000\" }\n"
                             "  b: { connect: \"tcp://u:${T_PASS}@h:1/p?k=v\" }\n"
                             "  c: { connect: \"tcp://u:a%40b@h:2\" }\n"
                             "  d: { connect: \"${T_URL:-tcp://x:y@z:3}\" }\n");
    ck_assert_str_eq(config_endpoint(c, "a")->url.host, "::1");
    ck_assert_str_eq(config_endpoint(c, "a")->url.text, "tcp://[::1]:4000");
    ck_assert_str_eq(config_endpoint(c, "b")->url.password, "p@ss/w:rd");
    ck_assert_str_eq(config_endpoint(c, "b")->url.text, "tcp://u:********@h:1/p?********");
    ck_assert_str_eq(config_endpoint(c, "c")->url.password, "a@b");
    ck_assert_str_eq(config_endpoint(c, "d")->url.password, "y");
    ck_assert_str_eq(config_endpoint(c, "d")->url.text, "tcp://x:********@z:3");
    config_free(c);
}
END_TEST

START_TEST(anchors_and_aliases)
{
    struct config *c = parse("endpoints:\n  a: &e { listen: \"tcp://127.0.0.1:1\" }\n  b: *e\n"
                             "policies: { x: { retry: &r { attempts: 9 } }, y: { retry: *r } }\n");
    ck_assert_str_eq(config_endpoint(c, "b")->url.port, "1");
    ck_assert_uint_eq(config_policy(c, "y")->retry.attempts, 9);
    config_free(c);
}
END_TEST

/* ---- errors: place and text ---- */

struct refusal {
    const char *text, *error;
};

static const struct refusal refusals[] = {
    {"a: 1\n\tb: 2\n", "t.yaml:2:1: a tab; use spaces (within quotes: \\t)\n"},
    {"node: a\n---\nnode: b\n",
     "t.yaml:2:1: only one document in a file, and this is the second\n"},
    {"node: !x a\n", "t.yaml:1:7: tags such as `!name` are not supported\n"},
    {"node: a\nversion: 1\nnode: b\n", "t.yaml:3:1: duplicate key `node`, first on line 1\n"},
    {"node: *x\n", "t.yaml:1:7: alias `*x` has no anchor `&x` before it\n"},
    {"node: &x [*x]\n", "t.yaml:1:11: alias `*x` has no anchor `&x` before it\n"},
    {"node: \"a\\0b\"\n", "t.yaml:1:7: a NUL byte cannot be part of a value\n"},
    {"node: \xff\n", "t.yaml:1:1: not valid UTF-8\n"},
    {"[1, 2]\n", "t.yaml:1:1: `it` must be a mapping (`key: value`); found a list\n"},
    {"versoin: 1\n",
     "t.yaml:1:1: unknown key `versoin`; did you mean `version`? Allowed: version node local store "
     "admin log tracing limits drain_timeout tls policies services endpoints routes schedules\n"},
    {"log: { verbose: 1 }\n", "t.yaml:1:8: unknown key `verbose`; allowed: level format file\n"},
    {"version: 2\n", "t.yaml:1:10: `version` must be a whole number, from 1 to 1; found `2`\n"},
    {"node:\n", "t.yaml:1:6: `node` must be text; found nothing\n"},
    {"node: \"\"\n",
     "t.yaml:1:7: `node` must be text without control characters; found an empty text\n"},
    {"log: { level: loud }\n",
     "t.yaml:1:15: `level` must be one of error, warn, info, debug; found `loud`\n"},
    {"limits: { body: 12 }\n", "t.yaml:1:17: `body` must be a size with its unit, such as 64KiB or "
                               "4MiB, from 1KiB to 64MiB; found `12`\n"},
    {"drain_timeout: 5\n", "t.yaml:1:16: `drain_timeout` must be a duration with its unit, such as "
                           "250ms, 5s or 1h30m, from 0s to 1d; found `5`\n"},
    {"drain_timeout: unlimited\n",
     "t.yaml:1:16: `drain_timeout` must be a duration with its unit, such as 250ms, 5s or 1h30m, "
     "from 0s to 1d; found `unlimited`\n"},
    {"tracing: { sample: 2 }\n", "t.yaml:1:20: `sample` must be a number, from 0 to 1; found `2`\n"},
    {"local: { mode: rw }\n",
     "t.yaml:1:16: `mode` must be an octal file mode such as \"0660\"; found `rw`\n"},
    {"limits: [1]\n", "t.yaml:1:9: `limits` must be a mapping (`key: value`); found a list\n"},
    {"limits: { clients: {} }\n",
     "t.yaml:1:20: `clients` must be a whole number, from 1 to 1000000; found a mapping\n"},
    {"node: ${T_NOT_THERE}\n",
     "t.yaml:1:7: `node`: `${T_NOT_THERE}` is not set in the environment; `${NAME:-default}` gives a "
     "default\n"},
    {"node: ${file:/etc/hostname}\n",
     "t.yaml:1:7: `node` cannot come from `${file:…}`: it is no secret\n"},
    {"node: ${file:/nonexistent/x}\n",
     "t.yaml:1:7: `node`: `${file:/nonexistent/x}`: No such file or directory\n"},
    {"node: \"${A:-${B}}\"\n",
     "t.yaml:1:7: `node`: a reference is `${NAME}`, `${NAME:-default}` or `${file:PATH}`, not nested; "
     "a literal `$` is `$$`\n"},
    {"node: \"${A\"\n", "t.yaml:1:7: `node`: `${` without its `}`; a literal `$` is `$$`\n"},
    {"admin: { http: nonsense }\n",
     "t.yaml:1:16: `http` must be an address and a port such as 127.0.0.1:9180; found `nonsense`\n"},
    {"tracing: { otlp: x }\n", "t.yaml:1:12: `otlp` is not built in yet: trace context is carried, "
                               "spans are not exported\n"},
    {"tls: { m: {} }\n", "t.yaml:1:8: tls profile `m`: `verify: mutual` (the default) needs `ca`, "
                         "`cert` and `key`\n"},
    {"tls: { m: { verify: none, cert: a } }\n",
     "t.yaml:1:8: tls profile `m`: `cert` and `key` go together\n"},
    {"endpoints: { a: {} }\n", "t.yaml:1:14: endpoint `a` must have `listen` or `connect`\n"},
    {"endpoints: { a: { listen: \"tcp://127.0.0.1:1\", connect: \"tcp://h:1\" } }\n",
     "t.yaml:1:14: endpoint `a` must have only one of `listen` and `connect`\n"},
    {"endpoints: { a: { conect: \"tcp://h:1\" } }\n",
     "t.yaml:1:19: unknown key `conect`; did you mean `connect`? Endpoint `a` must have `listen` or `connect`\n"},
    {"tls: { m: { ca: a, cert: a, key: a, peers: [] } }\n",
     "t.yaml:1:44: `peers` must be a list of texts; found an empty list: leave it out where anyone may\n"},
    {"services: { a: { users: [], groups: [] } }\n",
     "t.yaml:1:25: `users` must be a list of texts; found an empty list: leave it out where anyone may\n"
     "t.yaml:1:37: `groups` must be a list of texts; found an empty list: leave it out where anyone may\n"},
    {"endpoints: { a: { connect: \"redis://h:1\", db: 3 } }\n",
     "t.yaml:1:28: `connect`: transport `redis` is not built in; built in are: tcp, tls\n"},
    {"endpoints: { a: { connect: \"tpc://h:1\" } }\n",
     "t.yaml:1:28: `connect`: there is no transport `tpc`; did you mean `tcp`? Built in are: tcp, "
     "tls\n"},
    {"endpoints: { a: { connect: \"h:1\" } }\n", "t.yaml:1:28: `connect` must be a URL such as "
                                                "`tcp://127.0.0.1:4000`; this has no `://`\n"},
    {"endpoints: { a: { connect: \"tcp://h\" } }\n",
     "t.yaml:1:28: `connect` needs a port: tcp://HOST:PORT\n"},
    {"endpoints: { a: { connect: \"tcp://h:0\" } }\n",
     "t.yaml:1:28: `connect` needs a port other than 0\n"},
    {"endpoints: { a: { connect: \"tcp://h:x\" } }\n",
     "t.yaml:1:28: `connect` must be a URL such as `tcp://127.0.0.1:4000`: its port is not a number "
     "from 0 to 65535\n"},
    {"endpoints: { a: { connect: [\"tcp://h:1\", \"tls://h:2\"] } }\n",
     "t.yaml:1:42: `connect`: all addresses must have one scheme; found tcp and tls\n"},
    {"endpoints: { a: { connect: [] } }\n",
     "t.yaml:1:28: `connect` must be a URL such as tcp://127.0.0.1:4000 (`connect`: or a list of them); "
     "found a list\n"},
    {"endpoints: { a: { connect: [\"tcp://h:1\", \"tcp://h\"] } }\n",
     "t.yaml:1:28: `connect` needs a port: tcp://HOST:PORT\n"},
    {"endpoints: { a: { connect: \"tls://h:1\" } }\n",
     "t.yaml:1:28: `tls://` needs a profile: `tls: NAME`\n"},
    {"endpoints: { a: { connect: \"tls://h:1\", tls: mash } }\n"
     "tls: { mesh: { verify: server } }\n",
     "t.yaml:1:46: there is no tls profile `mash`; did you mean `mesh`?\n"},
    {"endpoints: { a: { listen: \"tls://h:1\", tls: m } }\ntls: { m: { verify: server } }\n",
     "t.yaml:1:45: tls profile `m` has no `cert` and `key`, which a listener needs\n"},
    {"endpoints: { a: { connect: \"tcp://h:1\", tls: m } }\ntls: { m: { verify: server } }\n",
     "t.yaml:1:41: `tls` on a plain `tcp://` URL; a URL with TLS has another scheme: `tls://`\n"},
    {"endpoints: { a: { listen: \"tcp://0.0.0.0:1\" } }\n",
     "t.yaml:1:27: listens beyond loopback without TLS; use `tls://` with a profile, or say "
     "`insecure: true`\n"},
    {"endpoints: { local: { listen: \"tcp://localhost:1\" } }\n",
     "t.yaml:1:14: `local` is what routes call the local services; no endpoint can have the name\n"},
    {"endpoints: { \"a b\": { listen: \"tcp://localhost:1\" } }\n",
     "t.yaml:1:14: not a name: letters, digits, `.`, `_` and `-`, at most 64\n"},
    {EDGE "services: { edge: {} }\n",
     "t.yaml:2:13: `edge` is an endpoint already: a route could not tell them apart\n"},
    {"services: { a: { order_by: \"header:Key\" } }\n",
     "t.yaml:1:28: `order_by` must be `header:` and the name of a header, or `json:` and a member of the body "
     "(`json:order.customer`); found `header:Key`\n"},
    {"services: { a: { order_by: \"json:a..b\" } }\n",
     "t.yaml:1:28: `order_by` must be `header:` and the name of a header, or `json:` and a member of the body "
     "(`json:order.customer`); found `json:a..b`\n"},
    {"services: { a: { publish: [\"a.>.b\"] } }\n", NULL},
    {"routes:\n  - { from: local, to: m, dedupe: { by: id } }\n",
     "t.yaml:2:35: `dedupe` needs `durable: true`: what came is recorded with the message\n"},
    {"routes:\n  - { from: local, to: m, durable: true, dedupe: { by: ids } }\n",
     "t.yaml:2:56: `by` must be id, or `header:` and the name of a header; found `ids`\n"},
    {"routes:\n  - { from: local, to: m, durable: true, dedupe: { by: \"header:\" } }\n", NULL},
    {"routes:\n  - { from: local, to: m, durable: true, dedupe: { window: 5m } }\n",
     "t.yaml:2:50: the key `by` is missing\n"},
    {"routes:\n  - { from: local, to: m, durable: true, dedupe: { by: id, window: 8d } }\n",
     "t.yaml:2:68: `window` must be a duration with its unit, such as 250ms, 5s or 1h30m, from 1ms to 7d; found `8d`\n"},
    {"routes:\n  - { from: local, to: m, durable: true, dedupe: id }\n",
     "t.yaml:2:50: `dedupe` must be a mapping (`key: value`); found `id`\n"},
    {EDGE "routes:\n  - { from: egde, to: m }\n",
     "t.yaml:3:13: there is no endpoint `egde`; did you mean `edge`?\n"},
    {EDGE "routes:\n  - { to: m }\n", "t.yaml:3:5: the key `from` is missing\n"},
    {EDGE "routes:\n  - { from: edge }\n", "t.yaml:3:5: the key `to` is missing\n"},
    {EDGE "services: { math: {} }\nroutes:\n  - { from: edge, to: mth }\n",
     "t.yaml:4:23: there is no service or endpoint `mth`; did you mean `math`?\n"},
    {EDGE "services: { open: true, a: {} }\nroutes:\n  - { from: local, to: { service: edge } }\n",
     "t.yaml:4:35: there is no service `edge`: it is an endpoint\n"},
    {EDGE "routes:\n  - { from: local, to: { service: a, endpoint: edge } }\n",
     "t.yaml:3:24: a target has one of the keys `endpoint` and `service`, not both\n"},
    {EDGE "routes:\n  - { from: local, to: { subject: a } }\n",
     "t.yaml:3:24: a target needs one of the keys `endpoint` and `service`\n"},
    {EDGE "routes:\n  - { from: local, to: edge }\n",
     "t.yaml:3:24: nothing can be sent to `edge`: it listens, and its peers get only replies\n"},
    {"endpoints: { s: { connect: \"tcp://h:1\" } }\nroutes:\n  - { from: s, to: m }\n",
     "t.yaml:3:13: nothing comes from `s`: it connects, and `tcp` peers send only replies\n"},
    {EDGE "routes:\n  - { from: edge, to: m, policy: defualt }\n",
     "t.yaml:3:34: there is no policy `defualt`; did you mean `default`?\n"},
    {EDGE "routes:\n  - { name: a, from: edge, match: a, to: m }\n  - { name: a, from: edge, to: m }\n",
     "t.yaml:4:13: a route named `a` stands on line 3 already\n"},
    {EDGE "routes:\n  - { from: edge, to: [] }\n",
     "t.yaml:3:23: `to` must name 1 to 1000 targets; found 0\n"},
    {EDGE "routes:\n  - { from: edge, to: [m, m] }\n",
     "t.yaml:3:27: `m` is the same target as on line 3, column 24: each message would go there twice\n"},
    {EDGE "routes:\n  - { from: edge, match: \"a.*\", to: [m, { service: m, subject: x }, { service: m }] }\n",
     "t.yaml:3:80: `m` is the same target as on line 3, column 38: each message would go there twice\n"},
    {EDGE "routes:\n  - from: edge\n    match: \"a.*\"\n    to: [{ service: m, subject: \"b.{1}\" }, { service: m, subject: "
          "\"b.{1}\" }]\n",
     "t.yaml:5:55: `m` is the same target as on line 5, column 21: each message would go there twice\n"},
    {EDGE "routes:\n  - { from: edge, to: [{ service: m, subject: \"{1}\" }, m] }\n",
     "t.yaml:3:56: `m` is the same target as on line 3, column 35: each message would go there twice\n"},
    {EDGE "routes:\n  - { from: edge, match: {a: 1}, to: [m, { service: m, subject: '{\"a\":1}' }] }\n",
     "t.yaml:3:53: `m` is the same target as on line 3, column 39: each message would go there twice\n"},
    {EDGE "routes:\n  - { from: edge, match: created, to: [m, { service: m, subject: created }] }\n",
     "t.yaml:3:54: `m` is the same target as on line 3, column 40: each message would go there twice\n"},
    {EDGE "routes:\n  - { from: edge, match: [a], to: m }\n",
     "t.yaml:3:26: `match` must be a subject filter such as \"order.*\", or an object pattern such as "
     "{ cmd: sum }; found a list\n"},
    {EDGE "routes:\n  - { from: edge, match: '{\"a\":', to: m }\n", NULL},
    {EDGE "routes:\n  - { from: edge, match: \"a..b\", to: m }\n", NULL},
    {EDGE "routes:\n  - { from: edge, match: {a: {b: {c: {d: {e: {f: 1}}}}}}, to: m }\n",
     "t.yaml:3:26: `match` is not a subject filter or object pattern: at most 5 levels deep, 20 "
     "members an object\n"},
    {EDGE "routes:\n  - { from: edge, match: \"a.*\", to: { service: m, subject: \"{2}\" } }\n", NULL},
    {"routes: { a: 1 }\n", "t.yaml:1:9: `routes` must be a list of routes (`- from: …`); found a mapping\n"},
    {"policies: { p: { dead_letter: maybe } }\n",
     "t.yaml:1:31: `dead_letter` must be true, false or {to: TARGET}; found `maybe`\n"},
    {"policies: { p: { retry: { delay: 1m } } }\n",
     "t.yaml:1:13: policy `p`: retry.max_delay is shorter than retry.delay\n"},
    {EDGE "routes:\n  - { from: edge, to: { service: m, codec: raw } }\n",
     "t.yaml:3:44: `codec` is for endpoints; a service gets headers and body as they are\n"},
    {"endpoints: { edge: { listen: \"tcp://127.0.0.1:4000\", codec: cloudevents } }\n",
     "t.yaml:1:61: `codec`: transport `tcp` speaks nest\n"},
    {"local: { socket: /a }\nadmin: { socket: /a }\n",
     "t.yaml:1:1: `local.socket` and `admin.socket` are the same: /a\n"},
};

START_TEST(errors_have_place_and_text)
{
    const struct refusal *r = &refusals[_i];
    struct err err = {0};
    if (r->error != NULL) {
        refused(r->text, r->error);
        return;
    }
    /* The reason is another module's text; the place and the key are ours. */
    ck_assert_ptr_null(config_parse("t.yaml", str_of(r->text), real, &err));
    ck_assert_uint_eq(err.total, 1);
    ck_assert_ptr_nonnull(strstr(err.texts[0], "t.yaml:"));
    ck_assert_ptr_nonnull(strchr(err.texts[0], '`'));
    err_fini(&err);
}
END_TEST

START_TEST(all_errors_at_once_in_order)
{
    refused("limits: { body: 1, clients: x }\n"
            "nod: a\n"
            "endpoints:\n  a: { listen: \"tcp://1.2.3.4:1\", inseqre: true }\n"
            "routes:\n  - { from: b, to: c, policy: d }\n"
            "version: 9\n",
            "t.yaml:1:17: `body` must be a size with its unit, such as 64KiB or 4MiB, from 1KiB to "
            "64MiB; found `1`\n"
            "t.yaml:1:29: `clients` must be a whole number, from 1 to 1000000; found `x`\n"
            "t.yaml:2:1: unknown key `nod`; did you mean `node`? Allowed: version node local store "
            "admin log tracing limits drain_timeout tls policies services endpoints routes schedules\n"
            "t.yaml:4:16: listens beyond loopback without TLS; use `tls://` with a profile, or say "
            "`insecure: true`\n"
            "t.yaml:4:35: unknown key `inseqre`; did you mean `insecure`? Allowed: listen connect "
            "tls insecure codec\n"
            "t.yaml:6:13: there is no endpoint `b`; local services are `local`\n"
            "t.yaml:6:31: there is no policy `d`\n"
            "t.yaml:7:10: `version` must be a whole number, from 1 to 1; found `9`\n");
}
END_TEST

START_TEST(too_many_errors_are_counted)
{
    struct buf text = BUF_EMPTY;
    struct err err = {0};
    for (int i = 0; i < 3000; i++)
        buf_printf(&text, "x%d: 1\n", i);
    ck_assert_ptr_null(config_parse("t.yaml", buf_str(&text), real, &err));
    ck_assert_uint_eq(err.count, ERR_MAX);
    ck_assert_uint_eq(err.total, 3000);
    err_fini(&err);
    buf_fini(&text);
}
END_TEST

/* ---- warnings ---- */

START_TEST(warnings)
{
    warned(EDGE "routes:\n  - { name: w, from: edge, match: \"a.>\", to: m }\n"
                "  - { name: n, from: edge, match: \"a.*.c\", to: m }\n"
                "  - { name: l, from: local, match: \"a.*.c\", to: m }\n",
           "t.yaml:4:5: route `n` never matches: `w` on line 3 takes all that it could\n");
    warned(EDGE "routes:\n  - { from: edge, to: m }\n  - { from: edge, match: {a: 1}, to: m }\n",
           "t.yaml:4:5: route `edge#2` never matches: `edge#1` on line 3 takes all that it could\n");
    warned(EDGE "routes:\n  - { from: edge, match: \"a.*\", to: m }\n"
                "  - { from: edge, match: \"a.>\", to: m }\n",
           "");
    warned(EDGE "tls: { m: { verify: none } }\npolicies: { p: {} }\nservices: { s: {} }\n",
           "t.yaml:1:14: nothing uses the endpoint `edge`\n"
           "t.yaml:2:8: tls profile `m`: `verify: none` lets anyone be at the other end\n"
           "t.yaml:2:8: nothing uses the tls profile `m`\n"
           "t.yaml:3:13: nothing uses the policy `p`\n"
           "t.yaml:4:13: nothing uses the service `s`\n");
    warned("services: { s: {}, caller: {} }\nroutes: [ { from: local, to: s } ]\n", "");
    warned(EDGE "routes: [ { from: edge, match: \"a.*\", to: [m, { service: m, subject: \"a.{1}\" }] } ]\n",
           "t.yaml:2:58: `m` is the same target as on line 2, column 44, unless a subject has other separators than `match`: "
           "each message goes there twice\n");
    warned(EDGE "routes: [ { from: edge, match: \"a.*\", to: [m, { service: m, subject: \"b.{1}\" }] } ]\n", "");
    warned("endpoints:\n  a: { listen: \"tcp://127.0.0.1:1\" }\n  b: { listen: \"tcp://127.0.0.1:1\" }\n"
           "routes: [ { from: a, to: m }, { from: b, to: m } ]\n",
           "t.yaml:3:3: endpoints `a` and `b` share an address: tcp://127.0.0.1:1\n");
}
END_TEST

/* ---- bombs ---- */

START_TEST(alias_bomb)
{
    struct buf text = BUF_EMPTY;
    struct err err = {0};
    buf_puts(&text, "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for (int i = 1; i < 12; i++)
        buf_printf(&text, "a%d: &a%d [*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d]\n", i, i,
                   i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
    ck_assert_ptr_null(config_parse("t.yaml", buf_str(&text), real, &err));
    ck_assert_uint_eq(err.total, 1);
    ck_assert_ptr_nonnull(strstr(err.texts[0], "more than 1000000 values"));
    err_fini(&err);
    buf_fini(&text);
}
END_TEST

START_TEST(depth)
{
    struct buf text = BUF_EMPTY;
    struct err err = {0};
    buf_puts(&text, "node: ");
    for (int i = 0; i < 100000; i++)
        buf_putc(&text, '[');
    ck_assert_ptr_null(config_parse("t.yaml", buf_str(&text), real, &err));
    ck_assert_uint_eq(err.total, 1);
    ck_assert_str_eq(err.texts[0], "t.yaml:1:38: nested deeper than 32 levels");
    err_fini(&err);
    buf_clear(&text);
    buf_puts(&text, "a0: &a0 [[[[[[[[[[x]]]]]]]]]]\na1: &a1 [[[[[[[[[[*a0]]]]]]]]]]\n"
                    "a2: [[[[[[[[[[[[*a1]]]]]]]]]]]]\n");
    ck_assert_ptr_null(config_parse("t.yaml", buf_str(&text), real, &err));
    ck_assert_str_eq(err.texts[0], "t.yaml:3:17: nested deeper than 32 levels");
    err_fini(&err);
    buf_fini(&text);
}
END_TEST

/* ---- secrets ---- */

static char canary_file[] = "/tmp/bellhop-test-XXXXXX"; /* made in main(), before tests fork */

static bool canary_make(void)
{
    int fd = mkstemp(canary_file);
    bool ok = fd >= 0 && write(fd, CANARY "\n", sizeof(CANARY)) == (ssize_t)sizeof(CANARY);
    if (fd >= 0)
        close(fd);
    return ok;
}

START_TEST(secrets_are_read_and_never_printed)
{
    struct buf text = BUF_EMPTY;
    const char *path = canary_file;
    buf_printf(&text,
               "services:\n  a: { token: \"${file:%s}\" }\n  b: { token: " CANARY " }\n"
               "endpoints:\n  e: { connect: \"tcp://u:${file:%s}@h:1\" }\n"
               "  f: { connect: \"tcp://u:" CANARY "@h:2\" }\n"
               "  g: { connect: \"tcp://${file:%s}@h:3\" }\n",
               path, path, path);
    struct config *c = parse(buf_cstr(&text));
    ck_assert_str_eq(config_service(c, "a")->token, CANARY);
    ck_assert_str_eq(config_endpoint(c, "e")->url.password, CANARY);
    char *out = printed(c);
    ck_assert_ptr_null(strstr(out, CANARY));
    ck_assert_ptr_nonnull(strstr(out, "token: \"********\""));
    mem_free(out);
    struct config *empty = parse("");
    struct texts lines = {0};
    config_diff(empty, c, &lines);
    config_diff(c, empty, &lines);
    for (size_t i = 0; i < lines.count; i++)
        ck_assert_ptr_null(strstr(lines.items[i], CANARY));
    for (size_t i = 0; i < c->warnings.count; i++)
        ck_assert_ptr_null(strstr(c->warnings.items[i], CANARY));
    texts_fini(&lines);
    config_free(empty);
    config_free(c);
    buf_fini(&text);
}
END_TEST

/* Wherever a secret stands, right or wrong: no message holds it. */
START_TEST(secrets_are_never_in_errors)
{
    static const char *const places[] = {
        "services: { a: { token: [%s] } }",
        "services: { a: { tokn: %s, credit: %s } }",
        "services: { a: { token: %s, credit: x } }",
        "node: %s\nversion: 3",
        "limits: { body: %s }",
        "log: { level: %s }",
        "policies: { p: { dead_letter: %s } }",
        "admin: { http: %s }",
        "endpoints: { a: { connect: \"tcp://u:%s@\" } }",
        "endpoints: { a: { connect: \"redis://u:%s@h:1\" } }",
        "endpoints: { a: { connect: \"rdis://:%s@h:1\" } }",
        "endpoints: { a: { connect: \"u:%s@h:1\" } }",
        "endpoints: { a: { connect: \"tcp://u:%s@h:x\" } }",
        "endpoints: { a: { connect: \"tcp://h:1/%s\", listen: \"x://%s\" } }",
        "endpoints: { a: { listen: \"tcp://u:%s@1.2.3.4:1\" } }",
        "endpoints: { a: { listen: \"tls://u:%s@1.2.3.4:1\", tls: %s } }",
        "endpoints: { a: { connect: %s } }",
        "routes: [ { from: %s, match: %s, to: %s } ]",
        "routes: [ { name: %s, from: local, policy: %s, to: { endpoint: %s, subject: %s } } ]",
        "services: { a: { publish: [%s..x] } }",
    };
    struct buf secret = BUF_EMPTY;
    buf_printf(&secret, "${file:%s}", canary_file);
    struct buf text = BUF_EMPTY;
    for (const char *p = places[_i]; *p != '\0'; p++) {
        if (p[0] == '%' && p[1] == 's') {
            bool quoted = memchr(places[_i], '"', strlen(places[_i])) != NULL && p[-1] != ' ' && p[-1] != '[';
            buf_printf(&text, quoted ? "%s" : "\"%s\"", buf_cstr(&secret));
            p++;
        } else {
            buf_putc(&text, *p);
        }
    }
    struct err err = {0};
    struct config *c = config_parse("t.yaml", buf_str(&text), real, &err);
    ck_assert_ptr_null(c);
    for (size_t i = 0; i < err.count; i++)
        ck_assert_msg(strstr(err.texts[i], CANARY) == NULL, "%s", err.texts[i]);
    err_fini(&err);
    buf_fini(&text);
    buf_fini(&secret);
}
END_TEST

START_TEST(literal_passwords_are_never_in_errors)
{
    static const char *const texts[] = {
        "endpoints: { a: { connect: \"tcp://u:" CANARY "@h:x\" } }",
        "endpoints: { a: { connect: \"redis://u:" CANARY "@h:1\" } }",
        "endpoints: { a: { connect: \"u:" CANARY "@h:1\" } }",
        "endpoints: { a: { connect: \"tcp://u:a/" CANARY "@h:1\" } }",
        "services: { a: { token: " CANARY ", order_by: x } }",
        "services: { a: { token: { " CANARY ": 1 } } }",
    };
    struct err err = {0};
    ck_assert_ptr_null(config_parse("t.yaml", str_of(texts[_i]), real, &err));
    ck_assert_uint_ge(err.count, 1);
    for (size_t i = 0; i < err.count; i++)
        ck_assert_msg(strstr(err.texts[i], CANARY) == NULL, "%s", err.texts[i]);
    err_fini(&err);
}
END_TEST

/* ---- print, diff ---- */

START_TEST(print_can_be_read_again)
{
    const char *text = EDGE "tls: { m: { ca: a, cert: b, key: \"c d$$\", peers: [\"x*\", y] } }\n"
                            "services: { open: true, s: { publish: [], users: [a, b] } }\n"
                            "policies: { p: { ttl: 7d, dead_letter: { to: s } } }\n"
                            "routes:\n  - { from: edge, match: {cmd: sum}, to: [s, t] }\n"
                            "  - { name: n, from: local, policy: p, match: \"x.*\", "
                            "to: { service: s, subject: \"a.{1}\" } }\n";
    struct config *a = parse(text);
    char *once = printed(a);
    struct config *b = parse(once);
    char *twice = printed(b);
    ck_assert_str_eq(once, twice);
    ck_assert_str_eq(b->tls[0].key, "c d$");
    struct texts lines = {0};
    config_diff(a, b, &lines);
    ck_assert_uint_eq(lines.count, 0);
    mem_free(once);
    mem_free(twice);
    config_free(a);
    config_free(b);
}
END_TEST

START_TEST(diff)
{
    static const char *const expected[] = {
        "limits.body: 1MiB -> 2MiB (needs a restart)",
        "log.level: info -> debug",
        "services open: true -> false",
        "service math: added",
        "endpoint edge: changed",
        "endpoint gone: removed",
        "route a: removed",
        "route b: changed",
        "route new: added",
    };
    struct config *a = parse("endpoints: { edge: { listen: \"tcp://127.0.0.1:1\" }, "
                             "gone: { listen: \"tcp://127.0.0.1:2\" } }\n"
                             "routes: [ { name: a, from: edge, match: x, to: math }, "
                             "{ name: b, from: local, to: math } ]\n");
    struct config *b = parse("endpoints: { edge: { listen: \"tcp://127.0.0.1:3\" } }\n"
                             "services: { math: {} }\nlimits: { body: 2MiB }\nlog: { level: debug }\n"
                             "routes: [ { name: b, from: local, match: z, to: math }, "
                             "{ name: new, from: edge, to: math } ]\n");
    struct texts lines = {0};
    config_diff(a, b, &lines);
    size_t count = sizeof(expected) / sizeof(expected[0]);
    ck_assert_uint_eq(lines.count, count);
    for (size_t i = 0; i < count; i++) {
        bool found = false;
        for (size_t j = 0; j < lines.count; j++)
            found |= strcmp(lines.items[j], expected[i]) == 0;
        ck_assert_msg(found, "missing: %s", expected[i]);
    }
    config_keep(b, a);
    ck_assert_uint_eq(b->limits.body, 1 << 20);
    ck_assert_uint_eq(b->log.level, 3); /* debug */
    texts_fini(&lines);
    config_free(a);
    config_free(b);
    a = parse("node: old\nlocal: { mode: \"0600\" }\n");
    b = parse("local: { group: g }\nadmin: { http: \"127.0.0.1:1\" }\n");
    config_keep(b, a);
    config_free(a);
    ck_assert_str_eq(b->node, "old");
    ck_assert_uint_eq(b->local.mode, 0600);
    ck_assert(b->local.group == NULL && b->admin.http == NULL);
    config_free(b);
    a = parse("routes: [ { name: a, from: local, match: x, to: m }, { name: b, from: local, to: m } ]");
    b = parse("routes: [ { name: b, from: local, to: m }, { name: a, from: local, match: x, to: m } ]");
    config_diff(a, b, &lines);
    ck_assert_uint_eq(lines.count, 1);
    ck_assert_str_eq(lines.items[0], "routes: in another order");
    texts_fini(&lines);
    config_free(a);
    config_free(b);
}
END_TEST

static void ids_are(const struct ids *ids, const unsigned *wanted, size_t count)
{
    ck_assert_uint_eq(ids->count, count);
    for (size_t i = 0; i < count; i++)
        ck_assert_uint_eq(ids->items[i], wanted[i]);
}

START_TEST(users_become_numbers)
{
    struct config *c = parse("services:\n  a: { publish: [], users: [root, \"77\", no-such.user, \"4294967295\"] }\n"
                             "  b: { publish: [], groups: [no-such.group, root, \"78\"] }\n"
                             "  c: { publish: [] }\n");
    ck_assert_uint_eq(c->warnings.count, 0);
    config_find_users(c);
    ids_are(&config_service(c, "a")->uids, (unsigned[]){0, 77}, 2);
    ids_are(&config_service(c, "a")->gids, NULL, 0);
    ids_are(&config_service(c, "b")->gids, (unsigned[]){0, 78}, 2);
    ck_assert_uint_eq(c->warnings.count, 3);
    ck_assert_str_eq(c->warnings.items[0],
                     "t.yaml:2:3: service `a`: this host knows no user `no-such.user`: nobody attaches by it until it "
                     "does and the configuration is read again");
    ck_assert_ptr_nonnull(strstr(c->warnings.items[1], "no user `4294967295`"));
    ck_assert_ptr_nonnull(strstr(c->warnings.items[2], "t.yaml:3:3: service `b`: this host knows no group `no-such.group`"));
    config_free(c);
    c = parse("local: { group: root }\nadmin: { group: no-such.group }\n");
    config_find_users(c);
    ck_assert_uint_eq(c->warnings.count, 1);
    ck_assert_str_eq(c->warnings.items[0],
                     "t.yaml: `admin.group`: this host knows no group `no-such.group`, and the socket needs it");
    config_free(c);
}
END_TEST

START_TEST(certificates_that_cannot_be_read)
{
    struct config *c = parse("tls:\n  m: { ca: /etc/passwd, cert: /nonexistent/c.pem, key: /nonexistent/k.pem }\n");
    size_t before = c->warnings.count;
    config_find_files(c);
    ck_assert_uint_eq(c->warnings.count, before + 2);
    ck_assert_str_eq(c->warnings.items[before],
                     "t.yaml:2:3: tls profile `m`: cert /nonexistent/c.pem: No such file or directory");
    config_free(c);
}
END_TEST

START_TEST(files_that_cannot_be_read)
{
    struct err err = {0};
    ck_assert_ptr_null(config_load("/nonexistent/x.yaml", real, &err));
    ck_assert_str_eq(err.texts[0], "/nonexistent/x.yaml: No such file or directory");
    err_fini(&err);
    ck_assert_ptr_null(config_load("/", real, &err));
    ck_assert_str_eq(err.texts[0], "/: Is a directory");
    err_fini(&err);
}
END_TEST

static Suite *config_suite(void)
{
    Suite *s = suite_create("config");
    TCase *values = tcase_create("values"), *errors = tcase_create("errors");
    tcase_add_test(values, empty_file_is_all_defaults);
    tcase_add_test(values, policies_inherit_the_built_in_defaults);
    tcase_add_test(values, services_open_or_not);
    tcase_add_test(values, match_takes_filters_and_patterns);
    tcase_add_test(values, routes_are_named_and_resolved);
    tcase_add_test(values, urls);
    tcase_add_test(values, anchors_and_aliases);
    tcase_add_test(values, print_can_be_read_again);
    tcase_add_test(values, diff);
    tcase_add_loop_test(errors, errors_have_place_and_text, 0,
                        (int)(sizeof(refusals) / sizeof(refusals[0])));
    tcase_add_test(errors, all_errors_at_once_in_order);
    tcase_add_test(errors, too_many_errors_are_counted);
    tcase_add_test(errors, warnings);
    tcase_add_test(errors, users_become_numbers);
    tcase_add_test(errors, alias_bomb);
    tcase_add_test(errors, depth);
    tcase_add_test(errors, secrets_are_read_and_never_printed);
    tcase_add_loop_test(errors, secrets_are_never_in_errors, 0, 20);
    tcase_add_loop_test(errors, literal_passwords_are_never_in_errors, 0, 6);
    tcase_add_test(errors, certificates_that_cannot_be_read);
    tcase_add_test(errors, files_that_cannot_be_read);
    suite_add_tcase(s, values);
    suite_add_tcase(s, errors);
    return s;
}

int main(void)
{
    SRunner *r = srunner_create(config_suite());
    if (!canary_make())
        return EXIT_FAILURE;
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    unlink(canary_file);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
