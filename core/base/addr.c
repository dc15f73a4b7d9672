/* addr - see addr.h. */
#include "base/addr.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>

static const char *addr_parse_unix(struct str path, struct addr *out)
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
static const char *addr_split(struct str text, struct str *host, bool *bracketed, uint64_t *port)
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

static bool addr_is_among(const struct addr *list, unsigned count, const struct addr *a)
{
    for (unsigned i = 0; i < count; i++)
        if (addr_compare(&list[i], a) == 0)
            return true;
    return false;
}

/* Looks a name up. An address that comes twice, as from a hosts file, is taken once. */
static const char *addr_look_up(const char *host, uint16_t port, struct addr list[ADDR_MOST],
                                unsigned *count)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *found;
    char service[8];
    snprintf(service, sizeof service, "%u", port);
    int code = getaddrinfo(host, service, &hints, &found);
    if (code != 0)
        return gai_strerror(code);
    *count = 0;
    for (const struct addrinfo *a = found; a != NULL && *count < ADDR_MOST; a = a->ai_next)
        if (addr_from(&list[*count], a->ai_addr, a->ai_addrlen) &&
            !addr_is_among(list, *count, &list[*count]))
            ++*count;
    freeaddrinfo(found);
    return *count > 0 ? NULL : "the name has no address";
}

const char *addr_resolve_all(const char *text, struct addr list[ADDR_MOST], unsigned *count)
{
    struct addr *out = &list[0];
    struct str s = str_of(text), host;
    uint64_t port;
    bool bracketed;
    memset(out, 0, sizeof *out);
    *count = 1;
    if (str_starts(s, STR("unix:")))
        return addr_parse_unix(str_skip(s, 5), out);
    const char *err = addr_split(s, &host, &bracketed, &port);
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
    return addr_look_up(name, (uint16_t)port, list, count);
}

const char *addr_resolve(const char *text, struct addr *out)
{
    struct addr list[ADDR_MOST];
    unsigned count;
    const char *bad = addr_resolve_all(text, list, &count);
    *out = list[0];
    return bad;
}

static bool addr_may_be_in_name(char c)
{
    char low = char_lower(c);
    return (low >= 'a' && low <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
}

bool addr_is_name(const char *text, struct str *host, uint16_t *port)
{
    struct str s = str_of(text), name;
    struct in_addr ip;
    uint64_t number;
    bool bracketed;
    char copy[256];
    if (str_starts(s, STR("unix:")) || addr_split(s, &name, &bracketed, &number) != NULL ||
        bracketed || name.n == 0 || name.n >= sizeof copy)
        return false;
    for (size_t i = 0; i < name.n; i++)
        if (!addr_may_be_in_name(name.p[i]))
            return false;
    memcpy(copy, name.p, name.n);
    copy[name.n] = '\0';
    if (inet_pton(AF_INET, copy, &ip) == 1)
        return false;
    if (host != NULL)
        *host = name;
    if (port != NULL)
        *port = (uint16_t)number;
    return true;
}

bool addr_from(struct addr *out, const struct sockaddr *sa, socklen_t len)
{
    size_t least = offsetof(struct sockaddr, sa_data), most = sizeof out->un;
    memset(out, 0, sizeof *out);
    if (len < least)
        return false;
    if (sa->sa_family == AF_INET)
        least = most = sizeof out->in;
    else if (sa->sa_family == AF_INET6)
        least = most = sizeof out->in6;
    else if (sa->sa_family != AF_UNIX)
        return false;
    if (len < least || len > most)
        return false;
    memcpy(&out->sa, sa, len);
    out->len = len;
    return true;
}

void addr_set_port(struct addr *a, uint16_t port)
{
    if (a->sa.sa_family == AF_INET)
        a->in.sin_port = htons(port);
    else if (a->sa.sa_family == AF_INET6)
        a->in6.sin6_port = htons(port);
}

bool addr_is_wildcard(const struct addr *a)
{
    if (a->sa.sa_family == AF_INET)
        return a->in.sin_addr.s_addr == INADDR_ANY;
    return a->sa.sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&a->in6.sin6_addr);
}

int addr_compare(const struct addr *a, const struct addr *b)
{
    int order = (int)a->sa.sa_family - (int)b->sa.sa_family;
    if (order != 0)
        return order;
    if (a->sa.sa_family == AF_INET) {
        order = memcmp(&a->in.sin_addr, &b->in.sin_addr, sizeof a->in.sin_addr);
        return order != 0 ? order : (int)ntohs(a->in.sin_port) - (int)ntohs(b->in.sin_port);
    }
    if (a->sa.sa_family == AF_INET6) {
        order = memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof a->in6.sin6_addr);
        if (order == 0 && a->in6.sin6_scope_id != b->in6.sin6_scope_id)
            order = a->in6.sin6_scope_id < b->in6.sin6_scope_id ? -1 : 1;
        return order != 0 ? order : (int)ntohs(a->in6.sin6_port) - (int)ntohs(b->in6.sin6_port);
    }
    return strncmp(a->un.sun_path, b->un.sun_path, sizeof a->un.sun_path);
}

void peer_set_ip(struct peer *p, int family, const void *ip)
{
    static const uint8_t mapped[12] = {[10] = 0xff, 0xff};
    const uint8_t *bytes = ip;
    bool is_mapped = family == AF_INET6 && memcmp(bytes, mapped, sizeof mapped) == 0;
    p->family = (uint8_t)(is_mapped ? AF_INET : family);
    memset(p->ip, 0, sizeof p->ip);
    memcpy(p->ip, is_mapped ? bytes + sizeof mapped : bytes, p->family == AF_INET ? 4 : 16);
}

void peer_from(struct peer *p, const struct addr *a)
{
    memset(p, 0, sizeof *p);
    p->family = (uint8_t)a->sa.sa_family;
    if (a->sa.sa_family == AF_INET) {
        peer_set_ip(p, AF_INET, &a->in.sin_addr);
        p->port = ntohs(a->in.sin_port);
    } else if (a->sa.sa_family == AF_INET6) {
        peer_set_ip(p, AF_INET6, &a->in6.sin6_addr);
        p->port = ntohs(a->in6.sin6_port);
    }
}

bool peer_parse(struct peer *p, struct str text)
{
    char copy[INET6_ADDRSTRLEN];
    uint8_t ip[16];
    if (text.n == 0 || text.n >= sizeof copy)
        return false;
    memcpy(copy, text.p, text.n);
    copy[text.n] = '\0';
    int family = memchr(text.p, ':', text.n) != NULL ? AF_INET6 : AF_INET;
    *p = (struct peer){0};
    if (strlen(copy) != text.n || inet_pton(family, copy, ip) != 1)
        return false;
    peer_set_ip(p, family, ip);
    return true;
}

bool peer_same_ip(const struct peer *a, const struct peer *b)
{
    return a->family == b->family && memcmp(a->ip, b->ip, sizeof a->ip) == 0;
}

/* Writes an IPv4 address without inet_ntop, which uses printf and is too slow for each request. */
static size_t addr_ipv4_text(const uint8_t ip[4], char *out)
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
        return addr_ipv4_text(p->ip, out);
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
