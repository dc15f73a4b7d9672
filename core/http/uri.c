/* uri - see uri.h. */
#include "http/uri.h"

#include <arpa/inet.h>

static int uri_hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = char_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool uri_unescape(struct str in, char *out, size_t *out_size)
{
    size_t used = 0;
    for (size_t i = 0; i < in.n; i++) {
        if (in.p[i] != '%') {
            out[used++] = in.p[i];
            continue;
        }
        int high = i + 2 < in.n ? uri_hex(in.p[i + 1]) : -1;
        int low = high >= 0 ? uri_hex(in.p[i + 2]) : -1;
        if (low < 0)
            return false;
        out[used++] = (char)(high << 4 | low);
        i += 2;
    }
    *out_size = used;
    return true;
}

/* Writes %XX and returns its end. */
static char *uri_put_escape(char *at, unsigned char c)
{
    *at++ = '%';
    *at++ = "0123456789ABCDEF"[c >> 4];
    *at++ = "0123456789ABCDEF"[c & 15];
    return at;
}

struct str uri_escape_path(struct str path, struct arena *arena)
{
    static const char plain[] = "-._~!$&'()*+,;=:@/";
    char *out = arena_bytes(arena, path.n * 3 + 1), *at = out;
    for (size_t i = 0; i < path.n; i++) {
        unsigned char c = (unsigned char)path.p[i];
        char lower = char_lower((char)c);
        if ((c >= '0' && c <= '9') || (lower >= 'a' && lower <= 'z') ||
            (c != '\0' && strchr(plain, c) != NULL)) {
            *at++ = (char)c;
        } else {
            at = uri_put_escape(at, c);
        }
    }
    *at = '\0';
    return (struct str){out, (size_t)(at - out)};
}

/* True for a '%' without two hex digits, and for a byte that a target may not have. */
static bool uri_is_raw(struct str target, size_t i)
{
    unsigned char c = (unsigned char)target.p[i];
    if (c == '%')
        return i + 2 >= target.n || uri_hex(target.p[i + 1]) < 0 || uri_hex(target.p[i + 2]) < 0;
    return c <= 0x20 || c >= 0x7f || c == '#';
}

struct str uri_escape_raw(struct str target, struct arena *arena)
{
    size_t raw = 0;
    for (size_t i = 0; i < target.n; i++)
        raw += uri_is_raw(target, i);
    if (raw == 0)
        return target;
    char *out = arena_bytes(arena, target.n + 2 * raw + 1), *at = out;
    for (size_t i = 0; i < target.n; i++)
        at = uri_is_raw(target, i) ? uri_put_escape(at, (unsigned char)target.p[i])
                                   : mempcpy(at, &target.p[i], 1);
    *at = '\0';
    return (struct str){out, (size_t)(at - out)};
}

/* Removes dot segments and merges slashes in place; path starts with a slash. Returns false where
 * the path climbs over the root. */
static bool uri_remove_dots(char *path, size_t *size)
{
    size_t n = *size, out = 0;
    for (size_t i = 0; i < n;) {
        size_t start = i + 1, end = start;
        while (end < n && path[end] != '/')
            end++;
        size_t len = end - start;
        bool last = end >= n;
        if (len == 0 || (len == 1 && path[start] == '.')) {
            if (last && (out == 0 || path[out - 1] != '/'))
                path[out++] = '/';
        } else if (len == 2 && path[start] == '.' && path[start + 1] == '.') {
            if (out == 0)
                return false;
            while (path[--out] != '/')
                ;
            if (last)
                path[out++] = '/';
        } else {
            path[out++] = '/';
            memmove(path + out, path + start, len);
            out += len;
        }
        i = end;
    }
    if (out == 0)
        path[out++] = '/';
    *size = out;
    return true;
}

static const char *uri_decode_path(struct uri *u, struct arena *arena)
{
    char *path = arena_bytes(arena, u->raw_path.n + 1);
    size_t n;
    if (!uri_unescape(u->raw_path, path, &n))
        return "a % without two hex digits in the path";
    if (memchr(path, '\0', n) != NULL)
        return "a NUL byte in the path";
    if (!uri_remove_dots(path, &n))
        return "the path climbs over the root";
    path[n] = '\0';
    u->path = (struct str){path, n};
    return NULL;
}

/* What is to be known of the bytes of a target; 0: nothing, as of most bytes. A path may need to be
 * normalised where URI_JOINT follows a slash. */
enum {
    URI_JOINT = 1,             /* a slash or a dot */
    URI_SLASH = 2 | URI_JOINT, /* a slash */
    URI_PERCENT = 4,
    URI_MARK = 8, /* '?' */
    URI_HASH = 16,
    URI_BAD = 32,
};
static const uint8_t uri_classes[256] = {
    [0 ... 0x20] = URI_BAD, [0x7f ... 0xff] = URI_BAD, ['#'] = URI_HASH,  ['%'] = URI_PERCENT,
    ['?'] = URI_MARK,       ['/'] = URI_SLASH,         ['.'] = URI_JOINT,
};

static unsigned uri_class(struct str target, size_t i)
{
    return i < target.n ? uri_classes[(uint8_t)target.p[i]] : 0;
}

/* Looks at each byte of the target once. *mark: where the query's '?' is, or the target's end;
 * *plain: decoding and normalising would not change the path before it, as with most paths. Returns
 * why a byte may not stand in a target, whatever its form; or NULL. */
static const char *uri_scan(struct str target, size_t *mark, bool *plain)
{
    unsigned all = 0;
    bool joins = false;
    size_t i = 0;
    for (unsigned class; i < target.n; i++) {
        class = uri_classes[(uint8_t)target.p[i]];
        if (class == 0)
            continue;
        if (class == URI_MARK)
            break;
        all |= class;
        joins |= class == URI_SLASH && (uri_class(target, i + 1) & URI_JOINT) != 0;
    }
    *mark = i;
    *plain = !joins && !(all & URI_PERCENT);
    for (; i < target.n; i++)
        all |= uri_classes[(uint8_t)target.p[i]];
    if (all & URI_BAD)
        return "a space, a control byte or a byte above 0x7e in the target";
    return all & URI_HASH ? "a fragment in the target" : NULL;
}

/* Cuts scheme and authority off an absolute target, leaving path and query in *target. */
static const char *uri_cut_absolute(struct uri *u, struct str *target)
{
    size_t skip;
    if (target->n >= 7 && str_ieq((struct str){target->p, 7}, STR("http://"))) {
        skip = 7;
    } else if (target->n >= 8 && str_ieq((struct str){target->p, 8}, STR("https://"))) {
        skip = 8;
        u->https = true;
    } else {
        return "a target that is neither a path nor an http URL";
    }
    struct str rest = str_skip(*target, skip);
    size_t n = 0;
    while (n < rest.n && rest.p[n] != '/' && rest.p[n] != '?')
        n++;
    if (n == 0)
        return "an absolute target without a host";
    u->authority = (struct str){rest.p, n};
    *target = str_skip(rest, n);
    return NULL;
}

const char *uri_parse(struct uri *u, struct str target, struct arena *arena)
{
    size_t mark;
    bool plain;
    *u = (struct uri){0};
    const char *err = uri_scan(target, &mark, &plain);
    if (err != NULL)
        return err;
    if (str_eq(target, STR("*"))) {
        u->asterisk = true;
        u->raw_path = u->path = u->origin = target;
        return NULL;
    }
    if (target.n == 0 || target.p[0] != '/') {
        err = uri_cut_absolute(u, &target);
        if (err != NULL)
            return err;
        if (target.n == 0)
            target = STR("/");
        else if (target.p[0] == '?') /* http://host?query: the empty path is "/" */
            target = arena_printf(arena, "/%.*s", STR_FMT(target));
        uri_scan(target, &mark, &plain);
    }
    u->origin = target;
    u->raw_path = (struct str){target.p, mark};
    if (mark < target.n) {
        u->has_query = true;
        u->query = str_skip(target, mark + 1);
    }
    if (!plain)
        return uri_decode_path(u, arena);
    u->path = u->raw_path;
    return NULL;
}

/* The characters of real host names, fewer than RFC 3986's reg-name allows, each with its lower
 * case; 0: none of them. Scripts build paths from hosts, so a character with a meaning in paths
 * must not pass. */
static const char uri_host_chars[256] =
    "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
    "\0\0\0\0\0\0\0\0\0\0\0\0\0-.\0"
    "0123456789\0\0\0\0\0\0"
    "\0abcdefghijklmnopqrstuvwxyz\0\0\0\0_"
    "\0abcdefghijklmnopqrstuvwxyz";

/* The index after "[IPv6]" at the beginning; 0: the value has none. */
static size_t uri_ipv6_end(struct str value)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr ignored;
    const char *close = memchr(value.p, ']', value.n);
    size_t n = close != NULL ? (size_t)(close - value.p) - 1 : sizeof text;
    if (n >= sizeof text)
        return 0;
    memcpy(text, value.p + 1, n);
    text[n] = '\0';
    return strlen(text) == n && inet_pton(AF_INET6, text, &ignored) == 1 ? n + 2 : 0;
}

/* Copies the host at the beginning of value in lower case. Returns its end in value; 0: the host is
 * invalid. `out` has room for value and a NUL. */
static size_t uri_copy_host(struct str value, char *out)
{
    size_t end = 0;
    if (value.n > 0 && value.p[0] == '[') {
        end = uri_ipv6_end(value);
        for (size_t i = 0; i < end; i++)
            out[i] = char_lower(value.p[i]);
        return end;
    }
    for (char last = '.', c; end < value.n; last = c, end++) {
        c = uri_host_chars[(uint8_t)value.p[end]];
        if (c == '\0')
            break;
        if (c == '.' && last == '.')
            return 0; /* an empty label */
        out[end] = c;
    }
    return end;
}

bool uri_host(struct str value, struct arena *arena, struct str *host, int *port)
{
    *port = -1;
    if (value.n > 255 + 6)
        return false;
    char *out = arena_bytes(arena, value.n + 1);
    size_t end = uri_copy_host(value, out);
    if (end == 0 || end > 255)
        return false;
    if (end < value.n) {
        uint64_t number;
        struct str digits = str_skip(value, end + 1);
        if (value.p[end] != ':')
            return false;
        if (digits.n > 0) { /* "host:" is a valid authority without a port (RFC 3986 §3.2.3) */
            if (!str_to_u64(digits, &number) || number > 65535)
                return false;
            *port = (int)number;
        }
    }
    if (end > 1 && value.p[end - 1] == '.')
        end--;
    out[end] = '\0';
    *host = (struct str){out, end};
    return true;
}
