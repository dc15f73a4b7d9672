/*
 * ledger_test - connections, the queue and the state of servers over several workers: seats in this
 * process act as those. Links ledger*.c and str.
 */
#include "ledger_seats.h"

/* --- places --- */

static void test_max_conns(void)
{
    struct ask a[8];
    begin("max_conns holds over all workers, and the next is served in the order of asking");
    uint32_t g = open_group(10, 0), s = open_server(g, "unix:/a", 3);
    for (unsigned i = 0; i < 3; i++)
        check_int(ask(&a[i], i, g, s, 0), LEDGER_GRANTED);
    for (unsigned i = 3; i < 7; i++)
        check_int(ask(&a[i], i % WORKERS, g, s, 0), LEDGER_WAITING);
    check_int(server_at(s)->active, 3);
    check_int(ledger_queued(&seats[0], g), 4);
    for (unsigned i = 0; i < 3; i++) {
        drop(&a[i]);
        check_int(a[3 + i].state, ACTIVE);
        check_int(a[4 + i].state, WAITING);
        check_group(g);
    }
    drop(&a[6]); /* leaves the queue */
    check_int(ledger_queued(&seats[0], g), 0);
    for (unsigned i = 3; i < 6; i++)
        drop(&a[i]);
    check_empty(g);

    test("0 is no limit");
    uint32_t free_one = open_server(g, "unix:/b", 0);
    struct ask many[200];
    for (unsigned i = 0; i < 200; i++)
        check_int(ask(&many[i], i % WORKERS, g, free_one, 0), LEDGER_GRANTED);
    for (unsigned i = 0; i < 200; i++)
        drop(&many[i]);
    check_empty(g);
    end(g);
}

static void test_queue_bound(void)
{
    struct ask a[8], b;
    begin("queue bounds those who wait, for each server of the backend and over all workers");
    uint32_t g = open_group(2, 0), s = open_server(g, "unix:/a", 1),
             t = open_server(g, "unix:/b", 1);
    check_int(ledger_queue_room(&seats[0], g), 4);
    check_int(ask(&a[0], 0, g, s, 0), LEDGER_GRANTED);
    check_int(ask(&a[1], 1, g, t, 0), LEDGER_GRANTED);
    for (unsigned i = 2; i < 6; i++)
        check_int(ask(&a[i], i % WORKERS, g, LEDGER_NONE, 7), LEDGER_WAITING);
    check_int(ask(&b, 3, g, LEDGER_NONE, 8), LEDGER_FULL);
    check_int(ask(&b, 3, g, s, 8), LEDGER_FULL);
    check_int(ledger_queued(&seats[0], g), 4);
    drop(&a[3]);
    check_int(ask(&b, 3, g, LEDGER_NONE, 8), LEDGER_WAITING);
    end(g);

    begin("without a queue nobody waits, but a place that the caller did not see is found");
    g = open_group(0, 0);
    s = open_server(g, "unix:/a", 1);
    t = open_server(g, "unix:/b", 1);
    check_int(ask(&a[0], 0, g, s, 0), LEDGER_GRANTED);
    check_int(ask(&a[1], 1, g, s, 0), LEDGER_WAITING); /* s was taken meanwhile */
    collect();
    check_int(a[1].state, ACTIVE);
    check_int(a[1].server, t);
    check_int(ask(&a[2], 2, g, LEDGER_NONE, 0), LEDGER_FULL);

    test("nor does an idle connection of another worker's make the backend full");
    check_int(release(&a[1]), LEDGER_KEEP);
    check_int(ask(&a[2], 2, g, LEDGER_NONE, 0), LEDGER_WAITING);
    check_int(ask(&a[3], 2, g, LEDGER_NONE, 0), LEDGER_FULL);
    collect();
    check_int(a[1].asked_to_leave, 1);
    drop(&a[1]);
    check_int(a[2].state, ACTIVE);
    end(g);
}

/* --- tenants --- */

static void test_tenants(void)
{
    struct ask a[8], b[8], c;
    begin("a free place goes to the tenant that has the fewest");
    uint32_t g = open_group(20, 0), s = open_server(g, "unix:/a", 4);
    for (unsigned i = 0; i < 4; i++)
        ask(&a[i], 0, g, s, i < 3 ? 1 : 2);
    for (unsigned i = 4; i < 8; i++)
        check_int(ask(&a[i], 1, g, s, 1), LEDGER_WAITING);
    for (unsigned i = 0; i < 3; i++)
        check_int(ask(&b[i], 2, g, s, 2), LEDGER_WAITING);
    check_int(ask(&c, 3, g, s, 3), LEDGER_WAITING);
    drop(&a[0]); /* 1 has 2, 2 has 1, 3 has 0 */
    check_int(c.state, ACTIVE);
    drop(&a[1]); /* 1 has 1, as 2 has: who was served least recently */
    check_int(a[4].state, ACTIVE);
    drop(&a[2]); /* 1, 1, 1 */
    check_int(b[0].state, ACTIVE);
    drop(&c); /* 1, 2 */
    check_int(a[5].state, ACTIVE);
    check_int(a[6].state, WAITING);
    end(g);

    begin("per_tenant caps a tenant over all servers and workers, and nobody else");
    g = open_group(20, 2);
    s = open_server(g, "unix:/a", 2);
    uint32_t t = open_server(g, "unix:/b", 8);
    check_int(ask(&a[0], 0, g, s, 1), LEDGER_GRANTED);
    check_int(ask(&a[1], 1, g, t, 1), LEDGER_GRANTED);
    check_int(ask(&a[2], 2, g, t, 1), LEDGER_WAITING);
    check_int(ask(&a[3], 2, g, LEDGER_NONE, 1), LEDGER_WAITING);
    check_int(ask(&b[0], 2, g, t, 2), LEDGER_GRANTED);
    for (unsigned i = 4; i < 8; i++) /* who has no name has no share */
        check_int(ask(&a[i], 3, g, t, 0), LEDGER_GRANTED);
    check_group(g);
    drop(&a[0]);
    check_int(a[2].state, ACTIVE);
    check_int(a[3].state, WAITING);
    check_int(release(&b[0]), LEDGER_KEEP); /* no share is free: nobody may have it */
    check(!reuse(&b[0], 1));
    check(reuse(&b[0], 2));
    drop(&a[1]);
    check_int(a[3].state, ACTIVE);
    check_group(g);

    test("a tenant's claims are told by its name; an unknown name has none");
    uint32_t active, waiting, all_active, all_waiting;
    ledger_tenants_claims(&seats[3], g, &all_active, &all_waiting);
    uint64_t shop = ledger_tenant(&seats[0], STR("shop")) - 1; /* as `want` takes it */
    for (unsigned i = 0; i < 3; i++)
        ask(&b[i], i % 2, g, t, shop);
    ledger_tenant_claims(&seats[3], g, STR("shop"), &active, &waiting);
    check_int(active, 2);
    check_int(waiting, 1);
    ledger_tenants_claims(&seats[3], g, &active, &waiting); /* those of "" are not among them */
    check_int(active, all_active + 2);
    check_int(waiting, all_waiting + 1);
    ledger_tenant_claims(&seats[3], g, STR("blog"), &active, &waiting);
    check_int(active + waiting, 0);
    ledger_tenant_claims(&seats[3], g, STR(""), &active, &waiting);
    check_int(active, 4);
    for (unsigned i = 0; i < 3; i++)
        drop(&b[i]);
    ledger_tenant_claims(&seats[3], g, STR("shop"), &active, &waiting);
    check_int(active + waiting, 0);

    test("a larger share is granted when the settings change");
    check_int(ask(&a[0], 0, g, t, 1), LEDGER_WAITING);
    open_group(20, 3);
    collect();
    check_int(a[0].state, ACTIVE);
    end(g);
}

/* As many loud tenants as there are places, with much to do, and one that asks for little. */
static void test_turns(unsigned places)
{
    struct ask active[3], waiting[3][10], quiet;
    begin("a tenant whose one request comes among many of others is next");
    uint32_t g = open_group(100, 0), s = open_server(g, "unix:/a", places);
    for (unsigned i = 0; i < places; i++)
        check_int(ask(&active[i], i, g, s, 10 + i), LEDGER_GRANTED);
    for (unsigned i = 0; i < places; i++)
        for (unsigned n = 0; n < 10; n++)
            check_int(ask(&waiting[i][n], n % WORKERS, g, s, 10 + i), LEDGER_WAITING);
    for (unsigned n = 0; n < 3; n++) {
        test("as often as it asks");
        check_int(ask(&quiet, n % WORKERS, g, s, 99), LEDGER_WAITING);
        drop(n == 0 ? &active[0] : &waiting[0][n - 1]);
        check_int(quiet.state, ACTIVE);
        check_int(waiting[0][n].state, WAITING);
        drop(&quiet);
        check_int(waiting[0][n].state, ACTIVE);
        check_group(g);
    }
    end(g);
}

/* Tenants that come back as soon as they were served, or under a new name each time, do not keep
 * out one that waits. */
static void test_turns_of_all(void)
{
    struct ask loud[40], small[3];
    unsigned served = 0;
    begin("all tenants have their turns");
    uint32_t g = open_group(100, 0), s = open_server(g, "unix:/a", 1);
    for (unsigned i = 0; i < 40; i++)
        ask(&loud[i], 0, g, s, 10);
    for (unsigned i = 0; i < 3; i++)
        ask(&small[i], 0, g, s, 20 + i);
    for (unsigned n = 0; n < 40; n++) {
        bool turn_of_loud = served < 40 && loud[served].state == ACTIVE;
        if (turn_of_loud)
            drop(&loud[served++]);
        for (unsigned i = 0; i < 3 && !turn_of_loud; i++)
            if (small[i].state == ACTIVE) {
                drop(&small[i]);
                ask(&small[i], 0, g, s, 20 + i);
                break;
            }
    }
    check_int(served, 10);
    end(g);

    begin("also beside tenants with new names");
    g = open_group(100, 0);
    s = open_server(g, "unix:/a", 1);
    ask(&loud[0], 0, g, s, 10);
    for (unsigned i = 1; i < 40; i++)
        ask(&loud[i], 0, g, s, 10);
    served = 0;
    for (uint64_t n = 0; n < 4 * LEDGER_SERVED; n++) {
        if (n == 0)
            ask(&small[0], 0, g, s, 1000);
        if (served < 39 && loud[served].state == ACTIVE) {
            drop(&loud[served++]);
            continue;
        }
        char name[32];
        snprintf(name, sizeof name, "new %u", (unsigned)n);
        ask(&small[1], 0, g, s, ledger_tenant(&seats[0], str_of(name)));
        drop(&small[0]);
        small[0] = small[1];
        ledger->claims[small[0].claim].holder = &small[0];
        collect();
    }
    check(served > 20); /* of about 45 */
    end(g);
}

static void test_many_tenants(void)
{
    struct ask a;
    begin("a hundred thousand tenants, one after the other, need the memory of a few");
    uint32_t g = open_group(10, 1), s = open_server(g, "unix:/a", 2);
    for (uint64_t i = 2; i < 100002; i++) {
        if (!check_int(ask(&a, i % WORKERS, g, s, i * 0x9e3779b97f4a7c15u), LEDGER_GRANTED))
            break;
        if (i % 2 == 0)
            release(&a);
        drop(&a);
    }
    check(ledger->tenants_used <= 4);
    check_empty(g);
    end(g);

    begin("more tenants at once than there is memory for share what the nameless have");
    g = open_group(LEDGER_TENANTS + 1000, 1);
    s = open_server(g, "unix:/a", 1);
    size_t count = LEDGER_TENANTS + 500;
    struct ask *many = calloc(count, sizeof *many);
    if (many == NULL)
        abort();
    ask(&a, 0, g, s, 0);
    for (size_t i = 0; i < count; i++)
        if (!check_int(ask(&many[i], 1, g, s, (i + 2) * 0x9e3779b97f4a7c15u), LEDGER_WAITING))
            break;
    check_int(ledger->tenants_used, LEDGER_TENANTS);
    check_int(many[count - 1].state, WAITING);
    check_int(ledger->claims[many[count - 1].claim].tenant, ledger->groups[g].anyone);
    drop(&a);
    for (size_t i = 0; i < count; i++)
        if (many[i].state != ACTIVE)
            drop(&many[i]);
    for (size_t i = 0; i < count; i++)
        if (many[i].state == ACTIVE)
            drop(&many[i]);
    check_empty(g);
    check_int(ask(&a, 0, g, s, 5), LEDGER_GRANTED);
    check(ledger->claims[a.claim].tenant != ledger->groups[g].anyone);
    free(many);
    end(g);
}

/* --- wishes --- */

static void test_wishes(void)
{
    struct ask a, b, c;
    begin("who wants one server and no other waits for it, and is passed by");
    uint32_t g = open_group(10, 0), s = open_server(g, "unix:/a", 1),
             t = open_server(g, "unix:/b", 1);
    struct ledger_request only = {.group = g, .server = s, .only = true, .avoid = LEDGER_NONE};
    ask(&a, 0, g, s, 0);
    ask(&b, 0, g, t, 0);
    check_int(want(&c, 1, &only), LEDGER_WAITING);
    drop(&b);
    check_int(c.state, WAITING);
    check_int(ask(&b, 0, g, t, 0), LEDGER_GRANTED);
    drop(&a);
    check_int(c.state, ACTIVE);
    check_int(c.server, s);
    drop(&b);
    drop(&c);

    test("also for a backup, while others serve");
    ledger->servers[t].backup = true;
    only.server = t;
    ask(&a, 0, g, t, 0);
    check_int(want(&c, 1, &only), LEDGER_WAITING);
    drop(&a);
    check_int(c.state, ACTIVE);
    drop(&c);

    test("who avoids a server gets another one, a backup too, as long as there is one");
    struct ledger_request avoid = {.group = g, .server = t, .avoid = s};
    check_int(ask(&a, 0, g, t, 0), LEDGER_GRANTED);
    check_int(want(&c, 1, &avoid), LEDGER_WAITING);
    check_group(g);
    drop(&a);
    check_int(c.state, ACTIVE);
    check_int(c.server, t);
    check_int(want(&b, 2, &avoid), LEDGER_WAITING);
    ledger_drain(&seats[3], t, true);
    collect();
    check_int(b.state, ACTIVE);
    check_int(b.server, s);
    end(g);
}

/* Each of a hundred servers has a place, and who waits may have only the last one's. */
static void test_many_servers(void)
{
    struct ask a, b, waits;
    char name[32];
    begin("of very many servers each is granted");
    uint32_t g = open_group(10, 0), list[100];
    for (unsigned i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "127.0.0.1:%u", 9000 + i);
        list[i] = open_server(g, name, 1);
    }
    ask(&a, 0, g, list[3], 0);
    ask(&b, 0, g, list[67], 0);
    struct ledger_request only = {
        .group = g, .server = list[67], .only = true, .avoid = LEDGER_NONE};
    check_int(want(&waits, 1, &only), LEDGER_WAITING);
    drop(&a);
    drop(&b);
    check_int(waits.state, ACTIVE);
    end(g);
}

/* --- kept connections --- */

static void test_keepalive(void)
{
    struct ask a[6], b;
    begin("keepalive holds over all workers");
    uint32_t g = open_group(10, 0), s = open_server(g, "unix:/a", 12);
    ledger->servers[s].keepalive = 3;
    for (unsigned i = 0; i < 5; i++)
        ask(&a[i], i % WORKERS, g, s, 9);
    for (unsigned i = 0; i < 5; i++)
        check_int(release(&a[i]), i < 3 ? LEDGER_KEEP : LEDGER_CLOSE);
    check_int(server_at(s)->idle, 3);
    check_int(server_at(s)->active, 0);
    check(reuse(&a[1], 0));
    check_int(server_at(s)->active, 1);
    check_int(release(&a[1]), LEDGER_KEEP);

    test("when its limit was lowered a connection is not kept");
    check(reuse(&a[0], 0));
    ledger->servers[s].max_conns = 2;
    check_int(release(&a[0]), LEDGER_CLOSE);
    check_int(server_at(s)->idle, 2);

    test("the oldest idle connection is given up when another worker waits for its place");
    check_int(ask(&b, 3, g, s, 0), LEDGER_WAITING);
    collect();
    check_int(a[2].asked_to_leave, 1);
    check_int(a[1].asked_to_leave, 0);
    check(!reuse(&a[2], 0)); /* it is on its way out */
    check_int(ask(&a[3], 0, g, s, 0), LEDGER_WAITING);
    collect();
    check_int(a[1].asked_to_leave, 1);
    drop(&a[2]);
    check_int(b.state, ACTIVE);
    drop(&a[1]);
    check_int(a[3].state, ACTIVE);
    end(g);

    begin("one idle connection is asked for one who waits, whatever the number of servers");
    g = open_group(10, 1);
    uint32_t list[4];
    for (unsigned i = 0; i < 4; i++) {
        list[i] = open_server(g, (const char *[]){"a:1", "b:1", "c:1", "d:1"}[i], 1);
        ask(&a[i], 0, g, list[i], 0);
        release(&a[i]);
    }
    check_int(ask(&b, 1, g, LEDGER_NONE, 1), LEDGER_WAITING);
    collect();
    check_int(a[0].asked_to_leave + a[1].asked_to_leave + a[2].asked_to_leave + a[3].asked_to_leave,
              1);
    drop(&a[0]);
    check_int(b.state, ACTIVE);

    test("and none for who may not have it: its tenant has its share");
    check_int(ask(&a[0], 1, g, LEDGER_NONE, 1), LEDGER_WAITING);
    collect();
    check_int(a[1].asked_to_leave + a[2].asked_to_leave + a[3].asked_to_leave, 0);
    end(g);
}

static void test_release(void)
{
    struct ask a, own, other;
    begin("a connection is handed to who waits in the same worker");
    uint32_t g = open_group(10, 0), s = open_server(g, "unix:/a", 1);
    ask(&a, 0, g, s, 1);
    check_int(ask(&other, 1, g, s, 0), LEDGER_WAITING);
    check_int(ask(&own, 0, g, s, 2), LEDGER_WAITING);
    ledger->claims[own.claim].since = ledger->claims[other.claim].since + 0.002;
    check_int(release(&a), LEDGER_NEXT); /* the other has waited a little longer */
    check_int(own.state, ACTIVE);
    check_int(other.state, WAITING);
    check_int(server_at(s)->active, 1);
    check_group(g);

    test("unless somebody else waits 5 ms longer");
    check_int(ask(&a, 0, g, s, 2), LEDGER_WAITING);
    ledger->claims[other.claim].since -= 0.03;
    check_int(release(&own), LEDGER_CLOSE);
    check_int(other.state, ACTIVE);
    check_int(a.state, WAITING);

    test("of the same tenant, too");
    check_int(ask(&own, 1, g, s, 2), LEDGER_WAITING);
    ledger->claims[own.claim].since = ledger->claims[a.claim].since + 0.002;
    check_int(release(&other), LEDGER_NEXT);
    check_int(own.state, ACTIVE);
    ledger->claims[a.claim].since -= 0.03;
    check_int(ask(&other, 1, g, s, 2), LEDGER_WAITING);
    check_int(release(&own), LEDGER_CLOSE);
    check_int(a.state, ACTIVE);
    drop(&a);
    check_int(release(&other), LEDGER_KEEP);
    drop(&other);
    check_empty(g);
    end(g);
}

/* --- dropped in every state --- */

static void test_drop(void)
{
    struct ask a, b, c;
    begin("a grant that is dropped before its news came in goes to the next");
    uint32_t g = open_group(10, 0), s = open_server(g, "unix:/a", 1);
    ask(&a, 0, g, s, 1);
    ask(&b, 1, g, s, 2);
    ask(&c, 2, g, s, 3);
    ledger_drop(&seats[0], a.claim); /* grants b */
    check_int(server_at(s)->active, 1);
    ledger_drop(&seats[1], b.claim);
    b.state = GONE;
    collect();
    check_int(b.grants, 0);
    check_int(c.state, ACTIVE);

    test("and its claim is used again, while the news still lie in the box");
    ask(&a, 1, g, s, 0);
    uint32_t claim = a.claim;
    ledger_drop(&seats[2], c.claim);
    ledger_drop(&seats[1], claim);
    check_int(ask(&b, 1, g, s, 0), LEDGER_GRANTED);
    check_int(b.claim, claim);
    collect();
    check_int(b.grants, 0);
    check_int(ask(&c, 2, g, s, 0), LEDGER_WAITING);
    drop(&b);
    check_int(c.grants, 1);
    check_int(release(&c), LEDGER_KEEP);

    test("an idle one that was asked to go, and went by itself");
    ask(&a, 0, g, s, 0);
    ledger_drop(&seats[2], c.claim);
    c.state = GONE;
    collect();
    check_int(c.asked_to_leave, 0);
    check_int(a.state, ACTIVE);
    drop(&a);
    check_empty(g);

    test("one who waits is refused, granted at the same moment, or has gone");
    ask(&a, 0, g, s, 0);
    ask(&b, 1, g, s, 0);
    ask(&c, 1, g, s, 0);
    ledger_refuse_all(&seats[1], g);
    ledger_drop(&seats[0], a.claim); /* b is granted, which is what counts */
    collect();
    check_int(b.state, ACTIVE);
    check_int(b.refusals, 0);
    check_int(c.refusals, 1);
    ask(&c, 1, g, s, 0);
    ledger_refuse_all(&seats[0], g); /* those of another worker's are not */
    collect();
    check_int(c.state, WAITING);
    ledger_refuse_all(&seats[1], g);
    drop(&c);
    check_int(c.refusals, 0);
    drop(&b);
    check_empty(g);
    end(g);
}

/* --- operators, tiers --- */

static void test_operators(void)
{
    struct ask a, b, c;
    begin("a held backend grants nothing, and its idle connections are closed");
    uint32_t g = open_group(2, 0), s = open_server(g, "unix:/a", 4);
    ask(&a, 0, g, s, 0);
    ask(&b, 1, g, s, 0);
    release(&b);
    ledger_hold(&seats[2], g, true);
    check(ledger_is_held(&seats[0], g));
    collect();
    check_int(b.asked_to_leave, 1);
    check(!reuse(&b, 0));
    drop(&b);
    check_int(ask(&b, 1, g, s, 0), LEDGER_WAITING);
    check_int(ask(&c, 1, g, LEDGER_NONE, 0), LEDGER_WAITING);
    struct ask full;
    check_int(ask(&full, 1, g, s, 0), LEDGER_FULL);
    check_int(release(&a), LEDGER_CLOSE);
    check_int(server_at(s)->active + server_at(s)->idle, 0);
    check_int(b.state, WAITING);
    ledger_hold(&seats[2], g, false);
    collect();
    check_int(b.state, ACTIVE);
    check_int(c.state, ACTIVE);
    drop(&c);

    test("a drained server gets nothing new, and what waits goes elsewhere");
    uint32_t t = open_server(g, "unix:/b", 1);
    ask(&a, 0, g, t, 0);
    release(&a);
    ledger_drain(&seats[3], t, true);
    collect();
    check_int(a.asked_to_leave, 1);
    check(!reuse(&a, 0));
    drop(&a);
    check_int(ask(&a, 0, g, t, 0), LEDGER_WAITING);
    collect();
    check_int(a.server, s);
    ledger_drain(&seats[3], s, true);
    check_int(ledger_tier(&seats[0], g, ledger_now()), LEDGER_NO_TIER);
    check_int(ask(&c, 0, g, LEDGER_NONE, 0), LEDGER_WAITING);
    check_int(release(&a), LEDGER_CLOSE);
    check_int(c.state, WAITING);
    ledger_drain(&seats[3], t, false);
    collect();
    check_int(c.state, ACTIVE);
    check_int(c.server, t);
    end(g);
}

/* Who waits without hope is told when the last server goes; whoever asks then knows it. */
static void test_last_server(void)
{
    struct ask a, b, c, d;
    begin("those who wait are refused when the last server is drained");
    uint32_t g = open_group(10, 0), s = open_server(g, "unix:/a", 1),
             t = open_server(g, "unix:/b", 1);
    const struct ledger_request only = {
        .group = g, .server = s, .only = true, .avoid = LEDGER_NONE, .holder = &d};
    ask(&a, 0, g, s, 0);
    ask(&b, 1, g, t, 0);
    check_int(ask(&c, 1, g, LEDGER_NONE, 0), LEDGER_WAITING);
    check_int(want(&d, 2, &only), LEDGER_WAITING);
    ledger_drain(&seats[3], s, true);
    collect();
    check_int(d.refusals, 1); /* it wants no other */
    check_int(c.state, WAITING);
    ledger_hold(&seats[0], g, true);
    ledger_drain(&seats[3], t, true);
    collect();
    check_int(c.state, WAITING); /* as whoever comes now */
    ledger_hold(&seats[0], g, false);
    collect();
    check_int(c.refusals, 1);
    check_int(a.state, ACTIVE);
    drop(&a);
    drop(&b);
    check_empty(g);
    end(g);

    begin("and when its checks fail");
    g = open_group(10, 0);
    s = open_server(g, "unix:/a", 1);
    ask(&a, 0, g, s, 0);
    check_int(ask(&c, 1, g, s, 0), LEDGER_WAITING);
    check(!ledger_checked(&seats[2], s, false, 1, 2));
    collect();
    check_int(c.state, WAITING);
    check(ledger_checked(&seats[2], s, false, 1, 2));
    collect();
    check_int(c.refusals, 1);
    end(g);
}

static void test_tiers(void)
{
    struct ask a, b;
    begin("requests go to backups when no other is left, to what is down rather than nowhere");
    uint32_t g = open_group(10, 0), s = open_server(g, "unix:/a", 1),
             t = open_server(g, "unix:/b", 1);
    struct ledger_server *first = &ledger->servers[s], *second = &ledger->servers[t];
    second->backup = true;
    check_int(ledger_tier(&seats[0], g, ledger_now()), 0);
    ask(&a, 0, g, s, 0);
    check_int(ask(&b, 1, g, LEDGER_NONE, 0), LEDGER_WAITING); /* busy is not lost */
    collect();
    check_int(b.state, WAITING);
    for (int i = 0; i < 3; i++)
        check_int(ledger_failed(&seats[2], s), i == 2);
    collect(); /* now it is: who waits goes to the backup at once */
    check_int(b.state, ACTIVE);
    check_int(b.server, t);
    check_int(ledger_tier(&seats[0], g, ledger_now()), 1);
    for (int i = 0; i < 3; i++)
        ledger_failed(&seats[2], t);
    check_int(ledger_tier(&seats[0], g, ledger_now()), 2);
    check_int(ledger_checked(&seats[0], s, false, 1, 1), true);
    check_int(ledger_tier(&seats[0], g, ledger_now()), 3);
    ledger_drain(&seats[0], t, true);
    check_int(ledger_tier(&seats[0], g, ledger_now()), LEDGER_NO_TIER);
    drop(&a);
    drop(&b);
    end(g);

    begin("a server's weight grows for slow_start after it came back");
    g = open_group(10, 0);
    s = open_server(g, "unix:/a", 1);
    first = &ledger->servers[s];
    first->weight = 4;
    double now = ledger_now();
    check(ledger_weight(first, now) == 4);
    first->slow_start = 10;
    check(ledger_weight(first, now) == 4);
    first->up_since = now - 5;
    check(ledger_weight(first, now) > 1.9 && ledger_weight(first, now) < 2.1);
    first->up_since = now;
    check(ledger_weight(first, now) == 0.04);
    check(ledger_weight(first, now + 11) == 4);
    end(g);
}

/* --- health --- */

static void test_failures(void)
{
    struct ask a, b;
    begin("a server that fails max_fails times within fail_timeout is down");
    uint32_t g = open_group(10, 0), s = open_server(g, "unix:/a", 4),
             t = open_server(g, "unix:/b", 1);
    struct ledger_server *bad = &ledger->servers[s];
    check(!ledger_failed(&seats[0], s));
    check(!ledger_failed(&seats[1], s));
    bad->failed_at -= 11; /* the time has passed: a count of its own */
    check(!ledger_failed(&seats[2], s));
    check_int(bad->fails, 1);
    bad->failed_at -= 6;
    check(!ledger_failed(&seats[0], s));
    bad->failed_at -= 6; /* a failure now and then is none */
    check(!ledger_failed(&seats[0], s));
    check(!ledger_failed(&seats[0], s));
    check(ledger_failed(&seats[0], s));
    check(!ledger_failed(&seats[0], s));
    check(bad->down);
    check_int(ledger_tier_of(bad, ledger_now()), 2);

    test("one request probes it after fail_timeout, and one more when that takes as long");
    ask(&a, 0, g, t, 0);
    check_int(ask(&b, 0, g, LEDGER_NONE, 0), LEDGER_WAITING);
    bad->retry_at -= 11;
    check_int(ledger_tier_of(bad, ledger_now()), 0);
    ledger_nudge(&seats[1], g);
    collect();
    check_int(b.state, ACTIVE);
    check_int(b.server, s);
    check_int(ledger_tier_of(bad, ledger_now()), 2);
    struct ask c;
    check_int(ask(&c, 0, g, LEDGER_NONE, 0), LEDGER_WAITING);
    collect();
    check_int(c.state, WAITING);
    drop(&c);
    check_int(release(&b), LEDGER_KEEP);
    bad->retry_at -= 11;
    check(reuse(&b, 0)); /* a kept connection is a probe as well */
    check_int(ledger_tier_of(bad, ledger_now()), 2);

    test("an answer brings it back, and lets in who waits");
    check_int(ask(&c, 0, g, LEDGER_NONE, 0), LEDGER_WAITING);
    ledger_answered(&seats[2], s, 0.5);
    collect();
    check(!bad->down);
    check_int(bad->fails, 0);
    check(bad->latency == 0.5);
    check(bad->up_since > 0);
    check_int(c.state, ACTIVE);
    check_int(c.server, s);

    test("max_fails 0 and the only server are never down");
    bad->max_fails = 0;
    for (int i = 0; i < 10; i++)
        check(!ledger_failed(&seats[0], s));
    for (unsigned i = 0; i < WORKERS; i++)
        ledger_server_gone(&seats[i], s);
    for (int i = 0; i < 10; i++)
        check(!ledger_failed(&seats[0], t));
    check(!server_at(t)->down);
    check_int(server_at(t)->failures, 10);
    end(g);
}

/* The server that is tried is out of service for everybody else from then on: who could not have it
 * may have another one that failed too often, and is not left waiting beside it. */
static void test_probe(bool kept)
{
    struct ask probe, b;
    struct ledger_server_limits limits = usual;
    begin(kept ? "a probe on a kept connection lets others go to servers that are down"
               : "so does one on a new connection");
    limits.max_conns = 2;
    limits.max_fails = 1;
    limits.fail_timeout = 1000;
    uint32_t g = open_group(10, 0), other = LEDGER_NONE;
    uint32_t tried = ledger_server_open(&seats[0], g, STR("unix:/a"), &limits);
    for (unsigned i = 0; i < WORKERS; i++)
        other = ledger_server_open(&seats[i], g, STR("unix:/b"), &limits);
    if (kept) {
        check_int(ask(&probe, 0, g, tried, 0), LEDGER_GRANTED);
        check_int(release(&probe), LEDGER_KEEP);
    }
    check(ledger_failed(&seats[0], tried));
    check(ledger_failed(&seats[0], other));
    ledger->servers[tried].retry_at = 0;                      /* as if the time had passed */
    check_int(ask(&b, 1, g, LEDGER_NONE, 0), LEDGER_WAITING); /* its worker does not know it */
    collect();
    check_int(b.state, WAITING);
    if (kept)
        check(reuse(&probe, 0));
    else
        check_int(ask(&probe, 0, g, tried, 0), LEDGER_GRANTED);
    collect();
    check_int(b.state, ACTIVE);
    check_int(b.server, other);
    check_group(g);
    drop(&probe);
    drop(&b);
    check_empty(g);
    end(g);
}

static void test_checks(void)
{
    struct ask a;
    begin("checks: fall in a row take a server out, rise bring it back");
    uint32_t g = open_group(10, 0), s = open_server(g, "unix:/a", 1);
    const struct ledger_server *x = server_at(s);
    check(!ledger_checked(&seats[0], s, false, 2, 3));
    check(!ledger_checked(&seats[1], s, false, 2, 3));
    check(!ledger_checked(&seats[1], s, true, 2, 3));
    for (int i = 0; i < 3; i++)
        check_int(ledger_checked(&seats[i], s, false, 2, 3), i == 2);
    check(x->sick);
    check(!ledger_checked(&seats[0], s, false, 2, 3));
    check_int(ask(&a, 0, g, LEDGER_NONE, 0), LEDGER_WAITING);
    check(!ledger_checked(&seats[0], s, true, 2, 3));
    check_int(a.state, WAITING);
    check(ledger_checked(&seats[0], s, true, 2, 3));
    collect();
    check_int(a.state, ACTIVE);
    check(!x->sick);

    test("a check that is due is one worker's");
    int due = 0;
    for (unsigned i = 0; i < WORKERS; i++)
        due += ledger_check_due(&seats[i], s, 5, 1);
    check_int(due, 1);
    ledger->servers[s].next_check -= 5;
    check(ledger_check_due(&seats[3], s, 5, 1));
    check(!ledger_check_due(&seats[2], s, 5, 1));

    test("a check that takes longer than the interval is not overtaken");
    ledger->servers[s].next_check = 0;
    check(ledger_check_due(&seats[1], s, 1, 60));
    ledger->servers[s].checked_at -= 2;
    check(!ledger_check_due(&seats[2], s, 1, 60));
    ledger_check_over(&seats[1], s, 1);
    check(ledger_check_due(&seats[2], s, 1, 60));
    end(g);

    begin("checks that the settings have no more count no more");
    g = open_group(10, 0);
    s = open_server(g, "unix:/a", 1);
    x = server_at(s);
    ledger->servers[s].others = 40;
    check(!ledger_checked(&seats[0], s, false, 1, 2));
    check(ledger_checked(&seats[0], s, false, 1, 2));
    check_int(ask(&a, 1, g, LEDGER_NONE, 0), LEDGER_WAITING);
    ledger_server_set_checks(&seats[2], s, 1, true, LEDGER_READS_LOAD);
    collect();
    check(x->sick);
    check_int(a.state, WAITING);
    check_int(x->others, 40);
    ledger_server_set_checks(&seats[2], s, 2, false, LEDGER_READS_POOL);
    collect();
    check(!x->sick);
    check_int(a.state, ACTIVE);
    check_int(x->others, 0);
    for (int i = 0; i < 5; i++) /* of a worker that has the settings of before */
        check(!ledger_checked(&seats[0], s, false, 1, 2));
    check(!x->sick);
    ledger_server_set_checks(&seats[0], s, 1, true, LEDGER_READS_LOAD); /* likewise */
    check(!ledger_checked(&seats[0], s, false, 1, 1));
    ledger_server_set_checks(&seats[2], s, 3, true, LEDGER_READS_NOTHING);
    check(!ledger_checked(&seats[0], s, false, 1, 2));
    check(ledger_checked(&seats[0], s, false, 1, 2));
    end(g);
}

/* --- groups and servers that come and go --- */

static void test_names(void)
{
    struct ask a, b;
    begin("a worker is granted only what it knows; a server goes with the last who knows it");
    uint32_t g = open_group(10, 0), s = open_server(g, "10.0.0.1:9000", 1);
    uint32_t t = ledger_server_open(&seats[0], g, STR("10.0.0.2:9000"), &usual);
    ask(&a, 1, g, s, 0);
    check_int(ask(&b, 1, g, LEDGER_NONE, 0), LEDGER_WAITING);
    collect();
    check_int(b.state, WAITING); /* t is not known in worker 1 */
    ledger_server_open(&seats[1], g, STR("10.0.0.2:9000"), &usual);
    collect();
    check_int(b.state, ACTIVE);
    check_int(b.server, t);
    check_int(release(&a), LEDGER_KEEP);
    for (unsigned i = 0; i < WORKERS; i++) {
        check(!server_at(s)->gone);
        ledger_server_gone(&seats[i], s);
    }
    check(server_at(s)->gone);
    collect();
    check_int(a.asked_to_leave, 1);
    check_int(ledger_queue_room(&seats[0], g), 10);

    test("who waits for it goes to a backup then");
    uint32_t backup = open_server(g, "10.0.0.9:9000", 1);
    ledger->servers[backup].backup = true;
    struct ask c;
    check_int(ask(&c, 0, g, t, 0), LEDGER_WAITING);
    ledger_server_gone(&seats[0], t);
    collect();
    check_int(c.state, WAITING); /* worker 1 has it still, and that is the best class */
    ledger_server_gone(&seats[1], t);
    collect();
    check_int(c.state, ACTIVE);
    check_int(c.server, backup);
    drop(&c);

    test("its place is another one's once nothing is left of it");
    uint32_t other = ledger_server_open(&seats[0], g, STR("10.0.0.3:9000"), &usual);
    check(other != s);
    drop(&a);
    check_int(ledger_server_open(&seats[0], g, STR("10.0.0.4:9000"), &usual), s);
    check(!server_at(s)->gone);
    check_int(server_at(s)->requests, 0);
    char name[32];
    for (unsigned i = 0; i < 20000; i++) {
        snprintf(name, sizeof name, "10.1.%u.%u:9000", i / 256, i % 256);
        uint32_t at = ledger_server_open(&seats[1], g, str_of(name), &usual);
        if (!check(at != LEDGER_NONE))
            break;
        ledger_server_gone(&seats[1], at);
    }
    end(g);
}

static void test_groups(void)
{
    struct ask a, b;
    test("hundreds of workers, but no more than there is room for");
    ledger = ledger_new(600);
    sit_down(0);
    struct ledger_seat last;
    ledger_join(&last, ledger, 599);
    const struct ledger_limits any = {1, 0, false};
    uint32_t big = ledger_open(&last, STR("php"), &any);
    check_int(ledger_open(&seats[0], STR("php"), &any), big);
    check_int(ledger->groups[big].refs[599], 1);
    ledger_worker_gone(ledger, 599);
    ledger_free(ledger);
    check(ledger_new(LEDGER_MAX_WORKERS + 1) == NULL);

    begin("a group is found by its name, by all workers, and freed by the last");
    uint32_t g = open_group(10, 0), s = open_server(g, "unix:/a", 2);
    const struct ledger_limits less = {1, 1, false};
    check_int(ledger_open(&seats[0], STR("php"), &less), g); /* a reload: both live for a while */
    check_int(ledger_queue_room(&seats[3], g), 1);
    check(ledger_open(&seats[0], STR("other"), &less) != g);
    check_int(ask(&a, 0, g, s, 1), LEDGER_GRANTED);
    check_int(ask(&b, 0, g, s, 1), LEDGER_WAITING);
    drop(&b);
    struct ledger_server_limits limits = usual;
    check_int(ledger_server_open(&seats[0], g, STR("unix:/a"), &limits), s);
    check_int(ask(&b, 0, g, s, 2), LEDGER_WAITING); /* max_conns is 1 now */
    drop(&a);
    check_int(b.state, ACTIVE);
    drop(&b);
    ledger_drain(&seats[0], s, true);
    for (unsigned i = 0; i < WORKERS; i++)
        ledger_close(&seats[i], g);
    check(server_at(s)->draining); /* one still has it */
    check_int(ledger->groups[g].refs[0], 1);
    ledger_close(&seats[0], g);
    check_int(ledger->groups[g].key, 0);
    check_int(ledger->servers[s].key, 0);
    g = open_group(10, 0);
    s = open_server(g, "unix:/a", 1);
    check(!server_at(s)->draining);
    check_int(ask(&a, 0, g, s, 0), LEDGER_GRANTED);
    end(g);

    begin("there are as many groups as there are, whoever died with them");
    char name[32];
    const struct ledger_limits limits10 = {10, 0, false};
    for (unsigned i = 0; i < LEDGER_GROUPS; i++) {
        snprintf(name, sizeof name, "backend %u", i);
        g = ledger_open(&seats[0], str_of(name), &limits10);
        if (!check(g != LEDGER_NONE))
            break;
        ledger_server_open(&seats[0], g, STR("unix:/a"), &usual);
    }
    check_int(ledger_open(&seats[1], STR("one more"), &limits10), LEDGER_NONE);
    ledger_worker_gone(ledger, 0);
    sit_down(0);
    check(ledger_open(&seats[0], STR("backend 7"), &limits10) != LEDGER_NONE);
    g = ledger_open(&seats[1], STR("one more"), &limits10);
    check(g != LEDGER_NONE);
    end(g);
}

/* --- requests behind all others --- */

static void test_last(void)
{
    struct ask a[8], copy[4];
    begin("a request behind all others takes no place of max_conns, and is not waited for");
    uint32_t g = open_group(10, 0), s = open_server(g, "unix:/a", 1);
    check_int(ask_last(&copy[0], 0, g), LEDGER_GRANTED);
    check_int(copy[0].server, s);
    check_int(server_at(s)->active, 0);
    check_int(ask_last(&copy[1], 1, g), LEDGER_FULL); /* the server is not empty any more */
    check_int(ask(&a[0], 1, g, s, 7), LEDGER_GRANTED);
    check_group(g);
    check_int(ask(&a[1], 2, g, s, 7), LEDGER_WAITING);
    drop(&copy[0]);
    check_int(a[1].state, WAITING); /* that place was never one of max_conns */
    drop(&a[0]);
    check_int(a[1].state, ACTIVE);
    drop(&a[1]);
    check_empty(g);

    test("it leaves one place, and is refused while somebody waits");
    uint32_t t = open_server(g, "unix:/b", 3);
    check_int(ask(&a[0], 0, g, s, 0), LEDGER_GRANTED);
    check_int(ask(&a[1], 0, g, t, 0), LEDGER_GRANTED);
    check_int(ask_last(&copy[0], 1, g), LEDGER_GRANTED);
    check_int(copy[0].server, t);
    check_int(ask_last(&copy[1], 2, g), LEDGER_FULL);
    check_int(ask(&a[2], 2, g, t, 0), LEDGER_GRANTED);
    check_int(ask(&a[3], 3, g, t, 0), LEDGER_GRANTED);
    check_int(ask(&a[4], 3, g, LEDGER_NONE, 0), LEDGER_WAITING);
    drop(&copy[0]);
    check_int(ask_last(&copy[0], 1, g), LEDGER_FULL);
    check_group(g);

    test("it is not kept, and a worker that dies with it loses it");
    for (unsigned i = 0; i < 5; i++)
        drop(&a[i]);
    check_int(ask_last(&copy[0], 1, g), LEDGER_GRANTED);
    check_int(release(&copy[0]), LEDGER_CLOSE);
    check_empty(g);
    check_int(ask_last(&copy[0], 1, g), LEDGER_GRANTED);
    ledger_worker_gone(ledger, 1);
    check_int(server_at(s)->spare + server_at(t)->spare, 0);
    end(g);
}

int main(void)
{
    test_last();
    test_max_conns();
    test_queue_bound();
    test_tenants();
    for (unsigned places = 1; places <= 3; places++)
        test_turns(places);
    test_turns_of_all();
    test_many_tenants();
    test_wishes();
    test_many_servers();
    test_keepalive();
    test_release();
    test_drop();
    test_operators();
    test_last_server();
    test_tiers();
    test_failures();
    test_probe(true);
    test_probe(false);
    test_checks();
    test_names();
    test_groups();
    return test_report();
}
