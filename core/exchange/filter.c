/* filter - see filter.h. */
#include "exchange/filter.h"

static struct front *filter_next_of(struct front *front)
{
    return ((struct filter *)((char *)front - offsetof(struct filter, front)))->next;
}

void filter_want_body(struct front *front, bool want)
{
    struct front *next = filter_next_of(front);
    next->ops->want_body(next, want);
}

void filter_hints(struct front *front, const struct headers *headers)
{
    struct front *next = filter_next_of(front);
    if (next->ops->hints != NULL)
        next->ops->hints(next, headers);
}

void filter_respond(struct front *front)
{
    struct front *next = filter_next_of(front);
    next->ops->respond(next);
}

void filter_body(struct front *front, struct str bytes)
{
    struct front *next = filter_next_of(front);
    next->ops->body(next, bytes);
}

bool filter_file(struct front *front, struct file_source *source, const struct file_piece *pieces,
                 unsigned count)
{
    struct front *next = filter_next_of(front);
    return next->ops->file != NULL && next->ops->file(next, source, pieces, count);
}

void filter_flush(struct front *front)
{
    struct front *next = filter_next_of(front);
    next->ops->flush(next);
}

void filter_end(struct front *front)
{
    struct front *next = filter_next_of(front);
    next->ops->end(next);
}

bool filter_retract(struct front *front)
{
    struct front *next = filter_next_of(front);
    return next->ops->retract(next);
}

void filter_cut(struct front *front)
{
    struct front *next = filter_next_of(front);
    next->ops->cut(next);
}

void filter_drop(struct front *front, const char *why)
{
    struct front *next = filter_next_of(front);
    next->ops->drop(next, why);
}

size_t filter_room(struct front *front)
{
    struct front *next = filter_next_of(front);
    return next->ops->room(next);
}
