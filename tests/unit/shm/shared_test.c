/*
 * shared_test - dictionaries over several processes: values, times to live (the clock is given), a
 * full memory, writers and readers that are killed, and the folder that holds it all. Links shared,
 * shared_folder, buf and str; LMDB itself stands in for a worker that dies in the middle.
 */
#include "../test.h"
#include "shm/shared.h"
#include "shm/shared_folder.h"

#include <fcntl.h>
#include <lmdb.h>
#include <math.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MB (1u << 20)

static struct shared_folder folder;
static struct user me, somebody_else;
static struct shared *dict;
static const struct str D = {"dict", 4};

static void open_dict(size_t size)
{
    char err[300] = "";
    if (!shared_folder_make(&folder, &me, size) ||
        (dict = shared_open(folder.path, size, err, sizeof err)) == NULL) {
        fprintf(stderr, "no shared memory: %s%s\n", folder.problem, err);
        exit(1);
    }
}

static void close_dict(void)
{
    shared_close(dict);
    dict = NULL;
    shared_folder_leave(&folder);
}

static struct shared_value text(const char *s)
{
    return (struct shared_value){.type = SHARED_STRING, .string = str_of(s)};
}

static struct shared_value number(double n)
{
    return (struct shared_value){.type = SHARED_NUMBER, .number = n};
}

static enum shared_result set(const char *key, struct shared_value v, double ttl, double now)
{
    return shared_put(dict, D, str_of(key), &v, ttl, SHARED_SET, now);
}

/* The text of an entry, "#n" for a number, "-" where there is none. */
static struct str get(const char *key, double now)
{
    static char out[200];
    struct shared_value v;
    enum shared_result result = shared_get(dict, D, str_of(key), now, &v);
    if (result != SHARED_OK)
        snprintf(out, sizeof out, "%s", result == SHARED_ABSENT ? "-" : "?");
    else if (v.type == SHARED_STRING)
        snprintf(out, sizeof out, "%.*s", STR_FMT(v.string));
    else
        snprintf(out, sizeof out, "#%g", v.number);
    if (result == SHARED_OK && v.type == SHARED_BOOLEAN)
        snprintf(out, sizeof out, "%s", v.boolean ? "yes" : "no");
    shared_done(dict);
    return str_of(out);
}

static enum shared_result incr(const char *key, double by, const double *initial, double ttl,
                               double now, double *out)
{
    const struct shared_step step = {.by = by, .initial = initial, .ttl = ttl};
    return shared_incr(dict, D, str_of(key), &step, now, out);
}

static unsigned count_keys(struct str name, double now)
{
    struct buf keys;
    struct str rest, key;
    unsigned n = 0;
    buf_init(&keys, 64u << 20);
    check(shared_keys(dict, name, 1000000, now, &keys) == SHARED_OK);
    for (rest = buf_peek(&keys); shared_key_next(&rest, &key);)
        n++;
    buf_fini(&keys);
    return n;
}

static size_t used(void)
{
    struct shared_usage usage;
    check(shared_usage(dict, &usage) == SHARED_OK);
    return usage.used;
}

/* --- values --- */

static void test_values(void)
{
    double n;
    open_dict(MB);
    test("what was set is there, whatever it is");
    check_str(get("k", 0), "-");
    check(set("k", text("one"), 0, 0) == SHARED_OK);
    check_str(get("k", 0), "one");
    check(set("k", text(""), 0, 0) == SHARED_OK);
    check_str(get("k", 0), "");
    check(set("k", number(2.5), 0, 0) == SHARED_OK);
    check_str(get("k", 0), "#2.5");
    check(set("k", number(-INFINITY), 0, 0) == SHARED_OK);
    check_str(get("k", 0), "#-inf");
    check(set("k", (struct shared_value){.type = SHARED_BOOLEAN, .boolean = true}, 0, 0) ==
          SHARED_OK);
    check_str(get("k", 0), "yes");
    check(set("k", (struct shared_value){.type = SHARED_BOOLEAN}, 0, 0) == SHARED_OK);
    check_str(get("k", 0), "no");

    test("add is for what is absent, replace for what is there");
    struct shared_value v = text("v");
    check(shared_put(dict, D, STR("a"), &v, 0, SHARED_REPLACE, 0) == SHARED_ABSENT);
    check(shared_put(dict, D, STR("a"), &v, 0, SHARED_ADD, 0) == SHARED_OK);
    v = text("w");
    check(shared_put(dict, D, STR("a"), &v, 0, SHARED_ADD, 0) == SHARED_EXISTS);
    check_str(get("a", 0), "v");
    check(shared_put(dict, D, STR("a"), &v, 0, SHARED_REPLACE, 0) == SHARED_OK);
    check_str(get("a", 0), "w");

    test("incr counts, from what it is told to begin with");
    const double zero = 0, ten = 10;
    check(incr("n", 1, NULL, 0, 0, &n) == SHARED_ABSENT);
    check(incr("n", 1, &ten, 0, 0, &n) == SHARED_OK && n == 11);
    check(incr("n", -1.5, &zero, 0, 0, &n) == SHARED_OK && n == 9.5);
    check(incr("a", 1, &zero, 0, 0, &n) == SHARED_NOT_A_NUMBER);
    check_str(get("a", 0), "w");

    test("delete removes, and does not mind what is not there");
    check(shared_delete(dict, D, STR("n"), 0) == SHARED_OK);
    check(shared_delete(dict, D, STR("n"), 0) == SHARED_OK);
    check_str(get("n", 0), "-");
    close_dict();
}

static void test_names(void)
{
    char key[SHARED_KEY_MAX + 1], name[SHARED_NAME_MAX + 1];
    struct shared_value v = text("v"), got;
    open_dict(MB);
    test("the longest name with the longest key, and one byte more");
    memset(key, 'k', sizeof key);
    memset(name, 'n', sizeof name);
    struct str longest = {key, SHARED_KEY_MAX}, longer = {key, sizeof key};
    struct str longest_name = {name, SHARED_NAME_MAX};
    check(shared_put(dict, longest_name, longest, &v, 100, SHARED_SET, 1) == SHARED_OK);
    check(shared_get(dict, longest_name, longest, 1, &got) == SHARED_OK);
    shared_done(dict);
    check(shared_put(dict, longest_name, longer, &v, 0, SHARED_SET, 1) == SHARED_KEY_LONG);
    check(shared_get(dict, longest_name, longer, 1, &got) == SHARED_KEY_LONG);
    check(shared_delete(dict, longest_name, longer, 1) == SHARED_KEY_LONG);
    check_int(count_keys(longest_name, 1), 1);
    check_int(count_keys(longest_name, 102), 0);

    test("dictionaries do not see each other's keys");
    check(shared_put(dict, STR("a"), STR("bc"), &v, 0, SHARED_SET, 1) == SHARED_OK);
    check(shared_get(dict, STR("ab"), STR("c"), 1, &got) == SHARED_ABSENT);
    check(shared_put(dict, STR("ab"), STR(""), &v, 0, SHARED_SET, 1) == SHARED_OK);
    check_int(count_keys(STR("a"), 1), 1);
    check_int(count_keys(STR("ab"), 1), 1);
    check_int(count_keys(STR("abc"), 1), 0);

    test("bytes are bytes, in keys and values");
    struct str odd = {"\0\xff\0", 3};
    v.string = odd;
    check(shared_put(dict, D, odd, &v, 0, SHARED_SET, 1) == SHARED_OK);
    check(shared_get(dict, D, odd, 1, &got) == SHARED_OK && got.string.n == 3 &&
          memcmp(got.string.p, odd.p, 3) == 0);
    shared_done(dict);

    test("keys stops at the most that is asked for");
    struct buf keys;
    buf_init(&keys, MB);
    check(set("x", v, 0, 1) == SHARED_OK);
    check(shared_keys(dict, D, 1, 1, &keys) == SHARED_OK && buf_len(&keys) == 5);
    buf_fini(&keys);
    close_dict();
}

/* --- time --- */

static void test_ttl(void)
{
    const double zero = 0;
    double n;
    struct shared_value v = text("v");
    open_dict(MB);
    test("an entry counts until its time is over");
    check(set("k", v, 10, 1000) == SHARED_OK);
    check_str(get("k", 1009.999), "v");
    check_str(get("k", 1010), "-");
    check_int(count_keys(D, 1009.999), 1);
    check_int(count_keys(D, 1010), 0);
    check(shared_put(dict, D, STR("k"), &v, 0, SHARED_REPLACE, 1010) == SHARED_ABSENT);
    check(shared_put(dict, D, STR("k"), &v, 5, SHARED_ADD, 1010) == SHARED_OK);

    test("the last write says how long");
    check(set("k", v, 0, 1012) == SHARED_OK);
    check_str(get("k", 1e9), "v");
    check(set("k", v, 1, 1020) == SHARED_OK);
    check_str(get("k", 1021), "-");

    test("incr gives a time to what it makes, and leaves it to what is there");
    check(incr("n", 1, &zero, 10, 2000, &n) == SHARED_OK && n == 1);
    check(incr("n", 1, &zero, 10, 2009, &n) == SHARED_OK && n == 2);
    check_str(get("n", 2010), "-");
    check(incr("n", 1, NULL, 10, 2010, &n) == SHARED_ABSENT);
    check(incr("n", 1, &zero, 10, 2010, &n) == SHARED_OK && n == 1);

    test("entries whose time is over go with later writes, and leave nothing");
    char key[20];
    check(shared_delete(dict, D, STR("n"), 2010) == SHARED_OK);
    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof key, "t%d", i);
        check(set(key, v, 1 + i % 7, 3000) == SHARED_OK);
    }
    check(set("last", number(1), 0, 3000) == SHARED_OK);
    size_t before = used();
    check(before > 40000);
    for (int i = 0; i < 300; i++)
        check(set("last", number(i), 0, 3100) == SHARED_OK);
    check_int(used(), (int64_t)sysconf(_SC_PAGESIZE));
    check_str(get("last", 3100), "#299");
    close_dict();
}

/* --- numbers within bounds --- */

static enum shared_result take(double by, double low, double high, double now, double *out)
{
    const struct shared_bounds bounds = {.by = by, .low = low, .high = high, .ttl = 10};
    return shared_bounded(dict, D, STR("n"), &bounds, now, out);
}

static void test_take(void)
{
    double n;
    open_dict(MB);
    test("take adds while it is within bounds");
    check(take(1, 0, 2, 1000, &n) == SHARED_OK && n == 1);
    check(take(1, 0, 2, 1000, &n) == SHARED_OK && n == 2);
    check(take(1, 0, 2, 1000, &n) == SHARED_TOO_MUCH && n == 2);
    check_str(get("n", 1000), "#2");
    check(take(-1, 0, 2, 1000, &n) == SHARED_OK && n == 1);

    test("what is below the lower bound counts as that");
    check(take(1, 5, 7, 1000, &n) == SHARED_OK && n == 6);
    check(take(1, 9, 9, 1000, &n) == SHARED_TOO_MUCH && n == 9);
    check_str(get("n", 1000), "#6");

    test("its end moves when half of the time is over");
    check(take(0, 0, 9, 1004, &n) == SHARED_OK);
    check_str(get("n", 1010), "-");
    check(take(0, 0, 9, 1006, &n) == SHARED_OK);
    check_str(get("n", 1015.9), "#6");
    check_str(get("n", 1016), "-");
    check(take(1, 0, 9, 1016, &n) == SHARED_OK && n == 1);

    test("take refuses what is no number, and leaves what has no end without one");
    check(set("n", text("v"), 0, 1016) == SHARED_OK);
    check(take(1, 0, 9, 1016, &n) == SHARED_NOT_A_NUMBER);
    check(set("n", number(1), 0, 1016) == SHARED_OK);
    check(take(1, 0, 9, 1016, &n) == SHARED_OK && n == 2);
    check_str(get("n", 1e9), "#2");
    close_dict();
}

/* --- a full memory --- */

static void fill(unsigned value_size, double ttl, double now, unsigned *count)
{
    char *bytes = calloc(1, value_size);
    struct shared_value v = {.type = SHARED_STRING, .string = {bytes, value_size}};
    char key[40];
    enum shared_result result = SHARED_OK;
    for (*count = 0; result == SHARED_OK && *count < 100000; *count += result == SHARED_OK) {
        snprintf(key, sizeof key, "%u-%u", value_size, *count);
        result = set(key, v, ttl, now);
    }
    check(result == SHARED_FULL);
    free(bytes);
}

static void test_full(void)
{
    unsigned count, again;
    struct shared_usage usage;
    open_dict(MB);
    test("a full memory refuses what needs more, and loses nothing");
    fill(100, 0, 1, &count);
    check(count > 2500);
    check_int(count_keys(D, 1), count);
    check(shared_usage(dict, &usage) == SHARED_OK && usage.used <= usage.size &&
          usage.size - usage.used < 5 * 4096 && usage.size == shared_room(MB));
    check_str(get("no", 1), "-");

    test("in a full memory one may still read, change, count and delete");
    check(set("100-7", text("shorter"), 0, 1) == SHARED_OK);
    check_str(get("100-7", 1), "shorter");
    for (unsigned i = 0; i < count; i += 2) {
        char key[40];
        snprintf(key, sizeof key, "100-%u", i);
        check(shared_delete(dict, D, str_of(key), 1) == SHARED_OK);
    }
    check_int(count_keys(D, 1), count / 2);
    close_dict();

    open_dict(MB);
    test("entries whose time is over make room, the others stay");
    check(set("stays", text("v"), 100, 1) == SHARED_OK);
    fill(200, 10, 1, &count);
    check(count > 1000);
    fill(150, 50, 11.5, &again);
    check(again > count);
    check_int(count_keys(D, 11.5), again + 1);
    check_str(get("stays", 11.5), "v");
    close_dict();
}

/* Any sequence of writes ends in a memory of which everything can be deleted again. */
static void test_churn(void)
{
    static char bytes[MB];
    char key[20];
    unsigned seed = 7, full = 0;
    open_dict(MB);
    test("no sequence of writes, short and long ones, makes a memory that can't be emptied");
    for (int i = 0; i < 20000; i++) {
        seed = seed * 1103515245 + 12345;
        unsigned r = seed >> 8, size = r % 5 == 0 ? MB / 16 - 9 : r % 5 == 1 ? 3000 : r % 300;
        struct shared_value v = {.type = SHARED_STRING, .string = {bytes, size}};
        snprintf(key, sizeof key, "%u", r / 7 % 400);
        enum shared_result result = set(key, v, r % 3 == 0 ? r % 50 : 0, i / 100.0);
        full += result == SHARED_FULL;
        check(result == SHARED_OK || result == SHARED_FULL);
        if (full % 50 == 49) { /* while it is full */
            snprintf(key, sizeof key, "%u", r / 11 % 400);
            check(shared_delete(dict, D, str_of(key), i / 100.0) == SHARED_OK);
        }
    }
    check(full > 500);
    for (int i = 0; i < 400; i++) {
        snprintf(key, sizeof key, "%d", i);
        check(shared_delete(dict, D, str_of(key), 1000) == SHARED_OK);
    }
    check_int(count_keys(D, 0), 0);
    check_int(used(), 0);

    test("one value takes a sixteenth of the memory at most");
    struct shared_value v = {.type = SHARED_STRING, .string = {bytes, MB / 16 - 9}};
    check(set("big", v, 0, 1000) == SHARED_OK);
    v.string.n++;
    check(set("big", v, 0, 1000) == SHARED_VALUE_LONG);
    close_dict();
}

/* --- several processes --- */

/* The child opens the dictionary for itself: no environment survives a fork. */
static pid_t child(void (*run)(void))
{
    char err[300];
    fflush(NULL);
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    dict = shared_open(folder.path, folder.size, err, sizeof err);
    if (dict == NULL)
        _exit(9);
    run();
    shared_close(dict);
    _exit(0);
}

static int wait_for(pid_t pid)
{
    int status = -1;
    waitpid(pid, &status, 0);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static void count_up(void)
{
    const double zero = 0;
    double n;
    for (int i = 0; i < 20000; i++)
        if (incr("sum", 1, &zero, 0, 1, &n) != SHARED_OK)
            _exit(1);
}

static void test_processes(void)
{
    pid_t pids[3];
    folder = (struct shared_folder){.path = ""};
    check(shared_folder_make(&folder, &me, MB));
    test("three processes count together, and none is lost");
    for (int i = 0; i < 3; i++)
        pids[i] = child(count_up);
    for (int i = 0; i < 3; i++)
        check_int(wait_for(pids[i]), 0);
    char err[300];
    dict = shared_open(folder.path, MB, err, sizeof err);
    check(dict != NULL);
    check_str(get("sum", 1), "#60000");
    close_dict();
}

/* Dies in the middle of a write: pages are changed, the lock is held, nothing is committed. */
static void die_writing(void)
{
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    shared_close(dict);
    if (mdb_env_create(&env) != 0 || mdb_env_set_mapsize(env, folder.size) != 0 ||
        mdb_env_open(env, folder.path, MDB_WRITEMAP | MDB_NOSYNC | MDB_NOTLS, 0600) != 0 ||
        mdb_txn_begin(env, NULL, 0, &txn) != 0 || mdb_dbi_open(txn, NULL, 0, &dbi) != 0)
        _exit(1);
    for (int i = 0; i < 1000; i++) {
        MDB_val key = {sizeof i, &i}, value = {100, NULL};
        if (mdb_put(txn, dbi, &key, &value, MDB_RESERVE) != 0)
            _exit(2);
        memset(value.mv_data, 0xee, 100);
    }
    MDB_val key = {6, "\4dictk"};
    mdb_del(txn, dbi, &key, NULL);
    raise(SIGKILL);
}

/* Dies while it reads: what it sees must not stay for ever. */
static void die_reading(void)
{
    struct shared_value v;
    shared_get(dict, D, STR("k"), 1, &v);
    raise(SIGKILL);
}

static void write_on(void)
{
    const double zero = 0;
    double n;
    for (;;) /* the two always have the same sum, but for the step at hand */
        if (incr("a", 1, &zero, 0, 1, &n) != SHARED_OK ||
            set("t", number(n), 1000 + n, 1) != SHARED_OK ||
            incr("b", 1, &zero, 0, 1, &n) != SHARED_OK)
            _exit(1);
}

static void test_killed(void)
{
    double n;
    open_dict(MB);
    test("a writer that is killed has changed nothing, and the next one goes on");
    for (int i = 0; i < 50; i++) {
        check(set("k", number(i), 0, 1) == SHARED_OK);
        check_int(wait_for(child(die_writing)), -SIGKILL);
        check(get("k", 1).p[0] == '#');
        check(incr("k", 1, NULL, 0, 1, &n) == SHARED_OK && n == i + 1);
    }
    check_int(count_keys(D, 1), 1);

    test("readers that are killed keep nobody from writing");
    for (int i = 0; i < 20; i++)
        check_int(wait_for(child(die_reading)), -SIGKILL);
    for (int i = 0; i < 5000; i++)
        if (!check(set("k", number(i), 0, 1) == SHARED_OK))
            break;
    check_str(get("k", 1), "#4999");

    test("writers that are killed anywhere leave a whole dictionary");
    for (int i = 0; i < 60; i++) {
        pid_t pids[2] = {child(write_on), child(write_on)};
        usleep(1000 + (useconds_t)(i * 137 % 4000));
        kill(pids[0], SIGKILL);
        check_int(wait_for(pids[0]), -SIGKILL);
        check(set("alive", number(i), 0, 1) == SHARED_OK);
        kill(pids[1], SIGKILL);
        check_int(wait_for(pids[1]), -SIGKILL);
    }
    const double zero = 0;
    double a = 0, b = 0;
    check(incr("a", 0, &zero, 0, 1, &a) == SHARED_OK && incr("b", 0, &zero, 0, 1, &b) == SHARED_OK);
    check(a > 100 && a - b >= 0 && a - b <= 120);
    check_int(count_keys(D, 1), 5);
    check(set("after", number(1), 0, 1e9) == SHARED_OK); /* removes `t`, by its one time */
    check_int(count_keys(D, 0), 5);
    close_dict();
}

/* --- the folder --- */

static void test_folder(void)
{
    struct shared_folder other;
    struct stat st;
    char path[600], taken[800], err[300];
    test("the folder is the user's alone, and goes with all that is in it");
    open_dict(MB);
    snprintf(path, sizeof path, "%s", folder.path);
    check(stat(path, &st) == 0 && (st.st_mode & 0777) == 0700 && st.st_uid == geteuid());
    close_dict();
    check(stat(path, &st) != 0);

    test("a folder in use is left alone, one of a dead instance is removed");
    int ready[2];
    check(pipe(ready) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        shared_folder_make(&folder, &me, MB);
        dict = shared_open(folder.path, MB, err, sizeof err);
        set("k", number(1), 0, 1);
        _exit(write(ready[1], folder.path, sizeof folder.path) > 0 ? pause() : 1);
    }
    check(read(ready[0], path, sizeof folder.path) > 0);
    check(shared_folder_make(&other, &me, MB));
    check(stat(path, &st) == 0);
    shared_folder_leave(&other);
    kill(pid, SIGKILL);
    wait_for(pid);
    check(stat(path, &st) == 0);
    check(shared_folder_make(&other, &me, MB));
    check(stat(path, &st) != 0);
    shared_folder_leave(&other);
    close(ready[0]);
    close(ready[1]);

    test("a successor goes on with it, if it wants the same");
    open_dict(MB);
    check(set("k", number(1), 0, 1) == SHARED_OK);
    snprintf(path, sizeof path, "%s", folder.path);
    int passed = dup(folder.fd); /* as an exec would: the same lock */
    shared_folder_pass(&folder);
    check((fcntl(folder.fd, F_GETFD) & FD_CLOEXEC) == 0);
    snprintf(taken, sizeof taken, "%d %u %s %s", passed, MB, shared_format(), path);
    setenv("MOONGATE_SHARED", taken, 1);
    check(shared_folder_inherit(&other, &me, MB));
    check(getenv("MOONGATE_SHARED") == NULL);
    check_str(str_of(other.path), path);
    close_dict();
    check(stat(path, &st) == 0);
    dict = shared_open(path, MB, err, sizeof err);
    check_str(get("k", 1), "#1");
    shared_close(dict);
    shared_folder_leave(&other);
    check(stat(path, &st) != 0);

    test("and leaves it where the size, the owner or the format differ, or it is none");
    check(!shared_folder_inherit(&other, &me, MB));
    open_dict(MB);
    const char *const forms[] = {"%d 2097152 %s %s",   "%d 1048576 0%s %s",
                                 "%d 1048576 %s %s/x", "%d",
                                 "0 1048576 %s %s",    "x%d"};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        int fd = i == 4 ? -1 : dup(folder.fd);
        if (i == 4)
            snprintf(taken, sizeof taken, forms[i], shared_format(), folder.path);
        else
            snprintf(taken, sizeof taken, forms[i], fd, shared_format(), folder.path);
        setenv("MOONGATE_SHARED", taken, 1);
        check(!shared_folder_inherit(&other, &me, MB));
        close(fd);
    }
    setenv("MOONGATE_SHARED", taken, 1);
    check(!shared_folder_inherit(&other, &somebody_else, MB));
    close_dict();
}

static void test_bad(void)
{
    char err[300] = "";
    test("what can't be opened says so");
    check(shared_open("/nonexistent/folder", MB, err, sizeof err) == NULL);
    check(strstr(err, "/nonexistent/folder: No such file") != NULL);
    check(shared_open("/dev/shm", MB - 1, err, sizeof err) == NULL);
    struct shared_folder none;
    check(!shared_folder_make(&none, &me, (size_t)1 << 60));
    check(strstr(none.problem, "no room for limits.shared") != NULL && none.path[0] == '\0');
    shared_folder_leave(&none);
}

int main(void)
{
    me = (struct user){.uid = geteuid(), .gid = getegid()};
    somebody_else = (struct user){.uid = geteuid() + 1, .gid = getegid()};
    test_values();
    test_names();
    test_ttl();
    test_take();
    test_full();
    test_churn();
    test_processes();
    test_killed();
    test_folder();
    test_bad();
    return test_report();
}
