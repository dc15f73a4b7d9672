/*
 * ngx - what lua/ngx.lua needs from C: gates that functions wait at (ngx.thread.wait), patterns
 * (ngx.re), and ngx.null. See script/task.h for the waiting.
 */
#include "script/net/net.h"

#include <regex.h>
#include <stdlib.h>

#define GATE    "moongate.gate"
#define PATTERN "moongate.pattern"
#define GROUPS  32 /* of a pattern, with the whole */

/* Of a pattern: bytes, groups within each other, and its size, see pattern_problem. */
#define PATTERN_BYTES 8192
#define PATTERN_DEPTH 100
#define PATTERN_SIZE  2000
#define GROUP_SIZE    4 /* what a group or a repeat adds: regcomp's time is cubic in these */

/* --- gates --- */

/* Closed until it is opened; one function may wait at it. */
struct gate {
    struct net_op op;
    struct script *script;
    ev_timer timer; /* wakes from the loop, not from inside of who opens */
    bool open;
};

static void cancel_gate(struct script_wait *wait)
{
    struct gate *g = (struct gate *)((char *)wait - offsetof(struct gate, op.wait));
    ev_timer_stop(g->script->loop->ev, &g->timer);
    script_net_over(g->script, &g->op);
}

static void opened_cb(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct gate *g = timer->data;
    (void)ev;
    (void)events;
    struct script_wait wait = g->op.wait; /* the gate may go with its anchor */
    script_net_over(g->script, &g->op);
    script_wake(&wait, NULL, NULL);
}

static struct gate *check_gate(lua_State *L)
{
    return luaL_checkudata(L, 1, GATE);
}

/* gate:open() */
static int gate_open(lua_State *L)
{
    struct gate *g = check_gate(L);
    g->open = true;
    if (g->op.active)
        ev_timer_start(g->script->loop->ev, &g->timer);
    return 0;
}

/* gate:wait() */
static int gate_wait(lua_State *L)
{
    struct gate *g = check_gate(L);
    if (g->op.active)
        return luaL_error(L, "somebody waits at this gate already");
    return g->open ? 0 : script_net_wait(L, &g->op);
}

/* core.gate() -> a closed gate */
static int ngx_gate(lua_State *L)
{
    struct script *s = script_of(L);
    struct gate *g = lua_newuserdata(L, sizeof *g);
    memset(g, 0, sizeof *g);
    g->script = s;
    g->op.wait.cancel = cancel_gate;
    ev_timer_init(&g->timer, opened_cb, 0, 0);
    g->timer.data = g;
    luaL_getmetatable(L, GATE);
    lua_setmetatable(L, -2);
    return 1;
}

/* --- patterns --- */

/* Where a set such as [^]a[:digit:]] ends that begins at p; at the pattern's end if it has none. */
static const char *skip_set(const char *p)
{
    p += p[1] == '^' ? 2 : 1;
    if (*p == ']') /* the first one is of the set */
        p++;
    while (*p != '\0' && *p != ']') {
        char kind = p[0] == '[' ? p[1] : '\0';
        const char end[] = {kind, ']', '\0'};
        bool named = kind == '.' || kind == '=' || kind == ':';
        const char *close = named ? strstr(p + 2, end) : NULL;
        p = close != NULL ? close + 2 : p + 1;
    }
    return p;
}

/* Reads {3}, {3,}, {,3} or {1,3} at *p, and leaves *p at its brace. How many copies regcomp makes
 * of what it repeats, rounded up; 0: it is no repeat, or an error that regcomp names. */
static size_t read_repeat(const char **p)
{
    char *end;
    size_t copies = strtoul(*p + 1, &end, 10);
    if (*end == ',' && end[1] != '}')
        copies = strtoul(end + 1, &end, 10);
    else if (*end == ',')
        end++;
    if (*end != '}')
        return 0;
    *p = end;
    return copies < PATTERN_SIZE ? copies + 1 : PATTERN_SIZE;
}

/*
 * Why a pattern (an extended regular expression, regex(7)) is not given to regcomp; NULL: it is.
 * glibc's regcomp recurses for each group within another one and writes out each counted repeat, so
 * that some bytes take gigabytes, minutes or the C stack. Hence bounds of nesting and of the size
 * that the pattern has when it is written out: sizes[] adds up what stands in each open group,
 * `last` is what the next repeat would repeat. References to groups (\1) are not of regex(7), and
 * regexec's time is exponential in the text with them.
 */
static const char *pattern_problem(struct str text)
{
    size_t sizes[PATTERN_DEPTH + 1] = {0}, last = 0;
    unsigned depth = 0;
    if (text.n > PATTERN_BYTES)
        return "the pattern is longer than 8192 bytes";
    if (strlen(text.p) != text.n)
        return "the pattern has a zero byte";
    for (const char *p = text.p; *p != '\0'; p++) {
        size_t added = 1;
        if (*p == '(') {
            if (depth == PATTERN_DEPTH)
                return "the pattern has more than 100 groups within each other";
            sizes[++depth] = 0;
            added = GROUP_SIZE;
        } else if (*p == ')' && depth > 0) {
            last = sizes[depth--];
            added = last;
        } else if (*p == '*' || *p == '?') {
            added = GROUP_SIZE;
            last += added;
        } else if (*p == '+') {
            added = last + GROUP_SIZE;
            last += added;
        } else if (*p == '{') {
            added = last * read_repeat(&p) + GROUP_SIZE;
            last += added;
        } else {
            if (*p == '\\' && p[1] >= '1' && p[1] <= '9')
                return "references to groups, such as \\1, are not available";
            if (*p == '\\' && p[1] != '\0')
                p++;
            else if (*p == '[')
                p = skip_set(p);
            last = 1;
        }
        sizes[depth] += added;
        if (sizes[depth] > PATTERN_SIZE)
            return "the pattern is too large: its repeats, each written out, have more than 2000 "
                   "parts";
        if (*p == '\0')
            break;
    }
    return NULL;
}

static int pattern_gc(lua_State *L)
{
    regfree(lua_touserdata(L, 1));
    return 0;
}

/* core.pattern(text, ignore_case) -> an extended regular expression (regex(7)); or nil, reason.
 * Patterns are bounded, see pattern_problem; the time of a search is not, but by script_timeout. */
static int ngx_pattern(lua_State *L)
{
    struct str text = script_check_str(L, 1);
    const char *problem = pattern_problem(text);
    regex_t compiled;
    char reason[128];
    if (problem != NULL)
        return script_fail(L, problem);
    int code = regcomp(&compiled, text.p, REG_EXTENDED | (lua_toboolean(L, 2) ? REG_ICASE : 0));
    if (code != 0) {
        regerror(code, &compiled, reason, sizeof reason);
        return script_fail(L, reason);
    }
    memcpy(lua_newuserdata(L, sizeof compiled), &compiled, sizeof compiled);
    luaL_getmetatable(L, PATTERN);
    lua_setmetatable(L, -2);
    return 1;
}

/* pattern:find(text, init) -> { from, to, from of group 1, to, ... }, 0 for a group without a part
 * in it; or nil */
static int pattern_find(lua_State *L)
{
    const regex_t *compiled = luaL_checkudata(L, 1, PATTERN);
    size_t n;
    const char *text = luaL_checklstring(L, 2, &n);
    lua_Integer init = luaL_optinteger(L, 3, 1);
    regmatch_t at[GROUPS];
    luaL_argcheck(L, init >= 1 && (size_t)init <= n + 1, 3, "out of the text");
    at[0] = (regmatch_t){.rm_so = (regoff_t)init - 1, .rm_eo = (regoff_t)n};
    int flags = REG_STARTEND | (init > 1 ? REG_NOTBOL : 0);
    if (regexec(compiled, text, GROUPS, at, flags) != 0)
        return 0;
    size_t count = compiled->re_nsub + 1 < GROUPS ? compiled->re_nsub + 1 : GROUPS;
    lua_createtable(L, (int)count * 2, 0);
    for (size_t i = 0; i < count; i++) {
        lua_pushinteger(L, at[i].rm_so + 1);
        lua_rawseti(L, -2, (int)i * 2 + 1);
        lua_pushinteger(L, at[i].rm_so < 0 ? 0 : at[i].rm_eo);
        lua_rawseti(L, -2, (int)i * 2 + 2);
    }
    return 1;
}

/* --- the module --- */

static void make_class(lua_State *L, const char *name, const luaL_Reg *methods, lua_CFunction gc)
{
    luaL_newmetatable(L, name);
    lua_newtable(L);
    luaL_register(L, NULL, methods);
    lua_setfield(L, -2, "__index");
    if (gc != NULL) {
        lua_pushcfunction(L, gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_pushstring(L, name); /* not for the script to change */
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}

void script_ngx_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"gate", ngx_gate}, {"pattern", ngx_pattern}, {NULL, NULL}};
    static const luaL_Reg gate[] = {{"open", gate_open}, {"wait", gate_wait}, {NULL, NULL}};
    static const luaL_Reg pattern[] = {{"find", pattern_find}, {NULL, NULL}};
    make_class(L, GATE, gate, NULL);
    make_class(L, PATTERN, pattern, pattern_gc);
    luaL_register(L, NULL, functions);
    lua_pushlightuserdata(L, NULL);
    lua_setfield(L, -2, "null");
}
