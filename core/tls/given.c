/* given - see given.h. */
#include "tls/given.h"

#include "tls/server.h"

#include <stdio.h>

/* The bytes of what a script has given: PEM as it is, or of the file that it names. NULL, or the
 * reason. */
static const char *given_read(struct str given, char room[PEM_BYTES], struct str *out)
{
    static char why[512];
    *out = given;
    if (given.n == 0 || given.p[0] != '/')
        return NULL;
    const char *bad = pem_read(given.p, room, &out->n);
    out->p = room;
    if (bad != NULL)
        snprintf(why, sizeof why, "%.300s can't be used: %s", given.p, bad);
    return bad != NULL ? why : NULL;
}

/* What a message calls it: a path, or the word for the key of the answer. */
static const char *given_source(struct str given, const char *word)
{
    return given.n > 0 && given.p[0] == '/' ? given.p : word;
}

struct certificate *certificate_given(struct str cert, struct str key, const char **err)
{
    static char room[2][PEM_BYTES];
    struct str cert_pem, key_pem = STR_NONE;
    *err = given_read(cert, room[0], &cert_pem);
    if (*err == NULL)
        *err = given_read(key, room[1], &key_pem);
    struct certificate *c = NULL;
    if (*err == NULL)
        c = certificate_new(cert_pem, key_pem, given_source(cert, "cert"), given_source(key, "key"),
                            err);
    if (c != NULL && (*err = tls_server_refusal(c)) != NULL) {
        certificate_drop(c);
        c = NULL;
    }
    if (key_pem.p == room[1])
        explicit_bzero(room[1], key_pem.n);
    return c;
}
