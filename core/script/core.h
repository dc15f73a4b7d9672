/*
 * core - moongate.core: what the library modules need from C.
 */
#ifndef MG_SCRIPT_CORE_H
#define MG_SCRIPT_CORE_H

struct lua_State;

/* Pushes the module. */
int script_core_open(struct lua_State *L);
/* Sets the number of this worker, from 1. Before the call it is 0: the process is not a worker. */
void script_set_worker(unsigned number);

#endif
