/*
 * nowhere - see parts.h. This file has the front of a request that goes on in the background: its
 * client has a kept response, and nobody gets the one that the application is asked for. The front
 * lies in the request's arena. All of them are in a list, so that a worker can end them.
 */
#include "exchange/parts.h"

/* The front of a request whose client has its response: it takes all, and keeps nothing. */
struct nowhere {
    struct front front;
    struct exchange *x;
    struct nowhere *next, **link; /* in the list of all */
};

static struct nowhere *nowhere_list;

static void nowhere_want_body(struct front *front, bool want)
{
    (void)front;
    (void)want;
}

static void nowhere_take(struct front *front)
{
    (void)front;
}

static void nowhere_body(struct front *front, struct str bytes)
{
    (void)front;
    (void)bytes;
}

static bool nowhere_file(struct front *front, struct file_source *source,
                         const struct file_piece *pieces, unsigned count)
{
    (void)front;
    (void)source;
    (void)pieces;
    (void)count;
    return true;
}

static bool nowhere_retract(struct front *front)
{
    (void)front;
    return true;
}

static void nowhere_drop(struct front *front, const char *why)
{
    (void)front;
    (void)why;
}

static size_t nowhere_room(struct front *front)
{
    (void)front;
    return SIZE_MAX;
}

static const struct front_ops nowhere_ops = {
    .want_body = nowhere_want_body,
    .respond = nowhere_take,
    .body = nowhere_body,
    .file = nowhere_file,
    .flush = nowhere_take,
    .end = nowhere_take,
    .retract = nowhere_retract,
    .cut = nowhere_take,
    .drop = nowhere_drop,
    .room = nowhere_room,
};

void nowhere_enter(struct exchange *x)
{
    struct nowhere *n = arena_alloc(&x->req.arena, sizeof *n);
    *n = (struct nowhere){
        .front = {&nowhere_ops}, .x = x, .next = nowhere_list, .link = &nowhere_list};
    if (n->next != NULL)
        n->next->link = &n->next;
    nowhere_list = n;
    x->front = &n->front;
}

void nowhere_leave(struct exchange *x)
{
    struct nowhere *n = (struct nowhere *)x->front;
    *n->link = n->next;
    if (n->next != NULL)
        n->next->link = n->link;
}

struct exchange *nowhere_first(void)
{
    return nowhere_list != NULL ? nowhere_list->x : NULL;
}
