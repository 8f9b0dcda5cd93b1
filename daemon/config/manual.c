/* The list of keys that the manual and the samples are held against. */
#include "config/build.h"

static void keys_put(struct buf *out, const char *prefix, const struct key *table)
{
    for (const struct key *k = table; k != NULL && k->name != NULL; k++) {
        struct buf expects = BUF_EMPTY;
        if (k->type == KEY_TABLE) {
            struct buf deeper = BUF_EMPTY;
            buf_printf(&deeper, "%s%s.", prefix, k->name);
            keys_put(out, buf_cstr(&deeper), k->table);
            buf_fini(&deeper);
            continue;
        }
        key_expects(k, &expects);
        buf_printf(out, ".It Cm %s%s\n%s.\n", prefix, k->name, buf_cstr(&expects));
        if ((k->flags & KEY_REQUIRED) != 0)
            buf_puts(out, "Required.\n");
        else if (k->standard != NULL)
            buf_printf(out, "Default:\n.Ql %s .\n", k->standard);
        buf_printf(out, "%s.\n", k->help);
        if ((k->flags & KEY_RESTART) != 0)
            buf_puts(out, "A change needs a restart.\n");
        buf_fini(&expects);
    }
}

void config_keys_print(const struct config_transport *const *transports, struct buf *out)
{
    static const struct { const char *prefix; const struct key *table; } tables[] = {
        {"", config_root_keys},
        {"tls.NAME.", config_tls_keys},
        {"policies.NAME.", config_policy_keys},
        {"services.NAME.", config_service_keys},
        {"endpoints.NAME.", config_endpoint_keys},
        {"routes.from.", config_source_keys},
        {"routes.to.", config_target_keys},
        {"routes.log.", config_event_log_keys},
        {"routes.", config_route_keys},
        {"schedules.NAME.", config_schedule_keys},
    };
    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
        keys_put(out, tables[i].prefix, tables[i].table);
    for (size_t i = 0; transports != NULL && transports[i] != NULL; i++) {
        keys_put(out, "endpoints.NAME.", transports[i]->endpoint_keys);
        keys_put(out, "routes.from.", transports[i]->source_keys);
        keys_put(out, "routes.to.", transports[i]->target_keys);
    }
}
