/*
 * log - see log.h.
 *
 * `log` is a view: a field is made when it is read, so a hook pays for what it looks at. A script
 * has one view, which shows a request while its hook runs; log:all() returns a table that the
 * script may keep.
 */
#include "script/log.h"

#include "script/observe.h"
#include "script/property.h"
#include "script/request.h"
#include "script/value.h"

struct script_entry {
    const struct request *req; /* NULL: no hook runs */
};

/* Pushes the role; nil for a responder, the usual one. */
static void log_push_role(lua_State *L, const void *at)
{
    if (*(const uint8_t *)at == FCGI_RESPONDER)
        lua_pushnil(L);
    else
        script_push_role(L, at);
}

#define TRY(name, member) PROPERTY(name, struct attempt, member)

const struct property property_attempt[] = {
    TRY("server", server),
    {"role", .push = log_push_role, .at = offsetof(struct attempt, role)},
    TRY("queue", queue),
    TRY("connect", connect),
    TRY("first_byte", first_byte),
    TRY("total", total),
    TRY("error", error),
    {0},
};

/* One table for each attempt. */
static void log_push_attempts(lua_State *L, const void *at)
{
    const struct request *req = at;
    int i = 0;
    lua_createtable(L, (int)req->attempts, 0);
    for (const struct attempt *a = req->attempt_list; a != NULL; a = a->next) {
        property_push_table(L, property_attempt, (const void *[]){a});
        lua_rawseti(L, -2, ++i);
    }
}

/* Pushes a value of END_REQUEST; nil where none came. */
static void log_push_end(lua_State *L, const struct request *req, double value)
{
    if (req->ended && req->backend.n > 0)
        lua_pushnumber(L, value);
    else
        lua_pushnil(L);
}

static void log_push_app_status(lua_State *L, const void *at)
{
    const struct request *req = at;
    log_push_end(L, req, req->app_status);
}

static void log_push_protocol_status(lua_State *L, const void *at)
{
    const struct request *req = at;
    log_push_end(L, req, req->protocol_status);
}

static void log_push_duration(lua_State *L, const void *at)
{
    const struct request *req = at;
    lua_pushnumber(L, req->duration);
}

static void log_push_request_length(lua_State *L, const void *at)
{
    const struct request *req = at;
    lua_pushnumber(L, (double)(req->head_in + req->bytes_in));
}

static void log_push_header(lua_State *L, const struct request *req, enum header_id id)
{
    struct str value = headers_value(&req->headers, id);
    if (value.n > 0)
        script_push_str(L, value);
    else
        lua_pushnil(L);
}

static void log_push_referer(lua_State *L, const void *at)
{
    log_push_header(L, at, HEADER_REFERER);
}

static void log_push_user_agent(lua_State *L, const void *at)
{
    log_push_header(L, at, HEADER_USER_AGENT);
}

static const struct request *log_shown(lua_State *L, const struct script_entry *entry)
{
    if (entry->req == NULL)
        luaL_error(L, "this log is gone: it may only be used inside on_log or log.format (keep "
                      "log:all(), or copy what is needed)");
    return entry->req;
}

/* log:all() -> a table of all its fields */
static int log_all(lua_State *L)
{
    const struct request *req = log_shown(L, property_check_self(L, PROPERTY_LOG, "log:all()"));
    property_push_table(L, property_log, (const void *[]){req});
    return 1;
}

/* Pushes what the cache has done; nil where the decision has none. */
static void log_push_cache(lua_State *L, const void *at)
{
    lua_pushstring(L, cache_use_words[*(const uint8_t *)at]); /* NULL is nil */
}

static void log_push_cache_reason(lua_State *L, const void *at)
{
    lua_pushstring(L, cache_reason_words[*(const uint8_t *)at]);
}

#define FIELD(name, member)    PROPERTY(name, struct request, member)
#define OPTIONAL(name, member) PROPERTY_OPTIONAL(name, struct request, member)

const struct property property_log[] = {
    FIELD("time", started),
    {"duration", .push = log_push_duration},
    {"id", .push = script_push_id},
    FIELD("client", client),
    OPTIONAL("user", user),
    OPTIONAL("host", host),
    FIELD("method", method),
    FIELD("uri", uri.origin),
    FIELD("status", response.status),
    FIELD("bytes_in", bytes_in),
    FIELD("bytes_out", bytes_out),
    {"request_length", .push = log_push_request_length},
    OPTIONAL("listener", listener),
    {"scheme", .push = script_push_scheme, .at = offsetof(struct request, https)},
    {"version", .push = script_push_version, .at = offsetof(struct request, version)},
    {"referer", .push = log_push_referer},
    {"user_agent", .push = log_push_user_agent},
    OPTIONAL("backend", backend),
    OPTIONAL("server", server),
    OPTIONAL("tenant", decision.tenant),
    {"cache", .push = log_push_cache, .at = offsetof(struct request, cached)},
    {"cache_reason", .push = log_push_cache_reason, .at = offsetof(struct request, cache_reason)},
    {"app_status", .push = log_push_app_status},
    {"protocol_status", .push = log_push_protocol_status},
    {"attempts", .push = log_push_attempts},
    FIELD("error", error),
    {"observed", .push = script_push_observed},
    {"all", .method = log_all},
    {0},
};

/* Stack: log, key. */
static int log_index(lua_State *L)
{
    const struct request *req = log_shown(L, lua_touserdata(L, 1));
    const struct property *p = property_find(L, property_log, "log");
    if (p != NULL)
        property_push(L, p, req);
    return 1;
}

static int log_newindex(lua_State *L)
{
    return script_refuse_assignment(L, "log",
                                    "log is read-only; what a script wants to change it changes in "
                                    "a copy, log:all()");
}

void script_log_open(lua_State *L)
{
    property_new_type(L, PROPERTY_LOG, "moongate.log", property_log, log_index, log_newindex);
}

struct script_entry *script_push_log(lua_State *L)
{
    struct script_entry *entry = lua_newuserdata(L, sizeof *entry);
    entry->req = NULL;
    property_push_type(L, PROPERTY_LOG);
    lua_setmetatable(L, -2);
    return entry;
}

void script_show_log(struct script_entry *entry, const struct request *req)
{
    entry->req = req;
}
