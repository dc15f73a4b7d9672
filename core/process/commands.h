/*
 * commands - the program behind the command line: a Lua state that runs moongate.cli.commands, and
 * what that needs from C.
 */
#ifndef MG_PROCESS_COMMANDS_H
#define MG_PROCESS_COMMANDS_H

/* Runs moongate.cli.commands with the command line; returns the exit status. */
int commands_main(int argc, char **argv);

#endif
