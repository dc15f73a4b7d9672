/*
 * script_balance - see script.h. This file: servers as policies see them, on_balance, the policies.
 *
 * A server is a userdata that reads the ledger when it is asked, so its numbers are those of the
 * moment and of all workers. The same server is always the same object, anchored in the registry by
 * its place in the ledger; a policy may use it as a key.
 */
#include "script_lua.h"

#define SERVER_TYPE "moongate.server"
#define SERVERS     "moongate.servers" /* in the registry: from place to object */

struct server_box {
    const struct ledger_server *slot;
    uint64_t key; /* of the server that the object was made for */
    unsigned queued;
    int address; /* anchors it */
};

enum field {
    FIELD_ACTIVE = 1,
    FIELD_ADDRESS,
    FIELD_BACKUP,
    FIELD_DRAINING,
    FIELD_FAILS,
    FIELD_IDLE,
    FIELD_LATENCY,
    FIELD_LOAD,
    FIELD_MAX_CONNS,
    FIELD_QUEUED,
    FIELD_REQUESTS,
    FIELD_UP,
    FIELD_WEIGHT,
};

static const char *const fields[] = {
    [FIELD_ACTIVE] = "active",     [FIELD_ADDRESS] = "address",   [FIELD_BACKUP] = "backup",
    [FIELD_DRAINING] = "draining", [FIELD_FAILS] = "fails",       [FIELD_IDLE] = "idle",
    [FIELD_LATENCY] = "latency",   [FIELD_LOAD] = "load",         [FIELD_MAX_CONNS] = "max_conns",
    [FIELD_QUEUED] = "queued",     [FIELD_REQUESTS] = "requests", [FIELD_UP] = "up",
    [FIELD_WEIGHT] = "weight",
};

/* php-fpm's status page counts our own requests as well. */
static double load_of(const struct ledger_server *s)
{
    return (double)s->active + (double)s->others;
}

static void push_field(lua_State *L, int field, const struct server_box *box)
{
    const struct ledger_server *s = box->slot;
    switch (field) {
    case FIELD_ACTIVE:
        return lua_pushinteger(L, (lua_Integer)s->active);
    case FIELD_ADDRESS:
        return lua_rawgeti(L, LUA_REGISTRYINDEX, box->address);
    case FIELD_BACKUP:
        return lua_pushboolean(L, s->backup);
    case FIELD_DRAINING:
        return lua_pushboolean(L, s->draining);
    case FIELD_FAILS:
        return lua_pushinteger(L, (lua_Integer)s->fails);
    case FIELD_IDLE:
        return lua_pushinteger(L, (lua_Integer)s->idle);
    case FIELD_LATENCY:
        return lua_pushnumber(L, s->latency);
    case FIELD_LOAD:
        return lua_pushnumber(L, load_of(s));
    case FIELD_MAX_CONNS:
        return lua_pushinteger(L, (lua_Integer)s->max_conns);
    case FIELD_QUEUED:
        return lua_pushinteger(L, (lua_Integer)box->queued);
    case FIELD_REQUESTS:
        return lua_pushnumber(L, (double)s->requests);
    case FIELD_UP:
        return lua_pushboolean(L, !s->down && !s->sick && !s->gone);
    default:
        return lua_pushnumber(L, s->slow_start > 0 ? ledger_weight(s, ledger_now()) : s->weight);
    }
}

/* upvalue 1: name -> enum field. Stack: server, key. */
static int server_index(lua_State *L)
{
    const struct server_box *box = lua_touserdata(L, 1);
    lua_pushvalue(L, 2);
    lua_rawget(L, lua_upvalueindex(1));
    int field = (int)lua_tointeger(L, -1);
    if (field == 0)
        return luaL_error(L,
                          "a server has no field %s; it has: address weight active queued "
                          "requests fails latency up backup draining load idle max_conns",
                          script_describe(L, 2));
    push_field(L, field, box);
    return 1;
}

static int server_newindex(lua_State *L)
{
    return script_refuse_assignment(L, "server",
                                    "servers are read-only; what a policy keeps goes into a table "
                                    "of its own, with the server as key");
}

static int server_tostring(lua_State *L)
{
    const struct server_box *box = luaL_checkudata(L, 1, SERVER_TYPE);
    lua_rawgeti(L, LUA_REGISTRYINDEX, box->address);
    return 1;
}

void script_balance_open(lua_State *L)
{
    luaL_newmetatable(L, SERVER_TYPE);
    lua_createtable(L, 0, FIELD_WEIGHT);
    for (int i = 1; i <= FIELD_WEIGHT; i++) {
        lua_pushinteger(L, i);
        lua_setfield(L, -2, fields[i]);
    }
    lua_pushcclosure(L, server_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, server_newindex);
    lua_setfield(L, -2, "__newindex");
    lua_pushcfunction(L, server_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pushstring(L, SERVER_TYPE);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
    lua_newtable(L);
    lua_setfield(L, LUA_REGISTRYINDEX, SERVERS);
}

/* Pushes the object of the server; `servers` is the registry's table. */
static void push_server(lua_State *L, int servers, const struct script_server *server)
{
    lua_pushlightuserdata(L, (void *)server->slot);
    lua_rawget(L, servers);
    struct server_box *box = lua_touserdata(L, -1);
    if (box == NULL || box->key != server->slot->key) {
        lua_pop(L, 1);
        box = lua_newuserdata(L, sizeof *box);
        box->slot = server->slot;
        box->key = server->slot->key;
        script_push_str(L, server->address);
        box->address = luaL_ref(L, LUA_REGISTRYINDEX);
        luaL_getmetatable(L, SERVER_TYPE);
        lua_setmetatable(L, -2);
        lua_pushlightuserdata(L, (void *)server->slot);
        lua_pushvalue(L, -2);
        lua_rawset(L, servers);
    }
    box->queued = server->queued;
}

static void push_list(lua_State *L, const struct script_server *list, unsigned count)
{
    lua_createtable(L, (int)count, 0);
    lua_getfield(L, LUA_REGISTRYINDEX, SERVERS);
    int servers = lua_gettop(L);
    for (unsigned i = 0; i < count; i++) {
        push_server(L, servers, &list[i]);
        lua_rawseti(L, servers - 1, (int)i + 1);
    }
    lua_settop(L, servers - 1);
}

/* The place of the server at 1 of co's stack in the list; -1: it is none of them. */
static int find_choice(lua_State *co, const struct script_server *list, unsigned count)
{
    const struct server_box *box = lua_touserdata(co, 1);
    for (unsigned i = 0; box != NULL && lua_isuserdata(co, 1) && i < count; i++)
        if (box->slot == list[i].slot)
            return (int)i;
    return -1;
}

struct asking {
    const struct script_server *list;
    unsigned count;
    int function;
    const char *what;
};

/* "route.lua:12", where the function begins. Text in the request's arena. */
static const char *source_of(struct script *s, const struct request *req, int function)
{
    lua_Debug at;
    lua_rawgeti(s->L, LUA_REGISTRYINDEX, function);
    lua_getinfo(s->L, ">S", &at);
    return arena_printf((struct arena *)&req->arena, "%s:%d",
                        at.source[0] == '@' ? at.source + 1 : at.short_src, at.linedefined)
        .p;
}

static enum script_result misuse(struct script *s, lua_State *co, const struct request *req,
                                 const struct asking *asking, int idx, const char *expected)
{
    script_log_misuse(asking->what, source_of(s, req, asking->function), req,
                      lua_pushfstring(co, "%s, got %s", expected, script_describe(co, idx)));
    return SCRIPT_FAILED;
}

/* Asks one function. *choice: a place, or -1 where it returned nil. */
static enum script_result ask(struct script *s, struct request *req, struct script_call *call,
                              const struct asking *asking, int *choice, struct str *cookie)
{
    lua_State *co = script_enter(s, asking->function);
    script_push_box(s, co, req, call);
    push_list(co, asking->list, asking->count);
    lua_pushinteger(co, (lua_Integer)req->attempts + 1);
    enum script_result result = script_run(s, co, 3, asking->what, "choosing a server", req);
    *choice = -1;
    if (result != SCRIPT_DONE)
        return result;
    *choice = find_choice(co, asking->list, asking->count);
    lua_settop(co, 2);
    if (*choice < 0 && !lua_isnil(co, 1))
        result =
            misuse(s, co, req, asking, 1, "expected one of the servers that it was given, or nil");
    else if (lua_type(co, 2) == LUA_TSTRING && str_is_field_value(script_str(co, 2)))
        *cookie = arena_copy(&req->arena, script_str(co, 2));
    else if (!lua_isnil(co, 2))
        result = misuse(s, co, req, asking, 2,
                        "expected the text of a Set-Cookie header as second result, or nil");
    script_leave(co);
    return result;
}

enum script_result script_balance(struct script *s, struct request *req, struct script_call *call,
                                  const struct script_server *list, unsigned count,
                                  unsigned *chosen, struct str *cookie)
{
    struct asking asking = {.list = list, .count = count};
    enum script_result result = SCRIPT_DONE;
    int choice = -1;
    *cookie = STR("");
    if (s->hooks[HOOK_BALANCE] != LUA_NOREF) {
        asking.function = s->hooks[HOOK_BALANCE];
        asking.what = script_hook_names[HOOK_BALANCE];
        result = ask(s, req, call, &asking, &choice, cookie);
    }
    if (result == SCRIPT_DONE && choice < 0 && count > 1 &&
        s->picks[req->decision.backend] != LUA_NOREF) {
        asking.function = s->picks[req->decision.backend];
        asking.what = "balance";
        result = ask(s, req, call, &asking, &choice, cookie);
    }
    script_release_box(s, call);
    *chosen = choice > 0 ? (unsigned)choice : 0;
    return result;
}
