/*
 * core - see core.h.
 *
 * Scripts use the modules of the library, not these functions. A failure of the system is returned
 * as nil and a reason; a wrong argument raises an error.
 */
#include "script/core.h"

#include "base/log.h"
#include "base/lookup.h"
#include "base/stamp.h"
#include "http/coder.h"
#include "http/file.h"
#include "http/logline.h"
#include "script/backends.h"
#include "script/cache.h"
#include "script/decision.h"
#include "script/digest.h"
#include "script/fastcgi.h"
#include "script/limit.h"
#include "script/metrics.h"
#include "script/nesting.h"
#include "script/net/net.h"
#include "script/password.h"
#include "script/property.h"
#include "script/rule.h"
#include "script/shared.h"
#include "script/simulate.h"
#include "script/task.h"
#include "script/timer.h"

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

static const char *core_push_kind(lua_State *L, enum lookup_kind kind)
{
    const char *name = kind == LOOKUP_FILE ? "file" : kind == LOOKUP_FOLDER ? "directory" : NULL;
    lua_pushstring(L, name);
    return name;
}

enum { LIST_MAX = 100 };

/* Reads a text or a list of texts at index; a value of another type is an empty list. The stack
 * keeps the texts alive. */
static unsigned core_read_list(lua_State *L, int index, struct str list[LIST_MAX])
{
    unsigned count = 0;
    int type = lua_type(L, index);
    if (type == LUA_TSTRING) {
        list[count++] = script_str(L, index);
    } else if (type == LUA_TTABLE) {
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

/* Reads the first three arguments of a function that looks at a file: root, path and within. */
static unsigned core_check_place(lua_State *L, struct str *root, struct str *path,
                                 struct str within[LIST_MAX])
{
    *root = script_check_str(L, 1);
    *path = script_check_str(L, 2);
    while (root->n > 1 && root->p[root->n - 1] == '/')
        root->n--;
    return core_read_list(L, 3, within);
}

/* core.probe(root, path [, within]) -> "file", "directory"; or nil; or nil, "outside" where a link
 * leads out. Upvalues: "file" and "directory", since each request asks, and to make a string costs
 * as much as a quarter of the look. */
static int core_probe(lua_State *L)
{
    struct str root, path, within[LIST_MAX];
    unsigned count = core_check_place(L, &root, &path, within);
    enum lookup_kind kind = lookup_probe(root, path, within, count);
    if (kind == LOOKUP_ERROR)
        return luaL_error(L, "%s%s can't be looked at: %s", root.p, path.p, strerror(errno));
    if (kind == LOOKUP_FILE || kind == LOOKUP_FOLDER)
        lua_pushvalue(L, lua_upvalueindex(kind == LOOKUP_FILE ? 1 : 2));
    else
        lua_pushnil(L);
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
    unsigned count = core_check_place(L, &root, &path, within);
    lua_Integer size = luaL_checkinteger(L, 4);
    luaL_argcheck(L, size > 0 && size <= (lua_Integer)sizeof bytes, 4, "from 1 to 4096");
    ssize_t n = lookup_read_start(root, path, within, count, bytes, (size_t)size);
    if (n < 0)
        return 0;
    lua_pushlstring(L, bytes, (size_t)n);
    return 1;
}

/* core.owner(root, path [, within]) -> the number of the user who owns the file, or nil */
static int core_owner(lua_State *L)
{
    struct str root, path, within[LIST_MAX];
    unsigned count = core_check_place(L, &root, &path, within);
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

/* core.confine(folder) -> true; or nil, reason: see lookup_confine. nil: there is no sandbox. */
static int core_confine(lua_State *L)
{
    if (!lookup_confine(luaL_optstring(L, 1, NULL)))
        return script_fail(L,
                           errno == EBUSY ? "sandbox: a reload can't begin, end or move it: "
                                            "restart Moongate"
                           : errno == EINVAL
                               ? "sandbox: the route lies in the root folder, and so does all else"
                               : strerror(errno));
    lua_pushboolean(L, 1);
    return 1;
}

/* core.open_confined(path) -> a descriptor of the regular file, for reading; or nil, reason */
static int core_open_confined(lua_State *L)
{
    bool followed;
    struct stat st;
    struct str path = script_check_str(L, 1);
    const char *folder = lookup_confined();
    if (folder == NULL)
        return script_fail(L, "there is no sandbox");
    struct str within = str_of(folder);
    bool relative = path.n > 0 && path.p[0] != '/';
    int fd = lookup_open(relative ? within : STR(""), path, &within, 1, O_RDONLY | O_NONBLOCK,
                         &followed);
    if (fd < 0)
        return script_fail(L, errno == EXDEV ? "sandbox: it lies outside of the route's folder"
                                             : strerror(errno));
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return script_fail(L, "sandbox: it is no regular file");
    }
    lua_pushinteger(L, fd);
    return 1;
}

static int core_close_descriptor(lua_State *L)
{
    close((int)luaL_checkinteger(L, 1));
    return 0;
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

/* core.stamp(path) -> a text that changes when the file does (base/stamp.h) */
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

/* core.user_id(name) -> the number of that user, or nil */
static int core_user_id(lua_State *L)
{
    const struct passwd *pw = getpwnam(luaL_checkstring(L, 1));
    if (pw == NULL)
        return 0;
    lua_pushnumber(L, pw->pw_uid);
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

/* core.clock() -> seconds of a clock that only goes forward, the same in all processes */
static int core_clock(lua_State *L)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    lua_pushnumber(L, (double)now.tv_sec + (double)now.tv_nsec / 1e9);
    return 1;
}

/* core.log(level, text): writes a line; in a hook it names the request. */
static int core_log(lua_State *L)
{
    int level = log_level_parse(luaL_checkstring(L, 1));
    const char *text = luaL_checkstring(L, 2);
    const struct request *req = script_run_request();
    luaL_argcheck(L, level >= 0, 1, "expected \"debug\", \"info\", \"warn\" or \"error\"");
    if (req == NULL || req->control) /* a command names what it is about */
        log_write((enum log_level)level, "%s", text);
    else
        logline_write(req, NULL, (enum log_level)level, "%s", text);
    return 0;
}

/* core.logs(level) -> whether a line of that level is written */
static int core_logs(lua_State *L)
{
    int level = log_level_parse(luaL_checkstring(L, 1));
    lua_pushboolean(L, level >= 0 && (enum log_level)level >= log_threshold());
    return 1;
}

/* The part of `file = "/abs"` whose name is checked: its folders are the script's choice. */
static struct str core_base_name(struct str path)
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
    const char *refused = file_refused(whole != NULL ? core_base_name(path) : path, &d);
    if (refused == NULL && kind == LOOKUP_FILE)
        refused = file_refused_link(root, path, within, count, &d);
    lua_newtable(L);
    lua_pushlstring(L, root.p, root.n);
    script_push_str(L, path);
    lua_concat(L, 2);
    lua_setfield(L, -2, "file");
    script_push_str(L, root);
    lua_setfield(L, -2, "root");
    core_push_kind(L, kind);
    lua_setfield(L, -2, "exists");
    lua_pushstring(L, refused);
    lua_setfield(L, -2, "refused");
    return 1;
}

/* core.fields() -> object (or "decision") -> a table whose keys are its names */
static int core_fields(lua_State *L)
{
    static const struct {
        const char *name;
        const struct property *list;
    } objects[] = {
        {"req", property_req}, {"headers", property_headers}, {"params", property_params},
        {"res", property_res}, {"server", property_server},   {"err", property_error},
        {"log", property_log}, {"attempt", property_attempt},
    };
    lua_newtable(L);
    for (size_t i = 0; i < sizeof objects / sizeof *objects; i++) {
        property_push_names(L, objects[i].list);
        lua_setfield(L, -2, objects[i].name);
    }
    script_push_keys(L);
    lua_setfield(L, -2, "decision");
    return 1;
}

static unsigned worker_number;

void script_set_worker(unsigned number)
{
    worker_number = number;
}

/* core.worker_number() -> the worker's number, from 1; 0: this process is not a worker */
static int core_worker_number(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)worker_number);
    return 1;
}

/* core.worker() -> { index, count, pid } */
static int core_worker(lua_State *L)
{
    const struct script *s = script_of(L);
    lua_createtable(L, 0, 3);
    lua_pushinteger(L, (lua_Integer)worker_number);
    lua_setfield(L, -2, "index");
    lua_pushinteger(L, s->world.board != NULL ? (lua_Integer)s->world.board->workers : 1);
    lua_setfield(L, -2, "count");
    lua_pushinteger(L, (lua_Integer)getpid());
    lua_setfield(L, -2, "pid");
    return 1;
}

/* What this program was built with (moongate.base.features). The Makefile's flags are those of its
 * rooms that have the library. */
static void core_push_features(lua_State *L)
{
#ifdef MG_TLS
    const bool tls = true;
#else
    const bool tls = false;
#endif
#ifdef MG_HTTP2
    const bool http2 = true;
#else
    const bool http2 = false;
#endif
    lua_createtable(L, 0, 4);
    lua_pushboolean(L, tls);
    lua_setfield(L, -2, "tls");
    lua_pushboolean(L, http2);
    lua_setfield(L, -2, "http2");
    lua_pushboolean(L, coder_knows(CODING_BR));
    lua_setfield(L, -2, "br");
    lua_pushboolean(L, coder_knows(CODING_ZSTD));
    lua_setfield(L, -2, "zstd");
}

int script_core_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"clock", core_clock},
        {"close_descriptor", core_close_descriptor},
        {"confine", core_confine},
        {"fields", core_fields},
        {"finalizer_failed", script_finalizer_failed},
        {"getcwd", core_getcwd},
        {"limited", script_limited},
        {"finalizing", script_finalizing},
        {"run_is_within", script_run_is_within},
        {"log", core_log},
        {"logs", core_logs},
        {"now", core_now},
        {"open_confined", core_open_confined},
        {"owner", core_owner},
        {"readable", core_readable},
        {"writable", core_writable},
        {"read_start", core_read_start},
        {"realpath", core_realpath},
        {"resolve_file", core_resolve_file},
        {"stamp", core_stamp},
        {"stat", core_stat},
        {"user_name", core_user_name},
        {"user_id", core_user_id},
        {"worker", core_worker},
        {"worker_number", core_worker_number},
        {NULL, NULL},
    };
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    core_push_kind(L, LOOKUP_FILE);
    core_push_kind(L, LOOKUP_FOLDER);
    lua_pushcclosure(L, core_probe, 2);
    lua_setfield(L, -2, "probe");
    lua_pushliteral(L, MG_VERSION);
    lua_setfield(L, -2, "version");
    core_push_features(L);
    lua_setfield(L, -2, "features");
    script_nesting_open(L);
    script_rules_open(L);
    script_timer_open(L);
    script_backends_open(L);
    script_fastcgi_open(L);
    script_shared_open(L);
    script_metrics_open(L);
    script_simulate_open(L);
    script_tcp_open(L);
    script_udp_open(L);
    script_ngx_open(L);
    script_regex_open(L);
    script_digest_open(L);
    script_cache_open(L);
    script_password_open(L);
    return 1;
}
