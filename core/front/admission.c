/* admission - see admission.h. */
#include "front/admission.h"

#include "base/log.h"
#include "front/proxyproto.h"
#include "http/realip.h"
#include "shm/metrics.h"

static const struct peer no_peer = {.family = AF_UNSPEC};
static const struct netset no_networks = {.count = 0};

static bool admission_trusts(const struct client *c, const struct peer *peer)
{
    const struct netset *trusted = &clients_settings(client_clients(c))->trusted;
    return trusted->count > 0 && netset_has(trusted, peer);
}

/* --- the census --- */

static void admission_count_refused(enum census_answer answer)
{
    metrics_add(&metrics_own->refused[answer == CENSUS_FULL ? 0 : 1], 1);
}

void admission_log_refused(const struct client *c, enum census_answer answer, const char *outcome)
{
    static struct log_quota quota = {.most = 1};
    const struct limits *limits = &clients_settings(client_clients(c))->limits;
    char ip[PEER_TEXT_SIZE];
    peer_text(&c->peer, ip);
    if (answer == CENSUS_FULL)
        log_within(&quota, LOG_WARN, "limits.connections: %u are open; client %s: %s",
                   limits->connections, ip, outcome);
    else
        log_within(&quota, LOG_WARN, "limits.per_ip: %u connections of client %s are open: %s",
                   limits->per_ip, ip, outcome);
}

enum census_answer admission_enter(struct client *c)
{
    struct clients *all = client_clients(c);
    const struct limits *limits = &clients_settings(client_clients(c))->limits;
    if (all->census == NULL || (limits->connections == 0 && limits->per_ip == 0))
        return CENSUS_WELCOME;
    bool by_ip = !c->proxy_protocol && !admission_trusts(c, &c->peer);
    enum census_answer answer = census_enter(all->census, all->worker, by_ip ? &c->peer : &no_peer,
                                             limits->connections, limits->per_ip);
    c->counted = answer == CENSUS_WELCOME;
    c->by_ip = c->counted && by_ip;
    if (!c->counted)
        admission_count_refused(answer);
    return answer;
}

void admission_count(struct client *c)
{
    struct clients *all = client_clients(c);
    const struct limits *limits = &clients_settings(client_clients(c))->limits;
    if (all->census == NULL || (limits->connections == 0 && limits->per_ip == 0))
        return;
    c->by_ip = !c->proxy_protocol && !admission_trusts(c, &c->peer);
    census_enter(all->census, all->worker, c->by_ip ? &c->peer : &no_peer, 0, 0);
    c->counted = true;
}

void admission_leave(struct client *c)
{
    if (c->counted)
        census_leave(client_clients(c)->census, client_clients(c)->worker,
                     c->by_ip ? &c->peer : &no_peer);
    c->counted = c->by_ip = false;
}

/* Adds the address of a connection that is in the census without one. False: limits.per_ip is
 * reached. */
static bool admission_enter_address(struct client *c)
{
    struct clients *all = client_clients(c);
    if (!c->counted || admission_trusts(c, &c->peer))
        return true;
    c->by_ip = census_count(all->census, all->worker, &c->peer,
                            clients_settings(client_clients(c))->limits.per_ip);
    if (c->by_ip)
        return true;
    admission_leave(c);
    admission_count_refused(CENSUS_PER_IP);
    return false;
}

/* --- the connection: the PROXY protocol --- */

static void admission_report_distrusted(const struct client *c)
{
    static struct log_quota quota = {.most = 1};
    char ip[PEER_TEXT_SIZE];
    peer_text(&c->peer, ip);
    log_within(&quota, LOG_WARN,
               "listener %.*s: the PROXY header of %s is not believed, since that is none of "
               "trusted_proxies",
               STR_FMT(c->endpoint->listener), ip);
}

static void admission_report_bad_header(const struct client *c, const char *err)
{
    static struct log_quota quota = {.most = 1};
    char ip[PEER_TEXT_SIZE];
    peer_text(&c->peer, ip);
    log_within(&quota, LOG_INFO, "listener %.*s: client %s: %s; its connection is closed",
               STR_FMT(c->endpoint->listener), ip, err);
}

enum admission_address admission_read_address(struct client *c, struct str in, size_t *used)
{
    struct proxyproto header;
    switch (proxyproto_read(in, &header)) {
    case PROXYPROTO_MORE:
        return ADMISSION_MORE;
    case PROXYPROTO_ERROR:
        admission_report_bad_header(c, header.err);
        return ADMISSION_BAD;
    case PROXYPROTO_DONE:
        break;
    }
    *used = header.size;
    c->proxy_protocol = false;
    c->unknown = header.unknown;
    if (header.announced && admission_trusts(c, &c->peer)) {
        c->peer = header.client;
        client_set_local(c, &header.local);
    } else if (header.announced) {
        admission_report_distrusted(c);
    }
    return admission_enter_address(c) ? ADMISSION_KNOWN : ADMISSION_TOO_MANY;
}

/* --- the connection: TLS --- */

void admission_log_handshake(const struct client *c, const char *why)
{
    static struct log_quota quota = {.most = LOG_MOST};
    const char *name = tls_asked_name(client_tls(c));
    char ip[PEER_TEXT_SIZE];
    peer_text(&c->peer, ip);
    log_within(&quota, LOG_INFO, "listener %.*s: client %s%s%s: the handshake has failed: %s",
               STR_FMT(c->endpoint->listener), ip, name != NULL ? ", name " : "",
               name != NULL ? name : "", why);
}

/* --- the request: trusted proxies --- */

int admission_begin_request(struct client *c, struct request *req, bool *counted,
                            const char **reason)
{
    struct clients *all = client_clients(c);
    const struct settings *settings = clients_settings(all);
    *counted = false;
    if (settings->trusted.count == 0 || c->endpoint->control)
        return 0;
    req->from_trusted = !c->unknown && admission_trusts(c, &c->peer);
    /* A trusted balancer that sent an UNKNOWN header does not know its client, so the request's own
     * X-Forwarded-For is not believed. */
    *reason = realip_apply(req, c->unknown ? &no_networks : &settings->trusted);
    if (*reason != NULL)
        return 400;
    if (!c->counted || c->by_ip || admission_trusts(c, &req->client))
        return 0;
    *counted = census_count(all->census, all->worker, &req->client, settings->limits.per_ip);
    if (*counted)
        return 0;
    metrics_add(&metrics_own->limited[METRICS_LIMIT_PER_IP], 1);
    *reason = "more requests of this client of a trusted proxy than limits.per_ip are under way";
    return 503;
}

void admission_end_request(struct client *c, const struct request *req)
{
    census_uncount(client_clients(c)->census, client_clients(c)->worker, &req->client);
}

/* --- the request: TLS --- */

static struct str admission_copy(struct request *req, const char *text)
{
    return text != NULL ? arena_copy(&req->arena, str_of(text)) : STR_NONE;
}

void admission_describe_tls(struct client *c, struct request *req)
{
    struct tls *t = client_tls(c);
    if (tls_state(t) != TLS_OPEN)
        return;
    const struct tls_peer *peer = tls_peer(t);
    struct request_tls *tls = arena_alloc(&req->arena, sizeof *tls);
    *tls = (struct request_tls){.version = str_of(tls_version(t)),
                                .cipher = str_of(tls_cipher(t)),
                                .name = admission_copy(req, tls_asked_name(t)),
                                .verified = peer != NULL};
    if (peer != NULL) {
        tls->subject = admission_copy(req, peer->subject);
        tls->serial = admission_copy(req, peer->serial);
        tls->certificate = admission_copy(req, peer->pem);
    }
    req->tls = tls;
    req->https = true;
}
