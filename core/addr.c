/* addr - see addr.h. */
#include "addr.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>

static const char *parse_unix(struct str path, struct addr *out)
{
    if (path.n == 0 || path.p[0] != '/')
        return "a unix socket needs an absolute path, as in unix:/run/php.sock";
    if (path.n >= sizeof out->un.sun_path)
        return "the path of the unix socket is longer than 107 bytes";
    out->un.sun_family = AF_UNIX;
    memcpy(out->un.sun_path, path.p, path.n);
    out->un.sun_path[path.n] = '\0';
    out->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.n + 1);
    return NULL;
}

/* Splits host:port; the host comes without its brackets. */
static const char *split(struct str text, struct str *host, bool *bracketed, uint64_t *port)
{
    const char *colon = memrchr(text.p, ':', text.n);
    if (colon == NULL)
        return "a port is missing, as in 127.0.0.1:9000";
    *host = (struct str){text.p, (size_t)(colon - text.p)};
    if (!str_to_u64(str_skip(text, host->n + 1), port) || *port > 65535)
        return "the port is not a number from 0 to 65535";
    *bracketed = host->n >= 2 && host->p[0] == '[' && host->p[host->n - 1] == ']';
    if (*bracketed)
        *host = (struct str){host->p + 1, host->n - 2};
    else if (memchr(host->p, ':', host->n) != NULL)
        return "an IPv6 address needs brackets, as in [::1]:9000";
    if (host->n > 255)
        return "the host name is too long";
    return NULL;
}

static const char *look_up(const char *host, uint16_t port, struct addr *out)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *found;
    char service[8];
    snprintf(service, sizeof service, "%u", port);
    int code = getaddrinfo(host, service, &hints, &found);
    if (code != 0)
        return gai_strerror(code);
    memcpy(&out->sa, found->ai_addr, found->ai_addrlen);
    out->len = found->ai_addrlen;
    freeaddrinfo(found);
    return NULL;
}

const char *addr_resolve(const char *text, struct addr *out)
{
    struct str s = str_of(text), host;
    uint64_t port;
    bool bracketed;
    memset(out, 0, sizeof *out);
    if (str_starts(s, STR("unix:")))
        return parse_unix(str_skip(s, 5), out);
    const char *err = split(s, &host, &bracketed, &port);
    if (err != NULL)
        return err;

    char name[256];
    memcpy(name, host.p, host.n);
    name[host.n] = '\0';
    if ((host.n == 0 && !bracketed) || str_eq(host, STR("*")))
        strcpy(name, "0.0.0.0");
    if (bracketed && inet_pton(AF_INET6, name, &out->in6.sin6_addr) != 1)
        return "what stands in brackets is not an IPv6 address";
    if (inet_pton(AF_INET, name, &out->in.sin_addr) == 1) {
        out->in.sin_family = AF_INET;
        out->in.sin_port = htons((uint16_t)port);
        out->len = sizeof out->in;
        return NULL;
    }
    if (inet_pton(AF_INET6, name, &out->in6.sin6_addr) == 1) {
        out->in6.sin6_family = AF_INET6;
        out->in6.sin6_port = htons((uint16_t)port);
        out->len = sizeof out->in6;
        return NULL;
    }
    return look_up(name, (uint16_t)port, out);
}

void peer_from(struct peer *p, const struct addr *a)
{
    memset(p, 0, sizeof *p);
    p->family = (uint8_t)a->sa.sa_family;
    if (a->sa.sa_family == AF_INET) {
        memcpy(p->ip, &a->in.sin_addr, 4);
        p->port = ntohs(a->in.sin_port);
    } else if (a->sa.sa_family == AF_INET6) {
        p->port = ntohs(a->in6.sin6_port);
        if (IN6_IS_ADDR_V4MAPPED(&a->in6.sin6_addr)) {
            p->family = AF_INET;
            memcpy(p->ip, a->in6.sin6_addr.s6_addr + 12, 4);
        } else {
            memcpy(p->ip, &a->in6.sin6_addr, 16);
        }
    }
}

/* inet_ntop goes through printf; this is on the path of every request. */
static size_t ipv4_text(const uint8_t ip[4], char *out)
{
    char *at = out;
    for (int i = 0; i < 4; i++) {
        unsigned b = ip[i];
        if (b >= 100)
            *at++ = (char)('0' + b / 100);
        if (b >= 10)
            *at++ = (char)('0' + b / 10 % 10);
        *at++ = (char)('0' + b % 10);
        *at++ = '.';
    }
    *--at = '\0';
    return (size_t)(at - out);
}

size_t peer_text(const struct peer *p, char out[PEER_TEXT_SIZE])
{
    if (p->family == AF_INET)
        return ipv4_text(p->ip, out);
    if (p->family != AF_INET6 || inet_ntop(AF_INET6, p->ip, out, PEER_TEXT_SIZE) == NULL)
        strcpy(out, "unix:");
    return strlen(out);
}

const char *addr_text(const struct addr *a, char *out)
{
    struct peer p;
    char ip[PEER_TEXT_SIZE];
    if (a->sa.sa_family == AF_UNIX) {
        snprintf(out, ADDR_TEXT_SIZE, "unix:%s", a->un.sun_path);
        return out;
    }
    peer_from(&p, a);
    peer_text(&p, ip);
    snprintf(out, ADDR_TEXT_SIZE, p.family == AF_INET6 ? "[%s]:%u" : "%s:%u", ip, p.port);
    return out;
}
