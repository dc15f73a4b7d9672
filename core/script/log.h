/*
 * log - the `log` of on_log and log.format: how a request has ended.
 */
#ifndef MG_SCRIPT_LOG_H
#define MG_SCRIPT_LOG_H

#include "http/request.h"

struct lua_State;
struct script_entry;

/* Registers the metatable of `log`. */
void script_log_open(struct lua_State *L);
/* Pushes a `log` that shows nothing; Lua owns it. */
struct script_entry *script_push_log(struct lua_State *L);
/* From now on the `log` shows how that request ended; NULL: it shows nothing. */
void script_show_log(struct script_entry *entry, const struct request *req);

#endif
