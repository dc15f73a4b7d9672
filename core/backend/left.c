/*
 * left - see backend.h. This file has connections whose client has left before the reply, or has
 * all of the response while the server works on.
 *
 * A server does not stop for a client that leaves. PHP notices when it writes, and works until
 * then; what was not accepted yet is run all the same. So the request keeps its place. If another
 * request got the place at once, it would wait in the kernel's listen queue, outside of max_conns
 * and per_tenant, and a client that connects and leaves again and again would occupy the server.
 *
 * These connections belong to a server, as idle ones do, so a generation does not wait for them:
 * with its last request they pass to another generation that has the server. They are closed when
 * the process ends; a worker that a reload has replaced first waits for them.
 */
#include "backend/backend_inner.h"

/* True with a limit. Without one no request waits for the connection's place, and the number of
 * such connections would have no bound. */
static bool left_is_limited(const struct lease *x, const struct server *s)
{
    return backend_server(s->backend, s->number)->max_conns > 0 ||
           (s->backend->settings->per_tenant > 0 && x->tenant != 0);
}

void backend_leave(const struct lease *x, struct channel *ch)
{
    struct conn *c = ch->conn;
    if (conn_is_shared(c))
        channel_drop(ch);
    else if (left_is_limited(x, c->server) && conn_leave(c))
        conn_list_add(&c->server->left, c);
    else
        conn_close(c);
}

void backend_let_end(struct channel *ch)
{
    struct conn *c = ch->conn;
    channel_let_end(ch);
    if (!conn_is_shared(c))
        conn_list_add(&c->server->left, c);
}

static struct server *left_namesake(const struct server *s)
{
    struct server *found = NULL;
    for (const struct backend *b = s->backend->all->first; b != NULL && found == NULL; b = b->next)
        found = servers_at(b, s->slot);
    return found;
}

static void left_pass_list(struct conn_list *list, struct server *to)
{
    for (struct conn *c; (c = list->first) != NULL;) {
        if (to == NULL) {
            conn_close(c);
            continue;
        }
        conn_unlist(c);
        server_adopt(c, to);
        conn_list_add(&to->left, c);
    }
}

void left_pass(struct backend *b)
{
    for (int i = 0; i < b->count; i++) {
        struct server *s = b->servers[i];
        bool any = s->left.first != NULL || s->shared.first != NULL;
        struct server *to = any ? left_namesake(s) : NULL;
        left_pass_list(&s->left, to);
        left_pass_list(&s->shared, to); /* ids of requests that were given up */
    }
}

bool backends_are_busy(const struct backends *all)
{
    for (const struct backend *b = all->first; b != NULL; b = b->next)
        for (int i = 0; i < b->count; i++)
            if (b->servers[i]->left.first != NULL &&
                ledger_server_is_shared(&all->seat, b->servers[i]->slot))
                return true;
    return false;
}
