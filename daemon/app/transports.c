#include "app/transports.h"

#include <assert.h>

#include "transport/amqp/amqp.h"
#include "transport/nats/nats.h"
#include "transport/redis/redis.h"
#include "transport/tcp/tcp.h"

const struct transport *const app_transports[] = {&tcp_transport, &redis_transport, &amqp_transport,
                                                 &nats_transport, NULL};
const struct config_transport *const app_config_transports[] = {&tcp_transport.conf, &redis_transport.conf,
                                                                &amqp_transport.conf, &nats_transport.conf, NULL};

const struct transport *app_transport(const struct config_transport *conf)
{
    size_t i = 0;
    while (app_transports[i] != NULL && &app_transports[i]->conf != conf)
        i++;
    assert(app_transports[i] != NULL);
    return app_transports[i];
}
