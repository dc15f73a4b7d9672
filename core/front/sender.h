/*
 * sender - bytes on their way to one client: slices of the response that were gathered, a whole
 * small response or the head of a file that waits for the end of the loop's turn, what the socket
 * did not take, a file.
 *
 *     sender_gather ... sender_send -> socket
 *                           |  \--> turn  (small and whole: written when the turn ends) -> pieces
 *                           \-----> out   (not taken: written when the socket has room) -> pieces
 *
 * `out` is a backlog: memory, then an unlinked file. Embedded in a response, whose connection
 * watches the socket, asks sender_waits and calls sender_write. Nothing here calls back but
 * on_turn. What fails sets `broken`; the connection ends then.
 */
#ifndef MG_FRONT_SENDER_H
#define MG_FRONT_SENDER_H

#include "base/backlog.h"
#include "base/loop.h"
#include "front/transport.h"
#include "http/request.h"

#include <sys/uio.h>

/* The buffer of small responses and heads of a turn, which all senders of a worker share. */
struct sender_turn {
    struct loop *loop;
    char *bytes;
    size_t used;
    unsigned count; /* of senders that have a part of it */
};

void sender_turn_init(struct sender_turn *turn, struct loop *loop);
void sender_turn_fini(struct sender_turn *turn);

struct sender {
    struct transport *transport; /* the connection's */
    struct sender_turn *shared;
    void (*on_turn)(struct sender *s); /* the turn has ended: what has waited is to be written */
    struct deferred flush;
    struct str turn; /* the part of the turn's buffer that is this sender's; n = 0: none */
    struct backlog out;
    const struct limits *limits; /* of the response under way; NULL: there is none */
    struct file_source *file;    /* its pieces are sent behind `out`; NULL: none */
    unsigned piece_count;        /* pieces that are not sent whole */
    const struct file_piece *pieces;
    uint64_t piece_at;  /* bytes of the first piece that have left */
    uint64_t file_sent; /* bytes of all pieces */
    const char
        *broken; /* why nothing can be written any more; all that waited is gone. NULL: it can */
    const char *no_spool; /* why the spool could not be used for this response; NULL: it could */
    bool unbuffered;
};

/* The value of `broken` when the client has left. */
extern const char *const SENDER_GONE;

void sender_init(struct sender *s, struct transport *transport, struct sender_turn *shared,
                 void (*on_turn)(struct sender *s));
/* Drops the bytes that wait. The transport stays open. */
void sender_fini(struct sender *s);

/* The response begins: bytes of it that wait are kept within these limits, unbuffered ones only in
 * memory. The limits stay the caller's until sender_fini. */
void sender_begin(struct sender *s, const struct limits *limits, bool unbuffered);
/* The number of bytes that can still be kept. 0: the caller waits until some have left. */
size_t sender_room(const struct sender *s);

/* Adds a slice, valid until it is sent. False when the list is full: send first. */
bool sender_gather(struct sender *s, struct str bytes);
/* Bytes gathered and not yet sent. */
size_t sender_gathered(const struct sender *s);
/* Drops the gathered slices. */
void sender_forget(struct sender *s);

/* Bytes before and after the gathered slices; n = 0: none. */
struct sender_frame {
    struct str head;
    struct str line; /* of a chunk */
    struct str tail;
};

enum sender_when {
    SENDER_NOW,
    SENDER_TURN, /* the response is whole: if it is small it may wait for the turn's end, and so may
                    the head of a file, which is not copied */
};

/* Sends frame and slices in one call as far as the socket takes them, keeps a copy of the rest.
 * Returns the bytes that have left. */
size_t sender_send(struct sender *s, const struct sender_frame *frame, enum sender_when when);

/* Sends these pieces of the file as the body, behind what is sent next. The sender holds the file,
 * and the caller the list, until all bytes have left. */
void sender_file(struct sender *s, struct file_source *file, const struct file_piece *pieces,
                 unsigned count);

/* Writes bytes that wait: the turn's part with the pieces behind it, or some of out or of the
 * pieces. Returns the bytes that have left. */
size_t sender_write(struct sender *s);

/* True while bytes wait for room in the socket. */
static inline bool sender_waits(const struct sender *s)
{
    return s->broken == NULL && s->turn.n == 0 &&
           (!backlog_is_empty(&s->out) || s->piece_count > 0);
}

/* True when all bytes have left, or never will. */
static inline bool sender_is_done(const struct sender *s)
{
    return s->broken != NULL ||
           (backlog_is_empty(&s->out) && s->piece_count == 0 && s->turn.n == 0);
}

#endif
