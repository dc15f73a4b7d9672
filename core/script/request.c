/*
 * request - a request as Lua sees it: req, its args and cookies.
 *
 * `req` is a box: a userdata that holds a pointer, emptied when the request ends. Strings are
 * copied at the border. A value is made when it is read, so a hook pays for what it looks at.
 *
 * Each box has an environment table, made on first use: it keeps `ctx`, and `headers`, `args` and
 * `cookies` once they were asked for.
 */
#include "script/lua.h"

static const char REQUEST_TYPE[] = "moongate.request";

void script_push_type(lua_State *L, const char *name)
{
    lua_pushlightuserdata(L, (void *)name);
    lua_rawget(L, LUA_REGISTRYINDEX);
}

void script_new_type(lua_State *L, const char *name, lua_CFunction newindex)
{
    luaL_newmetatable(L, name);
    lua_pushlightuserdata(L, (void *)name);
    lua_pushvalue(L, -2);
    lua_rawset(L, LUA_REGISTRYINDEX);
    lua_pushcfunction(L, newindex);
    lua_setfield(L, -2, "__newindex");
    lua_pushstring(L, name); /* getmetatable(req) shows this instead of the machinery */
    lua_setfield(L, -2, "__metatable");
}

void script_push_names(lua_State *L, const char *const *names, int last)
{
    lua_createtable(L, 0, last);
    for (int i = 1; i <= last; i++) {
        lua_pushinteger(L, i);
        lua_setfield(L, -2, names[i]);
    }
}

void *script_check_self(lua_State *L, const char *name, const char *call)
{
    void *self = lua_touserdata(L, 1);
    if (self != NULL && lua_getmetatable(L, 1)) {
        script_push_type(L, name);
        bool same = lua_rawequal(L, -1, -2);
        lua_pop(L, 2);
        if (same)
            return self;
    }
    luaL_error(L, "expected a call such as %s (with a colon), got %s before the name", call,
               script_describe(L, 1));
    return NULL;
}

void script_set_index(lua_State *L, lua_CFunction index)
{
    lua_pushcclosure(L, index, 1);
    lua_setfield(L, -2, "__index");
}

/* --- req --- */

enum field {
    FIELD_ARGS = 1,
    FIELD_ATTEMPT,
    FIELD_CLIENT_PORT,
    FIELD_COOKIES,
    FIELD_CTX,
    FIELD_HASH_KEY,
    FIELD_HEADERS,
    FIELD_HOST,
    FIELD_ID,
    FIELD_INTERNAL,
    FIELD_IP,
    FIELD_LISTENER,
    FIELD_METHOD,
    FIELD_PATH,
    FIELD_PORT,
    FIELD_QUERY,
    FIELD_RAW_PATH,
    FIELD_SCHEME,
    FIELD_SERVER_IP,
    FIELD_SERVER_PORT,
    FIELD_TIME,
    FIELD_URI,
    FIELD_VERSION,
};

static const char *const fields[] = {
    [FIELD_ARGS] = "args",
    [FIELD_ATTEMPT] = "attempt",
    [FIELD_CLIENT_PORT] = "client_port",
    [FIELD_COOKIES] = "cookies",
    [FIELD_CTX] = "ctx",
    [FIELD_HASH_KEY] = "hash_key",
    [FIELD_HEADERS] = "headers",
    [FIELD_HOST] = "host",
    [FIELD_ID] = "id",
    [FIELD_INTERNAL] = "internal",
    [FIELD_IP] = "ip",
    [FIELD_LISTENER] = "listener",
    [FIELD_METHOD] = "method",
    [FIELD_PATH] = "path",
    [FIELD_PORT] = "port",
    [FIELD_QUERY] = "query",
    [FIELD_RAW_PATH] = "raw_path",
    [FIELD_SCHEME] = "scheme",
    [FIELD_SERVER_IP] = "server_ip",
    [FIELD_SERVER_PORT] = "server_port",
    [FIELD_TIME] = "time",
    [FIELD_URI] = "uri",
    [FIELD_VERSION] = "version",
};

struct script_box *script_push_request(lua_State *L, struct request *req)
{
    struct script_box *box = lua_newuserdata(L, sizeof *box);
    box->req = req;
    script_push_type(L, REQUEST_TYPE);
    lua_setmetatable(L, -2);
    return box;
}

struct request *script_box_request(lua_State *L, const struct script_box *box)
{
    if (box->req == NULL)
        luaL_error(L, "this request has ended: a script may not keep 'req' (copy what it needs)");
    return box->req;
}

struct request *script_check_request(lua_State *L, int idx)
{
    return script_box_request(L, luaL_checkudata(L, idx, REQUEST_TYPE));
}

/* Pushes the box's own table, making it when there is none. */
static void push_environment(lua_State *L, int box)
{
    lua_getfenv(L, box);
    lua_rawgeti(L, -1, 0);
    bool own = !lua_isnil(L, -1);
    lua_pop(L, 1);
    if (own)
        return;
    lua_pop(L, 1);
    lua_createtable(L, 1, 2); /* [0] says that the table is the box's own, not the default one */
    lua_pushboolean(L, 1);
    lua_rawseti(L, -2, 0);
    lua_pushvalue(L, -1);
    lua_setfenv(L, box);
}

void script_push_peer(lua_State *L, const struct peer *peer)
{
    char text[PEER_TEXT_SIZE];
    size_t n = peer_text(peer, text);
    lua_pushlstring(L, text, n);
}

/* --- args and cookies --- */

/* Decodes one piece of a query: %XX and '+'. A bad escape stays as it is. */
static void push_decoded(lua_State *L, struct str in, bool plus)
{
    luaL_Buffer buffer;
    luaL_buffinit(L, &buffer);
    for (size_t i = 0; i < in.n; i++) {
        char c = in.p[i];
        size_t n;
        if (c == '+' && plus)
            c = ' ';
        else if (c == '%' && i + 2 < in.n && uri_unescape((struct str){in.p + i, 3}, &c, &n))
            i += 2;
        luaL_addchar(&buffer, c);
    }
    luaL_pushresult(&buffer);
}

/*
 * An empty table whose metatable answers: methods first, so that no client can shadow them, then
 * the values. The metatable's [1] is the values by name, [2] the lists of all values by name.
 */
enum { PAIRS_VALUES = 1, PAIRS_LISTS = 2 };

/* Adds the pair (name, value on the stack's top) to both. */
static void add_pair(lua_State *L, int values, int lists, bool last_wins)
{
    lua_pushvalue(L, -2);
    lua_rawget(L, lists);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, -3);
        lua_pushvalue(L, -2);
        lua_rawset(L, lists);
    }
    int count = (int)lua_objlen(L, -1);
    lua_pushvalue(L, -2);
    lua_rawseti(L, -2, count + 1);
    lua_pop(L, 1);
    if (count == 0 || last_wins)
        lua_rawset(L, values);
    else
        lua_pop(L, 2);
}

/* Pushes what the metatable of the table at 1 keeps under `what`. */
static void push_pairs(lua_State *L, int what)
{
    if (lua_istable(L, 1) && lua_getmetatable(L, 1)) {
        lua_rawgeti(L, -1, what);
        if (lua_istable(L, -1))
            return;
    }
    luaL_error(L,
               "expected a call such as req.args:all(\"name\") or req.cookies:each() (with a "
               "colon), got %s",
               script_describe(L, 1));
}

/* t:all(name): a list of all values, in their order. */
static int pairs_all(lua_State *L)
{
    lua_settop(L, 2);
    push_pairs(L, PAIRS_LISTS);
    script_expect_text(L, 2, "all: expected the name of an argument or cookie");
    lua_pushvalue(L, 2);
    lua_rawget(L, -2);
    if (lua_isnil(L, -1))
        lua_newtable(L);
    return 1;
}

/* for name, value in t:each() do */
static int pairs_each(lua_State *L)
{
    lua_settop(L, 1);
    lua_getglobal(L, "next");
    push_pairs(L, PAIRS_VALUES);
    lua_remove(L, -2); /* the metatable */
    return 2;
}

static int pairs_index(lua_State *L)
{
    lua_pushvalue(L, 2);
    lua_rawget(L, lua_upvalueindex(1));
    if (!lua_isnil(L, -1))
        return 1;
    push_pairs(L, PAIRS_VALUES);
    lua_pushvalue(L, 2);
    lua_rawget(L, -2);
    return 1;
}

static int pairs_newindex(lua_State *L)
{
    return luaL_error(L, "req.args and req.cookies can't be assigned: req is read-only");
}

/* Leaves the table, and the tables of its values and lists, on the stack. */
static void new_pairs(lua_State *L, int *table, int *values, int *lists)
{
    lua_newtable(L);
    *table = lua_gettop(L);
    lua_createtable(L, 2, 3); /* the metatable */
    lua_newtable(L);
    lua_pushcfunction(L, pairs_all);
    lua_setfield(L, -2, "all");
    lua_pushcfunction(L, pairs_each);
    lua_setfield(L, -2, "each");
    lua_pushcclosure(L, pairs_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, pairs_newindex);
    lua_setfield(L, -2, "__newindex");
    lua_pushliteral(L, "moongate.pairs");
    lua_setfield(L, -2, "__metatable");
    lua_pushvalue(L, -1);
    lua_setmetatable(L, *table);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_rawseti(L, -3, PAIRS_VALUES);
    *values = lua_gettop(L);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_rawseti(L, -4, PAIRS_LISTS);
    *lists = lua_gettop(L);
}

/* As PHP reads a query: the last of several values counts. */
static void push_args(lua_State *L, const struct request *req)
{
    int table, values, lists;
    new_pairs(L, &table, &values, &lists);
    struct str rest = req->uri.query;
    while (rest.p != NULL) {
        struct str value = str_cut(&rest, '&'), name = str_cut(&value, '=');
        if (name.n == 0)
            continue;
        push_decoded(L, name, true);
        push_decoded(L, value.p != NULL ? value : STR(""), true);
        add_pair(L, values, lists, true);
    }
    lua_settop(L, table);
}

/* As PHP reads cookies: the first of several counts. */
static void push_cookies(lua_State *L, struct request *req)
{
    int table, values, lists;
    new_pairs(L, &table, &values, &lists);
    struct str rest = headers_joined(&req->arena, &req->headers, STR("cookie"));
    while (rest.p != NULL) {
        struct str value = str_cut(&rest, ';'), name = str_trim(str_cut(&value, '='));
        if (name.n == 0)
            continue;
        script_push_str(L, name);
        push_decoded(L, value.p != NULL ? str_trim(value) : STR(""), false);
        add_pair(L, values, lists, false);
    }
    lua_settop(L, table);
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

/* Pushes what the environment keeps under the key at idx, making it on first use. */
static void push_kept(lua_State *L, enum field field, struct request *req)
{
    push_environment(L, 1);
    int env = lua_gettop(L);
    lua_pushvalue(L, 2);
    lua_rawget(L, env);
    if (!lua_isnil(L, -1))
        return;
    lua_pop(L, 1);
    if (field == FIELD_CTX) {
        lua_newtable(L);
    } else if (field == FIELD_ARGS) {
        push_args(L, req);
    } else if (field == FIELD_COOKIES) {
        push_cookies(L, req);
    } else {
        script_push_headers(L, lua_touserdata(L, 1));
        lua_pushvalue(L, env); /* the box's table holds the box alive for the view */
        lua_setfenv(L, -2);
        lua_pushvalue(L, 1);
        lua_rawseti(L, env, 1);
    }
    lua_pushvalue(L, 2);
    lua_pushvalue(L, -2);
    lua_rawset(L, env);
}

static void push_query(lua_State *L, const struct request *req)
{
    if (req->uri.has_query)
        script_push_str(L, req->uri.query);
    else
        lua_pushnil(L);
}

void script_push_id(lua_State *L, const struct request *req)
{
    char id[17];
    request_id_text(req->id, id);
    lua_pushlstring(L, id, 16);
}

static void push_field(lua_State *L, enum field field, struct request *req)
{
    switch (field) {
    case FIELD_METHOD:
        return script_push_str(L, req->method);
    case FIELD_URI:
        return script_push_str(L, req->uri.origin);
    case FIELD_PATH:
        return script_push_str(L, req->uri.path);
    case FIELD_RAW_PATH:
        return script_push_str(L, req->uri.raw_path);
    case FIELD_QUERY:
        return push_query(L, req);
    case FIELD_HOST: /* nil where there is none: a root made with it is an error, not the folder
                        above */
        return req->host.n > 0 ? script_push_str(L, req->host) : lua_pushnil(L);
    case FIELD_PORT:
        return lua_pushinteger(L, req->host_port >= 0 ? req->host_port
                                                      : (lua_Integer)request_server_port(req));
    case FIELD_SCHEME:
        return lua_pushstring(L, req->https ? "https" : "http");
    case FIELD_VERSION:
        return lua_pushstring(L, req->minor > 0 ? "1.1" : "1.0");
    case FIELD_IP:
        return script_push_peer(L, &req->client);
    case FIELD_CLIENT_PORT:
        return req->client.port > 0 ? lua_pushinteger(L, req->client.port) : lua_pushnil(L);
    case FIELD_SERVER_IP:
        return script_push_peer(L, &req->local);
    case FIELD_SERVER_PORT:
        return lua_pushinteger(L, (lua_Integer)request_server_port(req));
    case FIELD_ID:
        return script_push_id(L, req);
    case FIELD_TIME:
        return lua_pushnumber(L, req->started);
    case FIELD_LISTENER:
        return script_push_str(L, req->listener);
    case FIELD_ATTEMPT:
        return lua_pushinteger(L, (lua_Integer)req->attempts);
    case FIELD_HASH_KEY:
        return req->decision.hash_key.n > 0 ? script_push_str(L, req->decision.hash_key)
                                            : lua_pushnil(L);
    case FIELD_INTERNAL:
        return lua_pushboolean(L, req->internal);
    case FIELD_CTX:
    case FIELD_HEADERS:
    case FIELD_ARGS:
    case FIELD_COOKIES:
        return push_kept(L, field, req);
    }
}

/* upvalue 1: name -> enum field. Stack: req, key. */
static int request_index(lua_State *L)
{
    struct request *req = script_box_request(L, lua_touserdata(L, 1));
    lua_pushvalue(L, 2);
    lua_rawget(L, lua_upvalueindex(1));
    int field = (int)lua_tointeger(L, -1);
    if (field == 0)
        return luaL_error(L,
                          "req has no field %s; it has: method uri path raw_path query args "
                          "host port scheme version headers cookies ip client_port server_ip "
                          "server_port id time listener ctx attempt internal hash_key",
                          script_describe(L, 2));
    push_field(L, field, req);
    return 1;
}

static int request_newindex(lua_State *L)
{
    return script_refuse_assignment(L, "req",
                                    "req is read-only; what a script keeps goes into fields of "
                                    "req.ctx, as in req.ctx.user = \"ann\"");
}

/* --- the rules that decided --- */

/* The request of a `req` at 1; NULL: it is something else, or has ended. */
static struct request *noted_request(lua_State *L)
{
    const struct script_box *box = lua_touserdata(L, 1);
    if (box == NULL || !lua_getmetatable(L, 1))
        return NULL;
    script_push_type(L, REQUEST_TYPE);
    bool same = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return same ? box->req : NULL;
}

/* core.note_rule(req, number) */
static int note_rule(lua_State *L)
{
    struct request *req = noted_request(L);
    if (req != NULL && req->rules.count < sizeof req->rules.numbers / sizeof *req->rules.numbers)
        req->rules.numbers[req->rules.count++] = (uint32_t)lua_tonumber(L, 2);
    return 0;
}

/* core.noted_rules(req) -> number, ... */
static int noted_rules(lua_State *L)
{
    const struct request *req = noted_request(L);
    if (req == NULL)
        return 0;
    for (unsigned i = req->rules.from; i < req->rules.count; i++)
        lua_pushnumber(L, req->rules.numbers[i]);
    return (int)(req->rules.count - req->rules.from);
}

/* core.forget_rules(req) */
static int forget_rules(lua_State *L)
{
    struct request *req = noted_request(L);
    if (req != NULL)
        req->rules.from = req->rules.count = 0;
    return 0;
}

/* --- registration --- */

void script_rules_open(lua_State *L)
{
    static const luaL_Reg functions[] = {{"enter_rule", script_enter_rule},
                                         {"forget_rules", forget_rules},
                                         {"note_rule", note_rule},
                                         {"noted_rules", noted_rules},
                                         {NULL, NULL}};
    luaL_register(L, NULL, functions);
}

void script_request_open(lua_State *L)
{
    script_new_type(L, REQUEST_TYPE, request_newindex);
    script_push_names(L, fields, FIELD_VERSION);
    script_set_index(L, request_index);
    lua_pop(L, 1);
}
