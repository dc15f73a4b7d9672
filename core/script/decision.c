/*
 * decision - a decision table to struct decision.
 *
 * Read afresh each time: a decision has two to five keys, so reading costs less than a cache that
 * would have to notice when a script changes a table it has returned before. Every value is checked
 * here; what is wrong in detail says lua/moongate/decision/init.lua, which is only asked then.
 */
#include "script/lua.h"

#include <stdlib.h>

/* Kinds as bits: a key belongs to one or more of them. */
enum { FASTCGI = 1, FILES = 2, REPLY = 4, REDIRECT = 8, CLOSE = 16 };

enum key {
    KEY_ATTEMPTS,
    KEY_BACKEND,
    KEY_BODY,
    KEY_BODY_LIMIT,
    KEY_CACHE_CONTROL,
    KEY_CLOSE,
    KEY_CONNECT_TIMEOUT,
    KEY_DOCROOT,
    KEY_FILE,
    KEY_HASH_KEY,
    KEY_HEADERS,
    KEY_INDEX,
    KEY_INI,
    KEY_INTERCEPT_ERRORS,
    KEY_INTERNAL,
    KEY_PARAMS,
    KEY_PATH,
    KEY_PATH_INFO,
    KEY_READ_TIMEOUT,
    KEY_REDIRECT,
    KEY_REQUEST_BUFFERING,
    KEY_RESPONSE_BUFFERING,
    KEY_ROLE,
    KEY_ROOT,
    KEY_SCRIPT,
    KEY_SCRIPT_FILENAME,
    KEY_SCRIPTS,
    KEY_SEND_TIMEOUT,
    KEY_SERVER,
    KEY_SOURCES,
    KEY_STATUS,
    KEY_STRIP,
    KEY_TENANT,
    KEY_TRY,
    KEY_WITHIN,
};

/* Sorted by name. */
static const struct {
    const char *name;
    uint8_t key;
    uint8_t kinds;
} keys[] = {
    {"attempts", KEY_ATTEMPTS, FASTCGI},
    {"backend", KEY_BACKEND, FASTCGI},
    {"body", KEY_BODY, REPLY},
    {"body_limit", KEY_BODY_LIMIT, FASTCGI},
    {"cache_control", KEY_CACHE_CONTROL, FILES},
    {"close", KEY_CLOSE, CLOSE},
    {"connect_timeout", KEY_CONNECT_TIMEOUT, FASTCGI},
    {"docroot", KEY_DOCROOT, FASTCGI},
    {"file", KEY_FILE, FILES},
    {"hash_key", KEY_HASH_KEY, FASTCGI},
    {"headers", KEY_HEADERS, FASTCGI | FILES | REPLY | REDIRECT},
    {"index", KEY_INDEX, FILES},
    {"ini", KEY_INI, FASTCGI},
    {"intercept_errors", KEY_INTERCEPT_ERRORS, FASTCGI},
    {"internal", KEY_INTERNAL, FASTCGI},
    {"params", KEY_PARAMS, FASTCGI},
    {"path", KEY_PATH, FILES},
    {"path_info", KEY_PATH_INFO, FASTCGI},
    {"read_timeout", KEY_READ_TIMEOUT, FASTCGI},
    {"redirect", KEY_REDIRECT, REDIRECT},
    {"request_buffering", KEY_REQUEST_BUFFERING, FASTCGI},
    {"response_buffering", KEY_RESPONSE_BUFFERING, FASTCGI},
    {"role", KEY_ROLE, FASTCGI},
    {"root", KEY_ROOT, FASTCGI | FILES},
    {"script", KEY_SCRIPT, FASTCGI},
    {"script_filename", KEY_SCRIPT_FILENAME, FASTCGI},
    {"scripts", KEY_SCRIPTS, FILES},
    {"send_timeout", KEY_SEND_TIMEOUT, FASTCGI},
    {"server", KEY_SERVER, FASTCGI},
    {"sources", KEY_SOURCES, FILES},
    {"status", KEY_STATUS, REPLY | REDIRECT},
    {"strip", KEY_STRIP, FASTCGI},
    {"tenant", KEY_TENANT, FASTCGI},
    {"try", KEY_TRY, FILES},
    {"within", KEY_WITHIN, FASTCGI | FILES},
};

enum { KEY_TOTAL = sizeof keys / sizeof *keys };

/* One reading: where it is and what it has found. */
struct reading {
    lua_State *L;
    struct request *req;
    const struct settings *settings;
    struct decision *d;
    const char *err;
    unsigned kinds;
    struct str redirect;
    bool seen[KEY_TOTAL];
};

static const char *wrong(struct reading *r, const char *err)
{
    if (r->err == NULL)
        r->err = err;
    return r->err;
}

/* --- values; the value is on the stack's top --- */

static struct str get_text(struct reading *r, const char *err)
{
    if (lua_type(r->L, -1) != LUA_TSTRING) {
        wrong(r, err);
        return STR("");
    }
    struct str s = script_str(r->L, -1);
    if (memchr(s.p, '\0', s.n) != NULL)
        wrong(r, "a NUL byte in a string");
    return arena_copy(&r->req->arena, s);
}

/* An absolute path or URL prefix, without the slash at its end. */
static struct str get_folder(struct reading *r, const char *err)
{
    struct str s = get_text(r, err);
    if (s.n > 0 && s.p[0] != '/')
        wrong(r, err);
    while (s.n > 0 && s.p[s.n - 1] == '/')
        s.n--;
    return s;
}

/* True for a path whose segments are all names. An empty segment, "." or ".." is what a path
 * becomes that a script makes of a client's words: "/srv/" .. "" is the folder above all sites. */
static bool has_names_only(struct str path)
{
    const char *at = path.p, *end = path.p + path.n;
    while ((at = memchr(at, '/', (size_t)(end - at))) != NULL) {
        struct str rest = {at + 1, (size_t)(end - at) - 1};
        const char *slash = memchr(rest.p, '/', rest.n);
        size_t n = slash != NULL ? (size_t)(slash - rest.p) : rest.n;
        if (n == 0 || (rest.p[0] == '.' && (n == 1 || (n == 2 && rest.p[1] == '.'))))
            return false;
        at++;
    }
    return true;
}

/* An absolute path of a folder; "/" has n = 0. */
static struct str get_root(struct reading *r, const char *err)
{
    struct str s = get_text(r, err);
    if (s.n == 0 || s.p[0] != '/')
        wrong(r, err);
    else if (s.n > 1 && !has_names_only(s))
        wrong(r, "a path with an empty segment, '.' or '..' in it");
    else if (s.n == 1)
        s.n = 0;
    return s;
}

/* Text that goes into a header. */
static struct str get_field(struct reading *r, const char *err)
{
    struct str s = get_text(r, err);
    if (!str_is_field_value(s))
        wrong(r, "a control byte in a header");
    return s;
}

static double scale_of(struct str unit)
{
    static const struct {
        const char *name;
        double factor;
    } units[] = {{"", 1}, {"ms", 1e-3}, {"s", 1}, {"m", 60}, {"h", 3600}};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (str_ieq(unit, str_of(units[i].name)))
            return units[i].factor;
    return 0;
}

/* Seconds, or "250ms" "5s" "2m" "1h". */
static double get_duration(struct reading *r)
{
    double value;
    if (lua_type(r->L, -1) == LUA_TNUMBER) {
        value = lua_tonumber(r->L, -1);
    } else {
        char *end;
        struct str s = get_text(r, "a duration is a number of seconds or a string such as \"5s\"");
        value = s.n > 0 ? strtod(s.p, &end) : 0;
        value *= s.n > 0 ? scale_of(str_of(end)) : 0;
    }
    if (!(value > 0 && value < 1e9))
        wrong(r, "a timeout is a duration above 0");
    return value;
}

/* Bytes, or "16k" "1M" "1G". */
static uint64_t get_size(struct reading *r)
{
    double value;
    if (lua_type(r->L, -1) == LUA_TNUMBER) {
        value = lua_tonumber(r->L, -1);
    } else {
        char *end;
        struct str s = get_text(r, "a size is a number of bytes or a string such as \"16k\"");
        value = s.n > 0 ? strtod(s.p, &end) : -1;
        int shift = s.n == 0 || *end == '\0'  ? 0
                    : end[1] != '\0'          ? -1
                    : char_lower(*end) == 'k' ? 10
                    : char_lower(*end) == 'm' ? 20
                    : char_lower(*end) == 'g' ? 30
                                              : -1;
        value = shift < 0 ? -1 : value * (double)(1u << shift);
    }
    if (!(value >= 0 && value < 1e18)) {
        wrong(r, "a size is a number of bytes or a string such as \"16k\"");
        return 0;
    }
    return (uint64_t)value;
}

static void get_boolean(struct reading *r, bool *out)
{
    if (!lua_isboolean(r->L, -1))
        wrong(r, "expected true or false");
    *out = lua_toboolean(r->L, -1);
}

static int get_status(struct reading *r)
{
    lua_Number status = lua_type(r->L, -1) == LUA_TNUMBER ? lua_tonumber(r->L, -1) : 0;
    if (!(status >= 200 && status <= 599))
        wrong(r, "status is a number from 200 to 599");
    return (int)status;
}

/* A string, or a list of strings. */
static const struct str *get_list(struct reading *r, unsigned *count, bool folders)
{
    static const char err[] = "expected a string or a list of strings";
    lua_State *L = r->L;
    bool one = lua_type(L, -1) == LUA_TSTRING;
    size_t n = one ? 1 : lua_istable(L, -1) ? lua_objlen(L, -1) : 0;
    *count = 0;
    if (n == 0 || n > 100) {
        wrong(r, err);
        return NULL;
    }
    struct str *list = arena_alloc(&r->req->arena, n * sizeof *list);
    for (size_t i = 0; i < n; i++) {
        if (!one)
            lua_rawgeti(L, -1, (int)i + 1);
        list[i] = folders ? get_root(r, err) : get_text(r, err);
        if (!one)
            lua_pop(L, 1);
    }
    *count = (unsigned)n;
    return list;
}

static void add_header(struct reading *r, struct str name)
{
    if (!lua_isstring(r->L, -1)) {
        wrong(r, "a header's value is a string, a number or a list of strings");
        return;
    }
    lua_pushvalue(r->L, -1); /* lua_tostring changes a number in place */
    lua_tostring(r->L, -1);
    struct str value = get_field(r, "a header's value is a string");
    lua_pop(r->L, 1);
    headers_add(&r->req->arena, &r->d->headers, name, value);
}

static void get_headers(struct reading *r)
{
    lua_State *L = r->L;
    if (!lua_istable(L, -1)) {
        wrong(r, "headers is a table from name to value");
        return;
    }
    for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) {
        struct str name = lua_type(L, -2) == LUA_TSTRING
                              ? arena_copy(&r->req->arena, script_str(L, -2))
                              : STR("");
        enum header_id id = header_id(name);
        if (!str_is_token(name) || id == HEADER_CONTENT_LENGTH || header_is_hop(id)) {
            wrong(r, "a header name that is not valid, or one of the connection's own");
        } else if (lua_istable(L, -1)) {
            for (int i = 1, n = (int)lua_objlen(L, -1); i <= n && i <= 100; i++) {
                lua_rawgeti(L, -1, i);
                add_header(r, name);
                lua_pop(L, 1);
            }
        } else {
            add_header(r, name);
        }
        if (r->d->headers.count > 1000)
            wrong(r, "more than 1000 headers");
        if (r->err != NULL) {
            lua_pop(L, 2);
            return;
        }
    }
}

static void get_param(struct reading *r)
{
    lua_State *L = r->L;
    struct str name =
        lua_type(L, -2) == LUA_TSTRING ? arena_copy(&r->req->arena, script_str(L, -2)) : STR("");
    struct str value = STR_NONE;
    if (name.n == 0) {
        wrong(r, "a param's name is a string");
    } else if (param_is_setting(name)) {
        wrong(r, "PHP_VALUE and PHP_ADMIN_VALUE would stay in PHP-FPM's child");
    } else if (str_eq(name, STR("CONTENT_LENGTH"))) {
        wrong(r, "CONTENT_LENGTH can't be set: it is the number of bytes that follow");
    } else if (lua_isstring(L, -1)) {
        lua_pushvalue(L, -1);
        value = arena_copy(&r->req->arena, script_str(L, -1));
        lua_pop(L, 1);
    } else if (!lua_isboolean(L, -1) || lua_toboolean(L, -1)) {
        wrong(r, "a param is a string, a number, or false to remove it");
    }
    params_add(&r->req->arena, &r->d->params, name, value);
    if (r->d->params.count > 1000)
        wrong(r, "more than 1000 params");
}

static void get_params(struct reading *r)
{
    lua_State *L = r->L;
    if (!lua_istable(L, -1)) {
        wrong(r, "params is a table from name to string, number or false");
        return;
    }
    for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) {
        get_param(r);
        if (r->err != NULL) {
            lua_pop(L, 2);
            return;
        }
    }
}

static void get_backend(struct reading *r)
{
    struct str name = lua_type(r->L, -1) == LUA_TSTRING ? script_str(r->L, -1) : STR("");
    for (unsigned i = 0; i < r->settings->backend_count; i++) {
        if (str_eq(r->settings->backends[i].name, name)) {
            r->d->backend = i;
            return;
        }
    }
    if (r->err != NULL)
        return;
    struct arena *a = &r->req->arena;
    struct str known = STR("");
    for (unsigned i = 0; i < r->settings->backend_count && i < 20; i++)
        known =
            arena_printf(a, "%.*s '%.*s'", STR_FMT(known), STR_FMT(r->settings->backends[i].name));
    r->err = arena_printf(a, "there is no backend '%.*s' (there %s:%s)", STR_FMT(name),
                          known.n > 0 ? "is" : "are none", known.p)
                 .p;
}

/* intercept_errors: true, or the statuses. */
static void get_statuses(struct reading *r)
{
    static const char err[] = "intercept_errors is true or a list of statuses from 400 to 599";
    lua_State *L = r->L;
    size_t n = lua_istable(L, -1) ? lua_objlen(L, -1) : 0;
    r->d->intercept = true;
    if (lua_isboolean(L, -1)) {
        r->d->intercept = lua_toboolean(L, -1);
        return;
    }
    if (n == 0 || n > 200) {
        wrong(r, err);
        return;
    }
    uint16_t *list = arena_alloc(&r->req->arena, n * sizeof *list);
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        lua_Number status = lua_tonumber(L, -1);
        if (!(status >= 400 && status <= 599))
            wrong(r, err);
        list[i] = (uint16_t)(status >= 400 && status <= 599 ? status : 400);
        lua_pop(L, 1);
    }
    r->d->intercepted = list;
    r->d->intercepted_count = (unsigned)n;
}

/* internal: from prefix to folder. */
static void get_internal(struct reading *r)
{
    static const char err[] = "internal is a table from path prefix to folder, or true";
    lua_State *L = r->L;
    if (!lua_istable(L, -1)) {
        wrong(r, err);
        return;
    }
    struct internal_path *list = arena_alloc(&r->req->arena, 100 * sizeof *list);
    unsigned count = 0;
    for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING || count == 100) {
            wrong(r, err);
            lua_pop(L, 2);
            return;
        }
        struct str prefix = arena_copy(&r->req->arena, script_str(L, -2));
        bool route = lua_isboolean(L, -1) && lua_toboolean(L, -1);
        list[count].folder = route ? STR("") : get_folder(r, err);
        if (prefix.n == 0 || prefix.p[0] != '/')
            wrong(r, err);
        else if (prefix.p[prefix.n - 1] != '/')
            prefix = arena_printf(&r->req->arena, "%.*s/", STR_FMT(prefix));
        list[count++].prefix = prefix;
    }
    r->d->internal = list;
    r->d->internal_count = count;
}

static void get_server(struct reading *r)
{
    struct str address = get_text(r, "server is one address of the backend");
    r->d->server = address;
}

static void read_key(struct reading *r, enum key key)
{
    struct decision *d = r->d;
    bool flag = true;
    switch (key) {
    case KEY_ATTEMPTS:
        d->attempts = (unsigned)get_size(r);
        if (d->attempts < 1 || d->attempts > 100)
            wrong(r, "attempts is a number from 1 to 100");
        break;
    case KEY_BACKEND:
        get_backend(r);
        break;
    case KEY_BODY:
        if (!lua_isstring(r->L, -1)) {
            wrong(r, "body is a string");
        } else {
            lua_pushvalue(r->L, -1);
            d->body = arena_copy(&r->req->arena, script_str(r->L, -1));
            lua_pop(r->L, 1);
        }
        break;
    case KEY_BODY_LIMIT:
        d->body_limit = get_size(r);
        break;
    case KEY_CACHE_CONTROL:
        d->cache_control = get_field(r, "cache_control is a string");
        break;
    case KEY_CLOSE:
        get_boolean(r, &flag);
        if (!flag)
            wrong(r, "close is true or absent");
        break;
    case KEY_CONNECT_TIMEOUT:
        d->connect_timeout = get_duration(r);
        break;
    case KEY_DOCROOT:
        d->docroot = get_root(r, "docroot is an absolute path");
        if (d->docroot.n == 0 && r->err == NULL) /* PHP-FPM runs in a chroot */
            d->docroot = STR("/");
        break;
    case KEY_FILE:
        d->file = get_text(r, "file is an absolute path");
        if (d->file.n == 0 || d->file.p[0] != '/')
            wrong(r, "file is an absolute path");
        else if (!has_names_only(
                     (struct str){d->file.p, d->file.n - (str_ends(d->file, STR("/")))}))
            wrong(r, "a path with an empty segment, '.' or '..' in it");
        break;
    case KEY_HASH_KEY:
        d->hash_key = get_text(r, "hash_key is a string");
        break;
    case KEY_HEADERS:
        get_headers(r);
        break;
    case KEY_INDEX:
        d->index = get_list(r, &d->index_count, false);
        break;
    case KEY_INI: /* lua/moongate/decision/ini.lua has made its text */
        break;
    case KEY_INTERCEPT_ERRORS:
        get_statuses(r);
        break;
    case KEY_INTERNAL:
        get_internal(r);
        break;
    case KEY_PARAMS:
        get_params(r);
        break;
    case KEY_PATH:
        d->path = get_text(r, "path is a path below root");
        break;
    case KEY_PATH_INFO:
        get_text(r, "path_info is a string");
        break;
    case KEY_READ_TIMEOUT:
        d->read_timeout = get_duration(r);
        break;
    case KEY_REDIRECT:
        r->redirect = get_field(r, "redirect is a URL or a path");
        if (r->redirect.n == 0)
            wrong(r, "redirect is a URL or a path");
        break;
    case KEY_REQUEST_BUFFERING:
        get_boolean(r, &flag);
        d->stream_body = !flag;
        break;
    case KEY_RESPONSE_BUFFERING:
        get_boolean(r, &flag);
        d->unbuffered = !flag;
        break;
    case KEY_ROLE:
        if (!str_eq(get_text(r, "role is a string"), STR("responder")))
            wrong(r, "role is \"responder\"");
        break;
    case KEY_ROOT:
        d->root = get_root(r, "root is an absolute path");
        if (d->root.n == 0 && r->err == NULL)
            d->root = STR("/"); /* the file system's root, and not "no root" */
        break;
    case KEY_SCRIPT:
        get_text(r, "script is a URL path");
        d->script_named = true;
        break;
    case KEY_SCRIPT_FILENAME:
        d->script_filename = get_text(r, "script_filename is a path");
        break;
    case KEY_SCRIPTS:
        d->scripts = get_list(r, &d->script_count, false);
        break;
    case KEY_SEND_TIMEOUT:
        d->send_timeout = get_duration(r);
        break;
    case KEY_SERVER:
        get_server(r);
        break;
    case KEY_SOURCES:
        d->sources = get_list(r, &d->source_count, false);
        break;
    case KEY_STATUS:
        d->status = get_status(r);
        break;
    case KEY_STRIP:
        d->strip = get_folder(r, "strip is a path prefix such as \"/wiki\"");
        break;
    case KEY_TENANT:
        d->tenant = get_text(r, "tenant is a string");
        break;
    case KEY_TRY:
        break; /* lua/moongate/decision/complete.lua has gone through it */
    case KEY_WITHIN:
        d->within = get_list(r, &d->within_count, true);
        break;
    }
}

/* The place of the key in the list; -1: it is none. */
static int find_key(const char *name)
{
    int first = 0, end = KEY_TOTAL;
    while (first < end) {
        int middle = (first + end) / 2;
        int order = name[0] - keys[middle].name[0];
        if (order == 0)
            order = strcmp(name, keys[middle].name);
        if (order == 0)
            return middle;
        if (order < 0)
            end = middle;
        else
            first = middle + 1;
    }
    return -1;
}

static void read_keys(struct reading *r, int table)
{
    lua_State *L = r->L;
    for (lua_pushnil(L); lua_next(L, table) != 0; lua_pop(L, 1)) {
        int i = find_key(lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "");
        if (i < 0) {
            wrong(r, "an unknown key");
        } else {
            r->seen[keys[i].key] = true;
            r->kinds &= keys[i].kinds;
            read_key(r, keys[i].key);
        }
        if (r->err != NULL) {
            lua_pop(L, 2);
            return;
        }
    }
}

/* --- the kinds --- */

static void finish_fastcgi(struct reading *r, int a, int b)
{
    struct decision *d = r->d;
    lua_State *L = r->L;
    d->kind = DECISION_FASTCGI;
    if (lua_isstring(L, b + 1))
        d->ini = arena_copy(&r->req->arena, script_str(L, b + 1));
    else if (r->seen[KEY_INI])
        wrong(r, "ini can't be used");
    d->script = lua_isstring(L, a) ? arena_copy(&r->req->arena, script_str(L, a)) : STR("");
    if (lua_isstring(L, b))
        d->path_info = arena_copy(&r->req->arena, script_str(L, b));
    if (memchr(d->script.p, '\0', d->script.n) != NULL)
        wrong(r, "a NUL byte in a path");
}

static void finish_files(struct reading *r, int a)
{
    struct decision *d = r->d;
    d->kind = DECISION_FILE;
    if (d->file.n > 0) {
        if (d->root.n > 0 || r->seen[KEY_PATH])
            wrong(r, "'file' and 'root' exclude each other");
        return;
    }
    if (d->root.n == 0) {
        wrong(r, "a file decision needs 'root' or 'file'");
        return;
    }
    if (lua_isstring(r->L, a))
        d->path = arena_copy(&r->req->arena, script_str(r->L, a));
    else if (d->path.n == 0)
        d->path = r->req->uri.path;
}

/* A redirect is a reply with a Location. */
static void finish_redirect(struct reading *r)
{
    struct decision *d = r->d;
    d->kind = DECISION_REPLY;
    if (d->status == 0)
        d->status = 302;
    if (d->status < 300 || d->status > 399)
        wrong(r, "a redirect's status is 301, 302, 303, 307 or 308");
    headers_add(&r->req->arena, &d->headers, STR("Location"), r->redirect);
}

static void finish(struct reading *r, int a, int b)
{
    const bool *seen = r->seen;
    unsigned kind = seen[KEY_BACKEND]                                   ? FASTCGI
                    : seen[KEY_REDIRECT]                                ? REDIRECT
                    : seen[KEY_FILE] || seen[KEY_ROOT] || seen[KEY_TRY] ? FILES
                    : seen[KEY_STATUS] || seen[KEY_BODY]                ? REPLY
                    : seen[KEY_CLOSE]                                   ? CLOSE
                                                                        : 0;
    if (kind == 0)
        wrong(r, "none of 'backend', 'root', 'file', 'status', 'body', 'redirect' or 'close'");
    else if (!(r->kinds & kind))
        wrong(r, "keys of different kinds of decisions");
    else if (kind == FASTCGI)
        finish_fastcgi(r, a, b);
    else if (kind == FILES)
        finish_files(r, a);
    else if (kind == REDIRECT)
        finish_redirect(r);
    else
        r->d->kind = kind == CLOSE ? DECISION_CLOSE : DECISION_REPLY;
    if (r->d->kind == DECISION_REPLY && r->d->status == 0)
        r->d->status = 200;
}

const char *script_decision(lua_State *L, int d, int a, int b, struct request *req,
                            const struct settings *settings)
{
    struct decision found = {.body_limit = UINT64_MAX};
    struct reading r = {.L = L, .req = req, .settings = settings, .d = &found, .kinds = 0xff};
    if (!lua_isnoneornil(L, d)) { /* nil is DECISION_NONE: 404 */
        if (!lua_istable(L, d))
            return "expected a table or nil";
        if (luaL_getmetafield(L, d, "__index")) { /* decision.lua has seen other keys */
            lua_pop(L, 1);
            return "its metatable has __index";
        }
        read_keys(&r, d);
        if (r.err == NULL)
            finish(&r, a, b);
    }
    if (r.err == NULL) /* an answer under way keeps its decision when another one is no good */
        req->decision = found;
    return r.err;
}
