/* observe - see observe.h. */
#include "script/observe.h"

#include "http/observed.h"
#include "script/door.h"
#include "script/value.h"
#include "script/views.h"

int script_observe(lua_State *L, struct request *req)
{
    (void)L;
    if (req->observed == NULL) {
        req->observed = arena_alloc(&req->arena, sizeof *req->observed);
        observed_begin(req->observed);
    }
    return 0;
}

void script_push_observed(lua_State *L, const void *at)
{
    const struct observed *o = ((const struct request *)at)->observed;
    if (o == NULL || o->status == 0) {
        lua_pushnil(L);
        return;
    }
    lua_createtable(L, 0, 6);
    lua_pushinteger(L, o->status);
    lua_setfield(L, -2, "status");
    script_push_header_table(L, &o->headers);
    lua_setfield(L, -2, "headers");
    script_push_str(L, (struct str){o->messages, o->messages_size});
    lua_setfield(L, -2, "stderr");
    lua_pushboolean(L, o->whole);
    lua_setfield(L, -2, "whole");
    lua_pushnumber(L, (lua_Number)o->length);
    lua_setfield(L, -2, "length");
    lua_pushnumber(L, (lua_Number)o->crc32);
    lua_setfield(L, -2, "crc32");
}

int script_params_for(lua_State *L, struct request *req)
{
    const struct script *s = script_of_state(L);
    struct str backend =
        script_expect_text(L, 2, "req:params_for(): expected the name of a backend");
    struct params params = {0};
    if (s == NULL || s->world.ctx == NULL)
        return script_fail(L, "no server runs here");
    const char *err = s->world.params(s->world.ctx, req, backend, &params);
    if (err != NULL)
        return script_fail(L, err);
    lua_createtable(L, 0, (int)params.count);
    for (unsigned i = 0; i < params.count; i++) {
        script_push_str(L, params.list[i].name);
        script_push_str(L, params.list[i].value);
        lua_rawset(L, -3);
    }
    return 1;
}
