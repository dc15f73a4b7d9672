/*
 * record - the FastCGI record codec: bytes in, events out; events in, bytes out. No I/O.
 *
 * Encoders append to a buf. The decoder takes a connection's bytes in slices of any size and hands
 * content on as it comes; it never collects a record, so its state is a few words however large
 * the records are. Reference: FastCGI Specification 1.0, §3 to §5, §8.
 */
#ifndef MG_FASTCGI_RECORD_H
#define MG_FASTCGI_RECORD_H

#include "base/buf.h"
#include "http/request.h"

enum fcgi_type {
    FCGI_BEGIN_REQUEST = 1,
    FCGI_ABORT_REQUEST = 2,
    FCGI_END_REQUEST = 3,
    FCGI_PARAMS = 4,
    FCGI_STDIN = 5,
    FCGI_STDOUT = 6,
    FCGI_STDERR = 7,
    FCGI_DATA = 8,
    FCGI_GET_VALUES = 9,
    FCGI_GET_VALUES_RESULT = 10,
    FCGI_UNKNOWN_TYPE = 11,
};

enum fcgi_protocol_status {
    FCGI_REQUEST_COMPLETE = 0,
    FCGI_CANT_MPX_CONN = 1,
    FCGI_OVERLOADED = 2,
    FCGI_UNKNOWN_ROLE = 3,
};

enum {
    FCGI_HEADER_SIZE = 8,
    FCGI_KEEP_CONN = 1,
    /* PHP-FPM resets records whose content and padding pass 65,535 bytes together; small records
     * also keep one connection's buffers small. A longer pair gets a record of its own. */
    FCGI_RECORD_MAX = 32768,
    FCGI_CONTENT_MAX = 65535,
    FCGI_PAIR_MAX = FCGI_CONTENT_MAX - 8, /* name and value of one pair, without their lengths */
};

/* --- encode --- */

/* Writes the eight bytes of a record header (§3.3). content <= 65,535. */
void fcgi_header(uint8_t out[FCGI_HEADER_SIZE], enum fcgi_type type, uint16_t id, size_t content);
/* BEGIN_REQUEST (§5.1); flags is 0 or FCGI_KEEP_CONN. */
void fcgi_begin(struct buf *out, uint16_t id, enum fcgi_role role, uint8_t flags);
/* END_REQUEST (§5.5). */
void fcgi_end(struct buf *out, uint16_t id, uint32_t app_status, enum fcgi_protocol_status status);
/* UNKNOWN_TYPE (§4.2): a management record of this type is not understood. */
void fcgi_unknown_type(struct buf *out, uint8_t type);
/* A record without content: the end of a stream (§3.3). */
void fcgi_empty(struct buf *out, enum fcgi_type type, uint16_t id);

/* Name-value pairs packed into records of up to FCGI_RECORD_MAX. A pair never spans two records:
 * PHP-FPM resets the connection when one does. */
struct fcgi_pairs {
    struct buf *out;
    size_t record; /* where the open record starts in out, counted from its head */
    uint16_t id;
    uint8_t type;
    bool open;
    bool too_large; /* a pair did not fit into one record; nothing of it was written */
};

void fcgi_pairs_init(struct fcgi_pairs *p, struct buf *out, enum fcgi_type type, uint16_t id);
void fcgi_pairs_add(struct fcgi_pairs *p, struct str name, struct str value);
/* Adds all pairs of a list, with one reservation where they fit into a record, the usual case. */
void fcgi_pairs_add_all(struct fcgi_pairs *p, const struct param *list, unsigned count);
/* Closes the open record. The stream's end (fcgi_empty) is the caller's. */
void fcgi_pairs_end(struct fcgi_pairs *p);

/* --- decode --- */

/* The event of one call of the decoder's callback. */
struct fcgi_event {
    enum fcgi_type type;
    uint16_t id;
    struct str content;      /* a slice of the content, valid during the call */
    uint32_t app_status;     /* END_REQUEST only */
    uint8_t protocol_status; /* END_REQUEST only */
    /* In a decoder that accepts requests: */
    bool complete; /* the record's end; what follows is set with it alone */
    uint16_t size; /* of its content; 0: the end of a stream */
    uint16_t role; /* BEGIN_REQUEST only */
    uint8_t flags; /* BEGIN_REQUEST only */
};

/* Returns false to stop the decoder; the caller keeps the rest of the bytes. It can be fed again
 * after END_REQUEST or an event that is `complete`, but not inside a record. */
typedef bool (*fcgi_event_cb)(void *ctx, const struct fcgi_event *event);

struct fcgi_decoder {
    uint8_t bytes[8]; /* of a header, or of END_REQUEST's body */
    uint8_t have;
    uint8_t type;
    uint8_t padding;
    bool in_content;
    bool accepts; /* the records are a web server's, not an application's */
    uint16_t id;
    uint16_t left; /* content not yet seen */
    uint16_t size; /* content in all */
};

/* Initializes a decoder for records of an application. */
void fcgi_decoder_init(struct fcgi_decoder *d);
/* Initializes a decoder for records of a web server. The end of each record is an event of its own
 * (`complete`), since an empty record has a meaning, too; a BEGIN_REQUEST has only this event. */
void fcgi_decoder_accept(struct fcgi_decoder *d);

/* Feeds n bytes. Sets *used to the bytes taken: all of them unless the callback stopped it. Returns
 * NULL, or the error, after which the connection can't be used any more. Content of STDOUT, STDERR
 * and management records comes in slices; an END_REQUEST comes once, whole. */
const char *fcgi_feed(struct fcgi_decoder *d, const char *data, size_t n, size_t *used,
                      fcgi_event_cb on_event, void *ctx);

/* True between two records: nothing of the next one has come. */
static inline bool fcgi_decoder_idle(const struct fcgi_decoder *d)
{
    return d->have == 0 && !d->in_content;
}

/* Takes one name-value pair off the front of *in (§3.4). Returns false at the end or when the rest
 * is cut short. */
bool fcgi_pair_next(struct str *in, struct str *name, struct str *value);

#endif
