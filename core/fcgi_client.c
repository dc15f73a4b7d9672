/* fcgi_client - see fcgi_client.h. */
#include "fcgi_client.h"

#include "addr.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#define ANSWER_MAX (1u << 30)

static char message[300];

static const char *failed(const struct fcgi_exchange *x, const char *what)
{
    snprintf(message, sizeof message, "%.120s: %s", x->address, what);
    return message;
}

static bool encode(const struct fcgi_exchange *x, struct buf *out)
{
    struct fcgi_pairs pairs;
    uint16_t id = x->values ? 0 : 1;
    if (!x->values)
        fcgi_begin(out, 1, x->role, 0);
    fcgi_pairs_init(&pairs, out, x->values ? FCGI_GET_VALUES : FCGI_PARAMS, id);
    for (unsigned i = 0; i < x->params->count; i++)
        fcgi_pairs_add(&pairs, x->params->list[i].name, x->params->list[i].value);
    fcgi_pairs_end(&pairs);
    if (x->values)
        return !pairs.too_large;
    fcgi_empty(out, FCGI_PARAMS, 1);
    for (struct str rest = x->body; rest.n > 0;) {
        size_t n = rest.n < FCGI_RECORD_MAX ? rest.n : FCGI_RECORD_MAX;
        uint8_t header[FCGI_HEADER_SIZE];
        fcgi_header(header, FCGI_STDIN, 1, n);
        buf_append(out, header, sizeof header);
        buf_append(out, rest.p, n);
        rest = str_skip(rest, n);
    }
    fcgi_empty(out, FCGI_STDIN, 1);
    return !pairs.too_large && !out->overflow;
}

struct reader {
    struct fcgi_exchange *x;
    bool ended;
};

static bool on_event(void *ctx, const struct fcgi_event *event)
{
    struct reader *r = ctx;
    switch (event->type) {
    case FCGI_STDOUT:
    case FCGI_GET_VALUES_RESULT:
        buf_append_str(&r->x->out, event->content);
        break;
    case FCGI_STDERR:
        buf_append_str(&r->x->err, event->content);
        break;
    case FCGI_END_REQUEST:
        r->x->app_status = event->app_status;
        r->x->protocol_status = event->protocol_status;
        r->ended = true;
        return false;
    default:
        break;
    }
    return true;
}

/* Waits until one of the events is there. Returns them, or 0 when the time is over. */
static int wait_for(int fd, int events, double timeout)
{
    struct pollfd p = {.fd = fd, .events = (short)events};
    int n;
    do
        n = poll(&p, 1, (int)(timeout * 1000));
    while (n < 0 && errno == EINTR);
    return n > 0 ? p.revents : 0;
}

static int open_connection(const struct fcgi_exchange *x, const char **err)
{
    struct addr addr;
    int code = 0;
    socklen_t size = sizeof code;
    *err = addr_resolve(x->address, &addr);
    if (*err != NULL)
        return -1;
    int fd = socket(addr.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || (connect(fd, &addr.sa, addr.len) != 0 && errno != EINPROGRESS)) {
        *err = errno == EAGAIN ? "its listen queue is full" : strerror(errno);
    } else if (wait_for(fd, POLLOUT, x->timeout) == 0) {
        *err = "no connection within the time";
    } else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &size) == 0 && code != 0) {
        *err = strerror(code);
    }
    if (*err != NULL && fd >= 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* GET_VALUES has no end of its own: one record is the answer. */
static bool is_complete(const struct reader *r, const struct fcgi_decoder *d)
{
    return r->ended || (r->x->values && buf_len(&r->x->out) > 0 && fcgi_decoder_idle(d));
}

static const char *transfer(int fd, struct reader *r, struct buf *out)
{
    struct fcgi_decoder decoder;
    char bytes[65536];
    size_t used;
    fcgi_decoder_init(&decoder);
    while (!is_complete(r, &decoder)) {
        int ready = wait_for(fd, POLLIN | (buf_len(out) > 0 ? POLLOUT : 0), r->x->timeout);
        if (ready == 0)
            return "no answer within the time";
        if (ready & POLLOUT) {
            struct str rest = buf_peek(out);
            ssize_t n = send(fd, rest.p, rest.n, MSG_NOSIGNAL);
            if (n > 0)
                buf_consume(out, (size_t)n);
            else if (errno != EAGAIN)
                buf_consume(out, rest.n); /* an answer may still be readable */
        }
        if (!(ready & (POLLIN | POLLHUP | POLLERR)))
            continue;
        ssize_t n = read(fd, bytes, sizeof bytes);
        if (n < 0 && errno == EAGAIN)
            continue;
        if (n <= 0)
            return n < 0 ? strerror(errno) : "the connection ended before the answer was complete";
        const char *err = fcgi_feed(&decoder, bytes, (size_t)n, &used, on_event, r);
        if (err != NULL)
            return err;
        if (r->x->out.overflow || r->x->err.overflow)
            return "an answer larger than 1 GB";
    }
    return NULL;
}

const char *fcgi_exchange(struct fcgi_exchange *x)
{
    struct buf out;
    const char *err = NULL;
    buf_init(&x->out, ANSWER_MAX);
    buf_init(&x->err, ANSWER_MAX);
    buf_init(&out, ANSWER_MAX);
    int fd = open_connection(x, &err);
    if (fd >= 0) {
        struct reader reader = {.x = x};
        err = encode(x, &out) ? transfer(fd, &reader, &out)
                              : "a param is larger than a FastCGI record can hold";
        close(fd);
    }
    buf_fini(&out);
    return err != NULL ? failed(x, err) : NULL;
}
