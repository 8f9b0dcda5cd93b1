/* Single filters and templates; see matcher.h. */
#include "route/matcher.h"
#include "route/subject.h"

static bool refuse(const char **why, const char *text)
{
    if (why != NULL)
        *why = text;
    return false;
}

static bool is_wildcard(struct str token)
{
    return token.n == 1 && (token.p[0] == '*' || token.p[0] == '>');
}

static bool has_wildcard_byte(struct str token)
{
    return token.n > 0 &&
           (memchr(token.p, '*', token.n) != NULL || memchr(token.p, '>', token.n) != NULL);
}

bool filter_valid(struct str filter, const char **why)
{
    size_t tokens = 0, wildcards = 0;
    struct str rest = filter, token;
    if (filter.n == 0)
        return refuse(why, "empty filter");
    if (is_object_subject(filter))
        return true;
    while (rest.p != NULL) {
        token = filter_cut(&rest);
        if (token.n == 0)
            return refuse(why, "empty token");
        if (is_wildcard(token) && token.p[0] == '>' && rest.p != NULL)
            return refuse(why, "`>` must be the last token");
        if (!is_wildcard(token) && has_wildcard_byte(token))
            return refuse(why, "`*` and `>` must stand alone in their token");
        wildcards += is_wildcard(token);
        tokens++;
    }
    if (wildcards > 0 && tokens > MATCH_TOKENS_MAX)
        return refuse(why, "more than 32 tokens");
    return true;
}

size_t filter_wildcards(struct str filter)
{
    size_t count = 0;
    if (is_object_subject(filter))
        return 0;
    while (filter.p != NULL)
        count += is_wildcard(filter_cut(&filter));
    return count;
}

/* The same text where `.` and `/` are one. */
static bool same_path(struct str a, struct str b)
{
    if (a.n != b.n || is_object_subject(a))
        return str_eq(a, b);
    for (size_t i = 0; i < a.n; i++) {
        if (a.p[i] != b.p[i] && !(is_separator(a.p[i]) && is_separator(b.p[i])))
            return false;
    }
    return true;
}

bool filter_matches(struct str filter, struct str subject, struct captures *c)
{
    struct subject s;
    struct match m = {0, MATCH_NONE};
    if (c != NULL)
        c->count = 0;
    if (subject.n == 0)
        return false;
    if (filter_wildcards(filter) == 0)
        return same_path(filter, subject);
    subject_split(subject, &s);
    for (size_t i = 0; filter.p != NULL; i++) {
        struct str token = filter_cut(&filter);
        if (i == s.count)
            return false;
        if (str_is(token, ">")) {
            m.tail = (uint32_t)i;
            s.more = false;
            s.count = i + 1;
        } else if (str_is(token, "*")) {
            m.stars |= UINT32_C(1) << i;
        } else if (!str_eq(token, subject_token(&s, i))) {
            return false;
        }
        if (filter.p == NULL && (s.more || i + 1 != s.count))
            return false;
    }
    if (c != NULL)
        match_captures(&s, &m, c);
    return true;
}

bool filter_covers(struct str wide, struct str narrow)
{
    if (is_object_subject(narrow))
        return filter_matches(wide, narrow, NULL);
    if (is_object_subject(wide))
        return false;
    while (wide.p != NULL && narrow.p != NULL) {
        struct str w = filter_cut(&wide), n = filter_cut(&narrow);
        if (str_is(w, ">"))
            return true;
        if (str_is(n, ">") || (!str_is(w, "*") && !str_eq(w, n)))
            return false;
    }
    return wide.p == NULL && narrow.p == NULL;
}

/* Does text begin with `{1}`? *number: what stands between the braces. */
static bool placeholder(struct str text, size_t *number)
{
    if (text.n < 3 || text.p[0] != '{' || text.p[2] != '}' || text.p[1] < '0' || text.p[1] > '9')
        return false;
    *number = (size_t)(text.p[1] - '0');
    return true;
}

bool template_valid(struct str template, size_t captures, const char **why)
{
    size_t number;
    if (template.n == 0)
        return refuse(why, "empty template");
    for (size_t i = 0; i < template.n; i++) {
        if (!placeholder(str_make(template.p + i, template.n - i), &number))
            continue;
        if (number == 0)
            return refuse(why, "captures are numbered from {1}");
        if (number > captures)
            return refuse(why, "the filter has no such capture");
    }
    return true;
}

/* Text inside the strings of a JSON template must not end them. */
static void put_escaped(struct str text, struct buf *out)
{
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '"' || text.p[i] == '\\')
            buf_putc(out, '\\');
        buf_putc(out, text.p[i]);
    }
}

void template_expand(struct str template, const struct captures *c, struct buf *out)
{
    size_t number, from = 0, i = 0;
    bool object = is_object_subject(template) && !placeholder(template, &number);
    while (i < template.n) {
        if (!placeholder(str_make(template.p + i, template.n - i), &number)) {
            i++;
            continue;
        }
        buf_put(out, template.p + from, i - from);
        if (number > 0 && number <= c->count) {
            if (object)
                put_escaped(c->text[number - 1], out);
            else
                buf_str_put(out, c->text[number - 1]);
        }
        i += 3;
        from = i;
    }
    buf_put(out, template.p + from, template.n - from);
}
