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

#define SAID_EVERY 10.0 /* seconds between two lines about the same thing in the log */

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

/* One line now and then: whoever tries again and again must not fill the log. Returns how often it
 * has happened since the last line, or 0: none is due. */
static unsigned say_now(const struct client *c, struct client_seldom *what)
{
    ev_tstamp now = ev_now(c->clients->loop->ev);
    unsigned count = ++what->count;
    if (what->at != 0 && now < what->at + SAID_EVERY)
        return 0;
    *what = (struct client_seldom){.at = now};
    return count;
}

/* --- the census --- */

static void report_refused(const struct client *c, enum census_answer answer)
{
    const struct limits *limits = &settings_of(c)->limits;
    char ip[PEER_TEXT_SIZE];
    unsigned count = say_now(c, &c->clients->too_many);
    if (count == 0)
        return;
    peer_text(&c->peer, ip);
    if (answer == CENSUS_FULL)
        log_warn("limits.connections: %u are open; client %s: 503 (%u refused since the last such "
                 "line of this worker)",
                 limits->connections, ip, count);
    else
        log_warn("limits.per_ip: %u connections of client %s are open: 503 (%u refused since the "
                 "last such line of this worker)",
                 limits->per_ip, ip, count);
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
    char ip[PEER_TEXT_SIZE];
    unsigned count = say_now(c, &c->clients->distrusted);
    if (count == 0)
        return;
    peer_text(&c->peer, ip);
    log_warn("listener %.*s: the PROXY header of %s is not believed, since that is none of "
             "trusted_proxies (%u since the last such line of this worker)",
             STR_FMT(c->listener), ip, count);
}

static void report_headless(const struct client *c, const char *why)
{
    char ip[PEER_TEXT_SIZE];
    unsigned count = say_now(c, &c->clients->headless);
    if (count == 0)
        return;
    peer_text(&c->peer, ip);
    log_info("listener %.*s: client %s: %s; its connection is closed (%u since the last such line "
             "of this worker)",
             STR_FMT(c->listener), ip, why, count);
}

enum client_address client_read_address(struct client *c, struct str in, size_t *used)
{
    struct proxyproto header;
    switch (proxyproto_read(in, &header)) {
    case PROXYPROTO_MORE:
        return CLIENT_ADDRESS_MORE;
    case PROXYPROTO_ERROR:
        report_headless(c, header.err);
        return CLIENT_ADDRESS_BAD;
    case PROXYPROTO_DONE:
        break;
    }
    *used = header.size;
    c->awaits_address = false;
    c->stranger = header.stranger;
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
    *reason = realip_apply(c->req, c->stranger ? &no_networks : &settings->trusted);
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
