/* traceparent - see traceparent.h. */
#include "http/traceparent.h"

#define FLAG_SAMPLED 1
#define FLAGS_KNOWN  3 /* sampled, and level 2's "the id of the trace is random" */

/* The value of lower-case hex digits, which no other digits may be; -1: one of them is none. */
static int traceparent_hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* True when the bytes are hex digits, and not zeros alone. */
static bool traceparent_is_id(const char *p, size_t n)
{
    bool any = false;
    for (size_t i = 0; i < n; i++) {
        if (traceparent_hex(p[i]) < 0)
            return false;
        any |= p[i] != '0';
    }
    return any;
}

/* Reads the header (Trace Context section 3.2). A later version may have more behind another dash;
 * version ff is none. False: the value is not valid. */
static bool traceparent_read(struct traceparent *t, struct str value)
{
    const char *p = value.p;
    if (value.n < TRACEPARENT_SIZE || p[2] != '-' || p[35] != '-' || p[52] != '-')
        return false;
    int version = traceparent_hex(p[0]) < 0 || traceparent_hex(p[1]) < 0
                      ? 0xff
                      : traceparent_hex(p[0]) << 4 | traceparent_hex(p[1]);
    if (version == 0xff || (version == 0 && value.n != TRACEPARENT_SIZE) ||
        (value.n > TRACEPARENT_SIZE && p[TRACEPARENT_SIZE] != '-'))
        return false;
    if (!traceparent_is_id(p + 3, 2 * TRACEPARENT_ID) || !traceparent_is_id(p + 36, TRACEPARENT_ID))
        return false;
    int high = traceparent_hex(p[53]), low = traceparent_hex(p[54]);
    if (high < 0 || low < 0)
        return false;
    memcpy(t->own, p, TRACEPARENT_SIZE);
    memcpy(t->own, "00", 2);
    t->own[53] = '0';
    t->own[54] = (char)('0' + (low & FLAGS_KNOWN));
    memcpy(t->caller, p + 36, TRACEPARENT_ID);
    t->sampled = (low & FLAG_SAMPLED) != 0;
    return true;
}

/* Writes the word as 16 hex digits. An id of zeros would be none. */
static void traceparent_put(char *out, uint64_t word)
{
    char text[17];
    request_id_text(word != 0 ? word : 1, text);
    memcpy(out, text, TRACEPARENT_ID);
}

static void traceparent_begin(struct traceparent *t, double sample, const uint64_t random[2])
{
    memcpy(t->own, "00-0000000000000000-", 20);
    traceparent_put(t->own + 3, random[0]);
    traceparent_put(t->own + 19, random[1]);
    /* The id's last 56 bits decide, so that all servers with one ratio agree about a trace; a
     * double holds 53 of them. */
    t->sampled = (double)((random[1] & 0xffffffffffffff) >> 3) < sample * 0x1p53;
    memcpy(t->own + 35, "-0000000000000000-00", 20);
    t->own[54] = t->sampled ? '1' : '0';
}

static const struct header *traceparent_find(const struct request *req,
                                             const struct tracing_settings *settings)
{
    const struct header *h = headers_get(&req->headers, STR("traceparent"));
    bool believed = settings->believe == BELIEVE_ALL ||
                    (settings->believe == BELIEVE_TRUSTED && req->from_trusted);
    return believed && h != NULL && !h->repeated ? h : NULL;
}

void traceparent_take(struct request *req, const struct tracing_settings *settings,
                      const uint64_t random[3])
{
    struct traceparent *t = arena_alloc(&req->arena, sizeof *t);
    const struct header *sent = traceparent_find(req, settings);
    *t = (struct traceparent){.sampled = false};
    if (sent == NULL || !traceparent_read(t, sent->value)) {
        traceparent_begin(t, settings->sample, random);
        headers_remove(&req->headers, STR("tracestate"));
        params_remove(&req->arrived, STR("HTTP_TRACESTATE"));
    }
    traceparent_put(t->own + 36, random[2]);
    memcpy(t->sent, t->own, sizeof t->sent);
    req->traceparent = t;
    struct str value = {t->sent, TRACEPARENT_SIZE};
    headers_remove(&req->headers, STR("traceparent"));
    headers_add(&req->arena, &req->headers, STR("traceparent"), value);
    if (req->arrived.count > 0)
        params_set(&req->arena, &req->arrived, STR("HTTP_TRACEPARENT"), value);
}

uint64_t traceparent_name_sent(struct traceparent *t, uint64_t span)
{
    traceparent_put(t->sent + 36, span);
    return span != 0 ? span : 1;
}
