/*
 * underway_test - slots are taken, listed, found and given back; names are cut to their room; a
 * table that a worker has filled with nonsense is read within its bounds; the lines of a worker
 * that was killed. Links underway, access, log and request.
 */
#include "shm/underway.h"

#include "../test.h"
#include "base/log.h"

#include <sys/mman.h>
#include <unistd.h>

#define PLACES 2

static struct underway *tables;
static char memory[64];

static void make(struct request *req, uint64_t id, struct str host, struct str uri)
{
    request_init(req, memory, sizeof memory);
    req->id = id;
    req->started = 1000;
    req->method = STR("GET");
    req->version = HTTP_1_1;
    req->host = host;
    req->uri.origin = uri;
}

struct seen {
    unsigned count, place;
    struct underway_request last;
};

static void see(void *ctx, unsigned place, const struct underway_request *u)
{
    struct seen *seen = ctx;
    seen->count++;
    seen->place = place;
    seen->last = *u;
}

static struct seen look(uint64_t *beyond)
{
    struct seen seen = {0};
    *beyond = underway_list(see, &seen);
    return seen;
}

static void test_nothing(void)
{
    struct request req;
    test("a process without a table notes nothing");
    make(&req, 7, STR("a.test"), STR("/"));
    underway_begin(&req, UNDERWAY_COMBINED, 1);
    underway_running(&req);
    underway_enter(&req, UNDERWAY_BODY);
    underway_sent(&req);
    underway_end(&req);
    check(req.underway == 0 && underway_find(7) == NULL);
}

static void test_life(void)
{
    struct request req;
    uint64_t beyond;
    test("a request is listed with its state until it ends");
    make(&req, 7, STR("a.test"), STR("/x?y"));
    req.given_id = STR("edge-7");
    underway_begin(&req, UNDERWAY_JSON, 3);
    struct seen seen = look(&beyond);
    check(seen.count == 1 && beyond == 0 && seen.place == 1);
    check(seen.last.id == 7 && seen.last.state == UNDERWAY_HOOK && seen.last.generation == 3);
    check(seen.last.id_size == 6 && memcmp(seen.last.given_id, "edge-7", 6) == 0);
    check(seen.last.uri_size == 4 && memcmp(seen.last.uri, "/x?y", 4) == 0);
    check(seen.last.server == UNDERWAY_NO_SERVER);
    underway_queued(&req, 5);
    seen = look(&beyond);
    check(seen.last.state == UNDERWAY_QUEUE && seen.last.backend == 5);
    underway_at_server(req.underway, UNDERWAY_WAITING, 9);
    req.bytes_out = 1234;
    underway_sent(&req);
    seen = look(&beyond);
    check(seen.last.state == UNDERWAY_WAITING && seen.last.server == 9 && seen.last.sent == 1234);
    check(underway_find(7) == &req && underway_find(8) == NULL);
    underway_end(&req);
    check(look(&beyond).count == 0 && underway_find(7) == NULL && req.underway == 0);
}

static void test_cut(void)
{
    static char host[UNDERWAY_HOST + 1], uri[UNDERWAY_URI + 100];
    struct request req;
    uint64_t beyond;
    test("names that are too long are cut");
    memset(host, 'h', sizeof host);
    memset(uri, 'u', sizeof uri);
    make(&req, 8, (struct str){host, sizeof host}, (struct str){uri, sizeof uri});
    underway_begin(&req, UNDERWAY_COMBINED, 1);
    struct seen seen = look(&beyond);
    check(seen.last.host_size == UNDERWAY_HOST && seen.last.uri_size == UNDERWAY_URI);
    underway_end(&req);
}

static void test_full(void)
{
    static struct request many[UNDERWAY_MOST + 3];
    uint64_t beyond;
    test("requests beyond the table are counted, and their slots come back");
    for (unsigned i = 0; i < UNDERWAY_MOST + 3; i++) {
        make(&many[i], 100 + i, STR("a"), STR("/"));
        underway_begin(&many[i], UNDERWAY_COMBINED, 1);
    }
    check(look(&beyond).count == UNDERWAY_MOST && beyond == 3);
    underway_enter(&many[UNDERWAY_MOST], UNDERWAY_BODY); /* it has no slot: nothing */
    for (unsigned i = 0; i < UNDERWAY_MOST + 3; i++)
        underway_end(&many[i]);
    check(look(&beyond).count == 0 && beyond == 0);
    underway_begin(&many[0], UNDERWAY_COMBINED, 1);
    check(many[0].underway > 0 && many[0].underway <= UNDERWAY_MOST);
    underway_end(&many[0]);
}

static void test_ran(void)
{
    struct request req;
    struct underway_request ran;
    test("the request whose hook runs is known");
    make(&req, 9, STR("b.test"), STR("/loop"));
    underway_begin(&req, UNDERWAY_COMBINED, 1);
    check(!underway_ran(&tables[1], &ran));
    underway_running(&req);
    check(underway_ran(&tables[1], &ran) && ran.id == 9);
    underway_running(NULL);
    check(!underway_ran(&tables[1], &ran));
    underway_end(&req);
}

/* A worker may have written anything into its table. */
static void test_nonsense(void)
{
    struct request req;
    struct underway_request ran;
    uint32_t beyond;
    uint64_t all;
    test("a table of nonsense is read within its bounds");
    make(&req, 10, STR("c.test"), STR("/"));
    underway_begin(&req, UNDERWAY_COMBINED, 1);
    struct underway_request *slot = &tables[1].list[req.underway - 1];
    struct underway_request good = *slot;
    for (unsigned i = 0; i < 5; i++) {
        *slot = good;
        slot->method_size = i == 0 ? 255 : good.method_size;
        slot->host_size = i == 1 ? 255 : good.host_size;
        slot->uri_size = i == 2 ? UINT16_MAX : good.uri_size;
        slot->id_size = i == 3 ? 255 : good.id_size;
        slot->state = i == 4 ? UNDERWAY_STATES : good.state;
        check(look(&all).count == 0);
    }
    tables[1].slots = UINT32_MAX;
    tables[1].running = UINT32_MAX;
    check(!underway_ran(&tables[1], &ran));
    check(look(&all).count == 0);
    check(underway_rescue(&tables[1], 2000, "it was killed", &beyond) == 0);
    underway_use(&tables[1]);
}

static void test_rescue(void)
{
    char text[4096];
    struct request one, two, three;
    uint32_t beyond;
    test("each request of a killed worker gets a line, in the format of its route");
    int fd = memfd_create("access", MFD_CLOEXEC);
    log_setup(STDERR_FILENO, "stderr", LOG_ERROR, fd, "/access");
    make(&one, 11, STR("a.test"), STR("/one"));
    underway_begin(&one, UNDERWAY_COMBINED, 1);
    make(&two, 12, STR("b.test"), STR("/two"));
    two.given_id = STR("edge-12");
    underway_begin(&two, UNDERWAY_FIELDS, 4);
    make(&three, 13, STR("c.test"), STR("/three"));
    underway_begin(&three, UNDERWAY_NO_LINE, 1);
    underway_set_format("$host $uri $id $status $generation $duration \"$error\"");
    check(underway_rescue(&tables[1], 1002.5, "it was killed", &beyond) == 3 && beyond == 0);
    log_flush();
    ssize_t size = pread(fd, text, sizeof text - 1, 0);
    text[size > 0 ? size : 0] = '\0';
    check(strstr(text, "\"GET /one HTTP/1.1\" 502 0") != NULL);
    check(strstr(text, "b.test /two edge-12 502 4 2.5 \"it was killed\"\n") != NULL);
    check(strstr(text, "/three") == NULL);
    check(underway_rescue(&tables[1], 1003, "again", &beyond) == 0);
    underway_set_format(NULL);
    close(fd);
}

int main(void)
{
    test_nothing();
    tables = underway_new(PLACES);
    if (tables == NULL)
        return 1;
    underway_use(&tables[1]);
    test_life();
    test_cut();
    test_full();
    test_ran();
    test_nonsense();
    test_rescue();
    return test_report();
}
