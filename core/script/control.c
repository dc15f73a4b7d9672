/*
 * control - what moongate.worker.control needs from C: the backends of the running generation,
 * holding and draining them.
 *
 * Only the worker's script has a world; elsewhere (a command, the loader) there are no backends.
 */
#include "script/lua.h"

static const struct script_world *world_of(lua_State *L)
{
    lua_getfield(L, LUA_REGISTRYINDEX, SCRIPT_KEY);
    const struct script *s = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (s == NULL || s->world.ctx == NULL)
        luaL_error(L, "there is no running server in this process");
    return &s->world;
}

static void set_number(lua_State *L, const char *key, double value)
{
    lua_pushnumber(L, value);
    lua_setfield(L, -2, key);
}

static void set_boolean(lua_State *L, const char *key, bool value)
{
    lua_pushboolean(L, value);
    lua_setfield(L, -2, key);
}

static void set_str(lua_State *L, const char *key, struct str value)
{
    script_push_str(L, value);
    lua_setfield(L, -2, key);
}

static void push_server(lua_State *L, const struct script_server *server)
{
    const struct ledger_server *s = server->slot;
    lua_createtable(L, 0, 16);
    set_str(L, "address", server->address);
    set_number(L, "active", s->active);
    set_number(L, "idle", s->idle);
    set_number(L, "requests", (double)s->requests);
    set_number(L, "answers", (double)s->answers);
    set_number(L, "failures", (double)s->failures);
    set_number(L, "messages", (double)s->messages);
    set_number(L, "fails", s->fails);
    set_number(L, "latency", s->latency);
    set_number(L, "load", (double)s->active + (double)s->others);
    set_number(L, "weight", s->weight);
    set_number(L, "max_conns", s->max_conns);
    set_boolean(L, "up", !s->down && !s->sick);
    set_boolean(L, "backup", s->backup);
    set_boolean(L, "draining", s->draining);
}

/* core.backends() -> list of { name, held, queued, max_queue, servers } */
static int core_backends(lua_State *L)
{
    const struct script_world *world = world_of(L);
    struct script_backend backend;
    struct script_server server;
    lua_newtable(L);
    for (unsigned i = 0; world->backend(world->ctx, i, &backend); i++) {
        lua_createtable(L, 0, 5);
        set_str(L, "name", backend.name);
        set_boolean(L, "held", backend.held);
        set_number(L, "queued", backend.queued);
        set_number(L, "max_queue", backend.queue_room);
        lua_newtable(L);
        for (unsigned j = 0, n = 0; world->server(world->ctx, i, j, &server); j++) {
            if (server.gone)
                continue;
            push_server(L, &server);
            lua_rawseti(L, -2, (int)++n);
        }
        lua_setfield(L, -2, "servers");
        lua_rawseti(L, -2, (int)i + 1);
    }
    return 1;
}

static int push_outcome(lua_State *L, bool done)
{
    lua_pushboolean(L, done);
    if (done)
        return 1;
    lua_pushnil(L);
    lua_replace(L, -2);
    lua_pushliteral(L, "there is no such backend, or no such server of it");
    return 2;
}

/* core.hold(name, held) -> true; or nil, problem */
static int core_hold(lua_State *L)
{
    const struct script_world *world = world_of(L);
    return push_outcome(L, world->hold(world->ctx, script_check_str(L, 1), lua_toboolean(L, 2)));
}

/* core.drain(name, address, draining) -> true; or nil, problem */
static int core_drain(lua_State *L)
{
    const struct script_world *world = world_of(L);
    return push_outcome(L, world->drain(world->ctx, script_check_str(L, 1), script_check_str(L, 2),
                                        lua_toboolean(L, 3)));
}

/* --- the instance --- */

/* core.reload() -> id; or nil, problem */
static int core_reload(lua_State *L)
{
    const struct script_world *world = world_of(L);
    uint64_t id;
    if (world->reload(world->ctx, &id)) {
        lua_pushnumber(L, (double)id);
        return 1;
    }
    lua_pushnil(L);
    lua_pushliteral(L, "the master process does not listen");
    return 2;
}

static void set_text(lua_State *L, const char *key, const char *text)
{
    if (text[0] != '\0')
        set_str(L, key, str_of(text));
}

/* core.reloads() -> { requested, done, ok, error, generation, at } */
static int core_reloads(lua_State *L)
{
    const struct board *b = world_of(L)->board;
    uint64_t done = __atomic_load_n(&b->reload_done, __ATOMIC_ACQUIRE);
    lua_createtable(L, 0, 6);
    set_number(L, "requested", (double)b->reload_requested);
    set_number(L, "done", (double)done);
    set_boolean(L, "ok", b->reload_ok);
    set_text(L, "error", b->reload_error);
    set_number(L, "generation", b->generation);
    set_number(L, "at", b->reload_at);
    return 1;
}

/* core.stop() -> true; or nil, problem */
static int core_stop(lua_State *L)
{
    const struct script_world *world = world_of(L);
    if (world->stop(world->ctx)) {
        lua_pushboolean(L, 1);
        return 1;
    }
    lua_pushnil(L);
    lua_pushliteral(L, "the master process does not listen");
    return 2;
}

static void push_worker(lua_State *L, unsigned index, const struct board_worker *w)
{
    lua_createtable(L, 0, 8);
    set_number(L, "index", index);
    set_number(L, "pid", w->pid);
    set_boolean(L, "ready", w->ready);
    set_number(L, "generations", w->generations);
    set_number(L, "connections", w->connections);
    set_number(L, "requests", (double)w->requests);
    set_number(L, "lua_memory", (double)w->lua_memory);
    set_number(L, "restarts", w->restarts);
}

static void push_listeners(lua_State *L, const struct board *b)
{
    struct str rest = str_of(b->listeners);
    lua_newtable(L);
    for (int i = 1; rest.n > 0; i++) {
        struct str line = str_cut(&rest, '\n'), name = line, address = str_cut(&name, '\t');
        struct str control = name;
        name = str_cut(&control, '\t');
        lua_createtable(L, 0, 3);
        set_str(L, "address", address);
        if (name.n > 0)
            set_str(L, "name", name);
        set_boolean(L, "control", control.n > 0);
        if (control.n > 0)
            set_str(L, "given", control);
        lua_rawseti(L, -2, i);
    }
}

/* core.state() -> { started, pid, generation, workers, listeners, last_error } */
static int core_state(lua_State *L)
{
    const struct board *b = world_of(L)->board;
    lua_createtable(L, 0, 6);
    set_number(L, "started", b->started);
    set_number(L, "pid", b->master);
    set_number(L, "generation", b->generation);
    lua_newtable(L);
    for (unsigned i = 0, n = 0; i < BOARD_WORKERS; i++) {
        if (b->worker[i].pid == 0)
            continue;
        push_worker(L, i, &b->worker[i]);
        lua_rawseti(L, -2, (int)++n);
    }
    lua_setfield(L, -2, "workers");
    push_listeners(L, b);
    lua_setfield(L, -2, "listeners");
    if (b->last_error_at > 0) {
        lua_createtable(L, 0, 2);
        set_text(L, "text", b->last_error);
        set_number(L, "at", b->last_error_at);
        lua_setfield(L, -2, "last_error");
    }
    return 1;
}

/* Pushes moongate.core and what only moongate.worker.control may do with it: a script stops no
 * server. Calls nothing, whatever a script has done to `require`. */
static void push_controls(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"backends", core_backends}, {"drain", core_drain},
        {"hold", core_hold},         {"reload", core_reload},
        {"reloads", core_reloads},   {"state", core_state},
        {"stop", core_stop},         {NULL, NULL},
    };
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "__index");
    lua_pushliteral(L, "_LOADED"); /* package.loaded */
    lua_rawget(L, LUA_REGISTRYINDEX);
    lua_pushliteral(L, "moongate.core");
    lua_rawget(L, -2);
    lua_replace(L, -2);
    lua_rawset(L, -3);
    lua_setmetatable(L, -2);
}

void script_set_world(struct script *s, const struct script_world *world)
{
    s->world = *world;
}

struct answering {
    struct request *req;
    struct script_call *call;
    struct script_cause cause;
    enum script_result result;
};

static void control_body(struct script *s, void *ctx)
{
    struct answering *a = ctx;
    if (script_library_function(s->L, "moongate.worker.control", "handle") != 0)
        lua_error(s->L);
    script_push_box(s, a->req, a->call);
    push_controls(s->L);
    a->result = script_run(s, 2, SCRIPT_DECISION_RESULTS, &a->cause);
    if (a->result == SCRIPT_DONE)
        a->result = script_take_decision(s, HOOK_REQUEST, a->req);
}

enum script_result script_control(struct script *s, struct request *req, struct script_call *call)
{
    struct answering a = {
        .req = req,
        .call = call,
        .cause = {.what = "control", .source = "the library", .req = req},
    };
    bool passed = script_guard(s, &a.cause, control_body, &a);
    script_release_box(s, call);
    return passed ? a.result : SCRIPT_FAILED;
}
