/*
 * facts - what there is to say of the certificate that a client gets for a name: for `moongate
 * explain` and for specs of a route. Nothing here serves.
 *
 * A fact is a key and a text, passed to a function of the caller's. The keys:
 *
 *     from     of a listener: "name" (one of its certificates has the name), "default" (none has,
 *              so it is the first one), "none" (it has no certificate for the name)
 *     source   the certificate's file, or "cert" for a text
 *     names    its names, with blanks between them
 *     expires  when it ends
 *     problem  why clients would not take it; `certain` follows with "yes" where each would not
 *     unusable why it is no pair at all
 */
#ifndef MG_TLS_FACTS_H
#define MG_TLS_FACTS_H

#include "tls/store.h"

/* Gets a fact; the texts are valid during the call. */
typedef void facts_tell(void *ctx, const char *key, const char *value);

/* Tells of the certificate that a client of the listener with that number gets for a name, before a
 * script is asked. "": the client sends no name. */
void facts_of_listener(const struct tls_store *store, unsigned number, const char *name,
                       facts_tell *tell, void *ctx);
/* Tells of a pair that a script gives for a name (certificate_given). */
void facts_of_given(struct str cert, struct str key, const char *name, facts_tell *tell, void *ctx);

#endif
