/* log - see log.h. One log a process: its state is this file's. */
#include "base/log.h"

#include "base/line.h"
#include "base/outlet.h"
#include "base/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEXT_MAX_SIZE     (LINE_SIZE / 2)
#define PRINT_SIZE        65536 /* bytes that may wait for each of the standard streams */
#define ACCESS_FLUSH_FROM 32768
#define AGAIN_ABSENT      200 /* milliseconds until an absent receiver of datagrams is tried again */
#define AGAIN_FULL        1   /* and one that has no room */
#define SAID_EVERY        10  /* seconds between two lines about lost lines, and of a quota */
#define LINE_WAITS        0.2 /* seconds that a line on a slow disk has; then no further one waits */
#define CHANGE_WAITS      1 /* seconds that a log on a slow disk has, before another takes its place */
#define END_WAITS         5 /* and before the process ends */

/* A log: its outlet, and the lines that it has not been written yet. */
struct sink {
    struct outlet out;
    struct log_marks *marks;
    char *bytes;
    size_t size;
    bool behind; /* the thread writes it: `file` */
    bool late;   /* the disk has taken too long for a line, and has not caught up since */
    struct writer_file file;
    size_t head;        /* bytes before the text of the line that is being written */
    uint64_t again;     /* milliseconds: no datagram is tried before */
    int obstacle;       /* errno of the last datagram that was tried; 0: none */
    unsigned long lost; /* lines lost since the last line about them */
    int reason;         /* errno of the last lost line */
    const char *name;
};

static struct log_lines own_lines;
static struct sink errors = {.out = {.fd = STDERR_FILENO},
                             .marks = &own_lines.error,
                             .bytes = own_lines.error_bytes,
                             .size = LOG_ERROR_SIZE,
                             .name = "the error log"};
static struct sink accesses = {.out = {.fd = -1},
                               .marks = &own_lines.access,
                               .bytes = own_lines.access_bytes,
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
    struct log_marks marks;
    char bytes[PRINT_SIZE];
} streams[2] = {
    {.given = -1,
     .pipe = {-1, -1},
     .sink = {.out = {.fd = STDOUT_FILENO},
              .marks = &streams[0].marks,
              .bytes = streams[0].bytes,
              .size = PRINT_SIZE,
              .name = "standard output"}},
    {.given = -1,
     .pipe = {-1, -1},
     .sink = {.out = {.fd = STDERR_FILENO},
              .marks = &streams[1].marks,
              .bytes = streams[1].bytes,
              .size = PRINT_SIZE,
              .name = "standard error"}},
};

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

static void log_set_outlet(struct sink *s, int fd, const char *target)
{
    if (fd == STDOUT_FILENO || fd == STDERR_FILENO)
        fd = streams[fd - STDOUT_FILENO].sink.out.fd;
    outlet_set(&s->out, fd, target);
    s->again = 0;
    s->obstacle = 0;
}

static void log_set_used(const struct sink *s, size_t used)
{
    __atomic_store_n(&s->marks->used, (uint32_t)used, __ATOMIC_RELEASE);
}

/* Bytes that are in no log yet. */
static size_t log_pending(const struct sink *s)
{
    return s->marks->used - (s->behind ? __atomic_load_n(&s->marks->written, __ATOMIC_ACQUIRE) : 0);
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
    if (log_pending(s) > 0) {
        writer_wake();
    } else {
        writer_make_room(&s->file);
        s->late = false;
    }
}

/* Writes what the outlet takes now. A receiver of datagrams that is not there may come back, so its
 * lines wait as for one that has no room, but it is not asked for each line. */
static size_t log_try(struct sink *s, const char *p, size_t n, int *err)
{
    size_t done = outlet_put(&s->out, p, n, err);
    if (s->out.kind != OUTLET_DATAGRAM)
        return done;
    s->obstacle = *err;
    if (*err != 0) {
        s->again = log_milliseconds_now() + (*err == EAGAIN ? AGAIN_FULL : AGAIN_ABSENT);
        *err = EAGAIN;
    }
    return done;
}

/* Writes the lines that wait. After an error other than EAGAIN they are lost. */
static void log_flush_sink(struct sink *s)
{
    int err;
    size_t used = s->marks->used;
    if (s->behind)
        log_flush_behind(s);
    if (used == 0 || s->behind || (s->obstacle != 0 && log_milliseconds_now() < s->again))
        return;
    size_t done = s->out.fd >= 0 ? log_try(s, s->bytes, used, &err) : used;
    if (done < used && err != EAGAIN) {
        s->lost += outlet_count(s->bytes + done, used - done);
        s->reason = err;
        done = used;
    }
    if (done > 0)
        memmove(s->bytes, s->bytes + done, used - done);
    log_set_used(s, used - done);
}

static void log_drop(struct sink *s, const char *p, size_t n, int reason)
{
    unsigned long lines = outlet_count(p, n);
    s->lost += lines > 0 ? lines : 1;
    s->reason = reason == EAGAIN && s->obstacle != 0 ? s->obstacle : reason;
}

/* Chooses whether the thread writes the log. Lines that wait go to the file before. Those
 * that a slow disk holds up are lost if the new log is no file. */
static void log_choose_writer(struct sink *s)
{
    bool may = writer_runs() && s->out.fd >= 0 && s->out.kind == OUTLET_FILE;
    if (may) {
        s->file.bytes = s->bytes;
        s->file.used = &s->marks->used;
        s->file.written = &s->marks->written;
        may = writer_set(&s->file, s->out.fd);
    }
    if (s->behind && !may && writer_take_back(&s->file, CHANGE_WAITS) > 0) {
        writer_make_room(&s->file);
        log_drop(s, s->bytes, s->marks->used, EAGAIN);
        log_set_used(s, 0);
    } else if (s->behind && !may) {
        writer_make_room(&s->file);
    }
    s->behind = may;
}

/* Lines that wait in another form than the outlet's are lost: nobody would understand them. */
static void log_choose_form(struct sink *s)
{
    uint32_t form = s->out.to.form;
    if (s->marks->form != form && s->marks->used > 0) {
        log_drop(s, s->bytes, s->marks->used, EAGAIN);
        log_set_used(s, 0);
    }
    s->marks->form = form;
}

void log_setup(int error_fd, const char *error, enum log_level level, int access_fd,
               const char *access)
{
    threshold = level;
    log_set_outlet(&errors, error_fd, error);
    log_set_outlet(&accesses, access_fd, access);
    struct sink *both[] = {&errors, &accesses};
    for (int i = 0; i < 2; i++) {
        if (!both[i]->behind) /* else the file gets the lines that wait */
            log_choose_form(both[i]);
        log_choose_writer(both[i]);
        log_choose_form(both[i]);
    }
}

/* --- lines that wait --- */

/* Queues whole lines after those that wait, while there is room; further lines are dropped. */
static void log_keep(struct sink *s, const char *p, size_t n)
{
    size_t room = s->size - s->marks->used, kept = n;
    if (n > room) {
        const char *end = memrchr(p, '\n', room);
        kept = end != NULL ? (size_t)(end - p) + 1 : 0;
        log_drop(s, p + kept, n - kept, EAGAIN);
    }
    memcpy(s->bytes + s->marks->used, p, kept);
    log_set_used(s, s->marks->used + kept);
}

/* Hands lines to the thread, and waits until they are written unless the disk is known to be slow.
 * So a line is in its file before what the process does next, which may be its end. */
static void log_add_behind(struct sink *s, const char *p, size_t n)
{
    if (n > s->size - s->marks->used)
        writer_make_room(&s->file);
    log_keep(s, p, n);
    if (s->late)
        writer_wake();
    else
        s->late = !writer_wait(&s->file, LINE_WAITS);
}

/* Lines are written, kept or dropped. */
static void log_add(struct sink *s, const char *p, size_t n)
{
    int err = 0;
    log_flush_sink(s);
    if (s->behind) {
        log_add_behind(s, p, n);
        return;
    }
    size_t done = s->marks->used == 0 && s->out.fd >= 0 ? log_try(s, p, n, &err) : 0;
    if (done < n && (err == 0 || err == EAGAIN))
        log_keep(s, p + done, n - done);
    else if (done < n)
        log_drop(s, p + done, n - done, err);
}

static const char *log_why_lost(const struct sink *s)
{
    static char text[160];
    char to[ADDR_TEXT_SIZE];
    if (s->reason != EAGAIN && s->out.kind == OUTLET_DATAGRAM) {
        snprintf(text, sizeof text, "%s: %s", addr_text(&s->out.to.to, to), strerror(s->reason));
        return text;
    }
    if (s->reason != EAGAIN)
        return strerror(s->reason);
    return s->behind ? "the disk took too long" : "nobody read them in time";
}

/* Logs the number of lost lines once there is room; at most once in SAID_EVERY seconds while lines
 * are still lost. */
static void log_say_lost(struct sink *s)
{
    static time_t said;
    char text[320], line[LINE_SIZE];
    time_t now = time(NULL);
    bool is_full = s->reason == EAGAIN || s->out.kind == OUTLET_DATAGRAM;
    bool goes_on = log_pending(s) > 0 || !is_full || s->obstacle != 0;
    if (s->lost == 0 || log_pending(&errors) > 0 || (goes_on && now < said + SAID_EVERY))
        return;
    int n = snprintf(text, sizeof text, "lines of %s are lost: %s (%lu of this process)", s->name,
                     log_why_lost(s), s->lost);
    said = now;
    s->lost = 0;
    struct log_line l = {.level = LOG_WARN, .text = {text, (size_t)n}, .count = ""};
    log_add(&errors, line, line_render(&errors.out, &l, line));
}

static void log_write_line(const struct log_line *l)
{
    char line[LINE_SIZE];
    log_flush_sink(&errors);
    log_say_lost(&errors);
    log_add(&errors, line, line_render(&errors.out, l, line));
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
    char text[TEXT_MAX_SIZE], count[LINE_COUNT_SIZE] = "";
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
    return log_pending(&accesses) > 0 || log_pending(&errors) > 0 ||
           log_pending(&streams[0].sink) > 0 || log_pending(&streams[1].sink) > 0;
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
        s->sink.out.fd = s->given = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
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
        log_set_outlet(&streams[i].sink, STDOUT_FILENO + i, "");
    }
    log_set_outlet(&errors, errors.out.fd, "");
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

static bool log_access_is_datagram(void)
{
    return accesses.out.kind == OUTLET_DATAGRAM;
}

/* Room for n more bytes, or NULL. */
static char *log_access_room(size_t n)
{
    if (accesses.out.fd < 0 || n > accesses.size)
        return NULL;
    if (n > accesses.size - accesses.marks->used)
        log_flush();
    if (n > accesses.size - accesses.marks->used && accesses.behind)
        writer_make_room(&accesses.file);
    if (n <= accesses.size - accesses.marks->used)
        return accesses.bytes + accesses.marks->used;
    log_drop(&accesses, "", 0, EAGAIN);
    return NULL;
}

/* n more bytes are in the buffer. A log that takes no bytes is not tried at each line; the timer
 * tries it again. A datagram can't have several lines, so each of them is sent at once. */
static void log_access_added(size_t n)
{
    size_t before = log_pending(&accesses);
    log_set_used(&accesses, accesses.marks->used + n);
    if (log_access_is_datagram())
        log_flush_sink(&accesses);
    else if (before < ACCESS_FLUSH_FROM && before + n >= ACCESS_FLUSH_FROM)
        log_flush();
}

char *log_access_reserve(size_t n)
{
    char head[DATAGRAM_HEAD];
    const struct datagram *to = &accesses.out.to;
    accesses.head = log_access_is_datagram() ? datagram_head(to, to->severity, head) : 0;
    char *room = log_access_room(accesses.head + n);
    if (room == NULL)
        return NULL;
    memcpy(room, head, accesses.head);
    return room + accesses.head;
}

void log_access_commit(size_t n, size_t fields)
{
    char *line = accesses.bytes + accesses.marks->used;
    if (n > 0 && log_access_is_datagram()) {
        datagram_clean(line + accesses.head, n - 1);
        n += accesses.head + fields;
        if (accesses.out.to.form == DATAGRAM_SYSLOG && n > DATAGRAM_MOST + 1)
            n = DATAGRAM_MOST + 1;
        line[n - 1] = '\n';
    }
    log_access_added(n);
}

bool log_access_has_fields(void)
{
    return accesses.out.to.form == DATAGRAM_JOURNAL;
}

static void log_keep_sink(struct sink *s, struct log_marks *marks, char *bytes)
{
    log_flush_sink(s);
    *marks = (struct log_marks){.form = s->marks->form};
    s->marks = marks;
    s->bytes = bytes;
}

void log_keep_in(struct log_lines *lines)
{
    log_keep_sink(&errors, &lines->error, lines->error_bytes);
    log_keep_sink(&accesses, &lines->access, lines->access_bytes);
}

/* In a child of a process with a thread: it writes its own lines itself. What waits is the
 * parent's, also where it is in shared memory. */
static void log_in_child(void)
{
    struct sink *all[] = {&errors, &accesses, &streams[0].sink, &streams[1].sink};
    struct log_marks *own[] = {&own_lines.error, &own_lines.access, &streams[0].marks,
                               &streams[1].marks};
    errors.bytes = own_lines.error_bytes;
    accesses.bytes = own_lines.access_bytes;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        *own[i] = (struct log_marks){.form = all[i]->marks->form};
        all[i]->marks = own[i];
        all[i]->behind = all[i]->late = false;
    }
}

void log_write_behind(void)
{
    static bool handled; /* children inherit the handler */
    struct sink *all[] = {&errors, &accesses, &streams[0].sink, &streams[1].sink};
    if (!writer_start() || (!handled && pthread_atfork(NULL, NULL, log_in_child) != 0))
        return;
    handled = true;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        log_choose_writer(all[i]);
}

void log_end(void)
{
    errors.again = accesses.again = 0; /* the last look for an absent receiver */
    log_flush();
    if (writer_runs() && writer_drain(END_WAITS))
        log_flush();
}

/* The whole lines that a process has left; its sizes may be anything. Empties the buffer. */
static struct str log_take_lines(struct log_marks *marks, const char *bytes, size_t size)
{
    uint32_t used = __atomic_exchange_n(&marks->used, 0, __ATOMIC_ACQUIRE);
    uint32_t from = __atomic_exchange_n(&marks->written, 0, __ATOMIC_ACQUIRE);
    if (used > size || from > used)
        return STR_NONE;
    const char *end = used > from ? memrchr(bytes + from, '\n', used - from) : NULL;
    return end == NULL ? STR_NONE : (struct str){bytes + from, (size_t)(end - bytes) + 1 - from};
}

static void log_rescue_access(struct str lines)
{
    char *room = log_access_room(lines.n);
    if (room == NULL) {
        accesses.lost += accesses.out.fd >= 0 ? outlet_count(lines.p, lines.n) : 0;
        return;
    }
    memcpy(room, lines.p, lines.n);
    log_access_added(lines.n);
}

void log_rescue(struct log_lines *lines)
{
    struct str error = log_take_lines(&lines->error, lines->error_bytes, LOG_ERROR_SIZE);
    struct str access = log_take_lines(&lines->access, lines->access_bytes, LOG_ACCESS_SIZE);
    if (error.n > 0 && lines->error.form == errors.marks->form)
        log_add(&errors, error.p, error.n);
    else if (error.n > 0)
        log_drop(&errors, error.p, error.n, EAGAIN);
    if (access.n > 0 && lines->access.form == accesses.marks->form)
        log_rescue_access(access);
    else if (access.n > 0)
        log_drop(&accesses, access.p, access.n, EAGAIN);
}
