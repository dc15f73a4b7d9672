/* outlet - see outlet.h. */
#include "base/outlet.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* systemd.exec(5): "$JOURNAL_STREAM contains the device and inode numbers of the file descriptor's
 * socket, separated by a colon". It is inherited by processes whose streams go elsewhere. */
static bool outlet_is_journal(const struct stat *st)
{
    const char *named = getenv("JOURNAL_STREAM");
    char text[64];
    snprintf(text, sizeof text, "%ju:%ju", (uintmax_t)st->st_dev, (uintmax_t)st->st_ino);
    return named != NULL && strcmp(named, text) == 0;
}

/* A file takes all bytes. A description of this process is non-blocking; a socket gets
 * MSG_DONTWAIT. A description that other processes share, and that can't be opened again, is polled
 * before each write of at most PIPE_BUF bytes. */
void outlet_set(struct outlet *o, int fd, const char *target)
{
    struct stat st;
    *o = (struct outlet){.fd = fd};
    if (fd < 0 || fstat(fd, &st) != 0)
        return;
    o->kind = S_ISREG(st.st_mode)               ? OUTLET_FILE
              : S_ISSOCK(st.st_mode)            ? OUTLET_SOCKET
              : fcntl(fd, F_GETFL) & O_NONBLOCK ? OUTLET_PRIVATE
                                                : OUTLET_BORROWED;
    if (o->kind == OUTLET_SOCKET && datagram_parse(target, &o->to))
        o->kind = OUTLET_DATAGRAM;
    o->journal = o->kind == OUTLET_SOCKET && outlet_is_journal(&st);
}

static ssize_t outlet_write(const struct outlet *o, const char *p, size_t n)
{
    struct pollfd room = {.fd = o->fd, .events = POLLOUT};
    if (o->kind == OUTLET_SOCKET)
        return send(o->fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (o->kind == OUTLET_BORROWED && poll(&room, 1, 0) != 1) {
        errno = EAGAIN;
        return -1;
    }
    return write(o->fd, p, n);
}

/* The bytes of one write. A pipe gets whole lines of at most PIPE_BUF bytes, so that lines of
 * several processes do not mix; a longer line is written alone. */
static size_t outlet_piece(const struct outlet *o, const char *p, size_t n)
{
    if (o->kind == OUTLET_FILE || n <= PIPE_BUF)
        return n;
    const char *end = memrchr(p, '\n', PIPE_BUF);
    if (end != NULL)
        return (size_t)(end - p) + 1;
    end = memchr(p + PIPE_BUF, '\n', n - PIPE_BUF);
    size_t line = end != NULL ? (size_t)(end - p) + 1 : n;
    return o->kind == OUTLET_BORROWED ? PIPE_BUF : line;
}

static size_t outlet_send(const struct outlet *o, const char *p, size_t n, int *err)
{
    size_t done = 0;
    while (done < n && *err == 0) {
        const char *end = memchr(p + done, '\n', n - done);
        size_t line = end != NULL ? (size_t)(end - p) - done : n - done;
        size_t sent = line;
        do /* a network may have a bound of its own */
            *err = datagram_send(&o->to, o->fd, p + done, sent);
        while (*err == EMSGSIZE && (sent /= 2) > 0);
        if (*err == EMSGSIZE) /* not even an empty one: no later line would go either */
            *err = 0;
        if (*err == 0)
            done += line + (end != NULL);
    }
    return done;
}

size_t outlet_put(const struct outlet *o, const char *p, size_t n, int *err)
{
    size_t done = 0;
    *err = 0;
    if (o->kind == OUTLET_DATAGRAM)
        return outlet_send(o, p, n, err);
    while (done < n) {
        ssize_t w = outlet_write(o, p + done, outlet_piece(o, p + done, n - done));
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0) {
            *err = w < 0 ? errno : ENOSPC;
            break;
        }
        done += (size_t)w;
    }
    return done;
}

unsigned long outlet_count(const char *p, size_t n)
{
    unsigned long count = 0;
    for (const char *end = p + n; (p = memchr(p, '\n', (size_t)(end - p))) != NULL; p++)
        count++;
    return count;
}
