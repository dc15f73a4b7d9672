/*
 * file - a static reply: finds the file of a decision, checks whether it may be served, and makes
 * the head.
 *
 * The file is opened beneath its root (lookup.h), or taken from the cache (filecache.h). Scripts,
 * dotfiles and editors' backups are never served. No libev, no socket: the front sends the
 * descriptor. Contract sections 7 and 11; RFC 9110 §8.8, §13, §14.
 */
#ifndef MG_HTTP_FILE_H
#define MG_HTTP_FILE_H

#include "http/request.h"

/* The file that file_open has found. */
struct file {
    struct file_source *source;      /* the request's; NULL when there is nothing to send */
    const struct file_piece *pieces; /* the parts that are the body; in the request's arena */
    unsigned piece_count;
};

/* Fills req->response for its DECISION_FILE. Returns the status: 200 or 206 with file->source, 204
 * (OPTIONS), 304, 301 to a folder's slash, or 403, 404, 405, 412, 416 and 500, for which the caller
 * makes the error page, keeping the headers of req->response; *reason is the reason for the log. */
int file_open(struct request *req, struct file *file, const char **reason);

struct cached_file;

/* Answers with content that is no file of a decision: a response with status and headers in
 * req->response, whose body begins at `at` of own->source, which req->file has. Conditions and
 * ranges count where its status is 200. Returns the status, as file_open does; a 412 or 416 is not
 * in req->response. */
int file_answer_held(struct request *req, const struct cached_file *own, uint64_t at,
                     struct file *file, const char **reason);

/* Opens the file of a filter's decision (`data`, or the request's path, below the root) into
 * req->data; a file that may not be served is refused. Returns 200, or 403, 404 or 500, and
 * *reason. */
int file_open_data(struct request *req, const struct backend_settings *backend,
                   const char **reason);

/* The reason why a file of that name is not served under the decision (its `scripts` and
 * `sources`); NULL: it may be served. */
const char *file_refused(struct str path, const struct decision *d);

/* Checks the file that a symlink at root + path leads to; NULL: no symlink in the path, or it may
 * be served. */
const char *file_refused_link(struct str root, struct str path, const struct str *within,
                              unsigned count, const struct decision *d);

#endif
