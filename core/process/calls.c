/* calls - see calls.h. */
#include "process/calls.h"

#include "fastcgi/client.h"
#include "process/loader.h"
#include "script/value.h"

#include <poll.h>
#include <stdlib.h>
#include <time.h>

#define ANSWER_MAX (64u << 20) /* most bytes of another instance's answer */

/* --- a FastCGI request --- */

static struct str call_field(lua_State *L, const char *key)
{
    lua_getfield(L, 1, key);
    struct str s = lua_isstring(L, -1) ? script_str(L, -1) : STR("");
    lua_pop(L, 1);
    return s;
}

/* params = { {name, value}, ... } or values = { name, ... } */
static void call_read_pairs(lua_State *L, bool values, struct arena *a, struct params *out)
{
    lua_getfield(L, 1, values ? "values" : "params");
    for (int i = 1, n = lua_istable(L, -1) ? (int)lua_objlen(L, -1) : 0; i <= n; i++) {
        lua_rawgeti(L, -1, i);
        if (values) {
            params_add(a, out, arena_copy(a, script_str(L, -1)), STR(""));
        } else {
            lua_rawgeti(L, -1, 1);
            lua_rawgeti(L, -2, 2);
            params_add(a, out, arena_copy(a, script_str(L, -2)), arena_copy(a, script_str(L, -1)));
            lua_pop(L, 2);
        }
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

static void call_push_values(lua_State *L, struct str pairs)
{
    struct str name, value;
    lua_newtable(L);
    while (fcgi_pair_next(&pairs, &name, &value)) {
        script_push_str(L, name);
        script_push_str(L, value);
        lua_rawset(L, -3);
    }
}

static void call_push_answer(lua_State *L, const struct client_request *x)
{
    lua_createtable(L, 0, 4);
    script_push_str(L, buf_peek(&x->out));
    lua_setfield(L, -2, "stdout");
    script_push_str(L, buf_peek(&x->err));
    lua_setfield(L, -2, "stderr");
    lua_pushnumber(L, x->app_status);
    lua_setfield(L, -2, "app_status");
    lua_pushinteger(L, x->protocol_status);
    lua_setfield(L, -2, "protocol_status");
}

/* core.fcgi{ address=, params=, body=, data=, role=, timeout= } -> answer; or nil, reason
 * core.fcgi{ address=, values=, timeout= } -> { NAME = value } */
static int calls_fcgi(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    struct arena arena;
    struct params params = {0};
    lua_getfield(L, 1, "values");
    lua_getfield(L, 1, "timeout");
    lua_getfield(L, 1, "role");
    struct client_request x = {
        .address = call_field(L, "address").p,
        .values = lua_istable(L, -3),
        .timeout = luaL_optnumber(L, -2, 60),
        .role = (uint16_t)luaL_optint(L, -1, FCGI_RESPONDER),
        .params = &params,
        .body = call_field(L, "body"),
        .data = call_field(L, "data"),
    };
    lua_pop(L, 3);
    if (x.address[0] == '\0')
        return luaL_error(L, "core.fcgi: 'address' is missing");
    arena_init(&arena, NULL, 0);
    call_read_pairs(L, x.values, &arena, &params);
    const char *err = client_request(&x);
    if (err != NULL)
        script_fail(L, lua_pushfstring(L, "%s: %s", x.address, err));
    else if (x.values)
        call_push_values(L, buf_peek(&x.out));
    else
        call_push_answer(L, &x);
    buf_fini(&x.out);
    buf_fini(&x.err);
    arena_fini(&arena);
    return err != NULL ? 2 : 1;
}

/* --- another instance --- */

static const char *call_gather(void *ctx, struct str bytes, bool *done)
{
    struct buf *answer = ctx;
    *done = bytes.n == 0;
    buf_append_str(answer, bytes);
    return answer->overflow ? "the answer is too large" : NULL;
}

/* core.ask(address, bytes, timeout) -> all bytes until the end of the connection; or nil, problem.
 * Blocks. */
static int calls_ask(lua_State *L)
{
    struct buf answer;
    const struct client_call call = {.address = luaL_checkstring(L, 1),
                                     .out = script_check_str(L, 2),
                                     .timeout = luaL_checknumber(L, 3),
                                     .take = call_gather,
                                     .ctx = &answer};
    buf_init(&answer, ANSWER_MAX);
    const char *err = client_call(&call);
    if (err == NULL)
        script_push_str(L, buf_peek(&answer));
    buf_fini(&answer);
    return err == NULL ? 1 : script_fail(L, err);
}

/* core.look(address, timeout [, uid]) -> true; or nil, why no server takes a connection there, or
 * that the socket is not of that user */
static int calls_look(lua_State *L)
{
    const struct client_call call = {.address = luaL_checkstring(L, 1),
                                     .timeout = luaL_checknumber(L, 2),
                                     .owned = !lua_isnoneornil(L, 3),
                                     .owner = (uid_t)luaL_optnumber(L, 3, 0)};
    const char *err = client_call(&call);
    if (err != NULL)
        return script_fail(L, err);
    lua_pushboolean(L, 1);
    return 1;
}

static double call_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

#define CONTROL_TIMEOUT 10000 /* ms for loading a script to find its instance */

static void call_in_loader(void *ctx)
{
    (void)ctx;
}

/* core.control_of(path) -> the route's setting `control`: an address, "off", or "" for the default,
 * and its token or ""; or nil, reason. The script runs in a child, as the user that would serve it,
 * so that this process keeps its rights to connect to the instance. */
static int calls_control_of(lua_State *L)
{
    struct route route = {.path = luaL_checkstring(L, 1)};
    struct user user;
    struct loader loader;
    const char *bad = user_find(NULL, NULL, &user);
    if (bad != NULL)
        return script_fail(L, bad);
    struct plan *plan = calloc(1, sizeof *plan);
    if (plan == NULL)
        abort();
    const struct loader_config config = {.route = &route, .user = &user, .child = call_in_loader};
    enum loader_result result = LOADER_FAILED;
    if (loader_start(&loader, &config)) {
        struct pollfd fd = {.fd = loader.fd, .events = POLLIN};
        double end = call_now() + CONTROL_TIMEOUT / 1000.0;
        do
            result = poll(&fd, 1, 100) > 0 ? loader_read(&loader, plan) : LOADER_MORE;
        while (result == LOADER_MORE && call_now() < end);
    }
    if (result == LOADER_DONE)
        lua_pushstring(L, plan->control), lua_pushstring(L, plan->token);
    else
        script_fail(L, result == LOADER_FAILED
                           ? loader_error(&loader)
                           : "the script does not come to the end of its loading");
    loader_free(&loader);
    plan_free(plan);
    free(plan);
    return 2;
}

const luaL_Reg calls_functions[] = {
    {"ask", calls_ask},   {"control_of", calls_control_of},
    {"fcgi", calls_fcgi}, {"look", calls_look},
    {NULL, NULL},
};
