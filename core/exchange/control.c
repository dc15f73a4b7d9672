/* control - see control.h. */
#include "exchange/control.h"

#include "base/link.h"
#include "base/log.h"
#include "exchange/params.h"
#include "exchange/subrequest.h"

#include <stdio.h>
#include <time.h>

static struct {
    struct board *board;
    int master;
    struct backends *backends;
} worker;

void control_init(struct board *board, int master, struct backends *backends)
{
    worker.board = board;
    worker.master = master;
    worker.backends = backends;
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

static void control_see_tenant(void *ctx, struct str name, struct str tenant, unsigned *active,
                               unsigned *queued)
{
    const struct backend *b = generation_backend(ctx, name);
    if (b != NULL)
        backend_tenant(b, tenant, active, queued);
}

static void control_see_tenants(void *ctx, struct str name, unsigned *active, unsigned *queued)
{
    const struct backend *b = generation_backend(ctx, name);
    if (b != NULL)
        backend_tenants(b, active, queued);
}

/* --- servers, changed at run time --- */

static const struct change *control_see_change(void *ctx, unsigned i, unsigned *active)
{
    const struct change_list *list = &worker.backends->changed;
    if (i >= list->count)
        return NULL;
    const struct backend *b = generation_backend(ctx, str_of(list->list[i].backend));
    *active = b != NULL ? backend_active(b, str_of(list->list[i].address)) : 0;
    return &list->list[i];
}

/* This worker heeds the list at once: the response to the command is about what it has done. */
static void control_tell_changes(void)
{
    backends_heed(worker.backends);
    link_send(worker.master, LINK_CHANGES, "", NULL, 0);
}

static const char *control_change(void *ctx, struct str backend, struct str address,
                                  enum change_kind kind, double weight)
{
    static const char *const words[] = {[CHANGE_WEIGHT] = "has another weight",
                                        [CHANGE_ADD] = "is added",
                                        [CHANGE_REMOVE] = "is removed: it finishes its requests"};
    struct change change = {.kind = kind, .weight = weight};
    struct addr addr;
    struct timespec now;
    (void)ctx;
    if (worker.backends->changes == NULL)
        return "there is no running server in this process";
    if (backend.n >= sizeof change.backend)
        return "the backend's name is too long for a change at run time (127 bytes)";
    if (addr_is_name(address.p, NULL, NULL))
        return "it is the address of a host by name; only numeric addresses and unix sockets can "
               "be changed at run time";
    const char *bad = addr_resolve(address.p, &addr);
    if (bad != NULL)
        return bad;
    memcpy(change.backend, backend.p, backend.n);
    addr_text(&addr, change.address);
    clock_gettime(CLOCK_REALTIME, &now);
    change.at = (double)now.tv_sec + (double)now.tv_nsec / 1e9;
    if (!changes_put(worker.backends->changes, &change))
        return "there are 64 changes at run time already: write them into the script, or drop some "
               "with `moongate server --forget`";
    log_warn("backend '%s': server %s %s, by an operator", change.backend, change.address,
             words[kind]);
    control_tell_changes();
    return NULL;
}

static unsigned control_forget_changes(void *ctx, struct str backend, struct str address)
{
    (void)ctx;
    if (worker.backends->changes == NULL)
        return 0;
    unsigned count = changes_forget(worker.backends->changes, backend, address);
    if (count > 0)
        log_warn("%u change%s of servers at run time dropped by an operator", count,
                 count == 1 ? " is" : "s are");
    control_tell_changes();
    return count;
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

/* The line about it is written while the lower of both levels holds. */
static void control_order_level(void *ctx, int level, double seconds)
{
    enum log_level before = log_threshold(),
                   after = level >= 0 ? (enum log_level)level : log_level_set();
    log_order order = level >= 0 ? log_order_of(after, seconds) : 0;
    char until[40] = "";
    (void)ctx;
    if (seconds > 0)
        snprintf(until, sizeof until, " for %g s", seconds);
    if (after < before)
        __atomic_store_n(&worker.board->log_level, order, __ATOMIC_RELAXED);
    log_warn("the level of this log is %s%s%s, by an operator", log_level_name(after), until,
             level >= 0 ? "" : " again, as the route says");
    __atomic_store_n(&worker.board->log_level, order, __ATOMIC_RELAXED);
}

static struct world_request *control_ask(void *ctx, const struct script_subrequest *ask,
                                         void (*done)(void *ctx, const struct script_reply *reply),
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
                                       .generation = g->number,
                                       .backend = control_see_backend,
                                       .server = control_see_server,
                                       .is_up = control_see_up,
                                       .hold = control_hold,
                                       .drain = control_drain,
                                       .tenant = control_see_tenant,
                                       .tenants = control_see_tenants,
                                       .change = control_see_change,
                                       .change_server = control_change,
                                       .forget_changes = control_forget_changes,
                                       .ask_reload = control_reload,
                                       .stop = control_stop,
                                       .kill = control_kill,
                                       .order_level = control_order_level,
                                       .ask = control_ask,
                                       .forget = control_forget,
                                       .params = control_params,
                                       .board = worker.board};
    script_set_world(g->script, &world);
}
