#pragma once
/*
 * A VFS under SQLite that gathers writes which lie behind one another into one: of a commit's pages and their headers
 * in the journal, of a checkpoint's pages in the database. What is gathered is written before anything else is done
 * with the file, a sync above all; an error of it is the answer of that call. The database's pages are on their way
 * to the disk before a checkpoint syncs them.
 */
#include <stdbool.h>

#include <sqlite3.h>

struct gather;

/* Over the VFS of that name (NULL = the default); NULL: there is none. */
struct gather *gather_new(const char *vfs);
void gather_free(struct gather *g); /* no file may be open; NULL is legal */
/* While on, a sync of the journal is owed: it tells that all is well when it was written. Not the one of its header,
 * which must be on the disk before what comes behind it. */
void gather_defer(struct gather *g, bool on);
bool gather_owes(struct gather *g); /* has one been put off since it was asked last? */
int gather_sync(struct gather *g); /* pays: the one call that another thread may make. One at a time */
const char *gather_name(const struct gather *g); /* for sqlite3_open_v2() */
