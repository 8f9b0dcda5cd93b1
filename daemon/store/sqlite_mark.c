/*
 * How far the store had got, beside the journal. SQLite takes a damaged journal for one that ends there,
 * which is right for what a power loss tore and wrong for a bit that flipped in what was synced: whole
 * transactions that were acknowledged would be gone without a word. So each commit has a number, and
 * after it is synced the number is written here too, without a sync of its own: the mark may be behind
 * the journal, never before it.
 */
#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "store/sqlite.h"

#define MARK_MAGIC 0x314b524d42484c42 /* "BLHBMRK1" */

struct mark {
    uint64_t magic, commits, crc;
};

static uint64_t mark_crc(const struct mark *m)
{
    return crc32c(0, m, offsetof(struct mark, crc));
}

void mark_open(struct db *db)
{
    db->mark_fd = open_beside(db, "bellhop.mark", O_RDWR | O_CREAT);
}

void mark_close(struct db *db)
{
    if (db->mark_fd >= 0)
        close(db->mark_fd);
    db->mark_fd = -1;
}

/* A mark that is torn or missing says nothing. */
uint64_t mark_read(const struct db *db)
{
    struct mark m;
    bool whole = db->mark_fd >= 0 && pread(db->mark_fd, &m, sizeof(m), 0) == (ssize_t)sizeof(m) &&
                 m.magic == MARK_MAGIC && m.crc == mark_crc(&m);
    return whole ? m.commits : 0;
}

void mark_write(struct db *db, uint64_t commits)
{
    struct mark m = {.magic = MARK_MAGIC, .commits = commits};
    if (m.commits == db->marked)
        return;
    db->marked = m.commits;
    m.crc = mark_crc(&m);
    if (db->mark_fd >= 0 && pwrite(db->mark_fd, &m, sizeof(m), 0) != (ssize_t)sizeof(m))
        mark_close(db); /* an old mark is worth nothing */
}

/* Before it is written to again: for whoever wants to see what can be read of it. */
void mark_keep_journal(const struct db *db)
{
    struct stat st;
    int from = open_beside(db, "bellhop.db-wal", O_RDONLY), to = -1;
    if (from >= 0)
        to = open_beside(db, "bellhop.db-wal.cut", O_WRONLY | O_CREAT | O_TRUNC);
    if (to >= 0 && fstat(from, &st) == 0)
        while (sendfile(to, from, NULL, (size_t)st.st_size) > 0) {}
    if (to >= 0)
        close(to);
    if (from >= 0)
        close(from);
}
