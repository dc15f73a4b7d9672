/* farewell - see farewell.h. */
#include "front/farewell.h"

#include "tls/ktls.h"

#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define FAREWELL_TIME 60.0 /* seconds for one socket */
#define LOOK_PERIOD   0.5  /* seconds */

/* Goes on with one socket. False: nothing of it is left to send, or nobody reads it. A look is not
 * enough: the kernel hands on a record some time after TCP has room for it. */
static bool farewell_goes_on(struct farewell_socket *s, double now)
{
    struct pollfd state = {.fd = s->fd};
    int waiting = 0;
    if (now >= s->until || (poll(&state, 1, 0) > 0 && state.revents & (POLLERR | POLLHUP)))
        return false;
    if (s->unsaid) {
        s->unsaid = !ktls_send_alert(s->fd, KTLS_CLOSE_NOTIFY);
        return !s->unsaid || errno == EAGAIN || errno == EINTR;
    }
    bool quiet = ioctl(s->fd, SIOCOUTQ, &waiting) != 0 || waiting == 0, before = s->quiet;
    s->quiet = quiet;
    return !quiet || !before;
}

static void farewell_on_look(struct deadline *d)
{
    struct farewell *f = (struct farewell *)((char *)d - offsetof(struct farewell, look));
    double now = loop_now(d->loop);
    unsigned kept = 0, left;
    for (unsigned i = 0; i < f->count; i++)
        if (farewell_goes_on(&f->list[i], now))
            f->list[kept++] = f->list[i];
        else
            close(f->list[i].fd);
    left = f->count - kept;
    f->count = kept;
    if (kept > 0)
        deadline_set(d, LOOK_PERIOD);
    while (left-- > 0)
        f->on_left(f);
}

void farewell_init(struct farewell *f, struct loop *loop, void (*on_left)(struct farewell *f))
{
    *f = (struct farewell){.on_left = on_left};
    deadline_init(&f->look, loop, farewell_on_look);
}

void farewell_fini(struct farewell *f)
{
    deadline_fini(&f->look);
    for (unsigned i = 0; i < f->count; i++)
        close(f->list[i].fd);
    free(f->list);
    f->list = NULL;
    f->count = 0;
}

bool farewell_take(struct farewell *f, int fd, bool unsaid)
{
    if (f->list == NULL && (f->list = calloc(FAREWELL_SOCKETS, sizeof *f->list)) == NULL)
        abort();
    if (f->count == FAREWELL_SOCKETS) {
        close(fd);
        return false;
    }
    if (f->count == 0)
        deadline_set(&f->look, LOOK_PERIOD);
    f->list[f->count++] = (struct farewell_socket){
        .fd = fd, .unsaid = unsaid, .until = loop_now(f->look.loop) + FAREWELL_TIME};
    return true;
}
