/* certificate - see certificate.h. The hook is wrapped by lua/moongate/decision/certificate.lua,
 * which has checked what it returns. */
#include "script/certificate.h"

#include "script/hooks.h"
#include "script/task.h"

#include <stdlib.h>

#define RESULTS 3 /* cert, key, seconds; nil: none */

/* A copy of the text at idx. */
static char *certificate_copy(lua_State *L, int idx, size_t *size)
{
    struct str text = script_str(L, idx);
    char *copy = malloc(text.n + 1);
    if (copy == NULL)
        abort();
    memcpy(copy, text.p, text.n);
    copy[text.n] = '\0';
    *size = text.n;
    return copy;
}

static enum script_result certificate_ended(struct script *s, void *ctx)
{
    struct script_certificate *call = ctx;
    lua_State *L = s->L;
    int first = lua_gettop(L) - RESULTS + 1;
    if (lua_isstring(L, first) && lua_isstring(L, first + 1)) {
        call->cert = certificate_copy(L, first, &call->cert_size);
        call->key = certificate_copy(L, first + 1, &call->key_size);
        call->seconds = lua_tonumber(L, first + 2);
    }
    lua_settop(L, first - 1);
    return SCRIPT_DONE;
}

static void certificate_done(void *ctx, enum script_result result)
{
    struct script_certificate *call = ctx;
    call->task = NULL;
    call->done(call->ctx, result);
}

struct certificate_calling {
    struct script_certificate *call;
    const char *name;
    struct script_cause cause;
    enum script_result result;
};

static void certificate_body(struct script *s, void *ctx)
{
    struct certificate_calling *c = ctx;
    const struct script_run run = {.cause = c->cause,
                                   .results = RESULTS,
                                   .ended = certificate_ended,
                                   .done = certificate_done,
                                   .ctx = c->call};
    lua_rawgeti(s->L, LUA_REGISTRYINDEX, script_hook_function(s, HOOK_CERTIFICATE));
    lua_pushstring(s->L, c->name);
    c->result = script_run_waiting(s, 1, &run, &c->call->task);
    if (c->result != SCRIPT_WAITING)
        return;
    /* the answer is for all who ask later, too, so the call goes on when its clients have left */
    c->call->task->detached = true;
    s->hold(s->world.ctx);
}

enum script_result script_certificate(struct script *s, const char *name,
                                      struct script_certificate *call)
{
    struct certificate_calling c = {.call = call,
                                    .name = name,
                                    .cause = script_hook_cause(s, HOOK_CERTIFICATE),
                                    .result = SCRIPT_FAILED};
    call->script = s;
    if (!script_has(s, HOOK_CERTIFICATE))
        return SCRIPT_DONE;
    if (s->stopping)
        return SCRIPT_FAILED;
    return script_guard(s, &c.cause, certificate_body, &c) ? c.result : SCRIPT_FAILED;
}

void script_certificate_unusable(const struct script *s, const char *why)
{
    const struct script_cause cause = script_hook_cause(s, HOOK_CERTIFICATE);
    script_log_misuse(s, cause.what, cause.source, NULL, why);
}

void script_certificate_fini(struct script_certificate *call)
{
    if (call->key != NULL)
        explicit_bzero(call->key, call->key_size);
    free(call->key);
    free(call->cert);
    call->cert = call->key = NULL;
}

/* --- looks at a pair --- */

static script_certificate_look *certificate_look;

void script_certificate_look_by(script_certificate_look *look)
{
    certificate_look = look;
}

/* Sets the fact in the table on the stack's top. */
static void certificate_set_fact(void *ctx, const char *key, const char *text)
{
    lua_State *L = ctx;
    lua_pushstring(L, text);
    lua_setfield(L, -2, key);
}

int script_certificate_facts(lua_State *L)
{
    struct str cert = script_check_str(L, 1), key = script_check_str(L, 2);
    const char *name = luaL_checkstring(L, 3);
    lua_newtable(L);
    if (certificate_look != NULL)
        certificate_look(cert, key, name, certificate_set_fact, L);
    return 1;
}
