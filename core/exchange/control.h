/*
 * control - a generation's backends as the control pages see them (script_world): their state, and
 * hold, resume, drain and undrain. What is done holds for all workers, through the ledger.
 */
#ifndef MG_EXCHANGE_CONTROL_H
#define MG_EXCHANGE_CONTROL_H

#include "exchange/generation.h"

/* What all generations of this worker need: the board, and the socket to the master. */
void control_init(struct board *board, int master);

/* Makes the generation's backends known to its script: once, before anything of it runs. */
void control_open(struct generation *g);

#endif
