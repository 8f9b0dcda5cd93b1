#include <inttypes.h>
#include <libsmartcols/libsmartcols.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

#include "base/base64.h"
#include "base/mem.h"

#define CELL_MAX 256

const char *json_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

static void list_format(const json_t *list, struct buf *out)
{
    size_t i;
    const json_t *item;
    json_array_foreach(list, i, item) {
        buf_puts(out, i > 0 ? ", " : "");
        buf_puts(out, json_is_string(item) ? json_string_value(item) : "?");
    }
}

static void number_format(json_int_t n, enum column_type type, struct buf *out)
{
    char text[32];
    if (type == COLUMN_DURATION && n >= 10000)
        n -= n % 1000; /* people do not want the milliseconds of an hour */
    if (type == COLUMN_DURATION)
        buf_puts(out, str_format_duration(n, text));
    else if (type == COLUMN_SIZE && n >= 1 << 20)
        buf_printf(out, "%.1fMiB", (double)n / (1 << 20));
    else if (type == COLUMN_SIZE && n >= 10240)
        buf_printf(out, "%.1fKiB", (double)n / 1024);
    else
        buf_printf(out, type == COLUMN_SIZE ? "%" JSON_INTEGER_FORMAT "B" : "%" JSON_INTEGER_FORMAT, n);
}

static void value_format(const json_t *value, enum column_type type, struct buf *out)
{
    if (json_is_string(value))
        buf_puts(out, json_string_value(value));
    else if (json_is_integer(value))
        number_format(json_integer_value(value), type, out);
    else if (json_is_array(value))
        list_format(value, out);
    else if (json_is_boolean(value))
        buf_puts(out, json_is_true(value) ? "yes" : "no");
    else if (json_is_real(value))
        buf_printf(out, "%g", json_real_value(value));
    else
        buf_puts(out, "-");
}

struct state_color {
    const char *word, *color;
};

static const struct state_color state_colors[] = {
    { "running", "green" },    { "up", "green" },      { "listening", "green" }, { "closed", "green" },
    { "done", "green" },       { "delivered", "green" }, { "draining", "yellow" }, { "connecting", "yellow" },
    { "half-open", "yellow" }, { "retry", "yellow" },  { "down", "red" },        { "open", "red" },
    { "dead", "red" },         { "expired", "red" },
};

static const char *color_of(const char *word)
{
    for (size_t i = 0; i < sizeof state_colors / sizeof state_colors[0]; i++)
        if (strcmp(state_colors[i].word, word) == 0)
            return state_colors[i].color;
    return NULL;
}

static bool is_number(enum column_type type)
{
    return type == COLUMN_COUNT || type == COLUMN_DURATION || type == COLUMN_SIZE;
}

static void row_add(const struct cli *cli, struct libscols_table *table, const json_t *row,
                    const struct column *columns)
{
    struct libscols_line *line = scols_table_new_line(table, NULL);
    for (size_t i = 0; line != NULL && columns[i].title != NULL; i++) {
        struct buf cell = BUF_EMPTY;
        value_format(json_object_get(row, columns[i].key), columns[i].type, &cell);
        scols_line_set_data(line, i, buf_cstr(&cell));
        const char *color = columns[i].type == COLUMN_STATE ? color_of(buf_cstr(&cell)) : NULL;
        if (cli->color && color != NULL)
            scols_cell_set_color(scols_line_get_cell(line, i), color);
        buf_fini(&cell);
    }
}

void output_table(const struct cli *cli, const json_t *rows, const struct column *columns)
{
    struct libscols_table *table = scols_new_table();
    size_t i;
    const json_t *row;
    if (table == NULL)
        return;
    scols_table_enable_colors(table, cli->color);
    /* None is broken where the terminal is narrow: an id or a time in pieces can be neither read nor copied. */
    for (i = 0; columns[i].title != NULL; i++)
        scols_table_new_column(table, columns[i].title, 0, is_number(columns[i].type) ? SCOLS_FL_RIGHT : 0);
    json_array_foreach(rows, i, row)
        row_add(cli, table, row, columns);
    scols_print_table(table);
    scols_unref_table(table);
}

/* "a.b": the member b of the object a. */
static const json_t *member(const json_t *object, const char *path)
{
    struct str rest = str_of(path);
    while (object != NULL && rest.n > 0) {
        struct str key = str_cut(&rest, '.');
        object = json_object_getn(object, key.p, key.n);
    }
    return object;
}

static bool is_absent(const json_t *value)
{
    return value == NULL || json_is_null(value) || (json_is_array(value) && json_array_size(value) == 0);
}

void output_record(const struct cli *cli, const json_t *object, const struct column *rows)
{
    int width = 0;
    for (const struct column *r = rows; r->title != NULL; r++)
        if (!is_absent(member(object, r->key)) && (int)strlen(r->title) > width)
            width = (int)strlen(r->title);
    for (const struct column *r = rows; r->title != NULL; r++) {
        const json_t *value = member(object, r->key);
        struct buf text = BUF_EMPTY;
        if (is_absent(value))
            continue;
        value_format(value, r->type, &text);
        printf("%s%-*s%s  ", cli->color ? "\033[1m" : "", width, r->title, cli->color ? "\033[0m" : "");
        output_text(buf_cstr(&text));
        putchar('\n');
        buf_fini(&text);
    }
}

void output_title(const struct cli *cli, const char *title)
{
    printf("\n%s%s%s\n", cli->color ? "\033[1m" : "", title, cli->color ? "\033[0m" : "");
}

void output_json(const json_t *value)
{
    json_dumpf(value, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
    putchar('\n');
}

void output_json_line(const json_t *value)
{
    json_dumpf(value, stdout, JSON_COMPACT | JSON_ENCODE_ANY);
    putchar('\n');
    fflush(stdout);
}

static int plain(unsigned char c, const char *keep)
{
    bool control = (c < 0x20 && (c == '\0' || strchr(keep, c) == NULL)) || c == 0x7f;
    return control ? ' ' : c;
}

static void plain_put(const char *text, size_t len, const char *keep)
{
    for (size_t i = 0; i < len; i++)
        putchar(plain((unsigned char)text[i], keep));
}

void output_calm(char *text)
{
    for (; *text != '\0'; text++)
        *text = (char)plain((unsigned char)*text, "\n\t");
}

void output_text(const char *text)
{
    plain_put(text, strlen(text), "");
}

void output_body(const void *body, size_t len, bool line)
{
    if (isatty(STDOUT_FILENO))
        plain_put(body, len, "\n\t");
    else
        fwrite(body, 1, len, stdout);
    if (line || (isatty(STDOUT_FILENO) && (len == 0 || ((const char *)body)[len - 1] != '\n')))
        putchar('\n');
    fflush(stdout);
}

static json_t *headers_json(const char *headers, size_t len)
{
    json_t *object = json_object();
    struct bellhop_header h;
    size_t pos = 0;
    while (bellhop_header_next(headers, len, &pos, &h)) {
        char *name = mem_strndup(h.name, h.name_len);
        json_t *value = json_stringn(h.value, h.value_len);
        json_t *before = json_object_get(object, name);
        if (json_is_array(before))
            json_array_append_new(before, value);
        else
            json_object_set_new(object, name, before != NULL ? json_pack("[O,o]", before, value) : value);
        mem_free(name);
    }
    return object;
}

void output_split_headers(json_t *object)
{
    const json_t *text = json_object_get(object, "headers");
    if (json_is_string(text))
        json_object_set_new(object, "headers", headers_json(json_string_value(text), json_string_length(text)));
}

json_t *output_message(const struct bellhop_msg *msg)
{
    json_t *object = json_object();
    if (msg->subject != NULL)
        json_object_set_new(object, "subject", json_string(msg->subject));
    json_object_set_new(object, "headers", headers_json(msg->headers, msg->headers_len));
    const char *body = msg->body != NULL ? msg->body : "";
    size_t len = msg->body != NULL ? msg->body_len : 0;
    json_t *text = json_stringn(body, len);
    if (text != NULL) { /* NULL: not UTF-8 */
        json_object_set_new(object, "body", text);
        return object;
    }
    struct buf encoded = BUF_EMPTY;
    base64_put(&encoded, str_make(body, len));
    json_object_set_new(object, "body_base64", json_string(buf_cstr(&encoded)));
    buf_fini(&encoded);
    return object;
}
