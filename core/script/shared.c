/*
 * shared - moongate.shared: dictionaries that all workers have in common (shm/shared.h), as a
 * script sees them.
 *
 * In a worker they are those of the instance, opened when a script first asks for one. Elsewhere
 * (explain, test, the loader) there is no instance: they belong to the process, and are empty at
 * first. Nothing here waits. What a script does wrong is an error; what data or memory do not allow
 * is nil and a reason.
 */
#include "script/shared.h"

#include "base/log.h"
#include "script/value.h"
#include "shm/shared.h"
#include "shm/shared_folder.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

#define DICTIONARY "moongate.shared"
#define TTL_MAX    1e9
#define KEYS_USUAL 1024
#define KEYS_MAX   1000000
#define KEYS_BYTES (64u << 20)

struct dictionary {
    size_t name_size;
    char name[SHARED_NAME_MAX];
};

/* Of the process, whatever generations it has. */
static struct {
    const struct shared_folder *folder; /* the instance's; NULL outside of a worker */
    struct shared *shared;              /* NULL: not opened yet, or it failed */
    char problem[512];
    bool tried;
} here;

/* --- the memory --- */

void script_shared_use(const struct shared_folder *folder)
{
    script_shared_close();
    here.folder = folder;
}

void script_shared_close(void)
{
    shared_close(here.shared);
    here.shared = NULL;
    here.tried = false;
    here.folder = NULL;
}

/* The files lose their names at once; what is open stays. */
static void open_own(void)
{
    struct shared_folder own;
    const struct user me = {.uid = geteuid(), .gid = getegid()};
    if (shared_folder_make(&own, &me, SHARED_SIZE))
        here.shared = shared_open(own.path, own.size, here.problem, sizeof here.problem);
    else
        snprintf(here.problem, sizeof here.problem, "%s", own.problem);
    shared_folder_leave(&own);
}

static struct shared *open_shared(void)
{
    if (here.tried)
        return here.shared;
    here.tried = true;
    if (here.folder == NULL)
        open_own();
    else if (here.folder->path[0] == '\0')
        snprintf(here.problem, sizeof here.problem, "%s", here.folder->problem);
    else
        here.shared =
            shared_open(here.folder->path, here.folder->size, here.problem, sizeof here.problem);
    if (here.shared == NULL)
        log_error("moongate.shared can't be used: %s", here.problem);
    return here.shared;
}

static int push_problem(lua_State *L)
{
    lua_pushnil(L);
    lua_pushstring(L, here.problem);
    return 2;
}

static int push_failure(lua_State *L, enum shared_result result)
{
    return script_fail(L, shared_reason(here.shared, result));
}

static int shared_push_done(lua_State *L, enum shared_result result)
{
    if (result != SHARED_OK)
        return push_failure(L, result);
    lua_pushboolean(L, 1);
    return 1;
}

/* --- arguments --- */

/* How a wrong value is named in a message. */
static const char *describe(lua_State *L, int idx)
{
    switch (lua_type(L, idx)) {
    case LUA_TNONE:
    case LUA_TNIL:
        return "nothing";
    case LUA_TNUMBER:
        return lua_tostring(L, idx);
    case LUA_TSTRING:
        lua_pushlstring(L, lua_tostring(L, idx), lua_objlen(L, idx) < 60 ? lua_objlen(L, idx) : 57);
        return lua_pushfstring(L, lua_objlen(L, idx) < 60 ? "\"%s\"" : "\"%s...\"",
                               lua_tostring(L, -1));
    default:
        return lua_pushfstring(L, "a %s", luaL_typename(L, idx));
    }
}

/* The dictionary at 1 and its key at 2. */
static struct str shared_check_name(lua_State *L, const char *what)
{
    struct dictionary *d = lua_touserdata(L, 1);
    if (d == NULL || !lua_getmetatable(L, 1))
        luaL_error(L, "shared: %s is a method: call it as dictionary:%s(...)", what, what);
    luaL_getmetatable(L, DICTIONARY);
    if (!lua_rawequal(L, -1, -2))
        luaL_error(L, "shared: %s is a method: call it as dictionary:%s(...)", what, what);
    lua_pop(L, 2);
    return (struct str){d->name, d->name_size};
}

static struct str check_key(lua_State *L, const char *what)
{
    if (lua_type(L, 2) != LUA_TSTRING && lua_type(L, 2) != LUA_TNUMBER)
        luaL_error(L, "shared: %s: expected a string or a number as key, got %s", what,
                   describe(L, 2));
    return script_str(L, 2);
}

static double check_ttl(lua_State *L, int idx, const char *what)
{
    if (lua_isnoneornil(L, idx))
        return 0;
    double ttl = lua_type(L, idx) == LUA_TNUMBER ? lua_tonumber(L, idx) : -1;
    if (!(ttl >= 0 && ttl <= TTL_MAX))
        luaL_error(L, "shared: %s: expected seconds from 0 (for good) to 1e9 to live, got %s", what,
                   describe(L, idx));
    return ttl;
}

static void check_value(lua_State *L, const char *what, struct shared_value *value)
{
    *value = (struct shared_value){.type = SHARED_STRING};
    switch (lua_type(L, 3)) {
    case LUA_TSTRING:
        value->string = script_str(L, 3);
        break;
    case LUA_TNUMBER:
        value->type = SHARED_NUMBER;
        value->number = lua_tonumber(L, 3);
        break;
    case LUA_TBOOLEAN:
        value->type = SHARED_BOOLEAN;
        value->boolean = lua_toboolean(L, 3);
        break;
    default:
        luaL_error(L, "shared: %s: expected a string, a number or a boolean as value, got %s", what,
                   describe(L, 3));
    }
}

static double check_number(lua_State *L, int idx, const char *what, const char *expected)
{
    double number = lua_type(L, idx) == LUA_TNUMBER ? lua_tonumber(L, idx) : NAN;
    if (isnan(number))
        luaL_error(L, "shared: %s: expected %s, got %s", what, expected, describe(L, idx));
    return number;
}

static size_t check_max(lua_State *L)
{
    if (lua_isnoneornil(L, 2))
        return KEYS_USUAL;
    double max = lua_type(L, 2) == LUA_TNUMBER ? lua_tonumber(L, 2) : -1;
    if (!(max >= 1 && max <= KEYS_MAX && max == floor(max)))
        luaL_error(L, "shared: keys: expected a whole number from 1 to %d, got %s", KEYS_MAX,
                   describe(L, 2));
    return (size_t)max;
}

/* --- methods --- */

static void push_value(lua_State *L, const struct shared_value *value)
{
    if (value->type == SHARED_STRING)
        script_push_str(L, value->string);
    else if (value->type == SHARED_NUMBER)
        lua_pushnumber(L, value->number);
    else
        lua_pushboolean(L, value->boolean);
}

/* dictionary:get(key) -> value; nil where there is none; or nil, reason */
static int dictionary_get(lua_State *L)
{
    struct str name = shared_check_name(L, "get"), key = check_key(L, "get");
    struct shared *s = open_shared();
    struct shared_value value;
    if (s == NULL)
        return push_problem(L);
    enum shared_result result = shared_get(s, name, key, ledger_now(), &value);
    if (result == SHARED_OK)
        push_value(L, &value);
    else
        lua_pushnil(L);
    shared_done(s);
    if (result == SHARED_OK || result == SHARED_ABSENT)
        return 1;
    return push_failure(L, result);
}

static int put(lua_State *L, const char *what, enum shared_how how)
{
    struct str name = shared_check_name(L, what), key = check_key(L, what);
    struct shared_value value;
    check_value(L, what, &value);
    double ttl = check_ttl(L, 4, what);
    struct shared *s = open_shared();
    if (s == NULL)
        return push_problem(L);
    return shared_push_done(L, shared_put(s, name, key, &value, ttl, how, ledger_now()));
}

/* dictionary:set(key, value, ttl) -> true; or nil, reason */
static int dictionary_set(lua_State *L)
{
    return put(L, "set", SHARED_SET);
}

/* dictionary:add(key, value, ttl) -> true; or nil, "exists" */
static int dictionary_add(lua_State *L)
{
    return put(L, "add", SHARED_ADD);
}

/* dictionary:replace(key, value, ttl) -> true; or nil, "not found" */
static int dictionary_replace(lua_State *L)
{
    return put(L, "replace", SHARED_REPLACE);
}

/* dictionary:incr(key, by, initial, ttl) -> the new number; or nil, "not found", "not a number" */
static int dictionary_incr(lua_State *L)
{
    struct str name = shared_check_name(L, "incr"), key = check_key(L, "incr");
    double initial, number;
    struct shared_step step = {.by = 1};
    if (!lua_isnoneornil(L, 3))
        step.by = check_number(L, 3, "incr", "a number to add");
    if (!lua_isnoneornil(L, 4)) {
        initial = check_number(L, 4, "incr", "a number to begin with");
        step.initial = &initial;
    }
    step.ttl = check_ttl(L, 5, "incr");
    struct shared *s = open_shared();
    if (s == NULL)
        return push_problem(L);
    enum shared_result result = shared_incr(s, name, key, &step, ledger_now(), &number);
    if (result != SHARED_OK)
        return push_failure(L, result);
    lua_pushnumber(L, number);
    return 1;
}

/* dictionary:take(key, by, low, high, ttl) -> the new number; or nil, "too much", what it is; or
 * nil, "not a number" and its like */
static int dictionary_take(lua_State *L)
{
    struct str name = shared_check_name(L, "take"), key = check_key(L, "take");
    struct shared_bounds bounds = {
        .by = check_number(L, 3, "take", "a number to add"),
        .low = check_number(L, 4, "take", "the number that it is at least"),
        .high = check_number(L, 5, "take", "the number that it is at most"),
        .ttl = check_ttl(L, 6, "take"),
    };
    double number;
    struct shared *s = open_shared();
    if (s == NULL)
        return push_problem(L);
    enum shared_result result = shared_bounded(s, name, key, &bounds, ledger_now(), &number);
    if (result != SHARED_OK) {
        int count = push_failure(L, result);
        if (result != SHARED_TOO_MUCH)
            return count;
    }
    lua_pushnumber(L, number);
    return result == SHARED_OK ? 1 : 3;
}

/* dictionary:delete(key) -> true; or nil, reason */
static int dictionary_delete(lua_State *L)
{
    struct str name = shared_check_name(L, "delete"), key = check_key(L, "delete");
    struct shared *s = open_shared();
    if (s == NULL)
        return push_problem(L);
    return shared_push_done(L, shared_delete(s, name, key, ledger_now()));
}

/* The list is Lua's before the first string is: an error on the way must not cost memory. */
static int push_keys(lua_State *L)
{
    struct str keys = buf_peek(lua_touserdata(L, 1)), key;
    lua_newtable(L);
    for (int i = 1; shared_key_next(&keys, &key); i++) {
        script_push_str(L, key);
        lua_rawseti(L, -2, i);
    }
    return 1;
}

/* dictionary:keys(max) -> list of keys; or nil, reason */
static int dictionary_keys(lua_State *L)
{
    struct str name = shared_check_name(L, "keys");
    size_t max = check_max(L);
    struct shared *s = open_shared();
    struct buf keys;
    if (s == NULL)
        return push_problem(L);
    buf_init(&keys, KEYS_BYTES);
    enum shared_result result = shared_keys(s, name, max, ledger_now(), &keys);
    int failed = 0;
    if (result == SHARED_OK) {
        lua_pushcfunction(L, push_keys);
        lua_pushlightuserdata(L, &keys);
        failed = lua_pcall(L, 1, 1, 0);
    }
    buf_fini(&keys);
    if (failed)
        return lua_error(L);
    return result == SHARED_OK ? 1 : push_failure(L, result);
}

static int dictionary_tostring(lua_State *L)
{
    struct str name = shared_check_name(L, "tostring");
    lua_pushliteral(L, "shared: ");
    script_push_str(L, name);
    lua_concat(L, 2);
    return 1;
}

static int unknown_method(lua_State *L)
{
    return luaL_error(
        L,
        "shared: there is no method %s: it has add, delete, get, incr, keys, replace, "
        "set and take",
        describe(L, 2));
}

/* --- the module --- */

/* shared(name) -> the dictionary of that name. Upvalue: those that are in use, by name. */
static int core_shared(lua_State *L)
{
    struct str name = lua_type(L, 1) == LUA_TSTRING ? script_str(L, 1) : STR("");
    if (name.n == 0 || name.n > SHARED_NAME_MAX)
        return luaL_error(L, "shared: expected a name of 1 to %d bytes, got %s", SHARED_NAME_MAX,
                          describe(L, 1));
    lua_settop(L, 1); /* the name, which stays here */
    lua_pushvalue(L, 1);
    lua_rawget(L, lua_upvalueindex(1));
    if (!lua_isnil(L, 2))
        return 1;
    struct dictionary *d = lua_newuserdata(L, sizeof *d);
    d->name_size = name.n;
    memcpy(d->name, name.p, name.n);
    luaL_getmetatable(L, DICTIONARY);
    lua_setmetatable(L, -2);
    lua_pushvalue(L, 1);
    lua_pushvalue(L, -2);
    lua_rawset(L, lua_upvalueindex(1));
    if (here.folder != NULL) /* rather now than within a request */
        open_shared();
    return 1;
}

/* Nobody has opened it yet, so there is nothing in it. */
static bool is_untouched(void)
{
    char path[600];
    if (here.folder == NULL || here.tried)
        return false;
    snprintf(path, sizeof path, "%s/data.mdb", here.folder->path);
    return access(path, F_OK) != 0;
}

/* core.shared_info() -> { size, used } in bytes; or nil, reason */
static int core_shared_info(lua_State *L)
{
    struct shared_usage usage = {0};
    struct shared *s = NULL;
    if (is_untouched())
        usage.size = shared_room(here.folder->size);
    else if ((s = open_shared()) == NULL)
        return push_problem(L);
    enum shared_result result = s != NULL ? shared_usage(s, &usage) : SHARED_OK;
    if (result != SHARED_OK)
        return push_failure(L, result);
    lua_createtable(L, 0, 2);
    lua_pushnumber(L, (double)usage.size);
    lua_setfield(L, -2, "size");
    lua_pushnumber(L, (double)usage.used);
    lua_setfield(L, -2, "used");
    return 1;
}

/* A table whose values go when nobody else has them. */
static void push_weak_table(lua_State *L)
{
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "v");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
}

void script_shared_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"add", dictionary_add},   {"delete", dictionary_delete}, {"get", dictionary_get},
        {"incr", dictionary_incr}, {"keys", dictionary_keys},     {"replace", dictionary_replace},
        {"set", dictionary_set},   {"take", dictionary_take},     {NULL, NULL},
    };
    luaL_newmetatable(L, DICTIONARY);
    lua_pushcfunction(L, dictionary_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_newtable(L);
    luaL_register(L, NULL, methods);
    lua_createtable(L, 0, 1); /* of the methods */
    lua_pushcfunction(L, unknown_method);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    lua_setfield(L, -2, "__index");
    lua_pushliteral(L, "a dictionary");
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
    push_weak_table(L);
    lua_pushcclosure(L, core_shared, 1);
    lua_setfield(L, -2, "shared");
    lua_pushcfunction(L, core_shared_info);
    lua_setfield(L, -2, "shared_info");
}
