/*
 * log - the error log, written line by line, and the access log, written many lines at a time.
 *
 * Both are file descriptors that the master opened before it gave up its privileges; workers
 * inherit them. The access log collects lines and writes them together: when the buffer is full, or
 * when the worker's timer calls log_flush.
 *
 * No write waits for a reader. Lines that a pipe, a terminal or a socket does not take at once are
 * kept, up to a bound; further lines are dropped and counted, and the count is logged once there is
 * room again. A worker and the master do not wait for a slow disk either: a thread writes to files
 * (base/writer). A line of the error log, and what is printed, is in its file when the call
 * returns, unless the disk takes longer than a moment; until the disk has caught up, no further
 * line is waited for. Access lines are not waited for at all.
 * Of a log that is sent as datagrams (base/datagram) each line is sent at once.
 */
#ifndef MG_BASE_LOG_H
#define MG_BASE_LOG_H

#include "base/str.h"

#include <stdarg.h>
#include <time.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

/* The level of that name: debug, info, warn or error; -1: another name. */
int log_level_parse(const char *name);
const char *log_level_name(enum log_level level);

/* Opens pipes and terminals of standard output and error again, as non-blocking descriptions, since
 * the process that started this one shares the old descriptions. Sockets can't be opened again;
 * log_capture_streams replaces them. Called once, in the master. */
void log_own_streams(void);
/* In a child that executes another program: restores the inherited standard output and error. */
void log_give_streams_back(void);

/* In a child of the master that runs scripts, before it makes a Lua state: the output of print,
 * io.write, io.stderr and of libraries is handled like the lines of a log. Lines and counts that
 * the parent has not written yet are left to the parent. */
void log_capture_streams(void);
/* In the master, where stream i (0: standard output, 1: error) is a socket: log_stream_pipe is the
 * pipe that children write to in its place, which the master polls (else -1), and log_pass_stream
 * passes their output on. */
int log_stream_pipe(int i);
void log_pass_stream(int i);

/* Sets the descriptors of both logs, which the caller keeps, and their targets as a loader reports
 * them. access_fd -1: no access log. Lines that wait for an earlier descriptor go to this one,
 * unless these are datagrams of another form. */
void log_setup(int error_fd, const char *error, enum log_level level, int access_fd,
               const char *access);
/* The level below which no line is written: that of an order, else that of log_setup. */
enum log_level log_threshold(void);
/* That of log_setup. */
enum log_level log_level_set(void);

/* A level that an operator has ordered at run time. It lies in memory that all processes of an
 * instance share, so that a new one holds at once, and what is read there is checked. 0: none. */
typedef uint64_t log_order;
/* The order for a level that ends after so many seconds; 0: it does not end by itself. */
log_order log_order_of(enum log_level level, double seconds);
/* From now on this process, and those that it forks, heed what lies there; NULL: no order. */
void log_heed(const log_order *order);
/* The level of an order that has not ended, and the seconds until then (0: no end). False: there is
 * none. */
bool log_ordered(enum log_level *level, double *left);

/* Writes a line: time, level, pid, text. Control bytes of the text are escaped, so that no client
 * can forge a line; after a newline the text continues on a line that starts with a tab. */
void log_write(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The request that a line is about, for the outlets of the error log: one of plain text ends the
 * line in it, one with fields takes the members. Method, URI, host and id are what the client has
 * sent, and each outlet escapes them in its own way. Member of no bytes: not known. */
struct log_about {
    struct str method, uri;
    struct str id, host, tenant;
    char hex[17]; /* room for an id */
};

#define LOG_ABOUT_SIZE 2000
/* Writes "GET /cart.php, request 0123456789abcdef, host shop.example, tenant shop", of what is
 * known. Bytes that could end the line, or a part of it, are escaped, and long parts are cut.
 * Allocates nothing and takes no lock: a handler of a signal may call it. Returns the length; out
 * ends in NUL. */
size_t log_about_text(const struct log_about *about, char out[LOG_ABOUT_SIZE]);

#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__)
#define log_info(...)  log_write(LOG_INFO, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)

/* A limit for lines of one kind, which a client, a backend or a script can cause as often as it
 * likes: `most` of them in ten seconds are written, the others counted. The next line of the kind
 * has the count; without such a line log_say_left_out writes it. All members but `most` begin as 0
 * (with `of`, `level` is set, too); a quota lives as long as the process. */
#define LOG_MOST 100 /* `most` for lines that name a request */

struct log_quota {
    unsigned most;
    const char *of; /* "messages of /srv/x.php": what it counts; NULL: the line of `like` says it */
    unsigned said, left_out;
    time_t since;
    enum log_level level;
    char like[200]; /* beginning of the last line that was written */
    struct log_quota *next;
    bool listed; /* in the list of quotas that have left lines out */
};
void log_within(struct log_quota *quota, enum log_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Writes a line about a request. NULL for `about`: about none; for `quota`: without a limit. */
void log_vabout(const struct log_about *about, struct log_quota *quota, enum log_level level,
                const char *fmt, va_list args) __attribute__((format(printf, 4, 0)));

/* Takes one line from a quota with `of`. False: there is none left, and the line is counted. A
 * count of an earlier time is logged first. */
bool log_take(struct log_quota *quota);

/* True while there are counts to log: the caller calls log_say_left_out once a second. */
bool log_left_out(void);
/* Logs the counts of quotas whose ten seconds are over; `all`: of all quotas, before the process
 * ends. */
void log_say_left_out(bool all);
/* Logs the quota's count and resets it, before it is used for lines of another kind. */
void log_end_quota(struct log_quota *quota);

/* True while lines of either log wait to be flushed. */
bool log_waiting(void);
/* Writes waiting lines, as many as the descriptors take. A full disk or a pipe without a reader
 * loses lines, never a request. */
void log_flush(void);

/* Room for one more access line of up to n bytes in the buffer itself, or NULL when there is no
 * access log, or no room (that is counted). Commit with log_access_commit; saves the copy. */
char *log_access_reserve(size_t n);
/* The line has n bytes, its newline among them; 0: it is dropped. `fields`: bytes of fields for the
 * journal (access_journal) in place of the newline and behind it; n and they fit into the room. */
void log_access_commit(size_t n, size_t fields);
/* True where the access log goes to the journal, which takes fields beside a line's text. */
bool log_access_has_fields(void);

#define LOG_ACCESS_SIZE (128u << 10)

#define LOG_ERROR_SIZE (64u << 10)

/* The lines of a log that wait. */
struct log_marks {
    uint32_t used;
    uint32_t written; /* bytes at the beginning that are in the log already */
    uint32_t form;    /* enum datagram_form of the lines */
};

/* The buffers of both logs. In shared memory they outlive the process, and the master writes their
 * lines that are not written yet. */
struct log_lines {
    struct log_marks access, error;
    char access_bytes[LOG_ACCESS_SIZE];
    char error_bytes[LOG_ERROR_SIZE];
};

/* Sets the buffers of both logs. */
void log_keep_in(struct log_lines *lines);
/* From now on a thread of this process writes to logs, and to standard output and error, where
 * these are files. Without a thread they are written as before. Called once, when the process has
 * its final user; a child of fork(2) has no thread, and calls it for itself. */
void log_write_behind(void);
/* Flushes the logs, and waits for the thread, but no longer than some seconds: lines that the disk
 * has not taken then stay in the buffer. Before the end of the process. */
void log_end(void);
/* Adds the whole lines of a process that has ended to this process's logs. Every size in that
 * memory is checked first. */
void log_rescue(struct log_lines *lines);

#endif
