/*
 * views - what hooks see beside req: its headers, params, res and the headers of that.
 */
#ifndef MG_SCRIPT_VIEWS_H
#define MG_SCRIPT_VIEWS_H

#include "http/request.h"

struct lua_State;
struct script_view;

/* The userdata `req`. Emptied (req = NULL) when the request ends. */
struct script_box {
    struct request *req;
};

/* The request in the box; raises a clear error when it has ended. */
struct request *script_box_request(struct lua_State *L, const struct script_box *box);

/* Registers the metatables of headers, params and res. */
void script_views_open(struct lua_State *L);
/* Pushes the headers of a `req`. */
void script_push_headers(struct lua_State *L, struct script_box *box);
/* Pushes a plain table of headers; the values of a repeated one are joined, as in `req.headers`. */
void script_push_header_table(struct lua_State *L, const struct headers *headers);
/* Pushes the params that a web server has sent with the request of a `req`. */
void script_push_arrived(struct lua_State *L, struct script_box *box);
/* Push a `params` and a `res` that are closed; Lua owns them. */
struct script_view *script_push_params(struct lua_State *L);
struct script_view *script_push_response(struct lua_State *L);
/* From now on the view shows the request's response, or the list of params, whose memory is the
 * request's arena. */
void script_open_view(struct script_view *view, struct request *req, struct params *params);
void script_close_view(struct script_view *view);

#endif
