/* In place of daemon/app/transports.c: the daemon of the suite has the fake beside TCP. */
#include "app/transports.h"

#include <assert.h>

#include "fake/internal.h"
#include "transport/tcp/tcp.h"

const struct transport *const app_transports[] = {&tcp_transport, &fake_transport, NULL};
const struct config_transport *const app_config_transports[] = {&tcp_transport.conf, &fake_transport.conf, NULL};

const struct transport *app_transport(const struct config_transport *conf)
{
    size_t i = 0;
    while (app_transports[i] != NULL && &app_transports[i]->conf != conf)
        i++;
    assert(app_transports[i] != NULL);
    return app_transports[i];
}
