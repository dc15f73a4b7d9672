/*
 * certificate - on_certificate: the certificate that a script has for the name that a client of TLS
 * asks for.
 */
#ifndef MG_SCRIPT_CERTIFICATE_H
#define MG_SCRIPT_CERTIFICATE_H

#include "script/call.h"

struct lua_State;

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

/* Tells facts about a pair that the hook has returned for a name (tls/facts.h, which is above this
 * room). */
typedef void script_certificate_look(struct str cert, struct str key, const char *name,
                                     void (*tell)(void *ctx, const char *key, const char *text),
                                     void *ctx);
/* Sets who does that, once in a process. */
void script_certificate_look_by(script_certificate_look *look);
/* core.certificate_facts(cert, key, name) -> a table of facts about a pair, for explain and specs
 */
int script_certificate_facts(struct lua_State *L);

#endif
