/*
 * log - the error log, a line at a time, and the access log, many lines at a time.
 *
 * Both are file descriptors that the master opened before it gave up its privileges; workers
 * inherit them. The access log collects lines and writes them together: once a buffer is full and
 * at the latest when the worker's timer calls log_flush.
 *
 * No write waits for a reader. What a pipe, a terminal or a socket does not take at once is kept,
 * up to a bound; what comes beyond it is dropped and counted, and the count is a line of its own
 * once there is room again. Only a disk can make a write take long.
 */
#ifndef MG_BASE_LOG_H
#define MG_BASE_LOG_H

#include "base/str.h"

#include <time.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

/* -1 where the name is none of: debug info warn error. */
int log_level_parse(const char *name);

/* Opens pipes and terminals of standard output and error again, as non-blocking descriptions: the
 * process that started this one shares the old descriptions, which must not change. For sockets,
 * which can't be opened again, see log_take_prints. Once, in the master. */
void log_own_streams(void);
/* In a child that runs another program: gives it the inherited standard output and error. */
void log_give_streams_back(void);

/* In a child of the master that runs scripts, before it makes a Lua state: what print, io.write and
 * io.stderr write, and what libraries print, is handled like the lines of a log. What the parent
 * has not written yet is the parent's to write, and what it has left out is the parent's to say. */
void log_take_prints(void);
/* For the master, where stream i (0: standard output, 1: error) is a socket: the pipe that its
 * children have in its place, to be polled, and what passes on what came; else -1. */
int log_stream_pipe(int i);
void log_pass_stream(int i);

/* Where the lines go. The descriptors stay the caller's. access_fd -1: no access log. */
void log_setup(int error_fd, enum log_level level, int access_fd);
enum log_level log_threshold(void);

/* One line: time, level, pid, text. Control bytes of the text are escaped, so that no client can
 * forge a line of the log; newlines go to lines that start with a tab. */
void log_write(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__)
#define log_info(...)  log_write(LOG_INFO, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)

/* A limit for lines of one kind, which a client, a backend or a script can cause as often as it
 * likes: `most` of them in ten seconds are written, the others counted. The next line that is
 * written has the count; where none comes, log_say_left_out writes it. All members but `most` begin
 * as 0; a quota lives as long as the process. */
#define LOG_MOST 100 /* of lines that name a request */

struct log_quota {
    unsigned most;
    unsigned said, left_out;
    time_t since;
    enum log_level level;
    char like[200]; /* how the line that was written last begins */
    struct log_quota *next;
    bool listed; /* among those that have left lines out */
};
void log_within(struct log_quota *quota, enum log_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* True while there are counts to say: call log_say_left_out once a second. */
bool log_left_out(void);
/* Says the counts of those whose ten seconds are over; all: of all, before the process ends. */
void log_say_left_out(bool all);
/* Says the count of this one, before it is used for lines of another kind, and begins anew. */
void log_end_quota(struct log_quota *quota);

/* Adds a line (with its newline) to the access log's buffer. */
void log_access(struct str line);
/* True while lines of either log wait: flush them soon. */
bool log_waiting(void);
/* Writes waiting lines, as many as the descriptors take. A full disk or a pipe without a reader
 * loses lines, never a request. */
void log_flush(void);

/* Room for one more access line of up to n bytes in the buffer itself, or NULL when there is no
 * access log, or no room (that is counted). Commit with log_access_commit; saves the copy. */
char *log_access_reserve(size_t n);
void log_access_commit(size_t n);

#define LOG_ACCESS_SIZE (128u << 10)

/* Where access lines wait. In shared memory they outlive the process: the master writes them. */
struct log_lines {
    uint32_t used;
    char bytes[LOG_ACCESS_SIZE];
};

/* From now on access lines wait there. */
void log_keep_in(struct log_lines *lines);
/* Adds the whole lines of a process that has ended to this process's buffer. Every size in that
 * memory is checked first. */
void log_rescue(struct log_lines *lines);

#endif
