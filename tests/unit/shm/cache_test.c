/*
 * cache_test - the index of the response cache and its files, as several processes see them: what
 * is found, what goes first, purges, who makes a response; workers that are killed while they
 * write. Links cache, cachestore and what they need.
 */
#include "../test.h"
#include "shm/cachestore.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST    (1u << 20) /* bytes of one response */
#define PATIENT 1000.0     /* the end of a lifetime that does not end here */

static char path[PATH_MAX];
static struct cache *cache;

/* Puts a response whose body is `size` times the letter. */
static enum cache_reason put(const char *key, char letter, size_t size, const char *tag,
                             double fresh)
{
    struct headers headers = {0};
    static char memory[4096], body[MOST];
    struct arena arena;
    arena_init(&arena, memory, sizeof memory);
    headers_add(&arena, &headers, STR("Content-Type"), STR("text/html"));
    headers_add(&arena, &headers, STR("ETag"), STR("\"v1\""));
    const struct cache_record record = {
        .key = str_of(key), .vary = STR(""), .status = 200, .headers = &headers};
    struct cache_write w;
    struct cache_facts facts = {.hash = cache_hash(cache, str_of(key)),
                                .stored = 0,
                                .fresh_until = fresh,
                                .stale_until = fresh,
                                .text = str_of(key)};
    if (tag != NULL)
        facts.tags[0] = cache_tag(cache, str_of(tag));
    cachestore_begin(&w, &record, cache_purges(cache), MOST);
    memset(body, letter, size);
    enum cache_reason bad =
        cachestore_add(&w, (struct str){body, size}) ? cachestore_end(&w, &facts) : CACHE_TOO_LARGE;
    cachestore_drop(&w);
    return bad;
}

static unsigned purge(enum cache_purge kind, struct str what, uint32_t site)
{
    return cachestore_purge(&(struct cache_order){kind, what, site}, 1);
}

static struct cache_entry *get(const char *key, double now)
{
    struct cache_found found;
    return cache_find(cache, cache_hash(cache, str_of(key)), now, &found)
               ? cachestore_get(&found, str_of(key))
               : NULL;
}

/* Whether the response is there whole, all of its body being one letter. */
static bool has(const char *key, char letter, size_t size)
{
    static char body[MOST];
    struct cache_entry *e = get(key, 1);
    if (e == NULL)
        return false;
    bool good = e->status == 200 && e->file.size == size && e->headers.count == 2 &&
                str_eq(e->file.tag, STR("\"v1\"")) && str_eq(e->key, str_of(key));
    const char *bytes = e->file.source.content;
    if (good && bytes == NULL) {
        good = pread(e->file.source.fd, body, size, (off_t)e->body_at) == (ssize_t)size;
        bytes = body;
    }
    for (size_t i = 0; i < size && good; i++)
        good = bytes[i] == letter;
    file_source_drop(&e->file.source);
    return good;
}

static unsigned files_in(const char *folder)
{
    char all[PATH_MAX + 80];
    unsigned count = 0;
    snprintf(all, sizeof all, "%s/moongate-cache-%016llx/%s", path,
             (unsigned long long)cache_instance(cache), folder);
    DIR *dir = opendir(all);
    for (struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;)
        count += e->d_type == DT_REG;
    if (dir != NULL)
        closedir(dir);
    return count;
}

/* A thread removes what is much. */
static bool has_files_soon(unsigned count)
{
    for (int i = 0; i < 6000 && files_in(".") != count; i++)
        usleep(10000);
    return files_in(".") == count;
}

static void test_find(void)
{
    test("what was put is found, small and large");
    check(get("a", 1) == NULL);
    check(put("a", 'a', 100, NULL, PATIENT) == CACHE_NO_REASON);
    check(put("b", 'b', 500000, NULL, PATIENT) == CACHE_NO_REASON);
    check(put("empty", 'e', 0, NULL, PATIENT) == CACHE_NO_REASON);
    check(has("a", 'a', 100));
    check(has("b", 'b', 500000));
    check(has("empty", 'e', 0));
    check(get("c", 1) == NULL);
    check_int(files_in("fill"), 0);
    test("a newer one takes its place, an older one that is in use stays whole");
    struct cache_entry *former = get("a", 1);
    check(put("a", 'A', 60, NULL, PATIENT) == CACHE_NO_REASON);
    check(has("a", 'A', 60));
    check(former != NULL && former->file.size == 100 && former->file.source.content[99] == 'a');
    if (former != NULL)
        file_source_drop(&former->file.source);
    test("what is too old is not found");
    check(put("old", 'o', 10, NULL, 5) == CACHE_NO_REASON);
    check(has("old", 'o', 10));
    check(get("old", 6) == NULL);
    test("what is too large is not kept");
    check(put("large", 'l', MOST, NULL, PATIENT) != CACHE_NO_REASON);
    check(get("large", 1) == NULL);
    check_int(files_in("fill"), 0);
}

static void test_broken(void)
{
    char name[PATH_MAX + 80];
    struct cache_found found;
    test("a file that was cut short, or is another one, is not used");
    check(put("cut", 'c', 100000, NULL, PATIENT) == CACHE_NO_REASON);
    check(cache_find(cache, cache_hash(cache, STR("cut")), 1, &found));
    snprintf(name, sizeof name, "%s/moongate-cache-%016llx/%08x", path,
             (unsigned long long)cache_instance(cache), found.slot);
    check(truncate(name, 99999) == 0);
    check(get("cut", 1) == NULL);
    check(!cache_find(cache, cache_hash(cache, STR("cut")), 1, &found));
    check(put("gone", 'g', 100, NULL, PATIENT) == CACHE_NO_REASON);
    check(cache_find(cache, cache_hash(cache, STR("gone")), 1, &found));
    snprintf(name, sizeof name, "%s/moongate-cache-%016llx/%08x", path,
             (unsigned long long)cache_instance(cache), found.slot);
    check(unlink(name) == 0);
    check(get("gone", 1) == NULL);
    test("a key with another one's hash gets nothing of it");
    check(put("mine", 'm', 10, NULL, PATIENT) == CACHE_NO_REASON);
    check(cache_find(cache, cache_hash(cache, STR("mine")), 1, &found));
    check(cachestore_get(&found, STR("yours")) == NULL);
    check(has("mine", 'm', 10));
}

static void test_purges(void)
{
    test("purges by key, prefix and tag take what they name");
    put("http://x/a", 'a', 10, "news", PATIENT);
    put("http://x/b", 'b', 10, "news", PATIENT);
    put("http://x/b/c", 'c', 10, "other", PATIENT);
    put("http://y/", 'd', 10, NULL, PATIENT);
    purge(CACHE_PURGE_KEY, STR("http://x/b"), 0);
    check(!has("http://x/b", 'b', 10) && has("http://x/b/c", 'c', 10));
    purge(CACHE_PURGE_TAG, STR("news"), 0);
    check(!has("http://x/a", 'a', 10) && has("http://x/b/c", 'c', 10));
    purge(CACHE_PURGE_PREFIX, STR("http://x/"), 0);
    check(!has("http://x/b/c", 'c', 10) && has("http://y/", 'd', 10));
    test("so do several at once");
    put("http://x/a", 'a', 10, "news", PATIENT);
    put("http://x/b", 'b', 10, "other", PATIENT);
    put("http://x/c", 'c', 10, NULL, PATIENT);
    const struct cache_order orders[] = {{.kind = CACHE_PURGE_TAG, .what = STR("other")},
                                         {.kind = CACHE_PURGE_KEY, .what = STR("http://x/c")},
                                         {.kind = CACHE_PURGE_TAG, .what = STR("absent")}};
    uint64_t before = cache_purges(cache);
    check_int(cachestore_purge(orders, 3), 2);
    check_int(cache_purges(cache) - before, 3);
    check(has("http://x/a", 'a', 10) && !has("http://x/b", 'b', 10) && !has("http://x/c", 'c', 10));
    purge(CACHE_PURGE_KEY, STR("http://x/a"), 0);
    test("a purge of a site leaves others alone");
    put("http://z/", 'z', 10, "news", PATIENT);
    check_int(purge(CACHE_PURGE_PREFIX, STR("http://z/"), 5), 0);
    check(has("http://z/", 'z', 10));
    check_int(purge(CACHE_PURGE_PREFIX, STR("http://z/"), 0), 1);
    check(!has("http://z/", 'z', 10));
    test("a purge also holds for what is being made");
    struct cache_write w;
    struct headers headers = {0};
    struct cache_record record = {.key = STR("late"), .status = 200, .headers = &headers};
    struct cache_facts facts = {.hash = cache_hash(cache, STR("late")),
                                .fresh_until = PATIENT,
                                .stale_until = PATIENT,
                                .text = STR("late")};
    cachestore_begin(&w, &record, cache_purges(cache), MOST);
    purge(CACHE_PURGE_KEY, STR("other"), 0);
    purge(CACHE_PURGE_PREFIX, STR("la"), 0);
    check(cachestore_end(&w, &facts) != CACHE_NO_REASON);
    cachestore_drop(&w);
    check(get("late", 1) == NULL);
    cachestore_begin(&w, &record, cache_purges(cache), MOST);
    purge(CACHE_PURGE_KEY, STR("other"), 0);
    check(cachestore_end(&w, &facts) == CACHE_NO_REASON);
    cachestore_drop(&w);
    struct cache_entry *e = get("late", 1);
    check(e != NULL);
    if (e != NULL)
        file_source_drop(&e->file.source);
    purge(CACHE_PURGE_ALL, STR(""), 0);
    check(!has("http://y/", 'd', 10) && !has("mine", 'm', 10));
    check_int(files_in("."), 1); /* the lock */
}

static void test_room(void)
{
    struct cache_counts counts;
    char key[16];
    test("the least useful goes: what nobody has asked for again");
    cache_set_limit(cache, 100 * 4096);
    for (int i = 0; i < 80; i++) {
        snprintf(key, sizeof key, "page%d", i);
        check(put(key, 'p', 1000, NULL, PATIENT) == CACHE_NO_REASON);
    }
    for (int i = 0; i < 10; i++) {
        snprintf(key, sizeof key, "page%d", i);
        check(has(key, 'p', 1000));
    }
    for (int i = 0; i < 100; i++) {
        snprintf(key, sizeof key, "scan%d", i);
        check(put(key, 's', 1000, NULL, PATIENT) == CACHE_NO_REASON);
    }
    for (int i = 0; i < 10; i++) {
        snprintf(key, sizeof key, "page%d", i);
        check(has(key, 'p', 1000));
    }
    check(get("page50", 1) == NULL && get("scan0", 1) == NULL && has("scan99", 's', 1000));
    cache_count(cache, &counts);
    check_int((int64_t)counts.entries, 100);
    check_int((int64_t)counts.bytes, 100 * 4096);
    check_int(files_in("."), 101);
    test("some go where the disk is full before the limit is reached");
    struct cache_victims victims;
    cache_relieve(cache, 16, &victims);
    check_int(victims.count, 16);
    for (unsigned i = 0; i < victims.count; i++)
        cache_free(cache, victims.slots[i]);
    cache_count(cache, &counts);
    check_int((int64_t)counts.entries, 84);
    check(has("page3", 'p', 1000) && has("scan99", 's', 1000));
    cache_set_limit(cache, 64 << 20);
}

/* Finds the response, and puts a coded body of it. */
static enum cache_reason put_coded(const char *key, enum coding coding, size_t size)
{
    static char body[MOST];
    const char text[] = {'\0', (char)coding};
    const struct cache_record record = {.key = {text, 2}, .vary = STR(""), .level = 5};
    struct cache_found found;
    struct cache_write w;
    if (!cache_find(cache, cache_hash(cache, str_of(key)), 1, &found))
        return CACHE_PURGED;
    struct cache_facts facts = {.hash = cache_coded_hash(cache, found.id, coding),
                                .stale_until = PATIENT,
                                .coded = true,
                                .of_slot = found.slot,
                                .of = found.id};
    cachestore_begin(&w, &record, cache_purges(cache), MOST);
    memset(body, 'z', size);
    enum cache_reason bad =
        cachestore_add(&w, (struct str){body, size}) ? cachestore_end(&w, &facts) : CACHE_TOO_LARGE;
    cachestore_drop(&w);
    return bad;
}

/* Whether a coded body of the response with that id is there. */
static bool has_coded(uint64_t of, enum coding coding, size_t size)
{
    const char text[] = {'\0', (char)coding};
    struct cache_found found;
    if (!cache_find(cache, cache_coded_hash(cache, of, coding), 1, &found))
        return false;
    struct cache_entry *e = cachestore_get(&found, (struct str){text, 2});
    if (e == NULL)
        return false;
    bool good = e->of == of && e->level == 5 && e->file.size == size && e->headers.count == 0;
    file_source_drop(&e->file.source);
    return good;
}

static uint64_t id_of(const char *key)
{
    struct cache_found found;
    return cache_find(cache, cache_hash(cache, str_of(key)), 1, &found) ? found.id : 0;
}

static void test_coded(void)
{
    struct cache_counts counts;
    struct cache_found found;
    test("a coded body is found by its response");
    purge(CACHE_PURGE_ALL, STR(""), 0);
    check(put("page", 'p', 1000, "news", PATIENT) == CACHE_NO_REASON);
    uint64_t id = id_of("page");
    check(put_coded("page", CODING_GZIP, 300) == CACHE_NO_REASON);
    check(put_coded("page", CODING_BR, 100000) == CACHE_NO_REASON);
    check(has_coded(id, CODING_GZIP, 300) && has_coded(id, CODING_BR, 100000));
    check(!has_coded(id, CODING_ZSTD, 300));
    cache_count(cache, &counts);
    check_int((int64_t)counts.entries, 1);
    check_int((int64_t)counts.coded, 2);
    check_int(files_in("."), 4);
    test("a newer response takes all coded bodies of the former one with it");
    check(put("page", 'q', 1000, "news", PATIENT) == CACHE_NO_REASON);
    check(!has_coded(id, CODING_GZIP, 300) && !has_coded(id, CODING_BR, 100000));
    check(!has_coded(id_of("page"), CODING_GZIP, 300));
    cache_count(cache, &counts);
    check_int((int64_t)counts.coded, 0);
    check_int(files_in("."), 2);
    test("so does a purge, which counts responses");
    check(put_coded("page", CODING_GZIP, 300) == CACHE_NO_REASON);
    uint64_t purged = counts.purged;
    check_int(purge(CACHE_PURGE_TAG, STR("news"), 0), 1);
    cache_count(cache, &counts);
    check_int((int64_t)(counts.purged - purged), 1);
    check_int(files_in("."), 1);
    test("so does a response whose file is broken");
    check(put("page", 'p', 1000, NULL, PATIENT) == CACHE_NO_REASON);
    check(put_coded("page", CODING_GZIP, 300) == CACHE_NO_REASON);
    check(cache_find(cache, cache_hash(cache, STR("page")), 1, &found));
    cachestore_discard(&found);
    check_int(files_in("."), 1);
    test("the body of a response that has gone is not kept");
    struct cache_write w;
    const struct cache_record record = {.key = STR("x"), .vary = STR("")};
    struct cache_facts facts = {.hash = 5, .coded = true, .of_slot = found.slot, .of = found.id};
    cachestore_begin(&w, &record, cache_purges(cache), MOST);
    check(cachestore_end(&w, &facts) != CACHE_NO_REASON);
    cachestore_drop(&w);
    check_int(files_in("."), 1);
    test("where there is no room bodies go with their response, and before it");
    cache_set_limit(cache, 100 * 4096);
    for (int i = 0; i < 200; i++) {
        char key[16];
        snprintf(key, sizeof key, "both%d", i);
        check(put(key, 'b', 1000, NULL, PATIENT) == CACHE_NO_REASON);
        check(put_coded(key, CODING_GZIP, 300) == CACHE_NO_REASON);
    }
    cache_count(cache, &counts);
    check_int((int64_t)(counts.entries + counts.coded), 100);
    check_int((int64_t)counts.bytes, 100 * 4096);
    check(counts.coded <= counts.entries && counts.coded > 0);
    check_int(files_in("."), 101);
    cache_set_limit(cache, 64 << 20);
    test("many that are purged are gone at once, and their files soon");
    check_int(purge(CACHE_PURGE_ALL, STR(""), 0), (int64_t)counts.entries);
    check(get("both199", 1) == NULL);
    cache_count(cache, &counts);
    check_int((int64_t)(counts.entries + counts.coded), 0);
    check(has_files_soon(1));
    check(put("both1", 'b', 1000, NULL, PATIENT) == CACHE_NO_REASON && has("both1", 'b', 1000));
    purge(CACHE_PURGE_KEY, STR("both1"), 0);
    check_int(files_in("."), 1);
}

static void test_heads(void)
{
    char memory[1024];
    struct arena arena;
    struct headers headers = {0};
    struct cache_found found;
    struct cache_write w;
    arena_init(&arena, memory, sizeof memory);
    headers_add(&arena, &headers, STR("ETag"), STR("\"v2\""));
    test("a newer head takes the place of that of its response");
    check(put("page", 'p', 1000, NULL, PATIENT) == CACHE_NO_REASON);
    struct cache_entry *former = get("page", 1);
    for (int i = 0; i < 2; i++) {
        check(cache_find(cache, cache_hash(cache, STR("page")), 1, &found));
        const struct cache_record record = {
            .key = STR(""), .vary = STR(""), .status = 200, .headers = &headers};
        struct cache_facts facts = {.hash = cache_coded_hash(cache, found.id, CODING_IDENTITY),
                                    .stale_until = PATIENT,
                                    .coded = true,
                                    .head = true,
                                    .of_slot = found.slot,
                                    .of = found.id};
        cachestore_begin(&w, &record, cache_purges(cache), MOST);
        check(cachestore_end(&w, &facts) == CACHE_NO_REASON);
        cachestore_drop(&w);
        struct cache_entry *e = get("page", 1);
        check(e != NULL && e->headers.count == 1 && str_eq(e->file.tag, STR("\"v2\"")));
        check(e != NULL && e->file.size == 1000 && e->file.source.content[999] == 'p');
        if (e != NULL)
            file_source_drop(&e->file.source);
        check_int(files_in("."), 3);
    }
    check(former != NULL && str_eq(former->file.tag, STR("\"v1\"")));
    if (former != NULL)
        file_source_drop(&former->file.source);
    test("without its newer head a response is not used, and may be replaced");
    check(cache_find(cache, cache_hash(cache, STR("page")), 1, &found));
    const struct cache_found head = {.slot = found.head_slot, .id = found.head};
    cachestore_discard(&head);
    cachestore_close();
    check(cachestore_open(cache, 0, str_of(path)) == NULL);
    check(get("page", 1) == NULL);
    check(put("page", 'q', 10, NULL, PATIENT) == CACHE_NO_REASON);
    check(has("page", 'q', 10));
    purge(CACHE_PURGE_ALL, STR(""), 0);
    check_int(files_in("."), 1);
}

static void test_fills(void)
{
    uint64_t woken = 0;
    test("one makes a response, others wait for its end");
    check_int(cache_begin_fill(cache, 77, 1), CACHE_YOURS);
    check_int(cache_begin_fill(cache, 78, 1), CACHE_YOURS);
    check_int(cache_begin_fill(cache, 77, 1), CACHE_OTHERS);
    cache_end_fill(cache, 78);
    check(read(cache_wake_fd(cache), &woken, sizeof woken) < 0);
    cache_end_fill(cache, 77);
    check(read(cache_wake_fd(cache), &woken, sizeof woken) == sizeof woken);
    check_int(cache_begin_fill(cache, 77, 1), CACHE_YOURS);
    cache_end_fill(cache, 77);
    test("another one takes its turn when it takes long");
    check_int(cache_begin_fill(cache, 77, 1), CACHE_YOURS);
    check_int(cache_begin_fill(cache, 77, 0.9 + CACHE_PATIENCE), CACHE_OTHERS);
    check_int(cache_begin_fill(cache, 77, 1.1 + CACHE_PATIENCE), CACHE_YOURS);
    check_int(cache_begin_fill(cache, 77, 1.2 + CACHE_PATIENCE), CACHE_OTHERS);
    cache_end_fill(cache, 77);
    check(read(cache_wake_fd(cache), &woken, sizeof woken) == sizeof woken);
    test("nobody waits for what can't be kept");
    cache_note_unkept(cache, 77, 5);
    check_int(cache_begin_fill(cache, 77, 4), CACHE_CROWD);
    check_int(cache_begin_fill(cache, 77, 6), CACHE_YOURS);
    cache_end_fill(cache, 77);
    test("the end of a worker is the end of what it made");
    pid_t pid = fork();
    if (pid == 0) {
        cache_join(cache, 1);
        _exit(cache_begin_fill(cache, 99, 1) == CACHE_YOURS ? 0 : 1);
    }
    int status;
    waitpid(pid, &status, 0);
    check_int(status, 0);
    check_int(cache_begin_fill(cache, 99, 1), CACHE_OTHERS);
    cache_worker_gone(cache, 1);
    check(read(cache_wake_fd(cache), &woken, sizeof woken) == sizeof woken);
    check_int(cache_begin_fill(cache, 99, 1), CACHE_YOURS);
    cache_end_fill(cache, 99);
}

/* Writes responses without an end, each with a letter and a size by its number, and says so. */
static void write_on(int say, unsigned seed)
{
    cache_join(cache, 1);
    if (cachestore_open(cache, 1, str_of(path)) != NULL)
        _exit(1);
    for (unsigned i = seed;; i = i * 1103515245 + 12345) {
        unsigned n = i >> 16 & 63;
        char key[16], byte = 0;
        snprintf(key, sizeof key, "kill%u", n);
        put(key, (char)('a' + n % 26), 1 + n * 3000, NULL, PATIENT);
        if (i % 16 == 0 && write(say, &byte, 1) < 0)
            _exit(0);
    }
}

/* Each worker is killed wherever it happens to be. */
static void test_kills(void)
{
    test("workers killed while they write leave whole responses alone");
    unsigned seen = 0;
    for (unsigned round = 0; round < 100; round++) {
        int pipes[2];
        char byte;
        check(pipe(pipes) == 0);
        pid_t pid = fork();
        if (pid == 0)
            write_on(pipes[1], round * 7919 + 1);
        close(pipes[1]);
        check(read(pipes[0], &byte, 1) == 1);
        for (volatile unsigned spin = 0; spin < round * 997 % 100000; spin++)
            ;
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        close(pipes[0]);
        cache_worker_gone(cache, 1);
        for (unsigned n = 0; n < 64; n++) {
            struct cache_found found;
            char key[16];
            snprintf(key, sizeof key, "kill%u", n);
            if (!cache_find(cache, cache_hash(cache, str_of(key)), 1, &found))
                continue;
            seen++;
            check(has(key, (char)('a' + n % 26), 1 + n * 3000));
        }
    }
    check(seen > 100);
    test("the next worker at the place removes what was begun");
    pid_t pid = fork();
    if (pid == 0) {
        cache_join(cache, 1);
        _exit(cachestore_open(cache, 1, str_of(path)) != NULL);
    }
    int status;
    waitpid(pid, &status, 0);
    check_int(status, 0);
    check_int(files_in("fill"), 0);
}

static bool is_gone_soon(const char *name)
{
    struct stat st;
    for (int i = 0; i < 6000 && stat(name, &st) == 0; i++)
        usleep(10000);
    return stat(name, &st) != 0;
}

/* An instance that was killed leaves its folder to the next one. */
static void test_folders(void)
{
    char name[PATH_MAX + 80];
    struct stat st;
    int status;
    test("the next instance removes what one that was killed has left, not what another one has");
    snprintf(name, sizeof name, "%s/moongate-cache-%016llx", path,
             (unsigned long long)cache_instance(cache));
    struct cache *next = cache_new(1);
    pid_t pid = fork();
    if (pid == 0)
        _exit(cachestore_open(next, 0, str_of(path)) != NULL);
    waitpid(pid, &status, 0);
    check_int(status, 0);
    check(stat(name, &st) == 0);
    cachestore_remove(cache);
    check(stat(name, &st) == 0); /* this process has its lock */
    cachestore_close();
    struct cache *third = cache_new(1);
    check(cachestore_open(third, 0, str_of(path)) == NULL);
    check(is_gone_soon(name));
    cachestore_close();
    test("what can't be removed is left with its lock, for another one");
    snprintf(name, sizeof name, "%s/moongate-cache-%016llx", path,
             (unsigned long long)cache_instance(third));
    char inner[sizeof name + 16], lock[sizeof name + 16];
    snprintf(inner, sizeof inner, "%s/fill/folder", name);
    snprintf(lock, sizeof lock, "%s/lock", name);
    check(mkdir(inner, 0700) == 0);
    cachestore_remove(third);
    check(stat(lock, &st) == 0);
    check(rmdir(inner) == 0);
    struct cache *fourth = cache_new(1);
    check(cachestore_open(fourth, 0, str_of(path)) == NULL);
    check(is_gone_soon(name));
    cachestore_close();
    cachestore_remove(fourth);
    check(rmdir(path) == 0);
}

int main(void)
{
    snprintf(path, sizeof path, "%s/cache_test.XXXXXX",
             getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp");
    if (mkdtemp(path) == NULL || (cache = cache_new(2)) == NULL)
        return 1;
    cache_join(cache, 0);
    cache_set_limit(cache, 64 << 20);
    const char *bad = cachestore_open(cache, 0, str_of(path));
    if (bad != NULL) {
        fprintf(stderr, "%s: %s\n", path, bad);
        return 1;
    }
    test_find();
    test_broken();
    test_purges();
    test_coded();
    test_heads();
    test_room();
    test_fills();
    test_kills();
    test_folders();
    return test_report();
}
