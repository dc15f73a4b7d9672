/* caching - see caching.h. */
#include "http/caching.h"

#include "base/date.h"

#define HEURISTIC_PART 0.1          /* of the time since Last-Modified (RFC 9111 §4.2.2) */
#define HEURISTIC_MOST 86400        /* seconds */
#define SECONDS_MOST   2147483648.0 /* RFC 9111 §1.2.2 */

/* --- Cache-Control --- */

/* The value of delta-seconds. A value that is no number counts as 0: the response is stale (RFC
 * 9111 §4.2.1). */
static double caching_seconds(struct str value)
{
    uint64_t seconds;
    value = str_trim(value);
    if (value.n >= 2 && value.p[0] == '"' && value.p[value.n - 1] == '"')
        value = (struct str){value.p + 1, value.n - 2};
    for (size_t i = 0; i < value.n; i++)
        if (value.p[i] < '0' || value.p[i] > '9')
            return 0;
    if (value.n == 0)
        return 0;
    return str_to_u64(value, &seconds) && (double)seconds < SECONDS_MOST ? (double)seconds
                                                                         : SECONDS_MOST;
}

/* Cuts the next directive off the front; a comma inside of quotes does not end it. */
static struct str caching_next_directive(struct str *rest)
{
    bool quoted = false;
    size_t n = 0;
    for (; n < rest->n; n++) {
        if (rest->p[n] == '"')
            quoted = !quoted;
        else if (rest->p[n] == ',' && !quoted)
            break;
    }
    struct str one = {rest->p, n};
    *rest = n < rest->n ? str_skip(*rest, n + 1) : STR_NONE;
    return str_trim(one);
}

static void caching_read_directive(struct caching_control *out, struct str one)
{
    struct str value = one, name = str_trim(str_cut(&value, '='));
    double seconds = value.p != NULL ? caching_seconds(value) : 0;
    if (str_ieq(name, STR("no-store")))
        out->no_store = true;
    else if (str_ieq(name, STR("no-cache"))) /* also the form that names fields */
        out->no_cache = true;
    else if (str_ieq(name, STR("private")))
        out->is_private = true;
    else if (str_ieq(name, STR("must-revalidate")) || str_ieq(name, STR("proxy-revalidate")))
        out->must_revalidate = true;
    else if (str_ieq(name, STR("max-age")) && out->max_age < 0)
        out->max_age = seconds;
    else if (str_ieq(name, STR("s-maxage")) && out->s_maxage < 0)
        out->s_maxage = seconds;
    else if (str_ieq(name, STR("stale-while-revalidate")))
        out->while_revalidate = seconds;
    else if (str_ieq(name, STR("stale-if-error")))
        out->if_error = seconds;
}

void caching_read_control(const struct headers *headers, struct caching_control *out)
{
    *out = (struct caching_control){
        .max_age = -1, .s_maxage = -1, .while_revalidate = -1, .if_error = -1};
    for (unsigned i = 0; i < headers->count; i++) {
        struct str rest = headers->list[i].value;
        if (!str_ieq(headers->list[i].name, STR("Cache-Control")))
            continue;
        while (rest.p != NULL)
            caching_read_directive(out, caching_next_directive(&rest));
    }
}

/* --- the verdict --- */

/* True for statuses whose responses are kept if their headers allow it. */
static bool caching_knows_status(int status)
{
    static const int known[] = {200, 203, 204, 300, 301, 302, 307, 308, 404, 405, 410, 414, 501};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i] == status)
            return true;
    return false;
}

/* True for statuses that the script's ttl is about: a 404 is often a page that comes soon. */
static bool caching_has_ttl(int status)
{
    return status == 200 || status == 203 || status == 301 || status == 302 || status == 308 ||
           status == 410;
}

static time_t caching_date(const struct headers *headers, struct str name, time_t now)
{
    const struct header *header = headers_get(headers, name);
    return header != NULL ? date_parse(header->value, now) : DATE_NONE;
}

/* Age when the response came, of whatever caches lie behind the application (RFC 9111 §4.2.3). */
static double caching_age(const struct headers *headers)
{
    const struct header *header = headers_get(headers, STR("Age"));
    return header != NULL ? caching_seconds(header->value) : 0;
}

/* The freshness lifetime by the headers (RFC 9111 §4.2.1); -1: they give none. */
static double caching_lifetime(const struct response *res, const struct caching_control *control,
                               time_t now)
{
    const struct headers *h = &res->headers;
    if (control->s_maxage >= 0)
        return control->s_maxage;
    if (control->max_age >= 0)
        return control->max_age;
    time_t date = caching_date(h, STR("Date"), now);
    date = date != DATE_NONE ? date : now;
    if (headers_get(h, STR("Expires")) != NULL) {
        time_t expires = caching_date(h, STR("Expires"), now);
        return expires != DATE_NONE && expires > date ? (double)(expires - date) : 0;
    }
    time_t modified = caching_date(h, STR("Last-Modified"), now);
    /* A 302 and a 307 are not kept without a word about it (RFC 9110 §15.1). */
    if (modified == DATE_NONE || res->status == 302 || res->status == 307)
        return -1;
    double lifetime = modified < date ? (double)(date - modified) * HEURISTIC_PART : 0;
    return lifetime < HEURISTIC_MOST ? lifetime : HEURISTIC_MOST;
}

static bool caching_varies_by_all(const struct headers *headers)
{
    for (unsigned i = 0; i < headers->count; i++) {
        struct str rest = headers->list[i].value, name;
        if (!str_ieq(headers->list[i].name, STR("Vary")))
            continue;
        while ((name = caching_next_name(&rest)).n > 0)
            if (str_eq(name, STR("*")))
                return true;
    }
    return false;
}

/* The reason why the response must not be kept; CACHE_NO_REASON: none but its age. */
static enum cache_reason caching_obstacle(const struct caching_rules *rules,
                                          const struct response *res,
                                          const struct caching_control *control)
{
    const struct headers *h = &res->headers;
    if (!caching_knows_status(res->status))
        return CACHE_STATUS;
    if (!rules->ignores_cookies && headers_get(h, STR("Set-Cookie")) != NULL)
        return CACHE_SET_COOKIE;
    if (!rules->ignores_control && control->no_store)
        return CACHE_NO_STORE;
    if (!rules->ignores_control && control->is_private)
        return CACHE_PRIVATE;
    if (!rules->ignores_control && control->no_cache)
        return CACHE_NO_CACHE;
    return caching_varies_by_all(h) ? CACHE_VARY : CACHE_NO_REASON;
}

void caching_judge(const struct caching_rules *rules, const struct response *response, time_t now,
                   struct caching_verdict *out)
{
    struct caching_control control;
    caching_read_control(&response->headers, &control);
    *out = (struct caching_verdict){.reason = caching_obstacle(rules, response, &control)};
    if (out->reason != CACHE_NO_REASON)
        return;
    bool ruled = rules->ttl >= 0 && caching_has_ttl(response->status);
    double lifetime = ruled ? rules->ttl : caching_lifetime(response, &control, now);
    out->age = ruled ? 0 : caching_age(&response->headers);
    out->fresh = lifetime - out->age;
    if (lifetime < 0)
        out->reason = CACHE_NO_LIFETIME;
    else if (out->fresh <= 0)
        out->reason = CACHE_OUTDATED;
    if (rules->stale >= 0)
        out->stale = rules->stale;
    else if (!control.must_revalidate)
        out->stale = control.while_revalidate > control.if_error ? control.while_revalidate
                                                                 : control.if_error;
    if (out->stale < 0)
        out->stale = 0;
    if (rules->background == CACHING_ALWAYS)
        out->at_once = out->stale;
    else if (rules->background == CACHING_BY_HEADERS && !control.must_revalidate)
        out->at_once =
            control.while_revalidate < out->stale ? control.while_revalidate : out->stale;
    if (out->at_once < 0)
        out->at_once = 0;
}

struct str caching_next_name(struct str *list)
{
    while (list->p != NULL) {
        struct str name = str_trim(str_cut(list, ','));
        if (name.n > 0)
            return name;
    }
    return STR("");
}
