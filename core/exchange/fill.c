/*
 * fill - see parts.h. This file keeps an application's response for other requests while it goes
 * to its client: the keys, what is left out, the verdict, the copy of the body.
 */
#include "exchange/parts.h"

#include "http/caching.h"
#include "http/logline.h"
#include "shm/cachestore.h"
#include "shm/ledger.h"

#include <math.h>

/* Seconds for which a reply like one that is not kept, and one like an error, is waited for no
 * more. */
#define UNKEPT_SECONDS 10.0
#define UNKEPT_ERROR   1.0

/* --- keys --- */

/* True for the weight of what is not accepted: q=0, q=0.000 (RFC 9110 §12.4.2). */
static bool fill_is_refused(struct str weight)
{
    if (weight.n < 3 || char_lower(weight.p[0]) != 'q' || weight.p[1] != '=')
        return false;
    for (size_t i = 2; i < weight.n; i++)
        if (weight.p[i] != '0' && weight.p[i] != '.')
            return false;
    return true;
}

struct str fill_codings(struct arena *a, struct str value)
{
    static const char *const known[] = {"zstd", "br", "gzip", "deflate"};
    bool accepted[sizeof known / sizeof *known] = {0};
    struct str text = STR("");
    while (value.p != NULL) {
        struct str weight = str_trim(str_cut(&value, ',')), name = str_trim(str_cut(&weight, ';'));
        weight = weight.p != NULL ? str_trim(weight) : STR("");
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            if (str_ieq(name, str_of(known[i])))
                accepted[i] = !fill_is_refused(weight);
    }
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (accepted[i])
            text = arena_printf(a, "%.*s%s%s", STR_FMT(text), text.n > 0 ? ", " : "", known[i]);
    return text.n > 0 ? text : STR("identity");
}

/* Adds a line with the value of a header to a key; a header that is missing differs from an empty
 * one. */
static struct str fill_add_header(struct request *req, struct str key, struct str name)
{
    struct arena *a = &req->arena;
    struct str value = headers_joined(a, &req->headers, name);
    if (value.p != NULL && str_ieq(name, STR("Accept-Encoding")))
        value = fill_codings(a, value);
    return arena_printf(a, "%.*s\n%.*s%s%.*s", STR_FMT(key), STR_FMT(name),
                        value.p != NULL ? "=" : "", STR_FMT(value.p != NULL ? value : STR("")));
}

struct str fill_variant(struct request *req, struct str key, struct str names)
{
    struct str name;
    while ((name = caching_next_name(&names)).n > 0)
        key = fill_add_header(req, key, name);
    return key;
}

/* --- the head --- */

static bool fill_is_one_of(struct str name, const struct str *list, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (str_ieq(name, list[i]))
            return true;
    return false;
}

static bool fill_leaves_out(const struct exchange *x, struct str name)
{
    static const char *const never[] = {"X-Cache", "X-Request-Id"};
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        if (str_ieq(name, str_of(never[i])))
            return true;
    /* Headers of the decision are those of each request's own. Vary adds to the application's. */
    return !str_ieq(name, STR("Vary")) && (headers_get(&x->standing, name) != NULL ||
                                           headers_get(&x->req.decision.headers, name) != NULL);
}

/* The headers of the response that are kept, and Set-Cookie for the verdict; a cookie of the
 * balance policy is for this client alone, and not the application's. */
static struct headers fill_collect(const struct exchange *x, struct arena *a)
{
    const struct headers *all = &x->req.response.headers;
    struct headers kept = {0};
    for (unsigned i = 0; i < all->count; i++) {
        const struct header *h = &all->list[i];
        if (!fill_leaves_out(x, h->name) && (x->cookie.n == 0 || h->value.p != x->cookie.p))
            headers_add_known(a, &kept, h->id, h->name, h->value);
    }
    return kept;
}

/* The names of Vary that the key has not already, joined by commas. A response with a coding
 * depends on Accept-Encoding, whether the application says so or not. */
static struct str fill_names(struct exchange *x, const struct headers *kept)
{
    struct arena *a = &x->req.arena;
    const struct decision_cache *rules = x->caching->rules;
    struct str names = STR(""), name;
    for (unsigned i = 0; i < kept->count; i++) {
        struct str rest = kept->list[i].value;
        if (str_ieq(kept->list[i].name, STR("Content-Encoding")))
            rest = STR("Accept-Encoding");
        else if (!str_ieq(kept->list[i].name, STR("Vary")))
            continue;
        while ((name = caching_next_name(&rest)).n > 0) {
            struct str seen = names, one;
            bool is = fill_is_one_of(name, rules->vary, rules->vary_count);
            while (!is && (one = caching_next_name(&seen)).n > 0)
                is = str_ieq(one, name);
            if (!is)
                names = arena_printf(a, "%.*s%.*s,", STR_FMT(names), STR_FMT(name));
        }
    }
    return names;
}

enum cache_reason fill_judge(const struct exchange *x, const struct response *response,
                             struct caching_verdict *out)
{
    const struct decision_cache *d = x->caching->rules;
    const struct caching_rules rules = {.ttl = d->ttl,
                                        .stale = d->stale,
                                        .background = (enum caching_background)d->background,
                                        .ignores_cookies = d->ignores_cookies,
                                        .ignores_control = d->ignores_control};
    caching_judge(&rules, response, (time_t)ev_now(x->generation->loop->ev), out);
    return out->reason;
}

void fill_drop(struct exchange *x)
{
    struct caching *c = x->caching;
    if (c->write != NULL)
        cachestore_drop(c->write);
    c->write = NULL;
    if (c->told)
        cache_end_fill(cachestore_index(), c->turn);
    c->told = false;
}

void fill_refuse(struct exchange *x, enum cache_reason reason)
{
    x->req.cache_reason = (uint8_t)reason;
    request_step(&x->req, "the response is not kept: %s", cache_reason_words[reason]);
}

void fill_cut(struct exchange *x)
{
    if (x->caching->write != NULL)
        fill_refuse(x, CACHE_BROKEN_OFF);
    fill_drop(x);
}

/* Lets requests for the same go on without a wait, for some time: the next reply can't be kept,
 * either. That of an error may be. */
static void fill_note_unkept(struct exchange *x)
{
    struct caching *c = x->caching;
    double seconds = x->req.response.status >= 500 ? UNKEPT_ERROR : UNKEPT_SECONDS;
    if (c->told)
        cache_note_unkept(cachestore_index(), c->turn, ledger_now() + seconds);
    fill_drop(x);
}

/* Begins to keep the response, if it may be kept. */
static void fill_begin(struct exchange *x)
{
    struct caching *c = x->caching;
    struct arena *a = &x->req.arena;
    struct response kept = {.status = x->req.response.status, .headers = fill_collect(x, a)};
    enum cache_reason reason = fill_judge(x, &kept, &c->verdict);
    if (reason == CACHE_NO_REASON && x->req.response.content_length > (int64_t)coded_most(x))
        reason = CACHE_TOO_LARGE;
    if (reason != CACHE_NO_REASON) {
        fill_refuse(x, reason);
        if (x->background &&
            kept.status < 500) /* nobody would ask for it while the old one lasts */
            cachestore_discard(&c->found);
        fill_note_unkept(x);
        return;
    }
    headers_remove(&kept.headers, STR("Set-Cookie"));
    headers_remove(&kept.headers, STR("Age")); /* verdict.age */
    c->names = fill_names(x, &kept.headers);
    c->key = fill_variant(&x->req, c->base, c->names);
    const struct cache_record record = {
        .key = c->key, .vary = STR(""), .status = kept.status, .headers = &kept.headers};
    c->at = ledger_now();
    c->write = arena_alloc(a, sizeof *c->write);
    cachestore_begin(c->write, &record, c->purges, coded_most(x));
    coded_follow(x);
}

void fill_head(struct exchange *x)
{
    struct request *req = &x->req;
    if (x->caching->fills)
        fill_begin(x);
    headers_remove(&req->response.headers, STR("X-Cache"));
    headers_add(&req->arena, &req->response.headers, STR("X-Cache"),
                str_of(cache_use_words[req->cached]));
}

/* --- a newer head --- */

/* True for headers that a 304 does not replace: they are about the body that is kept (RFC 9111
 * §3.2), or chose it. PHP sends its default Content-Type with a 304, too. */
static bool fill_is_fixed(struct str name)
{
    static const char *const names[] = {"Content-Type",
                                        "Content-Length",
                                        "Content-Encoding",
                                        "Content-Range",
                                        "Transfer-Encoding",
                                        "Content-Digest",
                                        "Repr-Digest",
                                        "Content-MD5",
                                        "Digest",
                                        "Content-Language",
                                        "Vary"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (str_ieq(name, str_of(names[i])))
            return true;
    return false;
}

void fill_merge(struct exchange *x, const struct headers *kept, struct headers *out)
{
    struct arena *a = &x->req.arena;
    const struct headers *said = &x->req.response.headers;
    struct headers newer = {0};
    for (unsigned i = 0; i < kept->count; i++)
        headers_add_known(a, out, kept->list[i].id, kept->list[i].name, kept->list[i].value);
    for (unsigned i = 0; i < said->count; i++) {
        const struct header *h = &said->list[i];
        if (!fill_is_fixed(h->name) && !fill_leaves_out(x, h->name))
            headers_add_known(a, &newer, h->id, h->name, h->value);
    }
    headers_merge(a, out, &newer);
}

static bool fill_is_same(const struct headers *a, const struct headers *b)
{
    bool same = a->count == b->count;
    for (unsigned i = 0; i < a->count && same; i++)
        same =
            str_eq(a->list[i].name, b->list[i].name) && str_eq(a->list[i].value, b->list[i].value);
    return same;
}

void fill_put_head(struct exchange *x, const struct cache_entry *e, struct headers *headers)
{
    struct caching *c = x->caching;
    struct cache *index = cachestore_index();
    struct cache_write w;
    const struct cache_record record = {
        .key = STR(""), .vary = STR(""), .status = e->status, .headers = headers};
    struct cache_facts facts = {.hash = cache_coded_hash(index, c->found.id, CODING_IDENTITY),
                                .fresh_until = HUGE_VAL,
                                .stale_until = HUGE_VAL,
                                .text = STR(""),
                                .coded = true,
                                .head = true,
                                .of_slot = c->found.slot,
                                .of = c->found.id};
    headers_remove(headers, STR("Set-Cookie"));
    headers_remove(headers, STR("Age")); /* verdict.age */
    if (fill_is_same(headers, &e->headers))
        return;
    cachestore_begin(&w, &record, cache_purges(index), coded_most(x));
    if (cachestore_end(&w, &facts) == CACHE_NO_REASON) {
        c->found.head_slot = w.slot;
        c->found.head = w.id;
    }
    cachestore_drop(&w);
}

/* --- the body and the end --- */

/* A full disk, or a folder that has gone. */
static void fill_say(const struct exchange *x, const char *reason)
{
    static struct log_quota quota = {.most = 3};
    logline_write(&x->req, &quota, LOG_WARN, "cache: a response can't be kept in %.*s: %s",
                  STR_FMT(x->generation->settings->cache_path), reason);
}

void fill_body(struct exchange *x, struct str bytes)
{
    struct caching *c = x->caching;
    if (c->write == NULL || cachestore_add(c->write, bytes))
        return;
    bool fits = c->write->head_size + c->write->body_size + bytes.n <= c->write->most;
    if (fits)
        fill_say(x, "it could not be written");
    fill_refuse(x, fits ? CACHE_NOT_WRITTEN : CACHE_TOO_LARGE);
    fill_drop(x);
}

/* The site is a tenant's, and a folder, whichever backend runs it. */
uint32_t fill_site(struct exchange *x)
{
    const struct decision *d = &x->req.decision;
    struct str root = d->docroot.n > 0 ? d->docroot : d->root;
    return cache_tag(cachestore_offered(),
                     arena_printf(&x->req.arena, "%.*s\n%.*s", STR_FMT(d->tenant), STR_FMT(root)));
}

static struct cache_facts fill_facts(struct exchange *x, struct str key)
{
    const struct caching *c = x->caching;
    struct cache *index = cachestore_index();
    struct cache_facts facts = {.hash = cache_hash(index, key),
                                .stored = c->at - c->verdict.age,
                                .fresh_until = c->at + c->verdict.fresh,
                                .site = fill_site(x),
                                .text = c->text};
    facts.stale_until = facts.fresh_until + c->verdict.stale;
    facts.at_once_until = facts.fresh_until + c->verdict.at_once;
    for (unsigned i = 0; i < c->rules->tag_count && i < CACHE_TAGS; i++)
        facts.tags[i] = cache_tag(index, c->rules->tags[i]);
    return facts;
}

/* Puts the names of headers that select the response under the key without them. They have no end
 * of their own: other responses that are found by them may last longer than this one. */
static void fill_put_names(struct exchange *x)
{
    struct caching *c = x->caching;
    struct cache_write w;
    const struct cache_record record = {.key = c->base, .vary = c->names, .status = 0};
    struct cache_facts facts = fill_facts(x, c->base);
    facts.fresh_until = facts.stale_until = HUGE_VAL;
    cachestore_begin(&w, &record, c->purges, coded_most(x));
    cachestore_end(&w, &facts);
    cachestore_drop(&w);
}

void fill_end(struct exchange *x)
{
    struct caching *c = x->caching;
    if (c->write == NULL)
        return;
    struct cache_facts facts = fill_facts(x, c->key);
    enum cache_reason reason = cachestore_end(c->write, &facts);
    if (c->write->error != 0)
        fill_say(x, strerror(c->write->error));
    if (reason != CACHE_NO_REASON) {
        fill_refuse(x, reason);
    } else {
        request_step(&x->req, "the response is kept for %.0f s", c->verdict.fresh);
        coded_name(x, c->write->slot, c->write->id);
        if (c->names.n > 0)
            fill_put_names(x);
    }
    fill_drop(x);
}
