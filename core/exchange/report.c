/* report - see report.h. */
#include "exchange/report.h"

#include "http/access.h"
#include "http/logline.h"
#include "shm/tail.h"

#include <stdio.h>

/* The quota of a backend, so that its failures leave room for those of others. */
static struct log_quota *report_quota_of(struct str backend)
{
    static struct log_quota quotas[64] = {[0 ... 63] = {.most = LOG_MOST}};
    unsigned hash = 0;
    for (size_t i = 0; i < backend.n; i++)
        hash = hash * 31 + (unsigned char)backend.p[i];
    return &quotas[hash % 64];
}

void report_backend(enum log_level level, const struct request *req, const char *what,
                    const char *detail)
{
    logline_write(req, report_quota_of(req->backend), level, "backend '%.*s'%s%.*s: %s: %s",
                  STR_FMT(req->backend), req->server.n > 0 ? ", server " : "", STR_FMT(req->server),
                  what, detail);
}

/* --- STDERR --- */

#define OF_SCRIPT 100 /* messages of one script that are logged in ten seconds, and */
#define OF_SITE   300 /* of all scripts of one site */
#define NOISY     64  /* scripts, and sites, that are told apart */

/* What a quota is for. One that has not been used for the longest time gives its place to another,
 * and its count is logged then. Names differ within `of`, or share a quota. */
struct report_noise {
    unsigned hash;
    uint64_t used;
    char of[320]; /* "messages of /srv/x.php (tenant shop) on STDERR"; "": free */
    struct log_quota quota;
};

static unsigned report_hash(const char *text)
{
    unsigned hash = 5381;
    for (; *text != '\0'; text++)
        hash = hash * 33 + (unsigned char)*text;
    return hash;
}

static struct log_quota *report_noise_quota(struct report_noise list[NOISY], unsigned most,
                                            const char *of)
{
    static uint64_t uses;
    unsigned hash = report_hash(of);
    struct report_noise *oldest = &list[0], *found = NULL;
    for (unsigned i = 0; i < NOISY && found == NULL; i++) {
        if (list[i].hash == hash && strcmp(list[i].of, of) == 0)
            found = &list[i];
        else if (list[i].used < oldest->used)
            oldest = &list[i];
    }
    if (found == NULL) {
        found = oldest;
        log_end_quota(&found->quota);
        snprintf(found->of, sizeof found->of, "%s", of);
        found->hash = hash;
        found->quota.most = most;
        found->quota.level = LOG_ERROR;
        found->quota.of = found->of;
    }
    found->used = ++uses;
    return &found->quota;
}

/* The end of a long name tells more than its beginning. */
static struct str report_end_of(struct str name)
{
    return name.n > 120 ? str_skip(name, name.n - 120) : name;
}

/* False: the message is one too many, and counted. */
static bool report_heeds(const struct request *req, const struct report_source *source)
{
    static struct report_noise scripts[NOISY], sites[NOISY];
    char of[sizeof scripts->of];
    struct str tenant = report_end_of(req->decision.tenant);
    struct str site = tenant.n > 0            ? tenant
                      : source->docroot.n > 0 ? source->docroot
                                              : req->backend;
    /* Tenants may share a script. */
    snprintf(of, sizeof of, "messages of %.*s%s%.*s%s on STDERR",
             STR_FMT(report_end_of(source->script)), tenant.n > 0 ? " (tenant " : "",
             STR_FMT(tenant), tenant.n > 0 ? ")" : "");
    if (!log_take(report_noise_quota(scripts, OF_SCRIPT, of)))
        return false;
    snprintf(of, sizeof of, "messages of %s %.*s on STDERR",
             tenant.n > 0            ? "tenant"
             : source->docroot.n > 0 ? "site"
                                     : "backend",
             STR_FMT(report_end_of(site)));
    return log_take(report_noise_quota(sites, OF_SITE, of));
}

void report_stderr(enum log_level level, const struct request *req,
                   const struct report_source *source, struct str text, const char *advice)
{
    static struct log_quota seldom = {.most = 1};
    if (level < log_threshold() || (level != LOG_WARN && !report_heeds(req, source)))
        return;
    logline_write(req, level == LOG_WARN ? &seldom : NULL, level,
                  "stderr of backend '%.*s': %.*s%s%s", STR_FMT(req->backend), STR_FMT(text),
                  *advice != '\0' ? ": " : "", advice);
}

/* Logs a name once. The table has a bound, since clients choose these names. */
static void report_say_once(const struct request *req, struct str name)
{
    static char said[128][64];
    if (name.n >= sizeof said[0])
        return;
    for (size_t i = 0; i < sizeof said / sizeof *said; i++) {
        if (str_ieq(str_of(said[i]), name))
            return;
        if (said[i][0] != '\0')
            continue;
        memcpy(said[i], name.p, name.n);
        logline_write(req, NULL, LOG_INFO,
                      "the request header '%.*s' is dropped: as a param its name could pose as "
                      "another's (limits.header_names keeps it); this is said once",
                      STR_FMT(name));
        return;
    }
}

void report_dropped(const struct request *req)
{
    for (unsigned i = 0; req->dropped > 0 && i < req->headers.count; i++)
        if (req->headers.list[i].dropped)
            report_say_once(req, req->headers.list[i].name);
}

/* Shows the request to who reads the access lines live, in JSON whatever the log's format is. */
static void report_tail(const struct generation *generation, const struct request *req)
{
    static char line[ACCESS_LINE_SIZE];
    size_t n = access_json(req, generation->number, line, sizeof line);
    if (n > 0)
        tail_add((struct str){line, n});
}

static size_t report_line(const struct generation *generation, const struct request *req,
                          char *room)
{
    const struct settings *settings = generation->settings;
    switch (settings->access_format) {
    case ACCESS_JSON:
        return access_json(req, generation->number, room, ACCESS_LINE_SIZE);
    case ACCESS_FIELDS:
        return access_fields(&settings->access_fields, req, generation->number, room,
                             ACCESS_LINE_SIZE);
    default:
        return access_combined(req, room, ACCESS_LINE_SIZE);
    }
}

/* Logs the line that a script has made; without one (NULL) that of the format. */
static void report_log(const struct generation *generation, const struct request *req,
                       struct str line)
{
    bool journal = log_access_has_fields();
    char *room = log_access_reserve(ACCESS_LINE_SIZE + (journal ? ACCESS_JOURNAL_SIZE : 0));
    if (room == NULL)
        return;
    size_t n = line.n < ACCESS_LINE_SIZE ? line.n : ACCESS_LINE_SIZE, fields = 0;
    if (line.p == NULL) {
        n = report_line(generation, req, room);
    } else {
        memcpy(room, line.p, n);
        room[n - 1] = '\n';
    }
    if (journal && n > 0)
        fields = access_journal(req, generation->number, room + n - 1, ACCESS_JOURNAL_SIZE);
    log_access_commit(n, fields);
}

void report_access(struct generation *generation, struct request *req, struct script_call *call)
{
    enum access_format format = generation->settings->access_format;
    struct script *script = generation->script;
    struct str line = STR_NONE;
    if (req->control) /* requests on the control listener are not logged */
        return;
    if (tail_is_read(loop_now(generation->loop)))
        report_tail(generation, req);
    if (script_has(script, HOOK_LOG) && !req->unscripted)
        script_log(script, req, call, &line);
    if (line.p == NULL && format == ACCESS_FUNCTION && !req->unscripted)
        script_format(script, req, call, &line);
    if (format == ACCESS_OFF || (line.p != NULL && line.n == 0))
        return;
    report_log(generation, req, line);
}
