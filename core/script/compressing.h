/*
 * compressing - the value of `compress`, of the settings and of decisions, as struct
 * compress_settings. lua/moongate/decision/compress.lua says what it may be.
 */
#ifndef MG_SCRIPT_COMPRESSING_H
#define MG_SCRIPT_COMPRESSING_H

#include "http/settings.h"
#include "script/lua.h"

/* Reads the value on the stack's top: true, false or a table, whose keys replace members of *out;
 * memory from the arena. `normal`: the library has made the table, and its keys are not checked.
 * Codings that this program has not are left out. False: the value is none of these. Called behind
 * the door. */
bool script_read_compress(lua_State *L, struct arena *arena, bool normal,
                          struct compress_settings *out);

#endif
