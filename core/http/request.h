/*
 * request - plain data of one exchange: what was asked, what was decided, what is answered.
 *
 * Written by the front (h1) and by script (the decision), read by everybody; no I/O, no libev, no
 * Lua. It lives inside struct exchange, its strings in its own arena, which is dropped with it.
 */
#ifndef MG_HTTP_REQUEST_H
#define MG_HTTP_REQUEST_H

#include "base/addr.h"
#include "base/arena.h"
#include "base/spool.h"
#include "http/settings.h"
#include "http/uri.h"

/* Headers that the core itself looks at. */
enum header_id {
    HEADER_OTHER,
    HEADER_AUTHORIZATION,
    HEADER_CONNECTION,
    HEADER_CONTENT_LENGTH,
    HEADER_CONTENT_TYPE,
    HEADER_COOKIE,
    HEADER_DATE,
    HEADER_ETAG,
    HEADER_EXPECT,
    HEADER_HOST,
    HEADER_IF_MATCH,
    HEADER_IF_MODIFIED_SINCE,
    HEADER_IF_NONE_MATCH,
    HEADER_IF_RANGE,
    HEADER_IF_UNMODIFIED_SINCE,
    HEADER_KEEP_ALIVE,
    HEADER_LAST_MODIFIED,
    HEADER_LOCATION,
    HEADER_PROXY, /* Proxy and Proxy-*: httpoxy, and hop by hop */
    HEADER_RANGE,
    HEADER_REFERER,
    HEADER_SERVER,
    HEADER_STATUS,
    HEADER_TE,
    HEADER_TRAILER,
    HEADER_TRANSFER_ENCODING,
    HEADER_UPGRADE,
    HEADER_USER_AGENT,
};

struct header {
    struct str name;
    struct str value;
    uint8_t id;    /* enum header_id */
    bool hop;      /* between two neighbours only: never forwarded */
    bool odd;      /* a name with other characters than letters, digits and '-' */
    bool dropped;  /* such a name, and not one of limits.header_names: shown to no application */
    bool repeated; /* the first of several with this name */
    bool again;    /* one of the others */
    struct str joined; /* values of all headers of this name, once they were asked for */
};

struct headers {
    struct header *list;
    unsigned count;
    unsigned room;
};

/* As the client speaks it; in order, so that they can be compared. */
enum http_version { HTTP_1_0 = 10, HTTP_1_1 = 11 };

enum { BODY_NONE = -1, BODY_UNKNOWN = -2 };

enum method { METHOD_OTHER, METHOD_GET, METHOD_HEAD, METHOD_OPTIONS, METHOD_PUT, METHOD_DELETE };

/* A param that a decision sets (value) or takes away (value.p == NULL). */
struct param {
    struct str name;
    struct str value;
};

struct params {
    struct param *list;
    unsigned count;
    unsigned room;
};

/* What an application is asked to be (FastCGI §6). */
enum fcgi_role { FCGI_RESPONDER = 1, FCGI_AUTHORIZER = 2, FCGI_FILTER = 3 };

enum decision_kind {
    DECISION_NONE,
    DECISION_FASTCGI,
    DECISION_FILE,
    DECISION_REPLY,
    DECISION_CLOSE
};

/* What on_request answered. Strings lie in the request's arena; n = 0 where a key is absent. */
struct decision {
    enum decision_kind kind;
    /* FastCGI */
    unsigned backend; /* its place in settings.backends */
    struct str root, docroot, strip;
    struct str script, path_info, script_filename;
    bool script_named; /* the hook named the script, and not the request's path */
    struct str server, tenant, hash_key;
    struct str ini; /* PHP_VALUE; n = 0: the backend's */
    const struct internal_path *internal;
    unsigned internal_count;
    struct params params;
    double connect_timeout, send_timeout, first_byte_timeout, read_timeout; /* 0: the backend's */
    unsigned attempts;                                                      /* 0: the backend's */
    bool stream_body;              /* request_buffering = false */
    bool unbuffered;               /* response_buffering = false */
    bool intercept;                /* intercept_errors: all from 400 on, or those of the list */
    const struct str *early_hints; /* values of Link */
    unsigned early_hint_count;
    const uint16_t *intercepted;
    unsigned intercepted_count;
    uint64_t body_limit; /* UINT64_MAX: limits.body */
    uint8_t role;        /* enum fcgi_role; 0: that in which a web server asks, or responder */
    struct str data;     /* path below the root of a filter's file; n = 0: the request's */
    /* any kind */
    const struct decision *authorize; /* asked before this one is carried out; NULL: nobody is */
    struct str authorize_key;         /* whose grants are remembered as one; n = 0: none is */
    double authorize_ttl;             /* seconds */
    /* file; root is shared with FastCGI */
    struct str file, path, cache_control;
    bool error_page;  /* the file stands for an error: whole, whatever the client has of another */
    bool handed_over; /* the application named it: no name is refused, and `headers` are its own */
    const struct str *within, *index;
    unsigned within_count, index_count;
    const struct str *scripts, *sources; /* extensions that are scripts too, and that are not */
    unsigned script_count, source_count;
    /* reply and redirect; headers also for files */
    int status;
    struct str body;
    struct headers headers;
    struct headers always; /* of whatever is sent in the end */
};

/* The head of a response: of an application, a file or the server itself. */
struct response {
    int status;
    struct str phrase; /* behind the status, as the application says it; n = 0: the usual one */
    struct headers headers;
    int64_t content_length; /* -1: not known */
    bool unbuffered;        /* what the client does not take at once is not spooled */
    bool with_cookies; /* Set-Cookie headers of earlier answers to the request are among the headers
                        */
    /* What the application asked of us. */
    struct str accel_redirect, sendfile; /* n = 0: nothing */
    struct str redirect;                 /* a Location of a path, without a status */
};

/* A stretch of a file that is sent, and what is sent before it: the head of a part. */
struct file_piece {
    struct str before; /* n = 0: nothing */
    uint64_t at, size; /* bytes of the file; size may be 0 */
};

/* What the body of a file comes from: its content, or a descriptor. It belongs to all who use it.
 */
struct file_source {
    const char *content; /* NULL: read it from */
    int fd;              /* -1: there is content */
    unsigned users;
    void (*free)(struct file_source *source); /* called by the last one to leave */
};

static inline void file_source_drop(struct file_source *source)
{
    if (--source->users == 0)
        source->free(source);
}

/* One attempt to get an answer of a backend, for the log; seconds, 0 for phases that were not
 * reached. */
struct attempt {
    struct attempt *next;
    struct str server;
    double queue, connect, first_byte, total;
    const char *error; /* NULL: none */
    uint8_t role;      /* enum fcgi_role */
    bool over;
};

/* What a filter gets beside the request (FastCGI §6.4). */
struct filter_data {
    struct spool spool;
    int64_t
        modified; /* seconds since the epoch; -1: a web server has sent it, and says so itself */
};

struct generation;

/* Which rules of the route have decided, inner ones first: numbers of
 * lua/moongate/decision/trace.lua. Those before `from` are of a hook whose decision may still hold.
 * What is too much is not remembered. */
struct request_rules {
    uint32_t numbers[8];
    unsigned from, count;
};

/* A body that a hook asks for: all of it is in memory; it has not been read; it is larger than what
 * is kept in memory (and goes to the application all the same); a part of it is lost to us. */
enum body_state { BODY_HERE, BODY_COMES, BODY_TOO_LARGE, BODY_GONE };

/* Whoever waits for one. */
struct body_wait {
    void (*ended)(struct body_wait *wait);
};

struct request {
    struct arena arena;

    /* What was asked. */
    struct str method;
    enum method method_id;
    struct str target;
    struct uri uri;
    enum http_version version;
    struct headers headers;
    unsigned dropped;    /* headers among them that no application gets */
    struct str host;     /* lower case, without port and trailing dot */
    int host_port;       /* -1: not given */
    int64_t body_length; /* as announced; BODY_NONE, or BODY_UNKNOWN: it ends when it ends */
    bool https;
    bool control;          /* it came on the control listener */
    bool internal;         /* it was redirected here by an application */
    uint8_t came_as;       /* enum fcgi_role: that in which a web server asks; else responder */
    uint8_t role;          /* that in which servers are asked now */
    struct params arrived; /* that a web server has sent with the request; none: it came by HTTP */

    /* Who asked, and where. */
    struct peer client;
    struct peer local;
    struct str listener;
    uint64_t id;
    uint32_t underway; /* its place in the table of shm/underway.h; 0: none */
    bool unscripted;   /* its page is in quarantine: no hook runs for it */

    /* The body, as far as it waits here. */
    struct spool body;
    struct filter_data *data; /* NULL: there is none */
    /* How far it is. With `wait`, where it COMES: it is kept from now on, and wait->ended is called
     * when it is here, or can't be. NULL: what `body` has is all of it. */
    enum body_state (*ask_body)(struct request *req, struct body_wait *wait);
    struct body_wait *body_wait; /* NULL: nobody waits for it */

    struct decision decision;
    struct request_rules rules;
    struct response response;
    struct file_source *file; /* whose texts the response has; NULL: none */

    /* For the log. */
    double started; /* seconds since the epoch */
    double ended_at;
    struct str backend; /* its name; n = 0: none was asked */
    uint64_t bytes_in;  /* of the body */
    uint64_t bytes_out; /* on the wire, head included */
    uint64_t body_out;  /* of the body */
    struct str server;  /* that answered */
    struct str user;    /* REMOTE_USER, of a script or an application; n = 0: none */
    unsigned attempts;  /* connections tried */
    struct attempt *attempt_list, **attempt_end;
    uint32_t app_status;
    uint8_t protocol_status;
    bool ended;        /* END_REQUEST came, or the reply was ours and whole */
    const char *error; /* what went wrong, in words; NULL when nothing did */
};

/* Everything zero but the arena, which uses `memory`. */
void request_init(struct request *r, void *memory, size_t size);
void request_fini(struct request *r);

/* The id of a known header, HEADER_OTHER else. */
enum header_id header_id(struct str name);
/* True for headers that end at the next hop, whatever Connection names (RFC 9110 §7.6.1). */
bool header_is_hop(enum header_id id);

/* Appends; memory from the arena. The strings are not copied. */
struct header *headers_add(struct arena *a, struct headers *h, struct str name, struct str value);
/* Likewise where header_id(name) is known. */
struct header *headers_add_known(struct arena *a, struct headers *h, enum header_id id,
                                 struct str name, struct str value);
/* The first of that id or name, NULL when there is none. */
struct header *headers_find(const struct headers *h, enum header_id id);
struct header *headers_get(const struct headers *h, struct str name);
/* Removes all headers of that name. */
void headers_remove(struct headers *h, struct str name);
/* Replaces headers of `to` by those of `from` with the same names. Set-Cookie and Vary are added,
 * since each one stands for itself. */
void headers_merge(struct arena *a, struct headers *to, const struct headers *from);
/* Adds headers of `from` whose names `to` has not, but for those about a content, which is another
 * one here. */
void headers_fill(struct arena *a, struct headers *to, const struct headers *from);
/* All values of a name as one: joined by ", ", Cookie by "; ". STR_NONE when absent. */
struct str headers_joined(struct arena *a, const struct headers *h, struct str name);
/* Value of a known header, empty when absent. */
struct str headers_value(const struct headers *h, enum header_id id);

/* True for the names that set PHP up. PHP-FPM's child keeps what they say for the requests of
 * others, so only the core sends them (`ini`). */
bool param_is_setting(struct str name);
struct param *params_find(const struct params *p, struct str name);
/* Sets or replaces; the strings are not copied. */
void params_set(struct arena *a, struct params *p, struct str name, struct str value);
/* Room for more, twice as much each time. */
void params_grow(struct arena *a, struct params *p);
/* Appends a name that is known to be new. */
static inline void params_add(struct arena *a, struct params *p, struct str name, struct str value)
{
    if (p->count == p->room)
        params_grow(a, p);
    p->list[p->count++] = (struct param){name, value};
}
void params_remove(struct params *p, struct str name);

/* The port that the client asked for: the listener's; on a unix socket that of Host, or else what
 * the scheme implies (RFC 3875 §4.1.15: SERVER_PORT is always there). */
unsigned request_server_port(const struct request *r);

/* "Not Found"; "" for a status without a name (RFC 9110 §15). */
const char *status_text(int status);

/* 16 hex digits; out has 17 bytes. */
void request_id_text(uint64_t id, char out[17]);

/* Which request a line of the error log is about: "request 0123456789abcdef, host shop.example,
 * tenant shop", without the host or the tenant where there is none. Written to out, which has
 * REQUEST_NAME_SIZE bytes; longer names are cut there. Returns out. */
#define REQUEST_NAME_SIZE 400
const char *request_name(const struct request *req, char out[REQUEST_NAME_SIZE]);

#endif
