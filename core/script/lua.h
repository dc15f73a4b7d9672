/*
 * lua - struct script, for the files of script/: the Lua state of a route, and beside it what each
 * file keeps for it. A file reaches what another one keeps through that one's header alone.
 *
 * Outside of script/ only process/commands.c and calls.c include this header, through others of
 * script/.
 */
#ifndef MG_SCRIPT_LUA_H
#define MG_SCRIPT_LUA_H

#include "base/loop.h"
#include "script/call.h"
#include "script/world.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

struct script {
    lua_State *L;
    struct script_heap *heap; /* heap.c */
    void (*worn)(void *ctx);  /* called when the script should begin anew; NULL: not called */
    void *worn_ctx;
    struct settings settings;
    int normalised; /* the table that the settings were read from, in the registry */
    struct script_world world;
    struct loop *loop; /* NULL outside of a worker */
    bool retired;      /* another generation serves: timers of this one have stopped */
    bool exports;      /* the exporter of spans runs (spans.c) */
    bool stopping; /* on_stop has been called: no timer or spawned function can begin any more */
    void (*hold)(void *ctx); /* keeps the generation alive while a detached task waits */
    void (*drop)(void *ctx);
    struct script_door *door;       /* door.c */
    struct script_boxes *boxes;     /* box.c */
    struct script_hooks *hooks;     /* hooks.c */
    struct script_servers *servers; /* balance.c */
    struct script_task *tasks;      /* task.c */
    struct script_timers *timers;   /* timer.c; NULL before the first one */
    struct script_net *net;         /* net/; NULL before its first socket */
};

#endif
