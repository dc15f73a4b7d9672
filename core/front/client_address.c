/*
 * client_address - see client.h. This file: whose a connection and its requests are (the header of
 * the PROXY protocol, what trusted proxies say), and how many each address has.
 *
 * A connection is in the census from accept on. It is counted under its address as soon as that is
 * known, unless it is a trusted proxy's: such a one brings the requests of many clients, and each
 * request is counted under the client that the proxy has named, for as long as it lasts.
 */
#include "front/client_inner.h"

#include "base/log.h"
#include "front/proxyproto.h"
#include "http/realip.h"

static const struct peer nobody = {.family = AF_UNSPEC};
static const struct netset no_networks = {.count = 0};

static const struct settings *settings_of(const struct client *c)
{
    return (*c->clients->current)->settings;
}

static bool is_trusted(const struct client *c, const struct peer *peer)
{
    return settings_of(c)->trusted.count > 0 && netset_has(&settings_of(c)->trusted, peer);
}

/* --- the census --- */

static void report_refused(const struct client *c, enum census_answer answer)
{
    static struct log_quota quota = {.most = 1};
    const struct limits *limits = &settings_of(c)->limits;
    char ip[PEER_TEXT_SIZE];
    peer_text(&c->peer, ip);
    if (answer == CENSUS_FULL)
        log_within(&quota, LOG_WARN, "limits.connections: %u are open; client %s: 503",
                   limits->connections, ip);
    else
        log_within(&quota, LOG_WARN, "limits.per_ip: %u connections of client %s are open: 503",
                   limits->per_ip, ip);
}

bool client_enter_census(struct client *c)
{
    struct clients *all = c->clients;
    const struct limits *limits = &settings_of(c)->limits;
    if (all->census == NULL || (limits->connections == 0 && limits->per_ip == 0))
        return true;
    bool by_ip = !c->awaits_address && !is_trusted(c, &c->peer);
    enum census_answer answer = census_enter(all->census, all->worker, by_ip ? &c->peer : &nobody,
                                             limits->connections, limits->per_ip);
    c->counted = answer == CENSUS_WELCOME;
    c->by_ip = c->counted && by_ip;
    if (!c->counted)
        report_refused(c, answer);
    return c->counted;
}

void client_count(struct client *c)
{
    struct clients *all = c->clients;
    const struct limits *limits = &settings_of(c)->limits;
    if (all->census == NULL || (limits->connections == 0 && limits->per_ip == 0))
        return;
    c->by_ip = !c->awaits_address && !is_trusted(c, &c->peer);
    census_enter(all->census, all->worker, c->by_ip ? &c->peer : &nobody, 0, 0);
    c->counted = true;
}

void client_leave_census(struct client *c)
{
    if (c->counted)
        census_leave(c->clients->census, c->clients->worker, c->by_ip ? &c->peer : &nobody);
    c->counted = c->by_ip = false;
}

/* The address of a connection that is in the census without one. */
static bool enter_address(struct client *c)
{
    struct clients *all = c->clients;
    if (!c->counted || is_trusted(c, &c->peer))
        return true;
    c->by_ip = census_count(all->census, all->worker, &c->peer, settings_of(c)->limits.per_ip);
    if (c->by_ip)
        return true;
    client_leave_census(c);
    report_refused(c, CENSUS_PER_IP);
    return false;
}

/* --- the connection: the PROXY protocol --- */

static void report_distrusted(const struct client *c)
{
    static struct log_quota quota = {.most = 1};
    char ip[PEER_TEXT_SIZE];
    peer_text(&c->peer, ip);
    log_within(&quota, LOG_WARN,
               "listener %.*s: the PROXY header of %s is not believed, since that is none of "
               "trusted_proxies",
               STR_FMT(c->listener), ip);
}

static void report_bad_header(const struct client *c, const char *err)
{
    static struct log_quota quota = {.most = 1};
    char ip[PEER_TEXT_SIZE];
    peer_text(&c->peer, ip);
    log_within(&quota, LOG_INFO, "listener %.*s: client %s: %s; its connection is closed",
               STR_FMT(c->listener), ip, err);
}

enum client_address client_read_address(struct client *c, struct str in, size_t *used)
{
    struct proxyproto header;
    switch (proxyproto_read(in, &header)) {
    case PROXYPROTO_MORE:
        return CLIENT_ADDRESS_MORE;
    case PROXYPROTO_ERROR:
        report_bad_header(c, header.err);
        return CLIENT_ADDRESS_BAD;
    case PROXYPROTO_DONE:
        break;
    }
    *used = header.size;
    c->awaits_address = false;
    c->unknown = header.unknown;
    if (header.announced && is_trusted(c, &c->peer)) {
        c->peer = header.client;
        c->local = header.local;
    } else if (header.announced) {
        report_distrusted(c);
    }
    return enter_address(c) ? CLIENT_ADDRESS_KNOWN : CLIENT_ADDRESS_TOO_MANY;
}

/* --- the request: trusted proxies --- */

int client_name_request(struct client *c, const char **reason)
{
    struct clients *all = c->clients;
    const struct settings *settings = settings_of(c);
    if (settings->trusted.count == 0 || c->control)
        return 0;
    /* The balancer is trusted, but whom it lets speak through it is not. */
    *reason = realip_apply(c->req, c->unknown ? &no_networks : &settings->trusted);
    if (*reason != NULL)
        return 400;
    if (!c->counted || c->by_ip || is_trusted(c, &c->req->client))
        return 0;
    c->request_by_ip =
        census_count(all->census, all->worker, &c->req->client, settings->limits.per_ip);
    *reason = "more requests of this client of a trusted proxy than limits.per_ip are under way";
    return c->request_by_ip ? 0 : 503;
}

void client_forget_request(struct client *c)
{
    if (c->request_by_ip)
        census_uncount(c->clients->census, c->clients->worker, &c->req->client);
    c->request_by_ip = false;
}
