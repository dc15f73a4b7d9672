/* fastcgi - see fastcgi.h. */
#include "script/fastcgi.h"

#include "script/modules.h"
#include "script/property.h"
#include "script/task.h"
#include "script/views.h"

#include <stdlib.h>

struct waiting {
    struct script_wait wait;
    struct script *script;
    struct world_request *request;
    bool digest;
    const struct script_reply *reply; /* set while the results of the wait are pushed */
};

static void fastcgi_forget(struct waiting *w)
{
    if (w->request != NULL)
        w->script->world.forget(w->request);
    free(w);
}

static void fastcgi_cancel(struct script_wait *wait)
{
    fastcgi_forget((struct waiting *)wait);
}

static void fastcgi_push_headers(lua_State *L, const void *at)
{
    script_push_header_table(L, at);
}

enum { OF_REPLY, OF_RESPONSE };

static const struct property reply_fields[] = {
    PROPERTY_OF(OF_RESPONSE, "status", struct response, status),
    {"headers", .push = fastcgi_push_headers, .at = offsetof(struct response, headers),
     .of = OF_RESPONSE},
    PROPERTY("body", struct script_reply, body),
    PROPERTY("app_status", struct script_reply, app_status),
    PROPERTY("stderr", struct script_reply, messages),
    PROPERTY("first_byte", struct script_reply, first_byte),
    PROPERTY("total", struct script_reply, total),
    {0},
};

/* Pushes the length and the checksum that replace the body with `digest`. */
static void fastcgi_push_digest(lua_State *L, const struct script_reply *reply)
{
    lua_pushnil(L);
    lua_setfield(L, -2, "body");
    lua_pushnumber(L, (lua_Number)reply->length);
    lua_setfield(L, -2, "length");
    lua_pushnumber(L, (lua_Number)reply->crc32);
    lua_setfield(L, -2, "crc32");
}

static int fastcgi_push_reply(lua_State *L, void *ctx)
{
    struct waiting *w = ctx;
    int count = 1;
    if (w->reply->error != NULL) {
        lua_pushnil(L);
        lua_pushstring(L, w->reply->error);
        count = 2;
    } else {
        property_push_table(L, reply_fields, (const void *[]){w->reply, w->reply->response});
        if (w->digest)
            fastcgi_push_digest(L, w->reply);
    }
    fastcgi_forget(w);
    return count;
}

static void fastcgi_done(void *ctx, const struct script_reply *reply)
{
    struct waiting *w = ctx;
    w->reply = reply;
    script_wake(&w->wait, fastcgi_push_reply, w);
}

/* Refuses PHP_VALUE and the like: a child of PHP-FPM keeps such settings for the requests that
 * follow. */
static void fastcgi_check_name(lua_State *L, struct str name)
{
    if (param_is_setting(name))
        luaL_error(L,
                   "fastcgi: '%s' is refused: PHP-FPM's processes keep such settings for the next "
                   "request, whosever that is; 'ini' of the backend goes with this one too",
                   name.p);
}

static void fastcgi_check_params(lua_State *L, struct arena *arena, struct params *params)
{
    if (!lua_istable(L, 2))
        luaL_error(L, "fastcgi: expected a table of params as second argument, got %s",
                   script_describe(L, 2));
    for (lua_pushnil(L); lua_next(L, 2) != 0; lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING || !lua_isstring(L, -1)) {
            const char *name = script_describe(L, -2), *value = script_describe(L, -2);
            luaL_error(L,
                       "fastcgi: expected params with a text or number for each name, got %s = %s",
                       name, value);
        }
        fastcgi_check_name(L, script_str(L, -2));
        lua_pushvalue(L, -1); /* lua_tolstring would change a number in place */
        params_set(arena, params, arena_copy(arena, script_str(L, -3)),
                   arena_copy(arena, script_str(L, -1)));
        lua_pop(L, 1);
    }
}

/* Its method is one of requests that have no body as a rule. */
static bool fastcgi_is_safe(const struct params *params)
{
    struct str method = params_find(params, STR("REQUEST_METHOD"))->value;
    return str_eq(method, STR("GET")) || str_eq(method, STR("HEAD")) ||
           str_eq(method, STR("OPTIONS"));
}

/* Adds the params that the script leaves out. */
static void fastcgi_add_defaults(struct arena *arena, struct params *params, struct str body)
{
    static const struct {
        struct str name, value;
    } defaults[] = {
        {{"GATEWAY_INTERFACE", 17}, {"CGI/1.1", 7}},
        {{"SERVER_PROTOCOL", 15}, {"HTTP/1.1", 8}},
        {{"QUERY_STRING", 12}, {"", 0}},
        {{"REMOTE_ADDR", 11}, {"127.0.0.1", 9}},
        {{"SERVER_NAME", 11}, {"localhost", 9}},
        {{"SERVER_PORT", 11}, {"80", 2}},
    };
    for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++)
        if (params_find(params, defaults[i].name) == NULL)
            params_add(arena, params, defaults[i].name, defaults[i].value);
    if (params_find(params, STR("REQUEST_METHOD")) == NULL)
        params_add(arena, params, STR("REQUEST_METHOD"), body.n > 0 ? STR("POST") : STR("GET"));
    params_remove(params, STR("CONTENT_LENGTH"));
    if (body.n > 0 || !fastcgi_is_safe(params)) /* as for clients: a GET has none */
        params_add(arena, params, STR("CONTENT_LENGTH"), arena_printf(arena, "%zu", body.n));
}

/* The table at 4, read by lua/moongate/worker/asking.lua. */
static void fastcgi_read_options(lua_State *L, const struct script *s, struct arena *arena,
                                 struct script_subrequest *ask)
{
    int top = lua_gettop(L);
    if (lua_isnoneornil(L, 4))
        return;
    if (script_library_function(L, "moongate.worker.asking", "options") != 0)
        lua_error(L);
    lua_pushvalue(L, 4);
    script_push_str(L, ask->backend);
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->normalised);
    lua_call(L, 3, 5);
    if (lua_isstring(L, top + 1))
        luaL_error(L, "fastcgi: %s", lua_tostring(L, top + 1));
    if (lua_isstring(L, top + 2))
        ask->ini = arena_copy(arena, script_str(L, top + 2));
    ask->timeout = lua_tonumber(L, top + 3);
    ask->digest = lua_toboolean(L, top + 4);
    ask->last = lua_toboolean(L, top + 5);
    lua_settop(L, top);
}

/* moongate.fastcgi(backend, params [, body [, options]]) -> reply; or nil, reason */
static int fastcgi(lua_State *L)
{
    static struct arena arena; /* static, since an error in the script unwinds past this function */
    struct script *s = script_of(L);
    script_check_wait(L);
    struct params params = {0};
    const char *err = NULL;
    struct str backend = script_expect_text(L, 1, "fastcgi: expected the name of a backend");
    struct str body = STR("");
    if (!lua_isnoneornil(L, 3))
        body = script_expect_text(L, 3, "fastcgi: expected a text as body");
    arena_fini(&arena);
    arena_init(&arena, NULL, 0);
    fastcgi_check_params(L, &arena, &params);
    fastcgi_add_defaults(&arena, &params, body);
    struct script_subrequest ask = {.backend = backend, .params = &params, .body = body};
    fastcgi_read_options(L, s, &arena, &ask);
    struct waiting *w = calloc(1, sizeof *w);
    if (w == NULL)
        abort();
    w->script = s;
    w->wait.cancel = fastcgi_cancel;
    w->digest = ask.digest;
    w->request = s->world.ask(s->world.ctx, &ask, fastcgi_done, w, &err);
    if (w->request != NULL)
        return script_wait(L, &w->wait);
    fastcgi_forget(w);
    lua_pushnil(L);
    lua_pushstring(L, err);
    return 2;
}

void script_fastcgi_open(lua_State *L)
{
    lua_pushcfunction(L, fastcgi);
    lua_setfield(L, -2, "fastcgi");
}
