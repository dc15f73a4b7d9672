/*
 * authorize - see parts.h. This file asks an authorizer before a decision is carried out (FastCGI
 * §6.3). The same attempts as for an application ask it, with a decision of its own.
 *
 *     reply                             what becomes of the request
 *     -------------------------------   -------------------------------------------------------
 *     200, END_REQUEST, app status 0    the decision is carried out, Variable-* are params of it
 *     another status                    the client gets that reply
 *     anything else                     it has failed, as with an application: 502, 503, 504
 */
#include "exchange/parts.h"

#include "exchange/grants.h"
#include "exchange/report.h"
#include "shm/metrics.h"

#include <stdio.h>

/* --- grants --- */

static void authorize_put_part(struct arena *a, struct str *to, struct str part)
{
    char size[24];
    int n = snprintf(size, sizeof size, "%zu:", part.n);
    *to = arena_append(a, *to, (struct str){size, (size_t)n});
    if (part.n > 0)
        *to = arena_append(a, *to, part);
}

/* The key of a grant: the script's key and all that identifies the authorizer and its question,
 * since a grant of one authorizer does not hold for another. */
static struct str authorize_grant_key(struct exchange *x, const struct decision *guarded)
{
    struct arena *a = &x->req.arena;
    const struct decision *d = guarded->authorize;
    const struct str parts[] = {
        exchange_settings_of(x, d)->name,      d->root,           d->docroot, d->server,
        d->script_named ? d->script : STR(""), d->script_filename};
    struct str key = STR("");
    authorize_put_part(a, &key, guarded->authorize_key);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        authorize_put_part(a, &key, parts[i]);
    for (unsigned i = 0; i < d->params.count; i++) {
        authorize_put_part(a, &key, d->params.list[i].name);
        authorize_put_part(a, &key, d->params.list[i].value);
    }
    return key;
}

/* Puts the authorizer's variables before the decision's own params, which override them. */
static void authorize_add_variables(struct exchange *x, struct decision *d,
                                    const struct params *said)
{
    struct params all = {0};
    for (unsigned i = 0; i < said->count; i++)
        params_add(&x->req.arena, &all, said->list[i].name, said->list[i].value);
    for (unsigned i = 0; i < d->params.count; i++)
        params_add(&x->req.arena, &all, d->params.list[i].name, d->params.list[i].value);
    d->params = all;
}

static void authorize_note_user(struct exchange *x, const struct params *said)
{
    const struct param *user = params_find(said, STR("REMOTE_USER"));
    if (user != NULL)
        x->req.user = user->value;
}

/* True when a request with the same key has a grant. */
static bool authorize_recalls(struct exchange *x)
{
    struct decision *d = &x->req.decision;
    struct params said = {0};
    if (d->authorize_key.n == 0 || !grants_find(x->generation->grants, &x->req.arena,
                                                authorize_grant_key(x, d), exchange_now(x), &said))
        return false;
    authorize_add_variables(x, d, &said);
    authorize_note_user(x, &said);
    return true;
}

/* --- the question --- */

/* The decision about the authorizer, with the same backend settings for its reply as for an
 * application's. */
static struct decision authorize_decision(const struct decision *guarded)
{
    struct decision d = *guarded->authorize;
    d.role = FCGI_AUTHORIZER;
    if (d.tenant.n == 0)
        d.tenant = guarded->tenant;
    d.intercept = guarded->intercept;
    d.intercepted = guarded->intercepted;
    d.intercepted_count = guarded->intercepted_count;
    return d;
}

bool authorize_begin(struct exchange *x)
{
    struct request *req = &x->req;
    if (authorize_recalls(x)) {
        req->decision.authorize = NULL;
        return true;
    }
    struct guard *guard = arena_alloc(&req->arena, sizeof *guard);
    *guard = (struct guard){.decision = req->decision, .error_status = x->error_status};
    req->decision = authorize_decision(&guard->decision);
    req->role = FCGI_AUTHORIZER;
    if (attempt_check(x)) {
        x->guard = guard;
        attempt_begin(x);
    }
    return false;
}

/* --- the reply --- */

const char *authorize_drop(struct exchange *x, size_t n)
{
    x->guard->dropped += n;
    return x->guard->dropped > AUTHORIZE_BODY ? "the answer of an authorizer is larger than 1 MB"
                                              : NULL;
}

/* The name after the hyphen of a header "Variable-NAME"; n = 0: another header. */
static struct str authorize_variable_name(struct str header)
{
    const struct str prefix = STR("Variable-");
    bool is = header.n > prefix.n && str_ieq((struct str){header.p, prefix.n}, prefix);
    return is ? str_skip(header, prefix.n) : STR("");
}

void authorize_clean(struct exchange *x)
{
    struct response *res = &x->req.response;
    if (x->req.role != FCGI_AUTHORIZER || (x->guard == NULL && x->req.came_as == FCGI_AUTHORIZER))
        return; /* a web server that asks moongate as an authorizer gets all headers */
    struct headers kept = {0};
    for (unsigned i = 0; i < res->headers.count; i++) {
        const struct header *h = &res->headers.list[i];
        if (authorize_variable_name(h->name).n == 0)
            headers_add_known(&x->req.arena, &kept, h->id, h->name, h->value);
    }
    res->headers = kept;
    if (x->guard == NULL)
        return;
    /* These orders are not followed: a redirect to a login page is for the client. */
    res->redirect = res->accel_redirect = res->sendfile = STR("");
}

/* Whether an authorizer may set the variable. It must not change the script, the way in which
 * params are read, or settings that PHP keeps for other requests. */
static bool authorize_may_be_said(struct str name)
{
    static const char *const names[] = {"CONTENT_LENGTH", "SCRIPT_NAME",     "SCRIPT_FILENAME",
                                        "PATH_INFO",      "PATH_TRANSLATED", "DOCUMENT_ROOT",
                                        "HTTP_PROXY"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (str_ieq(name, str_of(names[i])))
            return false;
    return !param_is_setting(name);
}

static void authorize_collect(struct exchange *x, struct params *out)
{
    struct request *req = &x->req;
    const struct headers *said = &req->response.headers;
    for (unsigned i = 0; i < said->count; i++) {
        struct str name = authorize_variable_name(said->list[i].name);
        if (name.n == 0)
            continue;
        if (authorize_may_be_said(name))
            params_set(&req->arena, out, name, said->list[i].value);
        else
            report_backend(
                LOG_WARN, req, "protocol",
                arena_printf(&req->arena, "an authorizer may not set %.*s: left out", STR_FMT(name))
                    .p);
    }
}

const char *authorize_end(struct exchange *x)
{
    struct request *req = &x->req;
    struct guard *guard = x->guard;
    if (req->app_status != 0)
        return arena_printf(&req->arena,
                            "an authorizer that says 200 and ends with status %u lets nobody on",
                            req->app_status)
            .p;
    struct params said = {0};
    authorize_collect(x, &said);
    if (guard->decision.authorize_key.n > 0)
        grants_keep(&x->generation->grants, authorize_grant_key(x, &guard->decision),
                    exchange_now(x) + guard->decision.authorize_ttl, &said);
    authorize_add_variables(x, &guard->decision, &said);
    authorize_note_user(x, &said);
    return NULL;
}

void authorize_resume(struct exchange *x)
{
    struct request *req = &x->req;
    req->decision = x->guard->decision;
    req->decision.authorize = NULL;
    x->error_status = x->guard->error_status;
    x->guard = NULL;
    x->head = (struct cgi_head){0};
    x->cookie = STR("");
    response_clear(req);
    req->backend = req->server = STR("");
    x->backend = METRICS_NO_BACKEND;
    req->app_status = 0;
    req->protocol_status = 0;
    req->role = req->came_as;
}
