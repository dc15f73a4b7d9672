/*
 * core - moongate.core: what the library modules need from C.
 *
 * Scripts use moongate, not these. Failures of the world are nil and a reason; misuse is an error.
 */
#include "script/property.h"
#include "script/task.h"

#include "base/log.h"
#include "base/lookup.h"
#include "base/stamp.h"
#include "base/user.h"
#include "fastcgi/cgi.h"
#include "http/file.h"
#include "http/h1.h"
#include "http/realip.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* --- files --- */

static const char *push_kind(lua_State *L, enum lookup_kind kind)
{
    const char *name = kind == LOOKUP_FILE ? "file" : kind == LOOKUP_FOLDER ? "directory" : NULL;
    lua_pushstring(L, name);
    return name;
}

enum { LIST_MAX = 100 };

/* A text or a list of them at index; nothing where it is neither. The stack keeps them alive. */
static unsigned core_read_list(lua_State *L, int index, struct str list[LIST_MAX])
{
    unsigned count = 0;
    if (lua_type(L, index) == LUA_TSTRING) {
        list[count++] = script_str(L, index);
    } else if (lua_istable(L, index)) {
        unsigned n = (unsigned)lua_objlen(L, index);
        luaL_argcheck(L, n <= LIST_MAX, index, "at most 100 texts");
        for (; count < n; count++) {
            lua_rawgeti(L, index, (int)count + 1); /* the table keeps it alive */
            list[count] = script_check_str(L, -1);
            lua_pop(L, 1);
        }
    }
    return count;
}

/* root, path and within of a look at the disk, the first three arguments. */
static unsigned check_place(lua_State *L, struct str *root, struct str *path,
                            struct str within[LIST_MAX])
{
    *root = script_check_str(L, 1);
    *path = script_check_str(L, 2);
    while (root->n > 1 && root->p[root->n - 1] == '/')
        root->n--;
    return core_read_list(L, 3, within);
}

/* core.probe(root, path [, within]) -> "file", "directory"; or nil; or nil, "outside" where a link
 * leads out */
static int core_probe(lua_State *L)
{
    struct str root, path, within[LIST_MAX];
    unsigned count = check_place(L, &root, &path, within);
    enum lookup_kind kind = lookup_probe(root, path, within, count);
    if (kind == LOOKUP_ERROR)
        return luaL_error(L, "%s%s can't be looked at: %s", root.p, path.p, strerror(errno));
    push_kind(L, kind);
    if (kind != LOOKUP_OUTSIDE)
        return 1;
    lua_pushliteral(L, "outside");
    return 2;
}

/* core.read_start(root, path, within, size) -> the first bytes of a regular file, or nil */
static int core_read_start(lua_State *L)
{
    char bytes[4096];
    struct str root, path, within[LIST_MAX];
    unsigned count = check_place(L, &root, &path, within);
    lua_Integer size = luaL_checkinteger(L, 4);
    luaL_argcheck(L, size > 0 && size <= (lua_Integer)sizeof bytes, 4, "from 1 to 4096");
    ssize_t n = lookup_read_start(root, path, within, count, bytes, (size_t)size);
    if (n < 0)
        return 0;
    lua_pushlstring(L, bytes, (size_t)n);
    return 1;
}

/* core.owner(root, path [, within]) -> the number of the user to whom it belongs, or nil */
static int core_owner(lua_State *L)
{
    struct str root, path, within[LIST_MAX];
    unsigned count = check_place(L, &root, &path, within);
    struct stat st;
    bool followed;
    int fd = lookup_open(root, path, within, count, O_PATH | O_CLOEXEC, &followed);
    if (fd < 0)
        return 0;
    bool known = fstat(fd, &st) == 0;
    close(fd);
    if (!known)
        return 0;
    lua_pushnumber(L, st.st_uid);
    return 1;
}

/* core.stat(path) -> "file", "directory", "socket", "other"; or nil, reason */
static int core_stat(lua_State *L)
{
    struct stat st;
    if (stat(luaL_checkstring(L, 1), &st) != 0)
        return script_fail(L, strerror(errno));
    lua_pushstring(L, S_ISREG(st.st_mode)    ? "file"
                      : S_ISDIR(st.st_mode)  ? "directory"
                      : S_ISSOCK(st.st_mode) ? "socket"
                                             : "other");
    return 1;
}

/* core.stamp(path) -> a word that is another one when the file is (base/stamp.h) */
static int core_stamp(lua_State *L)
{
    char stamp[STAMP_SIZE];
    lua_pushstring(L, stamp_of(luaL_checkstring(L, 1), stamp));
    return 1;
}

static int core_realpath(lua_State *L)
{
    char real[PATH_MAX];
    if (realpath(luaL_checkstring(L, 1), real) == NULL)
        return script_fail(L, strerror(errno));
    lua_pushstring(L, real);
    return 1;
}

static int core_readable(lua_State *L)
{
    if (access(luaL_checkstring(L, 1), R_OK) != 0)
        return script_fail(L, strerror(errno));
    lua_pushboolean(L, 1);
    return 1;
}

/* core.writable(path) -> true, or nil and why this user can't make files in the folder */
static int core_writable(lua_State *L)
{
    if (access(luaL_checkstring(L, 1), W_OK | X_OK) != 0)
        return script_fail(L, strerror(errno));
    lua_pushboolean(L, 1);
    return 1;
}

static int core_user_name(lua_State *L)
{
    const struct passwd *pw = getpwuid(geteuid());
    if (pw != NULL)
        lua_pushstring(L, pw->pw_name);
    else
        lua_pushfstring(L, "uid %d", (int)geteuid());
    return 1;
}

static int core_getcwd(lua_State *L)
{
    char path[PATH_MAX];
    if (getcwd(path, sizeof path) == NULL)
        return script_fail(L, strerror(errno));
    lua_pushstring(L, path);
    return 1;
}

static int core_now(lua_State *L)
{
    struct timeval t;
    gettimeofday(&t, NULL);
    lua_pushnumber(L, (double)t.tv_sec + (double)t.tv_usec / 1e6);
    return 1;
}

static int core_log(lua_State *L)
{
    int level = log_level_parse(luaL_checkstring(L, 1));
    const char *text = luaL_checkstring(L, 2);
    luaL_argcheck(L, level >= 0, 1, "expected \"debug\", \"info\", \"warn\" or \"error\"");
    log_write((enum log_level)level, "%s", text);
    return 0;
}

/* core.logs(level) -> whether a line of that level is written */
static int core_logs(lua_State *L)
{
    int level = log_level_parse(luaL_checkstring(L, 1));
    lua_pushboolean(L, level >= 0 && (enum log_level)level >= log_threshold());
    return 1;
}

/* --- requests, for explain and tests --- */

#define MADE_REQUEST "moongate.made"

/* The struct request and the first block of its arena. */
struct made {
    struct request req;
    char memory[4096]; /* the arena aligns; userdata are no more than 8 bytes aligned */
};

/* It has a finalizer, and not the box, which every request of a server has one of. */
static int made_gc(lua_State *L)
{
    struct made *made = lua_touserdata(L, 1);
    request_fini(&made->req);
    return 0;
}

static void ignore_bytes(void *ctx, struct str bytes)
{
    (void)ctx;
    (void)bytes;
}

static void ignore_chunk(void *ctx, uint64_t at_least)
{
    (void)ctx;
    (void)at_least;
}

static const struct h1_body no_body = {.on_bytes = ignore_bytes, .on_chunk = ignore_chunk};

/* The head that such a request would have on the wire. */
static void write_head(lua_State *L, struct buf *head)
{
    lua_getfield(L, 1, "method");
    lua_getfield(L, 1, "url");
    buf_printf(head, "%s %s HTTP/1.1\r\n", luaL_optstring(L, -2, "GET"), luaL_checkstring(L, -1));
    lua_pop(L, 2);
    lua_getfield(L, 1, "headers");
    bool host = false;
    for (int i = 1, n = lua_istable(L, -1) ? (int)lua_objlen(L, -1) : 0; i <= n; i++) {
        lua_rawgeti(L, -1, i);
        lua_rawgeti(L, -1, 1);
        lua_rawgeti(L, -2, 2);
        struct str name = script_check_str(L, -2), value = script_check_str(L, -1);
        host |= header_id(name) == HEADER_HOST;
        buf_printf(head, "%.*s: %.*s\r\n", STR_FMT(name), STR_FMT(value));
        lua_pop(L, 3);
    }
    lua_pop(L, 1);
    buf_printf(head, "%s\r\n", host ? "" : "Host: localhost\r\n");
}

/* Comes the request of the table at 1 to a unix socket? */
static bool is_local(lua_State *L)
{
    lua_getfield(L, 1, "unix");
    bool local = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return local;
}

/* Who asks: `ip` of the table at 1. */
static struct peer check_client(lua_State *L)
{
    struct peer peer = {.ip = {127, 0, 0, 1}, .port = 50000, .family = AF_INET};
    lua_getfield(L, 1, "ip");
    const char *ip = lua_tostring(L, -1);
    if (ip != NULL ? strcmp(ip, "unix:") == 0 : is_local(L)) {
        peer = (struct peer){.family = AF_UNIX};
    } else if (ip != NULL) {
        peer.family = strchr(ip, ':') != NULL ? AF_INET6 : AF_INET;
        if (inet_pton(peer.family, ip, peer.ip) != 1)
            luaL_error(L, "ip: '%s' is no address", ip);
    }
    lua_pop(L, 1);
    return peer;
}

/* Where it comes in: `listener` and `port` of the table at 1. */
static void core_take_listener(lua_State *L, struct request *req)
{
    req->local = (struct peer){.ip = {127, 0, 0, 1}, .port = 80, .family = AF_INET};
    if (is_local(L))
        req->local = (struct peer){.family = AF_UNIX};
    lua_getfield(L, 1, "listener");
    lua_getfield(L, 1, "port");
    req->listener =
        lua_isstring(L, -2) ? arena_copy(&req->arena, script_str(L, -2)) : STR("explain");
    if (lua_isnumber(L, -1))
        req->local.port = (uint16_t)lua_tointeger(L, -1);
    lua_pop(L, 2);
}

/* core.request{ method=, url=, headers=, settings=, ip=, listener=, port=, unix= } -> req; or nil,
 * status, reason */
static int core_request(lua_State *L)
{
    struct settings settings = {.stop_timeout = 0};
    struct buf head;
    size_t used;
    luaL_checktype(L, 1, LUA_TTABLE);
    struct peer client = check_client(L);
    lua_getfield(L, 1, "settings");
    arena_init(&settings.arena, NULL, 0);
    const char *bad = script_read_settings(L, lua_gettop(L), &settings);
    if (bad != NULL) {
        lua_pushstring(L, bad);
        arena_fini(&settings.arena);
        return lua_error(L);
    }
    buf_init(&head, 1u << 20);
    write_head(L, &head);

    struct script_box *box = script_push_request(L, NULL);
    struct made *made = lua_newuserdata(L, sizeof *made);
    request_init(&made->req, made->memory, sizeof made->memory);
    box->req = &made->req;
    luaL_getmetatable(L, MADE_REQUEST);
    lua_setmetatable(L, -2);
    lua_createtable(L, 1, 1); /* the box's own table holds the request's memory */
    lua_pushboolean(L, 1);
    lua_rawseti(L, -2, 0);
    lua_insert(L, -2);
    lua_setfield(L, -2, MADE_REQUEST);
    lua_setfenv(L, -2);

    struct request *req = &made->req;
    req->client = client;
    core_take_listener(L, req);
    struct h1 *h1 = h1_new(req, &settings.limits, &no_body, NULL);
    struct str bytes = buf_peek(&head);
    enum h1_event event = h1_feed(h1, bytes.p, bytes.n, &used);
    buf_fini(&head);
    bad = event == H1_ERROR ? h1_reason(h1) : event != H1_HEAD ? "an incomplete head" : NULL;
    if (bad == NULL && req->uri.https) { /* here the URL is all that says how the client comes */
        req->https = true;
        req->local.port = 443;
    }
    if (bad == NULL && settings.trusted.count > 0)
        bad = realip_apply(req, &settings.trusted);
    arena_fini(&settings.arena);
    if (bad == NULL)
        return 1;
    lua_pushnil(L);
    lua_pushinteger(L, event == H1_ERROR ? h1_status(h1) : 400);
    lua_pushstring(L, bad);
    return 3;
}

/* core.params(req, decision, script, path_info, settings) -> params; or nil, reason */
static int core_params(lua_State *L)
{
    struct request *req = script_check_request(L, 1);
    struct settings *settings = lua_newuserdata(L, sizeof *settings);
    memset(settings, 0, sizeof *settings);
    arena_init(&settings->arena, arena_alloc(&req->arena, 65536), 65536);
    const char *bad = script_read_settings(L, 5, settings);
    if (bad == NULL)
        bad = script_decision(L, 2, 3, 4, req, settings);
    if (bad == NULL && req->decision.kind != DECISION_FASTCGI)
        bad = "not a FastCGI decision";
    if (bad != NULL) {
        lua_pushnil(L);
        lua_pushstring(L, bad);
        arena_fini(&settings->arena);
        return 2;
    }
    const struct backend_settings *backend = &settings->backends[req->decision.backend];
    struct params *params = arena_alloc(&req->arena, sizeof *params);
    struct cgi_paths paths;
    cgi_paths(&paths, req, backend);
    cgi_params(params, req, backend, &paths, req->body_length);
    for (unsigned i = 0; i < params->count; i++) { /* what points into the settings outlives them */
        params->list[i].value = arena_copy(&req->arena, params->list[i].value);
    }
    arena_fini(&settings->arena);
    script_open_view(script_push_params(L), req, params);
    return 1;
}

/* core.own_page(req, params, pages) -> the page of PHP-FPM's own that it would answer with, or nil;
 * params and pages are plain tables. The decision is that of core.params. */
static int core_own_page(lua_State *L)
{
    struct request *req = script_check_request(L, 1);
    struct arena *a = &req->arena;
    struct params params = {0};
    static const char *const names[] = {"SCRIPT_NAME", "REDIRECT_URL", "PATH_INFO",
                                        "SCRIPT_FILENAME"};
    luaL_checktype(L, 2, LUA_TTABLE);
    luaL_checktype(L, 3, LUA_TTABLE);
    for (unsigned i = 0; i < 4; i++) {
        lua_getfield(L, 2, names[i]);
        if (lua_type(L, -1) == LUA_TSTRING)
            params_add(a, &params, str_of(names[i]), script_str(L, -1));
        lua_pop(L, 1); /* the table keeps it */
    }
    for (int i = 1, n = (int)lua_objlen(L, 3); i <= n; i++) {
        lua_rawgeti(L, 3, i);
        struct str page = script_check_str(L, -1);
        if (cgi_own_page(&params, req, &page, 1) != NULL)
            return 1;
        lua_pop(L, 1);
    }
    return 0;
}

/* core.response(req, status, headers) -> res: as on_response sees an application's answer */
static int core_response(lua_State *L)
{
    struct request *req = script_check_request(L, 1);
    struct arena *a = &req->arena;
    req->response = (struct response){.status = luaL_checkint(L, 2), .content_length = -1};
    luaL_checktype(L, 3, LUA_TTABLE);
    for (int i = 1, n = (int)lua_objlen(L, 3); i <= n; i++) {
        lua_rawgeti(L, 3, i);
        lua_rawgeti(L, -1, 1);
        lua_rawgeti(L, -2, 2);
        headers_add(a, &req->response.headers, arena_copy(a, script_check_str(L, -2)),
                    arena_copy(a, script_check_str(L, -1)));
        lua_pop(L, 3);
    }
    script_open_view(script_push_response(L), req, NULL);
    return 1;
}

/* What of `file = "/abs"` is checked: its folders are the script's choice. */
static struct str base_name(struct str path)
{
    const char *slash = memrchr(path.p, '/', path.n);
    return slash != NULL ? str_skip(path, (size_t)(slash - path.p)) : path;
}

/* core.resolve_file(decision, path) -> { file=, root=, exists=, refused= } */
static int core_resolve_file(lua_State *L)
{
    struct str within[LIST_MAX], scripts[LIST_MAX], sources[LIST_MAX];
    struct decision d = {.scripts = scripts, .sources = sources};
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 2);
    lua_getfield(L, 1, "file");
    lua_getfield(L, 1, "root");
    lua_getfield(L, 1, "within");
    lua_getfield(L, 1, "scripts");
    lua_getfield(L, 1, "sources");
    const char *whole = luaL_optstring(L, 3, NULL);
    struct str root = whole == NULL ? script_str(L, 4) : STR("");
    struct str path = whole != NULL ? str_of(whole) : str_of(luaL_optstring(L, 2, "/"));
    unsigned count = core_read_list(L, 5, within);
    d.script_count = core_read_list(L, 6, scripts);
    d.source_count = core_read_list(L, 7, sources);
    if (root.p == NULL)
        root = STR("");
    enum lookup_kind kind = lookup_probe(root, path, within, count);
    const char *refused = file_refused(whole != NULL ? base_name(path) : path, &d);
    if (refused == NULL && kind == LOOKUP_FILE)
        refused = file_refused_link(root, path, within, count, &d);
    lua_newtable(L);
    lua_pushlstring(L, root.p, root.n);
    script_push_str(L, path);
    lua_concat(L, 2);
    lua_setfield(L, -2, "file");
    script_push_str(L, root);
    lua_setfield(L, -2, "root");
    push_kind(L, kind);
    lua_setfield(L, -2, "exists");
    lua_pushstring(L, refused);
    lua_setfield(L, -2, "refused");
    return 1;
}

int script_core_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"fields", property_fields},
        {"finalizer_failed", script_finalizer_failed},
        {"getcwd", core_getcwd},
        {"limited", script_limited},
        {"log", core_log},
        {"logs", core_logs},
        {"now", core_now},
        {"params", core_params},
        {"own_page", core_own_page},
        {"owner", core_owner},
        {"probe", core_probe},
        {"readable", core_readable},
        {"writable", core_writable},
        {"read_start", core_read_start},
        {"realpath", core_realpath},
        {"request", core_request},
        {"resolve_file", core_resolve_file},
        {"response", core_response},
        {"stamp", core_stamp},
        {"stat", core_stat},
        {"user_name", core_user_name},
        {NULL, NULL},
    };
    luaL_newmetatable(L, MADE_REQUEST);
    lua_pushcfunction(L, made_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    lua_pushliteral(L, MG_VERSION);
    lua_setfield(L, -2, "version");
    script_nesting_open(L);
    script_rules_open(L);
    script_timer_open(L);
    script_fastcgi_open(L);
    script_shared_open(L);
    script_open_library(L);
    return 1;
}