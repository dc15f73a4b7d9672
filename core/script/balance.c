/*
 * balance - see balance.h.
 *
 * A server is a table with a metatable. The fields that most policies read are array slots of the
 * table, written before a policy is called; the other fields are read from the ledger
 * (lua/moongate/worker/server.lua lists them). A server has one object, found by its place in the
 * ledger, so a policy may use it as a key.
 */
#include "script/balance.h"

#include "script/box.h"
#include "script/door.h"
#include "script/hooks.h"
#include "script/modules.h"
#include "script/property.h"

#include <stdlib.h>

/* Array slots of a server object; moongate.worker.server reads the first two. */
enum { SERVER_LOAD = 1, SERVER_WEIGHT, SERVER_PLACE };

/* A server that a policy has seen. */
struct script_server_seen {
    const struct ledger_server *slot;
    uint64_t key; /* key of the ledger's server that the object was made for; 0: no object */
    const void *object;
    double load, weight; /* the numbers that the object's slots hold now */
    unsigned queued;
    int address; /* the text's reference in the registry */
};

struct script_servers {
    int *picks;                      /* each backend's policy in the registry; LUA_NOREF: none */
    struct script_server_seen *seen; /* by place in the ledger */
    uint32_t seen_count;
    int servers, list, type; /* in the registry: all objects, the list of a call, the metatable */
};

/* `others` has the processes that other clients of PHP-FPM keep busy: its status page counts
 * moongate's requests, too, and the ledger has subtracted them. */
static double balance_load_of(const struct ledger_server *s)
{
    return (double)s->active + (double)s->extra + (double)s->others;
}

void script_push_load(lua_State *L, const void *at)
{
    lua_pushnumber(L, balance_load_of(at));
}

static double balance_weight_of(const struct ledger_server *s)
{
    return s->slow_start > 0 ? ledger_weight(s, ledger_now()) : s->weight;
}

static void balance_push_weight(lua_State *L, const void *at)
{
    lua_pushnumber(L, balance_weight_of(at));
}

void script_push_up(lua_State *L, const void *at)
{
    const struct ledger_server *s = at;
    lua_pushboolean(L, !s->down && !s->sick && !s->gone);
}

static void balance_push_address(lua_State *L, const void *at)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, *(const int *)at);
}

enum { OF_SLOT, OF_SEEN };

#define FIELD(name, member) PROPERTY(name, struct ledger_server, member)

const struct property property_server[] = {
    {"address", .push = balance_push_address, .at = offsetof(struct script_server_seen, address),
     .of = OF_SEEN},
    {"weight", .push = balance_push_weight},
    FIELD("active", active),
    PROPERTY_OF(OF_SEEN, "queued", struct script_server_seen, queued),
    FIELD("requests", requests),
    FIELD("fails", fails),
    FIELD("latency", latency),
    {"up", .push = script_push_up},
    FIELD("backup", backup),
    FIELD("draining", draining),
    {"load", .push = script_push_load},
    FIELD("idle", idle),
    FIELD("max_conns", max_conns),
    {0},
};

/* The server at 1, the object of the metatable that called the function. */
static const struct script_server_seen *balance_check_server(lua_State *L, int script)
{
    const struct script *s = lua_touserdata(L, lua_upvalueindex(script));
    lua_rawgeti(L, 1, SERVER_PLACE);
    lua_Integer place = lua_tointeger(L, -1);
    if (place < 0 || place >= (lua_Integer)s->servers->seen_count ||
        s->servers->seen[place].object != lua_topointer(L, 1))
        luaL_error(L, "this server is gone: a policy that keeps one may use it only while it is in "
                      "the list that it gets");
    return &s->servers->seen[place];
}

/* upvalue 2: the script. Stack: server, key. */
static int balance_server_field(lua_State *L)
{
    const struct property *p = property_find(L, property_server, "a server");
    const struct script_server_seen *seen = balance_check_server(L, 2);
    property_push(L, p, p->of == OF_SLOT ? (const void *)seen->slot : seen);
    return 1;
}

static int balance_server_newindex(lua_State *L)
{
    return script_refuse_assignment(L, "server",
                                    "servers are read-only; what a policy keeps goes into a table "
                                    "of its own, with the server as key");
}

static int balance_server_tostring(lua_State *L)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, balance_check_server(L, 1)->address);
    return 1;
}

/* The policies in the normalised table on the top of the stack. */
static void balance_find_policies(lua_State *L, struct script_servers *servers, unsigned count)
{
    servers->picks = calloc((size_t)count + 1, sizeof *servers->picks);
    if (servers->picks == NULL)
        abort();
    lua_getfield(L, -1, "backends");
    for (unsigned i = 0; i < count; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        lua_getfield(L, -1, "pick");
        servers->picks[i] = LUA_NOREF;
        if (lua_isfunction(L, -1))
            servers->picks[i] = luaL_ref(L, LUA_REGISTRYINDEX);
        else
            lua_pop(L, 1);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

void script_balance_free(struct script *s)
{
    if (s->servers != NULL) {
        free(s->servers->picks);
        free(s->servers->seen);
    }
    free(s->servers);
    s->servers = NULL;
}

bool script_balance_new(struct script *s)
{
    lua_State *L = s->L;
    s->servers = calloc(1, sizeof *s->servers);
    if (s->servers == NULL)
        abort();
    balance_find_policies(L, s->servers, s->settings.backend_count);
    if (script_library_function(L, "moongate.worker.server", "index") != 0)
        return false;
    property_push_names(L, property_server);
    lua_pushlightuserdata(L, s);
    lua_pushcclosure(L, balance_server_field, 2);
    if (lua_pcall(L, 1, 1, 0) != 0)
        return false;
    lua_createtable(L, 0, 4); /* the metatable */
    lua_insert(L, -2);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, balance_server_newindex);
    lua_setfield(L, -2, "__newindex");
    lua_pushlightuserdata(L, s);
    lua_pushcclosure(L, balance_server_tostring, 1);
    lua_setfield(L, -2, "__tostring");
    lua_pushliteral(L, "moongate.server");
    lua_setfield(L, -2, "__metatable");
    s->servers->type = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_newtable(L);
    s->servers->servers = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_newtable(L);
    s->servers->list = luaL_ref(L, LUA_REGISTRYINDEX);
    return true;
}

/* --- the list that a policy gets --- */

static struct script_server_seen *balance_seen_at(struct script *s, uint32_t place)
{
    if (place >= s->servers->seen_count) {
        size_t count = (size_t)place + 16;
        s->servers->seen = realloc(s->servers->seen, count * sizeof *s->servers->seen);
        if (s->servers->seen == NULL)
            abort();
        memset(s->servers->seen + s->servers->seen_count, 0,
               (count - s->servers->seen_count) * sizeof *s->servers->seen);
        s->servers->seen_count = (uint32_t)count;
    }
    return &s->servers->seen[place];
}

/* Makes and pushes the object of a server; `servers` is the index of the table of objects. */
static void balance_make_server(struct script *s, lua_State *L, int servers,
                                const struct script_server *server)
{
    struct script_server_seen *seen = balance_seen_at(s, server->place);
    if (seen->key != 0)
        luaL_unref(L, LUA_REGISTRYINDEX, seen->address);
    script_push_str(L, server->address);
    *seen = (struct script_server_seen){.slot = server->slot,
                                        .key = server->slot->key,
                                        .load = -1,
                                        .weight = -1,
                                        .address = luaL_ref(L, LUA_REGISTRYINDEX)};
    lua_createtable(L, SERVER_PLACE + 1, 0);
    seen->object = lua_topointer(L, -1);
    lua_pushinteger(L, (lua_Integer)server->place);
    lua_rawseti(L, -2, SERVER_PLACE);
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->servers->type);
    lua_setmetatable(L, -2);
    lua_pushvalue(L, -1);
    lua_rawseti(L, servers, (int)server->place + 1);
}

static void balance_write_number(lua_State *L, int at, double *written, double value)
{
    if (*written == value)
        return;
    *written = value;
    lua_pushnumber(L, value);
    lua_rawseti(L, -2, at);
}

/* Pushes the object of the server, with its numbers as they are now. */
static void balance_push_server(struct script *s, lua_State *L, int servers,
                                const struct script_server *server)
{
    if (server->place < s->servers->seen_count &&
        s->servers->seen[server->place].key == server->slot->key)
        lua_rawgeti(L, servers, (int)server->place + 1);
    else
        balance_make_server(s, L, servers, server);
    struct script_server_seen *seen = &s->servers->seen[server->place];
    seen->queued = server->queued;
    balance_write_number(L, SERVER_LOAD, &seen->load, balance_load_of(server->slot));
    balance_write_number(L, SERVER_WEIGHT, &seen->weight, balance_weight_of(server->slot));
}

/* Pushes the list of servers. The same table is filled for each call, so a policy must not keep it.
 */
static void balance_push_list(struct script *s, lua_State *L, const struct script_server *list,
                              unsigned count)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->servers->list);
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->servers->servers);
    int servers = lua_gettop(L);
    for (unsigned i = 0; i < count; i++) {
        balance_push_server(s, L, servers, &list[i]);
        lua_rawseti(L, servers - 1, (int)i + 1);
    }
    for (int i = (int)lua_objlen(L, servers - 1); i > (int)count; i--) {
        lua_pushnil(L);
        lua_rawseti(L, servers - 1, i);
    }
    lua_settop(L, servers - 1);
}

struct asking {
    struct request *req;
    struct script_call *call;
    const struct script_server *list;
    unsigned count;
    int function;
    struct script_cause cause;
    int choice; /* a place in the list; -1: the function returned no server */
    struct str *cookie;
    enum script_result result;
};

/* The place in the list of the server at idx; -1: the value is none of these servers. */
static int balance_find_choice(const struct script *s, int idx, const struct asking *a)
{
    const void *object = lua_topointer(s->L, idx);
    for (unsigned i = 0; object != NULL && i < a->count; i++)
        if (s->servers->seen[a->list[i].place].object == object)
            return (int)i;
    return -1;
}

/* "route.lua:12", where the function begins. Text in the request's arena. */
static const char *balance_source_of(struct script *s, const struct request *req, int function)
{
    lua_Debug at;
    lua_rawgeti(s->L, LUA_REGISTRYINDEX, function);
    lua_getinfo(s->L, ">S", &at);
    return arena_printf((struct arena *)&req->arena, "%s:%d",
                        at.source[0] == '@' ? at.source + 1 : at.short_src, at.linedefined)
        .p;
}

static enum script_result balance_misuse(struct script *s, const struct asking *a, int idx,
                                         const char *expected)
{
    script_log_misuse(s, a->cause.what, balance_source_of(s, a->req, a->function), a->req,
                      lua_pushfstring(s->L, "%s, got %s", expected, script_describe(s->L, idx)));
    return SCRIPT_FAILED;
}

static void balance_ask_body(struct script *s, void *ctx)
{
    struct asking *a = ctx;
    lua_State *L = s->L;
    lua_rawgeti(L, LUA_REGISTRYINDEX, a->function);
    script_push_box(s, a->req, a->call);
    balance_push_list(s, L, a->list, a->count);
    lua_pushinteger(L, (lua_Integer)a->req->attempts + 1);
    a->result = script_run(s, 3, 2, &a->cause);
    if (a->result != SCRIPT_DONE)
        return;
    int server = lua_gettop(L) - 1, cookie = server + 1;
    a->choice = balance_find_choice(s, server, a);
    if (a->choice < 0 && !lua_isnil(L, server))
        a->result =
            balance_misuse(s, a, server, "expected one of the servers that it was given, or nil");
    else if (lua_type(L, cookie) == LUA_TSTRING && str_is_field_value(script_str(L, cookie)))
        *a->cookie = arena_copy(&a->req->arena, script_str(L, cookie));
    else if (!lua_isnil(L, cookie))
        a->result = balance_misuse(
            s, a, cookie, "expected the text of a Set-Cookie header as second result, or nil");
}

/* Calls on_balance, or a policy. */
static enum script_result balance_ask(struct script *s, struct asking *a, int function,
                                      const char *what)
{
    a->function = function;
    a->cause = (struct script_cause){.what = what,
                                     .source = "choosing a server",
                                     .req = a->req,
                                     .kind = SCRIPT_KIND_OF(HOOK_BALANCE)};
    return script_guard(s, &a->cause, balance_ask_body, a) ? a->result : SCRIPT_FAILED;
}

enum script_result script_balance(struct script *s, struct request *req, struct script_call *call,
                                  const struct script_server *list, unsigned count,
                                  unsigned *chosen, struct str *cookie)
{
    struct asking asking = {
        .req = req, .call = call, .list = list, .count = count, .choice = -1, .cookie = cookie};
    enum script_result result = SCRIPT_DONE;
    int policy = s->servers->picks[req->decision.backend];
    *cookie = STR("");
    if (script_has(s, HOOK_BALANCE))
        result = balance_ask(s, &asking, script_hook_function(s, HOOK_BALANCE),
                             script_hook_names[HOOK_BALANCE]);
    bool open = script_policy(s, HOOK_BALANCE) == SCRIPT_OPEN;
    if (result != SCRIPT_DONE && open) { /* as though it had not been there */
        asking.choice = -1;
        result = SCRIPT_DONE;
    }
    if (result == SCRIPT_DONE && asking.choice < 0 && policy != LUA_NOREF)
        result = balance_ask(s, &asking, policy, "balance");
    if (result != SCRIPT_DONE && open) {
        asking.choice = 0;
        result = SCRIPT_DONE;
    }
    script_release_box(s, call);
    *chosen = asking.choice > 0 ? (unsigned)asking.choice : 0;
    return result;
}
