/*
 * password - see password.h.
 *
 * A process has one thread for checks, begun with the first check. The thread sees only the checks
 * of the waiting list, no Lua and no loop. It puts finished checks into the list of done ones and
 * writes to an eventfd, which the loop watches while checks are under way. Signals are blocked in
 * the thread, and its priority is below that of the loop's.
 *
 *      check --waiting--> thread --done--> password_checker_cb --script_wake
 *                                                             `-free, where the check was cancelled
 */
#include "script/password.h"

#include "base/log.h"
#include "base/password.h"
#include "script/limit.h"
#include "script/task.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#define PASSWORD_MAX 1024
#define HASH_MAX     255
#define NICE         5

struct check {
    struct script_wait wait;
    struct script *script; /* NULL: the wait was cancelled */
    struct check *next;
    bool fits;
    char password[PASSWORD_MAX + 1], hash[HASH_MAX + 1];
};

static struct {
    pthread_mutex_t lock; /* guards both lists */
    pthread_cond_t more;
    struct check *waiting, **end, *done;
    int fd; /* eventfd, readable while the list of done checks has some; -1: no thread yet */
    /* checks that have not come back; used by the loop's side alone. The watcher runs while there
     * are some */
    unsigned under_way;
    ev_io ready;
} checker = {.lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER, .fd = -1};

/* --- the thread --- */

static void *password_checker_run(void *ctx)
{
    struct password_room *room = ctx;
    setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + NICE); /* Linux: of this thread */
    for (;;) {
        pthread_mutex_lock(&checker.lock);
        while (checker.waiting == NULL)
            pthread_cond_wait(&checker.more, &checker.lock);
        struct check *check = checker.waiting;
        checker.waiting = check->next;
        if (checker.waiting == NULL)
            checker.end = &checker.waiting;
        pthread_mutex_unlock(&checker.lock);
        check->fits = password_fits(room, check->password, check->hash);
        pthread_mutex_lock(&checker.lock);
        check->next = checker.done;
        checker.done = check;
        pthread_mutex_unlock(&checker.lock);
        if (write(checker.fd, &(uint64_t){1}, sizeof(uint64_t)) < 0)
            abort(); /* an eventfd takes 2^64 of them */
    }
    return NULL;
}

/* 0, or the errno of what has failed. */
static int password_checker_start(void)
{
    sigset_t all, before;
    pthread_t thread;
    password_init();
    struct password_room *room = password_room_new();
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (room == NULL || fd < 0) {
        int err = errno;
        free(room);
        if (fd >= 0)
            close(fd);
        return err;
    }
    checker.end = &checker.waiting;
    checker.fd = fd;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int err = pthread_create(&thread, NULL, password_checker_run, room);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (err == 0) {
        pthread_detach(thread);
        return 0;
    }
    free(room);
    close(fd);
    checker.fd = -1;
    return err;
}

/* --- the loop's side --- */

static void password_check_free(struct check *check)
{
    explicit_bzero(check->password, sizeof check->password);
    free(check);
}

static void password_check_cancel(struct script_wait *wait)
{
    ((struct check *)wait)->script = NULL; /* used by the loop's side alone: needs no lock */
}

static int password_check_push(lua_State *L, void *ctx)
{
    struct check *check = ctx;
    lua_pushboolean(L, check->fits);
    password_check_free(check);
    return 1;
}

static void password_checker_cb(struct ev_loop *ev, ev_io *io, int events)
{
    uint64_t count;
    (void)events;
    if (read(io->fd, &count, sizeof count) < 0)
        return;
    pthread_mutex_lock(&checker.lock);
    struct check *check = checker.done;
    checker.done = NULL;
    pthread_mutex_unlock(&checker.lock);
    while (check != NULL) {
        struct check *next = check->next;
        struct script *s = check->script;
        if (--checker.under_way == 0)
            ev_io_stop(ev, io);
        if (s == NULL) {
            password_check_free(check);
        } else {
            s->hold(s->world.ctx);
            script_wake(&check->wait, password_check_push, check);
            s->drop(s->world.ctx);
        }
        check = next;
    }
}

static void password_checker_take(struct script *s, struct check *check)
{
    if (checker.under_way++ == 0) {
        ev_io_init(&checker.ready, password_checker_cb, checker.fd, EV_READ);
        ev_io_start(s->loop->ev, &checker.ready);
    }
    pthread_mutex_lock(&checker.lock);
    *checker.end = check;
    checker.end = &check->next;
    pthread_cond_signal(&checker.more);
    pthread_mutex_unlock(&checker.lock);
}

/* Checks at once, in a command, which serves no other requests meanwhile. */
static int password_now(lua_State *L, const char *password, const char *hash)
{
    password_init();
    struct password_room *room = password_room_new();
    if (room == NULL)
        return script_fail(L, strerror(ENOMEM));
    script_run_waits();
    bool fits = password_fits(room, password, hash);
    script_run_goes_on();
    free(room);
    lua_pushboolean(L, fits);
    return 1;
}

/* core.password_fits(password, hash) -> boolean; or nil, reason. Waits, except in a command. */
static int password_check(lua_State *L)
{
    struct str password = script_check_str(L, 1), hash = script_check_str(L, 2);
    luaL_argcheck(L, password.n <= PASSWORD_MAX && strlen(password.p) == password.n, 1,
                  "expected at most 1024 bytes, none of them zero");
    luaL_argcheck(L, hash.n <= HASH_MAX && strlen(hash.p) == hash.n, 2,
                  "expected at most 255 bytes, none of them zero");
    struct script *s = script_of_state(L);
    if (s == NULL || s->loop == NULL)
        return password_now(L, password.p, hash.p);
    script_check_wait(L);
    int err = checker.fd < 0 ? password_checker_start() : 0;
    if (err != 0)
        return script_fail(L, strerror(err));
    struct check *check = calloc(1, sizeof *check);
    if (check == NULL)
        return script_fail(L, strerror(ENOMEM));
    check->wait.cancel = password_check_cancel;
    check->script = s;
    memcpy(check->password, password.p, password.n);
    memcpy(check->hash, hash.p, hash.n);
    password_checker_take(s, check);
    return script_wait(L, &check->wait);
}

void script_password_open(lua_State *L)
{
    lua_pushcfunction(L, password_check);
    lua_setfield(L, -2, "password_fits");
}
