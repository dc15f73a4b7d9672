/*
 * udp - ngx.socket.udp: datagrams to one peer, with the methods, results and errors of
 * OpenResty's (lua-nginx-module's documentation of ngx.socket.udp). lua/ngx.lua gives it to
 * libraries. See script/net/tcp.c for the object's life.
 */
#include "script/net/net.h"

#define UDP          "moongate.udp"
#define RECEIVE_SIZE 8192 /* bytes, unless the script gives another size */
#define RECEIVE_MOST 65535

struct udp {
    struct sock sock;
    struct script *script;
    struct net_op reading, writing; /* setpeername uses `writing` */
    double seconds;
    size_t size; /* most bytes of a datagram that receive returns */
    /* of the operation that ended, while its results are pushed: NULL, or the reason of its failure
     */
    const char *result;
    bool counted;
};

static struct udp *udp_self(lua_State *L)
{
    return script_net_self(L, UDP);
}

static void udp_shut(struct udp *u)
{
    sock_close(&u->sock);
    if (u->counted)
        script_net(u->script)->open--;
    u->counted = false;
}

static const char *udp_busy(const struct udp *u)
{
    if (u->writing.active)
        return u->sock.connecting ? "socket busy connecting" : "socket busy writing";
    return u->reading.active ? "socket busy reading" : NULL;
}

static void udp_cancel_reading(struct script_wait *wait)
{
    struct udp *u = (struct udp *)((char *)wait - offsetof(struct udp, reading.wait));
    script_net_over(u->script, &u->reading);
    sock_rest(&u->sock);
    if (!u->writing.active)
        udp_shut(u);
}

static void udp_cancel_writing(struct script_wait *wait)
{
    struct udp *u = (struct udp *)((char *)wait - offsetof(struct udp, writing.wait));
    script_net_over(u->script, &u->writing);
    sock_forget_send(&u->sock);
    if (!u->reading.active)
        udp_shut(u);
}

static int udp_gc(lua_State *L)
{
    struct udp *u = lua_touserdata(L, 1);
    udp_shut(u);
    sock_fini(&u->sock);
    return 0;
}

/* --- setpeername --- */

static int udp_push_connected(lua_State *L, struct udp *u)
{
    if (!u->counted)
        script_net(u->script)->open++;
    u->counted = true;
    lua_pushinteger(L, 1);
    return 1;
}

static int udp_push_connect_result(lua_State *L, void *ctx)
{
    struct udp *u = ctx;
    int count = u->result == NULL ? udp_push_connected(L, u) : script_fail(L, u->result);
    if (u->result != NULL)
        udp_shut(u);
    script_net_over(u->script, &u->writing);
    return count;
}

static void udp_connected_cb(struct sock *k, const char *err)
{
    struct udp *u = (struct udp *)k;
    u->result = err;
    script_wake(&u->writing.wait, udp_push_connect_result, u);
}

/* udp:setpeername(host, port), udp:setpeername("unix:/path") -> 1; or nil, reason */
static int udp_setpeername(lua_State *L)
{
    struct udp *u = udp_self(L);
    script_expect_text(L, 2, "setpeername: expected a host or \"unix:/path\"");
    const char *bad = udp_busy(u);
    if (bad != NULL)
        return script_fail(L, bad);
    lua_settop(L, 3);
    udp_shut(u);
    if (!script_net_room(u->script, L))
        return script_fail(L, "too many open sockets");
    switch (script_net_connect(L, u->script, &u->sock, u->seconds)) {
    case SOCK_DONE:
        return udp_push_connected(L, u);
    case SOCK_WAITS:
        script_net(u->script)->open++;
        u->counted = true;
        return script_net_wait(L, &u->writing);
    default:
        return script_fail(L, u->sock.err);
    }
}

/* --- send and receive --- */

static int udp_push_sent(lua_State *L, void *ctx)
{
    struct udp *u = ctx;
    int count = 1;
    if (u->result != NULL)
        count = script_fail(L, u->result);
    else
        lua_pushinteger(L, 1);
    script_net_over(u->script, &u->writing);
    return count;
}

static void udp_sent_cb(struct sock *k, const char *err)
{
    struct udp *u = (struct udp *)k;
    u->result = err;
    script_wake(&u->writing.wait, udp_push_sent, u);
}

/* udp:send(text or list) -> 1; or nil, reason */
static int udp_send(lua_State *L)
{
    struct udp *u = udp_self(L);
    struct buf list = {0};
    if (lua_isnone(L, 2))
        return luaL_error(L, "send: expected a text or a list of texts, got nothing");
    if (u->writing.active)
        return script_fail(L, udp_busy(u));
    if (!sock_is_open(&u->sock))
        return script_fail(L, "closed");
    struct str bytes = script_net_flatten(L, 2, &list, "send");
    enum sock_result result = list.overflow ? SOCK_FAILED : SOCK_DONE;
    if (list.overflow)
        strcpy(u->sock.err, "message too long");
    else
        result = sock_send(&u->sock, bytes, u->seconds);
    buf_fini(&list);
    if (result == SOCK_WAITS)
        return script_net_wait(L, &u->writing);
    if (result == SOCK_FAILED)
        return script_fail(L, u->sock.err);
    lua_pushinteger(L, 1);
    return 1;
}

/* Pushes the next datagram, or nil and the reason; 0 while no datagram has come. The bytes of a
 * datagram beyond the size are lost, as with recv(2). */
static int udp_advance(lua_State *L, struct udp *u)
{
    struct buf *in = &u->sock.in;
    switch (sock_fill(&u->sock, 0)) {
    case SOCK_WAITS:
        return 0;
    case SOCK_FAILED:
        return script_fail(L, u->sock.err);
    default:
        break;
    }
    struct str all = buf_peek(in);
    lua_pushlstring(L, all.p, all.n < u->size ? all.n : u->size);
    buf_fini(in);
    return 1;
}

static int udp_push_received(lua_State *L, void *ctx)
{
    struct udp *u = ctx;
    int count = u->result != NULL ? script_fail(L, u->result) : udp_advance(L, u);
    if (count == 0)
        return -1;
    sock_rest(&u->sock);
    script_net_over(u->script, &u->reading);
    return count;
}

static void udp_readable_cb(struct sock *k, const char *err)
{
    struct udp *u = (struct udp *)k;
    u->result = err;
    script_wake(&u->reading.wait, udp_push_received, u);
}

/* udp:receive([most]) -> a datagram; or nil, reason */
static int udp_receive(lua_State *L)
{
    struct udp *u = udp_self(L);
    double size = lua_isnoneornil(L, 2) ? RECEIVE_SIZE : lua_tonumber(L, 2);
    if (!(size > 0))
        return luaL_error(L, "receive: expected a number of bytes, got %s", script_describe(L, 2));
    if (u->reading.active)
        return script_fail(L, "socket busy reading");
    if (!sock_is_open(&u->sock))
        return script_fail(L, "closed");
    u->size = size < RECEIVE_MOST ? (size_t)size : RECEIVE_MOST;
    int count = udp_advance(L, u);
    if (count > 0)
        return count;
    sock_await(&u->sock, u->seconds);
    return script_net_wait(L, &u->reading);
}

/* udp:settimeout(milliseconds) */
static int udp_settimeout(lua_State *L)
{
    udp_self(L)->seconds = script_net_seconds(L, 2, "settimeout");
    return 0;
}

/* udp:close() -> 1; or nil, reason */
static int udp_close(lua_State *L)
{
    struct udp *u = udp_self(L);
    const char *bad = udp_busy(u);
    if (bad == NULL && !sock_is_open(&u->sock))
        bad = "closed";
    if (bad != NULL)
        return script_fail(L, bad);
    udp_shut(u);
    lua_pushinteger(L, 1);
    return 1;
}

/* core.udp() -> a socket without a peer */
static int udp_new(lua_State *L)
{
    static const struct sock_ops ops = {udp_connected_cb, udp_sent_cb, udp_readable_cb};
    struct script *s = script_of(L);
    struct udp *u = lua_newuserdata(L, sizeof *u);
    memset(u, 0, sizeof *u);
    u->script = s;
    u->seconds = NET_SECONDS;
    u->reading.wait.cancel = udp_cancel_reading;
    u->writing.wait.cancel = udp_cancel_writing;
    sock_init(&u->sock, s->loop, true, &ops);
    luaL_getmetatable(L, UDP);
    lua_setmetatable(L, -2);
    return 1;
}

void script_udp_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"close", udp_close},
        {"receive", udp_receive},
        {"send", udp_send},
        {"setpeername", udp_setpeername},
        {"settimeout", udp_settimeout},
        {NULL, NULL},
    };
    script_class(L, UDP, methods, udp_gc);
    lua_pushcfunction(L, udp_new);
    lua_setfield(L, -2, "udp");
}
