/* params - see params.h. */
#include "exchange/params.h"

#include "base/lookup.h"

/* A symlinked root is sent resolved, so that an atomic deploy and PHP's opcache agree. */
static void params_resolve_root(struct cgi_paths *paths, struct request *req,
                                const struct backend_settings *backend)
{
    bool local = paths->root.n > 0 && str_eq(paths->root, paths->docroot);
    if (local && backend->resolve_root)
        paths->docroot = arena_copy(&req->arena, lookup_real_root(paths->root));
}

void params_make(struct params *out, struct cgi_paths *paths, struct request *req,
                 const struct backend_settings *backend, int64_t body_size)
{
    cgi_paths(paths, req, backend);
    params_resolve_root(paths, req, backend);
    cgi_params(out, req, backend, paths, body_size);
}

bool params_for(struct params *out, struct request *req, const struct backend_settings *backend)
{
    struct cgi_paths paths;
    const struct str ini = req->decision.ini;
    bool has_body = req->body_length > 0 || req->body_length == BODY_UNKNOWN;
    if (has_body || req->decision.kind != DECISION_FASTCGI || req->role != FCGI_RESPONDER)
        return false;
    req->decision.ini = STR(""); /* made for the backend that the decision names */
    params_make(out, &paths, req, backend, BODY_NONE);
    req->decision.ini = ini;
    for (unsigned i = 0; i < out->count;) {
        if (param_is_setting(out->list[i].name))
            params_remove(out, out->list[i].name);
        else
            i++;
    }
    return true;
}
