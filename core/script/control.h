/*
 * control - requests on the control listener, answered by moongate.worker.control.
 */
#ifndef MG_SCRIPT_CONTROL_H
#define MG_SCRIPT_CONTROL_H

#include "script/call.h"

/* Fills req->decision. */
enum script_result script_control(struct script *s, struct request *req, struct script_call *call);

#endif
