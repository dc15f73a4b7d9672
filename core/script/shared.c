/*
 * shared - moongate.shared: dictionaries that all workers have in common (shm/shared.h), as a
 * script sees them.
 *
 * A worker uses the dictionaries of the instance, and opens them when a script first asks for one.
 * In other processes (explain, test, the loader) the dictionaries belong to the process, and are
 * empty at first. No function waits. A wrong argument raises an error; what data or memory don't
 * allow is nil and a reason.
 */
#include "script/shared.h"

#include "base/log.h"
#include "script/value.h"
#include "shm/metrics.h"
#include "shm/shared.h"

#include <math.h>
#include <stdio.h>

#define DICTIONARY  "moongate.shared"
#define TTL_MAX     1e9
#define KEYS_USUAL  1024
#define KEYS_MAX    1000000
#define VALUE_USUAL 1024 /* bytes of a string that needs no memory of its own */

struct dictionary {
    size_t name_size;
    char name[SHARED_NAME_MAX];
};

/* The memory of this process, one for all generations. */
static struct {
    const struct shared_file *file; /* the instance's; NULL outside of a worker */
    struct shared *shared;          /* NULL: not opened yet, or it failed */
    char problem[512];
    bool tried;
} here;

/* --- the memory --- */

void script_shared_use(const struct shared_file *file)
{
    script_shared_close();
    here.file = file;
}

void script_shared_close(void)
{
    shared_close(here.shared);
    here.shared = NULL;
    here.tried = false;
    here.file = NULL;
}

static void dictionary_open_own(void)
{
    struct shared_file own;
    if (shared_file_make(&own, SHARED_SIZE))
        here.shared = shared_open(&own, here.problem, sizeof here.problem);
    else
        snprintf(here.problem, sizeof here.problem, "%s", own.problem);
    shared_file_close(&own);
}

static struct shared *dictionary_open(void)
{
    if (here.tried)
        return here.shared;
    here.tried = true;
    if (here.file == NULL)
        dictionary_open_own();
    else if (here.file->data < 0)
        snprintf(here.problem, sizeof here.problem, "%s", here.file->problem);
    else
        here.shared = shared_open(here.file, here.problem, sizeof here.problem);
    if (here.shared == NULL)
        log_error("moongate.shared can't be used: %s", here.problem);
    return here.shared;
}

/* nil and why the memory could not be opened. */
static int dictionary_push_problem(lua_State *L)
{
    return script_fail(L, here.problem);
}

/* --- arguments --- */

/* The name of the dictionary at 1. */
static struct str dictionary_check_name(lua_State *L, const char *what)
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

static struct str dictionary_check_key(lua_State *L, const char *what)
{
    if (lua_type(L, 2) != LUA_TSTRING && lua_type(L, 2) != LUA_TNUMBER)
        luaL_error(L, "shared: %s: expected a string or a number as key, got %s", what,
                   script_describe(L, 2));
    return script_str(L, 2);
}

static double dictionary_check_ttl(lua_State *L, int idx, const char *what)
{
    if (lua_isnoneornil(L, idx))
        return 0;
    double ttl = lua_type(L, idx) == LUA_TNUMBER ? lua_tonumber(L, idx) : -1;
    if (!(ttl >= 0 && ttl <= TTL_MAX))
        luaL_error(L, "shared: %s: expected seconds from 0 (for good) to 1e9 to live, got %s", what,
                   script_describe(L, idx));
    return ttl;
}

static void dictionary_check_value(lua_State *L, const char *what, struct shared_value *value)
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
                   script_describe(L, 3));
    }
}

static double dictionary_check_number(lua_State *L, int idx, const char *what, const char *expected)
{
    double number = lua_type(L, idx) == LUA_TNUMBER ? lua_tonumber(L, idx) : NAN;
    if (isnan(number))
        luaL_error(L, "shared: %s: expected %s, got %s", what, expected, script_describe(L, idx));
    return number;
}

static size_t dictionary_check_max(lua_State *L)
{
    if (lua_isnoneornil(L, 2))
        return KEYS_USUAL;
    double max = lua_type(L, 2) == LUA_TNUMBER ? lua_tonumber(L, 2) : -1;
    if (!(max >= 1 && max <= KEYS_MAX && max == floor(max)))
        luaL_error(L, "shared: keys: expected a whole number from 1 to %d, got %s", KEYS_MAX,
                   script_describe(L, 2));
    return (size_t)max;
}

/* --- methods --- */

static void dictionary_push_value(lua_State *L, const struct shared_value *value)
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
    struct str name = dictionary_check_name(L, "get"), key = dictionary_check_key(L, "get");
    struct shared *s = dictionary_open();
    struct shared_value value;
    enum shared_result result;
    char usual[VALUE_USUAL], *room = usual;
    size_t size = sizeof usual;
    if (s == NULL)
        return dictionary_push_problem(L);
    while ((result = shared_get(s, name, key, ledger_now(), room, size, &value)) == SHARED_LONG) {
        size = value.string.n;
        room = lua_newuserdata(L, size);
    }
    if (result == SHARED_OK)
        dictionary_push_value(L, &value);
    else if (result == SHARED_ABSENT)
        lua_pushnil(L);
    else
        return script_fail(L, shared_reason(s, result));
    return 1;
}

/* An operation on the dictionary at 1 and its key at 2. */
static struct shared_operation dictionary_check(lua_State *L, const char *what,
                                                enum shared_action action)
{
    return (struct shared_operation){.action = action,
                                     .name = dictionary_check_name(L, what),
                                     .key = dictionary_check_key(L, what)};
}

/* Carries out the operation. Pushes true or the new number; or nil, the reason, and the number as
 * it is. */
static int dictionary_write(lua_State *L, const struct shared_operation *op)
{
    double number;
    struct shared *s = dictionary_open();
    if (s == NULL)
        return dictionary_push_problem(L);
    enum shared_result result = shared_write(s, op, ledger_now(), &number);
    if (result == SHARED_FULL)
        metrics_add(&metrics_own->shared_full, 1);
    int failed = result != SHARED_OK ? script_fail(L, shared_reason(s, result)) : 0;
    if (failed && result != SHARED_TOO_MUCH)
        return failed;
    if (op->action == SHARED_INCR || op->action == SHARED_TAKE)
        lua_pushnumber(L, number);
    else
        lua_pushboolean(L, 1);
    return failed + 1;
}

static int dictionary_put(lua_State *L, const char *what, enum shared_action action)
{
    struct shared_operation op = dictionary_check(L, what, action);
    dictionary_check_value(L, what, &op.value);
    op.ttl = dictionary_check_ttl(L, 4, what);
    return dictionary_write(L, &op);
}

/* dictionary:set(key, value, ttl) -> true; or nil, reason */
static int dictionary_set(lua_State *L)
{
    return dictionary_put(L, "set", SHARED_SET);
}

/* dictionary:add(key, value, ttl) -> true; or nil, "exists" */
static int dictionary_add(lua_State *L)
{
    return dictionary_put(L, "add", SHARED_ADD);
}

/* dictionary:replace(key, value, ttl) -> true; or nil, "not found" */
static int dictionary_replace(lua_State *L)
{
    return dictionary_put(L, "replace", SHARED_REPLACE);
}

/* dictionary:incr(key, by, initial, ttl) -> the new number; or nil, "not found", "not a number" */
static int dictionary_incr(lua_State *L)
{
    struct shared_operation op = dictionary_check(L, "incr", SHARED_INCR);
    double initial;
    op.by = lua_isnoneornil(L, 3) ? 1 : dictionary_check_number(L, 3, "incr", "a number to add");
    if (!lua_isnoneornil(L, 4)) {
        initial = dictionary_check_number(L, 4, "incr", "a number to begin with");
        op.initial = &initial;
    }
    op.ttl = dictionary_check_ttl(L, 5, "incr");
    return dictionary_write(L, &op);
}

/* dictionary:take(key, by, low, high, ttl) -> the new number; or nil, "too much", what it is; or
 * nil, "not a number" and its like */
static int dictionary_take(lua_State *L)
{
    struct shared_operation op = dictionary_check(L, "take", SHARED_TAKE);
    op.by = dictionary_check_number(L, 3, "take", "a number to add");
    op.low = dictionary_check_number(L, 4, "take", "the number that it is at least");
    op.high = dictionary_check_number(L, 5, "take", "the number that it is at most");
    op.ttl = dictionary_check_ttl(L, 6, "take");
    return dictionary_write(L, &op);
}

/* dictionary:delete(key) -> true; or nil, reason */
static int dictionary_delete(lua_State *L)
{
    struct shared_operation op = dictionary_check(L, "delete", SHARED_DELETE);
    return dictionary_write(L, &op);
}

/* dictionary:keys(max) -> list of keys; or nil, reason */
static int dictionary_keys(lua_State *L)
{
    struct str name = dictionary_check_name(L, "keys");
    size_t max = dictionary_check_max(L);
    struct shared *s = dictionary_open();
    struct shared_cursor cursor = {.begun = false};
    enum shared_result result = SHARED_OK;
    if (s == NULL)
        return dictionary_push_problem(L);
    lua_newtable(L);
    for (size_t i = 1; i <= max; i++) {
        result = shared_next(s, name, ledger_now(), &cursor);
        if (result != SHARED_OK)
            break;
        lua_pushlstring(L, cursor.key, cursor.size);
        lua_rawseti(L, -2, (int)i);
    }
    if (result != SHARED_OK && result != SHARED_ABSENT)
        return script_fail(L, shared_reason(s, result));
    return 1;
}

static int dictionary_tostring(lua_State *L)
{
    struct str name = dictionary_check_name(L, "tostring");
    lua_pushliteral(L, "shared: ");
    script_push_str(L, name);
    lua_concat(L, 2);
    return 1;
}

static int dictionary_unknown_method(lua_State *L)
{
    return luaL_error(
        L,
        "shared: there is no method %s: it has add, delete, get, incr, keys, replace, "
        "set and take",
        script_describe(L, 2));
}

/* --- the module --- */

/* shared(name) -> the dictionary of that name. Upvalue: those that are in use, by name. */
static int dictionary_named(lua_State *L)
{
    struct str name = lua_type(L, 1) == LUA_TSTRING ? script_str(L, 1) : STR("");
    if (name.n == 0 || name.n > SHARED_NAME_MAX)
        return luaL_error(L, "shared: expected a name of 1 to %d bytes, got %s", SHARED_NAME_MAX,
                          script_describe(L, 1));
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
    if (here.file != NULL) /* in a worker opening allocates: not within a request */
        dictionary_open();
    return 1;
}

/* core.shared_info() -> { size, used } in bytes; or nil, reason. The call does not open the
 * instance's memory where no worker has. */
static int dictionary_info(lua_State *L)
{
    size_t size = here.file != NULL ? here.file->size : SHARED_SIZE, used = 0;
    if (here.tried || here.file == NULL || !shared_file_is_empty(here.file)) {
        struct shared *s = dictionary_open();
        if (s == NULL)
            return dictionary_push_problem(L);
        enum shared_result result = shared_used(s, &used);
        if (result != SHARED_OK)
            return script_fail(L, shared_reason(s, result));
    }
    lua_createtable(L, 0, 2);
    lua_pushnumber(L, (double)shared_room(size));
    lua_setfield(L, -2, "size");
    lua_pushnumber(L, (double)used);
    lua_setfield(L, -2, "used");
    return 1;
}

/* A table whose values are collected when they are referred to from nowhere else. */
static void dictionary_push_weak_table(lua_State *L)
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
    lua_pushcfunction(L, dictionary_unknown_method);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    lua_setfield(L, -2, "__index");
    lua_pushliteral(L, "a dictionary");
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
    dictionary_push_weak_table(L);
    lua_pushcclosure(L, dictionary_named, 1);
    lua_setfield(L, -2, "shared");
    lua_pushcfunction(L, dictionary_info);
    lua_setfield(L, -2, "shared_info");
}
