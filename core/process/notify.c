/* notify - see notify.h. */
#include "process/notify.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FIRST_FD 3     /* SD_LISTEN_FDS_START */
#define MAX_FDS  65536 /* more than any number of listeners times workers */

/* The descriptors that were passed to this process. */
struct handed {
    int fd;
    bool systemd;
    bool taken;
    bool listens;
    struct addr addr;
};
static struct handed *handed;
static unsigned handed_count, handed_room;

void notify(const char *fmt, ...)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    char text[512];
    va_list args;
    if (path == NULL || (path[0] != '/' && path[0] != '@') || strlen(path) >= sizeof to.sun_path)
        return;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    memcpy(to.sun_path, path, strlen(path));
    if (path[0] == '@')
        to.sun_path[0] = '\0'; /* a name in the abstract namespace */
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    if (sendto(fd, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1,
               MSG_NOSIGNAL | MSG_DONTWAIT, (struct sockaddr *)&to, size) < 0)
        n = 0; /* systemd reports a missing message itself */
    close(fd);
}

double notify_watchdog(void)
{
    const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    if (usec == NULL || (pid != NULL && atol(pid) != (long)getpid()))
        return 0;
    return atof(usec) / 1e6;
}

static bool notify_listens(int fd, struct addr *addr)
{
    struct sockaddr_storage name;
    socklen_t size = sizeof name, flag_size = sizeof(int);
    int flag = 0;
    return getsockname(fd, (struct sockaddr *)&name, &size) == 0 &&
           getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &flag, &flag_size) == 0 && flag &&
           addr_from(addr, (struct sockaddr *)&name, size);
}

static void notify_add(int fd, bool systemd)
{
    if (handed_count == MAX_FDS || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
        return;
    if (handed_count == handed_room) {
        handed_room = handed_room > 0 ? 2 * handed_room : 64;
        handed = realloc(handed, handed_room * sizeof *handed);
        if (handed == NULL)
            abort();
    }
    struct handed *h = &handed[handed_count++];
    *h = (struct handed){.fd = fd, .systemd = systemd};
    h->listens = notify_listens(fd, &h->addr);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

void notify_init(void)
{
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    const char *list = getenv("MOONGATE_FDS");
    if (count != NULL && pid != NULL && atol(pid) == (long)getpid())
        for (int i = 0; i < atoi(count) && i < MAX_FDS; i++)
            notify_add(FIRST_FD + i, true);
    for (char *end; list != NULL && *list != '\0'; list = *end == ',' ? end + 1 : end) {
        long fd = strtol(list, &end, 10);
        if (end == list)
            break;
        notify_add((int)fd, *end == 's'); /* "s": systemd has passed it to the predecessor */
        end += *end == 's';
    }
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    unsetenv("MOONGATE_FDS");
}

static int notify_find(const struct addr *addr)
{
    for (unsigned i = 0; i < handed_count; i++)
        if (handed[i].listens && !handed[i].taken && addr_compare(&handed[i].addr, addr) == 0)
            return (int)i;
    return -1;
}

int notify_take_fd(const struct addr *addr, bool *systemd)
{
    int i = notify_find(addr);
    if (i < 0)
        return -1;
    handed[i].taken = true;
    *systemd = handed[i].systemd;
    return handed[i].fd;
}

bool notify_has_fd(const struct addr *addr)
{
    return notify_find(addr) >= 0;
}

void notify_close_rest(void)
{
    for (unsigned i = 0; i < handed_count; i++)
        if (!handed[i].taken)
            close(handed[i].fd);
    free(handed);
    handed = NULL;
    handed_count = handed_room = 0;
}
