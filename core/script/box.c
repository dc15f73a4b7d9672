/*
 * box - see box.h.
 *
 * A held box is anchored in a table, which is in the first slot of a Lua stack that is used for
 * nothing else: so emptying a box at the end of a request calls no function of Lua that can raise
 * an error. Free places of the table are reused.
 */
#include "script/box.h"

#include "script/door.h"
#include "script/request.h"
#include "script/task.h"
#include "script/views.h"

#include <stdlib.h>

struct script_boxes {
    lua_State *anchors;
    int *free_places;
    unsigned free_count, place_count;
    bool keep; /* see script_boxes_keep */
};

void script_boxes_new(struct script *s)
{
    s->boxes = calloc(1, sizeof *s->boxes);
    if (s->boxes == NULL)
        abort();
    s->boxes->anchors = lua_newthread(s->L);
    luaL_ref(s->L, LUA_REGISTRYINDEX);
    lua_newtable(s->boxes->anchors);
}

void script_boxes_free(struct script *s)
{
    if (s->boxes != NULL)
        free(s->boxes->free_places);
    free(s->boxes);
    s->boxes = NULL;
}

void script_boxes_keep(struct script *s, bool keep)
{
    s->boxes->keep = keep;
}

/* A free place for a box: the last one that was given back, or a new one. */
static int box_new_place(struct script_boxes *b)
{
    if (b->free_count > 0)
        return b->free_places[--b->free_count];
    if ((b->place_count & (b->place_count + 1)) == 0) { /* 2^n - 1 places: the list is full */
        size_t room = 2 * ((size_t)b->place_count + 1);
        b->free_places = realloc(b->free_places, room * sizeof *b->free_places);
        if (b->free_places == NULL)
            abort();
    }
    return (int)++b->place_count;
}

/* While its hook runs, the box is anchored on the top of the anchors' stack. A box that lives
 * longer moves into a place of the table. */
void script_hold_box(struct script *s, struct script_call *call)
{
    call->place = box_new_place(s->boxes);
    lua_rawseti(s->boxes->anchors, 1, call->place);
}

void script_push_box(struct script *s, struct request *req, struct script_call *call)
{
    lua_State *L = s->L;
    if (call->box == NULL) {
        struct script_box *box = script_push_request(L, req);
        lua_pushvalue(L, -1);
        lua_xmove(L, s->boxes->anchors, 1);
        call->place = 0;
        call->box = box;
        if (s->boxes->keep)
            script_hold_box(s, call);
        return;
    }
    if (call->place > 0)
        lua_rawgeti(s->boxes->anchors, 1, call->place);
    else
        lua_pushvalue(s->boxes->anchors, -1);
    lua_xmove(s->boxes->anchors, L, 1);
}

void script_end(struct script *s, struct script_call *call)
{
    if (call->task != NULL)
        script_task_cancel(call->task);
    call->task = NULL;
    if (call->box == NULL)
        return;
    call->box->req = NULL;
    call->box = NULL;
    if (call->place == 0) {
        lua_pop(s->boxes->anchors, 1);
        return;
    }
    lua_pushnil(s->boxes->anchors);
    lua_rawseti(s->boxes->anchors, 1, call->place);
    s->boxes->free_places[s->boxes->free_count++] = call->place;
    call->place = 0;
}

void script_release_box(struct script *s, struct script_call *call)
{
    if (!s->boxes->keep)
        script_end(s, call);
}

static void box_forget_args(struct script *s, void *ctx)
{
    const struct script_call *call = ctx;
    lua_rawgeti(s->boxes->anchors, 1, call->place);
    lua_xmove(s->boxes->anchors, s->L, 1);
    script_forget_args(s->L);
}

void script_redirected(struct script *s, struct script_call *call)
{
    static const struct script_cause cause = {.what = "req.args", .source = "the library"};
    if (call->box != NULL && call->place > 0)
        script_guard(s, &cause, box_forget_args, call);
}
