/*
 * commands - moongate.core.commands: what the commands of lua/moongate/cli need from C beside
 * moongate.core, and what is not there for a script. Failures of the world are nil and a reason;
 * misuse is an error.
 */
#include "process/commands.h"

#include "base/log.h"
#include "base/user.h"
#include "fastcgi/client.h"
#include "process/master.h"
#include "process/plan.h"
#include "script/limit.h"
#include "script/modules.h"
#include "script/state.h"
#include "script/value.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_MAX (64u << 20) /* of another instance */

static int core_listdir(lua_State *L)
{
    DIR *dir = opendir(luaL_checkstring(L, 1));
    int count = 0;
    if (dir == NULL)
        return script_fail(L, strerror(errno));
    lua_newtable(L);
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        lua_pushstring(L, e->d_name);
        lua_rawseti(L, -2, ++count);
    }
    closedir(dir);
    return 1;
}

/* core.readlink(path) -> where it leads; or nil, problem */
static int core_readlink(lua_State *L)
{
    char target[PATH_MAX];
    ssize_t n = readlink(luaL_checkstring(L, 1), target, sizeof target);
    if (n < 0)
        return script_fail(L, strerror(errno));
    lua_pushlstring(L, target, (size_t)n);
    return 1;
}

/* core.find_program(name) -> path or nil: PATH, and where servers are installed */
static int core_find_program(lua_State *L)
{
    struct str name = script_check_str(L, 1);
    const char *path = getenv("PATH");
    lua_pushfstring(L, "%s:/usr/local/sbin:/usr/sbin:/sbin", path != NULL ? path : "/usr/bin:/bin");
    struct str rest = script_str(L, -1);
    while (rest.p != NULL) {
        char file[PATH_MAX];
        struct stat st;
        struct str folder = str_cut(&rest, ':');
        if (folder.n == 0 || folder.n + name.n + 2 > sizeof file)
            continue;
        snprintf(file, sizeof file, "%.*s/%.*s", STR_FMT(folder), STR_FMT(name));
        if (access(file, X_OK) == 0 && stat(file, &st) == 0 && S_ISREG(st.st_mode)) {
            lua_pushstring(L, file);
            return 1;
        }
    }
    lua_pushnil(L);
    return 1;
}

/* core.tempdir(prefix) -> a new folder that everybody may enter */
static int core_tempdir(lua_State *L)
{
    char path[PATH_MAX];
    const char *base = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/%sXXXXXX", base != NULL && *base != '\0' ? base : "/tmp",
             luaL_checkstring(L, 1));
    int fd =
        mkdtemp(path) != NULL ? open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
    bool good = fd >= 0 && fchmod(fd, 0755) == 0; /* it, not what somebody has put in its place */
    int err = errno;
    if (fd >= 0)
        close(fd);
    if (!good)
        return luaL_error(L, "%s: %s", path, strerror(err));
    lua_pushstring(L, path);
    return 1;
}

/* --- the process --- */

static int core_tty(lua_State *L)
{
    lua_pushboolean(L, isatty(luaL_checkint(L, 1)));
    return 1;
}

static int core_uid(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)geteuid());
    return 1;
}

static int core_cpus(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)sysconf(_SC_NPROCESSORS_ONLN));
    return 1;
}

static int core_setenv(lua_State *L)
{
    setenv(luaL_checkstring(L, 1), luaL_checkstring(L, 2), 1);
    return 0;
}

/* core.become(user, group) -> name; or nil, reason */
static int core_become(lua_State *L)
{
    struct user user;
    const char *bad = user_find(luaL_optstring(L, 1, NULL), luaL_optstring(L, 2, NULL), &user);
    if (bad == NULL)
        bad = user_become(&user);
    if (bad != NULL)
        return script_fail(L, bad);
    lua_pushstring(L, user.name);
    return 1;
}

/* --- run --- */

static double now_monotonic(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static const char *option(lua_State *L, const char *key)
{
    lua_getfield(L, 1, key);
    const char *value = lua_isstring(L, -1) ? lua_tostring(L, -1) : NULL;
    lua_pop(L, 1); /* the options table keeps it alive */
    return value;
}

/* options.companion as an argv; lives as long as the userdata on the stack. */
static char *const *push_companion(lua_State *L)
{
    lua_getfield(L, 1, "companion");
    if (!lua_istable(L, -1))
        return NULL;
    size_t n = lua_objlen(L, -1);
    const char **argv = lua_newuserdata(L, (n + 1) * sizeof *argv);
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(L, -2, (int)i + 1);
        argv[i] = luaL_checkstring(L, -1);
        lua_pop(L, 1);
    }
    argv[n] = NULL;
    return (char *const *)argv;
}

/* Where this program lies; what lies there later may be a newer one. */
static const char *own_path(void)
{
    static char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    path[n > 0 ? n : 0] = '\0';
    return path;
}

/* core.run(options, overrides) -> exit status, and why it could not start if that is for the caller
 * to say. The overrides are text, since the loader and the
 * workers have Lua states of their own. */
static int core_run(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    struct master_options options = {
        .route = {.path = option(L, "route"),
                  .source = option(L, "source"),
                  .name = option(L, "name")},
        .user = option(L, "user"),
        .group = option(L, "group"),
        .binary = own_path(),
        .pid_file = option(L, "pid"),
        .control_default = option(L, "control_default"),
        .companion_address = option(L, "companion_socket"),
        .cleanup = option(L, "cleanup"),
        .banner = option(L, "banner"),
    };
    options.route.overrides = luaL_checkstring(L, 2);
    options.companion = push_companion(L);
    const char *problem = NULL;
    lua_pushinteger(L, master_run(&options, &problem));
    lua_pushstring(L, problem);
    return 2;
}

#define CONTROL_TIMEOUT 10000 /* ms in which a script is loaded to find its instance */

static void loader_child(void *ctx)
{
    (void)ctx;
}

/* core.control_of(path) -> what the route's setting `control` says: an address, "off", or "" for
 * the default; or nil, reason. The script runs in a child, as the user that would serve it: this
 * process keeps its own rights to speak with the instance. */
static int core_control_of(lua_State *L)
{
    struct route route = {.path = luaL_checkstring(L, 1)};
    struct user user;
    struct loader loader;
    const char *bad = user_find(NULL, NULL, &user);
    if (bad != NULL)
        return script_fail(L, bad);
    struct plan *plan = calloc(1, sizeof *plan);
    if (plan == NULL)
        abort();
    const struct loader_config config = {.route = &route, .user = &user, .child = loader_child};
    enum loader_result result = LOADER_FAILED;
    if (loader_start(&loader, &config)) {
        struct pollfd fd = {.fd = loader.fd, .events = POLLIN};
        double end = now_monotonic() + CONTROL_TIMEOUT / 1000.0;
        do
            result = poll(&fd, 1, 100) > 0 ? loader_read(&loader, plan) : LOADER_MORE;
        while (result == LOADER_MORE && now_monotonic() < end);
    }
    if (result == LOADER_DONE)
        lua_pushstring(L, plan->control);
    else
        script_fail(L, result == LOADER_FAILED
                           ? loader_error(&loader)
                           : "the script does not come to the end of its loading");
    loader_free(&loader);
    plan_free(plan);
    free(plan);
    return result == LOADER_DONE ? 1 : 2;
}

/* --- FastCGI from the shell --- */

static struct str field_str(lua_State *L, const char *key)
{
    lua_getfield(L, 1, key);
    struct str s = lua_isstring(L, -1) ? script_str(L, -1) : STR("");
    lua_pop(L, 1);
    return s;
}

/* params = { {name, value}, ... } or values = { name, ... } */
static void read_pairs(lua_State *L, bool values, struct arena *a, struct params *out)
{
    lua_getfield(L, 1, values ? "values" : "params");
    for (int i = 1, n = lua_istable(L, -1) ? (int)lua_objlen(L, -1) : 0; i <= n; i++) {
        lua_rawgeti(L, -1, i);
        if (values) {
            params_add(a, out, arena_copy(a, script_str(L, -1)), STR(""));
        } else {
            lua_rawgeti(L, -1, 1);
            lua_rawgeti(L, -2, 2);
            params_add(a, out, arena_copy(a, script_str(L, -2)), arena_copy(a, script_str(L, -1)));
            lua_pop(L, 2);
        }
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

static void push_values(lua_State *L, struct str pairs)
{
    struct str name, value;
    lua_newtable(L);
    while (fcgi_pair_next(&pairs, &name, &value)) {
        script_push_str(L, name);
        script_push_str(L, value);
        lua_rawset(L, -3);
    }
}

static void command_push_answer(lua_State *L, const struct client_request *x)
{
    lua_createtable(L, 0, 4);
    script_push_str(L, buf_peek(&x->out));
    lua_setfield(L, -2, "stdout");
    script_push_str(L, buf_peek(&x->err));
    lua_setfield(L, -2, "stderr");
    lua_pushnumber(L, x->app_status);
    lua_setfield(L, -2, "app_status");
    lua_pushinteger(L, x->protocol_status);
    lua_setfield(L, -2, "protocol_status");
}

/* core.fcgi{ address=, params=, body=, role=, timeout= } -> answer; or nil, reason
 * core.fcgi{ address=, values=, timeout= } -> { NAME = value } */
static int core_fcgi(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    struct arena arena;
    struct params params = {0};
    lua_getfield(L, 1, "values");
    lua_getfield(L, 1, "timeout");
    lua_getfield(L, 1, "role");
    struct client_request x = {
        .address = option(L, "address"),
        .values = lua_istable(L, -3),
        .timeout = luaL_optnumber(L, -2, 60),
        .role = (uint16_t)luaL_optint(L, -1, FCGI_RESPONDER),
        .params = &params,
        .body = field_str(L, "body"),
    };
    lua_pop(L, 3);
    if (x.address == NULL)
        return luaL_error(L, "core.fcgi: 'address' is missing");
    arena_init(&arena, NULL, 0);
    read_pairs(L, x.values, &arena, &params);
    const char *err = client_request(&x);
    if (err != NULL)
        script_fail(L, lua_pushfstring(L, "%s: %s", x.address, err));
    else if (x.values)
        push_values(L, buf_peek(&x.out));
    else
        command_push_answer(L, &x);
    buf_fini(&x.out);
    buf_fini(&x.err);
    arena_fini(&arena);
    return err != NULL ? 2 : 1;
}

/* --- another instance --- */

static const char *take(void *ctx, struct str bytes, bool *done)
{
    struct buf *answer = ctx;
    *done = bytes.n == 0;
    buf_append_str(answer, bytes);
    return answer->overflow ? "the answer is too large" : NULL;
}

/* core.ask(address, bytes, timeout) -> all that came until the end; or nil, problem. Blocks. */
static int core_ask(lua_State *L)
{
    struct buf answer;
    const struct client_call call = {.address = luaL_checkstring(L, 1),
                                     .out = script_check_str(L, 2),
                                     .timeout = luaL_checknumber(L, 3),
                                     .take = take,
                                     .ctx = &answer};
    buf_init(&answer, ANSWER_MAX);
    const char *err = client_call(&call);
    if (err == NULL)
        script_push_str(L, buf_peek(&answer));
    buf_fini(&answer);
    return err == NULL ? 1 : script_fail(L, err);
}

/* core.look(address, timeout) -> true; or nil, why nobody takes a connection there */
static int core_look(lua_State *L)
{
    const struct client_call call = {.address = luaL_checkstring(L, 1),
                                     .timeout = luaL_checknumber(L, 2)};
    const char *err = client_call(&call);
    if (err != NULL)
        return script_fail(L, err);
    lua_pushboolean(L, 1);
    return 1;
}

/* core.pause(seconds). Blocks: for commands. */
static int core_pause(lua_State *L)
{
    double seconds = luaL_checknumber(L, 1);
    luaL_argcheck(L, seconds >= 0 && seconds <= 3600, 1, "seconds from 0 to 3600");
    struct timespec t = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&t, NULL);
    return 0;
}

/* --- the command line --- */

/* Pushes the module. */
static int open_commands(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"ask", core_ask},
        {"become", core_become},
        {"control_of", core_control_of},
        {"cpus", core_cpus},
        {"fcgi", core_fcgi},
        {"find_program", core_find_program},
        {"listdir", core_listdir},
        {"look", core_look},
        {"pause", core_pause},
        {"readlink", core_readlink},
        {"run", core_run},
        {"setenv", core_setenv},
        {"tempdir", core_tempdir},
        {"tty", core_tty},
        {"uid", core_uid},
        {NULL, NULL},
    };
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    lua_createtable(L, 0, 1); /* the rest is moongate.core's */
    lua_getglobal(L, "require");
    lua_pushliteral(L, "moongate.core");
    lua_call(L, 1, 1);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    return 1;
}

static int command_traceback(lua_State *L)
{
    if (lua_isstring(L, 1))
        luaL_traceback(L, L, lua_tostring(L, 1), 1);
    return 1;
}

int commands_main(int argc, char **argv)
{
    script_supervise_alone(STDERR_FILENO, "");
    lua_State *L = script_state_new();
    int status = 1;
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "preload");
    lua_pushcfunction(L, open_commands);
    lua_setfield(L, -2, "moongate.core.commands");
    lua_settop(L, 0);
    lua_pushcfunction(L, command_traceback);
    if (script_library_function(L, "moongate.cli", "main") == 0) {
        lua_createtable(L, argc, 0);
        for (int i = 1; i < argc; i++) {
            lua_pushstring(L, argv[i]);
            lua_rawseti(L, -2, i);
        }
        if (lua_pcall(L, 1, 1, 1) == 0 && lua_isnumber(L, -1)) {
            status = (int)lua_tointeger(L, -1);
            script_close_alone(L);
            log_say_left_out(true);
            return status;
        }
    }
    const char *text = lua_tostring(L, -1);
    dprintf(STDERR_FILENO, "moongate: %s\n", text != NULL ? text : "no exit status");
    script_close_alone(L);
    log_say_left_out(true);
    return status;
}
