/*
 * decision - see decision.h.
 *
 * A decision table is read afresh for each request: it has two to five keys, so reading costs less
 * than a cache that would have to notice when a script changes a table it has returned before. Each
 * value is checked here; lua/moongate/decision/init.lua alone makes the message about a wrong one.
 */
#include "script/decision.h"

#include "script/caching.h"
#include "script/compressing.h"
#include "script/modules.h"
#include "script/quantity.h"
#include "script/value.h"

#include <stddef.h>

/* Kinds of decisions as bits, since a key may belong to several. Where the keys make several kinds,
 * the lowest bit is the decision's kind. */
enum { FASTCGI = 1, REDIRECT = 2, FILES = 4, REPLY = 8, CLOSE = 16 };
/* No kind of its own: marks the keys that a FastCGI decision may have as `authorize` of another
 * decision. */
enum { AUTHORIZER = 32 };

struct reading;

struct key {
    const char *name;
    uint8_t kinds; /* kinds of decisions that may have the key */
    uint8_t makes; /* the kind that a decision with the key is; 0: the key makes no kind */
    /* How the value is read: by `read`, as a text, or as a text or a list of texts. A key with none
     * of these has been used by lua/moongate/decision/complete.lua. */
    void (*read)(struct reading *r);
    struct str (*text)(struct reading *r);
    struct str (*items)(struct reading *r);
    uint16_t at, count_at; /* offsets in struct decision: the member, and the count of its list */
};

/* The state of reading one decision. */
struct reading {
    lua_State *L;
    struct request *req;
    const struct settings *settings;
    struct decision *d;
    const struct key *key; /* the key that is being read */
    bool refused;
    unsigned kinds, made;
    struct str redirect;
    bool has_ini;
};

static void decision_refuse(struct reading *r)
{
    r->refused = true;
}

/* The member of struct decision that the key is read into. */
static void *decision_member(const struct reading *r)
{
    return (char *)r->d + r->key->at;
}

/* --- values; the value is on the stack's top --- */

/* The text as Lua has it, without NUL; "" where the value is none. */
static struct str decision_check_text(struct reading *r)
{
    if (lua_type(r->L, -1) != LUA_TSTRING) {
        decision_refuse(r);
        return STR("");
    }
    struct str s = script_str(r->L, -1);
    if (memchr(s.p, '\0', s.n) != NULL)
        decision_refuse(r);
    return s;
}

static struct str decision_get_text(struct reading *r)
{
    return arena_copy(&r->req->arena, decision_check_text(r));
}

/* An absolute path or URL prefix, without the slash at its end. */
static struct str decision_get_folder(struct reading *r)
{
    struct str s = decision_get_text(r);
    if (s.n > 0 && s.p[0] != '/')
        decision_refuse(r);
    while (s.n > 0 && s.p[s.n - 1] == '/')
        s.n--;
    return s;
}

/* True for a path whose segments are all names. A path with an empty segment, "." or ".." is
 * refused, since a script may have made it from a client's text: "/srv/" .. "" is the folder above
 * all sites. */
static bool decision_has_names_only(struct str path)
{
    const char *at = path.p, *end = path.p + path.n;
    while ((at = memchr(at, '/', (size_t)(end - at))) != NULL) {
        const char *name = ++at;
        while (name < end && name - at < 2 && *name == '.')
            name++;
        if (name == end || *name == '/') /* behind no byte, or one or two dots */
            return false;
    }
    return true;
}

/* An absolute path of a folder; "/" has n = 0. */
static struct str decision_get_root(struct reading *r)
{
    struct str s = decision_get_text(r);
    if (s.n == 0 || s.p[0] != '/')
        decision_refuse(r);
    else if (s.n > 1 && !decision_has_names_only(s))
        decision_refuse(r);
    else if (s.n == 1)
        s.n = 0;
    return s;
}

/* Text that goes into a header. */
static struct str decision_get_field(struct reading *r)
{
    struct str s = decision_get_text(r);
    if (!str_is_field_value(s))
        decision_refuse(r);
    return s;
}

/* Bytes, or "16k" "1M" "1G". */
static uint64_t decision_get_size(struct reading *r)
{
    double value = script_bytes(r->L);
    if (value >= 0 && value < 1e18)
        return (uint64_t)value;
    decision_refuse(r);
    return 0;
}

static bool decision_get_boolean(struct reading *r)
{
    if (!lua_isboolean(r->L, -1))
        decision_refuse(r);
    return lua_toboolean(r->L, -1);
}

/* A string, or a list of strings. */
static void decision_read_items(struct reading *r, struct str (*get)(struct reading *r))
{
    lua_State *L = r->L;
    bool one = lua_type(L, -1) == LUA_TSTRING;
    size_t n = one ? 1 : lua_istable(L, -1) ? lua_objlen(L, -1) : 0;
    if (n == 0 || n > 100) {
        decision_refuse(r);
        return;
    }
    struct str *list = arena_alloc(&r->req->arena, n * sizeof *list);
    for (size_t i = 0; i < n; i++) {
        if (!one)
            lua_rawgeti(L, -1, (int)i + 1);
        list[i] = get(r);
        if (!one)
            lua_pop(L, 1);
    }
    *(const struct str **)decision_member(r) = list;
    *(unsigned *)((char *)r->d + r->key->count_at) = (unsigned)n;
}

static void decision_add_header(struct reading *r, struct str name)
{
    if (!lua_isstring(r->L, -1)) {
        decision_refuse(r);
        return;
    }
    lua_pushvalue(r->L, -1); /* lua_tostring changes a number in place */
    lua_tostring(r->L, -1);
    struct str value = decision_get_field(r);
    lua_pop(r->L, 1);
    headers_add(&r->req->arena, decision_member(r), name, value);
}

static void decision_read_headers(struct reading *r)
{
    lua_State *L = r->L;
    if (!lua_istable(L, -1)) {
        decision_refuse(r);
        return;
    }
    for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) {
        struct str name = lua_type(L, -2) == LUA_TSTRING
                              ? arena_copy(&r->req->arena, script_str(L, -2))
                              : STR("");
        enum header_id id = header_id(name);
        if (!str_is_token(name) || id == HEADER_CONTENT_LENGTH || header_is_hop(id)) {
            decision_refuse(r);
        } else if (lua_istable(L, -1)) {
            for (int i = 1, n = (int)lua_objlen(L, -1); i <= n && i <= 100; i++) {
                lua_rawgeti(L, -1, i);
                decision_add_header(r, name);
                lua_pop(L, 1);
            }
        } else {
            decision_add_header(r, name);
        }
        if (((const struct headers *)decision_member(r))->count > 1000)
            decision_refuse(r);
        if (r->refused) {
            lua_pop(L, 2);
            return;
        }
    }
}

static void decision_get_param(struct reading *r)
{
    lua_State *L = r->L;
    struct str name =
        lua_type(L, -2) == LUA_TSTRING ? arena_copy(&r->req->arena, script_str(L, -2)) : STR("");
    struct str value = STR_NONE;
    if (name.n == 0) {
        decision_refuse(r);
    } else if (param_is_setting(name)) {
        decision_refuse(r);
    } else if (str_eq(name, STR("CONTENT_LENGTH"))) {
        decision_refuse(r);
    } else if (lua_isstring(L, -1)) {
        lua_pushvalue(L, -1);
        value = arena_copy(&r->req->arena, script_str(L, -1));
        lua_pop(L, 1);
    } else if (!lua_isboolean(L, -1) || lua_toboolean(L, -1)) {
        decision_refuse(r);
    }
    params_add(&r->req->arena, &r->d->params, name, value);
    if (r->d->params.count > 1000)
        decision_refuse(r);
}

static void decision_read_params(struct reading *r)
{
    lua_State *L = r->L;
    if (!lua_istable(L, -1)) {
        decision_refuse(r);
        return;
    }
    for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) {
        decision_get_param(r);
        if (r->refused) {
            lua_pop(L, 2);
            return;
        }
    }
}

static void decision_read_backend(struct reading *r)
{
    struct str name = lua_type(r->L, -1) == LUA_TSTRING ? script_str(r->L, -1) : STR("");
    int backend = settings_find_backend(r->settings, name);
    if (backend >= 0)
        r->d->backend = (unsigned)backend;
    else
        decision_refuse(r);
}

/* intercept_errors: true, or the statuses. */
static void decision_read_statuses(struct reading *r)
{
    lua_State *L = r->L;
    size_t n = lua_istable(L, -1) ? lua_objlen(L, -1) : 0;
    r->d->intercept = true;
    if (lua_isboolean(L, -1)) {
        r->d->intercept = lua_toboolean(L, -1);
        return;
    }
    if (n == 0 || n > 200) {
        decision_refuse(r);
        return;
    }
    uint16_t *list = arena_alloc(&r->req->arena, n * sizeof *list);
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        lua_Number status = lua_tonumber(L, -1);
        if (!(status >= 400 && status <= 599))
            decision_refuse(r);
        list[i] = (uint16_t)(status >= 400 && status <= 599 ? status : 400);
        lua_pop(L, 1);
    }
    r->d->intercepted = list;
    r->d->intercepted_count = (unsigned)n;
}

/* internal: from prefix to folder. */
static void decision_read_internal(struct reading *r)
{
    lua_State *L = r->L;
    if (!lua_istable(L, -1)) {
        decision_refuse(r);
        return;
    }
    struct internal_path *list = arena_alloc(&r->req->arena, 100 * sizeof *list);
    unsigned count = 0;
    for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING || count == 100) {
            decision_refuse(r);
            lua_pop(L, 2);
            return;
        }
        struct str prefix = arena_copy(&r->req->arena, script_str(L, -2));
        bool route = lua_isboolean(L, -1) && lua_toboolean(L, -1);
        list[count].folder = route ? STR("") : decision_get_folder(r);
        if (prefix.n == 0 || prefix.p[0] != '/')
            decision_refuse(r);
        else if (prefix.p[prefix.n - 1] != '/')
            prefix = arena_printf(&r->req->arena, "%.*s/", STR_FMT(prefix));
        list[count++].prefix = prefix;
    }
    r->d->internal = list;
    r->d->internal_count = count;
}

/* --- keys --- */

/* "/" is the file system's root, or that of a PHP-FPM in a chroot, and not "none". */
static void decision_read_root(struct reading *r)
{
    struct str root = decision_get_root(r);
    *(struct str *)decision_member(r) = root.n == 0 && !r->refused ? STR("/") : root;
}

static void decision_read_file(struct reading *r)
{
    struct str file = decision_get_text(r);
    if (file.n == 0 || file.p[0] != '/')
        decision_refuse(r);
    else if (!decision_has_names_only((struct str){file.p, file.n - (str_ends(file, STR("/")))}))
        decision_refuse(r);
    *(struct str *)decision_member(r) = file;
}

/* Seconds, or "250ms" "5s" "2m" "1h". */
static void decision_read_duration(struct reading *r)
{
    double value = script_seconds(r->L);
    if (!(value > 0 && value < 1e9))
        decision_refuse(r);
    *(double *)decision_member(r) = value;
}

static void decision_read_size(struct reading *r)
{
    *(uint64_t *)decision_member(r) = decision_get_size(r);
}

static void decision_read_attempts(struct reading *r)
{
    unsigned attempts = (unsigned)decision_get_size(r);
    if (attempts < 1 || attempts > 100)
        decision_refuse(r);
    *(unsigned *)decision_member(r) = attempts;
}

static void decision_read_status(struct reading *r)
{
    lua_Number status = lua_type(r->L, -1) == LUA_TNUMBER ? lua_tonumber(r->L, -1) : 0;
    if (!(status >= 200 && status <= 599))
        decision_refuse(r);
    *(int *)decision_member(r) = (int)status;
}

static void decision_read_switch(struct reading *r)
{
    *(bool *)decision_member(r) = decision_get_boolean(r);
}

/* The member says the opposite of the key. */
static void decision_read_not(struct reading *r)
{
    *(bool *)decision_member(r) = !decision_get_boolean(r);
}

/* true, false, "headers" or a number of bytes. */
static void decision_read_flush(struct reading *r)
{
    struct decision *d = r->d;
    if (lua_isboolean(r->L, -1)) {
        d->flush = lua_toboolean(r->L, -1) ? FLUSH_AT_ONCE : FLUSH_AT_END;
    } else if (lua_type(r->L, -1) == LUA_TSTRING && str_eq(script_str(r->L, -1), STR("headers"))) {
        d->flush = FLUSH_HEAD;
    } else {
        d->flush = FLUSH_BY_BYTES;
        d->flush_bytes = decision_get_size(r);
        if (d->flush_bytes == 0)
            decision_refuse(r);
    }
}

/* true, false, or a table with what differs from the settings. */
static void decision_read_compress(struct reading *r)
{
    struct compress_settings *c = arena_alloc(&r->req->arena, sizeof *c);
    *c = r->settings->compress;
    if (!script_read_compress(r->L, &r->req->arena, false, c))
        decision_refuse(r);
    *(const struct compress_settings **)decision_member(r) = c;
}

/* true: the file lies in limits.spool_dir; or the folder for it. */
static void decision_read_request_file(struct reading *r)
{
    r->d->request_file = true;
    if (lua_isboolean(r->L, -1))
        r->d->request_file = lua_toboolean(r->L, -1);
    else
        r->d->request_folder = decision_get_root(r);
}

static void decision_read_close(struct reading *r)
{
    if (!decision_get_boolean(r))
        decision_refuse(r);
}

static void decision_read_body(struct reading *r)
{
    if (!lua_isstring(r->L, -1)) {
        decision_refuse(r);
        return;
    }
    lua_pushvalue(r->L, -1); /* lua_tolstring changes a number in place */
    *(struct str *)decision_member(r) = arena_copy(&r->req->arena, script_str(r->L, -1));
    lua_pop(r->L, 1);
}

static void decision_read_ini(struct reading *r)
{
    r->has_ini = true; /* lua/moongate/decision/ini.lua has made its text */
}

static void decision_read_cache(struct reading *r)
{
    if (!script_read_caching(r->L, &r->req->arena, decision_member(r)))
        decision_refuse(r);
}

static void decision_read_redirect(struct reading *r)
{
    r->redirect = decision_get_field(r);
    if (r->redirect.n == 0)
        decision_refuse(r);
}

static void decision_read_role(struct reading *r)
{
    static const char *const names[] = {
        [FCGI_RESPONDER] = "responder", [FCGI_AUTHORIZER] = "authorizer", [FCGI_FILTER] = "filter"};
    struct str name = decision_get_text(r);
    for (uint8_t role = FCGI_RESPONDER; role <= FCGI_FILTER; role++)
        if (str_eq(name, str_of(names[role])))
            *(uint8_t *)decision_member(r) = role;
    if (*(uint8_t *)decision_member(r) == 0)
        decision_refuse(r);
}

/* A path below the root. */
static struct str decision_get_path(struct reading *r)
{
    struct str path = decision_get_text(r);
    if (path.n == 0 || path.p[0] != '/')
        decision_refuse(r);
    return path;
}

static void decision_read_keys(struct reading *r, int table);

/* `authorize`: the FastCGI decision about the authorizer, which is asked before the application.
 * Its script is the one that it names, or that of the request's path. */
static void decision_read_authorize(struct reading *r)
{
    lua_State *L = r->L;
    int table = lua_gettop(L);
    struct decision *d = arena_alloc(&r->req->arena, sizeof *d);
    struct reading inner = {
        .L = L, .req = r->req, .settings = r->settings, .d = d, .kinds = AUTHORIZER};
    *d = (struct decision){.kind = DECISION_FASTCGI, .body_limit = UINT64_MAX};
    if (!lua_istable(L, table)) {
        decision_refuse(r);
        return;
    }
    if (luaL_getmetafield(L, table, "__index")) {
        lua_settop(L, table);
        decision_refuse(r);
        return;
    }
    decision_read_keys(&inner, table);
    d->script = r->req->uri.path;
    if (d->script_named && !inner.refused) {
        lua_getfield(L, table, "script");
        d->script = decision_get_path(&inner);
        lua_settop(L, table);
    }
    if (inner.refused || !(inner.made & FASTCGI) || inner.kinds != AUTHORIZER)
        decision_refuse(r);
    *(const struct decision **)decision_member(r) = d;
}

/* lua/moongate/decision/complete.lua has used it. */
static void decision_read_script(struct reading *r)
{
    *(bool *)decision_member(r) = true;
    decision_check_text(r);
}

#define AT(decision_member) .at = offsetof(struct decision, decision_member)
#define LIST(decision_member, count)                                                               \
    AT(decision_member), .count_at = offsetof(struct decision, count)

static const struct key keys[] = {
    {"always", FASTCGI | FILES | REPLY | REDIRECT, 0, .read = decision_read_headers, AT(always)},
    {"attempts", FASTCGI | AUTHORIZER, 0, .read = decision_read_attempts, AT(attempts)},
    {"authorize", FASTCGI | FILES | REPLY | REDIRECT, 0, .read = decision_read_authorize,
     AT(authorize)},
    {"authorize_key", FASTCGI | FILES | REPLY | REDIRECT, 0, .text = decision_get_text,
     AT(authorize_key)},
    {"authorize_ttl", FASTCGI | FILES | REPLY | REDIRECT, 0, .read = decision_read_duration,
     AT(authorize_ttl)},
    {"backend", FASTCGI | AUTHORIZER, FASTCGI, .read = decision_read_backend},
    {"body", REPLY, REPLY, .read = decision_read_body, AT(body)},
    {"body_deadline", FASTCGI, 0, .read = decision_read_duration, AT(body_deadline)},
    {"body_limit", FASTCGI, 0, .read = decision_read_size, AT(body_limit)},
    {"cache", FASTCGI, 0, .read = decision_read_cache, AT(cache)},
    {"cache_control", FILES, 0, .text = decision_get_field, AT(cache_control)},
    {"close", CLOSE, CLOSE, .read = decision_read_close},
    {"compress", FASTCGI | FILES | REPLY | REDIRECT, 0, .read = decision_read_compress,
     AT(compress)},
    {"connect_timeout", FASTCGI | AUTHORIZER, 0, .read = decision_read_duration,
     AT(connect_timeout)},
    {"data", FASTCGI, 0, .text = decision_get_path, AT(data)},
    {"deadline", FASTCGI, 0, .read = decision_read_duration, AT(deadline)},
    {"docroot", FASTCGI | AUTHORIZER, 0, .read = decision_read_root, AT(docroot)},
    {"early_hints", FASTCGI, 0, .items = decision_get_field, LIST(early_hints, early_hint_count)},
    {"file", FILES, FILES, .read = decision_read_file, AT(file)},
    {"first_byte_timeout", FASTCGI | AUTHORIZER, 0, .read = decision_read_duration,
     AT(first_byte_timeout)},
    {"flush", FASTCGI, 0, .read = decision_read_flush},
    {"hash_key", FASTCGI | AUTHORIZER, 0, .text = decision_get_text, AT(hash_key)},
    {"headers", FASTCGI | FILES | REPLY | REDIRECT, 0, .read = decision_read_headers, AT(headers)},
    {"index", FILES, 0, .items = decision_get_text, LIST(index, index_count)},
    {"ini", FASTCGI, 0, .read = decision_read_ini},
    {"intercept_errors", FASTCGI, 0, .read = decision_read_statuses},
    {"internal", FASTCGI, 0, .read = decision_read_internal},
    {"params", FASTCGI | AUTHORIZER, 0, .read = decision_read_params},
    {"path", FILES, 0, .text = decision_get_text, AT(path)},
    {"path_info", FASTCGI, 0, .text = decision_get_text, AT(path_info)},
    {"precompressed", FILES, 0, .read = decision_read_switch, AT(precompressed)},
    {"read_timeout", FASTCGI | AUTHORIZER, 0, .read = decision_read_duration, AT(read_timeout)},
    {"redirect", REDIRECT, REDIRECT, .read = decision_read_redirect},
    {"request_buffering", FASTCGI, 0, .read = decision_read_not, AT(stream_body)},
    {"request_file", FASTCGI, 0, .read = decision_read_request_file},
    {"response_buffering", FASTCGI, 0, .read = decision_read_not, AT(unbuffered)},
    {"role", FASTCGI, 0, .read = decision_read_role, AT(role)},
    {"root", FASTCGI | AUTHORIZER | FILES, FILES, .read = decision_read_root, AT(root)},
    {"script", FASTCGI | AUTHORIZER, 0, .read = decision_read_script, AT(script_named)},
    {"script_filename", FASTCGI | AUTHORIZER, 0, .text = decision_get_text, AT(script_filename)},
    {"scripts", FILES, 0, .items = decision_get_text, LIST(scripts, script_count)},
    {"send_timeout", FASTCGI | AUTHORIZER, 0, .read = decision_read_duration, AT(send_timeout)},
    {"server", FASTCGI | AUTHORIZER, 0, .text = decision_get_text, AT(server)},
    {"sources", FILES, 0, .items = decision_get_text, LIST(sources, source_count)},
    {"status", REPLY | REDIRECT | FILES, REPLY, .read = decision_read_status, AT(status)},
    {"strip", FASTCGI, 0, .text = decision_get_folder, AT(strip)},
    {"tenant", FASTCGI | AUTHORIZER, 0, .text = decision_get_text, AT(tenant)},
    {"try", FILES, .makes = FILES},
    {"within", FASTCGI | FILES, 0, .items = decision_get_root, LIST(within, within_count)},
};

enum { KEY_TOTAL = sizeof keys / sizeof *keys };

void script_push_keys(lua_State *L)
{
    lua_createtable(L, 0, KEY_TOTAL);
    for (int i = 0; i < KEY_TOTAL; i++) {
        lua_pushinteger(L, i + 1);
        lua_setfield(L, -2, keys[i].name);
    }
}

/* The keys by a hash of their names: each lies in the slot that its hash says, or in the next free
 * one. A table of Lua would cost several calls for each key of each decision. */
enum { KEY_SLOTS = 256 };
_Static_assert((int)KEY_TOTAL < (int)KEY_SLOTS, "a look for a key ends at a free slot");
static struct {
    struct str name; /* p == NULL: a free slot */
    const struct key *key;
} key_slots[KEY_SLOTS];

static unsigned decision_key_hash(struct str name)
{
    return (unsigned)(name.n * 59 + (uint8_t)name.p[0] * 7u + (uint8_t)name.p[name.n / 2] * 31u +
                      (uint8_t)name.p[name.n - 1]) %
           KEY_SLOTS;
}

static void decision_place_keys(void)
{
    for (const struct key *key = keys; key < keys + KEY_TOTAL; key++) {
        struct str name = str_of(key->name);
        unsigned at = decision_key_hash(name);
        while (key_slots[at].name.p != NULL)
            at = (at + 1) % KEY_SLOTS;
        key_slots[at].name = name;
        key_slots[at].key = key;
    }
}

/* The key of that name; NULL: there is none. */
static const struct key *decision_find_key(struct str name)
{
    static bool placed;
    if (name.n == 0)
        return NULL;
    if (!placed)
        decision_place_keys();
    placed = true;
    for (unsigned at = decision_key_hash(name); key_slots[at].name.p != NULL;
         at = (at + 1) % KEY_SLOTS)
        if (str_eq(key_slots[at].name, name))
            return key_slots[at].key;
    return NULL;
}

static void decision_read_keys(struct reading *r, int table)
{
    lua_State *L = r->L;
    int top = lua_gettop(L);
    for (lua_pushnil(L); lua_next(L, table) != 0; lua_pop(L, 1)) {
        /* lua_tolstring would change a key that is a number in place */
        const struct key *key = r->key =
            lua_type(L, -2) == LUA_TSTRING ? decision_find_key(script_str(L, -2)) : NULL;
        if (key == NULL) {
            decision_refuse(r);
            break;
        }
        r->made |= key->makes;
        r->kinds &= key->kinds;
        if (key->read != NULL)
            key->read(r);
        else if (key->text != NULL)
            *(struct str *)decision_member(r) = key->text(r);
        else if (key->items != NULL)
            decision_read_items(r, key->items);
        if (r->refused)
            break;
    }
    lua_settop(L, top);
}

/* --- the kinds --- */

static void decision_finish_fastcgi(struct reading *r, int a, int b)
{
    struct decision *d = r->d;
    lua_State *L = r->L;
    d->kind = DECISION_FASTCGI;
    if (lua_isstring(L, b + 1))
        d->ini = arena_copy(&r->req->arena, script_str(L, b + 1));
    else if (r->has_ini)
        decision_refuse(r);
    d->script = lua_isstring(L, a) ? arena_copy(&r->req->arena, script_str(L, a)) : STR("");
    if (lua_isstring(L, b))
        d->path_info = arena_copy(&r->req->arena, script_str(L, b));
    if (memchr(d->script.p, '\0', d->script.n) != NULL)
        decision_refuse(r);
}

static void decision_finish_files(struct reading *r, int a)
{
    struct decision *d = r->d;
    d->kind = DECISION_FILE;
    if (d->status > 0 && d->status < 400)
        decision_refuse(r);
    if (d->file.n > 0) {
        if (d->root.n > 0 || d->path.p != NULL)
            decision_refuse(r);
        return;
    }
    if (d->root.n == 0) {
        decision_refuse(r);
        return;
    }
    if (lua_isstring(r->L, a))
        d->path = arena_copy(&r->req->arena, script_str(r->L, a));
    else if (d->path.n == 0)
        d->path = r->req->uri.path;
}

/* A redirect is a reply with a Location. */
static void decision_finish_redirect(struct reading *r)
{
    struct decision *d = r->d;
    d->kind = DECISION_REPLY;
    if (d->status == 0)
        d->status = 302;
    if (d->status < 300 || d->status > 399)
        decision_refuse(r);
    headers_add(&r->req->arena, &d->headers, STR("Location"), r->redirect);
}

/* True for a decision with a key that has no meaning without another key, which is missing. */
static bool decision_is_loose(const struct decision *d)
{
    if (d->authorize == NULL && (d->authorize_key.p != NULL || d->authorize_ttl > 0))
        return true;
    return (d->authorize_key.n > 0 && d->authorize_ttl == 0) ||
           (d->request_file && d->stream_body) || (d->data.n > 0 && d->role != FCGI_FILTER);
}

static void decision_finish(struct reading *r, int a, int b)
{
    unsigned kind = r->made & -r->made; /* the first one */
    if (kind == 0 || !(r->kinds & kind))
        decision_refuse(r);
    else if (kind == FASTCGI)
        decision_finish_fastcgi(r, a, b);
    else if (kind == FILES)
        decision_finish_files(r, a);
    else if (kind == REDIRECT)
        decision_finish_redirect(r);
    else
        r->d->kind = kind == CLOSE ? DECISION_CLOSE : DECISION_REPLY;
    if (r->d->kind == DECISION_REPLY && r->d->status == 0)
        r->d->status = 200;
    if (decision_is_loose(r->d))
        decision_refuse(r);
}

bool script_decision(lua_State *L, int d, int a, int b, struct request *req,
                     const struct settings *settings)
{
    struct decision found = {.body_limit = UINT64_MAX};
    struct reading r = {.L = L, .req = req, .settings = settings, .d = &found, .kinds = 0xff};
    if (!lua_isnoneornil(L, d)) { /* nil is DECISION_NONE: 404 */
        if (!lua_istable(L, d))
            return false;
        if (luaL_getmetafield(L, d, "__index")) { /* decision.lua has seen other keys */
            lua_pop(L, 1);
            return false;
        }
        decision_read_keys(&r, d);
        if (!r.refused)
            decision_finish(&r, a, b);
    }
    /* A page for an error is of the tenant whose request has failed. Requests to a backend are of
     * the tenant that their decision names, since its queue counts them. */
    if (found.kind != DECISION_FASTCGI && found.tenant.n == 0)
        found.tenant = req->decision.tenant;
    if (!r.refused) /* a refused decision leaves the request's earlier one in place */
        req->decision = found;
    return !r.refused;
}
