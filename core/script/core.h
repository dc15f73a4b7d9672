/*
 * core - moongate.core: what the library modules need from C.
 */
#ifndef MG_SCRIPT_CORE_H
#define MG_SCRIPT_CORE_H

struct lua_State;

/* Pushes the module. */
int script_core_open(struct lua_State *L);
/* The number of this worker, from 1; 0, as before the call: this process is none. */
void script_set_worker(unsigned number);

#endif
