/*
 * stderr - see parts.h. This file has an application's STDERR, until on_stderr and the log have it.
 * A message may come in pieces, so it waits for a moment, or for the reply's end.
 */
#include "exchange/parts.h"

#include "exchange/account.h"
#include "exchange/doctor.h"
#include "exchange/meter.h"
#include "exchange/report.h"
#include "http/logline.h"
#include "http/observed.h"
#include "shm/recent.h"

#define STDERR_MAX   65536
#define STDERR_DELAY 1.0 /* seconds that a message may wait for the rest of the reply */

struct stderr_lines {
    struct exchange *x;
    bool advised;
};

/* The level of a message about a script that PHP has not run. Any client can ask for scripts that
 * are not there. */
static enum log_level stderr_level(struct exchange *x, struct str line)
{
    switch (doctor_whose(&x->req, &x->params, x->paths.root, x->paths.docroot, line)) {
    case DOCTOR_THEIRS:
        return LOG_DEBUG;
    case DOCTOR_UNSEEN:
        return LOG_WARN;
    default:
        return LOG_ERROR;
    }
}

static struct str stderr_whose(const struct exchange *x)
{
    const struct param *script = params_find(&x->params, STR("SCRIPT_FILENAME"));
    return script != NULL ? script->value : x->req.uri.path;
}

/* Notes the message for `moongate status`. Scripts that clients make up share the entry of their
 * site, since they would take the place of all others. */
static void stderr_note_recent(struct exchange *x, struct str line, enum log_level level)
{
    struct str whose = stderr_whose(x);
    recent_message(level < LOG_ERROR && x->paths.docroot.n > 0 ? x->paths.docroot : whose, line,
                   x->generation->number);
}

static void stderr_log(void *ctx, struct str line)
{
    struct stderr_lines *to = ctx;
    struct exchange *x = to->x;
    enum log_level level = doctor_knows(line) ? stderr_level(x, line) : LOG_ERROR;
    const char *advice = "";
    /* The advice takes looks at the disk: it is made where somebody reads it. */
    bool read = level >= log_threshold() || x->req.trace != NULL;
    if (read && !to->advised && doctor_knows(line)) {
        advice = doctor_script(&x->req, &x->params, x->paths.root, x->paths.docroot,
                               script_rule(x->generation->script, &x->req));
        to->advised = true;
    }
    const struct report_source source = {stderr_whose(x), x->paths.docroot};
    report_stderr(level, &x->req, &source, line, advice);
    if (x->req.trace != NULL)
        account_stderr(x, *advice == '\0'
                              ? line
                              : arena_printf(&x->req.arena, "%.*s: %s", STR_FMT(line), advice));
    stderr_note_recent(x, line, level);
}

void stderr_flush(struct exchange *x)
{
    struct str text = buf_peek(&x->stderr_text);
    struct stderr_lines to = {.x = x};
    if (text.n == 0)
        return;
    struct script_messages messages = {.text = text,
                                       .docroot = x->paths.docroot,
                                       .root = x->paths.root,
                                       .line = stderr_log,
                                       .ctx = &to};
    if (script_stderr(x->generation->script, &x->req, &x->call, &messages) != SCRIPT_DONE) {
        stderr_log(&to, text); /* logs the text although the hook has failed */
        messages.count = 1;
    }
    if (messages.decision != NULL)
        x->said = messages.decision;
    for (unsigned i = 0; i < METRICS_LEVELS; i++)
        meter_message(x, i, messages.levels[i]);
    meter_script_messages(x, messages.count);
    if (x->attempts.stream.server >= 0)
        __atomic_fetch_add(
            &backend_server(x->attempts.request.backend, x->attempts.stream.server)->messages,
            messages.count, __ATOMIC_RELAXED);
    buf_fini(&x->stderr_text);
}

void stderr_add(struct exchange *x, struct str bytes)
{
    if (exchange_observed(x) != NULL)
        observed_stderr(x->req.observed, bytes);
    if (buf_len(&x->stderr_text) == 0)
        x->stderr_since = exchange_now(x);
    while (bytes.n > 0) {
        size_t room = STDERR_MAX - buf_len(&x->stderr_text);
        size_t n = bytes.n < room ? bytes.n : room;
        buf_append(&x->stderr_text, bytes.p, n);
        bytes = str_skip(bytes, n);
        if (n == room)
            stderr_flush(x);
    }
}

void stderr_flush_late(struct exchange *x)
{
    if (buf_len(&x->stderr_text) > 0 && exchange_now(x) - x->stderr_since > STDERR_DELAY)
        stderr_flush(x);
}

bool stderr_is_due(const struct exchange *x)
{
    return buf_len(&x->stderr_text) > 0 && !x->shown &&
           script_has(x->generation->script, HOOK_STDERR);
}

/* Logs it once for a request. The quota bounds the lines of many requests. */
static void stderr_say_too_late(struct exchange *x, const char *reason)
{
    static struct log_quota quota = {.most = LOG_MOST};
    if (x->stderr_told)
        return;
    x->stderr_told = true;
    logline_write(&x->req, &quota, LOG_WARN,
                  "on_stderr returned a decision, which has no effect: %s", reason);
}

bool stderr_replaces(struct exchange *x)
{
    const struct decision *said = x->said;
    bool granted = x->guard != NULL && x->guard->granted;
    if (said == NULL || (x->guard != NULL && !x->attempts.stream.answered))
        return false; /* an authorizer that has not refused yet */
    x->said = NULL;
    if (granted || (x->state == EXCHANGE_RESPONDING && !x->front->ops->retract(x->front))) {
        stderr_say_too_late(x, granted ? "the authorizer has let the request on"
                                       : "a part of the answer has left (the decision's key "
                                         "`flush` can hold it back)");
        return false;
    }
    x->relayed = 0;
    x->paused = false;
    x->state = EXCHANGE_ASKING;
    x->req.decision = *said;
    x->facts.replaced = true;
    exchange_note(x);
    return true;
}
