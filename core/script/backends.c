/* backends - see backends.h. */
#include "script/backends.h"

#include "script/balance.h"
#include "script/door.h"
#include "script/property.h"

enum { OF_SLOT, OF_SERVER };

#define SLOT(name) PROPERTY(#name, struct ledger_server, name)

/* The server's requests: on a shared connection several are under way, so connections don't count
 * them. */
static void backends_push_serving(lua_State *L, const void *at)
{
    const struct ledger_server *s = at;
    lua_pushnumber(L, (double)s->active + (double)s->extra);
}

static void backends_push_pool(lua_State *L, const void *at)
{
    static const struct property fields[] = {
        PROPERTY("accepted", struct ledger_pool, accepted),
        PROPERTY("max_children_reached", struct ledger_pool, max_children_reached),
        PROPERTY("slow_requests", struct ledger_pool, slow_requests),
        PROPERTY("active", struct ledger_pool, active),
        PROPERTY("idle", struct ledger_pool, idle),
        PROPERTY("total", struct ledger_pool, total),
        PROPERTY("max_active", struct ledger_pool, max_active),
        PROPERTY("listen_queue", struct ledger_pool, listen_queue),
        PROPERTY("max_listen_queue", struct ledger_pool, max_listen_queue),
        PROPERTY("listen_queue_size", struct ledger_pool, listen_queue_size),
        {0},
    };
    const struct ledger_server *s = at;
    if (s->pool.read_at == 0 || s->reads == LEDGER_READS_NOTHING)
        lua_pushnil(L);
    else
        property_push_table(L, fields, (const void *[]){&s->pool});
}

static const struct property server_fields[] = {
    PROPERTY_OF(OF_SERVER, "address", struct script_server, address),
    SLOT(active),
    {"serving", .push = backends_push_serving},
    SLOT(idle),
    SLOT(requests),
    SLOT(answers),
    SLOT(failures),
    SLOT(messages),
    SLOT(fails),
    SLOT(latency),
    {"load", .push = script_push_load},
    SLOT(weight),
    SLOT(max_conns),
    {"up", .push = script_push_up},
    SLOT(backup),
    SLOT(draining),
    SLOT(sick),
    SLOT(named),
    {"pool", .push = backends_push_pool},
    {0},
};

static const struct property backend_fields[] = {
    PROPERTY("name", struct script_backend, name),
    PROPERTY("held", struct script_backend, held),
    PROPERTY("up", struct script_backend, up),
    PROPERTY("queued", struct script_backend, queued),
    PROPERTY("max_queue", struct script_backend, queue_room),
    {0},
};

bool script_push_backend(lua_State *L, const struct script_world *world, unsigned i)
{
    struct script_backend backend;
    struct script_server server;
    if (!world->backend(world->ctx, i, &backend))
        return false;
    property_push_table(L, backend_fields, (const void *[]){&backend});
    lua_newtable(L);
    for (unsigned j = 0, n = 0; world->server(world->ctx, i, j, &server); j++) {
        if (server.gone)
            continue;
        property_push_table(L, server_fields, (const void *[]){server.slot, &server});
        lua_rawseti(L, -2, (int)++n);
    }
    lua_setfield(L, -2, "servers");
    return true;
}

/* NULL: no server runs in this process, so no backend is known. */
static const struct script_world *backends_world_of(lua_State *L)
{
    const struct script *s = script_of_state(L);
    return s != NULL && s->world.ctx != NULL ? &s->world : NULL;
}

/* core.backend_is_up(name) -> true or false; nil: no server runs, or has no such backend */
static int backends_is_up(lua_State *L)
{
    const struct script_world *world = backends_world_of(L);
    struct str name = script_check_str(L, 1);
    bool up;
    if (world == NULL || !world->is_up(world->ctx, name, &up))
        return 0;
    lua_pushboolean(L, up);
    return 1;
}

/* core.backend(name) -> what script_push_backend makes; nil as above */
static int backends_backend(lua_State *L)
{
    const struct script_world *world = backends_world_of(L);
    struct str name = script_check_str(L, 1);
    struct script_backend backend;
    for (unsigned i = 0; world != NULL && world->backend(world->ctx, i, &backend); i++)
        if (str_eq(backend.name, name))
            return script_push_backend(L, world, i);
    return 0;
}

void script_backends_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"backend", backends_backend}, {"backend_is_up", backends_is_up}, {NULL, NULL}};
    luaL_register(L, NULL, functions);
}
