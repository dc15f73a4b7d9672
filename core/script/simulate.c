/*
 * simulate - see simulate.h.
 */
#include "script/simulate.h"

#include "fastcgi/cgi.h"
#include "http/file.h"
#include "http/h1.h"
#include "http/realip.h"
#include "script/certificate.h"
#include "script/decision.h"
#include "script/property.h"
#include "script/request.h"
#include "script/settings.h"
#include "script/views.h"

#include <arpa/inet.h>

#define MADE_REQUEST "moongate.made"

/* The struct request and the first block of its arena. */
struct made {
    struct request req;
    char memory[4096]; /* the arena aligns; userdata are no more than 8 bytes aligned */
};

/* Frees a simulated request. Its memory has the finalizer, not the box, since boxes of a server's
 * requests must not pay for one. */
static int simulate_gc(lua_State *L)
{
    struct made *made = lua_touserdata(L, 1);
    request_fini(&made->req);
    return 0;
}

static void simulate_ignore_bytes(void *ctx, struct str bytes)
{
    (void)ctx;
    (void)bytes;
}

static void simulate_ignore_chunk(void *ctx, uint64_t at_least)
{
    (void)ctx;
    (void)at_least;
}

static const struct h1_body no_body = {.on_bytes = simulate_ignore_bytes,
                                       .on_chunk = simulate_ignore_chunk};

/* The head that such a request would have on the wire. HTTP/1.0 needs no Host. */
static void simulate_head(lua_State *L, struct buf *head)
{
    lua_getfield(L, 1, "method");
    lua_getfield(L, 1, "url");
    lua_getfield(L, 1, "version");
    const char *version = luaL_optstring(L, -1, "1.1");
    bool host = strcmp(version, "1.0") == 0;
    buf_printf(head, "%s %s HTTP/%s\r\n", luaL_optstring(L, -3, "GET"), luaL_checkstring(L, -2),
               version);
    lua_pop(L, 3);
    lua_getfield(L, 1, "headers");
    for (int i = 1, n = lua_istable(L, -1) ? (int)lua_objlen(L, -1) : 0; i <= n; i++) {
        lua_rawgeti(L, -1, i);
        lua_rawgeti(L, -1, 1);
        lua_rawgeti(L, -2, 2);
        struct str name = script_check_str(L, -2), value = script_check_str(L, -1);
        host |= header_id(name) == HEADER_HOST;
        buf_printf(head, "%.*s: %.*s\r\n", STR_FMT(name), STR_FMT(value));
        lua_pop(L, 3);
    }
    lua_pop(L, 1);
    buf_printf(head, "%s\r\n", host ? "" : "Host: localhost\r\n");
}

/* True when the request of the table at 1 comes to a unix socket. */
static bool simulate_is_local(lua_State *L)
{
    lua_getfield(L, 1, "unix");
    bool local = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return local;
}

/* The client's address: `ip` of the table at 1. */
static struct peer simulate_client(lua_State *L)
{
    struct peer peer = {.ip = {127, 0, 0, 1}, .port = 50000, .family = AF_INET};
    lua_getfield(L, 1, "ip");
    const char *ip = lua_tostring(L, -1);
    if (ip != NULL ? strcmp(ip, "unix:") == 0 : simulate_is_local(L)) {
        peer = (struct peer){.family = AF_UNIX};
    } else if (ip != NULL) {
        peer.family = strchr(ip, ':') != NULL ? AF_INET6 : AF_INET;
        if (inet_pton(peer.family, ip, peer.ip) != 1)
            luaL_error(L, "ip: '%s' is no address", ip);
    }
    lua_pop(L, 1);
    return peer;
}

/* Sets the listener: `listener` and `port` of the table at 1. */
static void simulate_listener(lua_State *L, struct request *req)
{
    req->local = (struct peer){.ip = {127, 0, 0, 1}, .port = 80, .family = AF_INET};
    if (simulate_is_local(L))
        req->local = (struct peer){.family = AF_UNIX};
    lua_getfield(L, 1, "listener");
    lua_getfield(L, 1, "port");
    req->listener =
        lua_isstring(L, -2) ? arena_copy(&req->arena, script_str(L, -2)) : STR("explain");
    if (lua_isnumber(L, -1))
        req->local.port = (uint16_t)lua_tointeger(L, -1);
    lua_pop(L, 2);
}

static enum body_state simulate_ask_body(struct request *req, struct body_wait *wait)
{
    (void)wait;
    return req->body.size > req->body.limit ? BODY_TOO_LARGE : BODY_HERE;
}

/* `body` of the table at 1. It is complete, and too large where a server would refuse it. */
static void simulate_body(lua_State *L, struct request *req, const struct limits *limits)
{
    lua_getfield(L, 1, "body");
    struct str body = script_str(L, -1);
    spool_init(&req->body, SIZE_MAX, UINT64_MAX, "/tmp");
    if (body.p != NULL)
        spool_write(&req->body, body);
    req->body.limit = limits->request_memory;
    req->ask_body = simulate_ask_body;
    lua_pop(L, 1);
}

/* core.request{ method=, url=, headers=, body=, settings=, ip=, listener=, port=, unix= } -> req;
 * or nil, status, reason */
static int simulate_request(lua_State *L)
{
    struct settings settings = {.stop_timeout = 0};
    struct buf head;
    size_t used;
    luaL_checktype(L, 1, LUA_TTABLE);
    struct peer client = simulate_client(L);
    lua_getfield(L, 1, "settings");
    arena_init(&settings.arena, NULL, 0);
    const char *bad = script_read_settings(L, lua_gettop(L), &settings);
    if (bad != NULL) {
        lua_pushstring(L, bad);
        arena_fini(&settings.arena);
        return lua_error(L);
    }
    buf_init(&head, 1u << 20);
    simulate_head(L, &head);

    struct script_box *box = script_push_request(L, NULL);
    struct made *made = lua_newuserdata(L, sizeof *made);
    request_init(&made->req, made->memory, sizeof made->memory);
    box->req = &made->req;
    luaL_getmetatable(L, MADE_REQUEST);
    lua_setmetatable(L, -2);
    lua_createtable(L, 1, 1); /* the box's own table holds the request's memory */
    lua_pushboolean(L, 1);
    lua_rawseti(L, -2, 0);
    lua_insert(L, -2);
    lua_setfield(L, -2, MADE_REQUEST);
    lua_setfenv(L, -2);

    struct request *req = &made->req;
    req->client = client;
    simulate_listener(L, req);
    struct h1 *h1 = h1_new(req, &settings.limits, &no_body, NULL);
    struct str bytes = buf_peek(&head);
    enum h1_event event = h1_feed(h1, bytes.p, bytes.n, &used);
    buf_fini(&head);
    bad = event == H1_ERROR ? h1_reason(h1) : event != H1_HEAD ? "an incomplete head" : NULL;
    /* a simulated request has no TLS of its own: the URL's scheme stands for it */
    if (bad == NULL && req->uri.https) {
        req->https = true;
        req->local.port = 443;
    }
    if (bad == NULL && settings.trusted.count > 0)
        bad = realip_apply(req, &settings.trusted);
    simulate_body(L, req, &settings.limits);
    arena_fini(&settings.arena);
    if (bad == NULL)
        return 1;
    lua_pushnil(L);
    lua_pushinteger(L, event == H1_ERROR ? h1_status(h1) : 400);
    lua_pushstring(L, bad);
    return 3;
}

/* The role in which the decision asks; `role` of the caller where that is an authorizer's. */
static void simulate_role(lua_State *L, int idx, struct request *req)
{
    req->role = req->decision.role > 0 ? req->decision.role : FCGI_RESPONDER;
    if (lua_toboolean(L, idx))
        req->role = FCGI_AUTHORIZER;
}

/* core.params(req, decision, script, path_info, settings, authorizer) -> params; or nil, reason.
 * `authorizer`: the decision is the `authorize` of another one. */
static int simulate_params(lua_State *L)
{
    struct request *req = script_check_request(L, 1);
    struct settings *settings = lua_newuserdata(L, sizeof *settings);
    memset(settings, 0, sizeof *settings);
    arena_init(&settings->arena, arena_alloc(&req->arena, 65536), 65536);
    const char *bad = script_read_settings(L, 5, settings);
    if (bad == NULL &&
        (!script_decision(L, 2, 3, 4, req, settings) || req->decision.kind != DECISION_FASTCGI))
        bad = "not a FastCGI decision that can be used";
    if (bad != NULL) {
        lua_pushnil(L);
        lua_pushstring(L, bad);
        arena_fini(&settings->arena);
        return 2;
    }
    const struct backend_settings *backend = &settings->backends[req->decision.backend];
    simulate_role(L, 6, req);
    if (req->role == FCGI_FILTER)
        file_open_data(req, backend, &bad); /* its length and time; none where it isn't there */
    struct params *params = arena_alloc(&req->arena, sizeof *params);
    struct cgi_paths paths;
    cgi_paths(&paths, req, backend);
    cgi_params(params, req, backend, &paths, req->body_length);
    for (unsigned i = 0; i < params->count; i++) { /* what points into the settings outlives them */
        params->list[i].value = arena_copy(&req->arena, params->list[i].value);
    }
    arena_fini(&settings->arena);
    script_open_view(script_push_params(L), req, params);
    return 1;
}

/* core.own_page(req, params, pages) -> the page of PHP-FPM's own that it would answer with, or nil;
 * params and pages are plain tables. The decision is that of core.params. */
static int simulate_own_page(lua_State *L)
{
    struct request *req = script_check_request(L, 1);
    struct arena *a = &req->arena;
    struct params params = {0};
    static const char *const names[] = {"SCRIPT_NAME", "REDIRECT_URL", "PATH_INFO",
                                        "SCRIPT_FILENAME"};
    luaL_checktype(L, 2, LUA_TTABLE);
    luaL_checktype(L, 3, LUA_TTABLE);
    for (unsigned i = 0; i < 4; i++) {
        lua_getfield(L, 2, names[i]);
        if (lua_type(L, -1) == LUA_TSTRING)
            params_add(a, &params, str_of(names[i]), script_str(L, -1));
        lua_pop(L, 1); /* the table keeps it */
    }
    for (int i = 1, n = (int)lua_objlen(L, 3); i <= n; i++) {
        lua_rawgeti(L, 3, i);
        struct str page = script_check_str(L, -1);
        if (cgi_own_page(&params, req, &page, 1) != NULL)
            return 1;
        lua_pop(L, 1);
    }
    return 0;
}

/* core.response(req, status, headers) -> res: as on_response sees an application's reply */
static int simulate_response(lua_State *L)
{
    struct request *req = script_check_request(L, 1);
    struct arena *a = &req->arena;
    req->response = (struct response){.status = luaL_checkint(L, 2), .content_length = -1};
    luaL_checktype(L, 3, LUA_TTABLE);
    for (int i = 1, n = (int)lua_objlen(L, 3); i <= n; i++) {
        lua_rawgeti(L, 3, i);
        lua_rawgeti(L, -1, 1);
        lua_rawgeti(L, -2, 2);
        headers_add(a, &req->response.headers, arena_copy(a, script_check_str(L, -2)),
                    arena_copy(a, script_check_str(L, -1)));
        lua_pop(L, 3);
    }
    script_open_view(script_push_response(L), req, NULL);
    return 1;
}

void script_simulate_open(lua_State *L)
{
    static const luaL_Reg functions[] = {{"request", simulate_request},
                                         {"params", simulate_params},
                                         {"own_page", simulate_own_page},
                                         {"response", simulate_response},
                                         {"certificate_facts", script_certificate_facts},
                                         {NULL, NULL}};
    luaL_newmetatable(L, MADE_REQUEST);
    lua_pushcfunction(L, simulate_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
    luaL_register(L, NULL, functions);
}
