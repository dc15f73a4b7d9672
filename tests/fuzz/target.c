/* Any request target, and the targets and hosts that applications write. */
#include "fuzz.h"
#include "http/uri.h"

static char memory[4096];

/* A path names nothing above its root, however it was written. */
static void target_check_path(struct str path)
{
    must(path.n > 0 && path.p[0] == '/');
    for (size_t at = 0; at < path.n;) {
        size_t end = at + 1;
        while (end < path.n && path.p[end] != '/')
            end++;
        struct str segment = {path.p + at + 1, end - at - 1};
        must(!str_eq(segment, STR(".")) && !str_eq(segment, STR("..")));
        must(segment.n > 0 || end == path.n);
        at = end;
    }
    must(memchr(path.p, '\0', path.n) == NULL);
}

static void target_check(struct str target, struct arena *arena)
{
    struct uri uri, again;
    if (uri_parse(&uri, target, arena) != NULL || uri.asterisk)
        return;
    target_check_path(uri.path);
    must(uri.has_query || uri.query.n == 0);
    must(memchr(uri.raw_path.p, '?', uri.raw_path.n) == NULL);
    /* A path in a Location is read again as the path that it was. */
    struct str escaped = uri_escape_path(uri.path, arena);
    must(uri_parse(&again, escaped, arena) == NULL);
    must(str_eq(again.path, uri.path) && !again.has_query);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = malloc(size + 1);
    struct str text = {memcpy(copy, data, size), size};
    struct arena arena;
    arena_init(&arena, memory, sizeof memory);
    target_check(text, &arena);
    target_check(uri_escape_raw(text, &arena), &arena);

    struct str host, same;
    int port, same_port;
    if (uri_host(text, &arena, &host, &port)) {
        must(port >= -1 && port <= 65535 && host.n <= text.n);
        must(!fuzz_has_byte(host, "\r\n\0 \t/?#@\\", 10));
        must(host.n == 0 || (uri_host(host, &arena, &same, &same_port) && same_port == -1));
        must(host.n == 0 || str_eq(same, host));
    }

    char *plain = malloc(size + 1);
    size_t plain_size = SIZE_MAX;
    if (uri_unescape(text, plain, &plain_size))
        must(plain_size <= size);
    free(plain);
    arena_fini(&arena);
    free(copy);
    return 0;
}
