/*
 * box - the boxes of requests in flight: the `req` that Lua has, held until the request ends,
 * whatever the script does to its variable.
 */
#ifndef MG_SCRIPT_BOX_H
#define MG_SCRIPT_BOX_H

#include "script/call.h"

struct lua_State;

/* Inside the door. */
void script_boxes_new(struct script *s);
void script_boxes_free(struct script *s);
/* A later hook wants the same req as on_request. */
void script_boxes_keep(struct script *s, bool keep);

/* Pushes the request's box, made at the first hook. */
void script_push_box(struct script *s, struct request *req, struct script_call *call);
/* The hook waits: its box is held meanwhile. */
void script_hold_box(struct script *s, struct script_call *call);
/* A box that no later hook wants is emptied at once. */
void script_release_box(struct script *s, struct script_call *call);

/* The request goes on elsewhere: what `req` has kept of its query is forgotten. */
void script_redirected(struct script *s, struct script_call *call);
/* The request is over: its box is emptied. Call it once for every request, whatever happened. */
void script_end(struct script *s, struct script_call *call);

#endif
