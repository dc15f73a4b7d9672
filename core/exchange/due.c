/*
 * due - see parts.h. This file has the times by which a request must have its response (`deadline`)
 * and its body must have come (`body_deadline`). One timer serves both, and none is set without
 * them.
 *
 * The clock only notes what is over. A hook that waits is not interrupted: its decision finds that
 * the request is late.
 */
#include "exchange/parts.h"

#include "exchange/meter.h"
#include "exchange/report.h"

static void due_missed(struct deadline *d);

/* Sets the timer to the next of both times. */
static void due_arm(struct exchange *x)
{
    struct due *due = &x->due;
    double next = due->request;
    if (next == 0 || (due->body > 0 && due->body < next))
        next = due->body;
    double left = next - exchange_now(x);
    if (next == 0)
        deadline_clear(&due->clock);
    else if (left > 0)
        deadline_set(&due->clock, left);
    else
        due_missed(&due->clock);
}

static void due_missed(struct deadline *d)
{
    struct exchange *x = (struct exchange *)((char *)d - offsetof(struct exchange, due.clock));
    struct due *due = &x->due;
    double now = exchange_now(x);
    deadline_clear(d);
    if (due->body > 0 && due->body <= now) {
        due->body = 0;
        due->body_late = x->facts.body_late = true;
    }
    if (due->request > 0 && due->request <= now) {
        due->request = 0;
        x->facts.late = true;
    }
    if (x->facts.body_late || x->facts.late)
        exchange_note(x);
    if (due->body > 0 || due->request > 0)
        due_arm(x);
}

void due_init(struct exchange *x)
{
    deadline_init(&x->due.clock, x->generation->loop, due_missed);
}

void due_fini(struct exchange *x)
{
    deadline_fini(&x->due.clock);
}

/* --- the body --- */

/* The decision's body_deadline, or else that of the limits. */
static double due_body_time(const struct exchange *x)
{
    const struct decision *d = &x->req.decision;
    const struct limits *limits = &x->generation->settings->limits;
    return d->body_deadline > 0 ? d->body_deadline : limits->body_deadline;
}

void due_body(struct exchange *x)
{
    struct due *due = &x->due;
    double time = due_body_time(x);
    if (due->body_from == 0)
        due->body_from = exchange_now(x);
    if (due->body == 0 && time == 0)
        return;
    due->body = x->body_ended || due->body_late || time == 0 ? 0 : due->body_from + time;
    due_arm(x);
}

void due_body_end(struct exchange *x)
{
    if (x->due.body == 0)
        return;
    x->due.body = 0;
    due_arm(x);
}

const char *due_describe_body(struct exchange *x)
{
    const struct request *req = &x->req;
    struct arena *a = &x->req.arena;
    unsigned long long come = req->bytes_in;
    struct str all = req->body_length > 0
                         ? arena_printf(a, " of %llu", (unsigned long long)req->body_length)
                         : STR("");
    return arena_printf(a,
                        "the body did not come within body_deadline %g s: %llu%.*s bytes had come",
                        due_body_time(x), come, STR_FMT(all))
        .p;
}

/* --- the whole request --- */

/* Seconds that the decision's request may take, its authorizer included; 0: no limit. */
static double due_time(const struct exchange *x)
{
    const struct decision *d = &x->req.decision;
    if (x->guard != NULL)
        d = &x->guard->decision;
    if (d->deadline > 0)
        return d->deadline;
    if (d->kind == DECISION_FASTCGI && exchange_settings_of(x, d)->deadline > 0)
        return exchange_settings_of(x, d)->deadline;
    return d->authorize != NULL ? exchange_settings_of(x, d->authorize)->deadline : 0;
}

/* Describes the state of a request whose time is over. */
static const char *due_describe(struct exchange *x)
{
    struct arena *a = &x->req.arena;
    const struct stream *s = &x->attempts.stream;
    unsigned long long bytes = s->bytes_in;
    switch (x->state) {
    case EXCHANGE_BODY:
        return "its body was still coming";
    case EXCHANGE_WAITING:
        return "another request had the application make its answer";
    case EXCHANGE_PAUSING:
        return "the servers were overloaded";
    case EXCHANGE_ASKING:
        if (stream_waits(s))
            return arena_printf(a, "it waited in the queue: %s",
                                backend_crowd(attempt_backend(x), a))
                .p;
        return s->bytes_in == 0
                   ? "no answer had come"
                   : arena_printf(a, "%llu bytes of an answer had come, and no head", bytes).p;
    case EXCHANGE_RESPONDING:
        return arena_printf(a, "%llu bytes of its answer had come", bytes).p;
    default:
        return "a hook had not decided";
    }
}

/* Ends a request whose time is over: 408 if the body was still coming, which is the client's delay,
 * else 504. */
static void due_answer(struct exchange *x, double time)
{
    const char *reason =
        arena_printf(&x->req.arena, "the deadline of %g s is over: %s", time, due_describe(x)).p;
    bool slow_client = x->state == EXCHANGE_BODY;
    x->due.from = exchange_now(x); /* a decision of on_error has a new time */
    x->due.request = 0;
    if (!slow_client && stream_active(&x->attempts.stream)) {
        attempt_note_server(x);
        attempt_end(x, reason);
    }
    attempt_leave(x, reason);
    if (slow_client) {
        meter_refused(x, 408);
        response_fail_and_say(x, "timeout", 408, reason);
        return;
    }
    report_backend(LOG_ERROR, &x->req, "timeout", reason);
    if (x->state == EXCHANGE_RESPONDING)
        response_cut(x, "timeout", 504, reason);
    else
        response_fail(x, "timeout", 504, reason);
}

bool due_begin(struct exchange *x)
{
    struct due *due = &x->due;
    double time = due_time(x);
    if (time == 0 && due->request == 0)
        return true;
    double from = due->from > 0 ? due->from : x->req.began;
    if (time > 0 && from + time <= exchange_now(x)) {
        if (x->req.decision.kind == DECISION_FASTCGI)
            x->req.backend = exchange_settings(x)->name;
        due_answer(x, time);
        return false;
    }
    due->request = time > 0 ? from + time : 0;
    due_arm(x);
    return true;
}

bool due_step(struct exchange *x)
{
    switch (x->state) {
    case EXCHANGE_WAITING:
    case EXCHANGE_BODY:
    case EXCHANGE_ASKING:
    case EXCHANGE_PAUSING:
    case EXCHANGE_RESPONDING:
        due_answer(x, due_time(x));
        return true;
    default: /* a hook waits: due_begin looks again */
        return false;
    }
}
