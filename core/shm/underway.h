/*
 * underway - the requests that each worker has under way, in memory that outlives the worker. After
 * a worker has been killed, the master writes the requests' lines to the access log, and knows for
 * which request a hook ran. Meanwhile each worker can list the requests of all workers, for the
 * control listener.
 *
 * Each worker has a table, which it alone writes. The hot path costs a copy of a request's names to
 * a slot: no system call, no allocation. Memory of slots that were never used is not touched. Names
 * that are too long for a slot are cut; requests beyond the table are only counted.
 */
#ifndef MG_SHM_UNDERWAY_H
#define MG_SHM_UNDERWAY_H

#include "http/request.h"

#define UNDERWAY_MOST   1024
#define UNDERWAY_METHOD 24
#define UNDERWAY_HOST   128
#define UNDERWAY_URI    280
#define UNDERWAY_ID     REQUEST_ID_MOST

/* How far a request has come. */
enum underway_state {
    UNDERWAY_HOOK,      /* a hook runs, or waits */
    UNDERWAY_BODY,      /* the client's body is being read before a server is asked */
    UNDERWAY_QUEUE,     /* the request waits for a connection, or for an overloaded server */
    UNDERWAY_CONNECT,   /* the connection to the server is being made */
    UNDERWAY_WAITING,   /* the server has the request, and has not answered */
    UNDERWAY_STREAMING, /* the client is being sent the response */
    UNDERWAY_STATES,
};

#define UNDERWAY_NO_SERVER UINT32_MAX

enum underway_log { UNDERWAY_NO_LINE, UNDERWAY_COMBINED, UNDERWAY_JSON, UNDERWAY_FIELDS };

struct underway_request {
    uint64_t id;
    double started; /* seconds since the epoch */
    struct peer client;
    uint64_t sent; /* bytes to the client */
    uint32_t generation;
    uint32_t server;  /* the server's place in the ledger; UNDERWAY_NO_SERVER: none is asked */
    uint16_t backend; /* the backend's number in shm/metrics */
    uint8_t state;    /* enum underway_state */
    uint16_t uri_size;
    uint8_t method_size, host_size, id_size;
    uint8_t log;     /* enum underway_log */
    uint8_t version; /* enum http_version */
    uint8_t used;
    char method[UNDERWAY_METHOD], host[UNDERWAY_HOST], uri[UNDERWAY_URI], given_id[UNDERWAY_ID];
};

_Static_assert(sizeof(struct underway_request) <= 576, "a slot has grown");

struct underway {
    uint32_t slots;   /* slots that were ever used; memory of the rest is untouched */
    uint32_t beyond;  /* requests under way without a slot */
    uint32_t running; /* number of the slot whose request's hook runs, from 1; 0: none */
    struct underway_request list[UNDERWAY_MOST];
};

/* Makes tables for so many workers, shared with processes that are forked later. NULL: no memory.
 * The places are the numbers of underway_all. */
struct underway *underway_new(unsigned workers);

/* --- in a worker --- */

/* Sets the table of this process. Before the call the functions below do nothing. */
void underway_use(struct underway *table);
/* Notes a request whose head is complete, and sets req->underway. */
void underway_begin(struct request *req, enum underway_log log, unsigned generation);
/* Removes a request that is over and has been logged. */
void underway_end(struct request *req);
/* Notes that a hook runs for the request; NULL: no hook runs. */
void underway_running(const struct request *req);

/* Notes the state of a request; nothing for a request without a slot. */
void underway_enter(const struct request *req, enum underway_state state);
/* Notes the backend that a request is for, which is in no server's hands yet. */
void underway_queued(const struct request *req, unsigned backend);
/* Notes that the server of that place has the request of a slot (req->underway), or is connected
 * to. */
void underway_at_server(unsigned slot, enum underway_state state, uint32_t server);
/* Notes how many bytes the client has been sent. */
void underway_sent(const struct request *req);
/* The request of this worker that has the id; NULL: there is none, or it has no slot. */
struct request *underway_find(uint64_t id);

/* --- in any process of the instance: what other workers have written is not trusted --- */

/* Calls `see` for each request under way in any worker, with the worker's place. Returns the number
 * of requests that have no slot. */
uint64_t underway_list(void (*see)(void *ctx, unsigned place, const struct underway_request *u),
                       void *ctx);

/* --- in the master, when the worker has ended: the table's contents are not trusted --- */

/* The format of lines from now on where the route's is a text with fields (access_compile); NULL:
 * it is none, and requests of such a route that are still under way get combined lines. */
void underway_set_format(const char *text);
/* Reads the request whose hook ran. False: no hook ran. */
bool underway_ran(const struct underway *table, struct underway_request *out);
/* Writes a line to the access log for each request in the table, with status 502 and the reason,
 * and empties the table. Returns their number; *beyond is the number of requests without a slot. */
unsigned underway_rescue(struct underway *table, double now, const char *reason, uint32_t *beyond);

#endif
