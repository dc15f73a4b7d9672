/* cgi - see cgi.h. */
#include "fastcgi/cgi.h"

#include <stdio.h>

#ifndef MG_VERSION
#    error "MG_VERSION comes from the Makefile"
#endif

static struct str cgi_value_of(const struct params *params, struct str name)
{
    const struct param *param = params_find(params, name);
    return param != NULL ? param->value : STR("");
}

/* --- params --- */

/* True when path is root or lies below it; *rest is the part after root. */
static bool cgi_lies_in(struct str path, struct str root, struct str *rest)
{
    if (root.n == 0 || !str_starts(path, root))
        return false;
    *rest = str_skip(path, root.n);
    return rest->n == 0 || rest->p[0] == '/';
}

/* Joins a folder, which may be "/", and a path below it. */
static struct str cgi_join(struct arena *a, struct str x, struct str y)
{
    if (x.n == 1 && y.n > 0 && y.p[0] == '/')
        x.n = 0;
    char *p = arena_bytes(a, x.n + y.n + 1);
    if (x.n > 0)
        memcpy(p, x.p, x.n);
    if (y.n > 0)
        memcpy(p + x.n, y.p, y.n);
    p[x.n + y.n] = '\0';
    return (struct str){p, x.n + y.n};
}

void cgi_paths(struct cgi_paths *paths, struct request *req, const struct backend_settings *backend)
{
    const struct decision *d = &req->decision;
    struct str rest;
    paths->root = d->root.n > 0 ? d->root : backend->root;
    if (d->docroot.n > 0)
        paths->docroot = d->docroot;
    else if (d->root.n > 0 && backend->docroot.n > 0 && cgi_lies_in(d->root, backend->root, &rest))
        paths->docroot = cgi_join(&req->arena, backend->docroot, rest);
    else if (d->root.n > 0)
        paths->docroot = d->root;
    else
        paths->docroot = backend->docroot.n > 0 ? backend->docroot : backend->root;
    if (paths->docroot.n == 0 && req->arrived.count > 0)
        paths->docroot = cgi_value_of(&req->arrived, STR("DOCUMENT_ROOT"));
}

static struct str cgi_number(struct arena *a, uint64_t value)
{
    char *digits = arena_bytes(a, STR_U64_SIZE);
    return (struct str){digits, str_from_u64(value, digits)};
}

static struct str cgi_peer_ip(struct arena *a, const struct peer *peer)
{
    char *text = arena_bytes(a, PEER_TEXT_SIZE);
    return (struct str){text, peer_text(peer, text)};
}

/* Adds SCRIPT_NAME, SCRIPT_FILENAME, PATH_INFO, PATH_TRANSLATED, DOCUMENT_ROOT. */
static void cgi_add_script(struct params *out, struct request *req,
                           const struct backend_settings *backend, const struct cgi_paths *paths)
{
    struct arena *a = &req->arena;
    const struct decision *d = &req->decision;
    struct str name = d->strip.n > 0 ? cgi_join(a, d->strip, d->script) : d->script;
    params_add(a, out, STR("SCRIPT_NAME"), name);
    if (d->script_filename.n > 0)
        params_add(a, out, STR("SCRIPT_FILENAME"), d->script_filename);
    else if (paths->docroot.n + d->script.n > 0)
        params_add(a, out, STR("SCRIPT_FILENAME"), cgi_join(a, paths->docroot, d->script));
    if (paths->docroot.n > 0)
        params_add(a, out, STR("DOCUMENT_ROOT"), paths->docroot);
    if (d->path_info.n == 0)
        return;
    params_add(a, out, STR("PATH_INFO"), d->path_info);
    /* PHP may run PATH_TRANSLATED instead of the script, so only others get it. */
    if (backend->profile == PROFILE_GENERIC && paths->docroot.n > 0)
        params_add(a, out, STR("PATH_TRANSLATED"), cgi_join(a, paths->docroot, d->path_info));
}

/* Adds the params of both ends of the connection: RFC 3875 §4.1.8, .9, .14 to .16. The ends of a
 * unix socket have no addresses, so their params are left out: with REMOTE_ADDR 127.0.0.1 an
 * application would take a client from elsewhere for one on this machine. */
static void cgi_add_peers(struct params *out, struct request *req)
{
    struct arena *a = &req->arena;
    struct str name = req->host, local = STR("localhost");
    if (peer_has_ip(&req->client))
        params_add(a, out, STR("REMOTE_ADDR"), cgi_peer_ip(a, &req->client));
    if (req->client.port > 0)
        params_add(a, out, STR("REMOTE_PORT"), cgi_number(a, req->client.port));
    if (peer_has_ip(&req->local)) {
        local = cgi_peer_ip(a, &req->local);
        params_add(a, out, STR("SERVER_ADDR"), local);
    }
    params_add(a, out, STR("SERVER_PORT"), cgi_number(a, request_server_port(req)));
    params_add(a, out, STR("SERVER_NAME"), name.n > 0 ? name : local);
}

static void cgi_add_body(struct params *out, struct request *req, int64_t body_size)
{
    struct header *type = headers_find(&req->headers, HEADER_CONTENT_TYPE);
    if (type != NULL && !type->hop)
        params_add(&req->arena, out, STR("CONTENT_TYPE"), type->value);
    if (body_size >= 0)
        params_add(&req->arena, out, STR("CONTENT_LENGTH"),
                   cgi_number(&req->arena, (uint64_t)body_size));
    if (req->decision.request_file && req->body.path != NULL)
        params_add(&req->arena, out, STR("REQUEST_BODY_FILE"), str_of(req->body.path));
}

/* "X-Foo" -> "HTTP_X_FOO" (RFC 3875 §4.1.18). */
static struct str cgi_param_name(struct arena *a, struct str name)
{
    char *p = arena_bytes(a, name.n + 5);
    memcpy(p, "HTTP_", 5);
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        if (c >= 'a' && c <= 'z')
            c = (char)(c - 0x20);
        else if (c == '-' || c == '.')
            c = '_';
        p[5 + i] = c;
    }
    return (struct str){p, name.n + 5};
}

static void cgi_add_header(struct params *out, struct request *req, const struct header *header)
{
    struct arena *a = &req->arena;
    struct str value = header->value;
    if (header->repeated)
        value = headers_joined(a, &req->headers, header->name);
    params_add(a, out, cgi_param_name(a, header->name), value);
}

static void cgi_add_headers(struct params *out, struct request *req)
{
    unsigned odd = 0;
    for (unsigned i = 0; i < req->headers.count; i++) {
        const struct header *header = &req->headers.list[i];
        if (header->hop || header->dropped || header->again || header->id == HEADER_CONTENT_TYPE ||
            header->id == HEADER_CONTENT_LENGTH || header->id == HEADER_EXPECT)
            continue;
        if (header->odd) /* an odd name, which limits.header_names allows */
            odd++;
        else
            cgi_add_header(out, req, header);
    }
    /* A header with '_' in its name never replaces the param of one with '-'. */
    for (unsigned i = 0; i < req->headers.count && odd > 0; i++) {
        const struct header *header = &req->headers.list[i];
        if (header->hop || header->dropped || header->again || !header->odd)
            continue;
        if (params_find(out, cgi_param_name(&req->arena, header->name)) == NULL)
            cgi_add_header(out, req, header);
    }
}

/* --- params of a web server in front --- */

static bool cgi_is_one_of(struct str name, const char *const *list, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (str_eq(name, str_of(list[i])))
            return true;
    return false;
}

#define COUNT(list) (sizeof(list) / sizeof *(list))

/* True for the params that name the script. */
static bool cgi_is_of_script(struct str name)
{
    static const char *const names[] = {"SCRIPT_NAME", "SCRIPT_FILENAME", "PATH_INFO",
                                        "PATH_TRANSLATED", "DOCUMENT_ROOT"};
    return cgi_is_one_of(name, names, COUNT(names));
}

/* True for the params of the first path, which an internal redirect to another path changes. */
static bool cgi_is_of_first_path(struct str name)
{
    static const char *const names[] = {"REQUEST_METHOD", "REQUEST_URI",     "QUERY_STRING",
                                        "DOCUMENT_URI",   "CONTENT_TYPE",    "HTTP_CONTENT_TYPE",
                                        "REDIRECT_URL",   "ORIG_SCRIPT_NAME"};
    return cgi_is_one_of(name, names, COUNT(names));
}

/* True where only the web server's params name the script: the decision and the backend don't. */
static bool cgi_leaves_script(const struct request *req, const struct backend_settings *backend)
{
    const struct decision *d = &req->decision;
    size_t said = d->root.n + d->docroot.n + d->strip.n + d->script_filename.n + backend->root.n +
                  backend->docroot.n;
    return said == 0 && !d->script_named && !req->internal &&
           cgi_value_of(&req->arrived, STR("SCRIPT_FILENAME")).n > 0;
}

/* Whether the application gets a param of the web server unchanged. */
static bool cgi_goes_on(const struct request *req, struct str name, bool script)
{
    if (cgi_is_of_script(name))
        return script;
    if (str_eq(name, STR("HTTP_PROXY")) || str_eq(name, STR("CONTENT_LENGTH")) ||
        str_eq(name, STR("HTTP_CONTENT_LENGTH")))
        return false; /* HTTP_PROXY is httpoxy; CONTENT_LENGTH is made from STDIN's length */
    return !req->internal || !cgi_is_of_first_path(name);
}

/* Replaces default params by those that the web server has sent. The params of the script are kept,
 * where the decision names one. */
static void cgi_add_arrived(struct params *out, struct request *req,
                            const struct backend_settings *backend)
{
    bool script = cgi_leaves_script(req, backend);
    for (unsigned i = 0; script && i < out->count;) {
        if (cgi_is_of_script(out->list[i].name))
            params_remove(out, out->list[i].name);
        else
            i++;
    }
    for (unsigned i = 0; i < req->arrived.count; i++) {
        struct param param = req->arrived.list[i];
        if (cgi_goes_on(req, param.name, script))
            params_set(&req->arena, out, param.name, param.value);
    }
}

static void cgi_add_ini(struct params *out, struct request *req, struct str ini)
{
    if (req->arrived.count > 0) /* params_set, since the web server may have sent it */
        params_set(&req->arena, out, STR("PHP_VALUE"), ini);
    else
        params_add(&req->arena, out, STR("PHP_VALUE"), ini);
}

/* Removes the params that an authorizer does not get (FastCGI §6.3), and adds those about a
 * filter's data (§6.4). */
static void cgi_add_role(struct params *out, struct request *req)
{
    static const char *const hidden[] = {"SCRIPT_NAME", "PATH_INFO", "PATH_TRANSLATED",
                                         "CONTENT_LENGTH"};
    struct arena *a = &req->arena;
    for (size_t i = 0; req->role == FCGI_AUTHORIZER && i < COUNT(hidden); i++)
        params_remove(out, str_of(hidden[i]));
    if (req->role != FCGI_FILTER || req->data == NULL)
        return;
    params_set(a, out, STR("FCGI_DATA_LENGTH"), cgi_number(a, req->data->spool.size));
    if (req->data->modified >= 0)
        params_set(a, out, STR("FCGI_DATA_LAST_MOD"), cgi_number(a, (uint64_t)req->data->modified));
}

/* The TLS of the client's connection, by the names of Apache's mod_ssl. */
static void cgi_add_tls(struct params *out, struct arena *a, const struct request_tls *tls)
{
    params_add(a, out, STR("SSL_PROTOCOL"), tls->version);
    params_add(a, out, STR("SSL_CIPHER"), tls->cipher);
    if (tls->name.n > 0)
        params_add(a, out, STR("SSL_TLS_SNI"), tls->name);
    params_add(a, out, STR("SSL_CLIENT_VERIFY"), tls->verified ? STR("SUCCESS") : STR("NONE"));
    if (!tls->verified)
        return;
    params_add(a, out, STR("SSL_CLIENT_S_DN"), tls->subject);
    params_add(a, out, STR("SSL_CLIENT_M_SERIAL"), tls->serial);
    params_add(a, out, STR("SSL_CLIENT_CERT"), tls->certificate);
}

void cgi_params(struct params *out, struct request *req, const struct backend_settings *backend,
                const struct cgi_paths *paths, int64_t body_size)
{
    struct arena *a = &req->arena;
    const struct decision *d = &req->decision;
    bool php = backend->profile == PROFILE_PHP;
    out->room = 48; /* enough for most requests, so that the list is not grown */
    out->list = arena_alloc(a, out->room * sizeof *out->list);
    out->count = 0;

    cgi_add_script(out, req, backend, paths);
    params_add(a, out, STR("REQUEST_METHOD"), req->method);
    params_add(a, out, STR("QUERY_STRING"), req->uri.query.p != NULL ? req->uri.query : STR(""));
    params_add(a, out, STR("REQUEST_URI"), req->uri.origin);
    params_add(a, out, STR("DOCUMENT_URI"), req->uri.path);
    params_add(a, out, STR("REQUEST_SCHEME"), req->https ? STR("https") : STR("http"));
    params_add(a, out, STR("SERVER_PROTOCOL"), http_version_text(req->version));
    params_add(a, out, STR("GATEWAY_INTERFACE"), STR("CGI/1.1"));
    /* WordPress and other applications offer clean URLs only for server names that they know. */
    params_add(a, out, STR("SERVER_SOFTWARE"),
               php ? STR("moongate/" MG_VERSION " (like nginx)") : STR("moongate/" MG_VERSION));
    if (php)
        params_add(a, out, STR("REDIRECT_STATUS"), STR("200"));
    if (req->https)
        params_add(a, out, STR("HTTPS"), STR("on"));
    if (req->tls != NULL)
        cgi_add_tls(out, a, req->tls);
    cgi_add_peers(out, req);
    cgi_add_body(out, req, body_size);
    cgi_add_headers(out, req);
    if (req->arrived.count > 0)
        cgi_add_arrived(out, req, backend);
    cgi_add_role(out, req);
    /* Each request has the whole set, since a child of PHP-FPM keeps the values of earlier
     * requests. */
    if (d->ini.n > 0 || backend->ini.n > 0)
        cgi_add_ini(out, req, d->ini.n > 0 ? d->ini : backend->ini);
    for (unsigned i = 0; i < d->params.count; i++) {
        if (d->params.list[i].value.p != NULL)
            params_set(a, out, d->params.list[i].name, d->params.list[i].value);
        else
            params_remove(out, d->params.list[i].name);
    }
}

/* --- pages of PHP-FPM's own --- */

/* PHP-FPM cuts SCRIPT_FILENAME at its slashes, from the end, until it finds a file, and takes as
 * many bytes off the end of PATH_INFO: what is left of that is then the script's name. */
static bool cgi_is_cut_to(struct str path_info, struct str filename, struct str page)
{
    if (!str_starts(path_info, page))
        return false;
    size_t more = path_info.n - page.n; /* 0: cgi.fix_pathinfo = 0 compares PATH_INFO itself */
    return more == 0 || (more <= filename.n && filename.p[filename.n - more] == '/');
}

/* What fpm_status_handle_request compares with its pages (sapi/fpm of php-src) is made by
 * init_request_info of SCRIPT_NAME, REDIRECT_URL or PATH_INFO. */
const struct str *cgi_own_page(const struct params *params, const struct request *req,
                               const struct str *pages, unsigned count)
{
    if (count == 0)
        return NULL;
    struct str script = cgi_value_of(params, STR("SCRIPT_NAME"));
    struct str redirect = cgi_value_of(params, STR("REDIRECT_URL"));
    struct str info = cgi_value_of(params, STR("PATH_INFO"));
    struct str filename = cgi_value_of(params, STR("SCRIPT_FILENAME"));
    for (const struct str *page = pages; page < pages + count; page++) {
        bool named = req->decision.script_named && !str_starts(req->uri.path, *page);
        if ((str_eq(script, *page) && !named) || str_eq(redirect, *page) ||
            cgi_is_cut_to(info, filename, *page))
            return page;
    }
    return NULL;
}

/* --- the head of a reply --- */

#define QUOTED_MAX      100
#define CGI_EARLY_HINTS 103

/* The error with the beginning of the wrong line, by which the place in the application can be
 * found. */
static const char *cgi_complain(struct arena *a, const char *what, struct str line)
{
    char text[4 * QUOTED_MAX + 1];
    size_t used = 0;
    for (size_t i = 0; i < line.n && i < QUOTED_MAX; i++) {
        unsigned char c = (unsigned char)line.p[i];
        if (c >= ' ' && c != 0x7f)
            text[used++] = (char)c;
        else
            used += (size_t)snprintf(text + used, 5, "\\x%02x", c);
    }
    text[used] = '\0';
    return arena_printf(a, "%s: '%s'%s", what, text, line.n > QUOTED_MAX ? " and more" : "").p;
}

/* Parses three digits and an optional text: "404 Not Found", "404: Not Found". */
static const char *cgi_parse_status(struct response *res, struct str value)
{
    uint64_t status;
    struct str number = {value.p, value.n < 3 ? value.n : 3}, text = str_skip(value, number.n);
    bool more = text.n > 0 && text.p[0] != ' ' && text.p[0] != '\t' && text.p[0] != ':';
    if (more || number.n != 3 || !str_to_u64(number, &status) ||
        (status < 200 && status != CGI_EARLY_HINTS) || status > 599)
        return "a status that is not a number from 200 to 599";
    res->status = (int)status;
    res->phrase = str_trim(text.n > 0 && text.p[0] == ':' ? str_skip(text, 1) : text);
    return str_is_field_value(res->phrase) ? NULL : "a control byte behind the status";
}

static const char *cgi_parse_length(struct response *res, struct str value)
{
    uint64_t length;
    if (!str_to_u64(value, &length) || length > INT64_MAX)
        return "a Content-Length that is not a number";
    if (res->content_length >= 0 && res->content_length != (int64_t)length)
        return "two different Content-Length headers";
    res->content_length = (int64_t)length;
    return NULL;
}

/* Reads X-Accel-* and X-Sendfile, orders of the application to the server in front of it. True: the
 * header was one of them. */
static bool cgi_read_order(struct request *req, struct str name, struct str value)
{
    struct response *res = &req->response;
    if (str_ieq(name, STR("X-Sendfile"))) {
        res->sendfile = value;
        return true;
    }
    if (str_ieq(name, STR("X-Cache-Purge"))) { /* relay follows it, and removes it */
        res->purges = true;
        return false;
    }
    if (!str_ieq((struct str){name.p, 8}, STR("X-Accel-")))
        return false;
    name = str_skip(name, 8);
    if (str_ieq(name, STR("Redirect")))
        res->accel_redirect = value;
    else if (str_ieq(name, STR("Buffering")))
        res->unbuffered =
            str_ieq(value, STR("no")) || (res->unbuffered && !str_ieq(value, STR("yes")));
    return true;
}

/* The bit of a header that a reply may have only once, since clients disagree on which of two
 * counts; 0 for other headers. */
static uint64_t cgi_bit_of_single(enum header_id id, struct str name)
{
    static const char *const names[] = {"Age", "Content-Disposition", "Content-Range", "Expires",
                                        "Retry-After"};
    switch (id) {
    case HEADER_CONTENT_TYPE:
    case HEADER_DATE:
    case HEADER_ETAG:
    case HEADER_LAST_MODIFIED:
    case HEADER_LOCATION:
    case HEADER_SERVER:
    case HEADER_STATUS:
        return UINT64_C(1) << id;
    case HEADER_OTHER:
        break;
    default:
        return 0;
    }
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
        if (str_ieq(name, str_of(names[i])))
            return UINT64_C(1) << (63 - i);
    return 0;
}

_Static_assert(HEADER_USER_AGENT < 59, "the bits above are for names without an id");

/* True for a further header of a name that may stand once. The first one counts, as in nginx. */
static bool cgi_comes_again(struct cgi_head *head, enum header_id id, struct str name)
{
    uint64_t bit = cgi_bit_of_single(id, name);
    if ((head->singles & bit) == 0) {
        head->singles |= bit;
        return false;
    }
    head->again = name;
    return true;
}

static const char *cgi_parse_line(struct cgi_head *head, struct request *req, struct str line)
{
    struct response *res = &req->response;
    struct str value = line, name = str_cut(&value, ':');
    if (value.p == NULL)
        return "a header line without a colon";
    value = str_trim(value);
    enum header_id id = header_id(name);
    if ((id == HEADER_OTHER || id == HEADER_PROXY) && !str_is_token(name))
        return "a header name with a character that is not allowed";
    if (!str_is_field_value(value))
        return "a control byte in a header";
    if (cgi_comes_again(head, id, name))
        return NULL;
    if (id == HEADER_STATUS)
        return cgi_parse_status(res, value);
    if (header_is_hop(id))
        return NULL; /* hop-by-hop: the connection to the client is the front's */
    if (name.n > 8 && char_lower(name.p[0]) == 'x' && cgi_read_order(req, name, value))
        return NULL; /* an order to the server, which the client does not get */
    if (id == HEADER_CONTENT_LENGTH)
        return cgi_parse_length(res, value);
    if (str_ieq(name, STR("Variable-REMOTE_USER"))) { /* an authorizer's variable (FastCGI §6.3) */
        req->user = value;
        if (req->role != FCGI_AUTHORIZER)
            return NULL;
    }
    headers_add_known(&req->arena, &res->headers, id, name, value);
    return NULL;
}

static const char *cgi_parse_block(struct cgi_head *head, struct request *req)
{
    struct str text = head->text;
    struct response *res = &req->response;
    bool any = false;
    res->status = 0;
    while (text.p != NULL) {
        struct str line = str_cut(&text, '\n');
        const char *err = NULL;
        if (line.n > 0 && line.p[line.n - 1] == '\r')
            line.n--;
        if (line.n == 0)
            break;
        const struct str whole = line;
        /* PHP with cgi.rfc2616_headers=1 begins with a status line of HTTP. */
        if (!any && str_starts(line, STR("HTTP/1."))) {
            str_cut(&line, ' ');
            err = line.p != NULL ? cgi_parse_status(res, line) : "a status line without a status";
            head->singles |= cgi_bit_of_single(HEADER_STATUS, STR_NONE);
        } else {
            err = cgi_parse_line(head, req, line);
        }
        if (err != NULL)
            return cgi_complain(&req->arena, err, whole);
        any = true;
    }
    if (!any)
        return "no header line before the body";
    if (res->status != 0)
        return NULL;
    const struct header *location = headers_find(&res->headers, HEADER_LOCATION);
    res->status = location != NULL ? 302 : 200;
    /* A Location that is a path of this server redirects the request internally (RFC 3875 §6.2.2).
     * One with a fragment goes to the client, since only a browser can use that. */
    if (location != NULL && location->value.n > 0 && location->value.p[0] == '/' &&
        !str_starts(location->value, STR("//")) &&
        memchr(location->value.p, '#', location->value.n) == NULL)
        res->redirect = location->value;
    return NULL;
}

/* The error about a head that is too large. It names the largest header so far, which is the likely
 * cause. */
static const char *cgi_too_large(struct arena *a, const struct cgi_head *head, size_t limit)
{
    struct str rest = head->text, largest = STR("");
    while (rest.p != NULL) {
        struct str line = str_cut(&rest, '\n');
        if (line.n > largest.n)
            largest = line;
    }
    size_t size = largest.n;
    struct str name = str_cut(&largest, ':');
    if (largest.p == NULL)
        name = STR("?");
    return arena_printf(a,
                        "a head larger than limits.response_header (%zu bytes); the largest header "
                        "so far is '%.*s' with %zu bytes",
                        limit, (int)(name.n < 100 ? name.n : 100), name.p, size)
        .p;
}

enum cgi_result cgi_head_feed(struct cgi_head *head, struct request *req, struct str *in,
                              size_t limit, const char **err)
{
    const char *at = in->p, *end = in->p + in->n;
    bool complete = false;
    while (at < end && !complete) {
        const char *lf = memchr(at, '\n', (size_t)(end - at));
        size_t n = (size_t)((lf != NULL ? lf : end) - at);
        if (head->line_size == 0 && n > 0)
            head->line_first = at[0];
        head->line_size += n;
        at += n;
        if (lf == NULL)
            break;
        at++;
        complete = head->line_size == 0 || (head->line_size == 1 && head->line_first == '\r');
        head->line_size = 0;
    }
    size_t taken = (size_t)(at - in->p);
    if (head->before + head->text.n + taken > limit) {
        *err = cgi_too_large(&req->arena, head, limit);
        return CGI_TOO_LARGE;
    }
    head->text = arena_append(&req->arena, head->text, (struct str){in->p, taken});
    *in = str_skip(*in, taken);
    if (!complete)
        return CGI_MORE;
    *err = cgi_parse_block(head, req);
    if (*err != NULL)
        return CGI_ERROR;
    return req->response.status == CGI_EARLY_HINTS ? CGI_HINTS : CGI_DONE;
}

void cgi_head_again(struct cgi_head *head, struct request *req)
{
    bool unbuffered = req->response.unbuffered;
    *head = (struct cgi_head){.before = head->before + head->text.n};
    req->response = (struct response){.content_length = -1, .unbuffered = unbuffered};
}
