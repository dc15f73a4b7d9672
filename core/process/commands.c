/*
 * commands - moongate.core.commands: the functions of C for the commands of lua/moongate/cli, which
 * no script can call. A failure of the system is returned as nil and a reason; a wrong argument
 * raises an error.
 */
#include "process/commands.h"

#include "base/log.h"
#include "base/user.h"
#include "process/calls.h"
#include "process/certcheck.h"
#include "process/certificates.h"
#include "process/localhost.h"
#include "process/master.h"
#include "process/terminal.h"
#include "script/certificate.h"
#include "script/limit.h"
#include "script/modules.h"
#include "script/state.h"
#include "script/value.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int commands_listdir(lua_State *L)
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
static int commands_readlink(lua_State *L)
{
    char target[PATH_MAX];
    ssize_t n = readlink(luaL_checkstring(L, 1), target, sizeof target);
    if (n < 0)
        return script_fail(L, strerror(errno));
    lua_pushlstring(L, target, (size_t)n);
    return 1;
}

/* core.executable(path) -> whether this user may run the file */
static int commands_executable(lua_State *L)
{
    lua_pushboolean(L, access(luaL_checkstring(L, 1), X_OK) == 0);
    return 1;
}

/* core.tempdir(prefix) -> a new folder that all users may enter */
static int commands_tempdir(lua_State *L)
{
    char path[PATH_MAX];
    const char *base = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/%sXXXXXX", base != NULL && *base != '\0' ? base : "/tmp",
             luaL_checkstring(L, 1));
    int fd =
        mkdtemp(path) != NULL ? open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
    /* by descriptor: another user may replace the path */
    bool good = fd >= 0 && fchmod(fd, 0755) == 0;
    int err = errno;
    if (fd >= 0)
        close(fd);
    if (!good)
        return luaL_error(L, "%s: %s", path, strerror(err));
    lua_pushstring(L, path);
    return 1;
}

/* --- the process --- */

static int commands_tty(lua_State *L)
{
    lua_pushboolean(L, isatty(luaL_checkint(L, 1)));
    return 1;
}

static int commands_uid(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)geteuid());
    return 1;
}

static int commands_cpus(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)sysconf(_SC_NPROCESSORS_ONLN));
    return 1;
}

static int commands_setenv(lua_State *L)
{
    setenv(luaL_checkstring(L, 1), luaL_checkstring(L, 2), 1);
    return 0;
}

/* core.become(user, group) -> name; or nil, reason */
static int commands_become(lua_State *L)
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

static const char *command_option(lua_State *L, const char *key)
{
    lua_getfield(L, 1, key);
    const char *value = lua_isstring(L, -1) ? lua_tostring(L, -1) : NULL;
    lua_pop(L, 1); /* the options table keeps it alive */
    return value;
}

/* options.companion as an argv; lives as long as the userdata on the stack. */
static char *const *command_push_companion(lua_State *L)
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

/* The path of this program, where an upgrade finds a newer binary. */
static const char *command_own_path(void)
{
    static char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    path[n > 0 ? n : 0] = '\0';
    return path;
}

/* core.run(options, overrides) -> exit status, and the reason of a failed start if the caller is to
 * print it. The overrides are text, since the loader and the workers have Lua states of their own.
 */
static int commands_run(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    struct master_options options = {
        .route = {.path = command_option(L, "route"),
                  .source = command_option(L, "source"),
                  .name = command_option(L, "name")},
        .user = command_option(L, "user"),
        .group = command_option(L, "group"),
        .binary = command_own_path(),
        .pid_file = command_option(L, "pid"),
        .control_default = command_option(L, "control_default"),
        .companion_address = command_option(L, "companion_socket"),
        .cleanup = command_option(L, "cleanup"),
        .banner = command_option(L, "banner"),
    };
    options.route.overrides = luaL_checkstring(L, 2);
    options.companion = command_push_companion(L);
    const char *problem = NULL;
    lua_pushinteger(L, master_run(&options, &problem));
    lua_pushstring(L, problem);
    return 2;
}

/* core.pause(seconds). Blocks: for commands. */
static int commands_pause(lua_State *L)
{
    double seconds = luaL_checknumber(L, 1);
    luaL_argcheck(L, seconds >= 0 && seconds <= 3600, 1, "seconds from 0 to 3600");
    struct timespec t = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&t, NULL);
    return 0;
}

/* --- certificates --- */

static void commands_add_problem(void *ctx, const char *text, bool certain)
{
    lua_State *L = ctx;
    int list = certain ? -2 : -1;
    lua_pushstring(L, text);
    lua_rawseti(L, list - 1, (int)lua_objlen(L, list - 1) + 1);
}

/* keep_reader(user, group) -> true; or nil, reason. Called by root before it becomes that user:
 * certificates are then read as root. */
static int commands_keep_reader(lua_State *L)
{
    struct user user;
    const char *bad = user_find(luaL_optstring(L, 1, NULL), luaL_optstring(L, 2, NULL), &user);
    if (bad == NULL)
        bad = certcheck_keep(&user);
    if (bad != NULL)
        return script_fail(L, bad);
    lua_pushboolean(L, true);
    return 1;
}

/* certificates(report) -> problems, warnings: two lists. Reads the files of TLS that a loader's
 * report names, as the master and the workers do. */
static int commands_certificates(lua_State *L)
{
    const char *report = luaL_checkstring(L, 1);
    lua_newtable(L);
    lua_newtable(L);
    certcheck(report, commands_add_problem, L);
    return 2;
}

/* Adds a fact to the table on the stack's top; a second one of a key is a line more. */
static void commands_add_fact(void *ctx, const char *key, const char *text)
{
    lua_State *L = ctx;
    lua_getfield(L, -1, key);
    if (lua_isnil(L, -1))
        lua_pushstring(L, text);
    else
        lua_pushfstring(L, "%s\n%s", lua_tostring(L, -1), text);
    lua_setfield(L, -3, key);
    lua_pop(L, 1);
}

/* certificate_of(report, number, name) -> a table of facts (certcheck_name) */
static int commands_certificate_of(lua_State *L)
{
    const char *report = luaL_checkstring(L, 1), *name = luaL_checkstring(L, 3);
    unsigned number = (unsigned)luaL_checkint(L, 2);
    lua_newtable(L);
    certcheck_name(report, number, name, commands_add_fact, L);
    return 1;
}

/* --- the command line --- */

/* Pushes the module. */
static int command_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"become", commands_become},
        {"certificate_of", commands_certificate_of},
        {"certificates", commands_certificates},
        {"keep_reader", commands_keep_reader},
        {"cpus", commands_cpus},
        {"executable", commands_executable},
        {"listdir", commands_listdir},
        {"pause", commands_pause},
        {"readlink", commands_readlink},
        {"run", commands_run},
        {"setenv", commands_setenv},
        {"tempdir", commands_tempdir},
        {"tty", commands_tty},
        {"uid", commands_uid},
        {NULL, NULL},
    };
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    luaL_register(L, NULL, calls_functions);
    luaL_register(L, NULL, localhost_functions);
    luaL_register(L, NULL, terminal_functions);
    lua_createtable(L, 0, 1); /* other fields are those of moongate.core */
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
    script_certificate_look_by(facts_of_given);
    lua_State *L = script_state_new();
    int status = 1;
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "preload");
    lua_pushcfunction(L, command_open);
    lua_setfield(L, -2, "moongate.core.commands");
    lua_settop(L, 0);
    lua_pushcfunction(L, command_traceback);
    if (script_library_function(L, "moongate.cli.commands", "main") == 0) {
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
