#pragma once
/*
 * A VFS under SQLite that gathers writes which lie behind one another into one: of a commit's pages and their headers
 * in the journal, of a checkpoint's pages in the database. What is gathered is written before anything else is done
 * with the file, a sync above all; an error of it is the answer of that call. The database's pages are on their way
 * to the disk before a checkpoint syncs them.
 */
#include <sqlite3.h>

struct gather;

/* Over the VFS of that name (NULL = the default); NULL: there is none. */
struct gather *gather_new(const char *vfs);
void gather_free(struct gather *g); /* no file may be open; NULL is legal */
const char *gather_name(const struct gather *g); /* for sqlite3_open_v2() */
