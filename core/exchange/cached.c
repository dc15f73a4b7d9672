/*
 * cached - see parts.h. This file answers a request from the cache, before an application is asked
 * or in place of an application that fails; and prepares a request whose reply is to be kept.
 *
 *     decision with `cache` --> bypassed: the application is asked, nothing is kept
 *                          \--> a fresh response: the client gets it
 *                           \--> none, or a stale one: the application is asked, its reply kept
 *                                  |-- 304 to the stale one's validators: that one is fresh again
 *                                  `-- it fails, or would have to wait: the client gets the stale
 * one
 *
 * A kept reply is for all who send the same key, so what the key does not have must not shape it:
 * the application gets no other headers than those of the key and some that it is expected to name
 * in Vary.
 */
#include "exchange/cached.h"
#include "exchange/parts.h"

#include "http/caching.h"
#include "http/file.h"
#include "shm/cachestore.h"
#include "shm/ledger.h"
#include "shm/underway.h"

#include <unistd.h>

#define KEY_MOST  16384 /* bytes of a key with all that belongs to it */
#define WAIT_MOST 30.0  /* seconds that a request waits for others */
#define FAILED_WAIT                                                                                \
    1.0 /* seconds until a response is made in the background again after a failure */

/* --- the store --- */

static struct loop *own_loop;
static ev_io wake;
static struct caching *waiting; /* requests that wait for others, the latest first */

/* Others have made what requests here may wait for. All of them look again. */
static void cached_wake_cb(struct ev_loop *ev, ev_io *io, int events)
{
    uint64_t count;
    (void)ev;
    (void)events;
    if (read(io->fd, &count, sizeof count) < 0)
        return;
    for (struct caching *c = waiting; c != NULL; c = c->next) {
        c->waits->facts.filled = true;
        exchange_note(c->waits);
    }
}

void cached_use(struct cache *index, unsigned place, struct loop *loop)
{
    cachestore_offer(index, place);
    cache_join(index, place);
    ev_io_init(&wake, cached_wake_cb, cache_wake_fd(index), EV_READ);
    ev_io_start(loop->ev, &wake);
    own_loop = loop;
}

void cached_end(void)
{
    if (own_loop != NULL)
        ev_io_stop(own_loop->ev, &wake);
    cachestore_close();
}

bool cached_has_descriptors(void)
{
    return cachestore_has_descriptors();
}

void cached_sweep(void)
{
    cachestore_sweep();
}

/* --- the key --- */

/* True when the header's value is part of the key. */
static bool cached_is_keyed(const struct decision_cache *rules, struct str name)
{
    for (unsigned i = 0; i < rules->vary_count; i++)
        if (str_ieq(rules->vary[i], name))
            return true;
    return false;
}

/* The reason why the cache is passed by; CACHE_NO_REASON: it is not. */
static enum cache_reason cached_obstacle(const struct exchange *x,
                                         const struct decision_cache *rules)
{
    const struct request *req = &x->req;
    if (rules->bypass == CACHE_BYPASSED)
        return CACHE_SAYS_BYPASS;
    if (req->method_id != METHOD_GET && req->method_id != METHOD_HEAD)
        return CACHE_METHOD;
    if (x->has_body)
        return CACHE_BODY;
    if (x->replacements > 0)
        return CACHE_ON_ERROR;
    if (req->decision.role > FCGI_RESPONDER || req->came_as > FCGI_RESPONDER)
        return CACHE_ROLE;
    if (headers_find(&req->headers, HEADER_AUTHORIZATION) != NULL &&
        !rules->ignores_authorization && !cached_is_keyed(rules, STR("Authorization")))
        return CACHE_AUTHORIZATION;
    if (req->user.n > 0 && !rules->ignores_authorization)
        return CACHE_USER; /* of a web server, which may keep Authorization, or an authorizer */
    if (rules->bypass == CACHE_BYPASS_UNSAID &&
        headers_find(&req->headers, HEADER_COOKIE) != NULL &&
        !cached_is_keyed(rules, STR("Cookie")))
        return CACHE_COOKIE;
    return CACHE_NO_REASON;
}

/* The default key has what applications make links of: scheme, host and target as they were sent.
 * Two spellings of a host or a path are two keys, so neither gets the other's links. */
static struct str cached_text(struct exchange *x, const struct decision_cache *rules)
{
    struct request *req = &x->req;
    if (rules->key.n > 0)
        return rules->key;
    return arena_printf(&req->arena, "%s://%.*s%.*s", req->https ? "https" : "http",
                        STR_FMT(headers_value(&req->headers, HEADER_HOST)),
                        STR_FMT(req->uri.origin));
}

/* The certificate of the client, which the application may know its visitors by: as a number, of
 * what OpenSSL or a web server says of it; 0: it has none. */
static uint64_t cached_certificate(const struct request *req)
{
    static const char *const names[] = {"SSL_CLIENT_CERT", "SSL_CLIENT_S_DN", "SSL_CLIENT_VERIFY"};
    struct cache *index = cachestore_index();
    uint64_t all = 0;
    if (req->tls != NULL && req->tls->verified)
        return cache_hash(index, req->tls->certificate);
    for (size_t i = 0; i < sizeof names / sizeof *names && req->arrived.count > 0; i++) {
        const struct param *param = params_find(&req->arrived, str_of(names[i]));
        if (param != NULL && param->value.n > 0)
            all = all * 31 + cache_hash(index, param->value);
    }
    return all;
}

/* Makes the keys. The whole key also has the application that is asked, so that two of them never
 * get each other's responses. Neither the first line nor a header has a newline, so none can look
 * like another part. */
static void cached_make_key(struct exchange *x)
{
    struct caching *c = x->caching;
    struct request *req = &x->req;
    const struct decision *d = &req->decision;
    c->text = cached_text(x, c->rules);
    struct str name = exchange_settings(x)->name;
    struct str root = d->docroot.n > 0 ? d->docroot : d->root;
    c->base =
        arena_printf(&req->arena, "%.*s\n%zu:%.*s %zu:%.*s %zu:%.*s", STR_FMT(c->text), name.n,
                     STR_FMT(name), d->tenant.n, STR_FMT(d->tenant), root.n, STR_FMT(root));
    uint64_t certificate = cached_certificate(req);
    if (certificate != 0)
        c->base = arena_printf(&req->arena, "%.*s\ncertificate %016llx", STR_FMT(c->base),
                               (unsigned long long)certificate);
    for (unsigned i = 0; i < c->rules->vary_count; i++)
        c->base = fill_variant(req, c->base, c->rules->vary[i]);
    c->key = c->base;
}

/* --- finding --- */

/* Finds the response of the key, by way of the names of headers that select one. */
static struct cache_entry *cached_find(struct exchange *x, double now)
{
    struct caching *c = x->caching;
    struct cache *index = cachestore_index();
    struct cache_entry *e = NULL;
    if (cache_find(index, cache_hash(index, c->key), now, &c->found))
        e = cachestore_get(&c->found, c->key);
    if (e == NULL || e->vary.n == 0)
        return e;
    c->key = fill_variant(&x->req, c->base, e->vary);
    file_source_drop(&e->file.source);
    if (!cache_find(index, cache_hash(index, c->key), now, &c->found))
        return NULL;
    e = cachestore_get(&c->found, c->key);
    if (e == NULL || e->vary.n == 0)
        return e;
    file_source_drop(&e->file.source); /* a key that is one of each kind: never made here */
    return NULL;
}

/* Makes the response's head of the entry's, with the headers that hold for this request. */
static void cached_make_head(struct exchange *x, const struct cache_entry *e, enum cache_use use)
{
    struct request *req = &x->req;
    struct response *res = &req->response;
    struct arena *a = &req->arena;
    double age = ledger_now() - x->caching->found.stored;
    char digits[STR_U64_SIZE];
    size_t n = str_from_u64(age > 0 ? (uint64_t)age : 0, digits);
    response_clear(req);
    res->status = e->status;
    res->headers.room = e->headers.count + 8;
    res->headers.list = arena_alloc(a, res->headers.room * sizeof *res->headers.list);
    res->headers.count = e->headers.count;
    memcpy(res->headers.list, e->headers.list, e->headers.count * sizeof *e->headers.list);
    headers_merge(a, &res->headers, &x->standing);
    if (req->decision.headers.list != x->standing.list)
        headers_merge(a, &res->headers, &req->decision.headers);
    headers_add_known(a, &res->headers, HEADER_OTHER, STR("Age"),
                      arena_copy(a, (struct str){digits, n}));
    headers_add_known(a, &res->headers, HEADER_OTHER, STR("X-Cache"), str_of(cache_use_words[use]));
    req->cached = (uint8_t)use;
}

/* Answers with the entry, of which the caller gives up its use. */
static void cached_answer(struct exchange *x, struct cache_entry *e, enum cache_use use)
{
    struct request *req = &x->req;
    struct file file;
    if (req->file != NULL)
        file_source_drop(req->file);
    req->file = &e->file.source;
    cached_make_head(x, e, use);
    if (!response_hold(x, &e->file, e->body_at, &file))
        return;
    coded_choose(x, &x->caching->found, &file);
    response_send_held(x, &file);
}

/* --- purges by the application --- */

/* Reads one value of X-Cache-Purge: words such as tag:post-12, prefix:https://shop.example/,
 * key:TEXT and all, with blanks between them. Returns the number of orders, with those that are
 * there already; more than CACHE_ORDERS: there is no room for the last one. */
static unsigned cached_read_purge(struct str value, struct cache_order *orders, unsigned count,
                                  uint32_t site)
{
    static const struct {
        struct str word;
        enum cache_purge kind;
    } kinds[] = {{STR("tag:"), CACHE_PURGE_TAG},
                 {STR("prefix:"), CACHE_PURGE_PREFIX},
                 {STR("key:"), CACHE_PURGE_KEY},
                 {STR("all"), CACHE_PURGE_ALL}};
    while (value.p != NULL && count <= CACHE_ORDERS) {
        struct str word = str_cut(&value, ' ');
        for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
            bool whole = kinds[i].kind != CACHE_PURGE_ALL || word.n == kinds[i].word.n;
            if (!str_starts(word, kinds[i].word) || !whole)
                continue;
            if (count < CACHE_ORDERS)
                orders[count] =
                    (struct cache_order){kinds[i].kind, str_skip(word, kinds[i].word.n), site};
            count++;
        }
    }
    return count;
}

/* The words are about responses of the application's own site. Where there are too many, all of
 * these go: a purge may take too much, never too little. */
void cached_purge(struct exchange *x)
{
    struct headers *said = &x->req.response.headers;
    const struct str name = STR("X-Cache-Purge");
    struct cache_order *orders = NULL;
    unsigned count = 0;
    uint32_t site = 0;
    for (unsigned i = 0; i < said->count && count <= CACHE_ORDERS; i++) {
        if (x->guard != NULL || !str_ieq(said->list[i].name, name))
            continue;
        if (orders == NULL) {
            orders = arena_alloc(&x->req.arena, CACHE_ORDERS * sizeof *orders);
            site = fill_site(x);
        }
        count = cached_read_purge(said->list[i].value, orders, count, site);
    }
    if (count > CACHE_ORDERS) {
        orders[0] = (struct cache_order){.kind = CACHE_PURGE_ALL, .what = STR(""), .site = site};
        count = 1;
    }
    if (count > 0)
        cachestore_purge(orders, count);
    headers_remove(said, name);
}

/* --- before the application --- */

static void cached_wait(struct exchange *x)
{
    struct caching *c = x->caching;
    deadline_set(&x->attempts.pause, CACHE_PATIENCE + 0.1); /* not before it is over */
    if (c->waits != NULL)
        return;
    c->waits = x;
    c->since = ledger_now();
    c->next = waiting;
    c->link = &waiting;
    if (c->next != NULL)
        c->next->link = &c->next;
    waiting = c;
    x->state = EXCHANGE_WAITING;
    underway_enter(&x->req, UNDERWAY_WAITING);
}

static void cached_wait_no_more(struct exchange *x)
{
    struct caching *c = x->caching;
    if (c->waits == NULL)
        return;
    deadline_clear(&x->attempts.pause);
    *c->link = c->next;
    if (c->next != NULL)
        c->next->link = c->link;
    c->waits = NULL;
}

/* Answers with what the cache has, if that is fresh; else `stale` is what it has. */
static bool cached_look(struct exchange *x)
{
    struct caching *c = x->caching;
    double now = ledger_now();
    if (c->stale != NULL)
        file_source_drop(&c->stale->file.source);
    c->stale = NULL;
    c->key = c->base;
    struct cache_entry *e = cached_find(x, now);
    if (e != NULL && c->found.fresh_until > now) {
        cached_wait_no_more(x);
        request_step(&x->req, "the cache has a fresh response of the key %.*s", STR_FMT(c->text));
        cached_answer(x, e, CACHE_HIT);
        return true;
    }
    c->stale = e;
    request_step(&x->req, "the cache has %s response of the key %.*s", e != NULL ? "a stale" : "no",
                 STR_FMT(c->text));
    return false;
}

/* Answers with a stale response that may be sent at once. The application is asked when the client
 * has it. */
static bool cached_is_at_once(struct exchange *x)
{
    struct caching *c = x->caching;
    if (c->stale == NULL || c->found.at_once_until <= ledger_now())
        return false;
    cached_wait_no_more(x);
    c->outdated = x->req.method_id == METHOD_GET;
    request_step(&x->req, "it is stale, and made anew when the client has it");
    cached_answer_stale(x);
    return true;
}

bool cached_goes_on(struct exchange *x)
{
    struct caching *c = x->caching;
    struct cache *index = cachestore_index();
    double now = ledger_now();
    if (!c->outdated)
        return false;
    c->outdated = false;
    c->turn = cache_hash(index, c->key);
    if (cache_begin_fill(index, c->turn, now) != CACHE_YOURS)
        return false;
    c->told = true;
    c->key = c->base;
    c->stale = cached_find(x, now);
    if (c->stale == NULL || c->found.fresh_until > now) { /* purged, or made meanwhile */
        fill_drop(x);
        return false;
    }
    c->purges = cache_purges(index);
    c->fills = true;
    return true;
}

/* Whether this request asks the application, while others wait for it. True: it does not, and has
 * been answered, or waits. */
static bool cached_yields(struct exchange *x)
{
    struct caching *c = x->caching;
    struct cache *index = cachestore_index();
    c->turn = cache_hash(index, c->key);
    switch (cache_begin_fill(index, c->turn, ledger_now())) {
    case CACHE_YOURS:
        c->told = true;
        if (cached_look(x)) { /* made between the first look and this turn */
            fill_drop(x);
            return true;
        }
        return false;
    case CACHE_OTHERS:
        if (!cached_has_stale(x)) {
            cached_wait(x);
            return true;
        }
        cached_wait_no_more(x);
        cached_answer_stale(x);
        return true;
    default:
        return false;
    }
}

bool cached_begin(struct exchange *x)
{
    const struct decision_cache *rules = x->req.decision.cache;
    if (!coded_open(x))
        return false;
    struct caching *c = x->caching = arena_alloc(&x->req.arena, sizeof *c);
    *c = (struct caching){.rules = rules};
    x->req.cached = CACHE_BYPASS;
    enum cache_reason reason = cached_obstacle(x, rules);
    if (reason == CACHE_NO_REASON) {
        cached_make_key(x);
        if (c->base.n > KEY_MOST)
            reason = CACHE_LONG_KEY;
    }
    x->req.cache_reason = (uint8_t)reason;
    if (reason != CACHE_NO_REASON) {
        request_step(&x->req, "the cache is passed by: %s", cache_reason_words[reason]);
        return false;
    }
    x->req.cached = CACHE_MISS;
    if (cached_look(x) || cached_is_at_once(x))
        return true;
    c->purges = cache_purges(cachestore_index());
    c->fills = x->req.method_id == METHOD_GET;
    if (!c->fills)
        x->req.cache_reason = CACHE_HEAD;
    return c->fills && rules->lock && cached_yields(x);
}

bool cached_resume(struct exchange *x)
{
    struct caching *c = x->caching;
    if (cached_look(x) || cached_is_at_once(x))
        return true;
    c->purges = cache_purges(cachestore_index());
    if (ledger_now() - c->since < WAIT_MOST && cached_yields(x))
        return true;
    cached_wait_no_more(x);
    return false;
}

/* Headers that an application may get although the key has not their values: it names those that
 * shape its reply in Vary (RFC 9110 §12.5.5), or they shape none. */
static bool cached_may_pass(const struct exchange *x, const struct param *param)
{
    static const char *const names[] = {"HTTP_HOST",
                                        "HTTP_USER_AGENT",
                                        "HTTP_ACCEPT",
                                        "HTTP_ACCEPT_LANGUAGE",
                                        "HTTP_ACCEPT_ENCODING",
                                        "HTTP_COOKIE",
                                        "HTTP_CACHE_CONTROL",
                                        "HTTP_PRAGMA",
                                        "HTTP_AUTHORIZATION",
                                        "HTTP_X_REQUEST_ID",
                                        "HTTP_TRACEPARENT",
                                        "HTTP_TRACESTATE"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (str_eq(param->name, str_of(names[i])))
            return true;
    /* Of a trusted proxy, and nothing else than what the key has. */
    return str_eq(param->name, STR("HTTP_X_FORWARDED_PROTO")) && x->req.from_trusted &&
           str_eq(param->value, x->req.https ? STR("https") : STR("http"));
}

/* True when the param is made of this header. */
static bool cached_is_param_of(struct str param, struct str header)
{
    if (param.n != header.n + 5)
        return false;
    for (size_t i = 0; i < header.n; i++) {
        char c = char_lower(header.p[i]), d = char_lower(param.p[i + 5]);
        if (d != (c == '-' || c == '.' ? '_' : c))
            return false;
    }
    return true;
}

static bool cached_keeps_param(const struct exchange *x, const struct param *param)
{
    const struct decision_cache *rules = x->caching->rules;
    if (!str_starts(param->name, STR("HTTP_")) || cached_may_pass(x, param) ||
        params_find(&x->req.decision.params, param->name) != NULL)
        return true;
    for (unsigned i = 0; i < rules->vary_count; i++)
        if (cached_is_param_of(param->name, rules->vary[i]))
            return true;
    return false;
}

/* The application gets the codings as the key has them. Many look for a word alone, so that they
 * would code a reply for "gzip;q=0", "x-gzip" or "*", which all others with the same key can't
 * read. */
static void cached_give_codings(struct exchange *x)
{
    const struct str name = STR("HTTP_ACCEPT_ENCODING");
    struct param *param = params_find(&x->params, name);
    if (param != NULL && params_find(&x->req.decision.params, name) == NULL)
        param->value = fill_codings(&x->req.arena, param->value);
}

void cached_params(struct exchange *x)
{
    struct caching *c = x->caching;
    struct params *p = &x->params;
    unsigned kept = 0;
    params_remove(p, STR("HTTP_X_CACHE_PURGE"));
    if (!c->fills)
        return;
    for (unsigned i = 0; i < p->count; i++)
        if (cached_keeps_param(x, &p->list[i]))
            p->list[kept++] = p->list[i];
    p->count = kept;
    cached_give_codings(x);
    if (c->stale == NULL || c->stale->status != 200)
        return;
    struct str tag = c->stale->file.tag;
    const struct header *date = headers_find(&c->stale->headers, HEADER_LAST_MODIFIED);
    if (tag.n > 0)
        params_set(&x->req.arena, p, STR("HTTP_IF_NONE_MATCH"), tag);
    if (date != NULL)
        params_set(&x->req.arena, p, STR("HTTP_IF_MODIFIED_SINCE"), date->value);
    c->revalidates = tag.n > 0 || date != NULL;
}

/* --- in place of the application --- */

bool cached_has_stale(const struct exchange *x)
{
    return x->caching != NULL && x->caching->stale != NULL && x->state != EXCHANGE_RESPONDING;
}

void cached_answer_stale(struct exchange *x)
{
    struct caching *c = x->caching;
    struct cache_entry *e = c->stale;
    if (x->background) {
        request_step(&x->req, "no newer response has been made");
        cache_note_unkept(cachestore_index(), c->turn, ledger_now() + FAILED_WAIT);
    }
    c->stale = NULL;
    c->fills = false;
    fill_drop(x);
    x->req.cache_reason = CACHE_NO_REASON;
    cached_answer(x, e, CACHE_STALE);
}

bool cached_is_renewed(const struct exchange *x)
{
    const struct caching *c = x->caching;
    return c->revalidates && c->stale != NULL && x->req.response.status == 304;
}

static struct str cached_opaque_tag(struct str tag)
{
    return str_starts(tag, STR("W/")) ? str_skip(tag, 2) : tag;
}

/* A 304 with another tag than that of the kept response is not about it (RFC 9111 §4.3.4); a weak
 * one is compared as such, and may be new to a response that had none. */
static bool cached_is_same(const struct cache_entry *e, const struct headers *said)
{
    struct str tag = headers_value(said, HEADER_ETAG), own = e->file.tag;
    bool weak = str_starts(tag, STR("W/"));
    if (tag.n == 0 || (own.n == 0 && weak))
        return true;
    if (weak || str_starts(own, STR("W/")))
        return str_eq(cached_opaque_tag(tag), cached_opaque_tag(own));
    return str_eq(tag, own);
}

void cached_renew(struct exchange *x)
{
    struct caching *c = x->caching;
    struct cache_entry *e = c->stale, *newer = NULL;
    struct response now = {.status = e->status};
    fill_merge(x, &e->headers, &now.headers);
    enum cache_reason reason = cached_is_same(e, &x->req.response.headers)
                                   ? fill_judge(x, &now, &c->verdict)
                                   : CACHE_OTHER_TAG;
    if (reason == CACHE_NO_REASON) {
        double at = ledger_now();
        fill_put_head(x, e, &now.headers);
        c->found.stored = at - c->verdict.age;
        c->found.fresh_until = at + c->verdict.fresh;
        c->found.stale_until = c->found.fresh_until + c->verdict.stale;
        c->found.at_once_until = c->found.fresh_until + c->verdict.at_once;
        cache_refresh(cachestore_index(), &c->found);
        newer = cachestore_get(&c->found, c->key);
        request_step(&x->req, "nothing has changed: the response is kept for %.0f s more",
                     c->verdict.fresh);
    } else {
        fill_refuse(x, reason);
        cachestore_discard(&c->found);
    }
    c->stale = NULL;
    c->fills = false;
    fill_drop(x);
    if (newer != NULL)
        file_source_drop(&e->file.source);
    cached_answer(x, newer != NULL ? newer : e, CACHE_MISS);
}

void cached_leave(struct exchange *x)
{
    struct caching *c = x->caching;
    cached_wait_no_more(x);
    fill_drop(x);
    if (c->stale != NULL)
        file_source_drop(&c->stale->file.source);
    x->caching = NULL;
    x->req.cached = CACHE_UNUSED;
    x->req.cache_reason = CACHE_NO_REASON;
}
