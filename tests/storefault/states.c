#include "states.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/rand.h"

#define SECTOR 512
#define RUBBISH 0xA5

static const char *const names[VFS_FILES] = {"bellhop.db", "bellhop.db-wal", "bellhop.db-journal"};

struct image {
    uint8_t *bytes;
    size_t len;
    bool there;
};

struct pending {
    size_t *entries; /* numbers of the record */
    size_t count;
};

struct states {
    size_t at;
    struct image synced[VFS_FILES];
    struct pending pending[VFS_FILES];
    bool made[VFS_FILES]; /* the folder was synced since it came to be */
};

/* ---------------------------------------------------------------- a file */

static void image_resize(struct image *m, size_t len, uint8_t fill)
{
    m->bytes = mem_realloc(m->bytes, len + 1);
    if (len > m->len)
        memset(m->bytes + m->len, fill, len - m->len);
    m->len = len;
}

struct choice {
    struct rand *rand; /* NULL = all of it */
    uint64_t lost_of_8; /* a write is lost; else it is torn as often, else whole */
    uint8_t fill;
};

static void image_write(struct image *m, const struct vfs_entry *e, const struct choice *c, bool torn)
{
    size_t end = e->at + e->bytes.n;
    if (end > m->len)
        image_resize(m, end, c->fill);
    for (size_t at = e->at; at < end;) {
        size_t next = at / SECTOR * SECTOR + SECTOR < end ? at / SECTOR * SECTOR + SECTOR : end;
        if (!torn || rand_below(c->rand, 2) == 0)
            memcpy(m->bytes + at, e->bytes.p + (at - e->at), next - at);
        at = next;
    }
}

static void image_apply(struct image *m, const struct vfs_entry *e, const struct choice *c)
{
    uint64_t dice = c->rand != NULL ? rand_below(c->rand, 8) : 7;
    if (c->rand != NULL && dice < c->lost_of_8)
        return;
    bool torn = c->rand != NULL && dice < 2 * c->lost_of_8;
    if (e->op == VFS_WRITE)
        image_write(m, e, c, torn);
    else
        image_resize(m, e->op == VFS_TRUNCATE ? e->at : 0, c->fill);
    m->there = e->op != VFS_DELETE;
}

static void pending_apply(const struct pending *p, struct image *m, const struct choice *c)
{
    for (size_t i = 0; i < p->count; i++) {
        struct vfs_entry e = vfs_record_at(p->entries[i]);
        image_apply(m, &e, c);
    }
}

/* ---------------------------------------------------------------- the record */

struct states *states_new(void)
{
    return mem_zalloc(sizeof(struct states));
}

void states_free(struct states *s)
{
    for (size_t i = 0; i < VFS_FILES; i++) {
        mem_free(s->synced[i].bytes);
        mem_free(s->pending[i].entries);
    }
    mem_free(s);
}

/* What there was of the file before that entry of the record. */
static void settle(struct states *s, enum vfs_file file, size_t before)
{
    struct pending *p = &s->pending[file], first = {.entries = p->entries};
    while (first.count < p->count && p->entries[first.count] < before)
        first.count++;
    pending_apply(&first, &s->synced[file], &(struct choice){0});
    p->count -= first.count;
    for (size_t i = 0; i < p->count; i++)
        p->entries[i] = p->entries[i + first.count];
}

static bool is_removed(const struct pending *p)
{
    for (size_t i = 0; i < p->count; i++)
        if (vfs_record_at(p->entries[i]).op == VFS_DELETE)
            return true;
    return false;
}

/* The first sync of a journal syncs its folder with it, and so what was removed there. */
static void sync_file(struct states *s, enum vfs_file file, size_t before)
{
    settle(s, file, before);
    for (size_t i = 0; i < VFS_FILES; i++)
        if (file != VFS_DB && !s->made[file] && is_removed(&s->pending[i]))
            settle(s, (enum vfs_file)i, before);
    s->made[file] = true;
}

bool states_next(struct states *s)
{
    if (s->at == vfs_record_len())
        return false;
    struct vfs_entry e = vfs_record_at(s->at);
    struct pending *p = &s->pending[e.file];
    if (e.op != VFS_SYNC) {
        p->entries = mem_realloc(p->entries, (p->count + 1) * sizeof(*p->entries));
        p->entries[p->count++] = s->at;
    }
    if (e.op == VFS_SYNC)
        sync_file(s, e.file, e.at);
    if (e.op == VFS_DELETE && e.at == 1)
        settle(s, e.file, s->at + 1);
    s->made[e.file] &= e.op != VFS_DELETE;
    s->at++;
    return true;
}

size_t states_at(const struct states *s)
{
    return s->at;
}

size_t states_open(const struct states *s)
{
    size_t n = 0;
    for (size_t i = 0; i < VFS_FILES; i++)
        n += s->pending[i].count;
    return n;
}

/* ---------------------------------------------------------------- a state */

static void shuffle(struct pending *p, struct rand *r)
{
    for (size_t i = p->count; i > 1; i--) {
        size_t other = rand_below(r, i), one = p->entries[i - 1];
        p->entries[i - 1] = p->entries[other];
        p->entries[other] = one;
    }
}

static void build(const struct pending *pending, uint64_t seed, struct rand *r, struct image *m)
{
    struct choice c = {.rand = r, .lost_of_8 = 1 + rand_below(r, 4),
                       .fill = rand_below(r, 2) > 0 ? RUBBISH : 0};
    struct pending p = {.count = pending->count};
    if (seed == 0)
        pending_apply(pending, m, &(struct choice){0});
    if (seed < 2 || p.count == 0)
        return;
    p.entries = mem_calloc(p.count, sizeof(*p.entries));
    memcpy(p.entries, pending->entries, p.count * sizeof(*p.entries));
    if (rand_below(r, 2) == 0)
        shuffle(&p, r);
    pending_apply(&p, m, &c);
    mem_free(p.entries);
}

static void image_save(const struct image *m, const char *dir, const char *name)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    unlink(path);
    if (!m->there)
        return;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, m->bytes, m->len), (ssize_t)m->len);
    close(fd);
}

void states_write(const struct states *s, uint64_t seed, const char *dir)
{
    struct rand r;
    rand_seed(&r, seed * 7919 + s->at);
    for (size_t i = 0; i < VFS_FILES; i++) {
        struct image m = {.there = s->synced[i].there};
        image_resize(&m, s->synced[i].len, 0);
        if (m.len > 0)
            memcpy(m.bytes, s->synced[i].bytes, m.len);
        build(&s->pending[i], seed, &r, &m);
        image_save(&m, dir, names[i]);
        mem_free(m.bytes);
    }
}
