/*
 * script_lua - what script*.c share: the Lua side of requests, decisions and settings.
 *
 * Nobody else includes this header, so nobody else sees lua.h.
 */
#ifndef MG_SCRIPT_LUA_H
#define MG_SCRIPT_LUA_H

#include "script.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

/* The userdata `req`. Emptied (req = NULL) when the request ends. */
struct script_box {
    struct request *req;
};

/* --- script.c --- */

/* A state with Lua's libraries, moongate.core and the library modules, searched in MOONGATE_LUA
 * first where that is set. Never NULL. */
lua_State *script_state_new(void);

/* --- script_request.c --- */

/* Registers the metatables of req, headers, params and res. */
void script_request_open(lua_State *L);
/* Pushes a fresh `req` for it. */
struct script_box *script_push_request(lua_State *L, struct request *req);
/* The request of the `req` at idx; raises a clear error when it has ended. */
struct request *script_check_request(lua_State *L, int idx);
/* Pushes a `params` that writes to the list, whose memory is the request's arena. Empty it with
 * script_close_view when the hook has returned. */
void script_push_params(lua_State *L, struct request *req, struct params *params);
/* Pushes a `res` for req->response, likewise. */
void script_push_response(lua_State *L, struct request *req);
/* Empties the view at idx and those it handed out. */
void script_close_view(lua_State *L, int idx);
/* Pushes the table that on_log and log.format get. */
void script_push_log(lua_State *L, const struct request *req);

/* --- script_decision.c --- */

/* Compiles the decision at stack index d, with what lua/moongate/decision.lua completed at a and b,
 * into req->decision. Returns NULL, or a short reason; the long one comes from decision.problem. */
const char *script_decision(lua_State *L, int d, int a, int b, struct request *req,
                            const struct settings *settings);

/* --- script_settings.c --- */

/* Reads the normalised table at idx. Returns NULL, or what is wrong. */
const char *script_read_settings(lua_State *L, int idx, struct settings *out);

/* --- script_core.c --- */

/* Pushes the module moongate.core. */
int script_core_open(lua_State *L);

/* --- small helpers --- */

/* The string at idx, without a copy; valid while the value is on the stack. */
static inline struct str script_str(lua_State *L, int idx)
{
    struct str s;
    s.p = lua_tolstring(L, idx, &s.n);
    return s;
}

static inline void script_push_str(lua_State *L, struct str s)
{
    lua_pushlstring(L, s.p != NULL ? s.p : "", s.n);
}

#endif
