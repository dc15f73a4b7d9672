/*
 * changed - see backend_inner.h. This file has what an operator changes about servers while the
 * route serves (shm/changes.h), on its way into the backends of a worker.
 */
#include "backend/backend_inner.h"

#include "base/log.h"

/* --- the backend heeds the list --- */

/* The server with that address, which is no name's; NULL: the script names none. */
static const struct server_settings *changed_of_script(const struct backend *b, const char *address)
{
    char text[ADDR_TEXT_SIZE];
    for (unsigned i = 0; i < b->settings->server_count; i++) {
        const struct server_settings *s = &b->settings->servers[i];
        if (!s->is_name && strcmp(addr_text(&s->addr, text), address) == 0)
            return s;
    }
    return NULL;
}

static struct server *changed_server(const struct backend *b, const char *address)
{
    for (int i = 0; i < b->count; i++)
        if (!b->servers[i]->gone && strcmp(b->servers[i]->address, address) == 0)
            return b->servers[i];
    return NULL;
}

/* Removes servers that the list removes, and added ones that it does not have any more. */
static void changed_remove(struct backend *b)
{
    for (int i = 0; i < b->count; i++) {
        struct server *s = b->servers[i];
        const struct change *change = servers_change(b, s->address);
        bool removed = change != NULL && change->kind == CHANGE_REMOVE;
        bool added = change != NULL && change->kind == CHANGE_ADD;
        if (!s->gone && (removed || (s->settings->is_added && !added)))
            server_go(s);
    }
}

static void changed_weigh(struct backend *b)
{
    for (int i = 0; i < b->count; i++) {
        struct server *s = b->servers[i];
        double weight = servers_weight(b, s->settings, s->address);
        if (s->gone || s->weight == weight)
            continue;
        s->weight = weight;
        b->changes++;
        uint32_t slot = servers_open_slot(b, s->settings, s->address);
        if (slot != LEDGER_NONE)
            ledger_server_gone(&b->all->seat, slot); /* it is opened once, as before */
    }
}

static void changed_add_one(struct backend *b, const struct server_settings *settings)
{
    const char *err =
        servers_add(b, settings, &(struct conn_place){.list = {settings->addr}, .count = 1});
    if (err != NULL)
        log_error("backend '%.*s': server %.*s can't be added: %s", STR_FMT(b->settings->name),
                  STR_FMT(settings->address), err);
}

/* Adds servers of the list, and servers of the script that were removed and are not any more. */
static void changed_add(struct backend *b)
{
    char text[ADDR_TEXT_SIZE];
    const struct change_list *changed = &b->all->changed;
    for (unsigned i = 0; i < b->settings->server_count; i++) {
        const struct server_settings *s = &b->settings->servers[i];
        if (s->is_name)
            names_look_again(b, s);
        else if (changed_server(b, addr_text(&s->addr, text)) == NULL)
            changed_add_one(b, s);
    }
    for (unsigned i = 0; i < changed->count; i++) {
        const struct change *c = &changed->list[i];
        struct server_settings added = {.address = str_of(c->address),
                                        .weight = c->weight,
                                        .max_conns = b->settings->max_conns,
                                        .is_added = true};
        if (c->kind == CHANGE_ADD && str_eq(str_of(c->backend), b->settings->name) &&
            changed_server(b, c->address) == NULL && addr_resolve(c->address, &added.addr) == NULL)
            changed_add_one(b, &added);
    }
}

void changed_heed(struct backend *b)
{
    if (b->retired) {
        changed_remove(b);
        return;
    }
    changed_remove(b);
    changed_weigh(b);
    changed_add(b);
}

/* --- a generation serves --- */

/* The script names the same: the change is the script's now. */
static bool changed_is_said(const struct backend *b, const struct change *c)
{
    const struct server_settings *s = changed_of_script(b, c->address);
    switch (c->kind) {
    case CHANGE_ADD:
        return s != NULL;
    case CHANGE_WEIGHT:
        return s != NULL && s->weight == c->weight;
    case CHANGE_REMOVE:
        return s == NULL && b->name_count == 0; /* the address of a name may come back */
    }
    return false;
}

void changed_serve(struct backend *b)
{
    struct backends *all = b->all;
    for (unsigned i = 0; i < all->changed.count; i++) {
        const struct change *c = &all->changed.list[i];
        if (!str_eq(str_of(c->backend), b->settings->name) || !changed_is_said(b, c))
            continue;
        log_info("backend '%s': the script says now what an operator had changed about server %s",
                 c->backend, c->address);
        changes_forget(all->changes, str_of(c->backend), str_of(c->address));
    }
}

void backends_use_changes(struct backends *all, struct changes *changes)
{
    all->changes = changes;
    changes_read(changes, &all->changed);
}

void backends_heed(struct backends *all)
{
    if (all->changes == NULL || !changes_are_newer(all->changes, &all->changed))
        return;
    changes_read(all->changes, &all->changed);
    for (struct backend *b = all->first; b != NULL; b = b->next)
        changed_heed(b);
}
