/*
 * terminal - the terminal of a command that draws on it again and again (moongate top): keys come
 * one by one, the picture is on a screen of its own. However the process ends or stops, but by
 * SIGKILL, the terminal is as it was before.
 */
#ifndef MG_PROCESS_TERMINAL_H
#define MG_PROCESS_TERMINAL_H

#include <lauxlib.h>

/* Functions of moongate.core.commands:
 *
 * terminal_open(plain) -> true; or nil, reason. With `plain` no escape sequence is sent.
 * terminal_size() -> rows, columns
 * terminal_read(seconds) -> the keys' bytes, "" where none came or a signal did; nil: no more will
 * terminal_close()
 */
extern const luaL_Reg terminal_functions[];

#endif
