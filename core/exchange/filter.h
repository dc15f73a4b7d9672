/*
 * filter - a part of the chain between an exchange and its front (exchange/front.h), which sees,
 * counts or changes a response on its way.
 *
 * A filter has a table of front_ops: functions of its own for the calls that it handles, and the
 * functions below for the others. exchange/postpone is one.
 */
#ifndef MG_EXCHANGE_FILTER_H
#define MG_EXCHANGE_FILTER_H

#include "exchange/front.h"

/* Part of a filter, which must live as long as the request. */
struct filter {
    struct front front;
    struct front *next;
};

/* Puts a filter before *first. */
static inline void filter_add(struct front **first, struct filter *filter,
                              const struct front_ops *ops)
{
    *filter = (struct filter){.front = {ops}, .next = *first};
    *first = &filter->front;
}

/* Functions that pass a call on unchanged. */
void filter_want_body(struct front *front, bool want);
void filter_hints(struct front *front, const struct headers *headers);
void filter_respond(struct front *front);
void filter_body(struct front *front, struct str bytes);
bool filter_file(struct front *front, struct file_source *source, const struct file_piece *pieces,
                 unsigned count);
void filter_flush(struct front *front);
void filter_end(struct front *front);
bool filter_retract(struct front *front);
void filter_cut(struct front *front);
void filter_drop(struct front *front, const char *why);
size_t filter_room(struct front *front);

#endif
