/*
 * shared_test - dictionaries over several processes: values, times to live (the clock is given), a
 * full memory, processes that are killed, and the file that holds it all. Links shared, entry,
 * shared_file, lock, undo and str; LMDB itself stands in for a worker that dies in the middle.
 */
#include "../test.h"
#include "shm/lock.h"
#include "shm/shared.h"
#include "shm/undo.h"

#include <fcntl.h>
#include <lmdb.h>
#include <math.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define MB (1u << 20)

static struct shared_file file;
static struct shared *dict;
static const struct str D = {"dict", 4};

static void open_dict(size_t size)
{
    char err[300] = "";
    if (!shared_file_make(&file, size) || (dict = shared_open(&file, err, sizeof err)) == NULL) {
        fprintf(stderr, "no shared memory: %s%s\n", file.problem, err);
        exit(1);
    }
}

static void close_dict(void)
{
    shared_close(dict);
    dict = NULL;
    shared_file_close(&file);
}

static struct shared_value text(const char *s)
{
    return (struct shared_value){.type = SHARED_STRING, .string = str_of(s)};
}

static struct shared_value number(double n)
{
    return (struct shared_value){.type = SHARED_NUMBER, .number = n};
}

static enum shared_result put(struct str name, struct str key, const struct shared_value *v,
                              double ttl, enum shared_action action, double now)
{
    const struct shared_operation op = {
        .action = action, .name = name, .key = key, .value = *v, .ttl = ttl};
    return shared_write(dict, &op, now, NULL);
}

static enum shared_result drop(struct str name, struct str key, double now)
{
    const struct shared_operation op = {.action = SHARED_DELETE, .name = name, .key = key};
    return shared_write(dict, &op, now, NULL);
}

static enum shared_result set(const char *key, struct shared_value v, double ttl, double now)
{
    return put(D, str_of(key), &v, ttl, SHARED_SET, now);
}

/* The text of an entry, "#n" for a number, "-" where there is none. */
static struct str get(const char *key, double now)
{
    static char out[200];
    struct shared_value v;
    char room[200];
    enum shared_result result = shared_get(dict, D, str_of(key), now, room, sizeof room, &v);
    if (result != SHARED_OK)
        snprintf(out, sizeof out, "%s", result == SHARED_ABSENT ? "-" : "?");
    else if (v.type == SHARED_STRING)
        snprintf(out, sizeof out, "%.*s", STR_FMT(v.string));
    else
        snprintf(out, sizeof out, "#%g", v.number);
    if (result == SHARED_OK && v.type == SHARED_BOOLEAN)
        snprintf(out, sizeof out, "%s", v.boolean ? "yes" : "no");
    return str_of(out);
}

static enum shared_result incr(const char *key, double by, const double *initial, double ttl,
                               double now, double *out)
{
    const struct shared_operation op = {.action = SHARED_INCR,
                                        .name = D,
                                        .key = str_of(key),
                                        .by = by,
                                        .initial = initial,
                                        .ttl = ttl};
    return shared_write(dict, &op, now, out);
}

static unsigned count_keys(struct str name, double now)
{
    struct shared_cursor cursor = {.begun = false};
    unsigned n = 0;
    enum shared_result result;
    while ((result = shared_next(dict, name, now, &cursor)) == SHARED_OK)
        n++;
    check(result == SHARED_ABSENT);
    return n;
}

static size_t used(void)
{
    size_t bytes = 0;
    check(shared_used(dict, &bytes) == SHARED_OK);
    return bytes;
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
    check(put(D, STR("a"), &v, 0, SHARED_REPLACE, 0) == SHARED_ABSENT);
    check(put(D, STR("a"), &v, 0, SHARED_ADD, 0) == SHARED_OK);
    v = text("w");
    check(put(D, STR("a"), &v, 0, SHARED_ADD, 0) == SHARED_EXISTS);
    check_str(get("a", 0), "v");
    check(put(D, STR("a"), &v, 0, SHARED_REPLACE, 0) == SHARED_OK);
    check_str(get("a", 0), "w");

    test("incr counts, from what it is told to begin with");
    const double zero = 0, ten = 10;
    check(incr("n", 1, NULL, 0, 0, &n) == SHARED_ABSENT);
    check(incr("n", 1, &ten, 0, 0, &n) == SHARED_OK && n == 11);
    check(incr("n", -1.5, &zero, 0, 0, &n) == SHARED_OK && n == 9.5);
    check(incr("a", 1, &zero, 0, 0, &n) == SHARED_NOT_A_NUMBER);
    check_str(get("a", 0), "w");

    test("delete removes, and does not mind what is not there");
    check(drop(D, STR("n"), 0) == SHARED_OK);
    check(drop(D, STR("n"), 0) == SHARED_OK);
    check_str(get("n", 0), "-");
    close_dict();
}

static void test_names(void)
{
    char key[SHARED_KEY_MAX + 1], name[SHARED_NAME_MAX + 1], room[100];
    struct shared_value v = text("v"), got;
    open_dict(MB);
    test("the longest name with the longest key, and one byte more");
    memset(key, 'k', sizeof key);
    memset(name, 'n', sizeof name);
    struct str longest = {key, SHARED_KEY_MAX}, longer = {key, sizeof key};
    struct str longest_name = {name, SHARED_NAME_MAX};
    check(put(longest_name, longest, &v, 100, SHARED_SET, 1) == SHARED_OK);
    check(shared_get(dict, longest_name, longest, 1, room, sizeof room, &got) == SHARED_OK);
    check(put(longest_name, longer, &v, 0, SHARED_SET, 1) == SHARED_KEY_LONG);
    check(shared_get(dict, longest_name, longer, 1, room, sizeof room, &got) == SHARED_KEY_LONG);
    check(drop(longest_name, longer, 1) == SHARED_KEY_LONG);
    check_int(count_keys(longest_name, 1), 1);
    check_int(count_keys(longest_name, 102), 0);

    test("dictionaries do not see each other's keys");
    check(put(STR("a"), STR("bc"), &v, 0, SHARED_SET, 1) == SHARED_OK);
    check(shared_get(dict, STR("ab"), STR("c"), 1, room, sizeof room, &got) == SHARED_ABSENT);
    check(put(STR("ab"), STR(""), &v, 0, SHARED_SET, 1) == SHARED_OK);
    check_int(count_keys(STR("a"), 1), 1);
    check_int(count_keys(STR("ab"), 1), 1);
    check_int(count_keys(STR("abc"), 1), 0);

    test("bytes are bytes, in keys and values");
    struct str odd = {"\0\xff\0", 3};
    v.string = odd;
    check(put(D, odd, &v, 0, SHARED_SET, 1) == SHARED_OK);
    check(shared_get(dict, D, odd, 1, room, sizeof room, &got) == SHARED_OK && got.string.n == 3 &&
          memcmp(got.string.p, odd.p, 3) == 0);

    test("keys come in their order, the empty one first, and whatever is deleted meanwhile");
    struct shared_cursor cursor = {.begun = false};
    check(put(STR("order"), STR("b"), &v, 0, SHARED_SET, 1) == SHARED_OK);
    check(put(STR("order"), STR(""), &v, 0, SHARED_SET, 1) == SHARED_OK);
    check(put(STR("order"), STR("a"), &v, 0, SHARED_SET, 1) == SHARED_OK);
    check(shared_next(dict, STR("order"), 1, &cursor) == SHARED_OK && cursor.size == 0);
    check(shared_next(dict, STR("order"), 1, &cursor) == SHARED_OK && cursor.key[0] == 'a');
    check(drop(STR("order"), STR("a"), 1) == SHARED_OK);
    check(shared_next(dict, STR("order"), 1, &cursor) == SHARED_OK && cursor.key[0] == 'b');
    check(shared_next(dict, STR("order"), 1, &cursor) == SHARED_ABSENT);

    test("a string that has no place says how much it needs");
    v.string = STR("twelve bytes");
    check(set("k", v, 0, 1) == SHARED_OK);
    check(shared_get(dict, D, STR("k"), 1, room, 11, &got) == SHARED_LONG && got.string.n == 12);
    check(shared_get(dict, D, STR("k"), 1, room, 12, &got) == SHARED_OK);
    check_str(got.string, "twelve bytes");
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
    check(put(D, STR("k"), &v, 0, SHARED_REPLACE, 1010) == SHARED_ABSENT);
    check(put(D, STR("k"), &v, 5, SHARED_ADD, 1010) == SHARED_OK);

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
    check(drop(D, STR("n"), 2010) == SHARED_OK);
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
    const struct shared_operation op = {.action = SHARED_TAKE,
                                        .name = D,
                                        .key = STR("n"),
                                        .by = by,
                                        .low = low,
                                        .high = high,
                                        .ttl = 10};
    return shared_write(dict, &op, now, out);
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
    open_dict(MB);
    test("a full memory refuses what needs more, and loses nothing");
    fill(100, 0, 1, &count);
    check(count > 2500);
    check_int(count_keys(D, 1), count);
    check(used() <= shared_room(MB) && shared_room(MB) - used() < 5 * 4096);
    check_str(get("no", 1), "-");

    test("in a full memory one may still read, change, count and delete");
    check(set("100-7", text("shorter"), 0, 1) == SHARED_OK);
    check_str(get("100-7", 1), "shorter");
    for (unsigned i = 0; i < count; i += 2) {
        char key[40];
        snprintf(key, sizeof key, "100-%u", i);
        check(drop(D, str_of(key), 1) == SHARED_OK);
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
            check(drop(D, str_of(key), i / 100.0) == SHARED_OK);
        }
    }
    check(full > 500);
    for (int i = 0; i < 400; i++) {
        snprintf(key, sizeof key, "%d", i);
        check(drop(D, str_of(key), 1000) == SHARED_OK);
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
    dict = shared_open(&file, err, sizeof err);
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
    check(shared_file_make(&file, MB));
    test("three processes count together, and none is lost");
    for (int i = 0; i < 3; i++)
        pids[i] = child(count_up);
    for (int i = 0; i < 3; i++)
        check_int(wait_for(pids[i]), 0);
    char err[300];
    dict = shared_open(&file, err, sizeof err);
    check(dict != NULL);
    check_str(get("sum", 1), "#60000");
    close_dict();
}

static pthread_mutex_t *map_lock(void)
{
    return mmap(NULL, sizeof(pthread_mutex_t), PROT_READ | PROT_WRITE, MAP_SHARED, file.lock, 0);
}

/* Dies in the middle of a write: pages are changed, the lock is held, nothing is committed. */
static void die_writing(void)
{
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    char path[40];
    shared_close(dict);
    lock_enter(map_lock());
    snprintf(path, sizeof path, "/proc/self/fd/%d", file.data);
    if (mdb_env_create(&env) != 0 || mdb_env_set_mapsize(env, file.size) != 0 ||
        mdb_env_open(env, path, MDB_NOSUBDIR | MDB_NOLOCK | MDB_WRITEMAP | MDB_NOSYNC, 0) != 0 ||
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

static void read_once(void)
{
    if (get("k", 1).p[0] != '#')
        _exit(1);
}

/* Dies inside the lock. */
static void die_reading(void)
{
    lock_enter(map_lock());
    raise(SIGKILL);
}

/* Dies in the last step of a commit: LMDB's first pages are neither the old ones nor the new. */
static void die_committing(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    struct undo *undo = mmap(NULL, sizeof *undo, PROT_READ | PROT_WRITE, MAP_SHARED, file.lock, 0);
    unsigned char *pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_SHARED, file.data, 0);
    lock_enter(&undo->lock);
    undo_keep(undo, pages, page);
    memset(pages + 64, 0xee, 80);
    memset(pages + page + 64, 0xee, 80);
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

    test("a commit that is cut short is taken back");
    for (int i = 0; i < 20; i++) {
        check(set("k", number(i), 0, 1) == SHARED_OK);
        check_int(wait_for(child(die_committing)), -SIGKILL);
        if (i % 2 == 0) /* who comes next opens it anew, or has it open */
            check_int(wait_for(child(read_once)), 0);
        check(incr("k", 1, NULL, 0, 1, &n) == SHARED_OK && n == i + 1);
    }
    check_int(count_keys(D, 1), 1);

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

/* --- the file --- */

static bool inherit(const char *text, struct shared_file *out)
{
    setenv("MOONGATE_SHARED", text, 1);
    bool inherited = shared_file_inherit(out, MB);
    check(getenv("MOONGATE_SHARED") == NULL);
    return inherited;
}

static void test_file(void)
{
    struct shared_file other;
    char taken[200], err[300];
    test("nothing is taken until the first process opens it");
    check(shared_file_make(&file, MB));
    check(shared_file_is_empty(&file));
    dict = shared_open(&file, err, sizeof err);
    check(dict != NULL && !shared_file_is_empty(&file));
    check((fcntl(file.data, F_GETFD) & FD_CLOEXEC) && (fcntl(file.lock, F_GETFD) & FD_CLOEXEC));

    test("a successor goes on with it, if it wants the same");
    check(set("k", number(1), 0, 1) == SHARED_OK);
    shared_file_pass(&file);
    check((fcntl(file.data, F_GETFD) & FD_CLOEXEC) == 0);
    check((fcntl(file.lock, F_GETFD) & FD_CLOEXEC) == 0);
    snprintf(taken, sizeof taken, "%d %d %u %s", dup(file.data), dup(file.lock), MB,
             shared_format()); /* as an exec would */
    check(inherit(taken, &other));
    close_dict();
    dict = shared_open(&other, err, sizeof err);
    check_str(get("k", 1), "#1");
    shared_close(dict);
    shared_file_close(&other);

    test("and leaves it where the size or the format differ, or it is none");
    check(!shared_file_inherit(&other, MB));
    const char *const forms[] = {"%d %d 2097152 %s", "%d %d 1048576 0%s", "%d", "x%d"};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        check(shared_file_make(&file, MB));
        snprintf(taken, sizeof taken, forms[i], file.data, file.lock, shared_format());
        check(!inherit(taken, &other));
    }
    check(!inherit("0 1 1048576 1/0.9.24", &other));
    snprintf(taken, sizeof taken, "%d %d 1048576 %s", open("/dev/null", O_RDONLY),
             open("/etc/passwd", O_RDONLY), shared_format());
    check(!inherit(taken, &other));
}

static void test_bad(void)
{
    char err[300] = "";
    struct shared_file none;
    test("what can't be opened says so");
    check(!shared_file_make(&none, (size_t)1 << 60));
    check(strstr(none.problem, "half of the machine's memory") != NULL && none.data < 0);
    shared_file_close(&none);
    check(shared_open(&none, err, sizeof err) == NULL);
    check(strstr(err, "Bad file descriptor") != NULL);
    check(shared_file_make(&none, MB - 1));
    check(shared_open(&none, err, sizeof err) == NULL);
    shared_file_close(&none);
}

int main(void)
{
    test_values();
    test_names();
    test_ttl();
    test_take();
    test_full();
    test_churn();
    test_processes();
    test_killed();
    test_file();
    test_bad();
    return test_report();
}
