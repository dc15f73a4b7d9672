/*
 * control - a generation's backends as the control pages see them (script_world): their state, and
 * hold, resume, drain and undrain, which hold for all workers through the ledger; servers that are
 * added, removed and weighed, through the list of changes.
 */
#ifndef MG_EXCHANGE_CONTROL_H
#define MG_EXCHANGE_CONTROL_H

#include "exchange/generation.h"

/* Sets what all generations of this worker use: the board, the socket to the master, the backends.
 */
void control_init(struct board *board, int master, struct backends *backends);

/* Connects the script to its generation's backends. Called once, before a function of the script
 * runs. */
void control_open(struct generation *g);

#endif
