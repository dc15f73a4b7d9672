/*
 * settings - the checked settings of a route as plain structs.
 *
 * Read once from the normalised table that lua/moongate/route/settings.lua makes
 * (script/settings.c); owned by the generation, never changed afterwards. Durations are seconds,
 * sizes are bytes.
 */
#ifndef MG_HTTP_SETTINGS_H
#define MG_HTTP_SETTINGS_H

#include "base/addr.h"
#include "base/arena.h"
#include "base/netset.h"
#include "http/coding.h"

#include <sys/types.h>

struct limits {
    size_t request_line;
    size_t header; /* the whole head */
    unsigned headers;
    uint64_t body;
    double header_timeout; /* first byte to the end of the head */
    double body_timeout;   /* between two reads of a body */
    double body_deadline;  /* for all of it; 0: none */
    double send_timeout;   /* between two writes to the client */
    double keepalive_timeout;
    unsigned keepalive_requests;
    unsigned connections; /* of clients, over all workers; 0: no limit */
    unsigned streams;     /* requests at the same time on one connection of HTTP/2 */
    unsigned per_ip;      /* likewise, from one address */
    size_t param_size;
    size_t response_header;
    size_t request_memory;
    size_t response_memory;
    size_t script_memory; /* bytes of a worker's Lua state */
    uint64_t spool;
    const char *spool_dir;
    const struct str *header_names; /* header names with '_' or '.' that applications get */
    unsigned header_name_count;
};

struct server_settings {
    struct addr addr;   /* set unless is_name */
    struct str address; /* as the script wrote it */
    bool is_name;       /* a host name, which is looked up every `resolve` seconds */
    double weight;
    unsigned max_conns; /* 0: no limit */
    bool backup;
    bool is_added; /* by an operator, at run time: the script does not name it */
    bool owned;    /* its unix socket must be of this user: */
    uid_t owner;
};

/* Active health checks: FastCGI requests for php-fpm's ping page, or its status page. */
struct health_settings {
    bool enabled;
    bool reads_pool;   /* the page is the status page, whose numbers are kept */
    struct str page;   /* the page */
    struct str expect; /* the body of a good ping; n = 0 with reads_pool */
    double interval, timeout;
    unsigned rise, fall;
};

/* A prefix of X-Accel-Redirect paths and the folder that its files lie in. */
struct internal_path {
    struct str prefix; /* begins and ends with a slash */
    struct str folder; /* n = 0: on_request decides on such a path */
};

/* Several requests at a time on one connection. */
enum multiplex {
    MULTIPLEX_NO,
    MULTIPLEX_YES,
    MULTIPLEX_AUTO, /* where the server's FCGI_GET_VALUES_RESULT allows it */
};

enum profile { PROFILE_PHP, PROFILE_GENERIC };

/* Which failed requests may be sent again. */
enum retry_policy {
    RETRY_SAFE,    /* idempotent requests, and those of which no byte was written */
    RETRY_TIMEOUT, /* as RETRY_SAFE, and idempotent requests after a time-out */
    RETRY_NEVER,   /* only requests of which no byte was written */
};

/* The policies that C implements (backend/pick.h). */
enum balance {
    BALANCE_OTHER, /* a policy in Lua: sticky, or a function of the route */
    BALANCE_ROUND_ROBIN,
    BALANCE_LEAST_CONN,
    BALANCE_RANDOM,
    BALANCE_P2C,
    BALANCE_HASH,
    BALANCE_IP_HASH,
};

struct backend_settings {
    struct str name;
    struct server_settings *servers;
    unsigned server_count;
    enum balance balance;
    unsigned max_conns; /* of servers that have none of their own; 0: no limit */
    unsigned keepalive;
    double keepalive_idle;
    unsigned keepalive_requests;
    enum multiplex multiplex;
    unsigned max_reqs; /* at a time on one connection, with `multiplex` */
    double connect_timeout;
    double send_timeout;
    double first_byte_timeout; /* 0: read_timeout */
    double read_timeout;
    double deadline; /* for a whole request; 0: none */
    unsigned queue;  /* for each server */
    double queue_timeout;
    unsigned per_tenant; /* 0: no limit */
    unsigned max_fails;  /* 0: never taken out */
    double fail_timeout;
    double slow_start;
    double resolve; /* seconds between two look-ups of a name */
    struct health_settings health;
    struct str load;             /* PHP-FPM's status page, read for the load; n = 0: none */
    const struct str *own_pages; /* ping and status pages of PHP-FPM, which clients don't get */
    unsigned own_page_count;
    struct str ini; /* PHP_VALUE where the decision has no ini; n = 0: none */
    const struct internal_path *internal;
    unsigned internal_count;
    unsigned attempts;
    enum retry_policy retry;
    enum profile profile;
    struct str root; /* n = 0: none */
    struct str docroot;
    bool resolve_root;
    const struct str *within;
    unsigned within_count;
};

enum access_format { ACCESS_OFF, ACCESS_COMBINED, ACCESS_JSON, ACCESS_FUNCTION, ACCESS_FIELDS };

/* A compiled format with named fields (http/access.h). */
struct access_fields {
    const struct access_part *parts;
    unsigned count;
    size_t most; /* bytes of one field: a line with all of them fits */
    bool tabs;   /* tabs part the fields: a blank needs no escape */
};

/* Whose `traceparent` is continued. */
enum believe { BELIEVE_TRUSTED, BELIEVE_ALL, BELIEVE_NONE };

/* `tracing` (http/traceparent.h). */
struct tracing_settings {
    bool enabled;
    enum believe believe;
    double sample; /* the share of the traces begun here that are recorded, 0 to 1 */
    bool exports;  /* spans are exported (script/spans.h) */
};

#define COMPRESS_MIN_MOST 65536 /* the bytes are kept until there are `min` */

/* `compress`: which responses are sent in a content coding. */
struct compress_settings {
    bool on;
    const struct str *types; /* media types; with '*' at the end: all that begin so */
    unsigned type_count;
    uint64_t min;            /* bytes of a body that is coded */
    uint64_t keep;           /* bytes of a file whose coded body is kept; 0: of none */
    uint8_t levels[CODINGS]; /* by enum coding; 1 to 9 */
    uint8_t order[CODINGS];  /* enum coding: those that may be used, the preferred one first */
    unsigned coding_count;
};

/* What is kept of the answers of on_certificate (front/certify.h). */
struct certificate_settings {
    unsigned cache;  /* names with a certificate, in each worker */
    double none_ttl; /* seconds for which a name without one is not asked for again */
    unsigned misses; /* names without one that an address may have the hook asked for in a minute */
};

struct settings {
    struct arena arena; /* memory of all strings and lists of the settings */
    struct limits limits;
    struct netset trusted; /* trusted_proxies */
    enum access_format access_format;
    struct access_fields access_fields; /* of ACCESS_FIELDS */
    bool request_id; /* X-Request-Id comes from trusted peers, and goes to applications and clients
                      */
    struct tracing_settings tracing;
    struct compress_settings compress;
    struct certificate_settings certificates;
    double stop_timeout, script_timeout;
    struct str cache_path; /* the folder of the response cache, */
    uint64_t cache_size;   /* and its most bytes; */
    uint64_t cache_memory; /* of these, in the memory of each worker */
    struct backend_settings *backends;
    unsigned backend_count;
    uint32_t *backend_slots;    /* by the hash of a name: the backend's number and 1; 0: free */
    uint32_t backend_mask;      /* number of the slots, less 1 */
    const struct str *resolver; /* ADDRs of DNS servers; none: the system's */
    unsigned resolver_count;
};

/* Makes backend_slots. Called after all backends have their names. */
void settings_index_backends(struct settings *s);
/* The number of the backend with that name; -1: unknown name. */
int settings_find_backend(const struct settings *s, struct str name);

#endif
