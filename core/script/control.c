/*
 * control - what moongate.worker.control needs from C: the backends of the running generation,
 * holding and draining them.
 *
 * Only the worker's script has a world; elsewhere (a command, the loader) there are no backends.
 */
#include "script/control.h"

#include "script/backends.h"
#include "script/box.h"
#include "script/door.h"
#include "script/hooks.h"
#include "script/modules.h"
#include "script/property.h"
#include "script/request.h"
#include "shm/metrics.h"
#include "shm/recent.h"
#include "shm/tail.h"
#include "shm/trace.h"
#include "shm/underway.h"

#include <stdlib.h>
#include <time.h>

static const struct script_world *control_world_of(lua_State *L)
{
    const struct script *s = script_of_state(L);
    if (s == NULL || s->world.ctx == NULL)
        luaL_error(L, "there is no running server in this process");
    return &s->world;
}

/* core.backends() -> list of what script_push_backend makes */
static int control_backends(lua_State *L)
{
    const struct script_world *world = control_world_of(L);
    lua_newtable(L);
    for (unsigned i = 0; script_push_backend(L, world, i); i++)
        lua_rawseti(L, -2, (int)i + 1);
    return 1;
}

static int control_push_outcome(lua_State *L, bool done, const char *problem)
{
    if (!done)
        return script_fail(L, problem);
    lua_pushboolean(L, 1);
    return 1;
}

static const char no_server[] = "there is no such backend, or no such server of it";
static const char no_master[] = "the master process does not listen";

/* core.hold(name, held) -> true; or nil, problem */
static int control_hold(lua_State *L)
{
    const struct script_world *world = control_world_of(L);
    return control_push_outcome(
        L, world->hold(world->ctx, script_check_str(L, 1), lua_toboolean(L, 2)), no_server);
}

/* core.drain(name, address, draining) -> true; or nil, problem */
static int control_drain(lua_State *L)
{
    const struct script_world *world = control_world_of(L);
    return control_push_outcome(L,
                                world->drain(world->ctx, script_check_str(L, 1),
                                             script_check_str(L, 2), lua_toboolean(L, 3)),
                                no_server);
}

/* --- servers, changed at run time --- */

static const char *const change_kinds[] = {"weight", "add", "remove", NULL};

/* core.changes() -> list of { backend, server, action, weight, at, active } */
static int control_changes(lua_State *L)
{
    static const struct property fields[] = {
        PROPERTY("backend", struct change, backend),
        PROPERTY("server", struct change, address),
        PROPERTY("at", struct change, at),
        {0},
    };
    const struct script_world *world = control_world_of(L);
    const struct change *change;
    unsigned active;
    lua_newtable(L);
    for (unsigned i = 0; (change = world->change(world->ctx, i, &active)) != NULL; i++) {
        property_push_table(L, fields, (const void *[]){change});
        lua_pushstring(L, change_kinds[change->kind <= CHANGE_REMOVE ? change->kind : 0]);
        lua_setfield(L, -2, "action");
        lua_pushnumber(L, active);
        lua_setfield(L, -2, "active");
        if (change->kind != CHANGE_REMOVE) {
            lua_pushnumber(L, change->weight);
            lua_setfield(L, -2, "weight");
        }
        lua_rawseti(L, -2, (int)i + 1);
    }
    return 1;
}

/* core.change(backend, address, action, weight) -> true; or nil, problem */
static int control_change(lua_State *L)
{
    const struct script_world *world = control_world_of(L);
    const char *problem = world->change_server(
        world->ctx, script_check_str(L, 1), script_check_str(L, 2),
        (enum change_kind)luaL_checkoption(L, 3, NULL, change_kinds), luaL_optnumber(L, 4, 1));
    return control_push_outcome(L, problem == NULL, problem);
}

/* core.forget_changes(backend, address) -> how many; "" stands for all */
static int control_forget_changes(lua_State *L)
{
    const struct script_world *world = control_world_of(L);
    lua_pushnumber(
        L, world->forget_changes(world->ctx, script_check_str(L, 1), script_check_str(L, 2)));
    return 1;
}

/* --- the instance --- */

/* core.tenant(backend, name) -> connections in use by the tenant's requests, those that wait */
static int control_tenant(lua_State *L)
{
    const struct script_world *world = control_world_of(L);
    unsigned active = 0, queued = 0;
    world->tenant(world->ctx, script_check_str(L, 1), script_check_str(L, 2), &active, &queued);
    lua_pushnumber(L, active);
    lua_pushnumber(L, queued);
    return 2;
}

/* core.tenants_load(backend) -> the same of all tenants that have a name */
static int control_tenants_load(lua_State *L)
{
    const struct script_world *world = control_world_of(L);
    unsigned active = 0, queued = 0;
    world->tenants(world->ctx, script_check_str(L, 1), &active, &queued);
    lua_pushnumber(L, active);
    lua_pushnumber(L, queued);
    return 2;
}

/* core.reload([generation]) -> id; or nil, problem. With a generation: of the files that it had. */
static int control_reload(lua_State *L)
{
    const struct script_world *world = control_world_of(L);
    uint64_t id;
    if (!world->ask_reload(world->ctx, (unsigned)luaL_optint(L, 1, 0), &id))
        return script_fail(L, no_master);
    lua_pushnumber(L, (double)id);
    return 1;
}

/* reload_done is read before the other fields, since the master writes it last: so they belong to
 * this reload or a later one. */
static void control_push_done(lua_State *L, const void *at)
{
    lua_pushnumber(L, (double)__atomic_load_n((const uint64_t *)at, __ATOMIC_ACQUIRE));
}

/* core.reloads() -> { requested, done, ok, error, reason, generation, at } */
static int control_reloads(lua_State *L)
{
    static const struct property fields[] = {
        {"done", .push = control_push_done, .at = offsetof(struct board, reload_done)},
        PROPERTY("requested", struct board, reload_requested),
        PROPERTY("ok", struct board, reload_ok),
        PROPERTY("error", struct board, reload_error),
        PROPERTY("reason", struct board, reload_reason),
        PROPERTY("generation", struct board, generation),
        PROPERTY("at", struct board, reload_at),
        {0},
    };
    property_push_table(L, fields, (const void *[]){control_world_of(L)->board});
    return 1;
}

/* core.tokens() -> those of the route, see moongate.route.control */
static int control_tokens(lua_State *L)
{
    const struct script *s = script_of_state(L);
    control_world_of(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->normalised);
    lua_pushliteral(L, "tokens");
    lua_rawget(L, -2);
    return 1;
}

static void control_push_outcome_word(lua_State *L, const void *at)
{
    static const char *const words[] = {"serving", "served", "failed"};
    unsigned outcome = *(const enum load_outcome *)at;
    lua_pushstring(L, words[outcome < 3 ? outcome : LOAD_FAILED]);
}

#define LOAD(name) PROPERTY(#name, struct board_load, name)

/* core.loads() -> list of { number, outcome, at, until, kept, hash, reason, error, renewals }, the
 * oldest first */
static int control_loads(lua_State *L)
{
    static const struct property fields[] = {
        LOAD(number),
        {"outcome", .push = control_push_outcome_word, .at = offsetof(struct board_load, outcome)},
        LOAD(at),
        LOAD(until),
        LOAD(kept),
        LOAD(hash),
        LOAD(reason),
        LOAD(error),
        {0},
    };
    const struct board *b = control_world_of(L)->board;
    lua_newtable(L);
    for (unsigned i = 0; i < b->load_count && i < BOARD_LOADS; i++) {
        property_push_table(L, fields, (const void *[]){&b->loads[i]});
        lua_pushnumber(L, board_renewals(b, b->loads[i].number));
        lua_setfield(L, -2, "renewals");
        lua_rawseti(L, -2, (int)i + 1);
    }
    return 1;
}

static void control_push_entries(lua_State *L, const struct recent *r, bool errors)
{
    static const struct property fields[] = {
        PROPERTY("what", struct recent_entry, what),
        PROPERTY("text", struct recent_entry, text),
        PROPERTY("first", struct recent_entry, first),
        PROPERTY("last", struct recent_entry, last),
        PROPERTY("count", struct recent_entry, count),
        PROPERTY("generation", struct recent_entry, generation),
        {0},
    };
    unsigned most = errors ? RECENT_ERRORS : RECENT_MESSAGES, n = 0;
    lua_newtable(L);
    for (unsigned place = 0; r != NULL && place < r->places; place++)
        for (unsigned i = 0; i < most; i++) {
            const struct recent_table *t = &r->table[place];
            const struct recent_entry *e = errors ? &t->errors[i] : &t->messages[i];
            if (e->count == 0)
                continue;
            property_push_table(L, fields, (const void *[]){e});
            lua_rawseti(L, -2, (int)++n);
        }
}

/* core.recent() -> { errors, messages }: lists of { what, text, first, last, count, generation } of
 * all workers; see shm/recent.h */
static int control_recent(lua_State *L)
{
    control_world_of(L);
    lua_createtable(L, 0, 2);
    control_push_entries(L, recent_all(), true);
    lua_setfield(L, -2, "errors");
    control_push_entries(L, recent_all(), false);
    lua_setfield(L, -2, "messages");
    return 1;
}

/* core.stop() -> true; or nil, problem */
static int control_stop(lua_State *L)
{
    const struct script_world *world = control_world_of(L);
    return control_push_outcome(L, world->stop(world->ctx), no_master);
}

/* --- requests under way --- */

#define CONTROL_LINES (512u << 10) /* bytes of lines that one response has */
#define REQUESTS_MOST 4096         /* in the list; the rest is only counted */

/* The list that is being made, on the top of the stack. */
struct control_list {
    lua_State *L;
    const struct script_world *world;
    unsigned count;
    uint64_t beyond;
};

static void control_push_state(lua_State *L, const void *at)
{
    static const char *const names[UNDERWAY_STATES] = {
        [UNDERWAY_HOOK] = "hook",       [UNDERWAY_BODY] = "body",
        [UNDERWAY_QUEUE] = "queue",     [UNDERWAY_CONNECT] = "connect",
        [UNDERWAY_WAITING] = "waiting", [UNDERWAY_STREAMING] = "streaming",
    };
    lua_pushstring(L, names[*(const uint8_t *)at]);
}

/* Pushes the server's own id, which core.kill takes, also of a request with a given one. */
static void control_push_own_id(lua_State *L, const void *at)
{
    char hex[17];
    request_id_text(*(const uint64_t *)at, hex);
    lua_pushlstring(L, hex, 16);
}

static const struct property request_fields[] = {
    {"own_id", .push = control_push_own_id, .at = offsetof(struct underway_request, id)},
    PROPERTY("started", struct underway_request, started),
    PROPERTY("client", struct underway_request, client),
    PROPERTY("sent", struct underway_request, sent),
    {"state", .push = control_push_state, .at = offsetof(struct underway_request, state)},
    {0},
};

/* Sets `backend` and `server` as the running generation calls them. Those of a generation that only
 * finishes its requests may be unknown to it. */
static void control_set_target(const struct control_list *list, const struct underway_request *u)
{
    const struct script_world *world = list->world;
    struct script_backend backend;
    struct script_server server;
    for (unsigned i = 0; world->backend(world->ctx, i, &backend); i++) {
        bool named = u->backend > 0 && metrics_backend(backend.name) == u->backend;
        for (unsigned s = 0; named && world->server(world->ctx, i, s, &server); s++) {
            if (server.place != u->server)
                continue;
            script_push_str(list->L, server.address);
            lua_setfield(list->L, -2, "server");
            break;
        }
        if (!named)
            continue;
        script_push_str(list->L, backend.name);
        lua_setfield(list->L, -2, "backend");
        return;
    }
}

static void control_add_request(void *ctx, unsigned place, const struct underway_request *u)
{
    struct control_list *list = ctx;
    lua_State *L = list->L;
    if (list->count == REQUESTS_MOST) {
        list->beyond++;
        return;
    }
    property_push_table(L, request_fields, (const void *[]){u});
    if (u->id_size > 0)
        lua_pushlstring(L, u->given_id, u->id_size);
    else
        control_push_own_id(L, &u->id);
    lua_setfield(L, -2, "id");
    lua_pushlstring(L, u->method, u->method_size);
    lua_setfield(L, -2, "method");
    lua_pushlstring(L, u->host, u->host_size);
    lua_setfield(L, -2, "host");
    lua_pushlstring(L, u->uri, u->uri_size);
    lua_setfield(L, -2, "uri");
    lua_pushinteger(L, (lua_Integer)list->world->board->worker[place % BOARD_WORKERS].number);
    lua_setfield(L, -2, "worker");
    control_set_target(list, u);
    lua_rawseti(L, -2, (int)++list->count);
}

/* core.requests() -> list of { id, own_id, started, client, sent, state, method, host, uri, worker,
 * backend, server }, in no order; the number of requests under way that are not in it */
static int control_requests(lua_State *L)
{
    struct control_list list = {.L = L, .world = control_world_of(L)};
    lua_newtable(L);
    list.beyond += underway_list(control_add_request, &list);
    lua_pushnumber(L, (double)list.beyond);
    return 2;
}

/* CLOCK_MONOTONIC, as loop_now. */
static double control_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec;
}

/* core.tail([at, number]) -> lines of JSON, the next at and number, lines that were lost since. The
 * end, and no lines, without a position. */
static int control_tail(lua_State *L)
{
    static char lines[CONTROL_LINES];
    struct tail_position position = tail_end();
    uint64_t lost;
    control_world_of(L);
    if (!lua_isnoneornil(L, 1)) {
        position.at = (uint64_t)luaL_checknumber(L, 1);
        position.number = (uint64_t)luaL_checknumber(L, 2);
    }
    lua_pushlstring(L, lines, tail_read(&position, control_now(), lines, sizeof lines, &lost));
    lua_pushnumber(L, (double)position.at);
    lua_pushnumber(L, (double)position.number);
    lua_pushnumber(L, (double)lost);
    return 4;
}

/* The text of a member of the table at 1; n = 0: it has none. */
static struct str control_text(lua_State *L, const char *name)
{
    lua_getfield(L, 1, name); /* stays on the stack, and the text with it */
    return lua_isstring(L, -1) ? script_str(L, -1) : STR("");
}

/* core.order_trace({ host, path, method, status, count, secrets }) -> id; or nil, problem. The
 * caller has checked the values; `status` is 404, or 5 for 5xx. */
static int control_order_trace(lua_State *L)
{
    struct trace_filter filter = {.host = control_text(L, "host"),
                                  .path = control_text(L, "path"),
                                  .method = control_text(L, "method")};
    control_world_of(L);
    lua_getfield(L, 1, "status");
    filter.status = (unsigned)luaL_optinteger(L, -1, 0);
    lua_getfield(L, 1, "secrets");
    filter.secrets = lua_toboolean(L, -1);
    lua_getfield(L, 1, "count");
    lua_Integer count = luaL_optinteger(L, -1, 1);
    uint64_t id = trace_order(&filter, (unsigned)count, control_now());
    if (id > 0) {
        lua_pushnumber(L, (double)id);
        return 1;
    }
    lua_pushnil(L);
    lua_pushliteral(L, "other traces wait for their requests already, or the host, the path or the "
                       "method is too long");
    return 2;
}

/* core.read_trace(id) -> lines of JSON, how many requests are still wanted, how many found no room;
 * nil: there is no such order any more */
static int control_read_trace(lua_State *L)
{
    static char lines[CONTROL_LINES];
    struct trace_progress progress;
    size_t used;
    control_world_of(L);
    if (!trace_read((uint64_t)luaL_checknumber(L, 1), control_now(), lines, sizeof lines, &used,
                    &progress))
        return 0;
    lua_pushlstring(L, lines, used);
    lua_pushnumber(L, progress.left);
    lua_pushnumber(L, progress.missed);
    return 3;
}

/* core.end_trace(id) */
static int control_end_trace(lua_State *L)
{
    control_world_of(L);
    trace_end((uint64_t)luaL_checknumber(L, 1));
    return 0;
}

/* core.kill(id) -> true; or nil, problem. The id is as in core.requests. */
static int control_kill(lua_State *L)
{
    const struct script_world *world = control_world_of(L);
    return control_push_outcome(
        L, world->kill(world->ctx, strtoull(luaL_checkstring(L, 1), NULL, 16)), no_master);
}

/* core.log_level() -> the level of the error log, and that of the route; where an operator has
 * ordered it also the seconds until its end (0: no end) */
static int control_log_level(lua_State *L)
{
    enum log_level level;
    double left;
    bool ordered = log_ordered(&level, &left);
    lua_pushstring(L, log_level_name(ordered ? level : log_level_set()));
    lua_pushstring(L, log_level_name(log_level_set()));
    if (!ordered)
        return 2;
    lua_pushnumber(L, left);
    return 3;
}

/* core.order_log_level(level, seconds): for so many seconds (0: no end); level nil: that of the
 * route again */
static int control_order_log_level(lua_State *L)
{
    const struct script_world *world = control_world_of(L);
    int level = lua_isnil(L, 1) ? -1 : log_level_parse(luaL_checkstring(L, 1));
    luaL_argcheck(L, level >= 0 || lua_isnil(L, 1), 1, "expected a level");
    world->order_level(world->ctx, level, luaL_optnumber(L, 2, 0));
    return 0;
}

#define WORKER(name) PROPERTY(#name, struct board_worker, name)

static const struct property worker_fields[] = {
    PROPERTY("index", struct board_worker, number),
    WORKER(pid),
    WORKER(ready),
    WORKER(leaving),
    WORKER(generations),
    WORKER(connections),
    WORKER(active),
    WORKER(requests),
    WORKER(lua_memory),
    WORKER(restarts),
    {0},
};

static void control_push_workers(lua_State *L, const void *at)
{
    const struct board *b = at;
    lua_newtable(L);
    for (unsigned i = 0, n = 0; i < BOARD_WORKERS; i++) {
        if (b->worker[i].pid == 0)
            continue;
        property_push_table(L, worker_fields, (const void *[]){&b->worker[i]});
        lua_rawseti(L, -2, (int)++n);
    }
}

/* core.state() -> { started, pid, generation, generation_at, kept_from, reloads, reloads_failed,
 * workers, last_error, last_error_at, listeners }; the last one is text, see struct board */
static int control_state(lua_State *L)
{
    static const struct property fields[] = {
        PROPERTY("started", struct board, started),
        PROPERTY("pid", struct board, master),
        PROPERTY("generation", struct board, generation),
        PROPERTY("generation_at", struct board, generation_at),
        PROPERTY("kept_from", struct board, kept_from),
        PROPERTY("reloads", struct board, reloads),
        PROPERTY("reloads_failed", struct board, reloads_failed),
        {"workers", .push = control_push_workers},
        PROPERTY("listeners", struct board, listeners),
        PROPERTY("last_error", struct board, last_error),
        PROPERTY("last_error_at", struct board, last_error_at),
        {0},
    };
    property_push_table(L, fields, (const void *[]){control_world_of(L)->board});
    return 1;
}

/* Pushes a table of the functions that only moongate.worker.control may use, which inherits those
 * of moongate.core: no route can stop the server. It is read with raw accesses, since a script may
 * have replaced `require`. */
static void control_push_functions(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"change", control_change},
        {"changes", control_changes},
        {"forget_changes", control_forget_changes},
        {"backends", control_backends},
        {"drain", control_drain},
        {"end_trace", control_end_trace},
        {"hold", control_hold},
        {"kill", control_kill},
        {"loads", control_loads},
        {"log_level", control_log_level},
        {"order_log_level", control_order_log_level},
        {"order_trace", control_order_trace},
        {"read_trace", control_read_trace},
        {"reload", control_reload},
        {"recent", control_recent},
        {"reloads", control_reloads},
        {"requests", control_requests},
        {"state", control_state},
        {"stop", control_stop},
        {"tail", control_tail},
        {"tenant", control_tenant},
        {"tenants_load", control_tenants_load},
        {"tokens", control_tokens},
        {NULL, NULL},
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
    control_push_functions(s->L);
    a->result = script_run(s, 2, SCRIPT_DECISION_RESULTS, &a->cause);
    if (a->result == SCRIPT_DONE)
        a->result = script_read_decision(s, HOOK_REQUEST, a->req);
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
