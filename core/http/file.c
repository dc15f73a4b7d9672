/* file - see file.h. */
#include "http/file.h"

#include "base/date.h"
#include "base/lookup.h"
#include "http/coding.h"
#include "http/filecache.h"
#include "http/media.h"
#include "http/range.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* --- names that are never served --- */

static bool file_has_extension(struct str name, struct str extension)
{
    return name.n > extension.n && str_ieq(str_skip(name, name.n - extension.n), extension);
}

static bool file_has_one_of(struct str name, const struct str *extensions, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (file_has_extension(name, extensions[i]))
            return true;
    return false;
}

enum name_class {
    NAME_PLAIN,
    NAME_SOURCE, /* a script of some application server */
    NAME_PHP,    /* a PHP script; folders of that name are refused, too */
    NAME_BACKUP,
};

/* Sorted. Extensions that begin with "php" or "pht" are PHP, and not in the table. */
static const struct {
    char extension[8]; /* padded with zeros */
    uint8_t name_class;
} classes[] = {
    {"asa", NAME_SOURCE},  {"ascx", NAME_SOURCE}, {"ashx", NAME_SOURCE}, {"asmx", NAME_SOURCE},
    {"asp", NAME_SOURCE},  {"aspx", NAME_SOURCE}, {"bak", NAME_BACKUP},  {"bash", NAME_SOURCE},
    {"cfc", NAME_SOURCE},  {"cfm", NAME_SOURCE},  {"cgi", NAME_SOURCE},  {"csh", NAME_SOURCE},
    {"dist", NAME_BACKUP}, {"erb", NAME_SOURCE},  {"fcgi", NAME_SOURCE}, {"inc", NAME_PHP},
    {"jsp", NAME_SOURCE},  {"jspx", NAME_SOURCE}, {"ksh", NAME_SOURCE},  {"lua", NAME_SOURCE},
    {"luac", NAME_SOURCE}, {"old", NAME_BACKUP},  {"orig", NAME_BACKUP}, {"phar", NAME_PHP},
    {"pl", NAME_SOURCE},   {"pm", NAME_SOURCE},   {"psgi", NAME_SOURCE}, {"py", NAME_SOURCE},
    {"pyc", NAME_SOURCE},  {"pyo", NAME_SOURCE},  {"pyw", NAME_SOURCE},  {"rb", NAME_SOURCE},
    {"rej", NAME_BACKUP},  {"save", NAME_BACKUP}, {"sh", NAME_SOURCE},   {"swo", NAME_BACKUP},
    {"swp", NAME_BACKUP},  {"tcl", NAME_SOURCE},  {"tmp", NAME_BACKUP},  {"wsgi", NAME_SOURCE},
    {"zsh", NAME_SOURCE},
};

static int file_compare_class(const void *extension, const void *entry)
{
    return memcmp(extension, entry, sizeof classes->extension);
}

/* The class of an extension, given without its dot. */
static enum name_class file_classify_extension(struct str extension)
{
    char key[sizeof classes->extension] = {0};
    for (size_t i = 0; i < extension.n && i < sizeof key; i++)
        key[i] = char_lower(extension.p[i]);
    if (memcmp(key, "php", 3) == 0 || memcmp(key, "pht", 3) == 0)
        return NAME_PHP;
    if (extension.n > sizeof key)
        return NAME_PLAIN;
    const void *found = bsearch(key, classes, sizeof classes / sizeof *classes, sizeof *classes,
                                file_compare_class);
    return found == NULL ? NAME_PLAIN
                         : classes[((const char *)found - (const char *)classes) / sizeof *classes]
                               .name_class;
}

/* The name without dots and spaces at its end, which some file systems and PHP ignore. */
static struct str file_without_tail(struct str name)
{
    while (name.n > 0 && (name.p[name.n - 1] == '.' || name.p[name.n - 1] == ' '))
        name.n--;
    return name;
}

/* The extension after the last dot; empty for a name without a dot. */
static struct str file_extension_of(struct str name)
{
    const char *dot = name.n > 0 ? memrchr(name.p, '.', name.n) : NULL;
    return dot != NULL ? str_skip(name, (size_t)(dot - name.p) + 1) : STR("");
}

/* The name without the numbers of a rotation ("x.php.1"), and without dots and spaces at its end.
 */
static struct str file_without_numbers(struct str name)
{
    for (;;) {
        name = file_without_tail(name);
        struct str extension = file_extension_of(name);
        size_t digits = 0;
        while (digits < extension.n && extension.p[digits] >= '0' && extension.p[digits] <= '9')
            digits++;
        if (digits == 0 || digits < extension.n)
            return name;
        name.n -= digits + 1;
    }
}

/* True for a page or a picture by the last extension, whatever the name has before that: a mirror
 * of a site has "index.php.html". */
static bool file_is_page(struct str name)
{
    static const char *const types[] = {
        "text/html", "text/css", "text/javascript", "application/javascript", "image/",
        "font/",     "audio/",   "video/",          "application/pdf",        "application/json"};
    struct str type = media_type(name);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (str_starts(type, str_of(types[i])))
            return true;
    return false;
}

/* True for php, php7, phtml and the like, not for a longer word that begins so. */
static bool file_is_php(struct str extension)
{
    while (extension.n > 3 && extension.p[extension.n - 1] >= '0' &&
           extension.p[extension.n - 1] <= '9')
        extension.n--;
    static const char *const names[] = {"php", "phtml", "phps", "phpt", "pht", "phar"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (str_ieq(extension, str_of(names[i])))
            return true;
    return false;
}

/* True for "x.php.txt", "x.php.new": a copy of a script, whose source must not be served. */
static bool file_is_php_aside(struct str name)
{
    const char *dot = memchr(name.p, '.', name.n), *end = name.p + name.n;
    for (; dot != NULL; dot = memchr(dot + 1, '.', (size_t)(end - dot) - 1)) {
        struct str rest = {dot + 1, (size_t)(end - dot) - 1};
        if (file_is_php(str_cut(&rest, '.')))
            return !file_is_page(name);
    }
    return false;
}

static enum name_class file_classify(struct str name, const struct decision *d)
{
    struct str bare = file_without_numbers(name);
    enum name_class found = file_classify_extension(file_extension_of(bare));
    if (file_has_one_of(bare, d->scripts, d->script_count))
        return found == NAME_PHP ? NAME_PHP : NAME_SOURCE;
    if (file_has_one_of(bare, d->sources, d->source_count))
        return NAME_PLAIN;
    if (found == NAME_PLAIN && file_is_php_aside(bare))
        return NAME_SOURCE;
    bool backup = bare.n > 1 &&
                  (bare.p[bare.n - 1] == '~' || (bare.p[0] == '#' && bare.p[bare.n - 1] == '#'));
    return found == NAME_PLAIN && backup ? NAME_BACKUP : found;
}

const char *file_refused(struct str path, const struct decision *d)
{
    struct str rest = path;
    while (rest.p != NULL) {
        struct str segment = str_cut(&rest, '/');
        if (segment.n == 0)
            continue;
        if (segment.p[0] == '.' && !str_eq(segment, STR(".well-known")))
            return "dotfiles are not served";
        enum name_class found = file_classify(segment, d);
        if (found == NAME_PHP || (found == NAME_SOURCE && rest.p == NULL))
            return "the source of a script is not served, unless 'sources' has its extension";
        if (found == NAME_BACKUP && rest.p == NULL)
            return "backups are not served";
    }
    return NULL;
}

/* --- opening --- */

static int file_status_of_errno(int err, const char **reason)
{
    switch (err) {
    case ENOENT:
    case ENOTDIR:
    case ENAMETOOLONG:
        *reason = "there is no such file";
        return 404;
    case EXDEV:
    case ELOOP:
        *reason = "a symlink leads out of the root";
        return 403;
    case ENXIO: /* a socket, or a device without a driver */
    case ENODEV:
        *reason = "not a regular file";
        return 403;
    case EACCES:
        *reason = "the worker's user may not read it";
        return 403;
    default:
        *reason = strerror(err);
        return 500;
    }
}

/* --- conditions --- */

/* If-Match compares strongly, If-None-Match weakly (RFC 9110 §8.8.3.2). Tags of files are all
 * strong; an application's may be weak, or missing. */
static bool file_tag_matches(struct str list, struct str tag, bool weak)
{
    if (str_eq(str_trim(list), STR("*")))
        return true;
    if (weak && str_starts(tag, STR("W/")))
        tag = str_skip(tag, 2);
    if (tag.n == 0 || tag.p[0] != '"')
        return false;
    while (list.p != NULL) {
        struct str one = str_trim(str_cut(&list, ','));
        if (weak && str_starts(one, STR("W/")))
            one = str_skip(one, 2);
        if (str_eq(one, tag))
            return true;
    }
    return false;
}

/* The date of a header; DATE_NONE without one. */
static time_t file_date_of(const struct headers *h, enum header_id id)
{
    struct str value = headers_value(h, id);
    return value.n > 0 ? date_parse(value, time(NULL)) : DATE_NONE;
}

/* All values of a known header; STR_NONE without one. */
static struct str file_values_of(struct request *req, enum header_id id)
{
    const struct header *first = headers_find(&req->headers, id);
    return first != NULL ? headers_joined(&req->arena, &req->headers, first->name) : STR_NONE;
}

/* Evaluates conditions in the order of RFC 9110 §13.2.2; dates count only where the file has one
 * (§13.1.3, §13.1.4). Returns 200, 304 or 412. */
static int file_check_conditions(struct request *req, const struct cached_file *own)
{
    const struct headers *h = &req->headers;
    bool dated = own->modified_at != DATE_NONE;
    struct str value = file_values_of(req, HEADER_IF_MATCH);
    time_t date;
    if (value.p != NULL) {
        if (!file_tag_matches(value, own->tag, false))
            return 412;
    } else if (dated && (date = file_date_of(h, HEADER_IF_UNMODIFIED_SINCE)) != DATE_NONE) {
        if (own->modified_at > date)
            return 412;
    }
    value = file_values_of(req, HEADER_IF_NONE_MATCH);
    if (value.p != NULL)
        return file_tag_matches(value, own->tag, true) ? 304 : 200;
    date = dated ? file_date_of(h, HEADER_IF_MODIFIED_SINCE) : DATE_NONE;
    return date != DATE_NONE && own->modified_at <= date ? 304 : 200;
}

/* --- the reply --- */

/* Redirects a folder's path to the one with a slash, without which relative links would be wrong.
 * Location has the normalised path, since "//host/dir" as it was sent would lead to another site.
 */
static int file_redirect_to_slash(struct request *req)
{
    struct arena *a = &req->arena;
    struct str query = req->uri.query;
    struct str path = uri_escape_path(req->uri.path, a);
    struct str to = arena_printf(a, "%.*s/%s%.*s", STR_FMT(path), req->uri.has_query ? "?" : "",
                                 STR_FMT(query));
    req->response.status = 301;
    headers_add(a, &req->response.headers, STR("Location"), to);
    return 301;
}

/* The part of a path whose names are checked: the part after the root. Of `file = "/abs"` only the
 * last name is checked, since the script has chosen the folders. */
static struct str file_checked_part(struct str root, struct str path)
{
    const char *slash = memrchr(path.p, '/', path.n);
    if (root.n > 0 || slash == NULL)
        return path;
    return str_skip(path, (size_t)(slash - path.p));
}

/* Checks the real name of a file that was opened through a symlink, which may lead to a file that
 * is not served under its own name. */
static const char *file_refused_target(struct str real, const struct decision *d)
{
    return real.p != NULL ? file_refused(real, d)
                          : "its real name can't be known (/proc is not mounted)";
}

const char *file_refused_link(struct str root, struct str path, const struct str *within,
                              unsigned count, const struct decision *d)
{
    char real[PATH_MAX];
    bool followed;
    int fd = lookup_open(root, path, within, count, O_PATH, &followed);
    if (fd < 0)
        return NULL;
    const char *reason = followed ? file_refused_target(lookup_real_part(fd, root, real), d) : NULL;
    close(fd);
    return reason;
}

/* Makes the request hold the file, in place of an earlier one. */
static void file_use(struct request *req, struct cached_file *found)
{
    if (req->file != NULL)
        file_source_drop(req->file);
    req->file = found != NULL ? &found->source : NULL;
}

/* Opens the file for the request. Returns 200 or the status of an error. */
static int file_open_for_reading(struct request *req, struct str root, struct str path,
                                 struct cached_file **found, const char **reason)
{
    const struct decision *d = &req->decision;
    bool usual = !d->handed_over && d->script_count + d->source_count == 0;
    struct cached_file *f = filecache_find(root, path, d->within, d->within_count);
    bool harmless = d->handed_over || (f != NULL && f->harmless && usual);
    file_use(req, f);
    *found = f;
    *reason = harmless ? NULL : file_refused(file_checked_part(root, path), d);
    if (*reason != NULL)
        return 403;
    if (f == NULL) {
        f = *found = filecache_open(root, path, d->within, d->within_count);
        if (f == NULL)
            return file_status_of_errno(errno, reason);
        file_use(req, f);
    }
    if (f->followed && !harmless)
        *reason = file_refused_target(f->real, d);
    f->harmless |= usual && *reason == NULL;
    return *reason == NULL ? 200 : 403;
}

static struct str file_join_path(struct arena *a, struct str folder, struct str name)
{
    bool slash = folder.n > 0 && folder.p[folder.n - 1] == '/';
    return arena_printf(a, "%.*s%s%.*s", STR_FMT(folder), slash ? "" : "/", STR_FMT(name));
}

/* Opens the first of the decision's index files that the folder has; 404 where it has none. An
 * index file that can't be served ends the search, as in nginx. */
static int file_open_index(struct request *req, struct str root, struct str *path,
                           struct cached_file **found, const char **reason)
{
    static const struct str usual = {"index.html", 10};
    const struct decision *d = &req->decision;
    const struct str *names = d->index_count > 0 ? d->index : &usual;
    unsigned count = d->index_count > 0 ? d->index_count : 1;
    struct str folder = *path;
    for (unsigned i = 0; i < count; i++) {
        if (!d->handed_over && file_refused(names[i], d) != NULL)
            continue;
        *path = file_join_path(&req->arena, folder, names[i]);
        int status = file_open_for_reading(req, root, *path, found, reason);
        if (status == 200 ? S_ISREG((*found)->mode) : status != 404)
            return status;
    }
    *reason = "a folder without an index file";
    return 404;
}

/* Whether the file is compressed as the application's Content-Encoding says. With
 * zlib.output_compression PHP sends that header for plain files, too. A coding without a known mark
 * is believed. */
static bool file_is_coded(const struct file_source *file, uint64_t size, struct str name,
                          struct str coding)
{
    unsigned char b[4] = {0};
    if (str_ieq(coding, STR("br"))) /* brotli has no magic number */
        return file_has_extension(name, STR(".br"));
    if (file->content != NULL)
        memcpy(b, file->content, size < sizeof b ? (size_t)size : sizeof b);
    else if (pread(file->fd, b, sizeof b, 0) != sizeof b)
        return false;
    if (str_ieq(coding, STR("gzip")) || str_ieq(coding, STR("x-gzip")))
        return b[0] == 0x1f && b[1] == 0x8b;
    if (str_ieq(coding, STR("zstd")))
        return b[0] == 0x28 && b[1] == 0xb5 && b[2] == 0x2f && b[3] == 0xfd;
    if (str_ieq(coding, STR("deflate"))) /* RFC 1950 §2.2 */
        return (b[0] & 15) == 8 && (b[0] << 8 | b[1]) % 31 == 0;
    return true;
}

/* True for the media type of an archive, whose compression is no Content-Encoding. */
static bool file_is_archive(struct str type)
{
    static const char *const types[] = {
        "application/gzip",   "application/x-gzip",           "application/x-tgz",
        "application/x-gtar", "application/x-compressed-tar", "application/zstd"};
    struct str name = str_trim(str_cut(&type, ';'));
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (str_ieq(name, str_of(types[i])))
            return true;
    return false;
}

/* Removes a Content-Encoding of the application that is wrong for the file. */
static void file_check_coding(struct headers *h, const struct cached_file *own, struct str name)
{
    const struct header *coding = headers_get(h, STR("Content-Encoding"));
    if (coding != NULL && (!file_is_coded(&own->source, own->size, name, coding->value) ||
                           file_is_archive(headers_value(h, HEADER_CONTENT_TYPE))))
        headers_remove(h, STR("Content-Encoding"));
}

static void file_add_head(struct request *req, struct str path, const struct cached_file *own)
{
    const struct decision *d = &req->decision;
    struct arena *a = &req->arena;
    struct headers *h = &req->response.headers;
    headers_add_known(a, h, HEADER_CONTENT_TYPE, STR("Content-Type"), own->type);
    if (own->modified_at != DATE_NONE && !d->error_page)
        headers_add_known(a, h, HEADER_LAST_MODIFIED, STR("Last-Modified"), own->modified);
    if (!d->error_page) { /* a client would take the tag for one of the URL's resource */
        headers_add_known(a, h, HEADER_ETAG, STR("ETag"), own->tag);
        headers_add_known(a, h, HEADER_OTHER, STR("Accept-Ranges"), STR("bytes"));
    }
    if (d->cache_control.n > 0)
        headers_add_known(a, h, HEADER_OTHER, STR("Cache-Control"), d->cache_control);
    headers_merge(a, h, &d->headers);
    if (d->handed_over)
        file_check_coding(h, own, path);
}

/* --- ranges --- */

/* If-Range: false, so that the whole file is sent, where the file has changed since the client got
 * its part. The tag is compared strongly; a date must equal Last-Modified, and its second must be
 * over. A date says nothing where the client's part may be one of a coded body, since ranges are
 * those of the plain one (RFC 9110 §8.8.2.2). */
static bool file_range_holds(struct request *req, const struct cached_file *own)
{
    struct str value = file_values_of(req, HEADER_IF_RANGE);
    if (value.p == NULL || (own->tag.n > 0 && own->tag.p[0] == '"' && str_eq(value, own->tag)))
        return true;
    if (req->may_be_coded && headers_get(&req->headers, STR("Accept-Encoding")) != NULL)
        return false;
    time_t now = time(NULL);
    return own->modified_at != DATE_NONE && date_parse(value, now) == own->modified_at &&
           own->modified_at < now;
}

static struct str file_content_range(struct arena *a, const struct range *r, uint64_t size)
{
    return arena_printf(a, "bytes %llu-%llu/%llu", (unsigned long long)r->first,
                        (unsigned long long)r->last, (unsigned long long)size);
}

/* Makes the parts of several ranges (RFC 9110 §14.6): each has a head, and a last line ends them.
 */
static void file_add_parts(struct request *req, struct file *file, const struct range *ranges,
                           unsigned count, uint64_t size)
{
    struct arena *a = &req->arena;
    struct header *type = headers_get(&req->response.headers, STR("Content-Type"));
    struct file_piece *pieces = arena_alloc(a, (count + 1) * sizeof *pieces);
    char boundary[17];
    request_id_text(req->id, boundary);
    for (unsigned i = 0; i < count; i++) {
        const struct range *r = &ranges[i];
        struct str text = arena_printf(
            a, "%s--%s\r\nContent-Type: %.*s\r\nContent-Range: %.*s\r\n\r\n", i > 0 ? "\r\n" : "",
            boundary, STR_FMT(type->value), STR_FMT(file_content_range(a, r, size)));
        pieces[i] = (struct file_piece){text, r->first, r->last - r->first + 1};
    }
    pieces[count] = (struct file_piece){.before = arena_printf(a, "\r\n--%s--\r\n", boundary)};
    type->value = arena_printf(a, "multipart/byteranges; boundary=%s", boundary);
    file->pieces = pieces;
    file->piece_count = count + 1;
}

static void file_add_piece(struct request *req, struct file *file, uint64_t at, uint64_t size)
{
    struct file_piece *piece = arena_alloc(&req->arena, sizeof *piece);
    *piece = (struct file_piece){.before = STR_NONE, .at = at, .size = size};
    file->pieces = piece;
    file->piece_count = 1;
}

/* Chooses the parts of the file that are sent: the whole file, or the ranges of the request.
 * Returns 200, 206 or 416. */
static int file_choose_pieces(struct request *req, const struct cached_file *own, uint64_t size,
                              struct file *file)
{
    struct arena *a = &req->arena;
    struct headers *h = &req->response.headers;
    struct range ranges[RANGE_MAX];
    unsigned count;
    struct str range = req->method_id == METHOD_GET ? file_values_of(req, HEADER_RANGE) : STR_NONE;
    enum range_answer answer = range.p != NULL && file_range_holds(req, own)
                                   ? range_parse(range, size, ranges, &count)
                                   : RANGE_WHOLE;
    if (answer == RANGE_NONE) {
        *h = (struct headers){.count = 0};
        headers_add(a, h, STR("Content-Range"),
                    arena_printf(a, "bytes */%llu", (unsigned long long)size));
        return 416;
    }
    if (answer == RANGE_WHOLE) {
        file_add_piece(req, file, 0, size);
        return 200;
    }
    if (count > 1) {
        file_add_parts(req, file, ranges, count, size);
        return 206;
    }
    file_add_piece(req, file, ranges[0].first, ranges[0].last - ranges[0].first + 1);
    headers_add(a, h, STR("Content-Range"), file_content_range(a, &ranges[0], size));
    return 206;
}

/* Makes the pieces the body of the response. */
static void file_use_pieces(struct request *req, struct file *file)
{
    file->source = req->file;
    req->response.content_length = 0;
    for (unsigned i = 0; i < file->piece_count; i++)
        req->response.content_length += (int64_t)(file->pieces[i].before.n + file->pieces[i].size);
}

static int file_reply_with(struct request *req, const struct cached_file *own, struct str path,
                           struct file *file, const char **reason)
{
    bool conditional = !req->decision.error_page;
    int status = conditional ? file_check_conditions(req, own) : 200;
    if (status == 412) {
        *reason = "a precondition of the request does not hold";
        return 412;
    }
    file_add_head(req, path, own);
    if (status == 200 && conditional)
        status = file_choose_pieces(req, own, own->size, file);
    else if (status == 200)
        file_add_piece(req, file, 0, own->size);
    if (status == 416)
        *reason = "the range lies outside the file";
    req->response.status = status;
    if (status == 304 || status == 416)
        return status;
    file_use_pieces(req, file);
    return status;
}

/* Chooses what of a kept response with status 200 is sent. */
static int file_choose_held(struct request *req, const struct cached_file *own, struct file *file)
{
    struct headers *h = &req->response.headers;
    int status = file_check_conditions(req, own);
    if (status == 412)
        *h = (struct headers){.count = 0};
    if (status != 200)
        return status;
    if (headers_get(h, STR("Accept-Ranges")) == NULL)
        headers_add(&req->arena, h, STR("Accept-Ranges"), STR("bytes"));
    if (headers_get(h, STR("Content-Type")) != NULL)
        return file_choose_pieces(req, own, own->size, file);
    file_add_piece(req, file, 0, own->size); /* the parts of several ranges would have no type */
    return 200;
}

/* Moves the pieces by so many bytes. */
static void file_shift_pieces(struct request *req, struct file *file, uint64_t by)
{
    struct file_piece *pieces = arena_alloc(&req->arena, file->piece_count * sizeof *pieces);
    for (unsigned i = 0; i < file->piece_count; i++) {
        pieces[i] = file->pieces[i];
        pieces[i].at += by;
    }
    file->pieces = pieces;
}

int file_answer_held(struct request *req, const struct cached_file *own, uint64_t at,
                     struct file *file, const char **reason)
{
    int status = req->response.status;
    *file = (struct file){.source = NULL};
    if (status == 200)
        status = file_choose_held(req, own, file);
    else
        file_add_piece(req, file, 0, own->size);
    if (status == 412 || status == 416) {
        *reason = status == 412 ? "a precondition of the request does not hold"
                                : "the range lies outside the response";
        return status;
    }
    req->response.status = status;
    if (status == 304)
        return 304;
    file_use_pieces(req, file);
    if (at > 0)
        file_shift_pieces(req, file, at);
    return status;
}

/* --- precompressed neighbours --- */

/* Adds the name of a coding to the tag of a neighbour: the tag of a file with the same size and
 * date must be another one. */
static struct str file_coded_tag(struct arena *a, struct str tag, struct str coding)
{
    return arena_printf(a, "%.*s-%.*s\"", (int)tag.n - 1, tag.p, STR_FMT(coding));
}

/* Opens the neighbour for a coding: a regular file beside the file that may be served and is not
 * older. NULL: there is none. */
static struct cached_file *file_open_neighbour(struct request *req, struct str root,
                                               struct str path, const struct cached_file *plain)
{
    const struct decision *d = &req->decision;
    struct cached_file *found = filecache_find(root, path, d->within, d->within_count);
    if (found == NULL)
        found = filecache_open(root, path, d->within, d->within_count);
    if (found == NULL)
        return NULL;
    if (S_ISREG(found->mode) && !filecache_is_older(found, plain) &&
        (!found->followed || file_refused_target(found->real, d) == NULL))
        return found;
    file_source_drop(&found->source);
    return NULL;
}

/* Chooses the best neighbour that the request accepts and the disk has, in place of the file that
 * the request holds: *view is then the neighbour as this file's content. Returns its coding. */
static enum coding file_choose_neighbour(struct request *req, struct str root, struct str path,
                                         const struct cached_file *plain, struct cached_file *view)
{
    static const char *const extensions[CODINGS] = {
        [CODING_GZIP] = ".gz", [CODING_BR] = ".br", [CODING_ZSTD] = ".zst"};
    uint8_t order[] = {CODING_ZSTD, CODING_BR, CODING_GZIP};
    struct arena *a = &req->arena;
    struct str accept = headers_joined(a, &req->headers, STR("Accept-Encoding"));
    unsigned count = accept.p != NULL && req->version > HTTP_1_0 ? sizeof order : 0;
    enum coding coding;
    bool must;
    while ((coding = coding_choose(accept, order, count, &must)) != CODING_IDENTITY) {
        struct str name = arena_printf(a, "%.*s%s", STR_FMT(path), extensions[coding]);
        struct cached_file *found = file_open_neighbour(req, root, name, plain);
        if (found != NULL) {
            *view = *found;
            view->tag = file_coded_tag(a, found->tag, coding_name(coding));
            view->type = plain->type; /* a text that outlives the entry: media_type */
            file_use(req, found);
            break;
        }
        unsigned i = 0;
        while (order[i] != coding)
            i++;
        memmove(order + i, order + i + 1, --count - i);
    }
    return coding;
}

/* Answers with the neighbour, or the file itself; Vary tells caches that there may be both. */
static int file_reply_precompressed(struct request *req, struct str root, struct str path,
                                    const struct cached_file *plain, struct file *file,
                                    const char **reason)
{
    struct cached_file view;
    struct headers *h = &req->response.headers;
    enum coding coding = file_choose_neighbour(req, root, path, plain, &view);
    int status =
        file_reply_with(req, coding != CODING_IDENTITY ? &view : plain, path, file, reason);
    if (coding != CODING_IDENTITY && (status == 200 || status == 206))
        headers_add(&req->arena, h, STR("Content-Encoding"), coding_name(coding));
    if (status < 400)
        headers_add(&req->arena, h, STR("Vary"), STR("Accept-Encoding"));
    return status;
}

static bool file_ends_in_slash(struct str path)
{
    return path.n == 0 || path.p[path.n - 1] == '/';
}

static int file_find(struct request *req, struct file *file, const char **reason)
{
    const struct decision *d = &req->decision;
    struct cached_file *found = NULL;
    struct str root = d->file.n > 0 ? STR("") : d->root;
    struct str path = d->file.n > 0 ? d->file : d->path;
    if (str_eq(root, STR("/")))
        root.n = 0;
    int status = file_ends_in_slash(path) ? file_open_index(req, root, &path, &found, reason)
                                          : file_open_for_reading(req, root, path, &found, reason);
    if (status == 200 && S_ISDIR(found->mode)) {
        if (d->handed_over || d->error_page) {
            *reason = "a folder, not a file";
            return 404;
        }
        if (!file_ends_in_slash(req->uri.path))
            return file_redirect_to_slash(req);
        /* No redirect: the client's path ends with a slash, only that of the decision does not. */
        status = file_open_index(req, root, &path, &found, reason);
    }
    if (status != 200)
        return status;
    if (!S_ISREG(found->mode)) {
        *reason = "not a regular file";
        return 403;
    }
    if (d->precompressed && !d->handed_over && !d->error_page)
        return file_reply_precompressed(req, root, path, found, file, reason);
    return file_reply_with(req, found, path, file, reason);
}

int file_open(struct request *req, struct file *file, const char **reason)
{
    *file = (struct file){.source = NULL};
    bool reads = req->method_id == METHOD_GET || req->method_id == METHOD_HEAD;
    if (reads)
        return file_find(req, file, reason);
    headers_add(&req->arena, &req->response.headers, STR("Allow"), STR("GET, HEAD, OPTIONS"));
    if (req->method_id == METHOD_OPTIONS) {
        req->response.status = 204;
        return 204;
    }
    *reason = "a file takes GET and HEAD";
    return 405;
}

/* --- a filter's file --- */

/* Makes an open file the request's data, which is read by position. */
static void file_use_data(struct request *req, int fd, const struct stat *st)
{
    if (req->data == NULL) {
        req->data = arena_alloc(&req->arena, sizeof *req->data);
        spool_init(&req->data->spool, 0, UINT64_MAX, "/");
    }
    spool_fini(&req->data->spool);
    req->data->spool.fd = fd;
    req->data->spool.size = (uint64_t)st->st_size;
    req->data->modified = st->st_mtime > 0 ? st->st_mtime : 0;
}

int file_open_data(struct request *req, const struct backend_settings *backend, const char **reason)
{
    const struct decision *d = &req->decision;
    struct str root = d->root.n > 0 ? d->root : backend->root;
    struct str path = d->data.n > 0 ? d->data : req->uri.path;
    bool own = d->within_count > 0, followed;
    char real[PATH_MAX];
    struct stat st;
    *reason = root.n == 0 ? "a filter needs the 'root' that its file lies in" : NULL;
    if (*reason != NULL)
        return 500;
    *reason = file_refused(path, d);
    if (*reason != NULL)
        return 403;
    int fd = lookup_open(root, path, own ? d->within : backend->within,
                         own ? d->within_count : backend->within_count, O_RDONLY | O_NONBLOCK,
                         &followed);
    if (fd < 0)
        return file_status_of_errno(errno, reason);
    int status = 200;
    if (fstat(fd, &st) != 0)
        status = file_status_of_errno(errno, reason);
    else if (!S_ISREG(st.st_mode))
        status = file_status_of_errno(S_ISDIR(st.st_mode) ? ENOENT : ENXIO, reason);
    else if (followed &&
             (*reason = file_refused_target(lookup_real_part(fd, root, real), d)) != NULL)
        status = 403;
    if (status == 200)
        file_use_data(req, fd, &st);
    else
        close(fd);
    return status;
}
