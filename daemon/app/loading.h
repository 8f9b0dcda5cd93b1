#pragma once
/* The half of a reload that needs no loop: loading_run() is called in a thread. */
#include "app/internal.h"

enum loading_what {
    LOADING_CERTIFICATES, /* of the configuration in use, anew */
    LOADING_DIFF,         /* what would change */
    LOADING_USE,          /* all that it takes to use it */
};

struct loading {
    enum loading_what what;
    void *owner;             /* whoever began it; the thread leaves it alone */
    struct generation *from; /* the one in use, referenced; likewise */
    /* Given, and changed by nobody meanwhile. */
    const struct config *before; /* from's */
    bool store_open;
    /* Made. */
    struct generation *generation; /* NULL: refused, see err */
    struct route_set *routes;
    bool *unchanged; /* by the place of an endpoint in `before`: it goes on as it is */
    struct certificate *certificates;
    uint64_t print; /* of the files of certificates, before they were read */
    struct texts changes;
    struct err err;
};

void loading_run(void *loading);
void loading_free(struct app *a, struct loading *l); /* what was taken out of it is NULL */
