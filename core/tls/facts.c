/* facts - see facts.h. */
#include "tls/facts.h"

#include "tls/given.h"

#include <stdio.h>

#define NAMES_SHOWN 1000 /* bytes of the names of a certificate */

static void facts_tell_names(const struct certificate *c, facts_tell *tell, void *ctx)
{
    char text[NAMES_SHOWN + 300];
    size_t used = 0;
    text[0] = '\0';
    for (unsigned i = 0; i < c->name_count && used < NAMES_SHOWN; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", i > 0 ? " " : "",
                                 c->names[i]);
    tell(ctx, "names", text);
}

/* `given`: a script has it for this very name, so the name must be one of its names. */
static void facts_of(const struct certificate *c, const char *name, bool given, facts_tell *tell,
                     void *ctx)
{
    char expires[CERTIFICATE_TIME];
    bool certain;
    tell(ctx, "source", c->source);
    facts_tell_names(c, tell, ctx);
    tell(ctx, "expires", certificate_expires(c, expires));
    const char *problem = certificate_problem(c, &certain);
    if (given && !certificate_is_for(c, name)) {
        problem = "the certificate does not have this name";
        certain = true;
    }
    if (problem == NULL)
        return;
    tell(ctx, "problem", problem);
    if (certain)
        tell(ctx, "certain", "yes");
}

void facts_of_listener(const struct tls_store *store, unsigned number, const char *name,
                       facts_tell *tell, void *ctx)
{
    const struct tls_server *s = tls_store_server(store, number);
    unsigned count = 0;
    const struct tls_name *found =
        s != NULL && name[0] != '\0' ? tls_server_find(s, name, &count) : NULL;
    const struct certificate *c = found != NULL                           ? found->certificate
                                  : s != NULL && s->certificate_count > 0 ? s->certificates[0]
                                                                          : NULL;
    tell(ctx, "from", found != NULL ? "name" : c != NULL ? "default" : "none");
    if (c != NULL)
        facts_of(c, name, false, tell, ctx);
}

void facts_of_given(struct str cert, struct str key, const char *name, facts_tell *tell, void *ctx)
{
    const char *err;
    struct certificate *c = certificate_given(cert, key, &err);
    if (c == NULL) {
        tell(ctx, "unusable", err);
        return;
    }
    facts_of(c, name, true, tell, ctx);
    certificate_drop(c);
}
