/*
 * log - the error log, a line at a time, and the access log, many lines at a time.
 *
 * Both are file descriptors that the master opened before it gave up its privileges; workers
 * inherit them. The access log collects lines and writes them together: once a buffer is full and
 * at the latest when the worker's timer calls log_access_flush.
 */
#ifndef MG_LOG_H
#define MG_LOG_H

#include "str.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

/* -1 where the name is none of: debug info warn error. */
int log_level_parse(const char *name);

/* Where the lines go. The descriptors stay the caller's. access_fd -1: no access log. */
void log_setup(int error_fd, enum log_level level, int access_fd);
enum log_level log_threshold(void);

/* One line: time, level, pid, text. Control bytes of the text are escaped, so that nobody can write
 * a line of their own into the log; newlines go to lines that start with a tab. */
void log_write(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__)
#define log_info(...)  log_write(LOG_INFO, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)

/* Adds a line (with its newline) to the access log's buffer. */
void log_access(struct str line);
/* True while lines wait: flush them soon. */
bool log_access_waiting(void);
/* Writes what waits. A full disk or a closed pipe loses lines, never a request. */
void log_access_flush(void);

/* Room for one more access line of up to n bytes in the buffer itself, or NULL when there is no
 * access log. Commit with log_access_commit; saves the copy. */
char *log_access_reserve(size_t n);
void log_access_commit(size_t n);

#endif
