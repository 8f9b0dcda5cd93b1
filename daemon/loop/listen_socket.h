#pragma once
/* Makes a listening socket; no loop in it. Not for other folders. */
#include <stdbool.h>
#include <sys/types.h>

#include "loop/listen.h"

struct listen_socket {
    int fd;
    unsigned port;  /* TCP */
    char *address;  /* as listen_address() tells it */
    char *path;     /* Unix path that it made, or NULL */
    char *lock_path;
    int lock;       /* held while the path is ours; -1 = none */
    dev_t device;   /* of the path, so that nobody else's is removed */
    ino_t inode;
};

bool listen_socket_open(struct listen_socket *k, const struct listen_spec *spec, struct err *err);
void listen_socket_close(struct listen_socket *k);
