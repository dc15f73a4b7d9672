/*
 * tcp - moongate.tcp: connections to whatever server a script wants, with the methods,
 * results and errors of OpenResty's cosockets (lua-nginx-module's documentation of ngx.socket.tcp).
 *
 * The object is a userdata that is anchored while something waits for it. Who waits and is
 * cancelled takes the connection along: nobody knows in what state it is. What a script forgets is
 * closed by the garbage collector; what it wants to keep goes to a pool (script/net/pool.h).
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
#define POOL_SIZE      30 /* of a pool, unless the script says otherwise */
#define POOL_SIZE_MOST 4096
#define PATTERN_MOST   4096
#define FILLS_AT_ONCE  16 /* reads for one event; then others have their turn */

enum goal { GOAL_BYTES, GOAL_LINE, GOAL_ALL, GOAL_ANY, GOAL_UNTIL };

/* The state of what receiveuntil returned. */
struct until {
    bool inclusive;
    bool sized;   /* this call has a size */
    bool started; /* parts of this stretch have been handed out */
    bool met;     /* all of them have: the next call says so */
    size_t n;
    char pattern[];
};

struct tcp {
    struct sock sock;
    struct script *script;
    struct net_op reading, writing; /* connecting is writing */
    double connect_seconds, send_seconds, read_seconds;
    char *pool; /* malloc'd name; NULL before the first connect */
    unsigned pool_size;
    unsigned reused;
    bool counted;       /* among script_net.open */
    const char *result; /* of what ended, while it is told: NULL, or why it failed */
    size_t sending;
    /* What receive wants. */
    enum goal goal;
    size_t size;
    size_t seen; /* bytes of sock.in that have been searched in vain */
    struct until *until;
};

/* --- its life --- */

static struct tcp *check_tcp(lua_State *L)
{
    return script_net_self(L, TCP);
}

static void shut(struct tcp *t)
{
    sock_close(&t->sock);
    if (t->counted)
        script_net(t->script)->open--;
    t->counted = false;
}

static const char *busy(const struct tcp *t)
{
    if (t->writing.active)
        return t->sock.connecting ? "socket busy connecting" : "socket busy writing";
    return t->reading.active ? "socket busy reading" : NULL;
}

/* Nobody waits any more. The other direction may still be waited for: it sees the end. */
static void cancelled(struct tcp *t, struct net_op *op, struct net_op *other)
{
    script_net_over(t->script, op);
    if (other->active)
        shutdown(t->sock.fd, SHUT_RDWR);
    else
        shut(t);
}

static void cancel_reading(struct script_wait *wait)
{
    struct tcp *t = (struct tcp *)((char *)wait - offsetof(struct tcp, reading.wait));
    sock_rest(&t->sock);
    cancelled(t, &t->reading, &t->writing);
}

static void cancel_writing(struct script_wait *wait)
{
    struct tcp *t = (struct tcp *)((char *)wait - offsetof(struct tcp, writing.wait));
    sock_forget_send(&t->sock);
    cancelled(t, &t->writing, &t->reading);
}

static int tcp_gc(lua_State *L)
{
    struct tcp *t = lua_touserdata(L, 1);
    shut(t);
    sock_fini(&t->sock);
    free(t->pool);
    t->pool = NULL;
    return 0;
}

/* --- connect --- */

/* Takes the connection: it is up. */
static int push_connected(lua_State *L, struct tcp *t)
{
    t->seen = 0;
    if (!t->counted)
        script_net(t->script)->open++;
    t->counted = true;
    lua_pushinteger(L, 1);
    return 1;
}

static int push_connect_result(lua_State *L, void *ctx)
{
    struct tcp *t = ctx;
    if (t->result != NULL)
        shut(t);
    int count = t->result == NULL ? push_connected(L, t) : script_fail(L, t->result);
    script_net_over(t->script, &t->writing);
    return count;
}

static void connected_cb(struct sock *k, const char *err)
{
    struct tcp *t = (struct tcp *)k;
    t->result = err;
    script_wake(&t->writing.wait, push_connect_result, t);
}

static int check_size(lua_State *L, int idx, const char *what)
{
    double size = lua_isnumber(L, idx) ? lua_tonumber(L, idx) : -1;
    if (!(size >= 1 && size <= POOL_SIZE_MOST && floor(size) == size))
        luaL_error(L, "%s: expected a number of connections from 1 to 4096, got %s", what,
                   lua_isstring(L, idx) ? lua_tostring(L, idx) : luaL_typename(L, idx));
    return (int)size;
}

/* The options at idx: `pool` is left on the stack, or nil. What libraries pass for TLS is theirs.
 */
static void take_options(lua_State *L, int idx, struct tcp *t)
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
        t->pool_size = (unsigned)check_size(L, lua_gettop(L), "connect: pool_size");
    lua_pop(L, 2);
    lua_getfield(L, idx, "pool");
    if (lua_isnil(L, -1))
        return;
    if (!lua_isstring(L, -1) || strlen(lua_tostring(L, -1)) != lua_objlen(L, -1))
        luaL_error(L, "connect: expected a string without zero bytes as 'pool', got %s",
                   luaL_typename(L, -1));
}

/* Names the pool: the one on L's top, or "host:port" or "unix:/path". Takes it off. */
static void name_pool(lua_State *L, struct tcp *t, bool is_unix)
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
    struct tcp *t = check_tcp(L);
    struct str host = script_expect_text(L, 2, "connect: expected a host or \"unix:/path\"");
    bool is_unix = str_starts(host, STR("unix:"));
    if (strlen(host.p) != host.n)
        return luaL_error(L, "connect: expected a host without a zero byte, got %s",
                          script_describe(L, 2));
    if (!is_unix) {
        if (!lua_isnumber(L, 3))
            return luaL_error(L, "connect: expected a port from 0 to 65535, got %s",
                              script_describe(L, 3));
        lua_pushvalue(L, 3); /* as text it is part of the pool's name */
        lua_tostring(L, -1);
        lua_replace(L, 3);
    }
    const char *bad = busy(t);
    if (bad != NULL)
        return script_fail(L, bad);
    script_check_wait(L);
    lua_settop(L, 4);
    shut(t);
    t->pool_size = POOL_SIZE;
    take_options(L, is_unix && lua_istable(L, 3) ? 3 : 4, t);
    name_pool(L, t, is_unix);
    t->reused = 0;
    int fd = sock_pools_take(&script_net(t->script)->pools, str_of(t->pool), &t->reused);
    if (fd >= 0) {
        sock_adopt(&t->sock, fd);
        return push_connected(L, t);
    }
    if (!script_net_room(t->script, L))
        return script_fail(L, "too many open sockets");
    switch (script_net_connect(L, t->script, &t->sock, t->connect_seconds)) {
    case SOCK_DONE:
        return push_connected(L, t);
    case SOCK_WAITS: /* it has a descriptor from now on */
        script_net(t->script)->open++;
        t->counted = true;
        return script_net_wait(L, &t->writing, 1, 0);
    default:
        return script_fail(L, t->sock.err);
    }
}

/* --- send --- */

static int push_sent(lua_State *L, void *ctx)
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
        shut(t);
    return count;
}

static void sent_cb(struct sock *k, const char *err)
{
    struct tcp *t = (struct tcp *)k;
    t->result = err;
    script_wake(&t->writing.wait, push_sent, t);
}

static int send_failed(lua_State *L, struct tcp *t)
{
    int count = script_fail(L, t->sock.err);
    if (t->reading.active)
        shutdown(t->sock.fd, SHUT_RDWR);
    else
        shut(t);
    return count;
}

/* tcp:send(text or list) -> bytes; or nil, reason */
static int tcp_send(lua_State *L)
{
    struct tcp *t = check_tcp(L);
    struct buf list = {0};
    if (lua_isnone(L, 2))
        return luaL_error(L, "send: expected a text or a list of texts, got nothing");
    if (t->writing.active)
        return script_fail(L, busy(t));
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
        return script_net_wait(L, &t->writing, 1, 0);
    if (result == SOCK_FAILED)
        return send_failed(L, t);
    lua_pushnumber(L, (lua_Number)t->sending);
    return 1;
}

/* --- receive --- */

static int push_bytes(lua_State *L, struct tcp *t, size_t n, size_t skip)
{
    struct str all = buf_peek(&t->sock.in);
    lua_pushlstring(L, n > 0 ? all.p : "", n);
    buf_consume(&t->sock.in, n + skip);
    t->seen = 0;
    return 1;
}

/* The place of a text in what has come and was not searched yet, or SIZE_MAX. */
static size_t find(struct tcp *t, const char *text, size_t n)
{
    struct str all = buf_peek(&t->sock.in);
    const char *at = all.n > t->seen ? memmem(all.p + t->seen, all.n - t->seen, text, n) : NULL;
    if (at != NULL)
        return (size_t)(at - all.p);
    if (all.n >= n) /* the end may be its beginning */
        t->seen = all.n - n + 1;
    return SIZE_MAX;
}

static int push_line(lua_State *L, struct tcp *t)
{
    size_t at = find(t, "\n", 1);
    if (at == SIZE_MAX)
        return 0;
    size_t cr = at > 0 && buf_peek(&t->sock.in).p[at - 1] == '\r';
    return push_bytes(L, t, at - cr, cr + 1);
}

static int push_until(lua_State *L, struct tcp *t)
{
    struct until *u = t->until;
    size_t at = find(t, u->pattern, u->n), have = buf_len(&t->sock.in);
    if (u->sized && at == SIZE_MAX && t->size > 0 && have >= t->size + u->n - 1) {
        u->started = true;
        return push_bytes(L, t, t->size, 0);
    }
    if (at == SIZE_MAX)
        return 0;
    if (u->sized && t->size > 0 && at > t->size) {
        u->started = true;
        return push_bytes(L, t, t->size, 0);
    }
    if (u->sized && u->started && at == 0 && !u->inclusive) {
        buf_consume(&t->sock.in, u->n);
        t->seen = 0;
        u->started = false;
        lua_pushnil(L); /* nothing at all, and that is no error */
        lua_pushnil(L);
        lua_pushnil(L);
        return 3;
    }
    u->started = false;
    u->met = u->sized;
    return u->inclusive ? push_bytes(L, t, at + u->n, 0) : push_bytes(L, t, at, u->n);
}

/* Pushes what is wanted; returns 0 while it is not there. */
static int push_goal(lua_State *L, struct tcp *t)
{
    size_t have = buf_len(&t->sock.in);
    switch (t->goal) {
    case GOAL_BYTES:
        return have >= t->size ? push_bytes(L, t, t->size, 0) : 0;
    case GOAL_LINE:
        return push_line(L, t);
    case GOAL_ANY:
        return have > 0 ? push_bytes(L, t, have < t->size ? have : t->size, 0) : 0;
    case GOAL_UNTIL:
        return push_until(L, t);
    case GOAL_ALL:
        break;
    }
    return 0;
}

/* The connection cannot give it: nil, the reason, and what there is of it. Only a time-out leaves
 * it open. */
static int push_short(lua_State *L, struct tcp *t, const char *reason)
{
    size_t have = buf_len(&t->sock.in);
    bool ended = strcmp(reason, "closed") == 0;
    int count = 1;
    if (have == SOCK_BUFFER) /* too much to hand it out */
        have = 0;
    if (!ended || t->goal != GOAL_ALL)
        count += script_fail(L, reason);
    push_bytes(L, t, have, 0);
    if (t->until != NULL)
        t->until->started = t->until->met = false;
    if (strcmp(reason, "timeout") != 0 && t->writing.active)
        shutdown(t->sock.fd, SHUT_RDWR);
    else if (strcmp(reason, "timeout") != 0)
        shut(t);
    return count;
}

/* Reads until it is there or nothing more comes now: then 0. */
static int advance(lua_State *L, struct tcp *t)
{
    int count = push_goal(L, t);
    for (int i = 0; count == 0 && i < FILLS_AT_ONCE; i++) {
        size_t have = buf_len(&t->sock.in);
        switch (sock_fill(&t->sock, t->goal == GOAL_BYTES ? t->size - have : 0)) {
        case SOCK_DONE:
            count = push_goal(L, t);
            break;
        case SOCK_ENDED:
            return push_short(L, t, "closed");
        case SOCK_FAILED: {
            char reason[sizeof t->sock.err];
            memcpy(reason, t->sock.err, sizeof reason); /* closing may lose it */
            return push_short(L, t, reason);
        }
        case SOCK_WAITS:
            return 0;
        }
    }
    return count;
}

static int push_received(lua_State *L, void *ctx)
{
    struct tcp *t = ctx;
    int count = t->result != NULL ? push_short(L, t, t->result) : advance(L, t);
    if (count == 0) {
        sock_await(&t->sock, t->read_seconds);
        return -1;
    }
    sock_rest(&t->sock);
    script_net_over(t->script, &t->reading);
    return count;
}

static void readable_cb(struct sock *k, const char *err)
{
    struct tcp *t = (struct tcp *)k;
    t->result = err;
    script_wake(&t->reading.wait, push_received, t);
}

/* Receives what t->goal says. `until`: the place of the iterator's state on the stack, or 0. */
static int receive(lua_State *L, struct tcp *t, int self, int until)
{
    if (t->reading.active)
        return script_fail(L, "socket busy reading");
    if (t->sock.connecting)
        return script_fail(L, "socket busy connecting");
    if (!sock_is_open(&t->sock))
        return script_fail(L, "closed");
    t->seen = 0;
    t->until = until != 0 ? lua_touserdata(L, until) : NULL;
    int count = advance(L, t);
    if (count > 0)
        return count;
    sock_await(&t->sock, t->read_seconds);
    return script_net_wait(L, &t->reading, self, until);
}

static size_t check_bytes(lua_State *L, int idx, const char *who, double least)
{
    double n = lua_isnumber(L, idx) ? lua_tonumber(L, idx) : -1;
    if (!(n >= least && floor(n) == n))
        luaL_error(L, "%s: expected a number of bytes, got %s", who, script_describe(L, idx));
    return n <= SOCK_BUFFER ? (size_t)n : SIZE_MAX;
}

/* tcp:receive([n | "*l" | "*a"]) -> text; or nil, reason, the part that came */
static int tcp_receive(lua_State *L)
{
    struct tcp *t = check_tcp(L);
    size_t size = 0;
    enum goal goal = GOAL_LINE;
    if (lua_isnumber(L, 2)) {
        goal = GOAL_BYTES;
        size = check_bytes(L, 2, "receive", 0);
        if (size == SIZE_MAX)
            return script_fail(L, "more than 64 MB at once");
    } else if (!lua_isnoneornil(L, 2)) {
        static const char expected[] = "receive: expected a number of bytes, \"*l\" or \"*a\"";
        const char *pattern = script_expect_text(L, 2, expected).p;
        goal = strcmp(pattern, "*a") == 0 ? GOAL_ALL : GOAL_LINE;
        if (goal != GOAL_ALL && strcmp(pattern, "*l") != 0)
            return luaL_error(L, "%s, got %s", expected, script_describe(L, 2));
    }
    if (!t->reading.active) {
        t->goal = goal;
        t->size = size;
    }
    return receive(L, t, 1, 0);
}

/* tcp:receiveany(most) -> text; or nil, reason */
static int tcp_receiveany(lua_State *L)
{
    struct tcp *t = check_tcp(L);
    size_t size = check_bytes(L, 2, "receiveany", 1);
    if (!t->reading.active) {
        t->goal = GOAL_ANY;
        t->size = size;
    }
    return receive(L, t, 1, 0);
}

/* iterator([size]); upvalues: the socket, the state */
static int until_next(lua_State *L)
{
    struct tcp *t = lua_touserdata(L, lua_upvalueindex(1));
    struct until *u = lua_touserdata(L, lua_upvalueindex(2));
    bool sized = !lua_isnoneornil(L, 1);
    size_t size = sized ? check_bytes(L, 1, "receiveuntil's iterator", 0) : 0;
    if (size == SIZE_MAX)
        return script_fail(L, "more than 64 MB at once");
    lua_settop(L, 0);
    if (u->met) {
        u->met = false;
        lua_settop(L, 3);
        return 3;
    }
    if (sized && size == 0) {
        lua_pushliteral(L, "");
        return 1;
    }
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushvalue(L, lua_upvalueindex(2));
    if (!t->reading.active) {
        t->goal = GOAL_UNTIL;
        t->size = size;
        u->sized = sized;
    }
    return receive(L, t, 1, 2);
}

/* tcp:receiveuntil(text [, { inclusive = }]) -> iterator */
static int tcp_receiveuntil(lua_State *L)
{
    check_tcp(L);
    struct str pattern = script_expect_text(L, 2, "receiveuntil: expected a text");
    if (pattern.n == 0 || pattern.n > PATTERN_MOST)
        return luaL_error(L, "receiveuntil: expected a text of 1 to %d bytes, got one of %d",
                          PATTERN_MOST, (int)pattern.n);
    bool inclusive = false;
    if (!lua_isnoneornil(L, 3)) {
        if (!lua_istable(L, 3))
            return luaL_error(L,
                              "receiveuntil: expected a table such as { inclusive = true } as "
                              "second argument, got %s",
                              script_describe(L, 3));
        lua_getfield(L, 3, "inclusive");
        inclusive = lua_toboolean(L, -1);
    }
    lua_pushvalue(L, 1);
    struct until *u = lua_newuserdata(L, sizeof *u + pattern.n);
    *u = (struct until){.inclusive = inclusive, .n = pattern.n};
    memcpy(u->pattern, pattern.p, pattern.n);
    lua_pushcclosure(L, until_next, 2);
    return 1;
}

/* --- keeping and closing --- */

/* tcp:setkeepalive([milliseconds [, size]]) -> 1; or nil, reason */
static int tcp_setkeepalive(lua_State *L)
{
    struct tcp *t = check_tcp(L);
    double seconds = NET_SECONDS;
    char byte;
    if (!lua_isnoneornil(L, 2)) /* 0 is for ever here */
        seconds = lua_isnumber(L, 2) && lua_tonumber(L, 2) == 0
                      ? 0
                      : script_net_seconds(L, 2, "setkeepalive");
    if (!lua_isnoneornil(L, 3))
        t->pool_size = (unsigned)check_size(L, 3, "setkeepalive: size");
    const char *bad = busy(t);
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
        shut(t);
        return script_fail(L, "closed");
    }
    struct script_net *net = script_net(t->script);
    int fd = sock_release(&t->sock);
    shut(t);
    if (t->script->retired) /* nobody comes any more */
        close(fd);
    else
        sock_pools_keep(&net->pools, str_of(t->pool), t->pool_size, fd, seconds, t->reused);
    lua_pushinteger(L, 1);
    return 1;
}

/* tcp:getreusedtimes() -> how often this connection has come from a pool; or nil, reason */
static int tcp_getreusedtimes(lua_State *L)
{
    struct tcp *t = check_tcp(L);
    if (!sock_is_open(&t->sock))
        return script_fail(L, "closed");
    lua_pushinteger(L, (lua_Integer)t->reused);
    return 1;
}

/* tcp:close() -> 1; or nil, reason */
static int tcp_close(lua_State *L)
{
    struct tcp *t = check_tcp(L);
    const char *bad = busy(t);
    if (bad == NULL && !sock_is_open(&t->sock))
        bad = "closed";
    if (bad != NULL)
        return script_fail(L, bad);
    shut(t);
    lua_pushinteger(L, 1);
    return 1;
}

/* --- settings --- */

/* tcp:settimeout(milliseconds): of connecting, sending and receiving */
static int tcp_settimeout(lua_State *L)
{
    struct tcp *t = check_tcp(L);
    t->connect_seconds = t->send_seconds = t->read_seconds = script_net_seconds(L, 2, "settimeout");
    return 0;
}

/* tcp:settimeouts(connect, send, read) */
static int tcp_settimeouts(lua_State *L)
{
    struct tcp *t = check_tcp(L);
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
    struct tcp *t = check_tcp(L);
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
    check_tcp(L);
    return script_fail(L, "not available");
}

/* --- the module --- */

/* moongate.tcp() -> a socket that is not connected */
static int tcp_new(lua_State *L)
{
    static const struct sock_ops ops = {connected_cb, sent_cb, readable_cb};
    struct script *s = script_of(L);
    struct tcp *t = lua_newuserdata(L, sizeof *t);
    memset(t, 0, sizeof *t);
    t->script = s;
    t->connect_seconds = t->send_seconds = t->read_seconds = NET_SECONDS;
    t->reading.wait.cancel = cancel_reading;
    t->writing.wait.cancel = cancel_writing;
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
        {"receive", tcp_receive},
        {"receiveany", tcp_receiveany},
        {"receiveuntil", tcp_receiveuntil},
        {"send", tcp_send},
        {"setkeepalive", tcp_setkeepalive},
        {"setoption", tcp_setoption},
        {"settimeout", tcp_settimeout},
        {"settimeouts", tcp_settimeouts},
        {"sslhandshake", tcp_sslhandshake},
        {NULL, NULL},
    };
    if (luaL_newmetatable(L, TCP)) {
        lua_newtable(L);
        luaL_register(L, NULL, methods);
        lua_setfield(L, -2, "__index");
        lua_pushcfunction(L, tcp_gc);
        lua_setfield(L, -2, "__gc");
        lua_pushliteral(L, "moongate.tcp"); /* not for the script to change */
        lua_setfield(L, -2, "__metatable");
    }
    lua_pop(L, 1);
    lua_pushcfunction(L, tcp_new);
    lua_setfield(L, -2, "tcp");
}
