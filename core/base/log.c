/* log - see log.h. One log a process: its state is this file's. */
#include "base/log.h"

#include "base/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE_MAX_SIZE     16384
#define TEXT_MAX_SIZE     (LINE_MAX_SIZE / 2)
#define COUNT_SIZE        100 /* of what a quota says at the end of a line */
#define TAIL_SIZE         (2 + LOG_ABOUT_SIZE + COUNT_SIZE)
#define ERROR_SIZE        65536 /* bytes that may wait for the error log, and */
#define PRINT_SIZE        65536 /* for each of the standard streams */
#define ACCESS_FLUSH_FROM 32768
#define SAID_EVERY        10 /* seconds between two lines about lost lines, and of a quota */
#define CHANGE_WAITS      1 /* seconds that a log on a slow disk has, before another takes its place */
#define END_WAITS         5 /* and before the process ends */

/* A log: its descriptor, and the lines that it has not been written yet. */
struct sink {
    int fd; /* -1: lines are dropped */
    enum { SINK_FILE, SINK_PRIVATE, SINK_SOCKET, SINK_BORROWED } kind;
    uint32_t *used;
    char *bytes;
    size_t size;
    bool behind; /* the thread writes it: `file`, of which `written` bytes are in the log */
    uint32_t *written;
    struct writer_file file;
    unsigned long lost; /* lines lost since the last line about them */
    int reason;         /* errno of the last lost line */
    const char *name;
};

static char error_bytes[ERROR_SIZE];
static uint32_t error_used;
static struct log_lines own_lines;
static struct sink errors = {.fd = STDERR_FILENO,
                             .used = &error_used,
                             .bytes = error_bytes,
                             .size = ERROR_SIZE,
                             .name = "the error log"};
static struct sink accesses = {.fd = -1,
                               .used = &own_lines.used,
                               .written = &own_lines.written,
                               .bytes = own_lines.bytes,
                               .size = LOG_ACCESS_SIZE,
                               .name = "the access log"};
static enum log_level threshold = LOG_INFO;
static const log_order no_order;
static const log_order *ordered = &no_order;
static struct log_quota *left_out; /* list of quotas that have left lines out */

/* Standard output and error. Where they are sockets, which can't be opened a second time, processes
 * that run scripts have a pipe to the master in their place, so that writes of C libraries and of
 * child processes to the descriptor do not block either. */
static struct stream {
    int given; /* the inherited description, if the descriptor was replaced; else -1 */
    int pipe[2];
    struct sink sink;
    uint32_t used;
    char bytes[PRINT_SIZE];
} streams[2] = {
    {.given = -1,
     .pipe = {-1, -1},
     .sink = {.fd = STDOUT_FILENO,
              .used = &streams[0].used,
              .bytes = streams[0].bytes,
              .size = PRINT_SIZE,
              .name = "standard output"}},
    {.given = -1,
     .pipe = {-1, -1},
     .sink = {.fd = STDERR_FILENO,
              .used = &streams[1].used,
              .bytes = streams[1].bytes,
              .size = PRINT_SIZE,
              .name = "standard error"}},
};

static const char *const level_names[] = {"debug", "info", "warn", "error"};

int log_level_parse(const char *name)
{
    for (int i = 0; i < 4; i++)
        if (strcmp(name, level_names[i]) == 0)
            return i;
    return -1;
}

const char *log_level_name(enum log_level level)
{
    return level_names[level];
}

enum log_level log_level_set(void)
{
    return threshold;
}

/* --- the level at run time --- */

/* An order has the level, from 1 on, in its lowest byte, and above that the millisecond of the
 * monotonic clock at which it ends; 0: it has no end. One word, so that no reader sees half of it.
 */
static uint64_t log_milliseconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

log_order log_order_of(enum log_level level, double seconds)
{
    uint64_t until = seconds > 0 ? log_milliseconds_now() + (uint64_t)(seconds * 1000) : 0;
    return until << 8 | ((unsigned)level + 1);
}

void log_heed(const log_order *order)
{
    ordered = order != NULL ? order : &no_order;
}

bool log_ordered(enum log_level *level, double *left)
{
    log_order order = __atomic_load_n(ordered, __ATOMIC_RELAXED);
    uint64_t until = order >> 8, now = until > 0 ? log_milliseconds_now() : 0;
    unsigned number = order & 0xff;
    if (number == 0 || number > LOG_ERROR + 1 || (until > 0 && now >= until))
        return false;
    *level = (enum log_level)(number - 1);
    *left = (double)(until - now) / 1000;
    return true;
}

enum log_level log_threshold(void)
{
    enum log_level level;
    double left;
    return __atomic_load_n(ordered, __ATOMIC_RELAXED) != 0 && log_ordered(&level, &left)
               ? level
               : threshold;
}

/* --- writing without waiting --- */

/* Chooses how to write without waiting. A file takes all bytes. A description of this process is
 * non-blocking; a socket gets MSG_DONTWAIT. A description that other processes share, and that
 * can't be opened again, is polled before each write of at most PIPE_BUF bytes. */
static void log_set_fd(struct sink *s, int fd)
{
    struct stat st;
    if (fd == STDOUT_FILENO || fd == STDERR_FILENO)
        fd = streams[fd - STDOUT_FILENO].sink.fd;
    s->fd = fd;
    if (fd < 0 || fstat(fd, &st) != 0)
        return;
    s->kind = S_ISREG(st.st_mode)               ? SINK_FILE
              : S_ISSOCK(st.st_mode)            ? SINK_SOCKET
              : fcntl(fd, F_GETFL) & O_NONBLOCK ? SINK_PRIVATE
                                                : SINK_BORROWED;
}

static ssize_t log_write_once(const struct sink *s, const char *p, size_t n)
{
    struct pollfd room = {.fd = s->fd, .events = POLLOUT};
    if (s->kind == SINK_SOCKET)
        return send(s->fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (s->kind == SINK_BORROWED && poll(&room, 1, 0) != 1) {
        errno = EAGAIN;
        return -1;
    }
    return write(s->fd, p, n);
}

/* The bytes of one write. A pipe gets whole lines of at most PIPE_BUF bytes, so that lines of
 * several processes do not mix; a longer line is written alone. */
static size_t log_piece_of(const struct sink *s, const char *p, size_t n)
{
    if (s->kind == SINK_FILE || n <= PIPE_BUF)
        return n;
    const char *end = memrchr(p, '\n', PIPE_BUF);
    if (end != NULL)
        return (size_t)(end - p) + 1;
    end = memchr(p + PIPE_BUF, '\n', n - PIPE_BUF);
    size_t line = end != NULL ? (size_t)(end - p) + 1 : n;
    return s->kind == SINK_BORROWED ? PIPE_BUF : line;
}

/* Writes as much as possible now, and returns the number of bytes. *err: 0, EAGAIN, or the error of
 * the rest. */
static size_t log_put(const struct sink *s, const char *p, size_t n, int *err)
{
    size_t done = 0;
    *err = 0;
    while (done < n) {
        size_t piece = log_piece_of(s, p + done, n - done);
        ssize_t w = log_write_once(s, p + done, piece);
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

static unsigned long log_count_lines(const char *p, size_t n)
{
    unsigned long count = 0;
    for (const char *end = p + n; (p = memchr(p, '\n', (size_t)(end - p))) != NULL; p++)
        count++;
    return count;
}

static void log_set_used(const struct sink *s, size_t used)
{
    __atomic_store_n(s->used, (uint32_t)used, __ATOMIC_RELEASE);
}

/* Bytes that are in no log yet. */
static size_t log_pending(const struct sink *s)
{
    return *s->used - (s->behind ? __atomic_load_n(s->written, __ATOMIC_ACQUIRE) : 0);
}

/* Wakes the thread, and takes over its count of lost lines. */
static void log_flush_behind(struct sink *s)
{
    int reason;
    unsigned long lost = writer_lost(&s->file, &reason);
    if (lost > 0) {
        s->lost += lost;
        s->reason = reason;
    }
    if (log_pending(s) > 0)
        writer_wake();
    else
        writer_make_room(&s->file);
}

/* Writes the lines that wait. After an error other than EAGAIN they are lost. */
static void log_flush_sink(struct sink *s)
{
    int err;
    size_t used = *s->used;
    if (s->behind)
        log_flush_behind(s);
    if (used == 0 || s->behind)
        return;
    size_t done = s->fd >= 0 ? log_put(s, s->bytes, used, &err) : used;
    if (done < used && err != EAGAIN) {
        s->lost += log_count_lines(s->bytes + done, used - done);
        s->reason = err;
        done = used;
    }
    memmove(s->bytes, s->bytes + done, used - done);
    log_set_used(s, used - done);
}

static void log_drop(struct sink *s, const char *p, size_t n, int reason)
{
    unsigned long lines = log_count_lines(p, n);
    s->lost += lines > 0 ? lines : 1;
    s->reason = reason;
}

/* Chooses whether the thread writes the access log. Lines that wait go to the file before. Those
 * that a slow disk holds up are lost if the new log is no file. */
static void log_choose_writer(struct sink *s)
{
    bool may = writer_runs() && s->fd >= 0 && s->kind == SINK_FILE;
    if (may) {
        s->file.bytes = s->bytes;
        s->file.used = s->used;
        s->file.written = s->written;
        may = writer_set(&s->file, s->fd);
    }
    if (s->behind && !may && writer_take_back(&s->file, CHANGE_WAITS) > 0) {
        writer_make_room(&s->file);
        log_drop(s, s->bytes, *s->used, EAGAIN);
        log_set_used(s, 0);
    } else if (s->behind && !may) {
        writer_make_room(&s->file);
    }
    s->behind = may;
}

void log_setup(int new_error_fd, enum log_level level, int new_access_fd)
{
    threshold = level;
    log_set_fd(&errors, new_error_fd);
    log_set_fd(&accesses, new_access_fd);
    log_choose_writer(&accesses);
}

/* Makes text safe for a log; returns the bytes used of out. */
static size_t log_escape(const char *text, size_t n, char *out, size_t room)
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

/* --- the request that a line is about --- */

/* Writes a word and the text. `also`: bytes that are escaped although they can be shown. A text of
 * more than `most` bytes is cut. */
static size_t log_about_part(char *out, const char *word, struct str text, const char *also,
                             size_t most)
{
    size_t used = 0;
    if (text.n == 0)
        return 0;
    for (; *word != '\0'; word++)
        out[used++] = *word;
    size_t end = used + most;
    while (text.n > 0 && used + 4 <= end) {
        size_t shown = strchr(also, text.p[0]) != NULL ? 0 : str_shown(text.p, text.n);
        if (shown > 0)
            memcpy(out + used, text.p, shown);
        else
            snprintf(out + used, 5, "\\x%02x", (unsigned char)text.p[0]);
        used += shown > 0 ? shown : 4;
        text = str_skip(text, shown > 0 ? shown : 1);
    }
    if (text.n > 0) {
        memcpy(out + used, "...", 3);
        used += 3;
    }
    return used;
}

size_t log_about_text(const struct log_about *about, char out[LOG_ABOUT_SIZE])
{
    static const char ends[] = ",;\\\""; /* of a part; strchr finds NUL, too */
    size_t n = 0;
    n += log_about_part(out + n, "", about->method, " ,;", 64);
    n += log_about_part(out + n, n > 0 ? " " : "", about->uri, " ", 1024);
    n += log_about_part(out + n, n > 0 ? ", request " : "request ", about->id, ends, 128);
    n += log_about_part(out + n, ", host ", about->host, ends, 320);
    n += log_about_part(out + n, ", tenant ", about->tenant, ends, 160);
    out[n] = '\0';
    return n;
}

/* --- lines of the error log --- */

/* A line before an outlet has made it its own. */
struct log_line {
    enum log_level level;
    struct str text;               /* not escaped; a newline begins a further line of it */
    const struct log_about *about; /* NULL: no request */
    const char *count;             /* what a quota says at the end; "": nothing */
};

/* Bytes of the line's end: "; GET /, request ..." and the count. */
static size_t log_tail(const struct log_line *l, char out[TAIL_SIZE])
{
    size_t n = 0;
    if (l->about != NULL) {
        memcpy(out, "; ", 2);
        n = 2 + log_about_text(l->about, out + 2);
    }
    size_t count = strlen(l->count);
    memcpy(out + n, l->count, count);
    return n + count;
}

/* The line as text. The end has its place also where the text must be cut. */
static size_t log_compose(char *line, size_t size, const struct log_line *l)
{
    char tail[TAIL_SIZE];
    size_t end = log_tail(l, tail);
    time_t now = time(NULL);
    struct tm tm;
    localtime_r(&now, &tm);
    size_t used = strftime(line, 64, "%Y/%m/%d %H:%M:%S ", &tm);
    used += (size_t)snprintf(line + used, 64, "[%s] %d: ", level_names[l->level], (int)getpid());
    used += log_escape(l->text.p, l->text.n, line + used, size - used - end - 1);
    memcpy(line + used, tail, end);
    used += end;
    line[used++] = '\n';
    return used;
}

/* Queues whole lines after those that wait, while there is room; further lines are dropped. */
static void log_keep(struct sink *s, const char *p, size_t n)
{
    size_t room = s->size - *s->used, kept = n;
    if (n > room) {
        const char *end = memrchr(p, '\n', room);
        kept = end != NULL ? (size_t)(end - p) + 1 : 0;
        log_drop(s, p + kept, n - kept, EAGAIN);
    }
    memcpy(s->bytes + *s->used, p, kept);
    log_set_used(s, *s->used + kept);
}

/* Lines are written, kept or dropped. */
static void log_add(struct sink *s, const char *p, size_t n)
{
    int err = 0;
    log_flush_sink(s);
    size_t done = *s->used == 0 && s->fd >= 0 ? log_put(s, p, n, &err) : 0;
    if (done < n && (err == 0 || err == EAGAIN))
        log_keep(s, p + done, n - done);
    else if (done < n)
        log_drop(s, p + done, n - done, err);
}

static const char *log_why_lost(const struct sink *s)
{
    if (s->reason != EAGAIN)
        return strerror(s->reason);
    return s->behind ? "the disk took too long" : "nobody read them in time";
}

/* Logs the number of lost lines once there is room; at most once in SAID_EVERY seconds while lines
 * are still lost. */
static void log_say_lost(struct sink *s)
{
    static time_t said;
    char text[160], line[400];
    time_t now = time(NULL);
    bool goes_on = log_pending(s) > 0 || s->reason != EAGAIN;
    if (s->lost == 0 || *errors.used > 0 || (goes_on && now < said + SAID_EVERY))
        return;
    int n = snprintf(text, sizeof text, "lines of %s are lost: %s (%lu of this process)", s->name,
                     log_why_lost(s), s->lost);
    said = now;
    s->lost = 0;
    struct log_line l = {.level = LOG_WARN, .text = {text, (size_t)n}, .count = ""};
    log_add(&errors, line, log_compose(line, sizeof line, &l));
}

static void log_write_line(const struct log_line *l)
{
    char line[LINE_MAX_SIZE];
    log_flush_sink(&errors);
    log_say_lost(&errors);
    log_add(&errors, line, log_compose(line, sizeof line, l));
}

/* The text, cut where it does not fit. */
static size_t log_print(char *text, size_t size, const char *fmt, va_list args)
{
    int n = vsnprintf(text, size, fmt, args);
    return n < 0 ? 0 : (size_t)n < size ? (size_t)n : size - 1;
}

static time_t log_seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

static void log_list_left_out(struct log_quota *quota)
{
    if (quota->listed)
        return;
    quota->listed = true;
    quota->next = left_out;
    left_out = quota;
}

/* True where one more line may be written. */
static bool log_use_quota(struct log_quota *quota)
{
    time_t now = log_seconds_now();
    if (quota->said == 0 || now >= quota->since + SAID_EVERY) {
        quota->since = now;
        quota->said = 0;
    }
    if (quota->said == quota->most) {
        quota->left_out++;
        log_list_left_out(quota);
        return false;
    }
    quota->said++;
    return true;
}

static void log_say_quota(struct log_quota *quota, time_t now)
{
    if (quota->left_out > 0 && quota->of != NULL)
        log_write(quota->level, "%u more %s in the last %ld s were left out", quota->left_out,
                  quota->of, (long)(now - quota->since));
    else if (quota->left_out > 0)
        log_write(quota->level, "%u more lines of this kind were left out in %ld seconds: %s",
                  quota->left_out, (long)(now - quota->since), quota->like);
    quota->left_out = 0;
}

bool log_take(struct log_quota *quota)
{
    time_t now = log_seconds_now();
    if (quota->left_out > 0 && now >= quota->since + SAID_EVERY)
        log_say_quota(quota, now);
    return log_use_quota(quota);
}

bool log_left_out(void)
{
    return left_out != NULL;
}

void log_say_left_out(bool all)
{
    time_t now = log_seconds_now();
    struct log_quota **at = &left_out;
    while (*at != NULL) {
        struct log_quota *quota = *at;
        if (!all && quota->left_out > 0 && now < quota->since + SAID_EVERY) {
            at = &quota->next;
            continue;
        }
        *at = quota->next;
        quota->listed = false;
        log_say_quota(quota, now);
    }
}

void log_end_quota(struct log_quota *quota)
{
    log_say_quota(quota, log_seconds_now());
    quota->said = 0;
}

/* Drops the parent's counts, in a child. */
static void log_forget_left_out(void)
{
    for (; left_out != NULL; left_out = left_out->next) {
        left_out->left_out = 0;
        left_out->listed = false;
    }
}

void log_vabout(const struct log_about *about, struct log_quota *quota, enum log_level level,
                const char *fmt, va_list args)
{
    char text[TEXT_MAX_SIZE], count[COUNT_SIZE] = "";
    if (level < log_threshold() || (quota != NULL && !log_use_quota(quota)))
        return;
    size_t n = log_print(text, sizeof text, fmt, args);
    if (quota != NULL) {
        if (quota->left_out > 0)
            snprintf(count, sizeof count, " (and %u more since the last such line of this process)",
                     quota->left_out);
        quota->left_out = 0;
        quota->level = level;
        snprintf(quota->like, sizeof quota->like, "%.*s", (int)strcspn(text, "\n"), text);
    }
    struct log_line l = {.level = level, .text = {text, n}, .about = about, .count = count};
    log_write_line(&l);
}

void log_write(enum log_level level, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    log_vabout(NULL, NULL, level, fmt, args);
    va_end(args);
}

void log_within(struct log_quota *quota, enum log_level level, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    log_vabout(NULL, quota, level, fmt, args);
    va_end(args);
}

void log_flush(void)
{
    struct sink *all[] = {&errors, &accesses, &streams[0].sink, &streams[1].sink};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        log_flush_sink(all[i]);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        log_say_lost(all[i]);
}

bool log_waiting(void)
{
    return log_pending(&accesses) > 0 || *errors.used > 0 || streams[0].used > 0 ||
           streams[1].used > 0;
}

/* --- standard output and error --- */

static void log_own_stream(int fd)
{
    struct stream *s = &streams[fd - STDOUT_FILENO];
    struct stat st;
    char path[32];
    if (fstat(fd, &st) != 0)
        return;
    if (S_ISSOCK(st.st_mode) && pipe2(s->pipe, O_CLOEXEC | O_NONBLOCK) == 0)
        s->sink.fd = s->given = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (!S_ISFIFO(st.st_mode) && !S_ISCHR(st.st_mode))
        return;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int own = open(path, O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (own < 0)
        return;
    s->given = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    dup2(own, fd);
    close(own);
}

void log_own_streams(void)
{
    for (int i = 0; i < 2; i++) {
        log_own_stream(STDOUT_FILENO + i);
        log_set_fd(&streams[i].sink, STDOUT_FILENO + i);
    }
    log_set_fd(&errors, errors.fd);
}

void log_give_streams_back(void)
{
    for (int i = 0; i < 2; i++)
        if (streams[i].given >= 0)
            dup2(streams[i].given, STDOUT_FILENO + i);
}

int log_stream_pipe(int i)
{
    return streams[i].pipe[0];
}

void log_pass_stream(int i)
{
    static char bytes[PRINT_SIZE];
    ssize_t n = streams[i].pipe[0] < 0 ? 0 : read(streams[i].pipe[0], bytes, sizeof bytes);
    if (n > 0)
        log_add(&streams[i].sink, bytes, (size_t)n);
}

static ssize_t log_on_print(void *cookie, const char *bytes, size_t n)
{
    log_add(cookie, bytes, n);
    return (ssize_t)n;
}

/* Lua's io library takes the streams that it finds when a state is made. */
static void log_replace_streams(void)
{
    const cookie_io_functions_t functions = {.write = log_on_print};
    FILE *out = fopencookie(&streams[0].sink, "w", functions);
    FILE *err = fopencookie(&streams[1].sink, "w", functions);
    if (out == NULL || err == NULL)
        abort();
    fflush(stdout);
    setvbuf(out, NULL, _IOLBF, BUFSIZ);
    setvbuf(err, NULL, _IONBF, 0);
    stdout = out;
    stderr = err;
}

void log_capture_streams(void)
{
    struct sink *all[] = {&errors, &accesses, &streams[0].sink, &streams[1].sink};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        log_set_used(all[i], 0);
        all[i]->lost = 0;
    }
    log_forget_left_out();
    for (int i = 0; i < 2; i++) {
        struct stream *s = &streams[i];
        if (s->pipe[1] < 0)
            continue;
        dup2(s->pipe[1], STDOUT_FILENO + i);
        close(s->pipe[0]);
        close(s->pipe[1]);
        s->pipe[0] = s->pipe[1] = -1;
    }
    log_replace_streams();
}

/* --- the access log --- */

char *log_access_reserve(size_t n)
{
    if (accesses.fd < 0 || n > accesses.size)
        return NULL;
    if (n > accesses.size - *accesses.used)
        log_flush();
    if (n > accesses.size - *accesses.used && accesses.behind)
        writer_make_room(&accesses.file);
    if (n <= accesses.size - *accesses.used)
        return accesses.bytes + *accesses.used;
    log_drop(&accesses, "", 0, EAGAIN);
    return NULL;
}

void log_access_commit(size_t n)
{
    size_t before = log_pending(&accesses);
    log_set_used(&accesses, *accesses.used + n);
    /* A log that takes no bytes is not tried at each line; the timer tries it again. */
    if (before < ACCESS_FLUSH_FROM && before + n >= ACCESS_FLUSH_FROM)
        log_flush();
}

void log_access(struct str line)
{
    bool cut = line.n > LINE_MAX_SIZE;
    size_t n = cut ? LINE_MAX_SIZE : line.n;
    char *room = log_access_reserve(n);
    if (room == NULL)
        return;
    memcpy(room, line.p, n);
    if (cut)
        room[n - 1] = '\n';
    log_access_commit(n);
}

void log_keep_in(struct log_lines *lines)
{
    log_flush_sink(&accesses);
    accesses.bytes = lines->bytes;
    accesses.used = &lines->used;
    accesses.written = &lines->written;
    log_set_used(&accesses, 0);
    __atomic_store_n(accesses.written, 0, __ATOMIC_RELEASE);
}

void log_write_behind(void)
{
    if (writer_start())
        log_choose_writer(&accesses);
}

void log_end(void)
{
    log_flush();
    if (accesses.behind && writer_drain(END_WAITS))
        log_flush();
}

void log_rescue(struct log_lines *lines)
{
    uint32_t used = __atomic_exchange_n(&lines->used, 0, __ATOMIC_ACQUIRE);
    uint32_t from = __atomic_exchange_n(&lines->written, 0, __ATOMIC_ACQUIRE);
    if (used > LOG_ACCESS_SIZE || from > used)
        return;
    const char *bytes = lines->bytes + from;
    used -= from;
    while (used > 0 && bytes[used - 1] != '\n')
        used--;
    if (used == 0)
        return;
    char *room = log_access_reserve(used);
    if (room == NULL) {
        accesses.lost += accesses.fd >= 0 ? log_count_lines(bytes, used) : 0;
        return;
    }
    memcpy(room, bytes, used);
    log_access_commit(used);
}
