/* link - see link.h. */
#include "base/link.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

union control {
    struct cmsghdr header;
    char room[CMSG_SPACE(LINK_FDS * sizeof(int))];
};

bool link_send(int fd, enum link_type type, const char *text, const int *fds, unsigned count)
{
    char letter = (char)type;
    struct iovec parts[2] = {{&letter, 1}, {(char *)text, strlen(text)}};
    union control control;
    struct msghdr msg = {.msg_iov = parts, .msg_iovlen = 2};
    if (parts[1].iov_len >= LINK_TEXT || count > LINK_FDS)
        return false;
    if (count > 0) {
        memset(&control, 0, sizeof control);
        msg.msg_control = control.room;
        msg.msg_controllen = CMSG_SPACE(count * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(c), fds, count * sizeof(int));
    }
    ssize_t n;
    do
        n = sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    return n >= 0;
}

static void link_read_fds(struct msghdr *msg, struct link_message *message)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        unsigned count = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        if (count > LINK_FDS - message->fd_count)
            count = LINK_FDS - message->fd_count;
        memcpy(message->fds + message->fd_count, CMSG_DATA(c), count * sizeof(int));
        message->fd_count += count;
    }
}

enum link_result link_receive(int fd, struct link_message *message)
{
    char letter;
    struct iovec parts[2] = {{&letter, 1}, {message->text, LINK_TEXT - 1}};
    union control control;
    struct msghdr msg = {.msg_iov = parts,
                         .msg_iovlen = 2,
                         .msg_control = control.room,
                         .msg_controllen = sizeof control.room};
    ssize_t n;
    do
        n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN)
        return LINK_NOTHING;
    if (n <= 0)
        return LINK_END;
    message->type = (enum link_type)letter;
    message->text[n - 1] = '\0';
    message->fd_count = 0;
    link_read_fds(&msg, message);
    return LINK_MESSAGE;
}

void link_close_fds(struct link_message *message)
{
    for (unsigned i = 0; i < message->fd_count; i++)
        close(message->fds[i]);
    message->fd_count = 0;
}
