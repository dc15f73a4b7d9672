/*
 * certificate - on_certificate: the certificate that a script has for the name that a client of TLS
 * asks for.
 */
#ifndef MG_SCRIPT_CERTIFICATE_H
#define MG_SCRIPT_CERTIFICATE_H

#include "script/call.h"

/* A call of the hook, whose memory is the caller's until it is over. */
struct script_certificate {
    /* Called when a hook that has waited is over: as the result of script_certificate. */
    void (*done)(void *ctx, enum script_result result);
    void *ctx;
    struct script *script;
    struct script_task *task;
    /* What the hook has returned, each a path or PEM, in memory of the call's own; NULL: it has no
     * certificate for the name. */
    char *cert, *key;
    size_t cert_size, key_size;
    double seconds; /* for which that is good */
};

/* Calls on_certificate with a name; a route without the hook has no certificates. The caller sets
 * `done` and `ctx`, and zeroes the rest. WAITING: `done` is called later, at the latest when the
 * generation ends. A failure has been logged. */
enum script_result script_certificate(struct script *s, const char *name,
                                      struct script_certificate *call);
/* Logs why what the hook has returned can't be used. */
void script_certificate_unusable(const struct script *s, const char *why);
/* Frees what the hook has returned. */
void script_certificate_fini(struct script_certificate *call);

#endif
