/*
 * proxy_inner - a request under way, for exchange/ only: exchange/proxy.c decides and answers,
 * exchange/attempt.c asks backends.
 */
#ifndef MG_EXCHANGE_PROXY_INNER_H
#define MG_EXCHANGE_PROXY_INNER_H

#include "exchange/proxy.h"

#include "backend/stream.h"
#include "fastcgi/cgi.h"

enum proxy_state {
    PROXY_HEAD,     /* the front is still filling the request */
    PROXY_DECIDING, /* a hook waits for something */
    PROXY_BODY,     /* decided; the body is being collected */
    PROXY_WAITING,  /* the backend has the request, or will; its head has not come */
    PROXY_SKIPPING, /* its answer is not what the client gets: see `next` */
    PROXY_REPLYING, /* the head is out, the body follows */
    PROXY_ENDED,    /* the front has everything */
};

/* What happens instead of the application's answer. */
enum proxy_next {
    NEXT_NOTHING,
    NEXT_DECISION, /* of on_response or on_error, in req.decision */
    NEXT_FILE,     /* X-Accel-Redirect or X-Sendfile, in req.decision */
    NEXT_REDIRECT, /* Location of a path */
};

/* Which hook the request waits for. */
enum proxy_asking { ASKING_NOBODY, ASKING_REQUEST, ASKING_ERROR };

#define PROXY_TRIED 32

struct proxy {
    struct request req;
    struct generation *generation;
    const struct front_ops *ops;
    void *front;
    struct script_call call;
    enum proxy_state state;
    enum proxy_next next;
    enum proxy_asking asking;
    bool has_body;
    bool close;     /* the connection must not be used again */
    bool skip_body; /* HEAD, 204, 304: whatever the application sends is dropped */
    bool paused;    /* the backend is not read: the client has enough */
    bool body_ended;
    bool head_too_large; /* of the application's answer */
    bool answer_has_body;
    bool undecided;   /* its head is here; on_error wants to know whether a body follows */
    int error_status; /* of the failure that on_error answers with a file; 0: none */
    struct stream stream;
    struct stream_request stream_request;
    struct params params;
    struct cgi_paths paths;
    struct cgi_head head;
    struct headers cookies;  /* of applications that have redirected the request */
    struct headers standing; /* of on_request's decision: they hold for whatever is answered */
    struct str cookie;       /* of the policy, for the answer */
    struct buf stderr_text;  /* what STDERR has brought and the log has not had */
    double stderr_since;
    struct deadline again; /* an overloaded backend is asked again */
    double busy_since;
    int tried[PROXY_TRIED]; /* servers that refused this request */
    unsigned tried_count;
    unsigned attempts_left;
    unsigned replacements, redirects;
    _Alignas(16) char memory[]; /* the arena's first block */
};

_Static_assert(sizeof(struct proxy) < LOOP_BLOCK_SIZE / 3, "leaves too little for the arena");

/* The settings of the backend that the decision names. */
static inline const struct backend_settings *proxy_backend_settings(const struct proxy *px)
{
    return &px->generation->settings->backends[px->req.decision.backend];
}

/* --- proxy.c --- */

/* The head in req.response goes to the front. */
void proxy_begin_response(struct proxy *px);
void proxy_send_body(struct proxy *px, struct str bytes);
void proxy_end_response(struct proxy *px);
void proxy_clear_response(struct request *req);
/* The answer has broken off: an error page (after on_error) where its head is still here, otherwise
 * the client must see that the body is not whole. */
void proxy_cut_response(struct proxy *px, const char *kind, int status, const char *reason);
/* The request has failed before anything was sent, and the log knows: on_error, else the page. */
void proxy_fail(struct proxy *px, const char *kind, int status, const char *reason);
/* The same for what the log has not been told yet. */
void proxy_fail_and_say(struct proxy *px, const char *kind, int status, const char *reason);
/* The answer sets the cookies of applications that have sent the request on, too: once for each
 * head in req.response. */
void proxy_add_cookies(struct proxy *px);
/* 403, which is no failure of the application: on_error is not asked. */
void proxy_forbid(struct proxy *px, const char *reason);
/* Does what px->next says, now that the application's answer is out of the way. */
void proxy_go_on(struct proxy *px);

/* --- attempt.c --- */

/* The decision is FastCGI: its checks before the body is read. False: it has been answered. */
bool proxy_check_backend(struct proxy *px);
/* The body is here as far as it must be: params, and off. */
void proxy_ask_backend(struct proxy *px);
/* Ends whatever is under way with a backend. */
void proxy_leave_backend(struct proxy *px);

#endif
