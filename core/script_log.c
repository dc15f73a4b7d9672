/*
 * script_log - what on_log and log.format are told of a request that has ended: plain values, made
 * once, so that a script may keep them. Called by script_hooks.
 *
 * The names of the fields are strings that a list in the registry holds: to make twenty of them
 * anew for each request costs more than all the values.
 */
#include "script_lua.h"

#define NAMES "moongate.log" /* in the registry */

enum key {
    KEY_APP_STATUS = 1,
    KEY_ATTEMPTS,
    KEY_BACKEND,
    KEY_BYTES_IN,
    KEY_BYTES_OUT,
    KEY_CLIENT,
    KEY_CONNECT,
    KEY_DURATION,
    KEY_ERROR,
    KEY_FIRST_BYTE,
    KEY_HOST,
    KEY_ID,
    KEY_METHOD,
    KEY_PROTOCOL_STATUS,
    KEY_QUEUE,
    KEY_SERVER,
    KEY_STATUS,
    KEY_TENANT,
    KEY_TIME,
    KEY_TOTAL,
    KEY_URI,
};

static const char *const names[] = {
    [KEY_APP_STATUS] = "app_status",
    [KEY_ATTEMPTS] = "attempts",
    [KEY_BACKEND] = "backend",
    [KEY_BYTES_IN] = "bytes_in",
    [KEY_BYTES_OUT] = "bytes_out",
    [KEY_CLIENT] = "client",
    [KEY_CONNECT] = "connect",
    [KEY_DURATION] = "duration",
    [KEY_ERROR] = "error",
    [KEY_FIRST_BYTE] = "first_byte",
    [KEY_HOST] = "host",
    [KEY_ID] = "id",
    [KEY_METHOD] = "method",
    [KEY_PROTOCOL_STATUS] = "protocol_status",
    [KEY_QUEUE] = "queue",
    [KEY_SERVER] = "server",
    [KEY_STATUS] = "status",
    [KEY_TENANT] = "tenant",
    [KEY_TIME] = "time",
    [KEY_TOTAL] = "total",
    [KEY_URI] = "uri",
};

void script_log_open(lua_State *L)
{
    lua_createtable(L, KEY_URI, 0);
    for (int i = 1; i <= KEY_URI; i++) {
        lua_pushstring(L, names[i]);
        lua_rawseti(L, -2, i);
    }
    lua_setfield(L, LUA_REGISTRYINDEX, NAMES);
}

/* These set a field of the table on the top; `list` is where the names are. */

static void set_str(lua_State *L, int list, enum key key, struct str value)
{
    lua_rawgeti(L, list, key);
    script_push_str(L, value);
    lua_rawset(L, -3);
}

static void set_number(lua_State *L, int list, enum key key, double value)
{
    lua_rawgeti(L, list, key);
    lua_pushnumber(L, value);
    lua_rawset(L, -3);
}

/* One table for each try. */
static void push_attempts(lua_State *L, int list, const struct request *req)
{
    int i = 0;
    lua_createtable(L, (int)req->attempts, 0);
    for (const struct attempt *a = req->attempt_list; a != NULL; a = a->next) {
        lua_createtable(L, 0, 6);
        set_str(L, list, KEY_SERVER, a->server);
        set_number(L, list, KEY_QUEUE, a->queue);
        set_number(L, list, KEY_CONNECT, a->connect);
        set_number(L, list, KEY_FIRST_BYTE, a->first_byte);
        set_number(L, list, KEY_TOTAL, a->total);
        if (a->error != NULL)
            set_str(L, list, KEY_ERROR, str_of(a->error));
        lua_rawseti(L, -2, ++i);
    }
}

void script_push_log(lua_State *L, const struct request *req)
{
    lua_getfield(L, LUA_REGISTRYINDEX, NAMES);
    int list = lua_gettop(L);
    lua_createtable(L, 0, 16);
    set_number(L, list, KEY_TIME, req->started);
    lua_rawgeti(L, list, KEY_ID);
    script_push_id(L, req);
    lua_rawset(L, -3);
    lua_rawgeti(L, list, KEY_CLIENT);
    script_push_peer(L, &req->client);
    lua_rawset(L, -3);
    set_str(L, list, KEY_HOST, req->host);
    set_str(L, list, KEY_METHOD, req->method);
    set_str(L, list, KEY_URI, req->uri.origin);
    set_number(L, list, KEY_STATUS, req->response.status);
    set_number(L, list, KEY_BYTES_IN, (double)req->bytes_in);
    set_number(L, list, KEY_BYTES_OUT, (double)req->bytes_out);
    set_number(L, list, KEY_DURATION, req->ended_at - req->started);
    lua_rawgeti(L, list, KEY_ATTEMPTS);
    push_attempts(L, list, req);
    lua_rawset(L, -3);
    if (req->backend.n > 0)
        set_str(L, list, KEY_BACKEND, req->backend);
    if (req->server.n > 0)
        set_str(L, list, KEY_SERVER, req->server);
    if (req->decision.tenant.n > 0)
        set_str(L, list, KEY_TENANT, req->decision.tenant);
    if (req->ended && req->backend.n > 0) {
        set_number(L, list, KEY_APP_STATUS, req->app_status);
        set_number(L, list, KEY_PROTOCOL_STATUS, req->protocol_status);
    }
    if (req->error != NULL)
        set_str(L, list, KEY_ERROR, str_of(req->error));
    lua_remove(L, list);
}
