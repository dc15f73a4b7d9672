/*
 * compressing - see compressing.h.
 *
 * lua/moongate/decision/compress.lua checks the value and makes one table of it, with numbers in
 * place of texts such as "1k". A decision of true or false, the usual ones, needs no Lua.
 */
#include "script/compressing.h"

#include "http/coder.h"
#include "script/modules.h"
#include "script/value.h"

/* The texts of the list that is field `key` of the table on the stack's top; NULL: there is none.
 */
static const struct str *compressing_read_list(lua_State *L, struct arena *arena, const char *key,
                                               unsigned *count)
{
    struct str *list = NULL;
    lua_getfield(L, -1, key);
    if (lua_istable(L, -1)) {
        *count = (unsigned)lua_objlen(L, -1);
        list = arena_alloc(arena, (*count + 1) * sizeof *list);
        for (unsigned i = 0; i < *count; i++) {
            lua_rawgeti(L, -1, (int)i + 1);
            list[i] = arena_copy(arena, script_str(L, -1));
            lua_pop(L, 1);
        }
    }
    lua_pop(L, 1);
    return list;
}

static void compressing_read_order(lua_State *L, struct arena *arena, struct compress_settings *out)
{
    unsigned count = 0;
    const struct str *names = compressing_read_list(L, arena, "encodings", &count);
    if (names != NULL)
        out->coding_count = 0;
    for (unsigned i = 0; i < count && out->coding_count < CODINGS; i++)
        if (coder_knows(coding_of(names[i])))
            out->order[out->coding_count++] = (uint8_t)coding_of(names[i]);
}

static void compressing_read_levels(lua_State *L, struct compress_settings *out)
{
    lua_getfield(L, -1, "levels");
    for (int i = CODING_GZIP; i < CODINGS && lua_istable(L, -1); i++) {
        lua_getfield(L, -1, coding_name((enum coding)i).p);
        if (lua_type(L, -1) == LUA_TNUMBER)
            out->levels[i] = (uint8_t)lua_tonumber(L, -1);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

/* Replaces the value on the stack's top by its normalised form; false: it can't be used. */
static bool compressing_normalise(lua_State *L)
{
    if (script_library_function(L, "moongate.decision.compress", "partly") != 0)
        lua_error(L);
    lua_insert(L, -2);
    lua_call(L, 1, 1);
    return lua_istable(L, -1);
}

bool script_read_compress(lua_State *L, struct arena *arena, bool normal,
                          struct compress_settings *out)
{
    lua_pushvalue(L, -1);
    bool fits = normal ? lua_istable(L, -1) : lua_isboolean(L, -1) || compressing_normalise(L);
    out->on = !lua_isboolean(L, -1) || lua_toboolean(L, -1);
    if (lua_istable(L, -1)) {
        unsigned count = 0;
        const struct str *types = compressing_read_list(L, arena, "types", &count);
        if (types != NULL) {
            out->types = types;
            out->type_count = count;
        }
        compressing_read_order(L, arena, out);
        compressing_read_levels(L, out);
        lua_getfield(L, -1, "min");
        if (lua_type(L, -1) == LUA_TNUMBER)
            out->min = (uint64_t)lua_tonumber(L, -1);
        lua_getfield(L, -2, "keep");
        if (lua_type(L, -1) == LUA_TNUMBER)
            out->keep = (uint64_t)lua_tonumber(L, -1);
        lua_getfield(L, -3, "on");
        if (lua_isboolean(L, -1))
            out->on = lua_toboolean(L, -1);
        lua_pop(L, 3);
    }
    lua_pop(L, 1);
    return fits;
}
