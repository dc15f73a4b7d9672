/*
 * ledger_crowd_test - the ledger when workers die, at random, and with processes that use it at
 * once. Links ledger*.c and str.
 */
#include "ledger_seats.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TOO_LONG = 120 }; /* seconds */

/* --- workers that die --- */

/* Runs `what` as worker `worker` in a process that ends by SIGKILL; whoever it killed inside. */
static void in_a_worker_that_dies(unsigned worker, void (*what)(uint32_t group, uint32_t server),
                                  uint32_t group, uint32_t server)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        sit_down(worker);
        what(group, server);
        raise(SIGKILL);
    }
    check_int(waitpid(pid, &status, 0), pid);
    check(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void acquire_some(uint32_t g, uint32_t s)
{
    static struct ask a[6];
    for (unsigned i = 0; i < 3; i++)
        ask(&a[i], 3, g, s, 1 + i);
    release(&a[0]);
    for (unsigned i = 3; i < 6; i++)
        ask(&a[i], 3, g, s, 1 + i);
}

static void lock_and_spoil(uint32_t g, uint32_t s)
{
    acquire_some(g, s);
    struct group *group = ledger_lock_group(ledger, g);
    ledger->servers[s].active = 77;
    ledger->servers[s].idle_head = 5;
    group->queued = 1000;
    group->waiting = 3;
}

/* Dies while it grants: the one who waits has the place, and has not been told. */
static void grant_by_half(uint32_t g, uint32_t s)
{
    struct group *group = ledger_lock_group(ledger, g);
    uint32_t claim = ledger->tenants[group->waiting].head;
    ledger_leave_line(ledger, group, claim);
    ledger->claims[claim].event = LEDGER_GRANT;
    ledger_become_active(ledger, claim, s);
}

/* Dies after it has told, and before it has woken. */
static void grant_without_a_word(uint32_t g, uint32_t s)
{
    grant_by_half(g, s);
    ledger->parts[1].woken = true;
    ledger->parts[1].words[0] = 1;
}

/* Dies with a tenant that nobody has yet. */
static void greet_a_tenant(uint32_t g, uint32_t s)
{
    (void)s;
    ledger_find_tenant(ledger, ledger_lock_group(ledger, g), 4711);
}

static void lock_the_directory(uint32_t g, uint32_t s)
{
    (void)g;
    (void)s;
    ledger_lock_directory(ledger);
}

static void test_deaths(void)
{
    struct ask a, b, c;
    begin("a killed worker's connections, idle ones and wishes are given back");
    uint32_t g = open_group(10, 1), s = open_server(g, "unix:/a", 3);
    in_a_worker_that_dies(3, acquire_some, g, s);
    check_int(server_at(s)->active, 2);
    check_int(server_at(s)->idle, 1);
    check_int(ledger_queued(&seats[0], g), 3);
    check_int(ask(&a, 0, g, s, 1), LEDGER_WAITING);
    check_int(ask(&b, 1, g, s, 2), LEDGER_WAITING);
    ledger_worker_gone(ledger, 3);
    collect();
    check_int(a.state, ACTIVE);
    check_int(b.state, ACTIVE);
    check_int(server_at(s)->active, 2);
    check_int(server_at(s)->idle, 0);
    check_int(ledger->parts[3].used, 0);
    check_group(g);
    drop(&a);
    drop(&b);
    check_empty(g);
    end(g);

    begin("one that dies inside the lock leaves nothing broken");
    g = open_group(10, 2);
    s = open_server(g, "unix:/a", 3);
    ask(&a, 0, g, s, 1);
    release(&a);
    in_a_worker_that_dies(3, lock_and_spoil, g, s);
    check_int(ask(&b, 1, g, s, 2), LEDGER_WAITING); /* before the master has noticed */
    check_group(g);
    ledger_worker_gone(ledger, 3);
    collect();
    check_int(b.state, ACTIVE);
    check_int(server_at(s)->active, 1);
    check_int(server_at(s)->idle, a.state == IDLE);
    check_group(g);
    drop(&a);
    drop(&b);
    check_empty(g);
    check_int(ledger->groups[g].refs[3], 0);
    end(g);

    void (*const halves[])(uint32_t, uint32_t) = {grant_by_half, grant_without_a_word};
    for (unsigned i = 0; i < 2; i++) {
        begin(i == 0 ? "a grant by half is told again" : "so is one that woke nobody");
        g = open_group(10, 0);
        s = open_server(g, "unix:/a", 1);
        ask(&a, 0, g, s, 0);
        ask(&b, 1, g, s, 0);
        ask(&c, 2, g, s, 0);
        ledger_drop(&seats[0], a.claim);
        collect();
        check_int(b.state, ACTIVE);
        ask(&a, 1, g, s, 0);
        drop(&c);
        ledger->servers[s].max_conns = 2;
        in_a_worker_that_dies(3, halves[i], g, s);
        ledger_worker_gone(ledger, 3);
        collect();
        check_int(a.grants, 1);
        drop(&a);
        drop(&b);
        check_empty(g);
        end(g);
    }

    begin("what died half-way through waking up does not keep its successor from being woken");
    g = open_group(10, 0);
    s = open_server(g, "unix:/a", 1);
    ledger->parts[3].woken = true;
    ledger_worker_gone(ledger, 3);
    sit_down(3);
    open_server(g, "unix:/a", 1);
    ask(&a, 0, g, s, 0);
    ask(&b, 3, g, s, 0);
    drop(&a);
    check_int(b.state, ACTIVE);
    end(g);

    begin("a tenant of nobody's is forgotten");
    g = open_group(10, 0);
    s = open_server(g, "unix:/a", 1);
    in_a_worker_that_dies(3, greet_a_tenant, g, s);
    ledger_nudge(&seats[0], g);
    check_empty(g);
    end(g);

    begin("the directory is not lost with whoever held it");
    g = open_group(10, 0);
    s = open_server(g, "unix:/a", 1);
    in_a_worker_that_dies(3, lock_the_directory, g, s);
    check_int(ask(&a, 0, g, s, 99), LEDGER_GRANTED);
    drop(&a);
    check_empty(g);
    end(g);
}

/* --- at random --- */

static uint64_t random_state = 1;

static unsigned below(unsigned n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)(random_state >> 33) % n;
}

enum { ASKS = 60, SERVERS = 4 };

static void change_something(uint32_t g, const uint32_t *servers)
{
    uint32_t s = servers[below(SERVERS)];
    struct ledger_seat *seat = &seats[below(WORKERS)];
    switch (below(12)) {
    case 0:
        ledger_hold(seat, g, below(3) == 0);
        break;
    case 1:
        ledger_drain(seat, s, below(3) == 0);
        break;
    case 2:
    case 3:
        ledger_failed(seat, s);
        break;
    case 4:
        ledger_checked(seat, s, below(3) > 0, 1, 2);
        break;
    case 5:
        ledger->servers[s].retry_at = 0; /* as if the time had passed */
        ledger_nudge(seat, g);
        break;
    case 6:
        ledger_server_gone(seat, s);
        break;
    case 7:
        ledger_refuse_all(seat, g);
        break;
    default:
        ledger_answered(seat, s, 0.1);
        break;
    }
    ledger_hold(seat, g, ledger_is_held(seat, g) && below(2) == 0);
}

static void live_on(struct ask *a, uint32_t g, const uint32_t *servers)
{
    if (a->state == IDLE && below(2) == 0 && reuse(a, below(4)))
        return;
    if (a->state == ACTIVE && below(3) > 0) {
        release_only(a);
        return;
    }
    if (a->state != GONE) {
        drop_only(a);
        return;
    }
    struct ledger_request request = {.group = g, .server = LEDGER_NONE, .avoid = LEDGER_NONE};
    if (below(3) > 0)
        request.server = servers[below(SERVERS)];
    if (request.server != LEDGER_NONE)
        request.only = below(4) == 0;
    if (below(4) == 0)
        request.avoid = servers[below(SERVERS)];
    request.tenant = below(4);
    want(a, below(WORKERS), &request);
}

/* The last one is a backup. */
static uint32_t open_nth(uint32_t group, unsigned n)
{
    struct ledger_server_limits limits = usual;
    uint32_t server = LEDGER_NONE;
    char name[16];
    snprintf(name, sizeof name, "host:%u", n);
    limits.max_conns = 1 + n;
    limits.keepalive = 2;
    limits.max_fails = 1;
    limits.fail_timeout = 1000;
    limits.backup = n == SERVERS - 1;
    for (unsigned w = 0; w < WORKERS; w++)
        server = ledger_server_open(&seats[w], group, str_of(name), &limits);
    return server;
}

static void live_at_random(int steps)
{
    static struct ask asks[ASKS];
    memset(asks, 0, sizeof asks);
    uint32_t g = open_group(6, 3), servers[SERVERS];
    for (unsigned i = 0; i < SERVERS; i++)
        servers[i] = open_nth(g, i);
    for (int n = 0; n < steps && !test_state.bad; n++) {
        if (below(10) == 0)
            change_something(g, servers);
        else
            live_on(&asks[below(ASKS)], g, servers);
        if (below(3) == 0)
            collect();
        unsigned back = below(SERVERS);
        if (server_at(servers[back])->gone)
            servers[back] = open_nth(g, back);
        check_group(g);
    }
    collect();
    for (unsigned i = 0; i < ASKS; i++)
        if (asks[i].state != GONE)
            drop(&asks[i]);
    check_empty(g);
    end(g);
}

static void test_random(void)
{
    begin("whatever happens: limits hold, counts agree, nobody waits for what is free");
    for (uint64_t seed = 1; seed <= 8 && !test_state.bad; seed++) {
        if (seed > 1)
            make_seats();
        random_state = seed * 0x9e3779b97f4a7c15u;
        live_at_random(5000);
        if (test_state.bad)
            fprintf(stderr, "    with seed %d\n", (int)seed);
    }
}

/* --- real processes, at once --- */

struct arena_of_workers {
    uint32_t group, servers[2];
    int done[WORKERS]; /* rounds that each has ended */
    bool stop;
};

static struct arena_of_workers *shared;

static void leave_at_once(void *holder)
{
    drop_only(holder);
}

enum { HANDS = 3 }; /* connections that a worker wants at a time */

/* Until there is news, as a loop waits. False: it never came, which is a lost grant. */
static bool wait_for_news(struct ledger_seat *seat, const struct ask *hands)
{
    struct pollfd p = {.fd = ledger_wake_fd(seat), .events = POLLIN};
    for (unsigned i = 0; i < HANDS; i++)
        if (hands[i].state == ACTIVE) /* its end is what others may wait for */
            return true;
    return seat->noted || poll(&p, 1, 20000) > 0;
}

static bool move(unsigned worker, struct ask *hands)
{
    struct ask *x = &hands[below(HANDS)];
    switch (x->state) {
    case GONE:
        return ask(x, worker, shared->group, below(2) ? shared->servers[below(2)] : LEDGER_NONE,
                   below(5)) != LEDGER_FULL;
    case WAITING:
        if (below(4) > 0)
            return wait_for_news(&seats[worker], hands);
        drop_only(x);
        return true;
    case ACTIVE:
        if (below(3) > 0)
            release_only(x);
        else
            drop_only(x);
        return true;
    case IDLE:
        if (below(2) == 0 || !reuse(x, below(5)))
            drop_only(x);
        return true;
    }
    return false;
}

/* One worker's life. Returns its exit status. */
static int work(unsigned worker)
{
    struct ask hands[HANDS] = {{.state = GONE}};
    const struct ledger_limits limits = {100, 3, false};
    struct ledger_server_limits two = usual;
    two.max_conns = 2;
    sit_down(worker);
    random_state = 0x9e3779b97f4a7c15u * (worker + 1) + (uint64_t)getpid();
    ledger_open(&seats[worker], STR("php"), &limits);
    ledger_server_open(&seats[worker], shared->group, STR("unix:/a"), &two);
    ledger_server_open(&seats[worker], shared->group, STR("unix:/b"), &two);
    while (!__atomic_load_n(&shared->stop, __ATOMIC_ACQUIRE)) {
        if (!move(worker, hands))
            return 2;
        if (has_news(&seats[worker]))
            seat_collect_with(&seats[worker], leave_at_once);
        __atomic_fetch_add(&shared->done[worker], 1, __ATOMIC_RELAXED);
    }
    for (unsigned i = 0; i < HANDS; i++)
        if (hands[i].state != GONE)
            drop_only(&hands[i]);
    seat_collect_with(&seats[worker], leave_at_once);
    return test_state.bad ? 3 : 0;
}

static pid_t start(unsigned worker)
{
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(work(worker));
    }
    return pid;
}

/* Until each has done so many rounds more, or has ended. */
static bool let_them_work(int rounds)
{
    int until[WORKERS];
    for (unsigned i = 0; i < WORKERS; i++)
        until[i] = __atomic_load_n(&shared->done[i], __ATOMIC_RELAXED) + rounds;
    for (unsigned i = 0; i < WORKERS; i++)
        while (__atomic_load_n(&shared->done[i], __ATOMIC_RELAXED) < until[i]) {
            siginfo_t info = {0};
            poll(NULL, 0, 1);
            if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0)
                return false; /* nobody ends of itself */
        }
    return true;
}

static void open_for_processes(const char *name)
{
    begin(name);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        abort();
    shared->group = open_group(100, 3);
    shared->servers[0] = open_server(shared->group, "unix:/a", 2);
    shared->servers[1] = open_server(shared->group, "unix:/b", 2);
}

static void test_processes(void)
{
    pid_t pids[WORKERS];
    int status;
    open_for_processes("workers that do all this at once lose no grant and no place");
    for (unsigned i = 0; i < WORKERS; i++)
        pids[i] = start(i);
    check(let_them_work(3000));
    __atomic_store_n(&shared->stop, true, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < WORKERS; i++) {
        check_int(waitpid(pids[i], &status, 0), pids[i]);
        check_int(status, 0);
    }
    check_empty(shared->group);
    munmap(shared, sizeof *shared);
    ledger_free(ledger);

    open_for_processes("so do those that are left when others are killed again and again");
    random_state = 4711;
    for (unsigned i = 0; i < WORKERS; i++)
        pids[i] = start(i);
    for (int n = 0; n < 150 && check(let_them_work((int)below(30))); n++) {
        unsigned victim = below(WORKERS);
        kill(pids[victim], SIGKILL);
        check_int(waitpid(pids[victim], &status, 0), pids[victim]);
        check(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        ledger_worker_gone(ledger, victim);
        pids[victim] = start(victim);
    }
    __atomic_store_n(&shared->stop, true, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < WORKERS; i++) {
        check_int(waitpid(pids[i], &status, 0), pids[i]);
        check_int(status, 0);
        ledger_worker_gone(ledger, i);
    }
    check_empty(shared->group);
    check(ledger->tenants_used < 300); /* a killed one may lose one on its way to the free list */
    munmap(shared, sizeof *shared);
    ledger_free(ledger);
}

int main(void)
{
    alarm(TOO_LONG); /* a lock or a grant that is lost is a failure, not a test without an end */
    test_deaths();
    test_random();
    test_processes();
    return test_report();
}
