/* What a person should see to: the daemon says what it knows, and what its far ends told it; the file system of the store
 * is looked at here, so that a slow one never holds the daemon up. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include "cli/cli.h"

#include "cli/list.h"

#define MIB (UINT64_C(1) << 20)

/* statfs(2). What is written there is gone with a restart, or with the container; or is not the disk's to sync. */
static const struct kind {
    unsigned long magic;
    const char *level, *what, *advice;
} kinds[] = {
    { 0x01021994, "error", "the store is on tmpfs: gone at the next restart of the host", "put it on a disk (store.path)" },
    { 0x858458f6, "error", "the store is on ramfs: gone at the next restart of the host", "put it on a disk (store.path)" },
    { 0x794c7630, "warning", "the store is in the container's own layer: gone with the container", "mount a volume at store.path" },
    { 0x6969, "warning", "the store is on NFS: locks and syncs are the server's, and it may hang", "use a local disk" },
    { 0xff534d42, "warning", "the store is on a network share: locks and syncs are the server's", "use a local disk" },
    { 0x65735546, "warning", "the store is on a FUSE file system: whether a sync is one depends on it", "use a local disk" },
};

static void add(json_t *findings, const char *level, const char *what, const char *advice)
{
    json_array_append_new(findings, json_pack("{s:s,s:s,s:s,s:s}", "level", level, "where", "store", "what", what, "do", advice));
}

static void look_at_kind(json_t *findings, const struct statfs *fs)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (kinds[i].magic == ((unsigned long)fs->f_type & 0xffffffffUL))
            add(findings, kinds[i].level, kinds[i].what, kinds[i].advice);
}

/* What is beyond a MiB in whole ones: str_format_size() tells every byte. */
static const char *rough_size(uint64_t bytes, char out[static 32])
{
    return str_format_size(bytes < MIB ? bytes : bytes - bytes % MIB, out);
}

static void look_at_room(json_t *findings, const json_t *store, const struct statfs *fs)
{
    uint64_t most = (uint64_t)json_integer_value(json_object_get(store, "max_bytes"));
    uint64_t held = (uint64_t)json_integer_value(json_object_get(store, "bytes"));
    uint64_t room = (uint64_t)fs->f_bavail * (uint64_t)fs->f_bsize;
    char text[160], may[32], has[32];
    if (most <= held || most - held <= room)
        return;
    snprintf(text, sizeof text, "store.max_size lets it grow by %s, the disk has room for %s",
             rough_size(most - held, may), rough_size(room, has));
    add(findings, "warning", text, "make room, or lower store.max_size: a full disk stops more than the daemon");
}

static void look_at_store(json_t *findings, const json_t *store)
{
    const char *path = json_text(store, "path");
    struct statfs fs;
    struct stat st;
    if (statfs(path, &fs) != 0)
        return; /* of another user or host: the daemon's own findings stand */
    look_at_kind(findings, &fs);
    look_at_room(findings, store, &fs);
    if (stat(path, &st) == 0 && (st.st_mode & 07) != 0)
        add(findings, "warning", "other users of this host may read the store, and so every message in it", "chmod o-rwx store.path");
}

static bool findings_print(const struct cli *cli, const json_t *findings)
{
    static const char *const levels[] = { "error", "warning", "note" };
    static const char *const colors[] = { "\033[31m", "\033[33m", "" };
    const json_t *f;
    size_t n;
    for (size_t i = 0; i < 3; i++)
        json_array_foreach(findings, n, f) {
            if (strcmp(json_text(f, "level"), levels[i]) != 0)
                continue;
            printf("%s%s%s  %s: %s\n", cli->color ? colors[i] : "", levels[i], cli->color ? "\033[0m" : "", json_text(f, "where"),
                   json_text(f, "what"));
            printf("%*s  %s\n", (int)strlen(levels[i]), "", json_text(f, "do"));
        }
    if (json_array_size(findings) == 0)
        puts("nothing to see to");
    return true;
}

static bool any_error(const json_t *findings)
{
    const json_t *f;
    size_t n;
    json_array_foreach(findings, n, f)
        if (strcmp(json_text(f, "level"), "error") == 0)
            return true;
    return false;
}

static int run(struct cli *cli, int argc, char **argv)
{
    json_t *status, *report;
    int rc = cli_parse(cli, argc, argv, NULL);
    if (rc >= 0)
        return rc;
    rc = admin_call(cli, "status", json_object(), &status);
    if (rc != EXIT_OK)
        return rc;
    rc = admin_call(cli, "doctor", json_object(), &report);
    if (rc == EXIT_OK) {
        json_t *findings = json_object_get(report, "findings");
        look_at_store(findings, json_object_get(status, "store"));
        if (cli->json)
            output_json(report);
        else
            findings_print(cli, findings);
        if (any_error(findings))
            rc = EXIT_FAILED;
    }
    json_decref(report);
    json_decref(status);
    return rc;
}

const struct command command_doctor = {
    .name = "doctor",
    .summary = "Look for what betrays the promise, here and at the far ends",
    .usage = "",
    .details = "Settings of brokers that lose what they have acknowledged, a store that does not outlive a restart or has no\n"
               "room, certificates that expire, endpoints that are down, limits that cannot be reached: each with what to\n"
               "do. Exit code 1 where something is an error.",
    .example = "bellhop doctor\n"
               "bellhop doctor -o json | jq '.findings[] | select(.level == \"error\")'",
    .run = run,
};
