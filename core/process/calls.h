/* calls - the functions of moongate.core.commands with which commands ask others: a FastCGI server,
 * another instance, a loader where that instance is. All of them block. */
#ifndef MG_PROCESS_CALLS_H
#define MG_PROCESS_CALLS_H

#include <lauxlib.h>

extern const luaL_Reg calls_functions[];

#endif
