#pragma once
/*
 * systemd without libsystemd: sd_notify(3) is one datagram, sd_listen_fds(3) two variables. Without
 * systemd every call does nothing.
 */
#include <stdbool.h>
#include <stdint.h>

/* state: "READY=1", "STOPPING=1", "RELOADING=1\nMONOTONIC_USEC=…", "WATCHDOG=1", "STATUS=…". */
void notify_send(const char *state);
void notify_reloading(void);

/* Half of WATCHDOG_USEC in ms, or 0 when no watchdog is wanted of this process. */
int64_t notify_watchdog_ms(void);

/* The descriptor handed over under this name (LISTEN_FDNAMES), or -1. Marks it close-on-exec. */
int notify_listen_fd(const char *name);
