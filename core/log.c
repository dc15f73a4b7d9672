/* log - see log.h. One log a process: its state is this file's. */
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_SIZE     16384
#define ACCESS_BUFFER     65536
#define ACCESS_FLUSH_FROM 32768
#define SAID_EVERY        10 /* seconds between two complaints about lost lines */

static int error_fd = STDERR_FILENO;
static int access_fd = -1;
static enum log_level threshold = LOG_INFO;
static char access_buffer[ACCESS_BUFFER];
static size_t access_used;

static const char *const level_names[] = {"debug", "info", "warn", "error"};

int log_level_parse(const char *name)
{
    for (int i = 0; i < 4; i++)
        if (strcmp(name, level_names[i]) == 0)
            return i;
    return -1;
}

enum log_level log_threshold(void)
{
    return threshold;
}

void log_setup(int new_error_fd, enum log_level level, int new_access_fd)
{
    error_fd = new_error_fd;
    threshold = level;
    access_fd = new_access_fd;
}

/* Returns 0, or the errno that kept the rest from being written. */
static int write_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t done = write(fd, p, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return done < 0 ? errno : ENOSPC;
        p += done;
        n -= (size_t)done;
    }
    return 0;
}

/* Makes text safe for a log; returns the bytes used of out. */
static size_t escape(const char *text, size_t n, char *out, size_t room)
{
    size_t used = 0;
    for (size_t i = 0; i < n && used + 5 < room; i++) {
        unsigned char c = (unsigned char)text[i];
        size_t shown = str_shown(text + i, n - i);
        if (c == '\n') {
            if (i + 1 < n) {
                out[used++] = '\n';
                out[used++] = '\t';
            }
        } else if (shown > 0 || c == '\t') {
            out[used++] = (char)c;
            for (; shown > 1; shown--)
                out[used++] = text[++i];
        } else {
            used += (size_t)snprintf(out + used, room - used, "\\x%02x", c);
        }
    }
    return used;
}

void log_write(enum log_level level, const char *fmt, ...)
{
    char text[LINE_MAX_SIZE / 2], line[LINE_MAX_SIZE];
    if (level < threshold)
        return;
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (n < 0)
        return;
    if ((size_t)n >= sizeof text)
        n = (int)sizeof text - 1;

    time_t now = time(NULL);
    struct tm tm;
    localtime_r(&now, &tm);
    size_t used = strftime(line, 64, "%Y/%m/%d %H:%M:%S ", &tm);
    used += (size_t)snprintf(line + used, 64, "[%s] %d: ", level_names[level], (int)getpid());
    used += escape(text, (size_t)n, line + used, sizeof line - used - 1);
    line[used++] = '\n';
    write_all(error_fd, line, used);
}

void log_access_flush(void)
{
    static time_t said;
    int err = access_used > 0 ? write_all(access_fd, access_buffer, access_used) : 0;
    access_used = 0;
    if (err == 0 || time(NULL) < said + SAID_EVERY)
        return;
    said = time(NULL);
    log_warn("lines of the access log are lost: %s", strerror(err));
}

char *log_access_reserve(size_t n)
{
    if (access_fd < 0 || n > ACCESS_BUFFER)
        return NULL;
    if (n > ACCESS_BUFFER - access_used)
        log_access_flush();
    return access_buffer + access_used;
}

void log_access_commit(size_t n)
{
    access_used += n;
    if (access_used >= ACCESS_FLUSH_FROM)
        log_access_flush();
}

bool log_access_waiting(void)
{
    return access_used > 0;
}

void log_access(struct str line)
{
    bool cut = line.n > ACCESS_BUFFER;
    size_t n = cut ? ACCESS_BUFFER : line.n;
    char *room = log_access_reserve(n);
    if (room == NULL)
        return;
    memcpy(room, line.p, n);
    if (cut)
        room[n - 1] = '\n';
    log_access_commit(n);
}
