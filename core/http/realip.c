/* realip - see realip.h. */
#include "http/realip.h"

#include "http/forwarded.h"

/* The walk from the peer back to the client, hop by hop. */
struct walk {
    const struct netset *trusted;
    struct peer at; /* the hop that has been reached */
    bool moved, ended;
};

/* The scheme, host and port of the client's request as X-Forwarded-* or Forwarded give them. */
struct account {
    struct walk walk;
    struct str proto, host, port; /* p = NULL: not said */
};

static void realip_go(struct walk *w, const struct peer *hop)
{
    w->ended = hop->family == 0 || !netset_has(w->trusted, hop);
    if (hop->family == 0)
        return;
    w->at = *hop;
    w->moved = true;
}

/* --- X-Forwarded-* --- */

static void realip_walk_for(struct walk *w, struct str list)
{
    struct str element;
    struct peer hop;
    while (!w->ended && forwarded_last(&list, &element)) {
        forwarded_node(element, &hop);
        realip_go(w, &hop);
    }
}

/* Keeps the last value, which the nearest proxy has written or passed on: a client's value can't
 * come after it. */
static void realip_set_last(struct str *field, struct str list)
{
    struct str element;
    if (field->p == NULL && forwarded_last(&list, &element))
        *field = element;
}

enum kind { KIND_OTHER, KIND_FORWARDED, KIND_FOR, KIND_PROTO, KIND_HOST, KIND_PORT, KIND_KIN };

static enum kind realip_kind_of(struct str name)
{
    struct str family = STR("X-Forwarded-");
    if (str_ieq(name, STR("Forwarded")))
        return KIND_FORWARDED;
    if (str_ieq(name, STR("X-Real-IP")))
        return KIND_KIN;
    if (name.n <= family.n || !str_ieq((struct str){name.p, family.n}, family))
        return KIND_OTHER;
    name = str_skip(name, family.n);
    return str_ieq(name, STR("For"))     ? KIND_FOR
           : str_ieq(name, STR("Proto")) ? KIND_PROTO
           : str_ieq(name, STR("Host"))  ? KIND_HOST
           : str_ieq(name, STR("Port"))  ? KIND_PORT
                                         : KIND_KIN;
}

/* --- Forwarded --- */

/* The scheme and host of the outermost trusted proxy are the client's; those of nearer proxies
 * belong to hops between proxies. */
static void realip_walk_forwarded(struct account *a, struct str list)
{
    struct forwarded_hop hop;
    while (!a->walk.ended && forwarded_last_hop(&list, &hop)) {
        if (hop.proto.n > 0)
            a->proto = hop.proto;
        if (hop.host.n > 0)
            a->host = hop.host;
        realip_go(&a->walk, &hop.peer);
    }
}

/* --- applying it --- */

/* 1: https, 0: http, -1: absent or unknown. */
static int realip_scheme_of(struct str proto)
{
    if (proto.p != NULL && (str_ieq(proto, STR("https")) || str_ieq(proto, STR("wss"))))
        return 1;
    if (proto.p != NULL && (str_ieq(proto, STR("http")) || str_ieq(proto, STR("ws"))))
        return 0;
    return -1;
}

static bool realip_contradict(const struct account *x, const struct account *y)
{
    int scheme = realip_scheme_of(x->proto), other = realip_scheme_of(y->proto);
    return (x->walk.moved && y->walk.moved && !peer_same_ip(&x->walk.at, &y->walk.at)) ||
           (scheme >= 0 && other >= 0 && scheme != other) ||
           (x->host.p != NULL && y->host.p != NULL && !str_ieq(x->host, y->host));
}

/* Adds to the first account the values that only the second one has. */
static void realip_complete(struct account *x, const struct account *y)
{
    if (!x->walk.moved || (x->walk.at.port == 0 && y->walk.moved))
        x->walk.at = y->walk.at;
    if (realip_scheme_of(x->proto) < 0)
        x->proto = y->proto;
    if (x->host.p == NULL)
        x->host = y->host;
}

/* The host that the client asked for replaces Host, for hooks and applications too, as that of an
 * absolute target does. */
static bool realip_set_host(struct request *req, struct str value)
{
    if (!uri_host(value, &req->arena, &req->host, &req->host_port))
        return false;
    struct header *host = headers_find(&req->headers, HEADER_HOST);
    if (host == NULL)
        host = headers_add(&req->arena, &req->headers, STR("Host"), STR(""));
    host->value = value;
    return true;
}

static const char *realip_apply_account(struct request *req, const struct account *a)
{
    int scheme = realip_scheme_of(a->proto);
    uint64_t port = 0;
    req->client = a->walk.at;
    if (scheme >= 0)
        req->https = scheme > 0;
    if (a->host.p != NULL && !realip_set_host(req, a->host))
        return "what a trusted proxy says of the host (X-Forwarded-Host, Forwarded) is no valid "
               "host";
    if (a->port.p != NULL && str_to_u64(a->port, &port) && port > 0 && port <= UINT16_MAX)
        req->host_port = (int)port;
    /* The port that the client connected to is the proxy's, not that of this listener. */
    if (scheme >= 0 || a->host.p != NULL || port > 0)
        req->local.port = (uint16_t)(req->host_port > 0 ? req->host_port : req->https ? 443 : 80);
    return NULL;
}

/* Drops these headers of a peer that is not trusted, since applications would use them. */
static void realip_distrust(struct request *req)
{
    for (unsigned i = 0; i < req->headers.count; i++)
        if (realip_kind_of(req->headers.list[i].name) != KIND_OTHER)
            req->headers.list[i].hop = true;
}

const char *realip_apply(struct request *req, const struct netset *trusted)
{
    struct account x = {.walk = {.trusted = trusted, .at = req->client}}, forwarded = x;
    if (!netset_has(trusted, &req->client)) {
        realip_distrust(req);
        return NULL;
    }
    for (unsigned i = req->headers.count; i-- > 0;) { /* the last line of a name comes first */
        struct str value = req->headers.list[i].value;
        switch (realip_kind_of(req->headers.list[i].name)) {
        case KIND_FORWARDED:
            realip_walk_forwarded(&forwarded, value);
            break;
        case KIND_FOR:
            realip_walk_for(&x.walk, value);
            break;
        case KIND_PROTO:
            realip_set_last(&x.proto, value);
            break;
        case KIND_HOST:
            realip_set_last(&x.host, value);
            break;
        case KIND_PORT:
            realip_set_last(&x.port, value);
            break;
        case KIND_OTHER:
        case KIND_KIN:
            break;
        }
    }
    if (realip_contradict(&x, &forwarded))
        return "X-Forwarded-* and Forwarded of a trusted proxy contradict each other: the proxy "
               "must "
               "remove the one that it does not write";
    realip_complete(&x, &forwarded);
    return realip_apply_account(req, &x);
}
