/* localhost - see localhost.h. */
#include "process/localhost.h"

#include "script/value.h"
#include "tls/localhost.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* core.localhost_certificate() -> certificate and key in PEM; or nil, reason */
static int localhost_certificate(lua_State *L)
{
    char *cert, *key;
    const char *err = localhost_make(&cert, &key);
    if (err != NULL)
        return script_fail(L, err);
    lua_pushstring(L, cert);
    lua_pushstring(L, key);
    explicit_bzero(key, strlen(key));
    free(cert);
    free(key);
    return 2;
}

/* Returns nil and what has failed with that path. */
static int localhost_fail(lua_State *L, const char *path, int err)
{
    lua_pushnil(L);
    lua_pushfstring(L, "%s: %s", path, strerror(err));
    return 2;
}

/* core.private_folder(path) -> a descriptor that keeps other commands from this folder until it is
 * closed; or nil, reason. What is missing on the way is made, for this user alone. */
static int localhost_private_folder(lua_State *L)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s", luaL_checkstring(L, 1));
    for (char *at = strchr(path + 1, '/');; at = strchr(at + 1, '/')) {
        if (at != NULL)
            *at = '\0';
        if (mkdir(path, 0700) != 0 && errno != EEXIST)
            return localhost_fail(L, path, errno);
        if (at == NULL)
            break;
        *at = '/';
    }
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return localhost_fail(L, path, errno);
    while (flock(fd, LOCK_EX) != 0 && errno == EINTR)
        continue;
    lua_pushinteger(L, fd);
    return 1;
}

static bool localhost_write_all(int fd, struct str text)
{
    while (text.n > 0) {
        ssize_t n = write(fd, text.p, text.n);
        if (n < 0 && errno != EINTR)
            return false;
        text = str_skip(text, n > 0 ? (size_t)n : 0);
    }
    return true;
}

/* core.write_private(path, text) -> true; or nil, reason. The file is this user's alone, and takes
 * the place of another one whole. */
static int localhost_write_private(lua_State *L)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s.new", luaL_checkstring(L, 1));
    unlink(path); /* of a start that was killed */
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    bool good = fd >= 0 && localhost_write_all(fd, script_check_str(L, 2));
    int err = errno;
    if (fd >= 0 && close(fd) != 0 && good) {
        err = errno;
        good = false;
    }
    if (good && rename(path, lua_tostring(L, 1)) == 0) {
        lua_pushboolean(L, true);
        return 1;
    }
    return localhost_fail(L, path, good ? errno : err);
}

const luaL_Reg localhost_functions[] = {
    {"localhost_certificate", localhost_certificate},
    {"private_folder", localhost_private_folder},
    {"write_private", localhost_write_private},
    {NULL, NULL},
};
