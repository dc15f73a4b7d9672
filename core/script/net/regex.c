/*
 * regex - patterns of ngx.re: a thin door to PCRE2, bounded on each side.
 * lua/moongate/ngx/regex.lua makes match, find, gmatch, sub and gsub of it.
 *
 * PCRE2 bounds a pattern's size, its nesting and the memory of a search. Its match limit is no
 * bound of time: it counts steps back at one place where a match may begin, and each may read the
 * whole text, so that some kilobytes take hours. Hence two programs of a pattern. The quick program
 * (machine code with option j) searches short texts within a small match limit. Longer texts, and
 * searches that reach the limit, are left to the careful program, which calls regex_callout_cb
 * before each part of the pattern; the callback looks at the clock.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "script/net/net.h"

#include <pcre2.h>
#include <stdlib.h>
#include <time.h>

#define PATTERN "moongate.pattern"

#define PATTERN_BYTES 16384
#define PATTERN_DEPTH 100     /* groups within each other */
#define GROUPS        256     /* of a pattern, with the whole */
#define HEAP_KB       32768   /* memory of a search for the alternatives that it hasn't tried */
#define SHORT_BYTES   512     /* of a text */
#define QUICK_STEPS   20000   /* at one place of it */
#define SEARCH_TIME   0.1     /* seconds of the processor's time */
#define SEARCH_BYTES  4194304 /* bytes read between two looks at the clock, about */
#define DFA_INTS      1000    /* what a search for the longest match has to remember its states */

/* The options of ngx.re. */
static const struct option {
    char letter;
    uint32_t compile;
} options[] = {
    {'J', PCRE2_ALT_BSUX | PCRE2_MATCH_UNSET_BACKREF},
    /* never without the check of UTF-8: PCRE2 would read past the end of an invalid text */
    {'U', PCRE2_UTF},
    {'a', PCRE2_ANCHORED},
    {'d', 0},
    {'i', PCRE2_CASELESS},
    {'j', 0},
    {'m', PCRE2_MULTILINE},
    {'o', 0}, /* compile once: all patterns are kept anyway */
    {'s', PCRE2_DOTALL},
    {'u', PCRE2_UTF},
    {'x', PCRE2_EXTENDED},
};

struct pattern {
    pcre2_code *quick, *careful;
    bool longest; /* option d */
    uint32_t groups;
};

/* Memory that all searches of a process share, since one search runs at a time. */
static struct {
    pcre2_compile_context *compile;
    pcre2_match_context *quick, *careful;
    pcre2_match_data *data;
    double begun;           /* when the search began, on the processor's clock */
    size_t calls, interval; /* of regex_callout_cb until it looks at the clock */
} regex;

static double regex_processor_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int regex_callout_cb(pcre2_callout_block *block, void *ctx)
{
    (void)block;
    (void)ctx;
    if (--regex.calls > 0)
        return 0;
    regex.calls = regex.interval;
    return regex_processor_seconds() - regex.begun > SEARCH_TIME ? PCRE2_ERROR_MATCHLIMIT : 0;
}

static void regex_prepare(void)
{
    if (regex.compile != NULL)
        return;
    regex.compile = pcre2_compile_context_create(NULL);
    regex.quick = pcre2_match_context_create(NULL);
    regex.careful = pcre2_match_context_create(NULL);
    regex.data = pcre2_match_data_create(GROUPS, NULL);
    if (regex.compile == NULL || regex.quick == NULL || regex.careful == NULL || regex.data == NULL)
        abort();
    pcre2_set_max_pattern_length(regex.compile, PATTERN_BYTES);
    pcre2_set_parens_nest_limit(regex.compile, PATTERN_DEPTH);
    pcre2_set_match_limit(regex.quick, QUICK_STEPS);
    pcre2_set_heap_limit(regex.careful, HEAP_KB);
    pcre2_set_callout(regex.careful, regex_callout_cb, NULL);
}

static struct pattern *regex_check_pattern(lua_State *L)
{
    return luaL_checkudata(L, 1, PATTERN);
}

static int regex_pattern_gc(lua_State *L)
{
    pcre2_code_free(regex_check_pattern(L)->quick);
    pcre2_code_free(regex_check_pattern(L)->careful);
    return 0;
}

/* nil and what PCRE2 says of an error, and where in the pattern it is. */
static int regex_fail(lua_State *L, int code, size_t *offset)
{
    PCRE2_UCHAR text[256] = "unknown error";
    pcre2_get_error_message(code, text, sizeof text);
    lua_pushnil(L);
    lua_pushstring(L, (char *)text);
    if (offset != NULL) {
        lua_pushfstring(L, " at byte %d of the pattern", (int)*offset + 1);
        lua_concat(L, 2);
    }
    return 2;
}

static size_t regex_program_bytes(const pcre2_code *code)
{
    size_t size = 0, machine = 0;
    pcre2_pattern_info(code, PCRE2_INFO_SIZE, &size);
    pcre2_pattern_info(code, PCRE2_INFO_JITSIZE, &machine);
    return size + machine;
}

/* The options of PCRE2 for letters of ngx.re; false: *unknown is no letter of it. */
static bool regex_read_options(struct str letters, uint32_t *flags, char *unknown)
{
    for (size_t i = 0; i < letters.n; i++) {
        size_t k = 0, count = sizeof options / sizeof *options;
        while (k < count && options[k].letter != letters.p[i])
            k++;
        if (k == count)
            return *unknown = letters.p[i], false;
        *flags |= options[k].compile;
    }
    return true;
}

/* core.pattern(text, letters) -> a pattern with these options of ngx.re; or nil, reason */
static int regex_pattern(lua_State *L)
{
    struct str text = script_check_str(L, 1), letters = script_check_str(L, 2);
    uint32_t flags = PCRE2_NEVER_BACKSLASH_C;
    char unknown;
    int error;
    size_t offset;
    if (!regex_read_options(letters, &flags, &unknown)) {
        lua_pushnil(L);
        lua_pushfstring(L, "unknown option '%c'; there are J U a d i j m o s u x", unknown);
        return 2;
    }
    regex_prepare();
    struct pattern *p = lua_newuserdata(L, sizeof *p);
    memset(p, 0, sizeof *p);
    luaL_getmetatable(L, PATTERN);
    lua_setmetatable(L, -2);
    PCRE2_SPTR source = (PCRE2_SPTR)text.p;
    p->quick = pcre2_compile(source, text.n, flags, &error, &offset, regex.compile);
    if (p->quick != NULL)
        p->careful = pcre2_compile(source, text.n, flags | PCRE2_AUTO_CALLOUT, &error, &offset,
                                   regex.compile);
    if (p->careful == NULL)
        return regex_fail(L, error, &offset);
    p->longest = memchr(letters.p, 'd', letters.n) != NULL;
    if (memchr(letters.p, 'j', letters.n) != NULL && !p->longest)
        pcre2_jit_compile(p->quick, PCRE2_JIT_COMPLETE); /* fails where a system forbids it */
    /* The programs are PCRE2's memory. A step of Lua's collector of that size makes up for what the
     * collector can't see. */
    lua_gc(L, LUA_GCSTEP,
           (int)((regex_program_bytes(p->quick) + regex_program_bytes(p->careful)) / 1024));
    pcre2_pattern_info(p->quick, PCRE2_INFO_CAPTURECOUNT, &p->groups);
    if (++p->groups > GROUPS)
        return script_fail(L, "the pattern has more than 255 groups");
    return 1;
}

/* --- searching --- */

/* What PCRE2 says to the first match from that byte on, which is then in regex.data. */
static int regex_search(const struct pattern *p, struct str text, size_t from)
{
    static int space[DFA_INTS];
    PCRE2_SPTR subject = (PCRE2_SPTR)text.p;
    if (!p->longest && text.n <= SHORT_BYTES) {
        int result = pcre2_match(p->quick, subject, text.n, from, 0, regex.data, regex.quick);
        if (result >= 0 || result == PCRE2_ERROR_NOMATCH)
            return result;
    }
    regex.begun = regex_processor_seconds();
    regex.calls = regex.interval = 64 + SEARCH_BYTES / (text.n + 1);
    if (p->longest)
        return pcre2_dfa_match(p->careful, subject, text.n, from, 0, regex.data, regex.careful,
                               space, DFA_INTS);
    return pcre2_match(p->careful, subject, text.n, from, 0, regex.data, regex.careful);
}

/* Pushes what a group has matched, or false. */
static bool regex_push_group(lua_State *L, struct str text, int group, int result)
{
    const size_t *at = pcre2_get_ovector_pointer(regex.data) + (size_t)group * 2;
    bool part = group < result && at[0] != PCRE2_UNSET && at[0] <= at[1];
    if (part)
        lua_pushlstring(L, text.p + at[0], at[1] - at[0]);
    else
        lua_pushboolean(L, false);
    return part;
}

/* Fills the table at idx: captures by number, 0 is the whole, and by name. */
static void regex_fill_captures(lua_State *L, int idx, const struct pattern *p, struct str text,
                                int result)
{
    uint32_t names, size;
    PCRE2_SPTR name;
    pcre2_pattern_info(p->quick, PCRE2_INFO_NAMECOUNT, &names);
    pcre2_pattern_info(p->quick, PCRE2_INFO_NAMEENTRYSIZE, &size);
    pcre2_pattern_info(p->quick, PCRE2_INFO_NAMETABLE, &name);
    for (uint32_t i = 0; i < p->groups; i++) {
        regex_push_group(L, text, (int)i, result);
        lua_rawseti(L, idx, (int)i);
    }
    for (uint32_t i = 0; i < names; i++, name += size) { /* a number of two bytes and a text */
        const char *word = (const char *)name + 2;
        /* (?J) allows several groups of one name: the one that took part in the match counts. */
        bool again = i > 0 && strcmp(word, word - size) == 0;
        bool part = regex_push_group(L, text, name[0] << 8 | name[1], result);
        if (part || !again)
            lua_setfield(L, idx, word);
        else
            lua_pop(L, 1);
    }
}

/*
 * pattern:search(text, init, captures, group) -> from, to of that group (0: all that matched) in
 * the first match that begins at the byte init or later; or nil where there is none, or nil,
 * reason. Fills the table `captures`, unless it is nil.
 */
static int regex_pattern_search(lua_State *L)
{
    const struct pattern *p = regex_check_pattern(L);
    struct str text = script_check_str(L, 2);
    lua_Number init = luaL_checknumber(L, 3);
    lua_Integer group = luaL_checkinteger(L, 5);
    if (!(init <= (double)text.n + 1) || group < 0 || (uint32_t)group >= p->groups)
        return 0;
    int result = regex_search(p, text, init > 1 ? (size_t)init - 1 : 0);
    if (result == PCRE2_ERROR_NOMATCH)
        return 0;
    if (result < 0)
        return regex_fail(L, result, NULL);
    if (p->longest)
        result = 1; /* the longest match: further results are shorter matches, not groups */
    if (!lua_isnil(L, 4))
        regex_fill_captures(L, 4, p, text, result);
    const size_t *at = pcre2_get_ovector_pointer(regex.data);
    if (group >= result || at[group * 2] == PCRE2_UNSET)
        return 0;
    lua_pushinteger(L, (lua_Integer)at[group * 2] + 1);
    lua_pushinteger(L, (lua_Integer)at[group * 2 + 1]);
    lua_pushinteger(L, (lua_Integer)at[1]);
    return 3;
}

void script_regex_open(lua_State *L)
{
    static const luaL_Reg methods[] = {{"search", regex_pattern_search}, {NULL, NULL}};
    script_class(L, PATTERN, methods, regex_pattern_gc);
    lua_pushcfunction(L, regex_pattern);
    lua_setfield(L, -2, "pattern");
}
