/*
 * main - the program: everything a command does is in lua/moongate/cli, everything a server does
 * below master.
 */
#include "process/commands.h"
#include "script/lua.h"
#include "script/net/library.h"

int main(int argc, char **argv)
{
    script_use_library(&script_net_library);
    return commands_main(argc, argv);
}
