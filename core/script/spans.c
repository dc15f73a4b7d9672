/* spans - see spans.h. */
#include "script/spans.h"

#include "script/door.h"
#include "script/modules.h"
#include "script/value.h"
#include "shm/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* The queue: records, each a head and its bytes, from `at` to `used`. */
static struct {
    char *bytes; /* SPANS_QUEUE of them; NULL before the first record */
    size_t at, used;
} queue;

struct record {
    uint32_t size, spans;
};

static bool spans_queue(struct str json, unsigned count)
{
    struct record head = {(uint32_t)json.n, count};
    size_t size = sizeof head + json.n;
    if (queue.bytes == NULL && (queue.bytes = malloc(SPANS_QUEUE)) == NULL)
        abort();
    if (queue.used + size > SPANS_QUEUE && queue.at > 0) {
        memmove(queue.bytes, queue.bytes + queue.at, queue.used - queue.at);
        queue.used -= queue.at;
        queue.at = 0;
    }
    if (json.n == 0 || queue.used + size > SPANS_QUEUE)
        return false;
    memcpy(queue.bytes + queue.used, &head, sizeof head);
    memcpy(queue.bytes + queue.used + sizeof head, json.p, json.n);
    queue.used += size;
    return true;
}

/* The first record, if it has at most so many bytes. */
static bool spans_first(struct record *head, size_t most)
{
    if (queue.at == queue.used)
        return false;
    memcpy(head, queue.bytes + queue.at, sizeof *head);
    return head->size <= most;
}

/* --- for the exporter --- */

/* take(bytes) -> text, count: the spans that waited the longest, as objects with commas between
 * them, at most so many bytes but at least one request's; nil: none wait */
static int spans_take(lua_State *L)
{
    size_t most = (size_t)luaL_checkinteger(L, 1), taken = 0;
    struct record head;
    unsigned count = 0;
    luaL_Buffer text;
    luaL_buffinit(L, &text);
    while (spans_first(&head, taken == 0 ? SPANS_QUEUE : most - (taken < most ? taken : most))) {
        if (taken > 0)
            luaL_addchar(&text, ',');
        luaL_addlstring(&text, queue.bytes + queue.at + sizeof head, head.size);
        queue.at += sizeof head + head.size;
        taken += head.size + 1;
        count += head.spans;
    }
    if (queue.at == queue.used)
        queue.at = queue.used = 0;
    if (count == 0)
        return 0;
    luaL_pushresult(&text);
    lua_pushinteger(L, (lua_Integer)count);
    return 2;
}

/* count(what, n): n spans were exported, or have failed, or were rejected */
static int spans_count(lua_State *L)
{
    static const char *const names[] = {"exported", "failed", "rejected", NULL};
    static const unsigned counters[] = {METRICS_EXPORTED, METRICS_FAILED, METRICS_REJECTED};
    int i = luaL_checkoption(L, 1, NULL, names);
    double n = luaL_checknumber(L, 2);
    if (n > 0 && n < 1e9)
        metrics_add(&metrics_own->spans[counters[i]], (uint64_t)n);
    return 0;
}

/* rest(): the exporter ends; the next spans begin it again */
static int spans_rest(lua_State *L)
{
    script_of(L)->exports = false;
    return 0;
}

/* append(path, text) -> true, or nil and why not: writes a whole text to the end of a file. The
 * file is opened each time, so one that was moved away is followed by a new one. */
static int spans_append(lua_State *L)
{
    size_t n, done = 0;
    const char *path = luaL_checkstring(L, 1), *text = luaL_checklstring(L, 2, &n);
    struct stat st;
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0640);
    bool good = fd >= 0 && fstat(fd, &st) == 0;
    if (good && !S_ISREG(st.st_mode)) {
        errno = EINVAL;
        good = false;
    }
    while (good && done < n) {
        ssize_t w = write(fd, text + done, n - done);
        if (w < 0 && errno == EINTR)
            continue;
        good = w > 0;
        done += w > 0 ? (size_t)w : 0;
    }
    int err = errno;
    if (fd >= 0 && done > 0 && done < n && ftruncate(fd, st.st_size) != 0)
        err = errno; /* the part of a line stays: the next reader finds it broken */
    if (fd >= 0)
        close(fd);
    if (good) {
        lua_pushboolean(L, 1);
        return 1;
    }
    lua_pushnil(L);
    lua_pushstring(L, err == EINVAL ? "this is not a regular file" : strerror(err));
    return 2;
}

static const struct script_cause spans_cause = {.what = "the exporter of spans",
                                                .source = "tracing"};

/* wake(functions, settings) begins the exporter. */
static void spans_wake(struct script *s, void *ctx)
{
    static const luaL_Reg functions[] = {{"take", spans_take},
                                         {"count", spans_count},
                                         {"rest", spans_rest},
                                         {"append", spans_append},
                                         {NULL, NULL}};
    lua_State *L = s->L;
    (void)ctx;
    if (script_library_function(L, "moongate.worker.spans", "wake") != 0)
        lua_error(L);
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->normalised);
    lua_getfield(L, -1, "tracing");
    lua_remove(L, -2);
    lua_call(L, 2, 0);
}

void script_spans_add(struct script *s, struct str json, unsigned count)
{
    if (!spans_queue(json, count))
        metrics_add(&metrics_own->spans[METRICS_FULL], count);
    if (s->exports || s->stopping)
        return;
    s->exports = script_guard(s, &spans_cause, spans_wake, NULL);
}

bool script_spans_wait(const struct script *s)
{
    return s->exports;
}
