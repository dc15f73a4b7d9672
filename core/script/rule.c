/* rule - see rule.h. */
#include "script/rule.h"

#include "script/door.h"
#include "script/limit.h"
#include "script/modules.h"
#include "script/request.h"
#include "script/value.h"

struct ruling {
    struct request *req;
    const char *form;
    const char *text;
};

static void rule_body(struct script *s, void *ctx)
{
    struct ruling *r = ctx;
    const struct request_rules *rules = &r->req->rules;
    if (script_library_function(s->L, "moongate.decision.trace", r->form) != 0)
        lua_error(s->L);
    for (unsigned i = rules->from; i < rules->count; i++)
        lua_pushnumber(s->L, rules->numbers[i]);
    lua_call(s->L, (int)(rules->count - rules->from), 1);
    if (lua_type(s->L, -1) == LUA_TSTRING)
        r->text = arena_copy(&r->req->arena, script_str(s->L, -1)).p;
}

const char *script_rule_in_words(struct script *s, struct request *req, const char *form)
{
    static const struct script_cause cause = {.what = "the rules", .source = "the library"};
    struct ruling ruling = {.req = req, .form = form};
    if (req->rules.count > req->rules.from)
        script_guard(s, &cause, rule_body, &ruling);
    return ruling.text;
}

void script_begin_rules(struct script_call *call, struct request *req)
{
    call->rules_from = req->rules.from;
    req->rules.from = req->rules.count;
}

void script_end_rules(const struct script_call *call, struct request *req, bool decided)
{
    if (decided)
        return;
    req->rules.count = req->rules.from;
    req->rules.from = call->rules_from;
}

/* --- the steps of a hook --- */

static struct request *rule_told; /* NULL: no request wants to know */

/* The function that looks.begin gets: (text) */
static int rule_note_step(lua_State *L)
{
    if (rule_told != NULL)
        request_step(rule_told, "%s", luaL_checkstring(L, 1));
    return 0;
}

static void rule_tell_body(struct script *s, void *ctx)
{
    if (script_library_function(s->L, "moongate.decision.looks", ctx != NULL ? "begin" : "stop") !=
        0)
        lua_error(s->L);
    lua_pushcfunction(s->L, rule_note_step);
    lua_call(s->L, 1, 0);
}

void script_tell_steps(struct script *s, struct request *req)
{
    static const struct script_cause cause = {.what = "the steps", .source = "the library"};
    rule_told = req;
    script_guard(s, &cause, rule_tell_body, req);
}

/* --- for the library --- */

/* core.note_rule(req, number) */
static int rule_note(lua_State *L)
{
    struct request *req = script_self_request(L);
    if (req != NULL && req->rules.count < sizeof req->rules.numbers / sizeof *req->rules.numbers)
        req->rules.numbers[req->rules.count++] = (uint32_t)lua_tonumber(L, 2);
    return 0;
}

/* core.noted_rules(req) -> number, ... */
static int rule_noted(lua_State *L)
{
    const struct request *req = script_self_request(L);
    if (req == NULL)
        return 0;
    for (unsigned i = req->rules.from; i < req->rules.count; i++)
        lua_pushnumber(L, req->rules.numbers[i]);
    return (int)(req->rules.count - req->rules.from);
}

/* core.forget_rules(req) */
static int rule_forget(lua_State *L)
{
    struct request *req = script_self_request(L);
    if (req != NULL)
        req->rules.from = req->rules.count = 0;
    return 0;
}

void script_rules_open(lua_State *L)
{
    static const luaL_Reg functions[] = {{"enter_rule", script_enter_rule},
                                         {"forget_rules", rule_forget},
                                         {"note_rule", rule_note},
                                         {"noted_rules", rule_noted},
                                         {NULL, NULL}};
    luaL_register(L, NULL, functions);
}
