/* portowner - see portowner.h. */
#include "front/portowner.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* The inode of the socket that listens on the port, from /proc/net/tcp or tcp6; 0: none. */
static unsigned long listening_inode(const char *table, unsigned port)
{
    char line[512];
    unsigned long found = 0;
    FILE *f = fopen(table, "re");
    if (f == NULL)
        return 0;
    while (found == 0 && fgets(line, sizeof line, f) != NULL) {
        unsigned local_port, state;
        unsigned long inode;
        if (sscanf(line,
                   " %*d: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*x:%*x %*x:%*x %*x %*u %*u %lu",
                   &local_port, &state, &inode) == 3 &&
            local_port == port && state == 0x0a /* LISTEN */)
            found = inode;
    }
    fclose(f);
    return found;
}

static bool has_socket(const char *pid, unsigned long inode)
{
    char path[300], want[64], target[64];
    bool found = false;
    snprintf(path, sizeof path, "/proc/%s/fd", pid);
    snprintf(want, sizeof want, "socket:[%lu]", inode);
    DIR *dir = opendir(path);
    if (dir == NULL)
        return false;
    for (struct dirent *e; !found && (e = readdir(dir)) != NULL;) {
        ssize_t n = readlinkat(dirfd(dir), e->d_name, target, sizeof target - 1);
        if (n > 0) {
            target[n] = '\0';
            found = strcmp(target, want) == 0;
        }
    }
    closedir(dir);
    return found;
}

static void port_describe(const char *pid, char *out, size_t size)
{
    char path[300], name[64] = "a process";
    snprintf(path, sizeof path, "/proc/%s/comm", pid);
    FILE *f = fopen(path, "re");
    if (f != NULL) {
        if (fgets(name, sizeof name, f) != NULL)
            name[strcspn(name, "\n")] = '\0';
        fclose(f);
    }
    snprintf(out, size, "%s (pid %s)", name, pid);
}

void port_owner(const struct addr *address, char *out, size_t size)
{
    struct peer peer;
    out[0] = '\0';
    peer_from(&peer, address);
    if (peer.port == 0)
        return;
    unsigned long inode = listening_inode("/proc/net/tcp", peer.port);
    if (inode == 0)
        inode = listening_inode("/proc/net/tcp6", peer.port);
    DIR *proc = inode != 0 ? opendir("/proc") : NULL;
    if (proc == NULL)
        return;
    for (struct dirent *e; out[0] == '\0' && (e = readdir(proc)) != NULL;)
        if (isdigit((unsigned char)e->d_name[0]) && has_socket(e->d_name, inode))
            port_describe(e->d_name, out, size);
    closedir(proc);
}
