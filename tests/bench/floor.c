/*
 * What the benchmark's requests cost at least: a relay from HTTP to FastCGI which makes only the
 * system calls that no relay can do without (read and write on each side, epoll_wait for a turn)
 * and looks at nothing that it need not know. It is no server: its clients and its application are
 * those of the benchmark, which are well behaved, and where a socket is full it waits for that one.
 * Started by peers/floor.lua; shares no code with core/.
 *
 *     floor 127.0.0.1:PORT /path/of/application.sock DOCROOT [PATH=FILE]...
 *
 * DOCROOT stands before the path of each script. A GET of PATH is answered with FILE: up to 32 KB
 * from memory, more by sendfile.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#define ROOM       (256 * 1024) /* bytes that one read takes */
#define PARAMS_MAX 8192
#define PARTS_MAX  32
#define EVENTS_MAX 256
#define FILES_MAX  4
#define IN_MEMORY  (32 * 1024)

enum { BEGIN_REQUEST = 1, END_REQUEST = 3, PARAMS, STDIN, STDOUT };

/* One end of a socket: a client, or a connection to the application. */
struct conn {
    int fd;
    bool is_client, close_after, begun, chunked;
    struct conn *peer; /* client: whom it waits for; application: whose request it has */
    struct conn *next; /* of those that are idle, or closed in this turn */
    char *kept;        /* a request or record whose end hasn't come */
    size_t kept_len;
};

struct file {
    const char *path;
    int fd;
    off_t size;
    char *answer; /* head and, of a small one, content */
    size_t answer_len;
};

static int poller;
static struct sockaddr_un application;
static const char *docroot;
static struct conn *idle, *closed;
static struct file files[FILES_MAX];
static unsigned file_count;
static char input[ROOM];

static void die(const char *what)
{
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    exit(1);
}

static struct conn *conn_new(int fd, bool is_client)
{
    struct conn *c = calloc(1, sizeof(*c));
    if (!c || fd < 0)
        die("connection");
    c->fd = fd;
    c->is_client = is_client;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) < 0)
        die("epoll_ctl");
    return c;
}

/* This turn may still have an event of it, so it is freed at the end. */
static void conn_close(struct conn *c)
{
    if (c->peer)
        c->peer->peer = NULL;
    for (struct conn **at = &idle; *at; at = &(*at)->next) {
        if (*at == c) {
            *at = c->next;
            break;
        }
    }
    close(c->fd);
    c->fd = -1;
    c->next = closed;
    closed = c;
}

static void free_closed(void)
{
    while (closed) {
        struct conn *c = closed;
        closed = c->next;
        free(c->kept);
        free(c);
    }
}

/* Sends all of it. */
static bool send_all(int fd, struct iovec *list, int count, int flags)
{
    while (count) {
        struct msghdr message = {.msg_iov = list, .msg_iovlen = (size_t)count};
        ssize_t n = sendmsg(fd, &message, MSG_NOSIGNAL | flags);
        if (n < 0 && errno != EAGAIN)
            return false;
        if (n < 0)
            poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, -1);
        for (; count && n >= (ssize_t)list->iov_len; count--, list++)
            n -= (ssize_t)list->iov_len;
        if (count && n > 0)
            *list = (struct iovec){(char *)list->iov_base + n, list->iov_len - (size_t)n};
    }
    return true;
}

/* ---- the request ---- */

static size_t record(char *to, int type, size_t length)
{
    const unsigned char head[8] = {1, (unsigned char)type,          0,
                                   1, (unsigned char)(length >> 8), (unsigned char)length};
    memcpy(to, head, sizeof(head));
    return sizeof(head);
}

static char *param(char *at, const char *name, const char *value, size_t len)
{
    size_t name_len = strlen(name);
    *at++ = (char)name_len;
    if (len > 127) {
        *at++ = (char)(0x80 | len >> 24);
        *at++ = (char)(len >> 16);
        *at++ = (char)(len >> 8);
    }
    *at++ = (char)len;
    memcpy(at, name, name_len);
    memcpy(at + name_len, value, len);
    return at + name_len + len;
}

/* The records before the body; 0 where the request line is none or too long. */
static size_t request_head(char *to, const char *line, const char *length, size_t length_len)
{
    static const char begin[] = "\1\1\0\1\0\10\0\0\0\1\1\0\0\0\0\0";
    const char *end = strchr(line, '\r'), *path = strchr(line, ' ');
    const char *stop = path ? strchr(path + 1, ' ') : NULL;
    if (!stop || stop > end || stop - line > PARAMS_MAX / 8)
        return 0;
    path++;
    const char *query = memchr(path, '?', (size_t)(stop - path));
    size_t path_len = (size_t)((query ? query : stop) - path);
    char script[PARAMS_MAX / 4], *at = to + 16 + 8;
    int script_len = snprintf(script, sizeof(script), "%s%.*s", docroot, (int)path_len, path);
    memcpy(to, begin, 16);
    at = param(at, "SCRIPT_FILENAME", script, (size_t)script_len);
    at = param(at, "QUERY_STRING", query ? query + 1 : "", query ? (size_t)(stop - query - 1) : 0);
    at = param(at, "REQUEST_METHOD", line, (size_t)(path - 1 - line));
    at = param(at, "CONTENT_LENGTH", length, length_len);
    at = param(at, "SCRIPT_NAME", path, path_len);
    at = param(at, "REQUEST_URI", path, (size_t)(stop - path));
    at = param(at, "SERVER_PROTOCOL", "HTTP/1.1", 8);
    at = param(at, "GATEWAY_INTERFACE", "CGI/1.1", 7);
    record(to + 16, PARAMS, (size_t)(at - (to + 24)));
    return (size_t)(at + record(at, PARAMS, 0) - to);
}

static struct conn *application_take(void)
{
    struct conn *c = idle;
    if (c) {
        idle = c->next;
        c->next = NULL;
        return c;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&application, sizeof(application)) < 0)
        die("the application");
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return conn_new(fd, false);
}

/* A request for the application; its body is in one record, 65,535 bytes at most. */
static bool ask(struct conn *c, const char *head, const char *body, size_t body_len)
{
    char begin[PARAMS_MAX], end[8], length[24];
    int digits = snprintf(length, sizeof(length), "%zu", body_len);
    size_t len = request_head(begin, head, length, (size_t)digits);
    if (!len || body_len > 65535)
        return false;
    if (body_len)
        len += record(begin + len, STDIN, body_len);
    record(end, STDIN, 0);
    c->peer = application_take();
    c->peer->peer = c;
    c->peer->begun = false;
    struct iovec list[] = {{begin, len}, {(char *)body, body_len}, {end, sizeof(end)}};
    return send_all(c->peer->fd, list, 3, 0);
}

static bool send_file(struct conn *c, const struct file *f)
{
    struct iovec answer = {f->answer, f->answer_len};
    off_t at = 0;
    if (f->size <= IN_MEMORY)
        return send_all(c->fd, &answer, 1, 0);
    if (!send_all(c->fd, &answer, 1, MSG_MORE))
        return false;
    while (at < f->size) {
        ssize_t n = sendfile(c->fd, f->fd, &at, (size_t)(f->size - at));
        if (n < 0 && errno == EAGAIN)
            poll(&(struct pollfd){.fd = c->fd, .events = POLLOUT}, 1, -1);
        else if (n <= 0)
            return false;
    }
    return true;
}

static const struct file *file_of(const char *head)
{
    for (unsigned i = 0; i < file_count; i++) {
        size_t len = strlen(files[i].path);
        if (strncmp(head, "GET ", 4) == 0 && strncmp(head + 4, files[i].path, len) == 0 &&
            head[4 + len] == ' ')
            return &files[i];
    }
    return NULL;
}

/* A request whose bytes are all there, at the end of which there is a NUL. */
static bool request(struct conn *c, const char *head, const char *body, size_t body_len)
{
    c->close_after = strstr(head, "\r\nConnection: close\r\n") != NULL;
    const struct file *f = file_of(head);
    if (!f)
        return ask(c, head, body, body_len);
    return send_file(c, f) && !c->close_after;
}

/* Sets aside what came before the rest is there. */
static void keep(struct conn *c, const char *bytes, size_t len)
{
    char *copy = len ? malloc(len) : NULL;
    if (len && !copy)
        die("malloc");
    if (len)
        memcpy(copy, bytes, len);
    free(c->kept);
    c->kept = copy;
    c->kept_len = len;
}

/* What came, behind what had come before; 0: nothing, or the end. */
static size_t receive(struct conn *c)
{
    if (c->kept_len)
        memcpy(input, c->kept, c->kept_len);
    ssize_t n = read(c->fd, input + c->kept_len, ROOM - 1 - c->kept_len);
    if (n <= 0)
        return 0;
    size_t len = c->kept_len + (size_t)n;
    input[len] = 0;
    return len;
}

static bool client_ready(struct conn *c)
{
    size_t len = receive(c);
    if (!len || c->peer)
        return false; /* its clients don't pipeline */
    char *end = strstr(input, "\r\n\r\n");
    const char *length = end ? strcasestr(input, "\r\nContent-Length: ") : NULL;
    size_t body_len = length && length < end ? strtoul(length + 18, NULL, 10) : 0;
    if (!end || (size_t)(end + 4 - input) + body_len > len) {
        keep(c, input, len);
        return len < ROOM / 2;
    }
    keep(c, NULL, 0);
    return request(c, input, end + 4, body_len);
}

/* ---- the reply ---- */

/* What the records in a stretch of bytes hold. */
struct found {
    struct iovec list[PARTS_MAX]; /* the first is left for a head, the last for an end */
    int count;
    size_t body; /* bytes of the list */
    bool ended;
};

/* Takes whole records; how many bytes they are. */
static size_t records(char *bytes, size_t len, struct found *found)
{
    size_t at = 0;
    while (len - at >= 8 && found->count < PARTS_MAX - 1) {
        const unsigned char *head = (unsigned char *)bytes + at;
        size_t length = (size_t)head[4] << 8 | head[5], whole = 8 + length + head[6];
        if (len - at < whole)
            break;
        if (head[1] == STDOUT && length) {
            found->list[found->count++] = (struct iovec){bytes + at + 8, length};
            found->body += length;
        }
        found->ended |= head[1] == END_REQUEST;
        at += whole;
    }
    return at;
}

/* The head of an answer from that of the application; what is left in the list is body. False where
 * the application's head isn't whole, as it always is in the first record. */
static bool answer_head(struct found *found, bool chunked, char *to, size_t room)
{
    char *first = found->count > 1 ? found->list[1].iov_base : NULL;
    char *end = first ? memmem(first, found->list[1].iov_len, "\r\n\r\n", 4) : NULL;
    size_t own = end ? (size_t)(end + 2 - first) : 0;
    char framing[64] = "Transfer-Encoding: chunked";
    if (!end || own > room / 2)
        return false;
    found->body -= own + 2;
    found->list[1] = (struct iovec){end + 4, found->list[1].iov_len - own - 2};
    if (!chunked)
        snprintf(framing, sizeof(framing), "Content-Length: %zu", found->body);
    snprintf(to, room, "HTTP/1.1 200 OK\r\n%s\r\n%.*s\r\n", framing, (int)own, first);
    return true;
}

/* Sends what has come: with a length if that is all, else in chunks. */
static bool answer(struct conn *app, struct found *found)
{
    char head[1024] = "";
    bool begins = !app->begun;
    app->begun = true;
    if (begins) {
        app->chunked = !found->ended;
        if (!answer_head(found, app->chunked, head, sizeof(head) - 32))
            return false;
    }
    if (app->chunked) {
        const char *end = !found->ended ? "\r\n" : "\r\n0\r\n\r\n";
        if (found->body)
            sprintf(head + strlen(head), "%zx\r\n", found->body);
        else
            end = found->ended ? "0\r\n\r\n" : "";
        found->list[found->count++] = (struct iovec){(char *)end, strlen(end)};
    }
    found->list[0] = (struct iovec){head, strlen(head)};
    return send_all(app->peer->fd, found->list, found->count, 0);
}

static bool application_ready(struct conn *app)
{
    struct found found = {.count = 1};
    size_t len = receive(app);
    if (!len)
        return false;
    size_t taken = records(input, len, &found);
    if (taken < len || app->kept_len)
        keep(app, input + taken, len - taken);
    struct conn *c = app->peer;
    bool goes_on = !c || !(found.body || found.ended) || answer(app, &found);
    if (found.ended) {
        app->peer = NULL;
        app->next = idle;
        idle = app;
        if (c)
            c->peer = NULL;
    }
    if (c && (!goes_on || (found.ended && c->close_after)))
        conn_close(c);
    return true;
}

/* ---- the start, the loop ---- */

static int listen_on(const char *address)
{
    struct sockaddr_in to = {.sin_family = AF_INET};
    const char *colon = strrchr(address, ':');
    char host[64];
    snprintf(host, sizeof(host), "%.*s", colon ? (int)(colon - address) : 0, address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    to.sin_port = htons((uint16_t)(colon ? atoi(colon + 1) : 0));
    if (fd < 0 || inet_pton(AF_INET, host, &to.sin_addr) != 1)
        die(address);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)); /* passed on by accept */
    if (bind(fd, (struct sockaddr *)&to, sizeof(to)) < 0 || listen(fd, 4096) < 0)
        die(address);
    return fd;
}

static void file_add(char *text)
{
    struct file *f = &files[file_count];
    char *name = strchr(text, '=');
    struct stat st;
    if (!name || file_count++ == FILES_MAX)
        die("files");
    *name++ = 0;
    f->path = text;
    f->fd = open(name, O_RDONLY | O_CLOEXEC);
    if (f->fd < 0 || fstat(f->fd, &st) < 0 || !(f->answer = malloc(IN_MEMORY + 128)))
        die(name);
    f->size = st.st_size;
    f->answer_len = (size_t)snprintf(
        f->answer, 128, "HTTP/1.1 200 OK\r\nContent-Length: %lld\r\n\r\n", (long long)f->size);
    if (f->size > IN_MEMORY)
        return;
    if (pread(f->fd, f->answer + f->answer_len, (size_t)f->size, 0) != f->size)
        die(name);
    f->answer_len += (size_t)f->size;
}

static void accept_one(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0)
        conn_new(fd, true);
}

int main(int argc, char **argv)
{
    struct epoll_event events[EVENTS_MAX];
    if (argc < 4 || strlen(argv[2]) >= sizeof(application.sun_path)) {
        fputs("usage: floor HOST:PORT SOCKET DOCROOT [PATH=FILE]...\n", stderr);
        return 2;
    }
    application.sun_family = AF_UNIX;
    strcpy(application.sun_path, argv[2]);
    docroot = argv[3];
    for (int i = 4; i < argc; i++)
        file_add(argv[i]);
    int listener = listen_on(argv[1]);
    poller = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event listening = {.events = EPOLLIN, .data.ptr = NULL};
    if (poller < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, listener, &listening) < 0)
        die("epoll");
    for (;;) {
        int n = epoll_wait(poller, events, EVENTS_MAX, -1);
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (!c)
                accept_one(listener);
            else if (c->fd >= 0 && !(c->is_client ? client_ready(c) : application_ready(c)))
                conn_close(c);
        }
        free_closed();
    }
}
