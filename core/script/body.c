/* body - see body.h. */
#include "script/body.h"

#include "script/task.h"

#include <stdlib.h>

struct reading {
    struct script_wait wait;
    struct body_wait body;
    struct request *req;
};

/* A request of a command has no `ask_body`, since its body is complete from the beginning. */
static enum body_state body_state(struct request *req, struct body_wait *wait)
{
    return req->ask_body != NULL ? req->ask_body(req, wait) : BODY_HERE;
}

/* A body that a hook may have is in memory, unless the decision has put it into a file. */
static struct str body_text(lua_State *L, struct request *req)
{
    struct spool *body = &req->body;
    size_t size = (size_t)body->size;
    bool in_file = body->path != NULL;
    return spool_read(body, 0, in_file ? lua_newuserdata(L, size) : NULL, in_file ? size : 0);
}

static int body_push(lua_State *L, struct request *req)
{
    switch (body_state(req, NULL)) {
    case BODY_HERE:
        script_push_str(L, body_text(L, req));
        return 1;
    case BODY_TOO_LARGE:
        return script_fail(L, "too large");
    case BODY_LATE:
        return script_fail(L, "timeout");
    default:
        return script_fail(L, "gone");
    }
}

static void body_cancel(struct script_wait *wait)
{
    struct reading *r = (struct reading *)wait;
    if (r->req->body_wait == &r->body)
        r->req->body_wait = NULL;
    free(r);
}

static int body_push_read(lua_State *L, void *ctx)
{
    struct reading *r = ctx;
    int count = body_push(L, r->req);
    free(r);
    return count;
}

static void body_ended(struct body_wait *wait)
{
    struct reading *r = (struct reading *)((char *)wait - offsetof(struct reading, body));
    script_wake(&r->wait, body_push_read, r);
}

int script_body(lua_State *L, struct request *req)
{
    if (body_state(req, NULL) != BODY_COMES)
        return body_push(L, req);
    if (req->body_wait != NULL)
        return luaL_error(L, "body: another function waits for the body of this request already");
    script_check_wait(L);
    struct reading *r = calloc(1, sizeof *r);
    if (r == NULL)
        abort();
    r->wait.cancel = body_cancel;
    r->body.ended = body_ended;
    r->req = req;
    body_state(req, &r->body);
    return script_wait(L, &r->wait);
}
