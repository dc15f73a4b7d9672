/*
 * log - what on_log and log.format are told of a request that has ended. Called by
 * script_hooks.
 *
 * `log` is a view: a field is made when it is read, so a hook pays for what it looks at. There is
 * one a script, which shows a request while its hook runs; log:all() is a table that may be kept.
 */
#include "script/lua.h"

static const char TYPE[] = "moongate.log";

struct script_entry {
    const struct request *req; /* NULL: no hook runs */
};

enum field {
    FIELD_APP_STATUS = 1,
    FIELD_ATTEMPTS,
    FIELD_BACKEND,
    FIELD_BYTES_IN,
    FIELD_BYTES_OUT,
    FIELD_CLIENT,
    FIELD_DURATION,
    FIELD_ERROR,
    FIELD_HOST,
    FIELD_ID,
    FIELD_METHOD,
    FIELD_PROTOCOL_STATUS,
    FIELD_SERVER,
    FIELD_STATUS,
    FIELD_TENANT,
    FIELD_TIME,
    FIELD_URI,
    FIELD_USER,
    FIELD_ALL, /* the method */
};

static const char *const fields[] = {
    [FIELD_APP_STATUS] = "app_status",
    [FIELD_ATTEMPTS] = "attempts",
    [FIELD_BACKEND] = "backend",
    [FIELD_BYTES_IN] = "bytes_in",
    [FIELD_BYTES_OUT] = "bytes_out",
    [FIELD_CLIENT] = "client",
    [FIELD_DURATION] = "duration",
    [FIELD_ERROR] = "error",
    [FIELD_HOST] = "host",
    [FIELD_ID] = "id",
    [FIELD_METHOD] = "method",
    [FIELD_PROTOCOL_STATUS] = "protocol_status",
    [FIELD_SERVER] = "server",
    [FIELD_STATUS] = "status",
    [FIELD_TENANT] = "tenant",
    [FIELD_TIME] = "time",
    [FIELD_URI] = "uri",
    [FIELD_USER] = "user",
    [FIELD_ALL] = "all",
};

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

/* What END_REQUEST said; nil where none came. */
static void push_end(lua_State *L, const struct request *req, double value)
{
    if (req->ended && req->backend.n > 0)
        lua_pushnumber(L, value);
    else
        lua_pushnil(L);
}

static void push_text(lua_State *L, struct str text)
{
    if (text.n > 0)
        script_push_str(L, text);
    else
        lua_pushnil(L);
}

static void push_field(lua_State *L, enum field field, const struct request *req)
{
    switch (field) {
    case FIELD_APP_STATUS:
        return push_end(L, req, req->app_status);
    case FIELD_ATTEMPTS:
        return push_attempts(L, req);
    case FIELD_BACKEND:
        return push_text(L, req->backend);
    case FIELD_BYTES_IN:
        return lua_pushnumber(L, (double)req->bytes_in);
    case FIELD_BYTES_OUT:
        return lua_pushnumber(L, (double)req->bytes_out);
    case FIELD_CLIENT:
        return script_push_peer(L, &req->client);
    case FIELD_DURATION:
        return lua_pushnumber(L, req->ended_at - req->started);
    case FIELD_ERROR:
        return push_text(L, req->error != NULL ? str_of(req->error) : STR(""));
    case FIELD_HOST:
        return push_text(L, req->host);
    case FIELD_ID:
        return script_push_id(L, req);
    case FIELD_METHOD:
        return script_push_str(L, req->method);
    case FIELD_PROTOCOL_STATUS:
        return push_end(L, req, req->protocol_status);
    case FIELD_SERVER:
        return push_text(L, req->server);
    case FIELD_STATUS:
        return lua_pushinteger(L, req->response.status);
    case FIELD_TENANT:
        return push_text(L, req->decision.tenant);
    case FIELD_TIME:
        return lua_pushnumber(L, req->started);
    case FIELD_URI:
        return script_push_str(L, req->uri.origin);
    case FIELD_USER:
        return push_text(L, req->user);
    case FIELD_ALL:
        return lua_pushvalue(L, lua_upvalueindex(2));
    }
}

static const struct request *shown(lua_State *L, const struct script_entry *entry)
{
    if (entry->req == NULL)
        luaL_error(L, "this log is gone: it may only be used inside on_log or log.format (keep "
                      "log:all(), or copy what is needed)");
    return entry->req;
}

/* log:all() -> a table of all its fields */
static int log_all(lua_State *L)
{
    const struct request *req = shown(L, script_check_self(L, TYPE, "log:all()"));
    lua_createtable(L, 0, FIELD_URI);
    for (int i = 1; i <= FIELD_URI; i++) {
        push_field(L, (enum field)i, req);
        lua_setfield(L, -2, fields[i]);
    }
    return 1;
}

/* upvalue 1: name -> enum field; 2: the method. Stack: log, key. */
static int log_index(lua_State *L)
{
    const struct request *req = shown(L, lua_touserdata(L, 1));
    lua_pushvalue(L, 2);
    lua_rawget(L, lua_upvalueindex(1));
    int field = (int)lua_tointeger(L, -1);
    if (field == 0)
        return luaL_error(
            L,
            "log has no field %s; it has: time duration id client user host method uri "
            "status bytes_in bytes_out backend server tenant app_status "
            "protocol_status attempts error, and the method all",
            script_describe(L, 2));
    push_field(L, (enum field)field, req);
    return 1;
}

static int log_newindex(lua_State *L)
{
    return script_refuse_assignment(L, "log",
                                    "log is read-only; what a script wants to change it changes in "
                                    "a copy, log:all()");
}

void script_log_open(lua_State *L)
{
    script_new_type(L, TYPE, log_newindex);
    script_push_names(L, fields, FIELD_ALL);
    lua_pushcfunction(L, log_all);
    lua_pushcclosure(L, log_index, 2);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}

struct script_entry *script_push_log(lua_State *L)
{
    struct script_entry *entry = lua_newuserdata(L, sizeof *entry);
    entry->req = NULL;
    script_push_type(L, TYPE);
    lua_setmetatable(L, -2);
    return entry;
}

void script_show_log(struct script_entry *entry, const struct request *req)
{
    entry->req = req;
}
