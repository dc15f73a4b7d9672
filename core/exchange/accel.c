/* accel - see accel.h. */
#include "exchange/accel.h"

bool accel_wanted(const struct response *res)
{
    return res->accel_redirect.n > 0 || res->sendfile.n > 0;
}

/* Finds the folder of `internal` for the path, in the decision's table first. */
static const struct internal_path *accel_find_internal(const struct internal_path *list,
                                                       unsigned count, struct str path)
{
    const struct internal_path *best = NULL;
    for (unsigned i = 0; i < count; i++)
        if (str_starts(path, list[i].prefix) && (best == NULL || list[i].prefix.n > best->prefix.n))
            best = &list[i];
    return best;
}

static const struct str *accel_within_of(const struct request *req,
                                         const struct backend_settings *backend, unsigned *count)
{
    const struct decision *d = &req->decision;
    *count = d->within_count > 0 ? d->within_count : backend->within_count;
    return d->within_count > 0 ? d->within : backend->within;
}

/* Decodes the path of X-Accel-Redirect; *in is its entry in `internal`, NULL without one. */
static bool accel_parse_target(struct request *req, const struct backend_settings *backend,
                               struct uri *uri, const struct internal_path **in)
{
    const struct decision *d = &req->decision;
    struct str target = req->response.accel_redirect;
    if (target.n == 0 || target.p[0] != '/' ||
        uri_parse(uri, uri_escape_raw(target, &req->arena), &req->arena) != NULL)
        return false;
    *in = accel_find_internal(d->internal, d->internal_count, uri->path);
    if (*in == NULL)
        *in = accel_find_internal(backend->internal, backend->internal_count, uri->path);
    return true;
}

bool accel_names_route(struct request *req, const struct backend_settings *backend)
{
    struct uri uri;
    const struct internal_path *in;
    return accel_parse_target(req, backend, &uri, &in) && in != NULL && in->folder.n == 0;
}

static const char *accel_follow(struct request *req, const struct backend_settings *backend,
                                const struct cgi_paths *paths, struct decision *out)
{
    struct uri uri;
    const struct internal_path *in;
    struct str target = req->response.accel_redirect;
    if (!accel_parse_target(req, backend, &uri, &in))
        return arena_printf(&req->arena, "X-Accel-Redirect: '%.*s' is no path", STR_FMT(target)).p;
    if (in != NULL) {
        out->root = in->folder;
        out->path = str_skip(uri.path, in->prefix.n - 1);
        return NULL;
    }
    if (paths->root.n == 0)
        return arena_printf(&req->arena,
                            "X-Accel-Redirect: no prefix of 'internal' is the beginning of '%.*s', "
                            "and there is no 'root'",
                            STR_FMT(target))
            .p;
    out->root = paths->root;
    out->path = uri.path;
    out->within = accel_within_of(req, backend, &out->within_count);
    return NULL;
}

static bool accel_is_below(struct str path, struct str folder)
{
    return folder.n > 0 && str_starts(path, folder) &&
           (path.n == folder.n || path.p[folder.n] == '/' || folder.n == 1);
}

/* Returns the rest of the path behind the folder, from the slash on. */
static struct str accel_behind(struct str path, struct str folder)
{
    return folder.n == 1 ? path : str_skip(path, folder.n);
}

static bool accel_strip_folder(struct decision *out, struct str path, struct str folder)
{
    if (!accel_is_below(path, folder))
        return false;
    out->root = folder;
    out->path = accel_behind(path, folder);
    return true;
}

/* Finds the file of X-Sendfile, whose path is the application's and is mapped back first. */
static const char *accel_sendfile(struct request *req, const struct backend_settings *backend,
                                  const struct cgi_paths *paths, struct decision *out)
{
    struct str path = req->response.sendfile;
    unsigned count;
    const struct str *within = accel_within_of(req, backend, &count);
    if (path.p[0] == '/' && accel_is_below(path, paths->docroot) && paths->root.n > 0 &&
        !str_eq(paths->root, paths->docroot)) {
        struct str rest = accel_behind(path, paths->docroot);
        path = arena_printf(&req->arena, "%.*s%.*s", STR_FMT(paths->root), STR_FMT(rest));
    }
    bool found = path.p[0] == '/' && accel_strip_folder(out, path, paths->root);
    if (found)
        out->within = within, out->within_count = count;
    for (unsigned i = 0; i < count && !found; i++)
        found = accel_strip_folder(out, path, within[i]);
    if (found)
        return NULL;
    return arena_printf(&req->arena, "X-Sendfile: '%.*s' lies neither in 'root' nor in 'within'",
                        STR_FMT(path))
        .p;
}

/* True for headers that the file sets, not the application. */
static bool accel_is_files_own(const struct header *header)
{
    switch (header_id(header->name)) {
    case HEADER_CONTENT_LENGTH:
    case HEADER_ETAG:
    case HEADER_LAST_MODIFIED:
    case HEADER_LOCATION:
    case HEADER_DATE:
        return true;
    default:
        return str_ieq(header->name, STR("Content-Range")) ||
               str_ieq(header->name, STR("Accept-Ranges"));
    }
}

/* Keeps the application's headers about the file: its type, its name, cookies. */
static void accel_keep_headers(struct request *req, struct headers *out)
{
    const struct headers *said = &req->response.headers;
    for (unsigned i = 0; i < said->count; i++)
        if (!accel_is_files_own(&said->list[i]))
            headers_add(&req->arena, out, said->list[i].name, said->list[i].value);
}

const char *accel_decision(struct request *req, const struct backend_settings *backend,
                           const struct cgi_paths *paths, struct decision *out)
{
    *out = (struct decision){.kind = DECISION_FILE,
                             .backend = req->decision.backend,
                             .tenant = req->decision.tenant,
                             .handed_over = true,
                             .body_limit = UINT64_MAX};
    accel_keep_headers(req, &out->headers);
    return req->response.accel_redirect.n > 0 ? accel_follow(req, backend, paths, out)
                                              : accel_sendfile(req, backend, paths, out);
}
