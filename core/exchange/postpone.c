/* postpone - see postpone.h. */
#include "exchange/postpone.h"

static struct postpone *postpone_of(struct front *front)
{
    return (struct postpone *)((char *)front - offsetof(struct postpone, filter.front));
}

/* Passes the kept bytes to the front as one slice, which is valid until the front is flushed or
 * ended. */
static void postpone_give(struct postpone *p)
{
    struct front *next = p->filter.next;
    if (buf_len(&p->kept) > 0)
        next->ops->body(next, buf_peek(&p->kept));
}

static void postpone_send(struct postpone *p)
{
    struct front *next = p->filter.next;
    postpone_give(p);
    next->ops->flush(next);
    p->head_gone = true;
    buf_consume(&p->kept, buf_len(&p->kept));
}

/* --- front_ops --- */

static void postpone_respond(struct front *front)
{
    struct postpone *p = postpone_of(front);
    p->head_gone = false;
    filter_respond(front);
}

/* Passes the slice on without a copy when the response does not wait; else keeps its bytes and
 * passes them on when there are enough. */
static void postpone_body(struct front *front, struct str bytes)
{
    struct postpone *p = postpone_of(front);
    if (p->most == 0) {
        filter_body(front, bytes);
        return;
    }
    while (bytes.n > 0) {
        size_t room = p->most - buf_len(&p->kept);
        size_t n = bytes.n < room ? bytes.n : room;
        buf_append(&p->kept, bytes.p, n);
        bytes = str_skip(bytes, n);
        if (n == room)
            postpone_send(p);
    }
}

static void postpone_flush(struct front *front)
{
    struct postpone *p = postpone_of(front);
    if (p->most == 0) {
        postpone_send(p);
    } else if (p->head_first && !p->head_gone) {
        filter_flush(front);
        p->head_gone = true;
    }
}

static void postpone_end(struct front *front)
{
    postpone_give(postpone_of(front));
    filter_end(front);
}

static bool postpone_retract(struct front *front)
{
    struct postpone *p = postpone_of(front);
    if (!filter_retract(front))
        return false;
    buf_consume(&p->kept, buf_len(&p->kept));
    return true;
}

/* Passes the kept bytes on before the response is cut. */
static void postpone_cut(struct front *front)
{
    struct postpone *p = postpone_of(front);
    if (p->head_gone)
        postpone_send(p);
    filter_cut(front);
}

static const struct front_ops postpone_ops = {
    .want_body = filter_want_body,
    .hints = filter_hints,
    .respond = postpone_respond,
    .body = postpone_body,
    .file = filter_file,
    .flush = postpone_flush,
    .end = postpone_end,
    .retract = postpone_retract,
    .cut = postpone_cut,
    .drop = filter_drop,
    .room = filter_room,
};

void postpone_add(struct postpone *p, struct front **first)
{
    *p = (struct postpone){.most = 0};
    buf_init(&p->kept, SIZE_MAX);
    filter_add(first, &p->filter, &postpone_ops);
}

void postpone_set(struct postpone *p, size_t most, bool head_first)
{
    p->most = most;
    p->head_first = head_first;
}

void postpone_fini(struct postpone *p)
{
    buf_fini(&p->kept);
}
