/* caching - see caching.h. */
#include "script/caching.h"

#include "http/caching.h"
#include "script/quantity.h"
#include "script/value.h"
#include "shm/cache.h"

#define KEY_MOST  4096 /* bytes of a key */
#define LIST_MOST 16   /* names of headers */

struct reading {
    lua_State *L;
    struct arena *arena;
    struct decision_cache *out;
    bool refused;
};

static struct str caching_get_text(struct reading *r, size_t most)
{
    struct str s = lua_type(r->L, -1) == LUA_TSTRING ? script_str(r->L, -1) : STR("");
    if (s.n == 0 || s.n > most || !str_is_field_value(s))
        r->refused = true;
    return r->refused ? STR("") : arena_copy(r->arena, s);
}

static double caching_get_seconds(struct reading *r)
{
    double seconds = script_seconds(r->L);
    if (!(seconds >= 0 && seconds < 1e9))
        r->refused = true;
    return seconds;
}

static bool caching_get_boolean(struct reading *r)
{
    if (!lua_isboolean(r->L, -1))
        r->refused = true;
    return lua_toboolean(r->L, -1);
}

/* A text, or a list of texts. */
static const struct str *caching_get_list(struct reading *r, unsigned *count)
{
    lua_State *L = r->L;
    bool one = lua_type(L, -1) == LUA_TSTRING;
    size_t n = one ? 1 : lua_istable(L, -1) ? lua_objlen(L, -1) : LIST_MOST + 1;
    struct str *list = arena_alloc(r->arena, (LIST_MOST + 1) * sizeof *list);
    if (n > LIST_MOST) {
        r->refused = true;
        return NULL;
    }
    for (size_t i = 0; i < n && !r->refused; i++) {
        if (!one)
            lua_rawgeti(L, -1, (int)i + 1);
        list[i] = caching_get_text(r, 200);
        if (!one)
            lua_pop(L, 1);
    }
    *count = (unsigned)n;
    return list;
}

static void caching_read_ignore(struct reading *r)
{
    unsigned count = 0;
    const struct str *list = caching_get_list(r, &count);
    for (unsigned i = 0; i < count && !r->refused; i++) {
        if (str_ieq(list[i], STR("Set-Cookie")))
            r->out->ignores_cookies = true;
        else if (str_ieq(list[i], STR("Cache-Control")))
            r->out->ignores_control = true;
        else if (str_ieq(list[i], STR("Authorization")))
            r->out->ignores_authorization = true;
        else
            r->refused = true;
    }
}

static void caching_read_vary(struct reading *r)
{
    r->out->vary = caching_get_list(r, &r->out->vary_count);
    for (unsigned i = 0; i < r->out->vary_count && !r->refused; i++)
        if (!str_is_token(r->out->vary[i]))
            r->refused = true;
}

static void caching_read_tags(struct reading *r)
{
    r->out->tags = caching_get_list(r, &r->out->tag_count);
    if (r->out->tag_count > CACHE_TAGS)
        r->refused = true;
}

static void caching_read_key(struct reading *r, struct str name)
{
    struct decision_cache *c = r->out;
    if (str_eq(name, STR("key")))
        c->key = caching_get_text(r, KEY_MOST);
    else if (str_eq(name, STR("ttl")))
        c->ttl = caching_get_seconds(r);
    else if (str_eq(name, STR("stale")))
        c->stale = caching_get_seconds(r);
    else if (str_eq(name, STR("lock")))
        c->lock = caching_get_boolean(r);
    else if (str_eq(name, STR("background")))
        c->background = caching_get_boolean(r) ? CACHING_ALWAYS : CACHING_NEVER;
    else if (str_eq(name, STR("bypass")))
        c->bypass = caching_get_boolean(r) ? CACHE_BYPASSED : CACHE_NOT_BYPASSED;
    else if (str_eq(name, STR("vary")))
        caching_read_vary(r);
    else if (str_eq(name, STR("tags")))
        caching_read_tags(r);
    else if (str_eq(name, STR("ignore")))
        caching_read_ignore(r);
    else
        r->refused = true;
}

bool script_read_caching(lua_State *L, struct arena *arena, const struct decision_cache **out)
{
    struct decision_cache *c = arena_alloc(arena, sizeof *c);
    struct reading r = {.L = L, .arena = arena, .out = c};
    *c = (struct decision_cache){.ttl = -1, .stale = -1, .lock = true};
    *out = c;
    if (lua_isboolean(L, -1)) {
        if (!lua_toboolean(L, -1))
            *out = NULL;
        return true;
    }
    if (!lua_istable(L, -1))
        return false;
    for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) {
        if (lua_type(L, -2) == LUA_TSTRING)
            caching_read_key(&r, script_str(L, -2));
        else
            r.refused = true;
        if (r.refused) {
            lua_pop(L, 2);
            return false;
        }
    }
    return true;
}
