/*
 * asked - certificates that a script gives for a name: what it has said is kept for a time, a name
 * is asked for once at a time, and handshakes wait for the answer.
 *
 *     handshake --asked_begin--> name --kept--------------------------> its certificate, or none
 *                                    \--ask--> the script --asked_answer--> the same
 *                                     \--wait, wait, ...: handshakes --ready--> asked_next
 *
 * The table is that of a worker. It is used by tls/connection, which waits, and by who runs the
 * script (front/certify), which is told of names to ask for. Scanners choose names, so each list
 * has a bound, and names without a certificate drive out no name that has one.
 */
#ifndef MG_TLS_ASKED_H
#define MG_TLS_ASKED_H

#include "tls/certificate.h"

enum {
    ASKED_NONE = 16384,   /* names without a certificate that are kept */
    ASKED_WAITING = 1024, /* handshakes that wait for an answer, at a time */
    ASKED_CALLS = 64, /* names that the script is asked for, at a time; others wait their turn */
    ASKED_NAME = 255, /* bytes of a name (RFC 1035 section 2.3.4) */
};
/* Seconds for which a name is not asked for again for which the script has failed. */
#define ASKED_FAILED_LIFE 3.0

struct asked_name;
struct tls;

/* The part of a handshake that needs a certificate; its memory is the connection's. */
struct asked_wait {
    struct asked_name *name; /* what it waits for; NULL: nothing */
    struct asked_wait *next, **back;
    struct certificate *certificate; /* the answer, held; NULL: the name has none */
    struct tls *tls;
    bool answered;
};

/* What runs the script. `ctx` is its own. */
struct asked_source {
    /* Asks for a name, which is in lower case and valid until the answer. asked_answer or
     * asked_fail is called, now or later. */
    void (*ask)(void *ctx, struct asked_name *name, const char *text);
    /* Whether the client of the handshake may have the script asked about a name. A name that has
     * waited for its turn is asked about only if one of its clients still may. */
    bool (*may_ask)(void *ctx, const struct asked_wait *w);
    /* A name that it had the script asked about has no certificate. */
    void (*missed)(void *ctx, const struct asked_wait *w);
    /* asked_next has something to do. It is called soon, but not in this call. */
    void (*ready)(void *ctx);
    /* What is known was said by the script of this number; of another one it is asked again. */
    unsigned (*generation)(void *ctx);
    unsigned (*most)(void *ctx); /* names with a certificate that are kept */
    double (*clock)(void *ctx);  /* monotonic seconds */
    void *ctx;
};

/* Begins, in a worker, with nothing kept. */
void asked_use(const struct asked_source *source);
/* Forgets all. No handshake waits and no call is under way any more. */
void asked_end(void);

/* Asks for the certificate of the name that a client has sent. True: it is answered, and
 * w->certificate is the answer. False: it waits, until asked_next returns it or asked_leave is
 * called. What is no name of a host, and a name that is one too many, is answered with none. The
 * rest of *w is zeroed by the caller, who calls asked_leave in either case. */
bool asked_begin(struct asked_wait *w, const char *name);
/* Drops the answer, or ends the wait. A call of the script goes on. */
void asked_leave(struct asked_wait *w);

/* The script has said: this certificate, which is held from now on (NULL: none), for so many
 * seconds. */
void asked_answer(struct asked_name *name, struct certificate *certificate, double seconds);
/* The script has failed. The certificate that it had given before is used on. */
void asked_fail(struct asked_name *name);
/* Begins calls that had to wait for others, and returns a handshake that goes on. NULL: no more. */
struct asked_wait *asked_next(void);

/* Handshakes that wait now; names that are kept with a certificate, and without. For tests. */
unsigned asked_waiting(void);
unsigned asked_kept(bool with_certificate);

#endif
