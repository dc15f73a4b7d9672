/* listener - see listener.h. */
#include "front/listener.h"

#include "base/log.h"
#include "front/client.h"
#include "front/portowner.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define ACCEPT_BATCH 64
#define PAUSE        0.5

/* --- opening --- */

static char message[512];

static bool is_wildcard(const struct addr *a)
{
    if (a->sa.sa_family == AF_INET)
        return a->in.sin_addr.s_addr == INADDR_ANY;
    return a->sa.sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&a->in6.sin6_addr);
}

/* Can't both be had by sockets that do not share? */
static bool listener_overlap(const struct addr *a, const struct addr *b)
{
    struct addr same = *b;
    if (a->sa.sa_family != b->sa.sa_family || b->sa.sa_family == AF_UNIX)
        return false;
    if (is_wildcard(a) || is_wildcard(b)) {
        same = *a;
        same.in.sin_port = b->in.sin_port; /* it lies at the same place in both families */
    }
    return addr_compare(a, &same) == 0;
}

/* Does a socket of this process hold the address? */
static bool is_ours(const struct addr *addr)
{
    bool found = false;
    DIR *dir = opendir("/proc/self/fd");
    if (dir == NULL)
        return false;
    for (struct dirent *e; !found && (e = readdir(dir)) != NULL;) {
        struct addr held = {.len = sizeof held.un};
        if (isdigit((unsigned char)e->d_name[0]) &&
            getsockname(atoi(e->d_name), &held.sa, &held.len) == 0)
            found = listener_overlap(addr, &held);
    }
    closedir(dir);
    return found;
}

static const char *describe(const struct listen_spec *spec, const struct addr *addr, int err)
{
    char owner[256] = "";
    if (err == EADDRINUSE && addr->sa.sa_family != AF_UNIX && is_ours(addr)) {
        snprintf(message, sizeof message,
                 "can't listen on %s beside a listener of this instance that is there already; "
                 "restart it",
                 spec->address);
    } else if (err == EADDRINUSE) {
        port_owner(addr, owner, sizeof owner);
        snprintf(message, sizeof message, "can't listen on %s: it is in use%s%s%s", spec->address,
                 owner[0] != '\0' ? " by " : "; 'ss -lnp' shows the process that holds it", owner,
                 spec->control ? "" : "; 'listen' or --listen names another address");
    } else if (err == EACCES && addr->sa.sa_family != AF_UNIX) {
        snprintf(message, sizeof message,
                 "can't listen on %s: Permission denied (ports below 1024 need root, or "
                 "'sysctl net.ipv4.ip_unprivileged_port_start')",
                 spec->address);
    } else {
        snprintf(message, sizeof message, "can't listen on %s: %s", spec->address, strerror(err));
    }
    return message;
}

/* With SO_REUSEPORT the kernel would let two servers of one user share a port unnoticed; so a plain
 * bind tries first whether it is free. What we hold ourselves is no obstacle: another listener on
 * some of the port's addresses, or one that the reload under way is about to give up. */
static int check_free(const struct addr *addr)
{
    int fd = socket(addr->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    int err = bind(fd, &addr->sa, addr->len) == 0 ? 0 : errno;
    close(fd);
    return err == EADDRINUSE && is_ours(addr) ? 0 : err;
}

/* Does anybody hold the socket of that name in the folder? 0: nobody does. The connection is never
 * waited for: an owner that does not accept has it all the same, and so has one of another kind. */
static int check_held(int folder, const char *name)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int n = snprintf(un.sun_path, sizeof un.sun_path, "/proc/self/fd/%d/%s", folder, name);
    if (n >= (int)sizeof un.sun_path)
        return ENAMETOOLONG;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    int err = connect(fd, (struct sockaddr *)&un, sizeof un) == 0 ? EADDRINUSE : errno;
    close(fd);
    if (err == EAGAIN || err == EPROTOTYPE)
        return EADDRINUSE;
    return err == ECONNREFUSED || err == ENOENT ? 0 : err;
}

static int clear_in(int folder, const char *name)
{
    struct stat st;
    if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? 0 : errno;
    if (!S_ISSOCK(st.st_mode))
        return EEXIST;
    int err = check_held(folder, name);
    if (err != 0)
        return err;
    return unlinkat(folder, name, 0) == 0 || errno == ENOENT ? 0 : errno;
}

/* The folder of a path, which is taken apart, and the name in it. What has been looked at there is
 * removed, by the folder's descriptor: whoever may rename the folder meanwhile does not choose what
 * root removes. -1 and errno. */
static int listener_open_folder(char *path, const char **name)
{
    char *slash = strrchr(path, '/');
    *name = slash != NULL ? slash + 1 : path;
    if (slash != NULL)
        *slash = '\0';
    const char *where = slash == NULL ? "." : slash == path ? "/" : path;
    return open(where, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* A socket file that nobody listens on is left over from a crash; one in use is not ours to take.
 */
static int clear_stale(const struct addr *addr)
{
    char path[sizeof addr->un.sun_path + 1];
    const char *name;
    if (addr->un.sun_path[0] == '\0') /* of the abstract namespace: no file */
        return 0;
    snprintf(path, sizeof path, "%.*s", (int)sizeof addr->un.sun_path, addr->un.sun_path);
    int folder = listener_open_folder(path, &name);
    if (folder < 0)
        return errno;
    int err = clear_in(folder, name);
    close(folder);
    return err;
}

/* Web servers in front run as other users; who may come is the folder's business. Whoever may give
 * commands is the one who started us. The file is made with its mode: a path that is changed after
 * that may have become a link to anything. One thread, so the umask is ours alone. */
static int bind_local(int fd, const struct addr *addr, bool control)
{
    mode_t before = umask(control ? 0177 : 0111);
    int err = bind(fd, &addr->sa, addr->len) == 0 ? 0 : errno;
    umask(before);
    return err;
}

static int open_one(const struct listen_spec *spec, const struct addr *addr, int *fd)
{
    bool local = addr->sa.sa_family == AF_UNIX;
    *fd = socket(addr->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (*fd < 0)
        return errno;
    if (!local) {
        setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
        setsockopt(*fd, SOL_SOCKET, SO_REUSEPORT, &(int){1}, sizeof(int));
        if (addr->sa.sa_family == AF_INET6)
            setsockopt(*fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){1}, sizeof(int));
    }
    int err = local                                  ? bind_local(*fd, addr, spec->control)
              : bind(*fd, &addr->sa, addr->len) == 0 ? 0
                                                     : errno;
    if (err != 0)
        close(*fd);
    return err;
}

const char *listener_open(const struct listen_spec *spec, int *fds, unsigned count, bool more)
{
    struct addr addr;
    const char *bad = addr_resolve(spec->address, &addr);
    if (bad != NULL) {
        snprintf(message, sizeof message, "can't listen on %s: %s", spec->address, bad);
        return message;
    }
    bool local = addr.sa.sa_family == AF_UNIX;
    int err = more ? 0 : local ? clear_stale(&addr) : check_free(&addr);
    unsigned opened = 0;
    for (; opened < count && err == 0; opened++) {
        if (opened > 0 && local)
            fds[opened] = fds[0];
        else
            err = open_one(spec, &addr, &fds[opened]);
    }
    if (err == 0)
        return NULL;
    for (unsigned i = 0; i + 1 < opened; i++) /* the last one has not come to be */
        close(fds[i]);
    return describe(spec, &addr, err);
}

static const char *written(const struct listen_spec *spec)
{
    return spec->given != NULL ? spec->given : spec->address;
}

/* Which one of the first `count` is the same as the one behind them, in other words; -1: none. */
static int same_as(const struct listen_spec *specs, const struct addr *addrs, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (addrs[i].len > 0 && addr_compare(&addrs[i], &addrs[count]) == 0 &&
            strcmp(written(&specs[i]), written(&specs[count])) != 0)
            return (int)i;
    return -1;
}

const char *listener_twice(const struct listen_spec *specs, unsigned count)
{
    struct addr *addrs = calloc(count + 1, sizeof *addrs);
    int other = -1;
    if (addrs == NULL)
        abort();
    for (unsigned i = 0; i < count && other < 0; i++) {
        if (addr_resolve(specs[i].address, &addrs[i]) != NULL) {
            addrs[i].len = 0; /* that is said when it is opened */
            continue;
        }
        other = same_as(specs, addrs, i);
        if (other >= 0)
            snprintf(message, sizeof message,
                     "can't listen on both %.200s and %.200s: they are the same address",
                     written(&specs[other]), written(&specs[i]));
    }
    free(addrs);
    return other >= 0 ? message : NULL;
}

const char *listener_let_in(const struct listen_spec *spec, int fd)
{
    struct addr addr;
    if (listen(fd, spec->backlog) == 0)
        return NULL;
    int err = errno;
    const char *bad = addr_resolve(spec->address, &addr);
    return bad != NULL ? bad : describe(spec, &addr, err);
}

const char *listener_make_folder(const char *address)
{
    char folder[sizeof((struct sockaddr_un *)NULL)->sun_path + 1];
    struct stat st;
    if (strncmp(address, "unix:", 5) != 0)
        return NULL;
    snprintf(folder, sizeof folder, "%s", address + 5);
    char *slash = strrchr(folder, '/');
    if (slash == NULL || slash == folder)
        return NULL;
    *slash = '\0';
    if (mkdir(folder, 0755) != 0 && errno != EEXIST) {
        snprintf(message, sizeof message, "%s: %s", folder, strerror(errno));
        return message;
    }
    /* In /tmp somebody else may have made it before us. */
    if (lstat(folder, &st) != 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid() ||
        (st.st_mode & 022) != 0) {
        snprintf(message, sizeof message, "%s is no folder of ours that nobody else may write to",
                 folder);
        return message;
    }
    return NULL;
}

void listener_unlink(const struct listen_spec *spec)
{
    char path[sizeof((struct sockaddr_un *)NULL)->sun_path + 1];
    const char *name;
    struct stat st;
    if (strncmp(spec->address, "unix:", 5) != 0)
        return;
    snprintf(path, sizeof path, "%s", spec->address + 5);
    int folder = listener_open_folder(path, &name);
    if (folder < 0)
        return;
    if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISSOCK(st.st_mode))
        unlinkat(folder, name, 0);
    close(folder);
}

/* --- accepting --- */

struct listener {
    ev_io io;
    ev_timer pause;
    struct clients *clients;
    const struct protocol *protocol;
    struct str name;
    struct addr address;
    int backlog;
    bool wildcard; /* the local address is the connection's, not ours */
    bool control;
    bool proxy_protocol;
};

/* Out of descriptors: the queue keeps the connections until some are free again. */
static void pause_accepting(struct listener *l, int err)
{
    static struct log_quota quota = {.most = 1};
    log_within(&quota, LOG_WARN,
               "accept on %.*s: %s; waiting for free descriptors ('ulimit -n', LimitNOFILE)",
               STR_FMT(l->name), strerror(err));
    ev_io_stop(l->clients->loop->ev, &l->io);
    ev_timer_set(&l->pause, PAUSE, 0);
    ev_timer_start(l->clients->loop->ev, &l->pause);
}

static void pause_cb(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct listener *l = timer->data;
    (void)events;
    ev_io_start(ev, &l->io);
}

static void local_address(const struct listener *l, int fd, struct addr *local)
{
    *local = l->address;
    if (!l->wildcard)
        return;
    local->len = sizeof local->un;
    if (getsockname(fd, &local->sa, &local->len) != 0)
        *local = l->address;
}

/* Takes one connection from the queue; false when there is none, or no room for it. */
static bool accept_one(struct listener *l)
{
    struct client_origin origin = {
        .listener = l->name, .control = l->control, .proxy_protocol = l->proxy_protocol};
    struct addr *remote = &origin.remote;
    remote->len = sizeof remote->un;
    int fd = accept4(l->io.fd, &remote->sa, &remote->len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            pause_accepting(l, errno);
        return errno == ECONNABORTED || errno == EINTR; /* one that has gone already */
    }
    if (l->address.sa.sa_family == AF_UNIX)
        remote->sa.sa_family = AF_UNIX;
    else
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    local_address(l, fd, &origin.local);
    l->protocol->begin(l->clients, fd, &origin);
    return true;
}

static void accept_cb(struct ev_loop *ev, ev_io *io, int events)
{
    struct listener *l = io->data;
    (void)ev;
    (void)events;
    for (int i = 0; i < ACCEPT_BATCH; i++)
        if (!accept_one(l))
            return;
}

int listener_fd(const struct listener *l)
{
    return l->io.fd;
}

void listener_update(struct listener *l, const struct listen_spec *spec)
{
    l->protocol = spec->protocol;
    l->control = spec->control;
    l->proxy_protocol = spec->proxy_protocol;
    l->name = str_of(spec->name[0] != '\0' ? spec->name : spec->address);
    l->backlog = spec->backlog;
}

struct listener *listener_new(const struct listen_spec *spec, int fd, struct clients *clients)
{
    struct listener *l = calloc(1, sizeof *l);
    if (l == NULL)
        abort();
    l->clients = clients;
    listener_update(l, spec);
    addr_resolve(spec->address, &l->address);
    l->wildcard = is_wildcard(&l->address);
    ev_io_init(&l->io, accept_cb, fd, EV_READ);
    l->io.data = l;
    ev_timer_init(&l->pause, pause_cb, PAUSE, 0);
    l->pause.data = l;
    ev_io_start(clients->loop->ev, &l->io);
    return l;
}

void listener_drain(struct listener *l)
{
    for (int i = 0; i <= l->backlog; i++)
        if (!accept_one(l))
            break;
    ev_io_stop(l->clients->loop->ev, &l->io);
    close(l->io.fd);
    l->io.fd = -1;
}

void listener_free(struct listener *l)
{
    if (l->io.fd >= 0)
        ev_io_stop(l->clients->loop->ev, &l->io);
    ev_timer_stop(l->clients->loop->ev, &l->pause);
    free(l);
}
