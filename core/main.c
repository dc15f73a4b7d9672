/*
 * main - the program: everything a command does is in lua/moongate/cli, everything a server does
 * below master.
 */
#include "script.h"

int main(int argc, char **argv)
{
    return script_main(argc, argv);
}
