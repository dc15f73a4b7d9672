/*
 * localhost - a certificate for the names of this machine's own loopback, for developers.
 *
 * It is signed by its own key, and is no authority (CA:FALSE): who trusts it trusts one server, and
 * its key can sign no other site. Called by process/localhost; who keeps it decides about its end.
 */
#ifndef MG_TLS_LOCALHOST_H
#define MG_TLS_LOCALHOST_H

enum {
    LOCALHOST_DAYS = 365, /* for which it is valid; browsers take 398 at most */
};

/* Makes a key (EC, P-256) and a certificate for localhost, 127.0.0.1 and ::1, both as PEM. NULL:
 * the caller frees *cert and *key; else the error, valid until the next one. */
const char *localhost_make(char **cert, char **key);

#endif
