/*
 * parts - a request under way, for the files of exchange/ that are its parts:
 *
 *     exchange  its life, the facts, the step; the decision and the body
 *     relay     an application's reply on its way: its head, what takes its place, its body
 *     cached    responses from the cache, before an application is asked or when it fails
 *     due       the times by which response and body must be here
 *     authorize whether an authorizer lets the decision be carried out (FastCGI §6.3)
 *     attempt   attempts to get a reply of a server: which one, when another one, when none
 *     stderr    what an application writes to STDERR, until on_stderr and the log have it
 *     response  the response, the server's own or made of a reply: its head, body and end; errors
 *     fill      a reply is kept for other requests
 *     coded     a body in a content coding is kept, and sent in place of the plain one
 *
 * Each of them calls those below it. What one below has for one above is a fact, like all others.
 */
#ifndef MG_EXCHANGE_PARTS_H
#define MG_EXCHANGE_PARTS_H

#include "exchange/exchange.h"

#include "backend/stream.h"
#include "exchange/compress.h"
#include "exchange/postpone.h"
#include "fastcgi/cgi.h"
#include "http/caching.h"
#include "http/spans.h"
#include "http/traceparent.h"
#include "shm/cache.h"

enum exchange_state {
    EXCHANGE_HEAD,       /* the front is still filling the request */
    EXCHANGE_DECIDING,   /* on_request waits */
    EXCHANGE_READY,      /* the decision is made; the next step carries it out */
    EXCHANGE_WAITING,    /* the decision is made; another request has the same reply made */
    EXCHANGE_BODY,       /* the decision is made; the body is being collected */
    EXCHANGE_ASKING,     /* a server has the request, or will; its head has not come */
    EXCHANGE_PAUSING,    /* overloaded servers are asked again soon */
    EXCHANGE_FAILING,    /* the request has failed; on_error waits */
    EXCHANGE_RESPONDING, /* the head is with the front, the body follows */
    EXCHANGE_ENDED,      /* the front has the whole response */
};

/* Facts that callbacks have noted and the step has not handled. Facts of the stream are read by
 * stream_next. */
struct exchange_facts {
    bool begun;
    bool resumed; /* the waiting hook has ended: */
    enum script_result result;
    bool filled;     /* a reply that another request had made may be in the cache */
    bool granted;    /* the authorizer lets the request on */
    bool replaced;   /* req.decision takes the place of an application's reply */
    bool redirected; /* the application has redirected the request: on_request is called again */
    bool body_read;  /* the hook that waits for the body can continue */
    bool late;       /* the reply is not here by its deadline, */
    bool body_late;  /* or the body */
    bool pause_over;
    bool killed; /* an operator wants the request to end */
    bool flush;  /* of `compress` */
    bool room;
    const char *body_error; /* SPOOL_TOO_LARGE, or the error of the spool */
    int refused;            /* the front's status; 0: none */
    const char *refusal;
};

#define EXCHANGE_REPLACEMENTS 10 /* most replacements of a reply by decisions */
#define ATTEMPT_TRIED         32

/* The attempts at one decision (attempt). */
struct attempts {
    struct stream stream;
    struct stream_request request;
    struct backlog_limits spool; /* limits of bytes that the client has not taken */
    struct deadline pause;
    double busy_since;
    int tried[ATTEMPT_TRIED]; /* servers that refused this request */
    unsigned tried_count;
    unsigned left;
};

/* The times by which a request must be through (due), in the loop's clock. */
struct due {
    struct deadline clock;
    double request;   /* its response must be whole; 0: there is no such time */
    double body;      /* its body must be here; likewise */
    double from;      /* where the request's time begins; 0: with the request */
    double body_from; /* where the body's time begins; 0: the body has not been asked for */
    bool body_late;   /* it did not come in time */
};

/* A decision whose authorizer is asked; req.decision is then the decision about the authorizer. */
struct guard {
    struct decision decision; /* carried out after a 200 of the authorizer */
    int error_status;         /* the exchange's */
    bool granted;             /* the head of a 200 has come, END_REQUEST has not */
    uint64_t dropped;         /* bytes of the body of that reply */
};

#define AUTHORIZE_BODY (1u << 20) /* bytes that the reply of an authorizer may have */

struct cache_entry;
struct cached_file;
struct cache_write;
struct file;

/* What a request has to do with the cache (cached, fill). Of the keys, each begins with the one
 * before it: `text`, as operators know it; `base`, with what the decision says; `key`, of the
 * response itself, with the headers that the application names in Vary. */
struct caching {
    const struct decision_cache *rules;
    struct str text, base, key;
    struct str names;          /* of these headers, joined by commas */
    struct cache_found found;  /* of `stale` */
    struct cache_entry *stale; /* a response that is not fresh any more; NULL: none */
    bool fills;                /* the application's reply is to be kept */
    bool outdated;             /* a stale response was sent at once: a newer one is to be made */
    bool told;                 /* others wait for that, by the hash `turn` */
    uint64_t turn;
    double since;                 /* when it began to wait */
    struct exchange *waits;       /* the exchange, while it waits; NULL: it does not */
    struct caching *next, **link; /* in the list of those that wait */
    bool revalidates;             /* the application is asked whether `stale` has changed */
    uint64_t purges;              /* when it was asked */
    double at;                    /* when its head came, in ledger_now's clock */
    struct caching_verdict verdict;
    struct cache_write *write; /* NULL: none is being kept */
};

/* A body in a content coding (coded). */
#define CODED_KEY 64
struct coded {
    enum coding coding;
    const struct file_source *source; /* the file that it is made of; NULL: a response */
    uint32_t slot;                    /* of that response, */
    uint64_t of;                      /* and its id */
    bool named;                       /* the key is known */
    char text[CODED_KEY];
    unsigned text_size;
    uint64_t hash;             /* of that */
    struct cache_entry *entry; /* the body that is sent; NULL: none is kept */
    struct cache_write *write; /* the body that is being made; NULL: none */
    uint64_t purges;           /* when that was begun */
    bool ready;                /* the response that comes next is to be kept as it is coded */
    bool makes;                /* it is, from here on */
    bool told;                 /* others are told that it is made */
};

struct exchange {
    struct request req;
    struct generation *generation;
    struct front *front;       /* the first filter, or the front itself */
    struct postpone *postpone; /* one of the filters; NULL: no response has had to wait */
    struct compress *compress; /* likewise; NULL: no response might be compressed */
    struct script_call call;
    struct deferred step;
    enum exchange_state state;
    struct exchange_facts facts;
    unsigned backend; /* the number of req.backend among the metrics; 0: none is asked */
    bool has_body;
    bool body_ended;
    bool close;          /* the connection must not be used again */
    bool skip_body;      /* HEAD, 204, 304: the application's body is dropped */
    bool paused;         /* the backend is not read, since the client is slow */
    bool head_too_large; /* of the application's reply */
    bool reply_has_body;
    bool shown;        /* the client may have a part of the application's reply */
    bool stderr_told;  /* the log has been told that a decision of on_stderr came too late */
    bool body_refused; /* on_error has been asked about a body that is too large, or late */
    bool undecided;    /* the head has come; on_error needs to know whether a body follows */
    bool background;   /* the client has its response, a stale one; a newer one is made */
    int error_status;  /* of the failure that on_error answers with a file; 0: none */
    uint8_t replacements, redirects; /* of the reply, of the request */
    struct attempts attempts;
    struct due due;
    struct guard *guard;     /* NULL: no authorizer is asked */
    struct caching *caching; /* NULL: the cache has no part in it */
    struct coded *coded;     /* NULL: no body in a coding is sent from it or kept in it */
    struct params params;
    struct cgi_paths paths;
    struct cgi_head head;
    struct front_file file;  /* a file whose bytes the front needs */
    uint64_t relayed;        /* bytes of the application's body that have gone to the front */
    struct headers cookies;  /* of applications that have redirected the request */
    struct headers standing; /* of on_request's decision: they hold for whatever is answered */
    struct headers always;   /* likewise, those about a content too, after all hooks */
    struct str cookie;       /* Set-Cookie of the policy, for the response */
    struct buf stderr_text;  /* STDERR that has not been logged */
    double stderr_since;
    const struct decision *said; /* of on_stderr, about the attempt's reply; NULL: nothing */
    _Alignas(16) char memory[];  /* the arena's first block */
};

_Static_assert(sizeof(struct exchange) < LOOP_BLOCK_SIZE / 3, "leaves too little for the arena");

/* The settings of the backend that a decision names, and of the request's backend. */
static inline const struct backend_settings *exchange_settings_of(const struct exchange *x,
                                                                  const struct decision *d)
{
    return &x->generation->settings->backends[d->backend];
}

static inline const struct backend_settings *exchange_settings(const struct exchange *x)
{
    return exchange_settings_of(x, &x->req.decision);
}

/* The length of the response's body before filters change it; -1: not known. */
static inline int64_t exchange_length(const struct exchange *x)
{
    return x->compress != NULL ? x->compress->length : x->req.response.content_length;
}

/* `compress` of the decision, else of the settings. */
static inline const struct compress_settings *exchange_compress(const struct exchange *x)
{
    const struct compress_settings *own = x->req.decision.compress;
    return own != NULL ? own : &x->generation->settings->compress;
}

static inline double exchange_now(const struct exchange *x)
{
    return loop_now(x->generation->loop);
}

/* Where the times of the request are noted; NULL, nearly always: its trace is not recorded. */
static inline struct spans *exchange_spans(const struct exchange *x)
{
    return x->req.traceparent != NULL ? x->req.traceparent->spans : NULL;
}

/* Where the application's reply is noted; NULL, nearly always: nowhere. */
static inline struct observed *exchange_observed(const struct exchange *x)
{
    return x->guard == NULL ? x->req.observed : NULL; /* what an authorizer says is not noted */
}

/* Queues the step, after a fact was noted. */
static inline void exchange_note(struct exchange *x)
{
    loop_step(x->generation->loop, &x->step);
}

/* Notes the result of a hook that has ended, maybe without a wait. */
static inline void exchange_note_result(struct exchange *x, enum script_result result)
{
    x->facts.resumed = true;
    x->facts.result = result;
    exchange_note(x);
}

/* --- body.c --- */

/* The state of the body for a hook that asks for it; `wait`: it waits where the body comes. */
enum body_state body_ask(struct request *req, struct body_wait *wait);
/* Begins to collect the body, before a server is asked; a streamed body is not collected. */
void body_begin(struct exchange *x);
/* Handles the end of the body that was collected. */
void body_collected(struct exchange *x);
/* Handles that the body is late. A hook that waits for it goes on without it. */
void body_note_late(struct exchange *x);
/* Answers a request whose body could not be kept; SPOOL_TOO_LARGE: it is too large. */
void body_refuse_unkept(struct exchange *x, const char *err);

/* --- response.c --- */

void response_clear(struct request *req);
/* Passes the head in req.response to the front. */
void response_begin(struct exchange *x);
void response_body(struct exchange *x, struct str bytes);
void response_end(struct exchange *x);
/* Flushes the filters, and notes whether the client may have a part of the response. */
void response_flush(struct exchange *x);
/* Flushes `compress`, which has waited long enough for more bytes. */
void response_flush_late(struct exchange *x);
/* Answers with a decision: a reply, or a file. */
void response_decision(struct exchange *x);
void response_file(struct exchange *x);
/* Passes more of a file to a front that needs its bytes. */
void response_give_file(struct exchange *x);
/* Sends Early Hints with the Link headers of the list, to clients that may support them. */
void response_hints(struct exchange *x, const struct headers *headers);
/* Sends those of the decision, before all other work for the request. */
void response_decided_hints(struct exchange *x);
/* Prepares a response with content that is kept, whose head is in req.response and whose body
 * begins at `at`: conditions and ranges as for a file. req.file has it. False: it has been
 * answered, since a condition does not hold. */
bool response_hold(struct exchange *x, const struct cached_file *own, uint64_t at,
                   struct file *file);
/* Responds with it. */
void response_send_held(struct exchange *x, const struct file *file);
/* Answers OPTIONS *, about the server as a whole. */
void response_asterisk(struct exchange *x);
/* Adds the cookies of applications that have redirected the request, once for each head in
 * req.response. */
void response_add_cookies(struct exchange *x);
/* Answers with the standard error page; statuses about the connection close it. */
void response_error(struct exchange *x, int status, const char *reason);
/* The same with a line in the log, which has the page's id. on_error is not called. */
void response_refuse(struct exchange *x, int status, const char *reason);
/* Answers 403, which is no failure of the application, so on_error is not called. */
void response_forbid(struct exchange *x, const char *reason);
/* Answers a request that has failed before a byte was sent, after it was logged: on_error, else the
 * page. */
void response_fail(struct exchange *x, const char *kind, int status, const char *reason);
/* A hook has failed, and the log knows: what script_errors says, 500 unless it names a decision.
 * SCRIPT_OPEN is the caller's to look at. */
void response_script_failed(struct exchange *x, enum script_hook hook, const char *reason);
/* response_fail for what the log has not been told yet. */
void response_fail_and_say(struct exchange *x, const char *kind, int status, const char *reason);
/* Answers with the page, after on_error has returned no decision. */
void response_unexcused(struct exchange *x, enum script_result result);
/* Ends a response that has broken off: by an error page (after on_error) if its head can be taken
 * back; else the client must see that the body is incomplete. */
void response_cut(struct exchange *x, const char *kind, int status, const char *reason);
/* Answers a request that the front has refused. */
void response_refused(struct exchange *x, int status, const char *reason);

/* --- fill.c; called where x->caching is not NULL --- */

/* The key with the values of these headers of the request. */
struct str fill_variant(struct request *req, struct str key, struct str names);
/* Whether a response may be kept: CACHE_NO_REASON, or why not. */
enum cache_reason fill_judge(const struct exchange *x, const struct response *response,
                             struct caching_verdict *out);
/* Notes why the response is not kept. */
void fill_refuse(struct exchange *x, enum cache_reason reason);
/* The head of an application's reply, as the client gets it, gets X-Cache; the reply is kept if
 * it may be. */
void fill_head(struct exchange *x);
void fill_body(struct exchange *x, struct str bytes);
/* The reply is whole: other requests get it. */
void fill_end(struct exchange *x);
/* It will not be whole: it is dropped, and the reason noted. */
void fill_cut(struct exchange *x);
/* It is not kept: others need not wait for it. */
void fill_drop(struct exchange *x);
/* Makes the headers of the kept response of these and of the 304 in req.response, which says that
 * it holds. */
void fill_merge(struct exchange *x, const struct headers *kept, struct headers *out);
/* Keeps them in place of those of the entry, which is caching->found; nothing where they are the
 * same. */
void fill_put_head(struct exchange *x, const struct cache_entry *e, struct headers *headers);

/* The codings that an Accept-Encoding accepts, as one of few texts, since clients write the same in
 * a hundred ways: what keys have of it, and applications whose reply is kept. */
struct str fill_codings(struct arena *a, struct str value);
/* What sets responses of the decision's site apart from those of others. */
uint32_t fill_site(struct exchange *x);

/* --- coded.c --- */

/* Opens the store for the first request that needs it. False: it can't be used. */
bool coded_open(const struct exchange *x);
/* The bytes that one response may have in it. */
uint64_t coded_most(const struct exchange *x);
/* A kept response is about to be sent whole, its head being in req.response: where `compress` would
 * code it, a body that is kept takes the place of *file's, or the one that is made is kept. */
void coded_choose(struct exchange *x, const struct cache_found *of, struct file *file);
/* Likewise, for a static file. */
void coded_choose_file(struct exchange *x, struct file *file);
/* A reply is about to be sent and kept: so is what `compress` makes of it. */
void coded_follow(struct exchange *x);
/* That reply has been kept, in this slot and with this id. */
void coded_name(struct exchange *x, uint32_t slot, uint64_t id);
/* `compress` is set for the response: it gives a copy, where one is wanted. */
void coded_watch(struct exchange *x);
/* Gives up the body that is being made. */
void coded_drop(struct exchange *x);
/* Gives up what the request has of it. */
void coded_leave(struct exchange *x);

/* --- cached.c --- */

/* The decision of a FastCGI request has `cache`. True: the request has been answered, or waits. */
bool cached_begin(struct exchange *x);
/* Looks again, after `filled`, or after a while. True: as above. */
bool cached_resume(struct exchange *x);
/* Takes params out that must not shape a reply for others, and asks for a change since the stale
 * one. */
void cached_params(struct exchange *x);
/* There is a stale response, and the client has nothing yet. */
bool cached_has_stale(const struct exchange *x);
/* Answers with it. No server is at work for the request any more. */
void cached_answer_stale(struct exchange *x);
/* The head in req.response says that the stale response has not changed. */
bool cached_is_renewed(const struct exchange *x);
/* Answers with it, which is fresh again. No server is at work for the request any more. */
void cached_renew(struct exchange *x);
/* The client has its response. True: it was a stale one, of which this request has a newer one made
 * now. */
bool cached_goes_on(struct exchange *x);
/* Follows X-Cache-Purge of a reply, but for an authorizer's, and removes it. */
void cached_purge(struct exchange *x);
/* Gives up what the request has of the cache. */
void cached_leave(struct exchange *x);

/* --- nowhere.c --- */

/* Gives a request whose client has its response a front that takes all and keeps nothing. */
void nowhere_enter(struct exchange *x);
/* Takes it out of the list of all that have such a front. */
void nowhere_leave(struct exchange *x);
/* One of these requests; NULL: there is none. */
struct exchange *nowhere_first(void);

/* --- due.c --- */

void due_init(struct exchange *x);
void due_fini(struct exchange *x);
/* A decision is about to be carried out: from here on its deadline counts. False: that is over
 * already, and the request has been answered. */
bool due_begin(struct exchange *x);
/* The body is let come: for the first time, or with another decision. */
void due_body(struct exchange *x);
/* It is here. */
void due_body_end(struct exchange *x);
/* Why a body that is late is refused. */
const char *due_describe_body(struct exchange *x);
/* After `late`: the server is left, and on_error or a page answers. False: a hook still waits, and
 * due_begin sees to it. */
bool due_step(struct exchange *x);

/* --- stderr.c --- */

/* A slice of STDERR. */
void stderr_add(struct exchange *x, struct str bytes);
/* Passes STDERR to on_stderr and the log; `late`: only if it has waited long enough. */
void stderr_flush(struct exchange *x);
void stderr_flush_late(struct exchange *x);
/* There are messages for an on_stderr hook, and the client has nothing of the response: the hook
 * may replace it, so it is asked before the next bytes of STDOUT. */
bool stderr_is_due(const struct exchange *x);
/* A decision of on_stderr takes the place of the reply, of which nothing has left: it is req's,
 * and the fact `replaced` is noted. The caller leaves the server. False: there is none, or it came
 * too late. */
bool stderr_replaces(struct exchange *x);

/* --- authorize.c --- */

/* The decision that is to be carried out has an authorizer. True: a request like this one was let
 * on before, and so is this one. False: the authorizer is asked, or the request has been answered
 * since it can't be. Its reply comes as an application's does (relay); a 200 is the fact
 * `granted`. */
bool authorize_begin(struct exchange *x);
/* A slice of the body after a 200. NULL, or the error. */
const char *authorize_drop(struct exchange *x, size_t n);
/* Removes headers that clients don't get from an authorizer's reply which is passed on. */
void authorize_clean(struct exchange *x);
/* The reply with a 200 is complete: its Variable-* become params of the decision. NULL, or the
 * error. */
const char *authorize_end(struct exchange *x);
/* After `granted`: restores the request's decision, which is then carried out. */
void authorize_resume(struct exchange *x);

/* --- attempt.c --- */

/* True when the application gets the request's body. */
bool attempt_sends_body(const struct exchange *x);
/* It gets it as a file, and STDIN is empty. */
static inline bool exchange_has_file(const struct exchange *x)
{
    return x->req.decision.request_file && x->req.body.path != NULL;
}

/* Checks a FastCGI decision before the body is read. False: the request has been answered. */
bool attempt_check(struct exchange *x);
/* Begins the attempts, once the body has come as far as needed. */
void attempt_begin(struct exchange *x);
/* Begins the next attempt, at a server or in the queue. `fresh`: not on a kept connection. */
void attempt_next(struct exchange *x, bool fresh);
/* Handles a failed attempt by another one, a pause, or an error. */
void attempt_failed(struct exchange *x, enum failure failure, const char *detail);
/* Ends the attempt's entry for the log; `error` is NULL after a success. */
void attempt_end(struct exchange *x, const char *error);
/* Notes the attempt's server for the log. */
void attempt_note_server(struct exchange *x);
/* The attempt's backend; a script may have decided on another one meanwhile. */
struct backend *attempt_backend(const struct exchange *x);
/* Ends whatever is under way with a backend; `why` for the log. */
void attempt_leave(struct exchange *x, const char *why);

/* --- relay.c --- */

/* Handles events of the stream; `room`: the front has room again. */
void relay_step(struct exchange *x, bool room);

#endif
