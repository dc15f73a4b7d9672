/*
 * world - what a script may ask of the server that runs it: backends, reloads, requests of its own.
 *
 * The generation fills the table in; a script without a world (a command, the loader) runs no
 * server.
 */
#ifndef MG_SCRIPT_WORLD_H
#define MG_SCRIPT_WORLD_H

#include "http/request.h"
#include "shm/board.h"
#include "shm/changes.h"
#include "shm/ledger.h"

/* A server as policies see it. */
struct script_server {
    const struct ledger_server *slot;
    uint32_t place; /* index of the slot in the ledger */
    struct str address;
    unsigned queued; /* requests that wait for the backend */
    bool gone;       /* the address no longer belongs to the backend */
};

struct script_backend {
    struct str name;
    bool held, up;
    unsigned queued, queue_room;
};

struct world_request; /* a request of the script's own that is under way */

struct script_subrequest {
    struct str backend;
    const struct params *params;
    struct str body;
    struct str ini; /* PHP_VALUE; n = 0: the backend's */
    double timeout; /* seconds for all of it; 0: the backend's time-outs alone */
    bool last;      /* behind the visitors' requests, see ledger_acquire */
    bool digest;    /* the body of the reply is not kept, only its length and checksum */
};

struct script_reply {
    const char *error; /* NULL: the application has answered */
    const struct response *response;
    struct str body, messages;
    uint64_t length; /* of the body, and its CRC-32: with `digest` */
    unsigned long crc32;
    double first_byte, total; /* seconds, as in struct attempt */
    uint32_t app_status;
};

/* The functions of the control pages for the backends; `ctx` is the generation. */
struct script_world {
    void *ctx;
    unsigned generation; /* its number */
    bool (*backend)(void *ctx, unsigned i, struct script_backend *out);
    bool (*server)(void *ctx, unsigned backend, unsigned i, struct script_server *out);
    /* False: no backend has that name, or no server of it that address. */
    bool (*is_up)(void *ctx, struct str backend, bool *up);
    bool (*hold)(void *ctx, struct str backend, bool held);
    bool (*drain)(void *ctx, struct str backend, struct str server, bool draining);
    /* The connections that a tenant's requests to the backend have, and its requests that wait;
     * both stay as they are where there is no such backend. */
    void (*tenant)(void *ctx, struct str backend, struct str tenant, unsigned *active,
                   unsigned *queued);
    /* The same of all tenants that have a name. */
    void (*tenants)(void *ctx, struct str backend, unsigned *active, unsigned *queued);
    /* The changes of servers at run time (shm/changes.h), by numbers from 0, and the connections in
     * use by the server. NULL: no more. */
    const struct change *(*change)(void *ctx, unsigned i, unsigned *active);
    /* Changes a server; `address` ends with a NUL. NULL, or why not. */
    const char *(*change_server)(void *ctx, struct str backend, struct str address,
                                 enum change_kind kind, double weight);
    /* Drops changes, see changes_forget. Returns how many. */
    unsigned (*forget_changes)(void *ctx, struct str backend, struct str address);
    /* Asks the master for a reload, of the files that the generation `from` had (0: of those on the
     * disk). It is over when board->reload_done has reached *id. False: the master has ended. */
    bool (*ask_reload)(void *ctx, unsigned from, uint64_t *id);
    bool (*stop)(void *ctx);
    /* Lets the request of that id end, in whichever worker it is. False: the master has ended. */
    bool (*kill)(void *ctx, uint64_t id);
    /* Orders a level for the error log (base/log.h) of all processes, for so many seconds (0: no
     * end); -1: that of the route again. */
    void (*order_level)(void *ctx, int level, double seconds);
    /* Begins a FastCGI request of the script's own; `forget` gives it up or frees it. */
    struct world_request *(*ask)(void *ctx, const struct script_subrequest *ask,
                                 void (*done)(void *ctx, const struct script_reply *reply),
                                 void *done_ctx, const char **err);
    void (*forget)(struct world_request *request);
    /* Makes the params for a backend of a request that has ended, in its arena; returns NULL, or
     * the reason why they can't be made. */
    const char *(*params)(void *ctx, struct request *req, struct str backend, struct params *out);
    const struct board *board;
};

#endif
