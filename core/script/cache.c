/* cache - see cache.h. */
#include "script/cache.h"

#include "script/value.h"
#include "shm/cachestore.h"

/* core.cache_purge("key" | "prefix" | "tag" | "all", text | list of up to 100 texts) -> how many
 * responses it has removed */
static int cache_core_purge(lua_State *L)
{
    static const char *const kinds[] = {[CACHE_PURGE_KEY] = "key",
                                        [CACHE_PURGE_PREFIX] = "prefix",
                                        [CACHE_PURGE_TAG] = "tag",
                                        [CACHE_PURGE_ALL] = "all",
                                        NULL};
    enum cache_purge kind = (enum cache_purge)luaL_checkoption(L, 1, NULL, kinds);
    struct cache_order orders[CACHE_ORDERS];
    size_t count = lua_istable(L, 2) ? lua_objlen(L, 2) : 1;
    luaL_argcheck(L, count <= CACHE_ORDERS, 2, "too many texts");
    luaL_checkstack(L, CACHE_ORDERS, NULL);
    for (size_t i = 0; i < count; i++) {
        if (lua_istable(L, 2))
            lua_rawgeti(L, 2, (int)i + 1);
        else
            lua_pushvalue(L, 2);
        orders[i] = (struct cache_order){.kind = kind, .what = script_check_str(L, -1)};
    }
    lua_pushnumber(L, cachestore_purge(orders, (unsigned)count));
    return 1;
}

static void cache_set_number(lua_State *L, const char *key, uint64_t number)
{
    lua_pushnumber(L, (double)number);
    lua_setfield(L, -2, key);
}

/* core.cache_counts() -> { responses, coded, bytes, limit, stored, evicted, purged }; nil: this
 * process has no cache */
static int cache_core_counts(lua_State *L)
{
    struct cache_counts counts;
    if (cachestore_offered() == NULL)
        return 0;
    cache_count(cachestore_offered(), &counts);
    lua_createtable(L, 0, 7);
    cache_set_number(L, "responses", counts.entries);
    cache_set_number(L, "coded", counts.coded);
    cache_set_number(L, "bytes", counts.bytes);
    cache_set_number(L, "limit", counts.limit);
    cache_set_number(L, "stored", counts.stored);
    cache_set_number(L, "evicted", counts.evicted);
    cache_set_number(L, "purged", counts.purged);
    return 1;
}

void script_cache_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"cache_purge", cache_core_purge}, {"cache_counts", cache_core_counts}, {NULL, NULL}};
    luaL_register(L, NULL, functions);
}
