/*
 * tickets - the keys of TLS session tickets (RFC 5077, RFC 8446 section 4.6.1), the same for all
 * workers and over all reloads, so that a client resumes its session with whichever worker it
 * meets.
 *
 * The master makes a new key every TICKETS_PERIOD; the two before it still open tickets. So a
 * ticket is good for at least TICKETS_LIFE, and a key that is stolen opens no older sessions. The
 * keys are in no file.
 */
#ifndef MG_SHM_TICKETS_H
#define MG_SHM_TICKETS_H

#include <stdbool.h>
#include <stdint.h>

enum {
    TICKETS_KEYS = 3,
    TICKETS_PERIOD = 8 * 3600, /* seconds */
    TICKETS_LIFE = 2 * TICKETS_PERIOD,
    TICKETS_NAME = 16,
};

/* A key: its name, which a ticket begins with, and its halves for AES-256-CBC and HMAC-SHA256. */
struct ticket_key {
    uint8_t name[TICKETS_NAME], aes[32], mac[32];
};

struct tickets {
    uint32_t version;                     /* odd while the master changes the keys */
    struct ticket_key keys[TICKETS_KEYS]; /* the newest first */
};

/* Makes the memory with a first key, in the master. NULL and errno: there is none. */
struct tickets *tickets_new(void);
void tickets_free(struct tickets *t);
/* Puts a new key before the others, and drops the oldest one. Only the master calls it. */
void tickets_rotate(struct tickets *t);
/* A copy of the keys, as they are at one moment. False: the master has been changing them for all
 * of many looks, or has died while it did; a key may be torn, which opens nothing and costs a full
 * handshake. */
bool tickets_read(const struct tickets *t, struct ticket_key out[TICKETS_KEYS]);

#endif
