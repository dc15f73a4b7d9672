/* control - see control.h. */
#include "exchange/control.h"

#include "base/link.h"
#include "base/log.h"
#include "exchange/params.h"
#include "exchange/subrequest.h"

#include <stdio.h>

static struct {
    struct board *board;
    int master;
} worker;

void control_init(struct board *board, int master)
{
    worker.board = board;
    worker.master = master;
}

static bool control_see_backend(void *ctx, unsigned i, struct script_backend *out)
{
    const struct generation *g = ctx;
    if (i >= g->settings->backend_count)
        return false;
    const struct backend *b = g->backends[i];
    *out = (struct script_backend){.name = g->settings->backends[i].name,
                                   .held = backend_is_held(b),
                                   .up = backend_is_up(b),
                                   .queued = backend_queued(b),
                                   .queue_room = backend_queue_room(b)};
    return true;
}

static bool control_see_server(void *ctx, unsigned backend, unsigned i, struct script_server *out)
{
    const struct generation *g = ctx;
    const struct backend *b = g->backends[backend];
    if ((int)i >= backend_server_count(b))
        return false;
    *out = (struct script_server){.slot = backend_server(b, (int)i),
                                  .place = backend_place(b, (int)i),
                                  .address = backend_address(b, (int)i),
                                  .queued = backend_queued(b),
                                  .gone = backend_is_gone(b, (int)i)};
    return true;
}

static bool control_see_up(void *ctx, struct str name, bool *up)
{
    const struct backend *b = generation_backend(ctx, name);
    if (b == NULL)
        return false;
    *up = backend_is_up(b);
    return true;
}

static bool control_hold(void *ctx, struct str name, bool held)
{
    struct backend *b = generation_backend(ctx, name);
    if (b == NULL)
        return false;
    backend_hold(b, held);
    log_warn("backend '%.*s' %s", STR_FMT(name),
             held ? "is held by an operator: new requests wait in its queue"
                  : "serves again, by an operator");
    return true;
}

static bool control_drain(void *ctx, struct str name, struct str server, bool draining)
{
    struct backend *b = generation_backend(ctx, name);
    int number = b != NULL ? backend_find(b, server) : -1;
    if (number < 0)
        return false;
    backend_drain(b, number, draining);
    log_warn("backend '%.*s': server %.*s %s", STR_FMT(name), STR_FMT(server),
             draining ? "is drained by an operator: it gets nothing new"
                      : "is taken back by an operator");
    return true;
}

static bool control_reload(void *ctx, unsigned from, uint64_t *id)
{
    char text[16];
    (void)ctx;
    snprintf(text, sizeof text, "%u", from);
    *id = __atomic_add_fetch(&worker.board->reload_requested, 1, __ATOMIC_ACQ_REL);
    return link_send(worker.master, LINK_RELOAD, text, NULL, 0);
}

static bool control_stop(void *ctx)
{
    (void)ctx;
    return link_send(worker.master, LINK_STOP, "", NULL, 0);
}

static bool control_kill(void *ctx, uint64_t id)
{
    char text[20];
    (void)ctx;
    snprintf(text, sizeof text, "%llx", (unsigned long long)id);
    return link_send(worker.master, LINK_KILL, text, NULL, 0);
}

static struct world_request *control_ask(void *ctx, const struct script_subrequest *ask,
                                         void (*done)(void *ctx,
                                                      const struct script_answer *answer),
                                         void *done_ctx, const char **err)
{
    return (struct world_request *)subrequest_new(ctx, ask, done, done_ctx, err);
}

static void control_forget(struct world_request *request)
{
    subrequest_free((struct subrequest *)request);
}

static const char *control_params(void *ctx, struct request *req, struct str name,
                                  struct params *out)
{
    const struct backend *b = generation_backend(ctx, name);
    if (b == NULL)
        return "there is no such backend";
    return params_for(out, req, backend_settings(b))
               ? NULL
               : "it has a body, or its answer was none of a responder";
}

void control_open(struct generation *g)
{
    const struct script_world world = {.ctx = g,
                                       .backend = control_see_backend,
                                       .server = control_see_server,
                                       .is_up = control_see_up,
                                       .hold = control_hold,
                                       .drain = control_drain,
                                       .ask_reload = control_reload,
                                       .stop = control_stop,
                                       .kill = control_kill,
                                       .ask = control_ask,
                                       .forget = control_forget,
                                       .params = control_params,
                                       .board = worker.board};
    script_set_world(g->script, &world);
}
