/*
 * metrics - the counters behind /metrics: what clients, backends and scripts have done since the
 * instance began.
 *
 * One shared mapping, made by the master before it forks. Each place of a worker has a *sheet*.
 * Only the worker at that place writes to it, so counting is an addition without a lock. A sheet
 * outlives its worker, and the next one at the place goes on with it. A reader adds up the sheets
 * of all places, and may see a moment's mixture.
 *
 * What has a name that a route or a client may have chosen (backends, tenants, the metrics of
 * scripts) has an entry in a table of names, which all processes share. An entry is written once,
 * under a lock, is found without one, and is never taken away, so each kind of name has a bound.
 * What is beyond it counts as "other".
 */
#ifndef MG_SHM_METRICS_H
#define MG_SHM_METRICS_H

#include "base/str.h"
#include "http/coding.h"
#include "http/request.h"
#include "shm/scripts.h"

#include <pthread.h>

#define METRICS_WORKERS  256   /* as many as the settings allow */
#define METRICS_BACKENDS 64    /* with a name of their own; the first two: none, and all others */
#define METRICS_TENANTS  512   /* pairs of a backend and a tenant with a name of their own */
#define METRICS_FAMILIES 128   /* metrics of scripts */
#define METRICS_LABELS   2048  /* series of these */
#define METRICS_VALUES   16384 /* numbers of all these series; a histogram has several */
#define METRICS_NAMES                                                                              \
    (METRICS_BACKENDS + METRICS_TENANTS + METRICS_FAMILIES + METRICS_LABELS) /* in all */
#define METRICS_TEXT  500  /* bytes of a name; a longer one is cut there */
#define METRICS_INDEX 8192 /* places of the table in which names are found; a power of two */

/* A pair of a backend and a tenant: first those without a tenant, then those with any other. */
#define METRICS_SERIES (2 * METRICS_BACKENDS + METRICS_TENANTS)

enum { METRICS_NO_BACKEND, METRICS_OTHER_BACKEND }; /* numbers of backends */

enum metrics_method {
    METRICS_GET,
    METRICS_HEAD,
    METRICS_POST,
    METRICS_PUT,
    METRICS_DELETE,
    METRICS_OPTIONS,
    METRICS_PATCH,
    METRICS_OTHER_METHOD,
    METRICS_METHODS,
};

enum metrics_protocol {
    METRICS_HTTP_1_0,
    METRICS_HTTP_1_1,
    METRICS_HTTP_2_0,
    METRICS_FASTCGI,
    METRICS_PROTOCOLS,
};

/* Versions of TLS that clients agree on. */
enum metrics_tls { METRICS_TLS_1_2, METRICS_TLS_1_3, METRICS_TLS_VERSIONS };

/* Why a handshake of TLS has not come to its end. */
enum metrics_handshake {
    METRICS_NO_TLS,      /* the client's bytes are none: plain HTTP, or anything else */
    METRICS_VERSION,     /* no version, */
    METRICS_CIPHER,      /* or no cipher or group that both sides allow */
    METRICS_CERTIFICATE, /* the client's certificate is missing, or was refused */
    METRICS_ALERT,       /* the client refuses, the server's certificate for instance */
    METRICS_LEFT,        /* the client has closed the connection, or has taken too long */
    METRICS_BAD_TLS,     /* another rule of TLS was broken */
    METRICS_HANDSHAKES,
};

/* Which of the route's limits has refused a request. */
enum metrics_limit {
    METRICS_LIMIT_REQUEST_LINE, /* limits.request_line: 414 */
    METRICS_LIMIT_HEADER,       /* limits.header, limits.headers: 431 */
    METRICS_LIMIT_BODY,         /* limits.body, and the room for a body: 413 */
    METRICS_LIMIT_TIME,         /* limits.header_timeout, body_timeout, body_deadline: 408 */
    METRICS_LIMIT_QUEUE,        /* `queue` and `queue_timeout` of a backend: 503 */
    METRICS_LIMIT_PER_IP,       /* limits.per_ip, of clients behind a trusted proxy: 503 */
    METRICS_LIMITS,
};

#define METRICS_CLASSES 6 /* of statuses: 1 to 5, and 0 for all others */

/* Bounds of the buckets, in seconds; one more bucket has what is beyond them. */
#define METRICS_BUCKETS 16
extern const double metrics_bounds[METRICS_BUCKETS];

struct metrics_histogram {
    uint64_t bucket[METRICS_BUCKETS + 1];
    double sum; /* seconds */
};

enum metrics_phase { METRICS_QUEUE, METRICS_CONNECT, METRICS_FIRST_BYTE, METRICS_TOTAL };
#define METRICS_PHASES (METRICS_TOTAL + 1)

/* Levels of what applications write to STDERR. */
#define METRICS_LEVELS 7
extern const char *const metrics_levels[METRICS_LEVELS];

struct metrics_backend {
    struct metrics_histogram phase[METRICS_PHASES];
    uint64_t bytes_in;  /* of the bodies of requests */
    uint64_t bytes_out; /* to clients, heads included */
    uint64_t retries;
    uint64_t messages[METRICS_LEVELS];
};

/* Runs of a script's functions: hooks by their numbers in enum script_hook, from 1 on. */
#define METRICS_RUNS 16
struct metrics_run {
    uint64_t count, errors, timeouts;
    uint64_t nanoseconds;
};

/* What has become of the spans of traces (script/spans.h): exported; dropped since too many waited,
 * since they could not be sent, or by who got them. */
enum { METRICS_EXPORTED, METRICS_FULL, METRICS_FAILED, METRICS_REJECTED, METRICS_SPANS };

/* Responses that were compressed in one coding. */
struct metrics_coded {
    uint64_t answers;
    uint64_t bytes_in, bytes_out; /* of their bodies: before, and in the coding */
};

/* The counters of one worker. */
struct metrics_sheet {
    uint64_t requests[METRICS_SERIES][METRICS_METHODS][METRICS_CLASSES];
    struct metrics_backend backend[METRICS_BACKENDS];
    struct metrics_run run[METRICS_RUNS];
    uint32_t running; /* the run that is under way; 0: none, or another function's */
    uint64_t protocol[METRICS_PROTOCOLS];   /* requests that came by each */
    uint64_t accepted;                      /* connections of clients */
    uint64_t refused[2];                    /* by limits.connections, by limits.per_ip */
    uint64_t tls[METRICS_TLS_VERSIONS][2];  /* handshakes: whole ones, and resumed sessions */
    uint64_t ktls;                          /* those after which the kernel makes the records */
    uint64_t handshake[METRICS_HANDSHAKES]; /* those that have failed, enum metrics_handshake */
    uint64_t limited[METRICS_LIMITS];       /* requests that a limit has refused */
    uint64_t cached[CACHE_USES];         /* requests by what the cache has done, enum cache_use */
    uint64_t refreshed;                  /* responses that were asked for in the background */
    struct metrics_coded coded[CODINGS]; /* by enum coding; none by CODING_IDENTITY */
    uint64_t shared_full;                /* writes to dictionaries that found no room */
    struct scripts_table scripts;        /* of applications */
    uint64_t spans[METRICS_SPANS];       /* by what has become of them */
};

enum metrics_kind { METRICS_BACKEND, METRICS_TENANT, METRICS_FAMILY, METRICS_LABEL };
#define METRICS_KINDS (METRICS_LABEL + 1)

struct metrics_name {
    uint32_t hash;
    uint16_t owner;  /* the backend of a tenant, the family of a series */
    uint16_t number; /* among its kind; of a series, the first of its values */
    uint16_t size;
    uint8_t kind; /* enum metrics_kind */
    char text[METRICS_TEXT];
};

struct metrics {
    unsigned places;
    bool used_places[METRICS_WORKERS]; /* memory of the others is never touched */
    pthread_mutex_t lock;              /* of who adds a name */
    uint32_t count;                    /* names so far */
    uint32_t used[METRICS_KINDS];
    uint32_t series[METRICS_FAMILIES]; /* so far, of each */
    uint32_t values;                   /* so far */
    uint16_t index[METRICS_INDEX];     /* a name's place, from 1 on; 0: free */
    struct metrics_name name[METRICS_NAMES];
    uint64_t value[METRICS_VALUES];                  /* a double's bits */
    struct metrics_histogram turns[METRICS_WORKERS]; /* by the number of a worker, since places
                                                        change hands */
    struct metrics_sheet sheet[];                    /* of each place */
};

/* Makes the counters of `places` workers. NULL: no memory. */
struct metrics *metrics_new(unsigned places);

/* --- in a worker --- */

/* From now on this process counts in the sheet of its place; number: what scripts know the worker
 * by. Before, what it counts is its own. */
void metrics_use(struct metrics *m, unsigned place, unsigned number);
/* Returns the counters that this process uses: those of metrics_use, or memory of its own. NULL:
 * none. */
struct metrics *metrics_all(void);

extern struct metrics_sheet *metrics_own;

/* A turn of the event loop: the seconds between its wake-up and its next sleep, in which nothing
 * else was heard. */
void metrics_turn(double seconds);

static inline void metrics_add(uint64_t *counter, uint64_t n)
{
    *counter += n; /* the worker is its only writer, and readers see aligned words whole */
}

/* The bucket of a time is found by the first bits of its double, the exponent and one bit of the
 * fraction. Between 1/2048 s and 64 s these make METRICS_CELLS ranges, none of which has two
 * bounds: metrics_below has the number of bounds below each, and one comparison does the rest. */
#define METRICS_FIRST_CELL 0x7e8
#define METRICS_CELLS      34
extern const uint8_t metrics_below[METRICS_CELLS];

/* Counts a time, in seconds. */
static inline void metrics_observe(struct metrics_histogram *h, double seconds)
{
    int64_t bits;
    if (!(seconds > metrics_bounds[0])) { /* most times inside this process */
        metrics_add(&h->bucket[0], 1);
        if (seconds > 0) /* a clock may have been set back */
            h->sum += seconds;
        return;
    }
    memcpy(&bits, &seconds, sizeof bits);
    uint64_t cell = (uint64_t)(bits >> 51) - METRICS_FIRST_CELL;
    unsigned i = METRICS_BUCKETS;
    if (cell < METRICS_CELLS) {
        i = metrics_below[cell];
        i += seconds > metrics_bounds[i];
    }
    metrics_add(&h->bucket[i], 1);
    h->sum += seconds;
}

/* The number of the backend of that name. */
unsigned metrics_backend(struct str name);
/* The series of a backend's requests for a tenant; n = 0: for none. */
unsigned metrics_series(unsigned backend, struct str tenant);
enum metrics_method metrics_method(struct str name);

/* --- metrics of scripts --- */

/* The family of that description, made where there is none; -1: there are too many. */
int metrics_family(struct str description);
/* The first of a series' values; `count` of them, all 0 at first. `most` series may be in the
 * family. -1: there are too many. */
int metrics_label(unsigned family, struct str labels, unsigned count, unsigned most);
/* Adds to a value, or sets it. */
void metrics_value_add(struct metrics *m, unsigned value, double by);
void metrics_value_set(struct metrics *m, unsigned value, double to);
double metrics_value(const struct metrics *m, unsigned value);

#endif
