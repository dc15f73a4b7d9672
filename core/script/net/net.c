/* net - see net.h. */
#include "script/net/net.h"

#include <arpa/inet.h>
#include <math.h>
#include <stdlib.h>

#define MAX_OPEN  4096 /* sockets of one generation in one worker */
#define GC_WEIGHT 16   /* KB that the garbage collector counts for an open socket */
#define MAX_DEPTH 32   /* of nested lists */

struct script_net *script_net(struct script *s)
{
    if (s->net != NULL)
        return s->net;
    s->net = calloc(1, sizeof *s->net);
    if (s->net == NULL)
        abort();
    s->net->loop = s->net->pools.loop = s->loop;
    return s->net;
}

void *script_net_self(lua_State *L, const char *type)
{
    return script_net_self_at(L, type, 1);
}

void *script_net_self_at(lua_State *L, const char *type, int level)
{
    void *self = lua_touserdata(L, 1);
    bool same = false;
    if (self != NULL && lua_getmetatable(L, 1)) {
        luaL_getmetatable(L, type);
        same = lua_rawequal(L, -1, -2);
        lua_pop(L, 2);
    }
    if (same)
        return self;
    const char *got = script_describe(L, 1);
    luaL_where(L, level);
    lua_pushfstring(L,
                    "expected a call such as sock:close() (with a colon) of a %s, got %s before "
                    "the name",
                    type, got);
    lua_concat(L, 2);
    lua_error(L);
    return NULL;
}

static struct resolver *net_resolver(struct script *s)
{
    struct script_net *net = script_net(s);
    const struct resolver_options options = {.servers = s->settings.resolver,
                                             .count = s->settings.resolver_count};
    if (net->resolver == NULL)
        net->resolver = resolver_new(s->loop, &options);
    return net->resolver;
}

bool script_net_room(struct script *s, lua_State *L)
{
    struct script_net *net = script_net(s);
    lua_gc(L, LUA_GCSTEP, GC_WEIGHT);
    /* A full collection takes long, so it is not repeated for each call while all sockets are in
     * use. */
    if (net->open + net->pools.kept >= MAX_OPEN && loop_now(s->loop) >= net->collect_at) {
        lua_gc(L, LUA_GCCOLLECT, 0);
        net->collect_at = loop_now(s->loop) + 1;
    }
    while (net->open + net->pools.kept >= MAX_OPEN)
        if (!sock_pools_give_up(&net->pools))
            return false;
    return true;
}

void script_net_retire(struct script *s)
{
    if (s->net != NULL)
        sock_pools_clear(&s->net->pools);
}

void script_net_free(struct script *s)
{
    if (s->net == NULL)
        return;
    sock_pools_clear(&s->net->pools);
    resolver_free(s->net->resolver);
    free(s->net);
    s->net = NULL;
}

/* --- waiting --- */

int script_net_wait(lua_State *L, struct net_op *op)
{
    op->active = true;
    lua_pushvalue(L, 1);
    op->anchor = luaL_ref(L, LUA_REGISTRYINDEX);
    return script_wait(L, &op->wait);
}

void script_net_over(struct script *s, struct net_op *op)
{
    op->active = false;
    luaL_unref(s->L, LUA_REGISTRYINDEX, op->anchor);
    op->anchor = LUA_NOREF;
}

/* --- arguments and results --- */

double script_net_seconds(lua_State *L, int idx, const char *who)
{
    if (lua_isnoneornil(L, idx))
        return NET_SECONDS;
    double ms = lua_isnumber(L, idx) ? lua_tonumber(L, idx) : -1;
    if (!(ms >= 0 && ms <= 2147483647.0))
        luaL_error(L, "%s: expected milliseconds from 0 to 2147483647, got %s", who,
                   lua_isstring(L, idx) ? lua_tostring(L, idx) : luaL_typename(L, idx));
    return ms > 0 ? ms / 1000 : NET_SECONDS;
}

/* "127.0.0.1", "::1" or "[::1]". */
static bool net_read_ip(struct str host, uint16_t port, struct addr *out)
{
    char text[INET6_ADDRSTRLEN];
    memset(out, 0, sizeof *out);
    if (host.n >= 2 && host.p[0] == '[' && host.p[host.n - 1] == ']')
        host = (struct str){host.p + 1, host.n - 2};
    if (host.n >= sizeof text)
        return false;
    memcpy(text, host.p, host.n);
    text[host.n] = '\0';
    if (strlen(text) != host.n)
        return false;
    if (inet_pton(AF_INET, text, &out->in.sin_addr) == 1) {
        out->in.sin_family = AF_INET;
        out->len = sizeof out->in;
    } else if (inet_pton(AF_INET6, text, &out->in6.sin6_addr) == 1) {
        out->in6.sin6_family = AF_INET6;
        out->len = sizeof out->in6;
    } else {
        return false;
    }
    addr_set_port(out, port);
    return true;
}

static uint16_t net_check_port(lua_State *L)
{
    double port = lua_isnumber(L, 3) ? lua_tonumber(L, 3) : -1;
    if (!(port >= 0 && port <= 65535 && floor(port) == port))
        luaL_error(L, "connect: expected a port from 0 to 65535, got %s", script_describe(L, 3));
    return (uint16_t)port;
}

enum sock_result script_net_connect(lua_State *L, struct script *s, struct sock *sock,
                                    double seconds)
{
    struct addr addr;
    struct str host = script_expect_text(L, 2, "connect: expected a host or \"unix:/path\"");
    if (str_starts(host, STR("unix:"))) {
        const char *bad =
            strlen(host.p) == host.n ? addr_resolve(host.p, &addr) : "its path has a zero byte";
        if (bad != NULL)
            luaL_error(L, "connect: '%s': %s", host.p, bad);
        return sock_connect(sock, &addr, seconds);
    }
    uint16_t port = net_check_port(L);
    if (net_read_ip(host, port, &addr))
        return sock_connect(sock, &addr, seconds);
    script_check_wait(L); /* before a name is looked up in vain */
    return sock_connect_name(sock, net_resolver(s), host, port, seconds);
}

/* Appends the value on L's top to the text and pops it. */
static const char *net_add_value(lua_State *L, struct buf *out, int depth)
{
    const char *bad = NULL;
    size_t n;
    switch (lua_type(L, -1)) {
    case LUA_TSTRING:
    case LUA_TNUMBER:
        buf_append_str(out, script_str(L, -1));
        break;
    case LUA_TBOOLEAN:
        buf_append_str(out, lua_toboolean(L, -1) ? STR("true") : STR("false"));
        break;
    case LUA_TNIL:
        buf_append_str(out, STR("nil"));
        break;
    case LUA_TTABLE:
        if (depth == MAX_DEPTH || !lua_checkstack(L, 2))
            bad = "a list that is not nested deeper than 32 levels";
        n = lua_objlen(L, -1);
        for (size_t i = 1; i <= n && bad == NULL; i++) {
            lua_rawgeti(L, -1, (int)i);
            bad = net_add_value(L, out, depth + 1);
        }
        break;
    default:
        bad = "a string, a number, a boolean, nil, or a list of them";
    }
    lua_pop(L, 1);
    return bad;
}

struct str script_net_flatten(lua_State *L, int idx, struct buf *out, const char *who)
{
    if (lua_type(L, idx) == LUA_TSTRING)
        return script_str(L, idx);
    buf_init(out, SOCK_BUFFER);
    lua_pushvalue(L, idx);
    const char *bad = net_add_value(L, out, 0);
    if (bad != NULL) {
        buf_fini(out);
        luaL_error(L, "%s: expected %s, got %s", who, bad, luaL_typename(L, idx));
    }
    return buf_peek(out);
}
