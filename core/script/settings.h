/*
 * settings - the normalised table of a route to struct settings.
 */
#ifndef MG_SCRIPT_SETTINGS_H
#define MG_SCRIPT_SETTINGS_H

#include "http/settings.h"

struct lua_State;

/* Reads the normalised table at idx. Returns NULL, or what is wrong. */
const char *script_read_settings(struct lua_State *L, int idx, struct settings *out);

#endif
