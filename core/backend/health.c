/* health - see health.h. */
#include "backend/health.h"

#include "backend/stream.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

#define ANSWER_MAX    (1u << 20)
#define LOAD_INTERVAL 2.0 /* seconds between requests for the status page, without pings */
#define LOAD_TIMEOUT  1.0
#define PARAMS        12
#define NUMBER_MAX    1000000000000000u /* of the status page: a double has it exactly */

/* What a request for one of PHP-FPM's pages is for. PURPOSE_CHECK is a health check, by the ping
 * page or the status page; PURPOSE_LOAD reads the status page for `load`. */
enum purpose { PURPOSE_CHECK, PURPOSE_LOAD };

/* The checks of one backend. */
struct checks {
    struct health *health;
    struct backend *backend;
    ev_timer timer;
    double interval;
};

/* One request under way. */
struct probe {
    struct probe *next;
    struct checks *checks;
    struct stream stream;
    struct deferred step;
    struct stream_request request;
    struct params params;
    struct param list[PARAMS];
    struct deadline deadline;
    struct buf answer;
    enum purpose purpose;
    int server;
};

struct health {
    struct loop *loop;
    struct probe *probes;
    unsigned count;
    struct checks checks[];
};

static void health_start_probe(struct checks *checks, int server, enum purpose purpose);

static const struct backend_settings *health_settings(const struct checks *checks)
{
    return backend_settings(checks->backend);
}

static enum purpose health_first_purpose(const struct checks *checks)
{
    return health_settings(checks)->health.enabled ? PURPOSE_CHECK : PURPOSE_LOAD;
}

/* True when a health check reads all that `load` wants, so that no other request is made. */
static bool health_reads_load(const struct checks *checks)
{
    const struct backend_settings *settings = health_settings(checks);
    return settings->health.reads_pool && str_eq(settings->health.page, settings->load);
}

static double health_timeout(const struct checks *checks)
{
    const struct health_settings *health = &health_settings(checks)->health;
    return health->enabled ? health->timeout : LOAD_TIMEOUT;
}

static void health_forget(struct probe *p)
{
    struct probe **at = &p->checks->health->probes;
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    if (p->purpose == health_first_purpose(p->checks))
        backend_check_over(p->checks->backend, p->server, p->checks->interval);
    stream_abort(&p->stream);
    loop_undefer(&p->step);
    deadline_fini(&p->deadline);
    buf_fini(&p->answer);
    free(p);
}

/* --- results --- */

static void health_say(const struct checks *checks, int server, bool good, const char *why)
{
    const struct backend_settings *settings = health_settings(checks);
    struct str address = backend_address(checks->backend, server);
    if (good)
        log_warn(
            "backend '%.*s': server %.*s is in service again: %u checks in a row were answered",
            STR_FMT(settings->name), STR_FMT(address), settings->health.rise);
    else
        log_error("backend '%.*s': server %.*s is out of service: %u checks in a row failed, the "
                  "last: %s",
                  STR_FMT(settings->name), STR_FMT(address), settings->health.fall, why);
}

static void health_verdict(struct probe *p, bool good, const char *why)
{
    struct checks *checks = p->checks;
    int server = p->server;
    enum purpose purpose = p->purpose;
    if (purpose == PURPOSE_CHECK && backend_checked(checks->backend, server, good))
        health_say(checks, server, good, why);
    health_forget(p);
    if (purpose == PURPOSE_CHECK && good && health_settings(checks)->load.n > 0 &&
        !health_reads_load(checks))
        health_start_probe(checks, server, PURPOSE_LOAD);
}

static struct str health_trim_end(struct str s)
{
    while (s.n > 0 && (s.p[s.n - 1] == '\r' || s.p[s.n - 1] == '\n' || s.p[s.n - 1] == ' '))
        s.n--;
    return s;
}

/* The body of the reply; n = 0 and *why: the reply is no success. */
static struct str health_body_of(struct str answer, const char **why)
{
    struct str rest = answer;
    while (rest.p != NULL) {
        struct str line = health_trim_end(str_cut(&rest, '\n')), value = line;
        struct str name = str_cut(&value, ':');
        if (line.n == 0)
            return health_trim_end(rest);
        if (str_ieq(name, STR("Status")) && value.p != NULL &&
            !str_starts(str_trim(value), STR("200"))) {
            *why = "the answer was no 200 (is the page the pool's ping.path or pm.status_path?)";
            return STR("");
        }
    }
    *why = "the answer had no head";
    return STR("");
}

/* The number behind a key of php-fpm's status page, with its quotes; 0 where there is none. */
static uint64_t health_number_of(struct str json, const char *key)
{
    const char *at = memmem(json.p, json.n, key, strlen(key));
    uint64_t n = 0;
    if (at == NULL)
        return 0;
    for (at += strlen(key); at < json.p + json.n && (*at < '0' || *at > '9'); at++)
        if (*at == ',' || *at == '}')
            return 0;
    for (; at < json.p + json.n && *at >= '0' && *at <= '9' && n < NUMBER_MAX; at++)
        n = n * 10 + (uint64_t)(*at - '0');
    return n;
}

static uint32_t health_small_number_of(struct str json, const char *key)
{
    uint64_t n = health_number_of(json, key);
    return n < 1000000 ? (uint32_t)n : 1000000;
}

/* For /metrics, as PHP-FPM counts. */
static void health_read_pool(struct ledger_pool *pool, struct str json)
{
    pool->accepted = health_number_of(json, "\"accepted conn\"");
    pool->max_children_reached = health_number_of(json, "\"max children reached\"");
    pool->slow_requests = health_number_of(json, "\"slow requests\"");
    pool->active = health_small_number_of(json, "\"active processes\"");
    pool->idle = health_small_number_of(json, "\"idle processes\"");
    pool->total = health_small_number_of(json, "\"total processes\"");
    pool->max_active = health_small_number_of(json, "\"max active processes\"");
    pool->listen_queue = health_small_number_of(json, "\"listen queue\"");
    pool->max_listen_queue = health_small_number_of(json, "\"max listen queue\"");
    pool->listen_queue_size = health_small_number_of(json, "\"listen queue len\"");
    pool->read_at = ledger_now();
}

static unsigned health_count_of(struct str json, const char *what)
{
    size_t n = strlen(what);
    unsigned count = 0;
    for (const char *at; (at = memmem(json.p, json.n, what, n)) != NULL; count++)
        json = str_skip(json, (size_t)(at - json.p) + n);
    return count;
}

/* True when the request asks for the state of each process, too. */
static bool health_wants_load(const struct probe *p)
{
    return p->purpose == PURPOSE_LOAD || health_reads_load(p->checks);
}

/* Keeps what a status page says. Counts busy processes by their state, since PHP-FPM's own counters
 * count kept connections as busy. */
static void health_read_status(struct probe *p, struct str body)
{
    struct ledger_server *slot = backend_server(p->checks->backend, p->server);
    unsigned busy = health_count_of(body, "\"state\":\"Running\"") +
                    health_count_of(body, "\"state\":\"Finishing\"") +
                    health_small_number_of(body, "\"listen queue\"");
    health_read_pool(&slot->pool, body);
    if (slot->reads == LEDGER_READS_LOAD && health_wants_load(p))
        slot->others = busy > slot->active ? busy - slot->active : 0;
}

/* Handles the body of a health check. Returns NULL: the server is well; or why not. */
static const char *health_check_body(struct probe *p, struct str body)
{
    const struct health_settings *health = &health_settings(p->checks)->health;
    if (!health->reads_pool)
        return str_eq(body, health->expect) ? NULL : "the answer was not what is expected";
    if (!str_starts(body, STR("{")) || health_count_of(body, "\"accepted conn\"") == 0)
        return "the answer was no status page in JSON";
    health_read_status(p, body);
    return NULL;
}

static void health_read_answer(struct probe *p)
{
    const char *why = NULL;
    struct str body = health_body_of(buf_peek(&p->answer), &why);
    if (p->purpose == PURPOSE_LOAD) {
        if (why == NULL)
            health_read_status(p, body);
        health_forget(p);
        return;
    }
    if (why == NULL)
        why = health_check_body(p, body);
    health_verdict(p, why == NULL, why);
}

/* --- the request --- */

static void health_failed(struct probe *p, enum failure failure, const char *detail)
{
    if (failure == FAILURE_QUEUE || p->stream.server < 0) /* the server got no check */
        health_forget(p);
    else
        health_verdict(p, false, detail);
}

static void health_step(struct deferred *d)
{
    struct probe *p = (struct probe *)((char *)d - offsetof(struct probe, step));
    enum stream_event event;
    struct str bytes;
    while ((event = stream_next(&p->stream, &bytes)) == STREAM_STDOUT || event == STREAM_STDERR) {
        if (event == STREAM_STDERR)
            continue;
        p->stream.answered = true;
        buf_append_str(&p->answer, bytes);
        if (p->answer.overflow) {
            health_failed(p, FAILURE_PROTOCOL, "the answer is too large");
            return;
        }
    }
    if (event == STREAM_FAILED)
        health_failed(p, p->stream.failure, p->stream.detail);
    else if (event == STREAM_END && p->stream.protocol_status == FCGI_REQUEST_COMPLETE)
        health_read_answer(p);
    else if (event == STREAM_END)
        health_forget(p); /* FCGI_OVERLOADED: a busy server has not failed */
}

/* True when the server may not have taken the check: it is full of moongate's requests, or (without
 * max_conns) has some, or its listen queue is full. */
static bool health_is_busy(const struct probe *p)
{
    const struct ledger_server *slot = backend_server(p->checks->backend, p->server);
    bool full = slot->max_conns > 0 ? !ledger_has_room(slot) : slot->active > 1;
    return full || stream_waits(&p->stream) ||
           (p->stream.channel != NULL && p->stream.channel->conn->state == CONN_BACKLOG);
}

static void health_missed_cb(struct deadline *d)
{
    struct probe *p = (struct probe *)((char *)d - offsetof(struct probe, deadline));
    if (health_is_busy(p))
        health_forget(p); /* a busy server has not failed */
    else
        health_verdict(p, false, "no answer in time");
}

static void health_add(struct probe *p, const char *name, struct str value)
{
    p->list[p->params.count++] = (struct param){str_of(name), value};
}

static void health_make_params(struct probe *p, struct str page)
{
    p->params = (struct params){.list = p->list, .room = PARAMS};
    health_add(p, "GATEWAY_INTERFACE", STR("CGI/1.1"));
    health_add(p, "SERVER_SOFTWARE", STR("moongate/" MG_VERSION));
    health_add(p, "SERVER_PROTOCOL", STR("HTTP/1.1"));
    health_add(p, "SERVER_NAME", STR("localhost"));
    health_add(p, "SERVER_PORT", STR("80"));
    health_add(p, "REMOTE_ADDR", STR("127.0.0.1"));
    health_add(p, "REQUEST_METHOD", STR("GET"));
    health_add(p, "REQUEST_URI", page);
    health_add(p, "SCRIPT_NAME", page);
    health_add(p, "SCRIPT_FILENAME", page);
    health_add(p, "QUERY_STRING",
               health_wants_load(p)                            ? STR("json&full")
               : health_settings(p->checks)->health.reads_pool ? STR("json")
                                                               : STR(""));
}

static void health_start_probe(struct checks *checks, int server, enum purpose purpose)
{
    const struct backend_settings *settings = health_settings(checks);
    double timeout = health_timeout(checks);
    struct probe *p = calloc(1, sizeof *p);
    if (p == NULL)
        abort();
    p->checks = checks;
    p->server = server;
    p->purpose = purpose;
    p->next = checks->health->probes;
    checks->health->probes = p;
    buf_init(&p->answer, ANSWER_MAX);
    health_make_params(p, purpose == PURPOSE_CHECK ? settings->health.page : settings->load);
    deadline_init(&p->deadline, checks->health->loop, health_missed_cb);
    deadline_set(&p->deadline, timeout);
    p->request = (struct stream_request){
        .backend = checks->backend,
        .server = server,
        .avoid = -1,
        .only = true,
        .once = true, /* a connection that ends is no sign of illness */
        .role = FCGI_RESPONDER,
        .params = &p->params,
        .connect_timeout = timeout,
        .send_timeout = timeout,
        .read_timeout = timeout * 2, /* the check's own deadline comes first */
    };
    p->step.run = health_step;
    stream_start(&p->stream, checks->health->loop, &p->request, &p->step);
}

/* --- the clock --- */

static void health_timer_cb(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct checks *checks = timer->data;
    struct backend *b = checks->backend;
    (void)ev;
    (void)events;
    /* A held backend is not checked, since its operator may be restarting PHP. */
    for (int i = 0; i < backend_server_count(b) && !backend_is_held(b); i++) {
        const struct ledger_server *slot = backend_server(b, i);
        if (!slot->draining && ledger_has_room(slot) &&
            backend_check_due(b, i, checks->interval, health_timeout(checks)))
            health_start_probe(checks, i, health_first_purpose(checks));
    }
}

static void health_start_checks(struct health *h, struct backend *b)
{
    const struct backend_settings *settings = backend_settings(b);
    if (!settings->health.enabled && settings->load.n == 0)
        return;
    struct checks *checks = &h->checks[h->count++];
    checks->health = h;
    checks->backend = b;
    checks->interval = settings->health.enabled ? settings->health.interval : LOAD_INTERVAL;
    ev_timer_init(&checks->timer, health_timer_cb, 0, checks->interval);
    checks->timer.data = checks;
    ev_timer_start(h->loop->ev, &checks->timer);
}

struct health *health_new(struct backend **backends, unsigned count, struct loop *loop)
{
    struct health *h = calloc(1, sizeof *h + count * sizeof *h->checks);
    if (h == NULL)
        abort();
    h->loop = loop;
    for (unsigned i = 0; i < count; i++)
        health_start_checks(h, backends[i]);
    if (h->count > 0)
        return h;
    free(h);
    return NULL;
}

void health_free(struct health *h)
{
    if (h == NULL)
        return;
    for (unsigned i = 0; i < h->count; i++)
        ev_timer_stop(h->loop->ev, &h->checks[i].timer);
    while (h->probes != NULL)
        health_forget(h->probes);
    free(h);
}
