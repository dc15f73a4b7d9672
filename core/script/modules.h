/*
 * modules - the Lua library: its modules, and those of its functions that C calls.
 */
#ifndef MG_SCRIPT_MODULES_H
#define MG_SCRIPT_MODULES_H

#include "script/lua.h"

#define SCRIPT_LIBRARY_FOLDER "lua/moongate/" /* of the chunk names of the library's modules */

/* Makes the modules known to `require`: those in the binary, or in MOONGATE_LUA where that is set.
 */
void script_modules_open(lua_State *L);
/* Pushes the library's function; an error is one of the installation. Returns 0, or pcall's status
 * with the message pushed. */
int script_library_function(lua_State *L, const char *module, const char *name);

#endif
