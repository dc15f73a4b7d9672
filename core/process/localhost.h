/* localhost - the functions of moongate.core.commands by which moongate.cli.localhost makes the
 * certificate of this machine's own names and keeps it. */
#ifndef MG_PROCESS_LOCALHOST_H
#define MG_PROCESS_LOCALHOST_H

#include <lauxlib.h>

extern const luaL_Reg localhost_functions[];

#endif
