/*
 * request - plain data of one exchange: the request, the decision, the response and the facts for
 * the log.
 *
 * The front writes the request and script the decision; all rooms above read both. No I/O, no
 * libev, no Lua. The struct is part of struct exchange; its strings lie in its arena, which ends
 * with it.
 */
#ifndef MG_HTTP_REQUEST_H
#define MG_HTTP_REQUEST_H

#include "base/addr.h"
#include "base/arena.h"
#include "base/spool.h"
#include "http/settings.h"
#include "http/uri.h"

/* Ids of the headers that core/ itself uses. */
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
    uint8_t id;        /* enum header_id */
    bool hop;          /* hop-by-hop: never forwarded */
    bool odd;          /* a name with other characters than letters, digits and '-' */
    bool dropped;      /* an odd name that limits.header_names has not: sent to no application */
    bool repeated;     /* the first of several with this name */
    bool again;        /* one of the others */
    struct str joined; /* values of all headers of this name; set on first use */
};

struct headers {
    struct header *list;
    unsigned count;
    unsigned room;
};

/* The client's version; the values can be compared. HTTP/3 is spoken by web servers in front. */
enum http_version { HTTP_1_0 = 10, HTTP_1_1 = 11, HTTP_2_0 = 20, HTTP_3_0 = 30 };

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

/* The role in which an application is asked (FastCGI §6). */
enum fcgi_role { FCGI_RESPONDER = 1, FCGI_AUTHORIZER = 2, FCGI_FILTER = 3 };

enum decision_kind {
    DECISION_NONE,
    DECISION_FASTCGI,
    DECISION_FILE,
    DECISION_REPLY,
    DECISION_CLOSE
};

/* When the parts of a response leave that is made of an application's reply. */
enum flush {
    FLUSH_AT_ONCE,
    FLUSH_AT_END,   /* with the end of the reply */
    FLUSH_HEAD,     /* the head at once, the body with its end */
    FLUSH_BY_BYTES, /* when there are so many: flush_bytes */
};

/* Whether a request passes by the cache: as its headers say, or as the script does. */
enum cache_bypass { CACHE_BYPASS_UNSAID, CACHE_BYPASSED, CACHE_NOT_BYPASSED };

/* What of an application's responses may be kept (`cache`). Strings as in struct decision. */
struct decision_cache {
    struct str key;     /* n = 0: scheme, host and URI */
    double ttl, stale;  /* seconds; -1: the response says */
    bool lock;          /* one request fills an entry, others wait for it */
    uint8_t background; /* enum caching_background: what a stale response waits for */
    enum cache_bypass bypass;
    const struct str *vary, *tags; /* headers that the key has; names for purges */
    unsigned vary_count, tag_count;
    bool ignores_cookies, ignores_control, ignores_authorization;
};

/* The decision of on_request or another hook. Strings lie in the request's arena; n = 0 where a key
 * is absent. */
struct decision {
    enum decision_kind kind;
    /* FastCGI */
    unsigned backend; /* its place in settings.backends */
    struct str root, docroot, strip;
    struct str script, path_info, script_filename;
    struct str server, tenant, hash_key;
    struct str ini; /* PHP_VALUE; n = 0: the backend's */
    const struct internal_path *internal;
    unsigned internal_count;
    struct params params;
    double connect_timeout, send_timeout, first_byte_timeout, read_timeout; /* 0: the backend's */
    double deadline;      /* seconds for the whole request; 0: the backend's */
    double body_deadline; /* seconds for all of its body; 0: that of the limits */
    unsigned attempts;    /* 0: the backend's */
    bool stream_body;     /* request_buffering = false */
    bool script_named;    /* the hook named the script; else the request's path did */
    uint8_t role;         /* enum fcgi_role; 0: the role in which the web server asks */
    enum flush flush;
    uint64_t flush_bytes;
    bool request_file;             /* the body goes to the application as a file */
    struct str request_folder;     /* in which that is; n = 0: limits.spool_dir */
    bool unbuffered;               /* response_buffering = false */
    bool intercept;                /* intercept_errors: all from 400 on, or those of the list */
    const struct str *early_hints; /* values of Link */
    unsigned early_hint_count;
    const uint16_t *intercepted;
    unsigned intercepted_count;
    uint64_t body_limit; /* UINT64_MAX: limits.body */
    struct str data;     /* path below the root of a filter's file; n = 0: the request's */
    const struct decision_cache *cache; /* NULL: no response is kept */
    /* any kind */
    const struct decision *authorize; /* the decision about the authorizer; NULL: none */
    struct str authorize_key; /* requests with the same key share a grant; n = 0: no grants */
    double authorize_ttl;     /* seconds */
    const struct compress_settings *compress; /* NULL: the settings' */
    /* file; root is shared with FastCGI */
    struct str file, path, cache_control;
    bool error_page;    /* the file is an error page: sent whole, without conditions */
    bool precompressed; /* a neighbour with the coding's extension takes its place */
    /* named by the application: no name is refused; `headers` are the application's */
    bool handed_over;
    const struct str *within, *index;
    unsigned within_count, index_count;
    const struct str *scripts, *sources; /* extensions that are scripts too, and that are not */
    unsigned script_count, source_count;
    /* reply and redirect; headers also for files */
    int status;
    struct str body;
    struct headers headers;
    struct headers always; /* added to each response, error pages too */
};

/* The head of a response: of an application, a file or the server itself. */
struct response {
    int status;
    struct str phrase; /* the application's reason phrase; n = 0: the usual one */
    struct headers headers;
    int64_t content_length; /* -1: not known */
    bool unbuffered;        /* response_buffering = false: the backlog is not spooled */
    /* Set-Cookie headers of earlier answers to the request are among the headers */
    bool with_cookies;
    bool purges; /* X-Cache-Purge is among the headers, which no client gets */
    /* Orders of the application to the server. */
    struct str accel_redirect, sendfile; /* n = 0: nothing */
    struct str redirect;                 /* a Location of a path, without a status */
};

/* A range of a file that is sent, after the head of its part. */
struct file_piece {
    struct str before; /* n = 0: nothing */
    uint64_t at, size; /* bytes of the file; size may be 0 */
};

/* The source of a file's body: its content, or a descriptor. The users share it, and the last one
 * frees it. */
struct file_source {
    const char *content; /* NULL: read it from */
    int fd;              /* -1: there is content */
    unsigned users;
    void (*free)(struct file_source *source); /* called when the last use is dropped */
};

static inline void file_source_drop(struct file_source *source)
{
    if (--source->users == 0)
        source->free(source);
}

/* One attempt to get a reply of a backend, for the log; seconds, 0 for phases that were not
 * reached. */
struct attempt {
    struct attempt *next;
    struct str server;
    double queue, connect, first_byte, total;
    const char *error; /* NULL: none */
    struct str backend;
    double asked;  /* when it began, in seconds of the loop's clock */
    uint64_t span; /* the id of its span, where the request has a trace */
    uint8_t role;  /* enum fcgi_role */
    bool granted;  /* it got a server */
    bool over;
};

/* The data of a filter's request (FastCGI §6.4). */
struct filter_data {
    struct spool spool;
    int64_t modified; /* seconds since the epoch; -1: the web server has sent a param about it */
};

/* The TLS of the connection that a request has come by; n = 0 where there is no such thing. Strings
 * lie in the request's arena, or live for ever. */
struct request_tls {
    struct str version; /* "TLSv1.3" */
    struct str cipher;
    struct str name; /* that the client has asked for (SNI) */
    bool verified;   /* the client has a certificate of the listener's client_ca: */
    struct str subject, serial, certificate;
};

struct generation;
struct observed;
struct traceparent;

/* What the cache has done for a request. */
enum cache_use { CACHE_UNUSED, CACHE_HIT, CACHE_MISS, CACHE_STALE, CACHE_BYPASS, CACHE_USES };
/* Its words in X-Cache, in the access log and in metrics; NULL: CACHE_UNUSED. */
extern const char *const cache_use_words[CACHE_USES];

/* Why the cache is passed by for a request, or does not keep its response. */
enum cache_reason {
    CACHE_NO_REASON,
    /* of the request */
    CACHE_SAYS_BYPASS, /* the decision */
    CACHE_METHOD,
    CACHE_BODY,
    CACHE_ON_ERROR, /* the decision is not that of on_request */
    CACHE_ROLE,
    CACHE_AUTHORIZATION,
    CACHE_USER, /* a web server or an authorizer has named one */
    CACHE_COOKIE,
    CACHE_LONG_KEY,
    CACHE_HEAD, /* nothing is kept of a response without its body */
    /* of the response's head */
    CACHE_STATUS,
    CACHE_SET_COOKIE,
    CACHE_NO_STORE,
    CACHE_PRIVATE,
    CACHE_NO_CACHE,
    CACHE_VARY,
    CACHE_NO_LIFETIME, /* neither the script nor a header says for how long */
    CACHE_OUTDATED,
    CACHE_TOO_LARGE,
    CACHE_OTHER_TAG, /* a 304 is not about the kept response */
    /* of its body, and of the store */
    CACHE_BROKEN_OFF,
    CACHE_NO_ROOM,
    CACHE_NOT_WRITTEN,
    CACHE_PURGED, /* while it was made */
    CACHE_REASONS
};
/* Its words in the access log and in `moongate trace`; NULL: CACHE_NO_REASON. */
extern const char *const cache_reason_words[CACHE_REASONS];

/* The notes of a request that `moongate trace` wants to see; exchange/account makes them. */
struct request_trace {
    void (*note)(struct request_trace *trace, struct str text);
};

/* The rules of the route that have decided, inner ones first: numbers of
 * lua/moongate/decision/trace.lua. Rules before `from` belong to an earlier hook, whose decision
 * stays in force if the next hook returns nil. Rules beyond the array are dropped. */
struct request_rules {
    uint32_t numbers[8];
    unsigned from, count;
};

/* The state of a body that a hook asks for. HERE: all of it is in memory. COMES: it has not been
 * read whole. TOO_LARGE: it is larger than what is kept in memory; the application still gets it.
 * LATE: it did not come within body_deadline. GONE: a part of it is not kept any more. */
enum body_state { BODY_HERE, BODY_COMES, BODY_TOO_LARGE, BODY_LATE, BODY_GONE };

/* A hook that waits for the body. */
struct body_wait {
    void (*ended)(struct body_wait *wait);
};

struct request {
    struct arena arena;

    /* The request line and its headers. */
    struct str method;
    enum method method_id;
    struct str target;
    struct uri uri;
    enum http_version version;
    struct headers headers;
    unsigned dropped; /* number of headers that no application gets */
    struct str host;  /* lower case, without port and trailing dot */
    int host_port;    /* -1: not given */
    /* as announced; BODY_NONE, or BODY_UNKNOWN: its end is found while it is read */
    int64_t body_length;
    bool https;
    bool unencrypted;              /* plain HTTP on a port for HTTPS: it is refused */
    bool control;                  /* the request came on the control listener */
    bool internal;                 /* the application redirected the request internally */
    uint8_t came_as;               /* enum fcgi_role: the web server's; else responder */
    uint8_t role;                  /* the role in which servers are asked now */
    const struct request_tls *tls; /* NULL: it has not come by TLS to this server */
    struct params arrived; /* params from a web server in front; none: the request came by HTTP */

    /* The two ends of the client's connection. */
    struct peer client;
    struct peer local;
    struct str listener;
    uint64_t id;
    struct str given_id;             /* the id that a trusted peer has sent; n = 0: none */
    struct traceparent *traceparent; /* NULL: the route has no tracing */
    bool from_trusted;               /* the connection is that of a trusted peer */
    bool unscripted;                 /* its page is in quarantine: no hook runs for it */
    bool may_be_coded;               /* `compress` may code the whole of what it gets */
    uint32_t underway;               /* its place in the table of shm/underway.h; 0: none */

    /* The bytes of the body that wait to be sent. */
    struct spool body;
    struct filter_data *data; /* NULL: there is none */
    /* Returns the state of the body. With `wait`, while it COMES, the body is kept from now on, and
     * wait->ended is called when its state changes. NULL: `body` has all of it. */
    enum body_state (*ask_body)(struct request *req, struct body_wait *wait);
    struct body_wait *body_wait; /* NULL: no hook waits for the body */

    struct decision decision;
    struct request_rules rules;
    struct response response;
    uint8_t cached;           /* enum cache_use */
    uint8_t cache_reason;     /* enum cache_reason */
    struct file_source *file; /* keeps the file whose texts the response uses; NULL: none */

    /* For the log. */
    double started, ended_at; /* seconds since the epoch */
    double began, duration;   /* seconds of the loop's clock, which is monotonic */
    struct str backend;       /* its name; n = 0: none was asked */
    uint64_t head_in;         /* bytes of the head, as it came */
    uint64_t bytes_in;        /* of the body */
    uint64_t bytes_out;       /* sent to the client, head included */
    uint64_t body_out;        /* of the body */
    struct str server;        /* address of the server that answered */
    struct str user;          /* REMOTE_USER, of a script or an application; n = 0: none */
    unsigned attempts;        /* connections tried */
    struct attempt *attempt_list, **attempt_end;
    uint32_t app_status;
    uint8_t protocol_status;
    bool ended;                  /* END_REQUEST came, or the server's own response is whole */
    const char *error;           /* the first error, in words; NULL: none */
    struct request_trace *trace; /* takes notes of the request's way; NULL: nobody traces it */
    struct observed *observed;   /* notes of the reply, for on_log; NULL: no script has asked */
};

/* Zeroes the request and gives its arena the first block `memory`. */
void request_init(struct request *r, void *memory, size_t size);
void request_fini(struct request *r);

/* Notes a step on the way of a request that is traced. For all others the step costs a load. */
#define request_step(req, ...)                                                                     \
    do {                                                                                           \
        if (__builtin_expect((req)->trace != NULL, 0))                                             \
            request_note_step((req)->trace, __VA_ARGS__);                                          \
    } while (0)
void request_note_step(struct request_trace *trace, const char *fmt, ...)
    __attribute__((format(printf, 2, 3), cold));

/* The id of a known header, HEADER_OTHER else. */
enum header_id header_id(struct str name);
/* The name in lower case, which lasts; p = NULL: the id stands for several names. */
struct str header_name(enum header_id id);
/* "HTTP/1.1", as SERVER_PROTOCOL and logs have it. */
struct str http_version_text(enum http_version version);

/* True for headers that end at the next hop, whatever Connection names (RFC 9110 §7.6.1). */
bool header_is_hop(enum header_id id);

/* Appends; memory from the arena. The strings are not copied. */
struct header *headers_add(struct arena *a, struct headers *h, struct str name, struct str value);
/* Adds a header whose header_id(name) is known. */
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
/* Adds headers of `from` whose names `to` has not. Headers about the content (RFC 9110 §8) are left
 * out, since `to` has another content. */
void headers_fill(struct arena *a, struct headers *to, const struct headers *from);
/* All values of a name as one: joined by ", ", Cookie by "; ". STR_NONE when absent. */
struct str headers_joined(struct arena *a, const struct headers *h, struct str name);
/* Value of a known header, empty when absent. */
struct str headers_value(const struct headers *h, enum header_id id);

/* True for PHP_VALUE, PHP_ADMIN_VALUE and their like. A child of PHP-FPM keeps such settings for
 * the requests that follow, so only core/ sends them (`ini`). */
bool param_is_setting(struct str name);
struct param *params_find(const struct params *p, struct str name);
/* Sets or replaces; the strings are not copied. */
void params_set(struct arena *a, struct params *p, struct str name, struct str value);
/* Doubles the room of the list. */
void params_grow(struct arena *a, struct params *p);
/* Appends a name that is known to be new. */
static inline void params_add(struct arena *a, struct params *p, struct str name, struct str value)
{
    if (p->count == p->room)
        params_grow(a, p);
    p->list[p->count++] = (struct param){name, value};
}
void params_remove(struct params *p, struct str name);

/* The port for SERVER_PORT, which is always sent (RFC 3875 §4.1.15): the listener's; on a unix
 * socket that of Host, or else the scheme's default. */
unsigned request_server_port(const struct request *r);

/* "Not Found"; "" for a status without a name (RFC 9110 §15). */
const char *status_text(int status);

/* 16 hex digits; out has 17 bytes. */
void request_id_text(uint64_t id, char out[17]);

#define REQUEST_ID_MOST 64 /* bytes of an id that a peer has sent */
/* The id of a request as logs, pages and scripts show it: the given one, or the hex digits, for
 * which `hex` has the room. */
struct str request_shown_id(const struct request *req, char hex[17]);
/* Takes the id that a trusted peer has sent as X-Request-Id, if it is 1 to REQUEST_ID_MOST letters,
 * digits and `-._:=/+@`. From now on the request has that header once, with its own id. */
void request_take_id(struct request *req);

#endif
