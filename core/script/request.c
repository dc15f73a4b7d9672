/*
 * request - see request.h.
 *
 * `req` is a box: a userdata that holds a pointer, emptied when the request ends. Strings are
 * copied at the border. A value is made when it is read, so a hook pays for what it looks at.
 *
 * The environment table of a box, made on first use, keeps `ctx`, and `headers`, `args` and
 * `cookies` once a script has read them.
 */
#include "script/request.h"

#include "http/traceparent.h"
#include "script/body.h"
#include "script/modules.h"
#include "script/observe.h"
#include "script/property.h"
#include "script/views.h"

static const char REQUEST_TYPE[] = "moongate.request"; /* as scripts see it */

struct script_box *script_push_request(lua_State *L, struct request *req)
{
    struct script_box *box = lua_newuserdata(L, sizeof *box);
    box->req = req;
    property_push_type(L, PROPERTY_REQUEST);
    lua_setmetatable(L, -2);
    return box;
}

struct request *script_check_request(lua_State *L, int idx)
{
    return script_box_request(L, luaL_checkudata(L, idx, REQUEST_TYPE));
}

/* Pushes the box's own table, making it when there is none. */
static void request_push_environment(lua_State *L, int box)
{
    lua_getfenv(L, box);
    lua_rawgeti(L, -1, 0);
    bool own = !lua_isnil(L, -1);
    lua_pop(L, 1);
    if (own)
        return;
    lua_pop(L, 1);
    lua_createtable(L, 1, 2); /* [0] marks the table as the box's own, not the default one */
    lua_pushboolean(L, 1);
    lua_rawseti(L, -2, 0);
    lua_pushvalue(L, -1);
    lua_setfenv(L, box);
}

/* --- args and cookies --- */

/* Pushes what lua/moongate/worker/arguments.lua makes of the text; the function is kept in the
 * registry under its name's address. */
static void request_push_arguments(lua_State *L, const char *function, struct str text)
{
    lua_pushlightuserdata(L, (void *)function);
    lua_rawget(L, LUA_REGISTRYINDEX);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        if (script_library_function(L, "moongate.worker.arguments", function) != 0)
            lua_error(L);
        lua_pushlightuserdata(L, (void *)function);
        lua_pushvalue(L, -2);
        lua_rawset(L, LUA_REGISTRYINDEX);
    }
    if (text.p != NULL)
        script_push_str(L, text);
    else
        lua_pushnil(L);
    lua_call(L, 1, 1);
}

static void request_push_args(lua_State *L, const void *at)
{
    static const char function[] = "args";
    request_push_arguments(L, function, ((const struct request *)at)->uri.query);
}

static void request_push_cookies(lua_State *L, const void *at)
{
    static const char function[] = "cookies";
    const struct request *req = at;
    request_push_arguments(
        L, function, headers_joined((struct arena *)&req->arena, &req->headers, STR("cookie")));
}

void script_forget_args(lua_State *L)
{
    lua_getfenv(L, -1);
    lua_rawgeti(L, -1, 0);
    if (!lua_isnil(L, -1)) { /* its own table */
        lua_pushliteral(L, "args");
        lua_pushnil(L);
        lua_rawset(L, -4);
    }
    lua_pop(L, 2);
}

/* --- req --- */

/* The box's own table, on the stack: the box, the key, its place in the list, and this. */
enum { ENVIRONMENT = 4 };

/* Pushes what the box's own table keeps under the key, making it on first use. */
static void request_push_kept(lua_State *L, const struct property *p, const struct request *req)
{
    request_push_environment(L, 1);
    lua_pushvalue(L, 2);
    lua_rawget(L, ENVIRONMENT);
    if (!lua_isnil(L, -1))
        return;
    p->push(L, req);
    lua_pushvalue(L, 2);
    lua_pushvalue(L, -2);
    lua_rawset(L, ENVIRONMENT);
}

static void request_push_ctx(lua_State *L, const void *at)
{
    (void)at;
    lua_newtable(L);
}

/* Sets the box's own table as the environment of the view on the top. The view keeps that table
 * alive, and the table keeps the box. */
static void request_keep_box(lua_State *L)
{
    lua_pushvalue(L, ENVIRONMENT);
    lua_setfenv(L, -2);
    lua_pushvalue(L, 1);
    lua_rawseti(L, ENVIRONMENT, 1);
}

static void request_push_headers(lua_State *L, const void *at)
{
    (void)at;
    script_push_headers(L, lua_touserdata(L, 1));
    request_keep_box(L);
}

static void request_push_params(lua_State *L, const void *at)
{
    const struct request *req = at;
    if (req->arrived.count == 0) {
        lua_pushnil(L);
        return;
    }
    script_push_arrived(L, lua_touserdata(L, 1));
    request_keep_box(L);
}

static void request_set_field(lua_State *L, const char *name, struct str value)
{
    if (value.n == 0)
        return;
    script_push_str(L, value);
    lua_setfield(L, -2, name);
}

/* A table, made when it is first read; nil where the request has not come by TLS. */
static void request_push_tls(lua_State *L, const void *at)
{
    const struct request_tls *tls = ((const struct request *)at)->tls;
    if (tls == NULL) {
        lua_pushnil(L);
        return;
    }
    lua_createtable(L, 0, 7);
    request_set_field(L, "version", tls->version);
    request_set_field(L, "cipher", tls->cipher);
    request_set_field(L, "name", tls->name);
    lua_pushboolean(L, tls->verified);
    lua_setfield(L, -2, "verified");
    request_set_field(L, "subject", tls->subject);
    request_set_field(L, "serial", tls->serial);
    request_set_field(L, "certificate", tls->certificate);
}

static void request_push_query(lua_State *L, const void *at)
{
    const struct uri *uri = at;
    if (uri->has_query)
        script_push_str(L, uri->query);
    else
        lua_pushnil(L);
}

static void request_push_server_port(lua_State *L, const void *at)
{
    lua_pushinteger(L, (lua_Integer)request_server_port(at));
}

static void request_push_port(lua_State *L, const void *at)
{
    const struct request *req = at;
    if (req->host_port >= 0)
        lua_pushinteger(L, req->host_port);
    else
        request_push_server_port(L, at);
}

static void request_push_client_port(lua_State *L, const void *at)
{
    const struct peer *client = at;
    if (client->port > 0)
        lua_pushinteger(L, client->port);
    else
        lua_pushnil(L);
}

void script_push_scheme(lua_State *L, const void *at)
{
    lua_pushstring(L, *(const bool *)at ? "https" : "http");
}

void script_push_version(lua_State *L, const void *at)
{
    struct str text = http_version_text(*(const enum http_version *)at);
    lua_pushlstring(L, text.p + sizeof "HTTP/" - 1, text.n - (sizeof "HTTP/" - 1));
}

void script_push_role(lua_State *L, const void *at)
{
    static const char *const names[] = {
        [FCGI_RESPONDER] = "responder", [FCGI_AUTHORIZER] = "authorizer", [FCGI_FILTER] = "filter"};
    lua_pushstring(L, names[*(const uint8_t *)at]);
}

void script_push_id(lua_State *L, const void *at)
{
    char hex[17];
    script_push_str(L, request_shown_id(at, hex));
}

/* Pushes the trace context with the request's own span; nil where the route has no tracing. */
static void request_push_traceparent(lua_State *L, const void *at)
{
    const struct traceparent *t = ((const struct request *)at)->traceparent;
    if (t != NULL)
        lua_pushlstring(L, t->own, TRACEPARENT_SIZE);
    else
        lua_pushnil(L);
}

static void request_push_trace_id(lua_State *L, const void *at)
{
    const struct traceparent *t = ((const struct request *)at)->traceparent;
    if (t != NULL)
        script_push_str(L, traceparent_trace_id(t));
    else
        lua_pushnil(L);
}

static int request_body(lua_State *L)
{
    return script_body(
        L, script_box_request(L, property_check_self(L, PROPERTY_REQUEST, "req:body()")));
}

static int request_observe(lua_State *L)
{
    return script_observe(
        L, script_box_request(L, property_check_self(L, PROPERTY_REQUEST, "req:observe()")));
}

static int request_params_for(lua_State *L)
{
    return script_params_for(
        L,
        script_box_request(L, property_check_self(L, PROPERTY_REQUEST, "req:params_for(backend)")));
}

#define FIELD(name, member)    PROPERTY(name, struct request, member)
#define OPTIONAL(name, member) PROPERTY_OPTIONAL(name, struct request, member)

const struct property property_req[] = {
    FIELD("method", method),
    FIELD("uri", uri.origin),
    FIELD("path", uri.path),
    FIELD("raw_path", uri.raw_path),
    {"query", .push = request_push_query, .at = offsetof(struct request, uri)},
    {"args", .push = request_push_args, .kept = true},
    /* nil without a host: "/srv/" .. nil is an error, "/srv/" .. "" the folder above all sites */
    OPTIONAL("host", host),
    {"port", .push = request_push_port},
    {"tls", .push = request_push_tls, .kept = true},
    {"scheme", .push = script_push_scheme, .at = offsetof(struct request, https)},
    {"version", .push = script_push_version, .at = offsetof(struct request, version)},
    {"headers", .push = request_push_headers, .kept = true},
    {"cookies", .push = request_push_cookies, .kept = true},
    {"params", .push = request_push_params, .kept = true},
    FIELD("ip", client),
    {"client_port", .push = request_push_client_port, .at = offsetof(struct request, client)},
    FIELD("server_ip", local),
    {"server_port", .push = request_push_server_port},
    {"id", .push = script_push_id},
    {"traceparent", .push = request_push_traceparent},
    {"trace_id", .push = request_push_trace_id},
    FIELD("time", started),
    FIELD("listener", listener),
    {"ctx", .push = request_push_ctx, .kept = true},
    FIELD("attempt", attempts),
    {"body", .method = request_body},
    {"observe", .method = request_observe},
    {"params_for", .method = request_params_for},
    FIELD("internal", internal),
    {"role", .push = script_push_role, .at = offsetof(struct request, role)},
    OPTIONAL("hash_key", decision.hash_key),
    {0},
};

/* Stack: req, key. */
static int request_index(lua_State *L)
{
    const struct request *req = script_box_request(L, lua_touserdata(L, 1));
    const struct property *p = property_find(L, property_req, "req");
    if (p == NULL)
        return 1;
    if (p->kept)
        request_push_kept(L, p, req);
    else
        property_push(L, p, req);
    return 1;
}

static int request_newindex(lua_State *L)
{
    return script_refuse_assignment(L, "req",
                                    "req is read-only; what a script keeps goes into fields of "
                                    "req.ctx, as in req.ctx.user = \"ann\"");
}

struct request *script_self_request(lua_State *L)
{
    const struct script_box *box = property_self(L, PROPERTY_REQUEST);
    return box != NULL ? box->req : NULL;
}

/* --- registration --- */

void script_request_open(lua_State *L)
{
    property_new_type(L, PROPERTY_REQUEST, REQUEST_TYPE, property_req, request_index,
                      request_newindex);
}
