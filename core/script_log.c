/*
 * script_log - what on_log and log.format are told of a request that has ended: plain values, made
 * once, so that a script may keep them. Called by script_hooks.
 */
#include "script_lua.h"

static void set_str(lua_State *L, const char *key, struct str value)
{
    script_push_str(L, value);
    lua_setfield(L, -2, key);
}

static void set_number(lua_State *L, const char *key, double value)
{
    lua_pushnumber(L, value);
    lua_setfield(L, -2, key);
}

/* One table for each try. */
static void push_attempts(lua_State *L, const struct request *req)
{
    int i = 0;
    lua_createtable(L, (int)req->attempts, 0);
    for (const struct attempt *a = req->attempt_list; a != NULL; a = a->next) {
        lua_createtable(L, 0, 6);
        set_str(L, "server", a->server);
        set_number(L, "queue", a->queue);
        set_number(L, "connect", a->connect);
        set_number(L, "first_byte", a->first_byte);
        set_number(L, "total", a->total);
        if (a->error != NULL)
            set_str(L, "error", str_of(a->error));
        lua_rawseti(L, -2, ++i);
    }
}

void script_push_log(lua_State *L, const struct request *req)
{
    lua_createtable(L, 0, 16);
    set_number(L, "time", req->started);
    script_push_id(L, req);
    lua_setfield(L, -2, "id");
    script_push_peer(L, &req->client);
    lua_setfield(L, -2, "client");
    set_str(L, "host", req->host);
    set_str(L, "method", req->method);
    set_str(L, "uri", req->uri.origin);
    set_number(L, "status", req->response.status);
    set_number(L, "bytes_in", (double)req->bytes_in);
    set_number(L, "bytes_out", (double)req->bytes_out);
    set_number(L, "duration", req->ended_at - req->started);
    push_attempts(L, req);
    lua_setfield(L, -2, "attempts");
    if (req->backend.n > 0)
        set_str(L, "backend", req->backend);
    if (req->server.n > 0)
        set_str(L, "server", req->server);
    if (req->decision.tenant.n > 0)
        set_str(L, "tenant", req->decision.tenant);
    if (req->ended && req->backend.n > 0) {
        set_number(L, "app_status", req->app_status);
        set_number(L, "protocol_status", req->protocol_status);
    }
    if (req->error != NULL)
        set_str(L, "error", str_of(req->error));
}
