#include "cli/log.h"

json_t *log_arguments(const char *name, const struct log_selection *s)
{
    const struct { const char *key, *text; } texts[] = {
        { "name", name }, { "from", s->from }, { "to", s->to }, { "match", s->match }, { "key", s->key } };
    json_t *args = json_object();
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (texts[i].text == NULL || json_object_set_new(args, texts[i].key, json_string(texts[i].text)) == 0)
            continue;
        json_decref(args);
        return NULL;
    }
    if (s->limit > 0)
        json_object_set_new(args, "limit", json_integer((json_int_t)s->limit));
    return args;
}
