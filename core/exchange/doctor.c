/* doctor - see doctor.h. */
#include "exchange/doctor.h"

#include "fastcgi/connection.h"

#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- connecting --- */

static const char *doctor_user_name(struct arena *a, uid_t uid)
{
    const struct passwd *pw = getpwuid(uid);
    /* A copy: the next look-up reuses what getpwuid returned. */
    return pw != NULL ? arena_printf(a, "%s", pw->pw_name).p
                      : arena_printf(a, "uid %u", (unsigned)uid).p;
}

static const char *doctor_group_name(struct arena *a, gid_t gid)
{
    const struct group *gr = getgrgid(gid);
    return gr != NULL ? arena_printf(a, "%s", gr->gr_name).p
                      : arena_printf(a, "gid %u", (unsigned)gid).p;
}

static const char *doctor_denied(struct arena *a, const char *path)
{
    struct stat st;
    const char *me = doctor_user_name(a, geteuid());
    if (stat(path, &st) != 0)
        return arena_printf(a,
                            "Permission denied: the worker's user '%s' may not enter a folder of "
                            "%s (namei -l %s shows which)",
                            me, path, path)
            .p;
    return arena_printf(a,
                        "Permission denied: the socket is of %s:%s, mode %04o, and the worker's "
                        "user is '%s' (see listen.owner, listen.group and listen.mode of PHP-FPM, "
                        "or 'user' of the route)",
                        doctor_user_name(a, st.st_uid), doctor_group_name(a, st.st_gid),
                        st.st_mode & 07777, me)
        .p;
}

/* A folder at a server's path refuses a connection with the same words as a socket that may not be
 * opened (EACCES) or that has no listener (ECONNREFUSED), and so does a file. NULL: it is a socket,
 * or can't be seen. */
static const char *doctor_no_socket(struct arena *a, const char *path, const char *reason)
{
    struct stat st;
    if (stat(path, &st) != 0 || S_ISSOCK(st.st_mode))
        return NULL;
    return arena_printf(a, "%s: %s is a %s, not a socket; is this PHP-FPM's 'listen'?", reason,
                        path, S_ISDIR(st.st_mode) ? "folder" : "file")
        .p;
}

static const char *doctor_foreign(struct arena *a, const char *path, const char *reason)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return reason;
    return arena_printf(a,
                        "%s: its file is of %s:%s, and no process of that user listens on it "
                        "(see listen.owner of PHP-FPM); nothing is sent there",
                        reason, doctor_user_name(a, st.st_uid), doctor_group_name(a, st.st_gid))
        .p;
}

/* What to look at where another machine can't be reached over the network; NULL: nothing is known.
 */
static const char *doctor_far(const char *reason)
{
    if (strcmp(reason, CONN_TIMED_OUT) == 0 || strcmp(reason, strerror(ETIMEDOUT)) == 0)
        return "nothing came back; is that machine up, is this its address, and does a firewall "
               "drop what comes from here?";
    if (strcmp(reason, strerror(EHOSTUNREACH)) == 0)
        return "nobody at that address, or a firewall refuses what comes from here; is that "
               "machine up, and is this its address? `ip route get` names the way to it";
    if (strcmp(reason, strerror(ENETUNREACH)) == 0)
        return "this machine has no way to that network; `ip route get` with the address shows "
               "what it has (an IPv6 address needs IPv6 here, too)";
    return NULL;
}

const char *doctor_connect(struct arena *a, const struct addr *server, const char *reason)
{
    bool local = server->sa.sa_family == AF_UNIX;
    const char *other = local ? doctor_no_socket(a, server->un.sun_path, reason) : NULL;
    if (other != NULL)
        return other;
    if (local && strcmp(reason, conn_error_text(CONN_FOREIGN)) == 0)
        return doctor_foreign(a, server->un.sun_path, reason);
    if (local && strcmp(reason, strerror(EACCES)) == 0)
        return doctor_denied(a, server->un.sun_path);
    if (strcmp(reason, strerror(ECONNREFUSED)) == 0)
        return arena_printf(a,
                            "%s: nothing listens there; is PHP-FPM running, and is this its "
                            "'listen'?",
                            reason)
            .p;
    if (local && strcmp(reason, strerror(ENOENT)) == 0)
        return arena_printf(a,
                            "%s: there is no such socket; is PHP-FPM running, and is this its "
                            "'listen'?",
                            reason)
            .p;
    const char *hint = local ? NULL : doctor_far(reason);
    return hint != NULL ? arena_printf(a, "%s: %s", reason, hint).p
                        : arena_printf(a, "%s", reason).p;
}

/* --- the script --- */

static bool doctor_says(struct str text, struct str words)
{
    return memmem(text.p, text.n, words.p, words.n) != NULL;
}

bool doctor_knows(struct str text)
{
    static const char *const messages[] = {
        "Primary script unknown",
        "Unable to open primary script",
        "Access to the script",
        "No input file specified",
    };
    for (size_t i = 0; i < sizeof messages / sizeof *messages; i++)
        if (doctor_says(text, str_of(messages[i])))
            return true;
    return false;
}

static struct str doctor_param_value(const struct params *params, struct str name)
{
    struct param *param = params_find(params, name);
    return param != NULL ? param->value : STR("");
}

/* The deepest existing folder above the file; "": the path is relative. */
static const char *doctor_deepest_parent(const char *file)
{
    static char path[PATH_MAX];
    struct stat st;
    snprintf(path, sizeof path, "%s", file);
    for (char *slash; (slash = strrchr(path, '/')) != NULL; *slash = '\0') {
        slash[slash == path ? 1 : 0] = '\0';
        if (stat(path, &st) == 0 || slash == path)
            return path;
    }
    return "";
}

/* Text about the file on this machine; empty where the backend may have another file system. */
static const char *doctor_local_finding(struct arena *a, const char *file)
{
    struct stat st;
    if (stat(file, &st) != 0)
        return arena_printf(a,
                            "it does not exist here (%s); the deepest folder of it that does is %s",
                            strerror(errno), doctor_deepest_parent(file))
            .p;
    if (S_ISDIR(st.st_mode))
        return "it is a folder here, not a script";
    if (!S_ISREG(st.st_mode))
        return "it is no regular file here";
    return arena_printf(a,
                        "it exists here (of %s:%s, mode %04o), so PHP's user may not read it, or "
                        "PHP sees another file system (a container or a chroot: set 'docroot' "
                        "to the site as PHP sees it), or its name does not end as "
                        "security.limit_extensions wants",
                        doctor_user_name(a, st.st_uid), doctor_group_name(a, st.st_gid),
                        st.st_mode & 07777)
        .p;
}

/* The file as this machine sees it, when the backend sees the site elsewhere; *mapped says so. */
static struct str doctor_local_path(struct arena *a, struct str file, struct str root,
                                    struct str docroot, bool *mapped)
{
    *mapped = root.n > 0 && docroot.n > 0 && !str_eq(root, docroot) && str_starts(file, docroot);
    if (!*mapped)
        return arena_copy(a, file);
    struct str rest = docroot.n > 1 ? str_skip(file, docroot.n) : file;
    return arena_printf(a, "%.*s%.*s", STR_FMT(root), STR_FMT(rest));
}

/* A client's text as one word for a shell; a quote becomes %27. */
static struct str doctor_quoted(struct arena *a, const char *before, struct str text)
{
    size_t n = strlen(before), used = 0;
    char *out = arena_bytes(a, n + 3 * text.n + 2);
    out[used++] = '\'';
    memcpy(out + used, before, n);
    used += n;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '\'') {
            memcpy(out + used, "%27", 3);
            used += 3;
        } else {
            out[used++] = text.p[i];
        }
    }
    out[used++] = '\'';
    return (struct str){out, used};
}

static bool doctor_is_word(struct str method)
{
    for (size_t i = 0; i < method.n; i++)
        if (method.p[i] < 'A' || method.p[i] > 'Z')
            return false;
    return method.n > 0;
}

const char *doctor_script(struct request *req, const struct params *params, struct str root,
                          struct str docroot, const char *rule)
{
    struct arena *a = &req->arena;
    struct str file = doctor_param_value(params, STR("SCRIPT_FILENAME"));
    bool mapped;
    struct str here = doctor_local_path(a, file, root, docroot, &mapped);
    struct stat st;
    struct str method =
        doctor_is_word(req->method) ? req->method : doctor_quoted(a, "", req->method);
    struct str site = arena_printf(a, "http://%.*s", STR_FMT(req->host));
    struct str url = doctor_quoted(a, site.p, req->uri.origin);
    const char *finding = doctor_local_finding(a, here.p);
    if (mapped && stat(here.p, &st) == 0 && S_ISREG(st.st_mode))
        finding =
            "that file exists here, so 'docroot' is probably not the site as PHP sees it, or PHP "
            "may not read it";
    return arena_printf(a,
                        "SCRIPT_FILENAME was '%.*s' (root '%.*s', docroot '%.*s'%s%s, decided by "
                        "%s): %s. Try: moongate explain ROUTE.lua %.*s %.*s",
                        STR_FMT(file), STR_FMT(root), STR_FMT(docroot), mapped ? ", here " : "",
                        mapped ? here.p : "", rule, finding, STR_FMT(method), STR_FMT(url))
        .p;
}

/* True where the route has named the script, so that it must be there: it is no part of the path
 * that the client has sent. */
static bool doctor_is_named(const struct request *req)
{
    const struct decision *d = &req->decision;
    return d->script_filename.n > 0 || (d->script_named && !doctor_says(req->uri.path, d->script));
}

enum doctor_fault doctor_whose(struct request *req, const struct params *params, struct str root,
                               struct str docroot, struct str stderr_text)
{
    struct arena *a = &req->arena;
    struct str file = doctor_param_value(params, STR("SCRIPT_FILENAME"));
    bool mapped;
    struct str here = doctor_local_path(a, file, root, docroot, &mapped);
    struct str folder = arena_copy(a, root.n > 0 ? root : docroot);
    struct stat st;
    if (!doctor_says(stderr_text, STR("Primary script unknown")) &&
        !doctor_says(stderr_text, STR("No input file specified")))
        return DOCTOR_OURS;
    if (doctor_is_named(req))
        return DOCTOR_OURS;
    if (folder.n == 0 || stat(folder.p, &st) != 0 || !S_ISDIR(st.st_mode))
        return root.n > 0 ? DOCTOR_OURS : DOCTOR_UNSEEN;
    return stat(here.p, &st) != 0 && (errno == ENOENT || errno == ENOTDIR) ? DOCTOR_THEIRS
                                                                           : DOCTOR_OURS;
}
