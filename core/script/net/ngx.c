/*
 * ngx - what lua/ngx.lua needs from C: gates that functions wait at (ngx.thread.wait), and
 * ngx.null. The patterns of ngx.re are in regex.c. See script/task.h for the waiting.
 */
#include "script/net/net.h"

#include <stdlib.h>

#define GATE "moongate.gate"

/* --- gates --- */

/* A gate is closed until gate:open(); one function may wait for that. */
struct gate {
    struct net_op op;
    struct script *script;
    ev_timer timer; /* wakes the waiting function from the loop, not inside gate:open() */
    bool open;
};

static void ngx_gate_cancel(struct script_wait *wait)
{
    struct gate *g = (struct gate *)((char *)wait - offsetof(struct gate, op.wait));
    ev_timer_stop(g->script->loop->ev, &g->timer);
    script_net_over(g->script, &g->op);
}

static void ngx_gate_opened_cb(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct gate *g = timer->data;
    (void)ev;
    (void)events;
    struct script_wait wait = g->op.wait; /* a copy: the gate may be collected without its anchor */
    script_net_over(g->script, &g->op);
    script_wake(&wait, NULL, NULL);
}

static struct gate *ngx_gate_check(lua_State *L)
{
    return luaL_checkudata(L, 1, GATE);
}

/* gate:open() */
static int ngx_gate_open(lua_State *L)
{
    struct gate *g = ngx_gate_check(L);
    g->open = true;
    if (g->op.active)
        ev_timer_start(g->script->loop->ev, &g->timer);
    return 0;
}

/* gate:wait() */
static int ngx_gate_wait(lua_State *L)
{
    struct gate *g = ngx_gate_check(L);
    if (g->op.active)
        return luaL_error(L, "a thread waits at this gate already");
    return g->open ? 0 : script_net_wait(L, &g->op);
}

/* core.gate() -> a closed gate */
static int ngx_gate(lua_State *L)
{
    struct script *s = script_of(L);
    struct gate *g = lua_newuserdata(L, sizeof *g);
    memset(g, 0, sizeof *g);
    g->script = s;
    g->op.wait.cancel = ngx_gate_cancel;
    ev_timer_init(&g->timer, ngx_gate_opened_cb, 0, 0);
    g->timer.data = g;
    luaL_getmetatable(L, GATE);
    lua_setmetatable(L, -2);
    return 1;
}

/* --- the module --- */

void script_ngx_open(lua_State *L)
{
    static const luaL_Reg functions[] = {{"gate", ngx_gate}, {NULL, NULL}};
    static const luaL_Reg gate[] = {{"open", ngx_gate_open}, {"wait", ngx_gate_wait}, {NULL, NULL}};
    script_class(L, GATE, gate, NULL);
    luaL_register(L, NULL, functions);
    lua_pushlightuserdata(L, NULL);
    lua_setfield(L, -2, "null");
}
