/* metrics - see metrics.h. */
#include "script/metrics.h"

#include "script/door.h"
#include "script/hooks.h"
#include "script/value.h"
#include "shm/metrics.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

/* --- what is counted here --- */

static const char *const phase_names[METRICS_PHASES] = {[METRICS_QUEUE] = "queue",
                                                        [METRICS_CONNECT] = "connect",
                                                        [METRICS_FIRST_BYTE] = "first_byte",
                                                        [METRICS_TOTAL] = "total"};
static const char *const method_names[METRICS_METHODS] = {
    [METRICS_GET] = "GET",     [METRICS_HEAD] = "HEAD",          [METRICS_POST] = "POST",
    [METRICS_PUT] = "PUT",     [METRICS_DELETE] = "DELETE",      [METRICS_OPTIONS] = "OPTIONS",
    [METRICS_PATCH] = "PATCH", [METRICS_OTHER_METHOD] = "other",
};

static const char *const protocol_names[METRICS_PROTOCOLS] = {[METRICS_HTTP_1_0] = "HTTP/1.0",
                                                              [METRICS_HTTP_1_1] = "HTTP/1.1",
                                                              [METRICS_HTTP_2_0] = "HTTP/2.0",
                                                              [METRICS_FASTCGI] = "FastCGI"};

static const char *const span_names[METRICS_SPANS] = {[METRICS_EXPORTED] = "exported",
                                                      [METRICS_FULL] = "full",
                                                      [METRICS_FAILED] = "failed",
                                                      [METRICS_REJECTED] = "rejected"};

static const char *const refused_names[2] = {"connections", "per_ip"};

static const char *const tls_names[METRICS_TLS_VERSIONS] = {
    [METRICS_TLS_1_2] = "TLSv1.2", [METRICS_TLS_1_3] = "TLSv1.3"};

static const char *const handshake_names[METRICS_HANDSHAKES] = {
    [METRICS_NO_TLS] = "no_tls",
    [METRICS_VERSION] = "version",
    [METRICS_CIPHER] = "cipher",
    [METRICS_CERTIFICATE] = "client_certificate",
    [METRICS_ALERT] = "refused_by_client",
    [METRICS_LEFT] = "client_left",
    [METRICS_BAD_TLS] = "other"};

static const char *const limit_names[METRICS_LIMITS] = {[METRICS_LIMIT_REQUEST_LINE] =
                                                            "request_line",
                                                        [METRICS_LIMIT_HEADER] = "header",
                                                        [METRICS_LIMIT_BODY] = "body",
                                                        [METRICS_LIMIT_TIME] = "timeout",
                                                        [METRICS_LIMIT_QUEUE] = "queue",
                                                        [METRICS_LIMIT_PER_IP] = "per_ip"};

/* The names of backends and tenants by their numbers. NULL: it stands for others, or is not used.
 */
struct names {
    const struct metrics_name *backend[METRICS_BACKENDS];
    const struct metrics_name *tenant[METRICS_TENANTS];
};

static struct metrics *metrics_check_metrics(lua_State *L)
{
    struct metrics *m = metrics_all();
    if (m == NULL)
        luaL_error(L, "there is no memory for what is counted");
    return m;
}

static void metrics_set_number(lua_State *L, const char *key, double number)
{
    lua_pushnumber(L, number);
    lua_setfield(L, -2, key);
}

/* Sets list[i] of the list on the top. */
static void metrics_put_number(lua_State *L, unsigned i, double number)
{
    lua_pushnumber(L, number);
    lua_rawseti(L, -2, (int)i);
}

/* The sum over all places of the counter that lies `at` bytes into each sheet. */
static uint64_t metrics_sum_of(const struct metrics *m, size_t at)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < m->places; i++)
        if (m->used_places[i])
            sum += __atomic_load_n((const uint64_t *)((const char *)&m->sheet[i] + at),
                                   __ATOMIC_RELAXED);
    return sum;
}

/* Sets the sum of a counter in the table on the top. */
static void metrics_set_sum(lua_State *L, const char *key, const struct metrics *m, size_t at)
{
    metrics_set_number(L, key, (double)metrics_sum_of(m, at));
}

/* Pushes { name = sum } of `count` counters that lie `at` bytes into each sheet; those without a
 * name are left out. */
static void metrics_push_counts(lua_State *L, const struct metrics *m, size_t at,
                                const char *const *names, unsigned count)
{
    lua_createtable(L, 0, (int)count);
    for (unsigned i = 0; i < count; i++)
        if (names[i] != NULL)
            metrics_set_sum(L, names[i], m, at + i * sizeof(uint64_t));
}

/* Pushes { counts..., sum }. */
static void metrics_push_histogram(lua_State *L, const struct metrics_histogram *h)
{
    lua_createtable(L, METRICS_BUCKETS + 1, 1);
    for (unsigned i = 0; i <= METRICS_BUCKETS; i++)
        metrics_put_number(L, i + 1, (double)h->bucket[i]);
    metrics_set_number(L, "sum", h->sum);
}

static void metrics_push_phase(lua_State *L, const struct metrics *m, unsigned backend,
                               unsigned phase)
{
    struct metrics_histogram all = {.sum = 0};
    for (unsigned i = 0; i < m->places; i++) {
        if (!m->used_places[i])
            continue;
        const struct metrics_histogram *one = &m->sheet[i].backend[backend].phase[phase];
        for (unsigned j = 0; j <= METRICS_BUCKETS; j++)
            all.bucket[j] += __atomic_load_n(&one->bucket[j], __ATOMIC_RELAXED);
        all.sum += one->sum;
    }
    metrics_push_histogram(L, &all);
}

static void metrics_push_name(lua_State *L, const struct metrics_name *name)
{
    if (name != NULL && name->size <= METRICS_TEXT)
        lua_pushlstring(L, name->text, name->size);
    else
        lua_pushboolean(L, 0);
}

static void metrics_push_backend_name(lua_State *L, const struct names *names, unsigned backend)
{
    if (backend == METRICS_NO_BACKEND)
        lua_pushliteral(L, "");
    else
        metrics_push_name(L, names->backend[backend]);
}

static void metrics_push_backends(lua_State *L, const struct metrics *m, const struct names *names)
{
    lua_newtable(L);
    for (unsigned i = 0; i < METRICS_BACKENDS && i < m->used[METRICS_BACKEND]; i++) {
        size_t at = offsetof(struct metrics_sheet, backend) + i * sizeof(struct metrics_backend);
        lua_newtable(L);
        metrics_push_backend_name(L, names, i);
        lua_setfield(L, -2, "name");
        metrics_set_sum(L, "bytes_in", m, at + offsetof(struct metrics_backend, bytes_in));
        metrics_set_sum(L, "bytes_out", m, at + offsetof(struct metrics_backend, bytes_out));
        metrics_set_sum(L, "retries", m, at + offsetof(struct metrics_backend, retries));
        metrics_push_counts(L, m, at + offsetof(struct metrics_backend, messages), metrics_levels,
                            METRICS_LEVELS);
        lua_setfield(L, -2, "messages");
        lua_createtable(L, 0, METRICS_PHASES);
        for (unsigned phase = 0; phase < METRICS_PHASES; phase++) {
            metrics_push_phase(L, m, i, phase);
            lua_setfield(L, -2, phase_names[phase]);
        }
        lua_setfield(L, -2, "phases");
        lua_rawseti(L, -2, (int)i + 1);
    }
}

/* Pushes the counts of one series by method, those that have any. False: none has, and nothing is
 * pushed. */
static bool metrics_push_methods(lua_State *L, const struct metrics *m, unsigned series)
{
    size_t at = offsetof(struct metrics_sheet, requests) + series * sizeof m->sheet[0].requests[0];
    bool any = false;
    for (unsigned method = 0; method < METRICS_METHODS; method++) {
        uint64_t count[METRICS_CLASSES], total = 0;
        for (unsigned class = 0; class < METRICS_CLASSES; class ++) {
            count[class] = metrics_sum_of(m, at);
            total += count[class];
            at += sizeof(uint64_t);
        }
        if (total == 0)
            continue;
        if (!any)
            lua_newtable(L);
        any = true;
        lua_createtable(L, METRICS_CLASSES, 1);
        for (unsigned class = 0; class < METRICS_CLASSES; class ++)
            metrics_put_number(L, class, (double)count[class]);
        lua_setfield(L, -2, method_names[method]);
    }
    return any;
}

/* Adds the series of a backend and a tenant to the list on the top, if it has any request. */
static void metrics_add_series(lua_State *L, const struct metrics *m, const struct names *names,
                               unsigned series, unsigned backend, const struct metrics_name *tenant)
{
    if (!metrics_push_methods(L, m, series))
        return;
    lua_createtable(L, 0, 3);
    lua_insert(L, -2);
    lua_setfield(L, -2, "methods");
    metrics_push_backend_name(L, names, backend);
    lua_setfield(L, -2, "backend");
    if (series < METRICS_BACKENDS)
        lua_pushliteral(L, "");
    else
        metrics_push_name(L, tenant);
    lua_setfield(L, -2, "tenant");
    lua_rawseti(L, -2, (int)lua_objlen(L, -2) + 1);
}

static void metrics_push_series(lua_State *L, const struct metrics *m, const struct names *names)
{
    lua_newtable(L);
    for (unsigned i = 0; i < METRICS_BACKENDS && i < m->used[METRICS_BACKEND]; i++) {
        metrics_add_series(L, m, names, i, i, NULL);
        metrics_add_series(L, m, names, METRICS_BACKENDS + i, i, NULL);
    }
    for (unsigned i = 0; i < METRICS_TENANTS; i++)
        if (names->tenant[i] != NULL && names->tenant[i]->owner < METRICS_BACKENDS)
            metrics_add_series(L, m, names, 2 * METRICS_BACKENDS + i, names->tenant[i]->owner,
                               names->tenant[i]);
}

static const char *metrics_run_name(unsigned run)
{
    static const char *const others[] = {[SCRIPT_KIND_TIMER] = "timer",
                                         [SCRIPT_KIND_SPAWN] = "spawn",
                                         [SCRIPT_KIND_FORMAT] = "log.format"};
    if (run == SCRIPT_KIND_OTHER)
        return "other";
    return run <= HOOK_COUNT ? script_hook_names[run - 1] : others[run];
}

static void metrics_push_runs(lua_State *L, const struct metrics *m)
{
    lua_newtable(L);
    for (unsigned i = 0; i < SCRIPT_KIND_COUNT; i++) {
        size_t at = offsetof(struct metrics_sheet, run) + i * sizeof(struct metrics_run);
        lua_createtable(L, 0, 4);
        metrics_set_sum(L, "count", m, at + offsetof(struct metrics_run, count));
        metrics_set_sum(L, "errors", m, at + offsetof(struct metrics_run, errors));
        metrics_set_sum(L, "timeouts", m, at + offsetof(struct metrics_run, timeouts));
        metrics_set_number(
            L, "seconds",
            (double)metrics_sum_of(m, at + offsetof(struct metrics_run, nanoseconds)) / 1e9);
        lua_setfield(L, -2, metrics_run_name(i));
    }
}

static void metrics_push_turns(lua_State *L, const struct metrics *m)
{
    lua_newtable(L);
    for (unsigned i = 0; i < m->places && i < METRICS_WORKERS; i++) {
        metrics_push_histogram(L, &m->turns[i]);
        lua_rawseti(L, -2, (int)i);
    }
}

/* Pushes { version = { whole handshakes, resumed ones } }. */
static void metrics_push_tls(lua_State *L, const struct metrics *m)
{
    static const char *const names[2] = {"full", "resumed"};
    lua_createtable(L, 0, METRICS_TLS_VERSIONS);
    for (unsigned i = 0; i < METRICS_TLS_VERSIONS; i++) {
        size_t at = offsetof(struct metrics_sheet, tls) + i * sizeof m->sheet[0].tls[0];
        metrics_push_counts(L, m, at, names, 2);
        lua_setfield(L, -2, tls_names[i]);
    }
}

/* Pushes what was compressed, by coding: { answers, bytes_in, bytes_out }. */
static void metrics_push_coded(lua_State *L, const struct metrics *m)
{
    lua_createtable(L, 0, CODINGS);
    for (unsigned i = CODING_IDENTITY + 1; i < CODINGS; i++) {
        size_t at = offsetof(struct metrics_sheet, coded) + i * sizeof(struct metrics_coded);
        struct str name = coding_name((enum coding)i);
        script_push_str(L, name);
        lua_createtable(L, 0, 3);
        metrics_set_sum(L, "answers", m, at + offsetof(struct metrics_coded, answers));
        metrics_set_sum(L, "bytes_in", m, at + offsetof(struct metrics_coded, bytes_in));
        metrics_set_sum(L, "bytes_out", m, at + offsetof(struct metrics_coded, bytes_out));
        lua_rawset(L, -3);
    }
    lua_setfield(L, -2, "coded");
}

static void metrics_find_names(const struct metrics *m, struct names *names)
{
    uint32_t count = __atomic_load_n(&m->count, __ATOMIC_ACQUIRE);
    for (uint32_t i = 0; i < count && i < METRICS_NAMES; i++) {
        const struct metrics_name *name = &m->name[i];
        if (name->kind == METRICS_BACKEND && name->number < METRICS_BACKENDS)
            names->backend[name->number] = name;
        else if (name->kind == METRICS_TENANT && name->number < METRICS_TENANTS)
            names->tenant[name->number] = name;
    }
}

/* Lists of counters in a sheet, by their keys in core.counters(). */
static const struct {
    const char *key;
    size_t at;
    const char *const *names;
    unsigned count;
} lists[] = {
    {"cached", offsetof(struct metrics_sheet, cached), cache_use_words, CACHE_USES},
    {"spans", offsetof(struct metrics_sheet, spans), span_names, METRICS_SPANS},
    {"protocols", offsetof(struct metrics_sheet, protocol), protocol_names, METRICS_PROTOCOLS},
    {"refused", offsetof(struct metrics_sheet, refused), refused_names, 2},
    {"handshake_failures", offsetof(struct metrics_sheet, handshake), handshake_names,
     METRICS_HANDSHAKES},
    {"limited", offsetof(struct metrics_sheet, limited), limit_names, METRICS_LIMITS},
};

/* core.counters(), see the head. */
static int metrics_core_counters(lua_State *L)
{
    const struct metrics *m = metrics_check_metrics(L);
    static struct names names; /* large */
    names = (struct names){.backend = {NULL}};
    metrics_find_names(m, &names);
    lua_newtable(L);
    lua_createtable(L, METRICS_BUCKETS, 0);
    for (unsigned i = 0; i < METRICS_BUCKETS; i++)
        metrics_put_number(L, i + 1, metrics_bounds[i]);
    lua_setfield(L, -2, "bounds");
    metrics_push_series(L, m, &names);
    lua_setfield(L, -2, "series");
    metrics_push_backends(L, m, &names);
    lua_setfield(L, -2, "backends");
    metrics_push_runs(L, m);
    lua_setfield(L, -2, "runs");
    metrics_push_turns(L, m);
    lua_setfield(L, -2, "turns");
    metrics_set_sum(L, "accepted", m, offsetof(struct metrics_sheet, accepted));
    metrics_set_sum(L, "ktls", m, offsetof(struct metrics_sheet, ktls));
    metrics_set_sum(L, "refreshed", m, offsetof(struct metrics_sheet, refreshed));
    metrics_set_sum(L, "shared_full", m, offsetof(struct metrics_sheet, shared_full));
    metrics_push_coded(L, m);
    metrics_push_tls(L, m);
    lua_setfield(L, -2, "tls");
    for (unsigned i = 0; i < sizeof lists / sizeof *lists; i++) {
        metrics_push_counts(L, m, lists[i].at, lists[i].names, lists[i].count);
        lua_setfield(L, -2, lists[i].key);
    }
    return 1;
}

/* core.resident(pid) -> bytes of memory that the process has; nil: it can't be known. */
static int metrics_core_resident(lua_State *L)
{
    char path[40];
    unsigned long long size, resident;
    snprintf(path, sizeof path, "/proc/%d/statm", (int)luaL_checkinteger(L, 1));
    FILE *file = fopen(path, "re");
    int read = file != NULL ? fscanf(file, "%llu %llu", &size, &resident) : 0;
    if (file != NULL)
        fclose(file);
    if (read != 2)
        return 0;
    lua_pushnumber(L, (double)resident * (double)sysconf(_SC_PAGESIZE));
    return 1;
}

/* --- scripts of applications --- */

static void metrics_push_script_counts(lua_State *L, const struct scripts_counts *counts)
{
    lua_createtable(L, 0, 6);
    metrics_set_number(L, "requests", (double)counts->requests);
    metrics_set_number(L, "errors", (double)counts->errors);
    metrics_set_number(L, "messages", (double)counts->messages);
    metrics_set_number(L, "seconds", counts->seconds);
}

/* Adds the scripts of a place to the list on the top, and what it has forgotten to *others. */
static void metrics_add_scripts(lua_State *L, const struct scripts_table *t,
                                struct scripts_counts *others)
{
    int n = (int)lua_objlen(L, -1);
    for (unsigned i = 0; i < SCRIPTS_MOST; i++) {
        const struct scripts_entry *e = &t->entry[i];
        bool cut;
        if (e->hash == 0)
            continue;
        metrics_push_script_counts(L, &e->counts);
        struct str name = scripts_name(e, &cut);
        lua_pushfstring(L, "%s", cut ? "..." : "");
        lua_pushlstring(L, name.p, name.n);
        lua_concat(L, 2);
        lua_setfield(L, -2, "script");
        lua_rawseti(L, -2, ++n);
    }
    others->requests += t->others.requests;
    others->errors += t->others.errors;
    others->messages += t->others.messages;
    others->seconds += t->others.seconds;
}

/* core.scripts() -> list of { script, requests, errors, messages, seconds }, a script once for each
 * place that knows it; the counts of all others */
static int metrics_core_scripts(lua_State *L)
{
    const struct metrics *m = metrics_check_metrics(L);
    struct scripts_counts others = {0};
    lua_newtable(L);
    for (unsigned i = 0; i < m->places; i++)
        if (m->used_places[i])
            metrics_add_scripts(L, &m->sheet[i].scripts, &others);
    metrics_push_script_counts(L, &others);
    return 2;
}

/* --- metrics of scripts --- */

static unsigned metrics_check_below(lua_State *L, int idx, unsigned bound)
{
    double number = luaL_checknumber(L, idx);
    luaL_argcheck(L, number >= 0 && number < bound && number == floor(number), idx,
                  "expected what this module has returned");
    return (unsigned)number;
}

/* core.metrics_family(description) -> its number; nil: there are too many. */
static int metrics_core_family(lua_State *L)
{
    int number = metrics_family(script_check_str(L, 1));
    if (number < 0)
        return 0;
    lua_pushinteger(L, number);
    return 1;
}

/* core.metrics_label(family, labels, count, most) -> the first of its `count` values, all 0 where
 * the series is new; nil: the family has `most` series, or there is no room for more. */
static int metrics_core_label(lua_State *L)
{
    unsigned family = metrics_check_below(L, 1, METRICS_FAMILIES);
    int first =
        metrics_label(family, script_check_str(L, 2), metrics_check_below(L, 3, METRICS_VALUES),
                      metrics_check_below(L, 4, METRICS_LABELS + 1));
    if (first < 0)
        return 0;
    lua_pushinteger(L, first);
    return 1;
}

/* core.metrics_add(value, by) */
static int metrics_core_add(lua_State *L)
{
    metrics_value_add(metrics_check_metrics(L), metrics_check_below(L, 1, METRICS_VALUES),
                      luaL_checknumber(L, 2));
    return 0;
}

/* core.metrics_set(value, to) */
static int metrics_core_set(lua_State *L)
{
    metrics_value_set(metrics_check_metrics(L), metrics_check_below(L, 1, METRICS_VALUES),
                      luaL_checknumber(L, 2));
    return 0;
}

/* core.metrics_get(value) -> number */
static int metrics_core_get(lua_State *L)
{
    lua_pushnumber(
        L, metrics_value(metrics_check_metrics(L), metrics_check_below(L, 1, METRICS_VALUES)));
    return 1;
}

/* core.metrics_list(family) -> list of { labels, first }: its series. */
static int metrics_core_list(lua_State *L)
{
    const struct metrics *m = metrics_check_metrics(L);
    unsigned family = metrics_check_below(L, 1, METRICS_FAMILIES);
    uint32_t count = __atomic_load_n(&m->count, __ATOMIC_ACQUIRE);
    lua_newtable(L);
    for (uint32_t i = 0, n = 0; i < count && i < METRICS_NAMES; i++) {
        const struct metrics_name *name = &m->name[i];
        if (name->kind != METRICS_LABEL || name->owner != family || name->size > METRICS_TEXT)
            continue;
        lua_createtable(L, 2, 0);
        lua_pushlstring(L, name->text, name->size);
        lua_rawseti(L, -2, 1);
        lua_pushinteger(L, name->number);
        lua_rawseti(L, -2, 2);
        lua_rawseti(L, -2, (int)++n);
    }
    return 1;
}

void script_metrics_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"counters", metrics_core_counters},   {"metrics_family", metrics_core_family},
        {"metrics_label", metrics_core_label}, {"metrics_add", metrics_core_add},
        {"metrics_set", metrics_core_set},     {"metrics_get", metrics_core_get},
        {"metrics_list", metrics_core_list},   {"resident", metrics_core_resident},
        {"scripts", metrics_core_scripts},     {NULL, NULL}};
    luaL_register(L, NULL, functions);
}
