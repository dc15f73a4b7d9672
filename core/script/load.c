/* load - see load.h. */
#include "script/load.h"

#include "base/log.h"
#include "script/balance.h"
#include "script/box.h"
#include "script/door.h"
#include "script/heap.h"
#include "script/hooks.h"
#include "script/limit.h"
#include "script/modules.h"
#include "script/settings.h"
#include "script/value.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* The cause of work that is no hook. It is untimed: the master bounds the time of a load. */
static const struct script_cause load_cause = {
    .what = "the script", .source = "while it is loaded", .untimed = true};

/* A copy of the text on the top, which is popped. *size is set unless it is NULL. */
static char *load_pop_text(lua_State *L, size_t *size)
{
    struct str text = script_str(L, -1);
    if (text.p == NULL)
        text = STR("an error that is not a string");
    char *copy = malloc(text.n + 1);
    if (copy == NULL)
        abort();
    memcpy(copy, text.p, text.n);
    copy[text.n] = '\0';
    if (size != NULL)
        *size = text.n;
    lua_pop(L, 1);
    return copy;
}

/* --- a route --- */

static int load_push_overrides(lua_State *L, const char *text)
{
    lua_pushfstring(L, "return %s", text != NULL ? text : "{}");
    int status = luaL_loadstring(L, lua_tostring(L, -1));
    lua_remove(L, -2);
    return status != 0 ? status : lua_pcall(L, 0, 1, 0);
}

/* Makes the library load from the snapshot; 0: from the disk. */
static int load_use_snapshot(lua_State *L, int fd)
{
    struct stat st;
    int status = script_library_function(L, "moongate.route.sources", "use_snapshot");
    if (status != 0)
        return status;
    char *text = fd > 0 && fstat(fd, &st) == 0 ? malloc((size_t)st.st_size + 1) : NULL;
    ssize_t n = text != NULL ? pread(fd, text, (size_t)st.st_size, 0) : -1;
    if (n > 0)
        lua_pushlstring(L, text, (size_t)n);
    else
        lua_pushnil(L);
    free(text);
    return lua_pcall(L, 1, 0, 0);
}

/* Leaves the normalised table on the stack, or a message. */
static int load_route(lua_State *L, const struct route *route)
{
    int status = load_use_snapshot(L, route->snapshot);
    if (status != 0)
        return status;
    status =
        script_library_function(L, "moongate.route.load", route->path != NULL ? "route" : "source");
    if (status != 0)
        return status;
    lua_pushstring(L, route->path != NULL ? route->path : route->source);
    if (route->path == NULL)
        lua_pushstring(L, route->name);
    status = load_push_overrides(L, route->overrides);
    if (status != 0)
        return status;
    lua_pushboolean(L, true);
    lua_setfield(L, -2, "server");
    bool outer = script_begin_loading(L, route->path != NULL ? route->path : route->name);
    status = lua_pcall(L, route->path != NULL ? 2 : 3, 1, 0);
    if (outer)
        script_end_run(L);
    return status;
}

struct loading {
    const struct route *route;
    char *err;
};

static void load_body(struct script *s, void *ctx)
{
    struct loading *loading = ctx;
    lua_State *L = s->L;
    script_boxes_new(s);
    if (script_library_function(L, "moongate.route.guard", "keep_process") != 0)
        lua_error(L);
    lua_call(L, 0, 0);
    if (load_route(L, loading->route) != 0) {
        loading->err = load_pop_text(L, NULL);
        return;
    }
    const char *reason = script_read_settings(L, lua_gettop(L), &s->settings);
    if (reason != NULL) {
        loading->err = strdup(reason);
        return;
    }
    script_heap_limit(s->heap, s->settings.limits.script_memory);
    script_hooks_new(s);
    if (!script_balance_new(s)) {
        loading->err = load_pop_text(L, NULL);
        return;
    }
    s->normalised = luaL_ref(L, LUA_REGISTRYINDEX);
}

/* --- questions to moongate.route.load and its kin --- */

struct question {
    const char *module;
    const char *function; /* name; called with the normalised table and `ini` */
    const char *ini;      /* a text, or nil */
    bool specs;           /* the function runs the specs */
    bool failed;          /* `answer` is the error */
    char *answer;         /* malloc'd; NULL: it was nil */
    size_t size;
};

static void load_ask(struct script *s, void *ctx)
{
    struct question *q = ctx;
    lua_State *L = s->L;
    q->failed = script_library_function(L, q->module, q->function) != 0;
    if (!q->failed) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, s->normalised);
        lua_pushstring(L, q->ini); /* NULL: nil */
        bool outer = q->specs && script_begin_specs(L);
        q->failed = lua_pcall(L, 2, 1, 0) != 0;
        if (outer)
            script_end_run(L);
    }
    if (!lua_isnil(L, -1))
        q->answer = load_pop_text(L, &q->size);
}

static char *failed_files;

const char *script_failed_files(void)
{
    return failed_files != NULL ? failed_files : "";
}

char *script_load(struct script *s, const struct route *route)
{
    struct loading loading = {.route = route};
    if (!script_guard(s, &load_cause, load_body, &loading) && loading.err == NULL)
        loading.err = strdup(script_failure(s));
    if (loading.err == NULL)
        return NULL;
    struct question q = {.module = "moongate.route.load", .function = "failed_report"};
    free(failed_files);
    failed_files = script_guard(s, &load_cause, load_ask, &q) && !q.failed ? q.answer : NULL;
    return loading.err;
}

bool script_snapshot(struct script *s, int fd)
{
    struct question q = {.module = "moongate.route.load", .function = "snapshot"};
    bool good = script_guard(s, &load_cause, load_ask, &q) && !q.failed && q.answer != NULL;
    for (size_t at = 0; good && at < q.size;) {
        ssize_t n = write(fd, q.answer + at, q.size - at);
        good = n > 0;
        at += good ? (size_t)n : 0;
    }
    free(q.answer);
    return good;
}

char *script_report(struct script *s, const char *ini)
{
    struct question q = {.module = "moongate.route.load", .function = "loader_report", .ini = ini};
    if (!script_guard(s, &load_cause, load_ask, &q))
        return NULL;
    if (!q.failed)
        return q.answer;
    log_error("%s", q.answer);
    free(q.answer);
    return NULL;
}

char *script_check_tests(struct script *s)
{
    struct question q = {.module = "moongate.testing.specs", .function = "check", .specs = true};
    return script_guard(s, &load_cause, load_ask, &q) ? q.answer : strdup(script_failure(s));
}
