#include "loop/socket.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/mem.h"

static char *peer_text(const struct sockaddr_storage *a)
{
    const struct sockaddr_in *v4 = (const void *)a;
    const struct sockaddr_in6 *v6 = (const void *)a;
    char host[INET6_ADDRSTRLEN], text[INET6_ADDRSTRLEN + 10];
    if (a->ss_family == AF_INET) {
        inet_ntop(AF_INET, &v4->sin_addr, host, sizeof(host));
        snprintf(text, sizeof(text), "%s:%u", host, ntohs(v4->sin_port));
    } else if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
        inet_ntop(AF_INET, &v6->sin6_addr.s6_addr[12], host, sizeof(host));
        snprintf(text, sizeof(text), "%s:%u", host, ntohs(v6->sin6_port));
    } else {
        inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host));
        snprintf(text, sizeof(text), "[%s]:%u", host, ntohs(v6->sin6_port));
    }
    return mem_strdup(text);
}

static void keep_alive(int fd)
{
    int on = 1, idle = 15, between = 5, probes = 3;
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &between, sizeof(between));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
}

char *socket_take(int fd)
{
    struct sockaddr_storage a = {0};
    socklen_t size = sizeof(a);
    int on = 1;
    if (getpeername(fd, (struct sockaddr *)&a, &size) != 0)
        return mem_strdup("unknown"); /* the first read tells */
    if (a.ss_family != AF_INET && a.ss_family != AF_INET6)
        return NULL;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    keep_alive(fd);
    return peer_text(&a);
}
