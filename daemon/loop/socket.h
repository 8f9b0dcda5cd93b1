#pragma once
/* A connected socket: whose it is, and what the kernel is told about it. */

/* The peer as text, "192.0.2.1:80" or "[2001:db8::1]:80" (an IPv4 address within IPv6 as the former), the caller's; "unknown"
 * where it has gone already; NULL for a Unix socket. Over TCP small writes leave at once from now on, and a peer whose
 * host has gone, which sends no FIN, is asked after 15 s of silence and given up after 15 s more. */
char *socket_take(int fd);
