/*
 * main - the program: everything a command does is in lua/moongate/cli, everything a server does
 * below master.
 */
#include "process/commands.h"

int main(int argc, char **argv)
{
    return commands_main(argc, argv);
}
