/* calls - the functions of moongate.core.commands by which commands ask a FastCGI server, another
 * instance, or a loader for the address of that instance. All of them block. */
#ifndef MG_PROCESS_CALLS_H
#define MG_PROCESS_CALLS_H

#include <lauxlib.h>

extern const luaL_Reg calls_functions[];

#endif
