/*
 * property - objects of C as scripts see them: one list for each, of its fields' names and where
 * their values lie.
 *
 * The lookup, the error about an unknown field and the tables of all fields (log:all()) are made
 * from the list. The type of the member in C says how its value becomes one of Lua.
 */
#ifndef MG_SCRIPT_PROPERTY_H
#define MG_SCRIPT_PROPERTY_H

#include "script/value.h"

#include <stddef.h>

struct property {
    const char *name; /* NULL ends a list */
    void (*push)(lua_State *L, const void *at);
    lua_CFunction method; /* in place of a value */
    bool kept;            /* the value is made on first use and then kept; for index functions */
    unsigned at;          /* offset in the struct; 0 where `push` takes the whole struct */
    unsigned of;          /* in which of the object's structs */
};

/* The objects that scripts see; core.fields returns the names of all their fields. */
extern const struct property property_req[], property_headers[], property_params[], property_res[],
    property_server[], property_error[], property_log[], property_attempt[];

/* A member of a struct, the one that `of_` says. A string that is NULL is nil. */
#define PROPERTY_OF(of_, name_, type, member)                                                        \
    {                                                                                                \
        .name = name_, .at = offsetof(type, member), .of = of_,                                    \
        .push = _Generic(((type){}).member,                                                      \
            struct str: property_push_str,                                                         \
            const char *: property_push_pointer,                                                   \
            char *: property_push_chars, /* an array */                                            \
            struct peer: property_push_peer,                                                       \
            bool: property_push_bool,                                                              \
            int: property_push_int,                                                                \
            unsigned: property_push_unsigned,                                                      \
            unsigned long: property_push_long,                                                     \
            unsigned long long: property_push_long_long,                                           \
            double: property_push_double) \
    }
#define PROPERTY(name, type, member) PROPERTY_OF(0, name, type, member)
/* A struct str that is nil where it is empty. */
#define PROPERTY_OPTIONAL(name_, type, member)                                                     \
    {                                                                                              \
        .name = name_, .at = offsetof(type, member),                                               \
        .push = _Generic(((type){}).member, struct str                                             \
                         : property_push_text)                                                     \
    }

typedef void property_pusher(lua_State *L, const void *at);
property_pusher property_push_str, property_push_text, property_push_pointer, property_push_chars,
    property_push_peer, property_push_bool, property_push_int, property_push_unsigned,
    property_push_long, property_push_long_long, property_push_double;

/* The types of those that are userdata. A state's metatables lie in its registry under these
 * numbers, where one is found in fewer steps than by its name; luaL_ref uses none below LUA_REFNIL.
 */
enum property_type {
    PROPERTY_REQUEST = -10,
    PROPERTY_HEADERS = -11,
    PROPERTY_PARAMS = -12,
    PROPERTY_ARRIVED = -13,
    PROPERTY_LOG = -14,
};

/* Pushes a table from each name to its place in the list, from 1 on, or to the method. */
void property_push_names(lua_State *L, const struct property *list);
/* Registers the metatable of a type, which scripts see as `name`: reading calls `index`, whose
 * upvalue 1 are the names of the list, assigning calls `newindex`. */
void property_new_type(lua_State *L, enum property_type type, const char *name,
                       const struct property *list, lua_CFunction index, lua_CFunction newindex);
/* Pushes the metatable of a type. */
static inline void property_push_type(lua_State *L, enum property_type type)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, type);
}
/* The userdata at 1 if it is of that type; else NULL, or an error that says how the method should
 * be called. */
void *property_self(lua_State *L, enum property_type type);
void *property_check_self(lua_State *L, enum property_type type, const char *call);

/* The part of property_find for a key that is no value: what the names have for it (a method or
 * nil) is on the top. */
const struct property *property_missing(lua_State *L, const struct property *list,
                                        const char *object);

/* For an index function; upvalue 1: the names. The property whose name is at 2; NULL: a method,
 * pushed. Where the object, "req", has none of that name an error says which it has. */
static inline const struct property *property_find(lua_State *L, const struct property *list,
                                                   const char *object)
{
    lua_pushvalue(L, 2);
    lua_rawget(L, lua_upvalueindex(1));
    int place = (int)lua_tointeger(L, -1);
    return place > 0 ? &list[place - 1] : property_missing(L, list, object);
}

static inline void property_push(lua_State *L, const struct property *p, const void *in)
{
    p->push(L, (const char *)in + p->at);
}

/* Pushes a table of all values but methods; `structs` are those that the object consists of. */
void property_push_table(lua_State *L, const struct property *list, const void *const structs[]);

#endif
