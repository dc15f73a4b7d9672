/*
 * tcp - moongate.tcp: connections to any server, with the methods, results and errors of
 * OpenResty's cosockets (lua-nginx-module's documentation of ngx.socket.tcp).
 *
 * The object is a userdata, anchored while a task waits for it. A task that is cancelled while it
 * waits closes the connection, since the state of the conversation is unknown. The garbage
 * collector closes a connection that the script no longer refers to; setkeepalive puts one into a
 * pool (script/net/pool.h). lua/moongate/base/receive.lua splits the received bytes into lines and
 * pieces.
 */
#include "script/net/net.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define TCP            "moongate.tcp"
#define POOL_SIZE      30 /* connections of a pool, unless the script sets another size */
#define POOL_SIZE_MOST 4096
#define FILLS_AT_ONCE  16 /* successful reads in a row; the next one waits for the loop */

struct tcp {
    struct sock sock;
    struct script *script;
    struct net_op reading, writing; /* connecting uses `writing` */
    double connect_seconds, send_seconds, read_seconds;
    char *pool; /* malloc'd name; NULL before the first connect */
    unsigned pool_size;
    unsigned reused;
    bool counted; /* among script_net.open */
    /* of the operation that ended, while its results are pushed: NULL, or the reason of its failure
     */
    const char *result;
    size_t sending;
    size_t wanted;  /* bytes that the script waits for; 0: any number */
    unsigned fills; /* reads since the function has last waited */
};

/* --- its life --- */

static struct tcp *tcp_self(lua_State *L)
{
    return script_net_self(L, TCP);
}

static void tcp_shut(struct tcp *t)
{
    sock_close(&t->sock);
    if (t->counted)
        script_net(t->script)->open--;
    t->counted = false;
}

static const char *tcp_busy(const struct tcp *t)
{
    if (t->writing.active)
        return t->sock.connecting ? "socket busy connecting" : "socket busy writing";
    return t->reading.active ? "socket busy reading" : NULL;
}

/* Called when the task of one direction is cancelled. A task that waits for the other direction
 * gets an error. */
static void tcp_cancelled(struct tcp *t, struct net_op *op, struct net_op *other)
{
    script_net_over(t->script, op);
    if (other->active)
        shutdown(t->sock.fd, SHUT_RDWR);
    else
        tcp_shut(t);
}

static void tcp_cancel_reading(struct script_wait *wait)
{
    struct tcp *t = (struct tcp *)((char *)wait - offsetof(struct tcp, reading.wait));
    sock_rest(&t->sock);
    tcp_cancelled(t, &t->reading, &t->writing);
}

static void tcp_cancel_writing(struct script_wait *wait)
{
    struct tcp *t = (struct tcp *)((char *)wait - offsetof(struct tcp, writing.wait));
    sock_forget_send(&t->sock);
    tcp_cancelled(t, &t->writing, &t->reading);
}

static int tcp_gc(lua_State *L)
{
    struct tcp *t = lua_touserdata(L, 1);
    tcp_shut(t);
    sock_fini(&t->sock);
    free(t->pool);
    t->pool = NULL;
    return 0;
}

/* --- connect --- */

/* Pushes the results of connect, once the connection is up. */
static int tcp_push_connected(lua_State *L, struct tcp *t)
{
    if (!t->counted)
        script_net(t->script)->open++;
    t->counted = true;
    lua_pushinteger(L, 1);
    return 1;
}

static int tcp_push_connect_result(lua_State *L, void *ctx)
{
    struct tcp *t = ctx;
    if (t->result != NULL)
        tcp_shut(t);
    int count = t->result == NULL ? tcp_push_connected(L, t) : script_fail(L, t->result);
    script_net_over(t->script, &t->writing);
    return count;
}

static void tcp_connected_cb(struct sock *k, const char *err)
{
    struct tcp *t = (struct tcp *)k;
    t->result = err;
    script_wake(&t->writing.wait, tcp_push_connect_result, t);
}

static int tcp_check_size(lua_State *L, int idx, const char *what)
{
    double size = lua_isnumber(L, idx) ? lua_tonumber(L, idx) : -1;
    if (!(size >= 1 && size <= POOL_SIZE_MOST && floor(size) == size))
        luaL_error(L, "%s: expected a number of connections from 1 to 4096, got %s", what,
                   lua_isstring(L, idx) ? lua_tostring(L, idx) : luaL_typename(L, idx));
    return (int)size;
}

/* The options at idx: `pool` is left on the stack, or nil. Options for TLS, which libraries pass,
 * are ignored. */
static void tcp_take_options(lua_State *L, int idx, struct tcp *t)
{
    if (lua_isnoneornil(L, idx)) {
        lua_pushnil(L);
        return;
    }
    if (!lua_istable(L, idx))
        luaL_error(L, "connect: expected a table such as { pool = \"cache\" } as options, got %s",
                   script_describe(L, idx));
    lua_getfield(L, idx, "backlog");
    if (!lua_isnil(L, -1))
        luaL_error(L, "connect: 'backlog' is not available; 'pool_size' bounds what is kept");
    lua_getfield(L, idx, "pool_size");
    if (!lua_isnil(L, -1))
        t->pool_size = (unsigned)tcp_check_size(L, lua_gettop(L), "connect: pool_size");
    lua_pop(L, 2);
    lua_getfield(L, idx, "pool");
    if (lua_isnil(L, -1))
        return;
    if (!lua_isstring(L, -1) || strlen(lua_tostring(L, -1)) != lua_objlen(L, -1))
        luaL_error(L, "connect: expected a string without zero bytes as 'pool', got %s",
                   luaL_typename(L, -1));
}

/* Sets the pool's name: the text on L's top, which is popped, or "host:port" or "unix:/path". */
static void tcp_name_pool(lua_State *L, struct tcp *t, bool is_unix)
{
    if (lua_isnil(L, -1) && !is_unix)
        lua_pushfstring(L, "%s:%s", lua_tostring(L, 2), lua_tostring(L, 3));
    else if (lua_isnil(L, -1))
        lua_pushvalue(L, 2);
    free(t->pool);
    t->pool = strdup(lua_tostring(L, -1));
    if (t->pool == NULL)
        abort();
}

/* tcp:connect(host, port [, options]), tcp:connect("unix:/path" [, options]) -> 1; or nil, reason
 */
static int tcp_connect(lua_State *L)
{
    struct tcp *t = tcp_self(L);
    struct str host = script_expect_text(L, 2, "connect: expected a host or \"unix:/path\"");
    bool is_unix = str_starts(host, STR("unix:"));
    if (strlen(host.p) != host.n)
        return luaL_error(L, "connect: expected a host without a zero byte, got %s",
                          script_describe(L, 2));
    if (!is_unix) {
        if (!lua_isnumber(L, 3))
            return luaL_error(L, "connect: expected a port from 0 to 65535, got %s",
                              script_describe(L, 3));
        /* lua_tolstring would change the port in place; the text becomes part of the pool's name */
        lua_pushvalue(L, 3);
        lua_tostring(L, -1);
        lua_replace(L, 3);
    }
    const char *bad = tcp_busy(t);
    if (bad != NULL)
        return script_fail(L, bad);
    script_check_wait(L);
    lua_settop(L, 4);
    tcp_shut(t);
    t->pool_size = POOL_SIZE;
    tcp_take_options(L, is_unix && lua_istable(L, 3) ? 3 : 4, t);
    tcp_name_pool(L, t, is_unix);
    t->reused = 0;
    int fd = sock_pools_take(&script_net(t->script)->pools, str_of(t->pool), &t->reused);
    if (fd >= 0) {
        sock_adopt(&t->sock, fd);
        return tcp_push_connected(L, t);
    }
    if (!script_net_room(t->script, L))
        return script_fail(L, "too many open sockets");
    switch (script_net_connect(L, t->script, &t->sock, t->connect_seconds)) {
    case SOCK_DONE:
        return tcp_push_connected(L, t);
    case SOCK_WAITS: /* the descriptor is open, and counted, from now on */
        script_net(t->script)->open++;
        t->counted = true;
        return script_net_wait(L, &t->writing);
    default:
        return script_fail(L, t->sock.err);
    }
}

/* --- send --- */

static int tcp_push_sent(lua_State *L, void *ctx)
{
    struct tcp *t = ctx;
    bool failed = t->result != NULL;
    int count = 1;
    if (failed)
        count = script_fail(L, t->result);
    else
        lua_pushnumber(L, (lua_Number)t->sending);
    script_net_over(t->script, &t->writing);
    if (failed && t->reading.active)
        shutdown(t->sock.fd, SHUT_RDWR);
    else if (failed)
        tcp_shut(t);
    return count;
}

static void tcp_sent_cb(struct sock *k, const char *err)
{
    struct tcp *t = (struct tcp *)k;
    t->result = err;
    script_wake(&t->writing.wait, tcp_push_sent, t);
}

static int tcp_send_failed(lua_State *L, struct tcp *t)
{
    int count = script_fail(L, t->sock.err);
    if (t->reading.active)
        shutdown(t->sock.fd, SHUT_RDWR);
    else
        tcp_shut(t);
    return count;
}

/* tcp:send(text or list) -> bytes; or nil, reason */
static int tcp_send(lua_State *L)
{
    struct tcp *t = tcp_self(L);
    struct buf list = {0};
    if (lua_isnone(L, 2))
        return luaL_error(L, "send: expected a text or a list of texts, got nothing");
    if (t->writing.active)
        return script_fail(L, tcp_busy(t));
    if (!sock_is_open(&t->sock))
        return script_fail(L, "closed");
    struct str bytes = script_net_flatten(L, 2, &list, "send");
    if (list.overflow) {
        buf_fini(&list);
        return script_fail(L, "more than 64 MB at once");
    }
    t->sending = bytes.n;
    enum sock_result result = sock_send(&t->sock, bytes, t->send_seconds);
    buf_fini(&list);
    if (result == SOCK_WAITS)
        return script_net_wait(L, &t->writing);
    if (result == SOCK_FAILED)
        return tcp_send_failed(L, t);
    lua_pushnumber(L, (lua_Number)t->sending);
    return 1;
}

/* --- receiving --- */

/* The socket at 1, for the functions that lua/moongate/base/receive.lua calls. An error about it
 * names the caller of that module, the script's line. */
static struct tcp *tcp_check_reader(lua_State *L)
{
    return script_net_self_at(L, TCP, 2);
}

/* The reason why the socket can't be read now; NULL: it can. */
static const char *tcp_unreadable(const struct tcp *t)
{
    if (t->reading.active)
        return "socket busy reading";
    if (t->sock.connecting)
        return "socket busy connecting";
    return sock_is_open(&t->sock) ? NULL : "closed";
}

static int tcp_refuse(lua_State *L, const char *reason)
{
    lua_pushboolean(L, 0);
    lua_pushstring(L, reason);
    return 2;
}

/* The number of bytes at idx. A number above the bound becomes more than a socket can hold. */
static size_t tcp_bytes_at(lua_State *L, int idx)
{
    double n = lua_tonumber(L, idx);
    return n <= SOCK_BUFFER ? (size_t)n : SIZE_MAX;
}

/* core.tcp_find(socket) -> how many bytes are there
 * core.tcp_find(socket, text, from) -> how many stand before the text, which begins behind so many;
 * or nil, and before how many it does not begin
 * false, reason: nothing can be read now */
static int tcp_find(lua_State *L)
{
    struct tcp *t = tcp_check_reader(L);
    const char *bad = tcp_unreadable(t), *at = NULL;
    struct str all = buf_peek(&t->sock.in);
    if (bad != NULL)
        return tcp_refuse(L, bad);
    if (lua_type(L, 2) != LUA_TSTRING) {
        lua_pushnumber(L, (lua_Number)all.n);
        return 1;
    }
    struct str text = script_str(L, 2);
    size_t from = tcp_bytes_at(L, 3);
    if (all.n >= text.n && from <= all.n - text.n)
        at = memmem(all.p + from, all.n - from, text.p, text.n);
    if (at != NULL) {
        lua_pushnumber(L, (lua_Number)(at - all.p));
        return 1;
    }
    lua_pushnil(L); /* the last bytes may be the beginning of the text */
    lua_pushnumber(L, all.n >= text.n ? (lua_Number)(all.n - text.n + 1) : 0);
    return 2;
}

static void tcp_push_bytes(lua_State *L, struct tcp *t, size_t n, size_t skip)
{
    struct str all = buf_peek(&t->sock.in);
    lua_pushlstring(L, n > 0 ? all.p : "", n);
    buf_consume(&t->sock.in, n + skip);
}

/* core.tcp_take(socket, n [, skip]) -> so many bytes, and as many as `skip` says are dropped; nil:
 * they are not there
 * false, reason: nothing can be read now */
static int tcp_take(lua_State *L)
{
    struct tcp *t = tcp_check_reader(L);
    const char *bad = tcp_unreadable(t);
    size_t n = tcp_bytes_at(L, 2), skip = tcp_bytes_at(L, 3), have = buf_len(&t->sock.in);
    if (bad != NULL)
        return tcp_refuse(L, bad);
    if (n > have || skip > have - n)
        return 0;
    tcp_push_bytes(L, t, n, skip);
    return 1;
}

/* Pushes nil, the reason and the bytes received so far, when no more can be read. The connection is
 * closed, but for a time-out. */
static int tcp_push_short(lua_State *L, struct tcp *t, const char *reason)
{
    size_t have = buf_len(&t->sock.in);
    script_fail(L, reason);
    /* A full buffer is dropped: it is too large to be handed out. */
    tcp_push_bytes(L, t, have < SOCK_BUFFER ? have : 0, 0);
    if (strcmp(reason, "timeout") != 0 && t->writing.active)
        shutdown(t->sock.fd, SHUT_RDWR);
    else if (strcmp(reason, "timeout") != 0)
        tcp_shut(t);
    return 3;
}

/* Reads once and pushes the results; 0: no bytes can be read now. */
static int tcp_fill_reading(lua_State *L, struct tcp *t)
{
    size_t have = buf_len(&t->sock.in);
    char reason[sizeof t->sock.err];
    switch (sock_fill(&t->sock, t->wanted > have ? t->wanted - have : 0)) {
    case SOCK_DONE:
        lua_pushboolean(L, 1);
        return 1;
    case SOCK_ENDED:
        return tcp_push_short(L, t, "closed");
    case SOCK_FAILED:
        memcpy(reason, t->sock.err, sizeof reason); /* copied, since closing may overwrite it */
        return tcp_push_short(L, t, reason);
    case SOCK_WAITS:
        break;
    }
    return 0;
}

static int tcp_push_filled(lua_State *L, void *ctx)
{
    struct tcp *t = ctx;
    int count = t->result != NULL ? tcp_push_short(L, t, t->result) : tcp_fill_reading(L, t);
    if (count == 0) {
        sock_await(&t->sock, t->read_seconds);
        return -1;
    }
    sock_rest(&t->sock);
    script_net_over(t->script, &t->reading);
    return count;
}

static void tcp_readable_cb(struct sock *k, const char *err)
{
    struct tcp *t = (struct tcp *)k;
    t->result = err;
    script_wake(&t->reading.wait, tcp_push_filled, t);
}

/* core.tcp_fill(socket [, n]) -> true: more has come, read in large pieces up to n bytes in all; or
 * nil, reason, all that there is, which is out of the socket then; or nil, reason. Waits. */
static int tcp_fill(lua_State *L)
{
    struct tcp *t = tcp_check_reader(L);
    const char *bad = tcp_unreadable(t);
    if (bad != NULL)
        return script_fail(L, bad);
    t->wanted = lua_isnumber(L, 2) ? tcp_bytes_at(L, 2) : 0;
    int count = t->fills++ < FILLS_AT_ONCE ? tcp_fill_reading(L, t) : 0;
    if (count > 0)
        return count;
    t->fills = 0;
    sock_await(&t->sock, t->read_seconds);
    return script_net_wait(L, &t->reading);
}

/* --- keeping and closing --- */

/* tcp:setkeepalive([milliseconds [, size]]) -> 1; or nil, reason */
static int tcp_setkeepalive(lua_State *L)
{
    struct tcp *t = tcp_self(L);
    double seconds = NET_SECONDS;
    char byte;
    if (!lua_isnoneornil(L, 2)) /* 0 is for ever here */
        seconds = lua_isnumber(L, 2) && lua_tonumber(L, 2) == 0
                      ? 0
                      : script_net_seconds(L, 2, "setkeepalive");
    if (!lua_isnoneornil(L, 3))
        t->pool_size = (unsigned)tcp_check_size(L, 3, "setkeepalive: size");
    const char *bad = tcp_busy(t);
    if (bad != NULL)
        return script_fail(L, bad);
    if (!sock_is_open(&t->sock))
        return script_fail(L, "closed");
    if (buf_len(&t->sock.in) > 0)
        return script_fail(L, "unread data in buffer");
    ssize_t n = recv(t->sock.fd, &byte, 1, MSG_PEEK);
    if (n > 0)
        return script_fail(L, "unread data in buffer");
    if (n == 0 || errno != EAGAIN) {
        tcp_shut(t);
        return script_fail(L, "closed");
    }
    struct script_net *net = script_net(t->script);
    int fd = sock_release(&t->sock);
    tcp_shut(t);
    if (t->script->retired) /* the pools of a retired generation are closed */
        close(fd);
    else
        sock_pools_keep(&net->pools, str_of(t->pool), t->pool_size, fd, seconds, t->reused);
    lua_pushinteger(L, 1);
    return 1;
}

/* tcp:getreusedtimes() -> how often this connection has come from a pool; or nil, reason */
static int tcp_getreusedtimes(lua_State *L)
{
    struct tcp *t = tcp_self(L);
    if (!sock_is_open(&t->sock))
        return script_fail(L, "closed");
    lua_pushinteger(L, (lua_Integer)t->reused);
    return 1;
}

/* tcp:close() -> 1; or nil, reason */
static int tcp_close(lua_State *L)
{
    struct tcp *t = tcp_self(L);
    const char *bad = tcp_busy(t);
    if (bad == NULL && !sock_is_open(&t->sock))
        bad = "closed";
    if (bad != NULL)
        return script_fail(L, bad);
    tcp_shut(t);
    lua_pushinteger(L, 1);
    return 1;
}

/* --- settings --- */

/* tcp:settimeout(milliseconds): of connecting, sending and receiving */
static int tcp_settimeout(lua_State *L)
{
    struct tcp *t = tcp_self(L);
    t->connect_seconds = t->send_seconds = t->read_seconds = script_net_seconds(L, 2, "settimeout");
    return 0;
}

/* tcp:settimeouts(connect, send, read) */
static int tcp_settimeouts(lua_State *L)
{
    struct tcp *t = tcp_self(L);
    t->connect_seconds = script_net_seconds(L, 2, "settimeouts");
    t->send_seconds = script_net_seconds(L, 3, "settimeouts");
    t->read_seconds = script_net_seconds(L, 4, "settimeouts");
    return 0;
}

/* tcp:setoption(name [, value]) -> 1; or nil, reason */
static int tcp_setoption(lua_State *L)
{
    static const struct {
        const char *name;
        int level, option;
    } options[] = {
        {"keepalive", SOL_SOCKET, SO_KEEPALIVE},   {"reuseaddr", SOL_SOCKET, SO_REUSEADDR},
        {"sndbuf", SOL_SOCKET, SO_SNDBUF},         {"rcvbuf", SOL_SOCKET, SO_RCVBUF},
        {"tcp-nodelay", IPPROTO_TCP, TCP_NODELAY},
    };
    struct tcp *t = tcp_self(L);
    const char *name = script_expect_text(L, 2, "setoption: expected the name of an option").p;
    int value = lua_isnumber(L, 3) ? (int)lua_tointeger(L, 3) : lua_toboolean(L, 3);
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        if (strcmp(options[i].name, name) != 0)
            continue;
        if (!sock_is_open(&t->sock))
            return script_fail(L, "closed");
        /* A unix socket has no TCP_NODELAY: harmless. */
        setsockopt(t->sock.fd, options[i].level, options[i].option, &value, sizeof value);
        lua_pushinteger(L, 1);
        return 1;
    }
    lua_pushfstring(L, "unsupported option %s", name);
    return script_fail(L, lua_tostring(L, -1));
}

/* tcp:sslhandshake(...) -> nil, "not available" */
static int tcp_sslhandshake(lua_State *L)
{
    tcp_self(L);
    return script_fail(L, "not available");
}

/* --- the module --- */

/* moongate.tcp() -> a socket that is not connected */
static int tcp_new(lua_State *L)
{
    static const struct sock_ops ops = {tcp_connected_cb, tcp_sent_cb, tcp_readable_cb};
    struct script *s = script_of(L);
    struct tcp *t = lua_newuserdata(L, sizeof *t);
    memset(t, 0, sizeof *t);
    t->script = s;
    t->connect_seconds = t->send_seconds = t->read_seconds = NET_SECONDS;
    t->reading.wait.cancel = tcp_cancel_reading;
    t->writing.wait.cancel = tcp_cancel_writing;
    sock_init(&t->sock, s->loop, false, &ops);
    luaL_getmetatable(L, TCP);
    lua_setmetatable(L, -2);
    return 1;
}

void script_tcp_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"close", tcp_close},
        {"connect", tcp_connect},
        {"getreusedtimes", tcp_getreusedtimes},
        {"send", tcp_send},
        {"setkeepalive", tcp_setkeepalive},
        {"setoption", tcp_setoption},
        {"settimeout", tcp_settimeout},
        {"settimeouts", tcp_settimeouts},
        {"sslhandshake", tcp_sslhandshake},
        {NULL, NULL},
    };
    static const luaL_Reg functions[] = {{"tcp", tcp_new},
                                         {"tcp_fill", tcp_fill},
                                         {"tcp_find", tcp_find},
                                         {"tcp_take", tcp_take},
                                         {NULL, NULL}};
    luaL_register(L, NULL, functions);
    script_class(L, TCP, methods, tcp_gc);
    luaL_getmetatable(L, TCP);
    lua_getfield(L, -1, "__index");
    lua_setfield(L, -3, "tcp_methods");
    lua_pop(L, 1);
}
