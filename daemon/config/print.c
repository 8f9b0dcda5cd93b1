#include "config/build.h"

static void section_open(struct printer *p, const char *name, size_t count)
{
    buf_printf(p->out, count > 0 ? "\n%s:\n" : "\n%s: {}\n", name);
    p->indent = 2;
}

static void item_open(struct printer *p, const char *name)
{
    p->indent = 2;
    print_indent(p);
    print_text(p, name);
    buf_puts(p->out, ":\n");
    p->indent = 4;
}

static void services_print(struct printer *p, const struct config *c)
{
    section_open(p, "services", 1);
    print_indent(p);
    buf_printf(p->out, "open: %s\n", c->services_open ? "true" : "false");
    for (size_t i = 0; i < c->service_count; i++) {
        item_open(p, c->services[i].name);
        print_table(p, config_service_keys, &c->services[i]);
    }
}

static void endpoint_print(struct printer *p, const struct endpoint_conf *e)
{
    item_open(p, e->name);
    print_table(p, config_endpoint_keys, e);
    if (e->extra != NULL)
        print_table(p, e->transport->endpoint_keys, e->extra);
}

static void route_print(struct printer *p, const struct route_conf *r)
{
    struct buf text = BUF_EMPTY, *out = p->out;
    p->out = &text;
    p->indent = 4;
    print_table(p, config_route_keys, r);
    p->out = out;
    /* Made names hold a `#`, which no given one may: they come out as comments. */
    bool made = strchr(r->name, '#') != NULL;
    struct str rows = buf_str(&text), first = str_cut(&rows, '\n');
    first = str_trim(first);
    buf_printf(out, made ? "  # " STR_FMT "\n" : "  - " STR_FMT "\n", STR_ARG(first));
    while (rows.n > 0) {
        struct str row = str_cut(&rows, '\n');
        if (made && str_starts(row, STR("    from:")))
            buf_printf(out, "  - " STR_FMT "\n", STR_ARG(str_trim(row)));
        else
            buf_printf(out, STR_FMT "\n", STR_ARG(row));
    }
    buf_fini(&text);
}

void config_print(const struct config *c, struct buf *out)
{
    struct printer p = {.out = out};
    print_table(&p, config_root_keys, c);
    section_open(&p, "tls", c->tls_count);
    for (size_t i = 0; i < c->tls_count; i++) {
        item_open(&p, c->tls[i].name);
        print_table(&p, config_tls_keys, &c->tls[i]);
    }
    section_open(&p, "policies", c->policy_count);
    for (size_t i = 0; i < c->policy_count; i++) {
        item_open(&p, c->policies[i].name);
        print_table(&p, config_policy_keys, &c->policies[i]);
    }
    services_print(&p, c);
    section_open(&p, "endpoints", c->endpoint_count);
    for (size_t i = 0; i < c->endpoint_count; i++)
        endpoint_print(&p, &c->endpoints[i]);
    buf_puts(out, c->route_count > 0 ? "\nroutes:\n" : "\nroutes: []\n");
    for (size_t i = 0; i < c->route_count; i++)
        route_print(&p, &c->routes[i]);
    section_open(&p, "schedules", c->schedule_count);
    for (size_t i = 0; i < c->schedule_count; i++) {
        item_open(&p, c->schedules[i].name);
        print_table(&p, config_schedule_keys, &c->schedules[i]);
    }
}
