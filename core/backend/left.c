/*
 * left - see backend.h. This file: connections whose client has left before the answer.
 *
 * A server does not stop for a client that leaves. PHP notices when it writes, and works until
 * then; what was not accepted yet is run all the same. So the request keeps its place: given to the
 * next one at once, that would wait in the kernel's listen queue, where max_conns and per_tenant
 * mean nothing, and who comes and leaves again and again would have the server to himself.
 *
 * They belong to a server as idle ones do, so a generation does not wait for them: with its last
 * request they pass to another that has the server. When the process ends they are closed; one
 * that a reload has replaced waits for them first.
 */
#include "backend/backend_inner.h"

/* Without a limit no request waits for the connection's place, and nothing would bound how many
 * such connections there are. */
static bool is_limited(const struct lease *x, const struct server *s)
{
    return backend_server(s->backend, s->number)->max_conns > 0 ||
           (s->backend->settings->per_tenant > 0 && x->tenant != 0);
}

void backend_leave(const struct lease *x, struct conn *c)
{
    if (is_limited(x, c->server) && conn_leave(c))
        conn_list_add(&c->server->left, c);
    else
        conn_close(c);
}

static struct server *left_namesake(const struct server *s)
{
    struct server *found = NULL;
    for (const struct backend *b = s->backend->all->first; b != NULL && found == NULL; b = b->next)
        found = servers_at(b, s->slot);
    return found;
}

void left_pass(struct backend *b)
{
    for (int i = 0; i < b->count; i++) {
        struct server *s = b->servers[i], *to = s->left.first != NULL ? left_namesake(s) : NULL;
        for (struct conn *c; (c = s->left.first) != NULL;) {
            if (to == NULL) {
                conn_close(c);
                continue;
            }
            conn_list_remove(&s->left, c);
            server_adopt(c, to);
            conn_list_add(&to->left, c);
        }
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
