/*
 * settings - see settings.h.
 *
 * lua/moongate/route/settings.lua has validated everything and filled in the defaults, so a value
 * of a wrong type is a fault of the library. Such a value is reported as an error of the route.
 */
#include "script/settings.h"

#include "http/access.h"
#include "script/compressing.h"
#include "script/value.h"

#include <stdlib.h>

struct reading {
    lua_State *L;
    struct arena *arena;
    const char *err;
};

static void settings_wrong(struct reading *r, const char *key, const char *expected)
{
    if (r->err == NULL)
        r->err = arena_printf(r->arena, "settings: %s: expected %s", key, expected).p;
}

/* Each getter reads a field of the table on the stack's top. */

static double settings_get_number(struct reading *r, const char *key)
{
    lua_getfield(r->L, -1, key);
    double value = lua_tonumber(r->L, -1);
    if (lua_type(r->L, -1) != LUA_TNUMBER || !(value >= 0 && value < 1e18)) {
        settings_wrong(r, key, "a number");
        value = 0;
    }
    lua_pop(r->L, 1);
    return value;
}

/* A count; a value above 32 bits becomes the largest. */
static unsigned settings_get_count(struct reading *r, const char *key)
{
    double value = settings_get_number(r, key);
    return value > UINT32_MAX ? UINT32_MAX : (unsigned)value;
}

static struct str settings_top_string(struct reading *r, const char *key)
{
    if (lua_type(r->L, -1) != LUA_TSTRING) {
        settings_wrong(r, key, "a string");
        return STR("");
    }
    return arena_copy(r->arena, script_str(r->L, -1));
}

static struct str settings_get_string(struct reading *r, const char *key)
{
    lua_getfield(r->L, -1, key);
    struct str s = settings_top_string(r, key);
    lua_pop(r->L, 1);
    return s;
}

static struct str settings_get_optional(struct reading *r, const char *key)
{
    lua_getfield(r->L, -1, key);
    struct str s = lua_isnil(r->L, -1) ? STR("") : settings_top_string(r, key);
    lua_pop(r->L, 1);
    return s;
}

static bool settings_get_boolean(struct reading *r, const char *key)
{
    lua_getfield(r->L, -1, key);
    bool value = lua_toboolean(r->L, -1);
    lua_pop(r->L, 1);
    return value;
}

/* A list of strings, or nothing. */
static const struct str *settings_get_list(struct reading *r, const char *key, unsigned *count)
{
    lua_State *L = r->L;
    lua_getfield(L, -1, key);
    size_t n = lua_istable(L, -1) ? lua_objlen(L, -1) : 0;
    struct str *list = arena_alloc(r->arena, (n + 1) * sizeof *list);
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        list[i] = settings_top_string(r, key);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    *count = (unsigned)n;
    return list;
}

static void settings_read_limits(struct reading *r, struct limits *l)
{
    lua_getfield(r->L, -1, "limits");
    l->request_line = (size_t)settings_get_number(r, "request_line");
    l->header = (size_t)settings_get_number(r, "header");
    l->headers = settings_get_count(r, "headers");
    l->body = (uint64_t)settings_get_number(r, "body");
    l->header_timeout = settings_get_number(r, "header_timeout");
    l->body_timeout = settings_get_number(r, "body_timeout");
    l->body_deadline = settings_get_number(r, "body_deadline");
    l->send_timeout = settings_get_number(r, "send_timeout");
    l->keepalive_timeout = settings_get_number(r, "keepalive_timeout");
    l->keepalive_requests = settings_get_count(r, "keepalive_requests");
    l->connections = settings_get_count(r, "connections");
    l->per_ip = settings_get_count(r, "per_ip");
    l->streams = settings_get_count(r, "streams");
    l->param_size = (size_t)settings_get_number(r, "param_size");
    l->response_header = (size_t)settings_get_number(r, "response_header");
    l->request_memory = (size_t)settings_get_number(r, "request_memory");
    l->response_memory = (size_t)settings_get_number(r, "response_memory");
    l->script_memory = (size_t)settings_get_number(r, "script_memory");
    l->spool = (uint64_t)settings_get_number(r, "spool");
    l->spool_dir = settings_get_string(r, "spool_dir").p;
    l->header_names = settings_get_list(r, "header_names", &l->header_name_count);
    lua_pop(r->L, 1);
}

/* Reads the owner of a server's unix socket; nil: any user. */
static void settings_read_owner(struct reading *r, struct server_settings *server)
{
    lua_getfield(r->L, -1, "owner");
    server->owned = lua_istable(r->L, -1);
    if (server->owned)
        server->owner = (uid_t)settings_get_number(r, "uid");
    lua_pop(r->L, 1);
}

static void settings_read_server(struct reading *r, const struct backend_settings *b,
                                 struct server_settings *server)
{
    server->address = settings_get_string(r, "address");
    server->weight = settings_get_number(r, "weight");
    server->max_conns = settings_get_count(r, "max_conns");
    server->backup = settings_get_boolean(r, "backup");
    settings_read_owner(r, server);
    server->is_added = false;
    server->is_name = addr_is_name(server->address.p, NULL, NULL);
    const char *bad = server->is_name ? NULL : addr_resolve(server->address.p, &server->addr);
    if (bad != NULL)
        r->err = arena_printf(r->arena, "backends.%.*s: server %.*s: %s", STR_FMT(b->name),
                              STR_FMT(server->address), bad)
                     .p;
}

/* nil: there are no checks. */
static void settings_read_health(struct reading *r, struct health_settings *h)
{
    lua_getfield(r->L, -1, "health");
    h->enabled = lua_istable(r->L, -1);
    if (h->enabled) {
        h->page = settings_get_optional(r, "status");
        h->reads_pool = h->page.n > 0;
        if (!h->reads_pool)
            h->page = settings_get_string(r, "ping");
        h->expect = settings_get_optional(r, "expect");
        h->interval = settings_get_number(r, "interval");
        h->timeout = settings_get_number(r, "timeout");
        h->rise = settings_get_count(r, "rise");
        h->fall = settings_get_count(r, "fall");
    }
    lua_pop(r->L, 1);
}

/* A list of { prefix, folder }. */
static void settings_read_internal(struct reading *r, struct backend_settings *b)
{
    lua_State *L = r->L;
    lua_getfield(L, -1, "internal");
    size_t n = lua_istable(L, -1) ? lua_objlen(L, -1) : 0;
    struct internal_path *list = arena_alloc(r->arena, (n + 1) * sizeof *list);
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        lua_rawgeti(L, -1, 1);
        lua_rawgeti(L, -2, 2);
        list[i].folder = settings_top_string(r, "internal");
        lua_pop(L, 1);
        list[i].prefix = settings_top_string(r, "internal");
        lua_pop(L, 2);
    }
    lua_pop(L, 1);
    b->internal = list;
    b->internal_count = (unsigned)n;
}

static void settings_read_servers(struct reading *r, struct backend_settings *b)
{
    lua_State *L = r->L;
    lua_getfield(L, -1, "servers");
    size_t n = lua_istable(L, -1) ? lua_objlen(L, -1) : 0;
    if (n == 0)
        settings_wrong(r, "servers", "at least one");
    b->servers = arena_alloc(r->arena, (n + 1) * sizeof *b->servers);
    b->server_count = (unsigned)n;
    for (size_t i = 0; i < n && r->err == NULL; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        settings_read_server(r, b, &b->servers[i]);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

static enum retry_policy settings_get_retry(struct reading *r)
{
    struct str when = settings_get_string(r, "retry");
    if (str_eq(when, STR("never")))
        return RETRY_NEVER;
    return str_eq(when, STR("timeout")) ? RETRY_TIMEOUT : RETRY_SAFE;
}

/* false, true or "auto". */
static enum multiplex settings_get_multiplex(struct reading *r)
{
    lua_getfield(r->L, -1, "multiplex");
    enum multiplex value = lua_type(r->L, -1) == LUA_TSTRING ? MULTIPLEX_AUTO
                           : lua_toboolean(r->L, -1)         ? MULTIPLEX_YES
                                                             : MULTIPLEX_NO;
    lua_pop(r->L, 1);
    return value;
}

static enum balance settings_get_balance(struct reading *r)
{
    static const struct {
        struct str name;
        enum balance balance;
    } policies[] = {
        {STR("round_robin"), BALANCE_ROUND_ROBIN},
        {STR("least_conn"), BALANCE_LEAST_CONN},
        {STR("random"), BALANCE_RANDOM},
        {STR("p2c"), BALANCE_P2C},
        {STR("hash"), BALANCE_HASH},
        {STR("ip_hash"), BALANCE_IP_HASH},
    };
    struct str name = settings_get_string(r, "balance");
    for (size_t i = 0; i < sizeof policies / sizeof *policies; i++)
        if (str_eq(name, policies[i].name))
            return policies[i].balance;
    return BALANCE_OTHER;
}

static void settings_read_backend(struct reading *r, struct backend_settings *b)
{
    b->name = settings_get_string(r, "name");
    b->keepalive = settings_get_count(r, "keepalive");
    b->keepalive_idle = settings_get_number(r, "keepalive_idle");
    b->keepalive_requests = settings_get_count(r, "keepalive_requests");
    b->multiplex = settings_get_multiplex(r);
    b->max_reqs = settings_get_count(r, "max_reqs");
    b->connect_timeout = settings_get_number(r, "connect_timeout");
    b->send_timeout = settings_get_number(r, "send_timeout");
    b->first_byte_timeout = settings_get_number(r, "first_byte_timeout");
    b->read_timeout = settings_get_number(r, "read_timeout");
    b->deadline = settings_get_number(r, "deadline");
    b->queue = settings_get_count(r, "queue");
    b->queue_timeout = settings_get_number(r, "queue_timeout");
    b->per_tenant = settings_get_count(r, "per_tenant");
    b->max_conns = settings_get_count(r, "max_conns");
    b->max_fails = settings_get_count(r, "max_fails");
    b->fail_timeout = settings_get_number(r, "fail_timeout");
    b->slow_start = settings_get_number(r, "slow_start");
    b->resolve = settings_get_number(r, "resolve");
    b->load = settings_get_optional(r, "load");
    b->own_pages = settings_get_list(r, "own_pages", &b->own_page_count);
    b->ini = settings_get_optional(r, "ini_text");
    settings_read_health(r, &b->health);
    settings_read_internal(r, b);
    b->attempts = settings_get_count(r, "attempts");
    b->retry = settings_get_retry(r);
    b->balance = settings_get_balance(r);
    b->profile =
        str_eq(settings_get_string(r, "profile"), STR("generic")) ? PROFILE_GENERIC : PROFILE_PHP;
    b->root = settings_get_optional(r, "root");
    b->docroot = settings_get_optional(r, "docroot");
    b->resolve_root = settings_get_boolean(r, "resolve_root");
    b->within = settings_get_list(r, "within", &b->within_count);
    settings_read_servers(r, b);
}

static void settings_read_backends(struct reading *r, struct settings *s)
{
    lua_State *L = r->L;
    lua_getfield(L, -1, "backends");
    size_t n = lua_istable(L, -1) ? lua_objlen(L, -1) : 0;
    s->backends = arena_alloc(r->arena, (n + 1) * sizeof *s->backends);
    memset(s->backends, 0, (n + 1) * sizeof *s->backends);
    s->backend_count = (unsigned)n;
    for (size_t i = 0; i < n && r->err == NULL; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        settings_read_backend(r, &s->backends[i]);
        lua_pop(L, 1);
    }
    settings_index_backends(s);
    lua_pop(L, 1);
}

/* Stack: the format as a text with fields. */
static void settings_read_fields(struct reading *r, struct settings *s)
{
    struct str text = arena_copy(r->arena, script_str(r->L, -1));
    const char *err = access_compile(r->arena, text, &s->access_fields);
    s->access_format = ACCESS_FIELDS;
    if (err != NULL && r->err == NULL)
        r->err = arena_printf(r->arena, "settings: log.format: %s", err).p;
}

static void settings_read_log(struct reading *r, struct settings *s)
{
    lua_State *L = r->L;
    lua_getfield(L, -1, "log");
    lua_getfield(L, -1, "access");
    lua_getfield(L, -2, "format");
    if (!lua_toboolean(L, -2))
        s->access_format = ACCESS_OFF;
    else if (lua_isfunction(L, -1))
        s->access_format = ACCESS_FUNCTION;
    else if (lua_isstring(L, -1) && strcmp(lua_tostring(L, -1), "json") == 0)
        s->access_format = ACCESS_JSON;
    else if (lua_isstring(L, -1) && strcmp(lua_tostring(L, -1), "combined") != 0)
        settings_read_fields(r, s);
    else
        s->access_format = ACCESS_COMBINED;
    lua_pop(L, 3);
}

static void settings_read_trusted(struct reading *r, struct settings *s)
{
    unsigned count;
    const struct str *texts = settings_get_list(r, "trusted_proxies", &count);
    const struct str *bad = netset_make(&s->trusted, texts, count, r->arena);
    if (bad != NULL && r->err == NULL)
        r->err =
            arena_printf(r->arena, "trusted_proxies: '%.*s' is neither an address nor a network",
                         STR_FMT(*bad))
                .p;
}

/* false: there is no tracing. */
static void settings_read_tracing(struct reading *r, struct tracing_settings *t)
{
    lua_getfield(r->L, -1, "tracing");
    t->enabled = lua_istable(r->L, -1);
    if (t->enabled) {
        struct str believe = settings_get_string(r, "believe");
        t->believe = str_eq(believe, STR("all"))    ? BELIEVE_ALL
                     : str_eq(believe, STR("none")) ? BELIEVE_NONE
                                                    : BELIEVE_TRUSTED;
        t->sample = settings_get_number(r, "sample");
        t->exports = settings_get_optional(r, "export").n > 0;
    }
    lua_pop(r->L, 1);
}

static void settings_read_cache(struct reading *r, struct settings *s)
{
    lua_getfield(r->L, -1, "cache");
    s->cache_path = settings_get_string(r, "path");
    s->cache_size = (uint64_t)settings_get_number(r, "size");
    s->cache_memory = (uint64_t)settings_get_number(r, "memory");
    lua_pop(r->L, 1);
}

static void settings_read_certificates(struct reading *r, struct certificate_settings *c)
{
    lua_getfield(r->L, -1, "certificates");
    c->cache = settings_get_count(r, "cache");
    c->none_ttl = settings_get_number(r, "none_ttl");
    c->misses = settings_get_count(r, "misses");
    lua_pop(r->L, 1);
}

static void settings_read_compress(struct reading *r, struct settings *s)
{
    lua_getfield(r->L, -1, "compress");
    if (!script_read_compress(r->L, r->arena, true, &s->compress))
        settings_wrong(r, "compress", "a table");
    lua_pop(r->L, 1);
}

const char *script_read_settings(lua_State *L, int idx, struct settings *out)
{
    struct reading r = {.L = L, .arena = &out->arena};
    lua_pushvalue(L, idx);
    settings_read_limits(&r, &out->limits);
    settings_read_log(&r, out);
    settings_read_trusted(&r, out);
    out->request_id = settings_get_boolean(&r, "request_id");
    settings_read_tracing(&r, &out->tracing);
    settings_read_compress(&r, out);
    settings_read_certificates(&r, &out->certificates);
    out->stop_timeout = settings_get_number(&r, "stop_timeout");
    out->script_timeout = settings_get_number(&r, "script_timeout");
    settings_read_cache(&r, out);
    settings_read_backends(&r, out);
    out->resolver = settings_get_list(&r, "resolver", &out->resolver_count);
    lua_pop(L, 1);
    return r.err;
}
