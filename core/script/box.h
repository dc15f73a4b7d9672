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
/* `keep`: the route has a hook after on_request which must get the same `req`, so boxes are held
 * until requests end. */
void script_boxes_keep(struct script *s, bool keep);

/* Pushes the request's box, made at the first hook. */
void script_push_box(struct script *s, struct request *req, struct script_call *call);
/* Holds the box of a hook that waits, until the request ends. */
void script_hold_box(struct script *s, struct script_call *call);
/* Empties the box at once, where no later hook needs it. */
void script_release_box(struct script *s, struct script_call *call);

/* An internal redirect has replaced the request's query: the `req` drops the args that it has kept.
 */
void script_redirected(struct script *s, struct script_call *call);
/* Empties the box when the request ends. The caller calls it once for each request, however that
 * ended. */
void script_end(struct script *s, struct script_call *call);

#endif
