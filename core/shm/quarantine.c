/* quarantine - see quarantine.h. */
#include "shm/quarantine.h"

#include "base/log.h"
#include "shm/mapping.h"

#include <stdio.h>
#include <sys/random.h>

#define WITHIN  10.0 /* seconds between the ends of two workers by one page */
#define FIRST   10.0
#define LONGEST 60.0
#define FOLLOWS 60.0 /* seconds after a quarantine in which one more worker begins another */

static const struct quarantine *used;

static uint64_t quarantine_add(uint64_t hash, struct str text) /* FNV-1a */
{
    for (size_t i = 0; i < text.n; i++)
        hash = (hash ^ (unsigned char)text.p[i]) * 0x100000001b3u;
    return hash;
}

static struct str quarantine_cut(struct str text, size_t most)
{
    return (struct str){text.p, text.n < most ? text.n : most};
}

static struct str quarantine_path_of(struct str uri)
{
    struct str rest = quarantine_cut(uri, UNDERWAY_URI);
    return str_cut(&rest, '?');
}

/* The hash of a page, of names cut to the size of a slot of `underway`, so that worker and master
 * get the same hash. */
static uint64_t quarantine_page_hash(uint64_t seed, struct str host, struct str uri)
{
    uint64_t hash = quarantine_add(seed, quarantine_cut(host, UNDERWAY_HOST));
    hash = quarantine_add(quarantine_add(hash, STR("/")), quarantine_path_of(uri));
    return hash != 0 ? hash : 1;
}

/* --- in the master --- */

bool quarantine_init(struct quarantine_pages *pages)
{
    pages->shared = mapping_new(sizeof *pages->shared);
    if (pages->shared == NULL)
        return false;
    return getrandom(&pages->shared->seed, sizeof pages->shared->seed, 0) ==
           (ssize_t)sizeof pages->shared->seed;
}

/* Publishes the hashes that workers compare. */
static void quarantine_publish(struct quarantine_pages *pages)
{
    struct quarantine *shared = pages->shared;
    uint32_t count = 0;
    for (unsigned i = 0; i < QUARANTINE_MOST; i++)
        if (pages->list[i].ends > 0)
            __atomic_store_n(&shared->pages[count++], pages->list[i].hash, __ATOMIC_RELAXED);
    __atomic_store_n(&shared->count, count, __ATOMIC_RELEASE);
}

/* The page's entry, or the least useful entry, which is reused. NULL: all entries are in
 * quarantine. */
static struct quarantine_page *quarantine_find(struct quarantine_pages *pages, uint64_t hash)
{
    struct quarantine_page *oldest = NULL;
    for (unsigned i = 0; i < QUARANTINE_MOST; i++) {
        struct quarantine_page *page = &pages->list[i];
        if (page->hash == hash)
            return page;
        if (page->ends == 0 && (oldest == NULL || page->lost < oldest->lost))
            oldest = page;
    }
    return oldest;
}

static void quarantine_begin(struct quarantine_pages *pages, struct quarantine_page *page,
                             double now)
{
    page->length = page->length == 0 ? FIRST : page->length * 2;
    if (page->length > LONGEST)
        page->length = LONGEST;
    page->ends = now + page->length;
    quarantine_publish(pages);
    log_error("the page %s has cost workers again and again: it is answered 500 for %.0f s, and "
              "its script is not run",
              page->name, page->length);
}

void quarantine_lost(struct quarantine_pages *pages, const struct underway_request *request,
                     double now)
{
    struct str host = {request->host, request->host_size}, uri = {request->uri, request->uri_size};
    uint64_t hash = quarantine_page_hash(pages->shared->seed, host, uri);
    struct quarantine_page *page = quarantine_find(pages, hash);
    if (page == NULL ||
        page->ends > 0) /* the request was under way already when the quarantine began */
        return;
    bool known = page->hash == hash;
    bool follows = known && page->length > 0 && now - page->lost <= FOLLOWS;
    if (!known || (page->length > 0 && !follows)) {
        struct str path = quarantine_path_of(uri);
        *page = (struct quarantine_page){.hash = hash};
        snprintf(page->name, sizeof page->name, "%.*s%.*s", STR_FMT(host), STR_FMT(path));
        known = false;
    }
    bool again = follows || (known && now - page->lost <= WITHIN);
    page->lost = now;
    if (again)
        quarantine_begin(pages, page, now);
}

double quarantine_due(struct quarantine_pages *pages, double now)
{
    double next = 0;
    for (unsigned i = 0; i < QUARANTINE_MOST; i++) {
        struct quarantine_page *page = &pages->list[i];
        if (page->ends > now && (next == 0 || page->ends < next))
            next = page->ends;
        if (page->ends == 0 || page->ends > now)
            continue;
        page->ends = 0;
        page->lost = now;
        quarantine_publish(pages);
        log_error("the page %s is tried again after %.0f s: its script is run", page->name,
                  page->length);
    }
    return next;
}

void quarantine_clear(struct quarantine_pages *pages)
{
    for (unsigned i = 0; i < QUARANTINE_MOST; i++)
        if (pages->list[i].ends > 0)
            log_error("the page %s is tried again, with the new script", pages->list[i].name);
    memset(pages->list, 0, sizeof pages->list);
    quarantine_publish(pages);
}

/* --- in a worker --- */

void quarantine_use(const struct quarantine *shared)
{
    used = shared;
}

bool quarantine_holds(const struct request *req)
{
    uint32_t count = used != NULL ? __atomic_load_n(&used->count, __ATOMIC_ACQUIRE) : 0;
    if (count == 0)
        return false;
    uint64_t hash = quarantine_page_hash(used->seed, req->host, req->uri.origin);
    for (uint32_t i = 0; i < count && i < QUARANTINE_MOST; i++)
        if (__atomic_load_n(&used->pages[i], __ATOMIC_RELAXED) == hash)
            return true;
    return false;
}
