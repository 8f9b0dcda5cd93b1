/* A configuration from anyone: no crash, no hang, and what is accepted prints as it was read. */
#include <stdint.h>
#include <stdlib.h>

#include "base/mem.h"
#include "config/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const schemes[] = {"tcp", "tls", NULL};
static const struct config_transport tcp = {
    .name = "tcp", .schemes = schemes, .can_listen = true, .can_connect = true};
static const struct config_transport *const transports[] = {&tcp, NULL};

static struct config *parse(struct str text)
{
    struct err err = {0};
    struct config *c = config_parse("fuzz.yaml", text, transports, &err);
    if ((c == NULL) != (err.total > 0))
        abort();
    err_fini(&err);
    return c;
}

static void round_trip(const struct config *c)
{
    struct buf once = BUF_EMPTY, twice = BUF_EMPTY;
    config_print(c, &once);
    struct config *again = parse(buf_str(&once));
    if (again == NULL)
        abort();
    config_print(again, &twice);
    if (!str_eq(buf_str(&once), buf_str(&twice)))
        abort();
    config_free(again);
    buf_fini(&once);
    buf_fini(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config *c = parse(str_make(data, size));
    if (c != NULL)
        round_trip(c);
    config_free(c);
    return 0;
}
