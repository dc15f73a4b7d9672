/*
 * views - see views.h.
 *
 * A view is a userdata that points to what it shows. The headers of `req` live as long as its box.
 * params and res are open only while their hook runs, and these hooks can't wait: so a script has
 * one view of each, and a hook allocates none. A view that is used outside of its hook raises an
 * error.
 */
#include "script/views.h"

#include "script/property.h"

#define MAX_PARAMS 1000

struct script_view {
    /* the box of `req`, with which its headers and params end; NULL for params and res of a hook */
    struct script_box *box;
    struct request *req; /* for params and res of a hook; NULL: the hook does not run */
    struct params *params;
    struct script_view *headers; /* of res: opened and closed with it */
};

struct request *script_box_request(lua_State *L, const struct script_box *box)
{
    if (box->req == NULL)
        luaL_error(L, "this request has ended: a script may not keep 'req' (copy what it needs)");
    return box->req;
}

static struct script_view *views_new(lua_State *L, enum property_type type)
{
    struct script_view *view = lua_newuserdata(L, sizeof *view);
    memset(view, 0, sizeof *view);
    property_push_type(L, type);
    lua_setmetatable(L, -2);
    return view;
}

void script_open_view(struct script_view *view, struct request *req, struct params *params)
{
    view->req = req;
    view->params = params;
    if (view->headers != NULL)
        view->headers->req = req;
}

void script_close_view(struct script_view *view)
{
    script_open_view(view, NULL, NULL);
}

/* --- headers of req and of res --- */

void script_push_headers(lua_State *L, struct script_box *box)
{
    views_new(L, PROPERTY_HEADERS)->box = box;
}

/* The headers of the view, which is at 1. */
static struct headers *view_headers(lua_State *L, struct script_view *view, struct request **owner)
{
    if (view->box != NULL) {
        *owner = script_box_request(L, view->box);
        return &(*owner)->headers;
    }
    if (view->req == NULL)
        luaL_error(L, "this response is gone: res.headers and err.headers may only be used inside "
                      "their hook");
    *owner = view->req;
    return &view->req->response.headers;
}

/* The headers of the view at 1, for a method; raises an error for another value, since a script may
 * call a method on anything. */
static struct headers *views_check_headers(lua_State *L, struct request **owner)
{
    struct script_view *view =
        property_check_self(L, PROPERTY_HEADERS, "headers:all(\"Accept\") or headers:each()");
    return view_headers(L, view, owner);
}

/* --- loops --- */

/* The pairs of a loop: a copy of the list as it was when the loop began, so that the loop may
 * remove pairs. The strings belong to the request. */
struct listing {
    uint64_t id; /* the request's number */
    unsigned count, at;
    struct param pairs[];
};

static struct listing *views_push_listing(lua_State *L, const struct request *req, unsigned count)
{
    struct listing *listing =
        lua_newuserdata(L, sizeof *listing + count * sizeof listing->pairs[0]);
    listing->id = req->id;
    listing->count = count;
    listing->at = 0;
    return listing;
}

/* The results of each(): the listing on the top becomes the function's upvalue. Stack: the view. */
static int views_push_loop(lua_State *L, lua_CFunction step)
{
    lua_pushcclosure(L, step, 1);
    lua_pushvalue(L, 1);
    return 2;
}

/* The next pair of the loop. A loop function that a script has kept raises an error when its view
 * shows another request, or none. */
static int views_next_pair(lua_State *L, const struct request *req)
{
    struct listing *listing = lua_touserdata(L, lua_upvalueindex(1));
    if (req->id != listing->id)
        return luaL_error(L, "this loop is over: its request has ended");
    if (listing->at >= listing->count)
        return 0;
    script_push_str(L, listing->pairs[listing->at].name);
    script_push_str(L, listing->pairs[listing->at++].value);
    return 2;
}

static int views_headers_step(lua_State *L)
{
    struct request *req;
    views_check_headers(L, &req);
    return views_next_pair(L, req);
}

/* --- methods of headers --- */

/* h:all(name) */
static int views_headers_all(lua_State *L)
{
    struct request *req;
    struct headers *headers = views_check_headers(L, &req);
    struct str name = script_expect_text(L, 2, "headers:all: expected the name of a header");
    int count = 0;
    lua_newtable(L);
    for (unsigned i = 0; i < headers->count; i++) {
        if (!str_ieq(headers->list[i].name, name))
            continue;
        script_push_str(L, headers->list[i].value);
        lua_rawseti(L, -2, ++count);
    }
    return 1;
}

/* for name, value in h:each() do */
static int views_headers_each(lua_State *L)
{
    struct request *req;
    struct headers *headers = views_check_headers(L, &req);
    struct listing *listing = views_push_listing(L, req, headers->count);
    for (unsigned i = 0; i < headers->count; i++)
        listing->pairs[i] = (struct param){headers->list[i].name, headers->list[i].value};
    return views_push_loop(L, views_headers_step);
}

const struct property property_headers[] = {
    {"all", .method = views_headers_all},
    {"each", .method = views_headers_each},
    {0},
};

/* upvalue 1: the methods. */
static int views_headers_index(lua_State *L)
{
    struct request *req;
    struct headers *headers = view_headers(L, lua_touserdata(L, 1), &req);
    lua_pushvalue(L, 2);
    lua_rawget(L, lua_upvalueindex(1));
    if (!lua_isnil(L, -1))
        return 1;
    struct str name = script_expect_text(L, 2, "headers: expected the name of a header");
    struct str value = headers_joined(&req->arena, headers, name);
    if (value.p == NULL)
        return 0;
    script_push_str(L, value);
    return 1;
}

static void views_check_header_value(lua_State *L, struct str name, int value)
{
    int type = lua_type(L, value);
    if (type != LUA_TSTRING && type != LUA_TNUMBER)
        luaL_error(L,
                   "res.headers[\"%s\"]: expected a text, a number, a list of them or nil, got %s",
                   name.p, script_describe(L, value));
    if (!str_is_field_value(script_str(L, value)))
        luaL_error(L, "res.headers[\"%s\"]: expected a text without control bytes, got %s", name.p,
                   script_describe(L, value));
}

static void views_add_response_header(lua_State *L, struct request *req, struct str name, int value)
{
    headers_add(&req->arena, &req->response.headers, arena_copy(&req->arena, name),
                arena_copy(&req->arena, script_str(L, value)));
}

/* Checks each value of the list at 3 before a header is changed. Returns the number of values. */
static int views_check_header_list(lua_State *L, struct str name)
{
    int count = (int)lua_objlen(L, 3);
    lua_pushnil(L);
    if (count == 0 && lua_next(L, 3) != 0)
        luaL_error(L, "res.headers[\"%s\"]: expected a list of texts, got a table with other keys",
                   name.p);
    for (int i = 1; i <= count; i++) {
        lua_rawgeti(L, 3, i);
        views_check_header_value(L, name, lua_gettop(L));
        lua_pop(L, 1);
    }
    return count;
}

static struct str views_check_header_name(lua_State *L)
{
    struct str name = script_expect_text(L, 2, "res.headers: expected the name of a header");
    if (!str_is_token(name))
        luaL_error(L, "res.headers: expected the name of a header such as \"X-Page\", got %s",
                   script_describe(L, 2));
    enum header_id id = header_id(name);
    if (id == HEADER_CONTENT_LENGTH || header_is_hop(id))
        luaL_error(L, "res.headers: '%s' is the connection's, a script can't set it", name.p);
    return name;
}

/* res.headers[name] = string, number, list or nil */
static int views_headers_newindex(lua_State *L)
{
    struct request *req;
    struct headers *headers = view_headers(L, lua_touserdata(L, 1), &req);
    if (headers == &req->headers)
        return luaL_error(L, "req.headers can't be assigned: what the application gets is changed "
                             "in on_params");
    struct str name = views_check_header_name(L);
    int type = lua_type(L, 3);
    int count = type == LUA_TTABLE ? views_check_header_list(L, name) : 0;
    if (type != LUA_TTABLE && type != LUA_TNIL)
        views_check_header_value(L, name, 3);
    headers_remove(headers, name);
    for (int i = 1; i <= count; i++) {
        lua_rawgeti(L, 3, i);
        views_add_response_header(L, req, name, lua_gettop(L));
        lua_pop(L, 1);
    }
    if (type != LUA_TTABLE && type != LUA_TNIL)
        views_add_response_header(L, req, name, 3);
    return 0;
}

/* --- params --- */

struct script_view *script_push_params(lua_State *L)
{
    return views_new(L, PROPERTY_PARAMS);
}

/* The view, if it is open; raises an error where its hook has ended. */
static struct script_view *views_use_params(lua_State *L, struct script_view *view)
{
    if (view->req == NULL)
        luaL_error(L, "these params are gone: they may only be used inside on_params");
    return view;
}

static struct script_view *views_check_params(lua_State *L)
{
    return views_use_params(L, property_check_self(L, PROPERTY_PARAMS, "params:each()"));
}

static int views_params_step(lua_State *L)
{
    return views_next_pair(L, views_check_params(L)->req);
}

/* for name, value in params:each() do */
static int views_params_each(lua_State *L)
{
    const struct script_view *view = views_check_params(L);
    struct listing *listing = views_push_listing(L, view->req, view->params->count);
    for (unsigned i = 0; i < listing->count; i++)
        listing->pairs[i] = view->params->list[i];
    return views_push_loop(L, views_params_step);
}

const struct property property_params[] = {
    {"each", .method = views_params_each},
    {0},
};

/* Pushes the value of a param; NULL: the method of that name, or nil. Stack: params, name. Upvalue:
 * the methods. */
static int views_push_param(lua_State *L, const struct param *param)
{
    if (param != NULL) {
        script_push_str(L, param->value);
        return 1;
    }
    lua_pushvalue(L, 2);
    lua_rawget(L, lua_upvalueindex(1));
    return 1;
}

static int views_params_index(lua_State *L)
{
    const struct script_view *view = views_use_params(L, lua_touserdata(L, 1));
    struct str name = script_expect_text(L, 2, "params: expected the name of a param");
    return views_push_param(L, params_find(view->params, name));
}

/* Refuses params that no script may set. */
static void views_check_param_name(lua_State *L, struct str name)
{
    if (param_is_setting(name))
        luaL_error(L,
                   "params.%s: raw PHP settings stay in PHP-FPM's child for the next request; use "
                   "'ini' of the backend and of the decision",
                   name.p);
    if (str_eq(name, STR("CONTENT_LENGTH")))
        luaL_error(L, "params.CONTENT_LENGTH can't be changed: it is the number of bytes that "
                      "follow");
    if (name.n == 0)
        luaL_error(L, "params: expected the name of a param, got \"\"");
}

static int views_params_newindex(lua_State *L)
{
    const struct script_view *view = views_use_params(L, lua_touserdata(L, 1));
    struct arena *a = &view->req->arena;
    struct str name = script_expect_text(L, 2, "params: expected the name of a param");
    int type = lua_type(L, 3);
    views_check_param_name(L, name);
    if (type == LUA_TNIL) {
        params_remove(view->params, name);
        return 0;
    }
    if (type != LUA_TSTRING && type != LUA_TNUMBER)
        return luaL_error(L, "params.%s: expected a text, a number or nil, got %s", name.p,
                          script_describe(L, 3));
    struct str value = arena_copy(a, script_str(L, 3));
    struct param *param = params_find(view->params, name);
    if (param == NULL && view->params->count >= MAX_PARAMS)
        return luaL_error(L, "params: expected at most %d of them, got one more, '%s'", MAX_PARAMS,
                          name.p);
    if (param != NULL)
        param->value = value;
    else
        params_add(a, view->params, arena_copy(a, name), value);
    return 0;
}

/* --- headers as a table --- */

void script_push_header_table(lua_State *L, const struct headers *headers)
{
    lua_createtable(L, 0, (int)headers->count);
    for (unsigned i = 0; i < headers->count; i++) {
        const struct header *h = &headers->list[i];
        script_push_str(L, h->name);
        lua_pushvalue(L, -1);
        lua_rawget(L, -3);
        if (lua_isnil(L, -1)) {
            lua_pop(L, 1);
            script_push_str(L, h->value);
        } else {
            lua_pushliteral(L, ", ");
            script_push_str(L, h->value);
            lua_concat(L, 3);
        }
        lua_rawset(L, -3);
    }
}

/* --- params of a web server --- */

void script_push_arrived(lua_State *L, struct script_box *box)
{
    views_new(L, PROPERTY_ARRIVED)->box = box;
}

static struct request *views_check_arrived(lua_State *L)
{
    struct script_view *view = property_check_self(L, PROPERTY_ARRIVED, "req.params:each()");
    return script_box_request(L, view->box);
}

static int views_arrived_step(lua_State *L)
{
    return views_next_pair(L, views_check_arrived(L));
}

/* for name, value in req.params:each() do */
static int views_arrived_each(lua_State *L)
{
    const struct request *req = views_check_arrived(L);
    struct listing *listing = views_push_listing(L, req, req->arrived.count);
    for (unsigned i = 0; i < listing->count; i++)
        listing->pairs[i] = req->arrived.list[i];
    return views_push_loop(L, views_arrived_step);
}

static const struct property property_arrived[] = {
    {"each", .method = views_arrived_each},
    {0},
};

static int views_arrived_index(lua_State *L)
{
    const struct script_view *view = lua_touserdata(L, 1);
    const struct request *req = script_box_request(L, view->box);
    struct str name = script_expect_text(L, 2, "req.params: expected the name of a param");
    return views_push_param(L, params_find(&req->arrived, name));
}

static int views_arrived_newindex(lua_State *L)
{
    return luaL_error(L, "req.params can't be assigned: what the application gets is changed in "
                         "on_params, or by `params` of the decision");
}

/* --- res --- */

static struct request *views_open_response(lua_State *L, const struct script_view *view)
{
    if (view->req == NULL)
        luaL_error(L, "this response is gone: res may only be used inside on_response");
    return view->req;
}

const struct property property_res[] = {
    PROPERTY("status", struct request, response.status),
    {.name = "headers"}, /* in the table of the metatable, see script_push_response */
    {0},
};

/* upvalue 2: res. Stack: the table that has no such field, key. */
static int views_response_get(lua_State *L)
{
    const struct request *req = views_open_response(L, lua_touserdata(L, lua_upvalueindex(2)));
    const struct property *p = property_find(L, property_res, "res");
    if (p->push == NULL)
        return 0;
    property_push(L, p, req);
    return 1;
}

static int views_response_newindex(lua_State *L)
{
    struct request *req = views_open_response(L, lua_touserdata(L, 1));
    if (lua_type(L, 2) != LUA_TSTRING || strcmp(lua_tostring(L, 2), "status") != 0)
        return script_refuse_assignment(L, "res", "only res.status and res.headers[name] can");
    double status = lua_type(L, 3) == LUA_TNUMBER ? lua_tonumber(L, 3) : 0;
    if (!(status >= 200 && status <= 599) || status != (int)status)
        return luaL_error(L, "res.status: expected a whole number from 200 to 599, got %s",
                          script_describe(L, 3));
    if (req->response.status != (int)status)
        req->response.phrase = STR(""); /* the reason phrase belonged to the other status */
    req->response.status = (int)status;
    return 0;
}

/* Each response has a metatable of its own, since its __index is a table that holds its headers:
 * Lua finds them there without a call. */
struct script_view *script_push_response(lua_State *L)
{
    struct script_view *view = lua_newuserdata(L, sizeof *view);
    memset(view, 0, sizeof *view);
    lua_createtable(L, 0, 3);
    lua_pushcfunction(L, views_response_newindex);
    lua_setfield(L, -2, "__newindex");
    lua_pushliteral(L, "moongate.response");
    lua_setfield(L, -2, "__metatable");
    lua_createtable(L, 0, 1);
    view->headers = views_new(L, PROPERTY_HEADERS);
    lua_setfield(L, -2, "headers");
    lua_createtable(L, 0, 1);
    property_push_names(L, property_res);
    lua_pushvalue(L, -5);
    lua_pushcclosure(L, views_response_get, 2);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    return view;
}

/* --- registration --- */

void script_views_open(lua_State *L)
{
    property_new_type(L, PROPERTY_HEADERS, "moongate.headers", property_headers,
                      views_headers_index, views_headers_newindex);
    property_new_type(L, PROPERTY_PARAMS, "moongate.params", property_params, views_params_index,
                      views_params_newindex);
    property_new_type(L, PROPERTY_ARRIVED, "moongate.arrived", property_arrived,
                      views_arrived_index, views_arrived_newindex);
}
