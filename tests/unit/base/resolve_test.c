/*
 * resolve_test - names to addresses, against a name server that lives on the test's own loop.
 * What that does with a question is told by the first label of the name: see `reply`. Names end in
 * ".test.", which no hosts file has and no search list is added to. Links resolve, loop, addr, str.
 */
#include "../test.h"
#include "base/loop.h"
#include "base/resolve.h"

#include <arpa/inet.h>
#include <malloc.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- the name server --- */

enum { TYPE_A = 1, TYPE_AAAA = 28, FLAG_TC = 0x0200, NXDOMAIN = 3, SERVFAIL = 2 };

static struct {
    int udp, tcp;
    struct ev_loop *ev;
    ev_io udp_io, tcp_io;
    char address[32];
    unsigned port;
    unsigned asked;  /* questions so far */
    unsigned silent; /* of them, those that nobody answers */
} dns;

struct packet {
    unsigned char bytes[8192];
    size_t n;
};

static void put16(struct packet *p, unsigned value)
{
    p->bytes[p->n++] = (unsigned char)(value >> 8);
    p->bytes[p->n++] = (unsigned char)value;
}

/* A record for the name in the question; `last` is the last byte of its address. */
static void put_record(struct packet *p, unsigned type, unsigned last)
{
    static const unsigned char v4[4] = {10, 0, 0}, v6[16] = {0x20, 1, 0xd, 0xb8};
    size_t length = type == TYPE_A ? sizeof v4 : sizeof v6;
    put16(p, 0xc00c);
    put16(p, type);
    put16(p, 1);
    put16(p, 0);
    put16(p, 60);
    put16(p, (unsigned)length);
    memcpy(p->bytes + p->n, type == TYPE_A ? v4 : v6, length);
    p->n += length;
    p->bytes[p->n - 1] = (unsigned char)last;
    p->bytes[7]++; /* ANCOUNT */
}

static unsigned type_of(const struct packet *question)
{
    size_t at = 12;
    while (at < question->n && question->bytes[at] != 0)
        at += question->bytes[at] + 1u;
    return at + 2 < question->n ? question->bytes[at + 1] << 8 | question->bytes[at + 2] : 0;
}

static bool is(const struct packet *question, const char *label)
{
    size_t n = strlen(label);
    return question->bytes[12] == n && memcmp(question->bytes + 13, label, n) == 0;
}

/* An answer without records: the question, without what follows it (EDNS). */
static void begin(struct packet *p, const struct packet *question, unsigned flags)
{
    size_t end = 12;
    while (end < question->n && question->bytes[end] != 0)
        end += question->bytes[end] + 1u;
    memcpy(p->bytes, question->bytes, end + 5);
    p->n = 2;
    put16(p, 0x8180 | flags);
    put16(p, 1);
    put16(p, 0);
    put16(p, 0);
    put16(p, 0);
    p->n = end + 5;
}

/* False: no answer. */
static bool reply(struct packet *p, const struct packet *question, bool over_tcp)
{
    unsigned type = type_of(question), round = ++dns.asked;
    begin(p, question, 0);
    if (is(question, "two")) { /* in another order each time */
        put_record(p, type, 1 + round / 2 % 2);
        put_record(p, type, 2 - round / 2 % 2);
    } else if (is(question, "four") && type == TYPE_A) {
        put_record(p, type, 4);
    } else if (is(question, "six") && type == TYPE_AAAA) {
        put_record(p, type, 6);
    } else if (is(question, "same") && type == TYPE_A) {
        for (int i = 0; i < 3; i++)
            put_record(p, type, 9);
    } else if (is(question, "many")) {
        for (unsigned i = 0; i < 25; i++)
            put_record(p, type, (i + round) * 7 % 25);
    } else if (is(question, "large") && !over_tcp) {
        begin(p, question, FLAG_TC);
    } else if (is(question, "large") && type == TYPE_A) {
        for (unsigned i = 0; i < 200; i++)
            put_record(p, type, 200 - i);
    } else if (is(question, "none")) {
        begin(p, question, NXDOMAIN);
    } else if (is(question, "broken")) {
        begin(p, question, SERVFAIL);
    } else if (is(question, "cut")) { /* says three records, and ends within the first */
        put_record(p, type, 1);
        p->bytes[7] = 3;
        p->n -= 5;
    } else if (is(question, "noise")) {
        memset(p->bytes + 12, 0xff, p->n - 12);
        p->bytes[5] = p->bytes[7] = 0xff;
    } else if (is(question, "tiny")) {
        p->n = 5;
    } else if (is(question, "forged")) { /* not the id that was sent */
        put_record(p, type, 66);
        p->bytes[1] ^= 1;
    } else if (is(question, "late") || is(question, "silent")) {
        dns.silent++;
        if (is(question, "silent") || dns.silent <= 2)
            return false;
        put_record(p, type, 5);
    }
    return true;
}

static void udp_cb(struct ev_loop *ev, ev_io *io, int events)
{
    struct packet question, answer = {.n = 0};
    struct sockaddr_in from;
    socklen_t length = sizeof from;
    (void)ev;
    (void)events;
    ssize_t n = recvfrom(io->fd, question.bytes, sizeof question.bytes, 0, (struct sockaddr *)&from,
                         &length);
    question.n = n > 0 ? (size_t)n : 0;
    if (question.n < 17 || !reply(&answer, &question, false))
        return;
    sendto(io->fd, answer.bytes, answer.n, 0, (struct sockaddr *)&from, length);
    if (is(&question, "forged")) { /* the right one comes after it */
        answer.bytes[1] ^= 1;
        answer.bytes[answer.n - 1] = 7;
        sendto(io->fd, answer.bytes, answer.n, 0, (struct sockaddr *)&from, length);
    }
}

/* One connection at a time, whose questions come whole; c-ares sends A and AAAA on the same one. */
static void tcp_cb(struct ev_loop *ev, ev_io *io, int events)
{
    struct packet question, answer = {.n = 0};
    unsigned char size[2];
    (void)events;
    if (io->fd == dns.tcp) {
        int fd = accept(dns.tcp, NULL, NULL);
        ev_io_stop(ev, io);
        ev_io_set(io, fd, EV_READ);
        ev_io_start(ev, io);
        return;
    }
    if (recv(io->fd, size, 2, MSG_WAITALL) == 2) {
        question.n = (size_t)(size[0] << 8 | size[1]);
        if (question.n <= sizeof question.bytes &&
            recv(io->fd, question.bytes, question.n, MSG_WAITALL) == (ssize_t)question.n) {
            reply(&answer, &question, true);
            size[0] = (unsigned char)(answer.n >> 8);
            size[1] = (unsigned char)answer.n;
            if (send(io->fd, size, 2, MSG_MORE | MSG_NOSIGNAL) == 2)
                send(io->fd, answer.bytes, answer.n, MSG_NOSIGNAL);
            return;
        }
    }
    close(io->fd);
    ev_io_stop(ev, io);
    ev_io_set(io, dns.tcp, EV_READ);
    ev_io_start(ev, io);
}

static void start_dns(struct loop *loop)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof at;
    /* A port that is free for both: another process may hold the one that UDP got. */
    for (int i = 0; i < 100; i++) {
        at.sin_port = 0;
        dns.udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        dns.tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (bind(dns.udp, (struct sockaddr *)&at, sizeof at) == 0 &&
            getsockname(dns.udp, (struct sockaddr *)&at, &length) == 0 &&
            bind(dns.tcp, (struct sockaddr *)&at, sizeof at) == 0 && listen(dns.tcp, 5) == 0)
            break;
        close(dns.udp);
        close(dns.tcp);
    }
    dns.ev = loop->ev;
    dns.port = ntohs(at.sin_port);
    snprintf(dns.address, sizeof dns.address, "127.0.0.1:%u", dns.port);
    ev_io_init(&dns.udp_io, udp_cb, dns.udp, EV_READ);
    ev_io_init(&dns.tcp_io, tcp_cb, dns.tcp, EV_READ);
    ev_io_start(loop->ev, &dns.udp_io);
    ev_io_start(loop->ev, &dns.tcp_io);
}

static void stop_dns(struct loop *loop)
{
    ev_io_stop(loop->ev, &dns.udp_io);
    ev_io_stop(loop->ev, &dns.tcp_io);
    if (dns.tcp_io.fd != dns.tcp)
        close(dns.tcp_io.fd);
    close(dns.tcp);
    close(dns.udp);
}

/* --- those who ask --- */

struct asker {
    struct lookup lookup;
    unsigned calls, count;
    char text[LOOKUP_MAX_ADDRS * ADDR_TEXT_SIZE]; /* the addresses, or what is wrong */
    struct lookup *cancels;                       /* done does that */
    struct resolver *frees;
    struct resolver *asks_again;
};

static void done_cb(struct lookup *lookup, const struct addr *list, unsigned count, const char *err)
{
    struct asker *a = (struct asker *)lookup;
    char text[ADDR_TEXT_SIZE];
    a->calls++;
    a->count = count;
    a->text[0] = '\0';
    check(!lookup_is_waiting(lookup));
    check((count > 0) == (err == NULL));
    check(count <= LOOKUP_MAX_ADDRS);
    for (unsigned i = 0; i < count; i++) {
        check(i == 0 || addr_compare(&list[i - 1], &list[i]) < 0);
        strcat(strcat(a->text, i > 0 ? " " : ""), addr_text(&list[i], text));
    }
    if (err != NULL)
        snprintf(a->text, sizeof a->text, "%s", err);
    if (a->cancels != NULL)
        lookup_cancel(a->cancels);
    if (a->asks_again != NULL) {
        struct resolver *r = a->asks_again;
        a->asks_again = NULL;
        lookup_start(r, lookup, STR("four.test."), 9000, done_cb);
    }
    resolver_free(a->frees);
    /* It is the last thing before the loop sleeps: whoever waits for it is to look. */
    ev_break(dns.ev, EVBREAK_ONE);
}

static void too_late_cb(struct ev_loop *ev, ev_timer *timer, int events)
{
    (void)events;
    *(bool *)timer->data = true;
    ev_break(ev, EVBREAK_ALL);
}

/* Runs the loop until a counter has come so far, for ten seconds at most. */
static void wait_count(struct loop *loop, const unsigned *counter, unsigned value)
{
    bool late = false;
    ev_timer timer;
    ev_now_update(loop->ev);
    ev_timer_init(&timer, too_late_cb, 10, 0);
    timer.data = &late;
    ev_timer_start(loop->ev, &timer);
    while (*counter < value && !late)
        ev_run(loop->ev, EVRUN_ONCE);
    ev_timer_stop(loop->ev, &timer);
    check(!late);
    check_int(*counter, value);
}

static void wait_calls(struct loop *loop, const struct asker *a, unsigned calls)
{
    wait_count(loop, &a->calls, calls);
}

static void start(struct resolver *r, struct asker *a, const char *host)
{
    lookup_start(r, &a->lookup, str_of(host), 9000, done_cb);
    check_int(a->calls, 0); /* never before it returns */
    check(lookup_is_waiting(&a->lookup));
}

static const char *ask(struct loop *loop, struct resolver *r, const char *host)
{
    static struct asker a;
    memset(&a, 0, sizeof a);
    start(r, &a, host);
    wait_calls(loop, &a, 1);
    return a.text;
}

/* A resolver that asks the test's own server, and does not wait for it as long as others do. */
static struct resolver *quick(struct loop *loop, double timeout)
{
    struct str server = str_of(dns.address);
    struct resolver_options options = {
        .servers = &server, .count = 1, .try_ms = 100, .timeout = timeout};
    return resolver_new(loop, &options);
}

/* --- tests --- */

static void test_answers(struct loop *loop)
{
    static const struct {
        const char *host, *text;
    } table[] = {
        {"four.test.", "10.0.0.4:9000"},
        {"six.test.", "[2001:db8::6]:9000"},
        {"same.test.", "10.0.0.9:9000"},
        {"forged.test.", "10.0.0.7:9000 [2001:db8::7]:9000"},
        {"none.test.", "none.test.: Domain name not found"},
        {"empty.test.", "empty.test.: DNS server returned answer with no data"},
        {"", ": not a host name"},
        {"127.0.0.1", "127.0.0.1:9000"},
        {"::1", "[::1]:9000"},
    };
    struct resolver *r = quick(loop, 0);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        test(table[i].host);
        check_str(str_of(ask(loop, r, table[i].host)), table[i].text);
    }
    test("the order of the answer does not matter");
    for (int i = 0; i < 4; i++)
        check_str(str_of(ask(loop, r, "two.test.")), "10.0.0.1:9000 10.0.0.2:9000 "
                                                     "[2001:db8::1]:9000 [2001:db8::2]:9000");
    test("the hosts file and what every system knows come first");
    unsigned asked = dns.asked;
    check(strstr(ask(loop, r, "localhost"), "127.0.0.1:9000") != NULL);
    check_int(dns.asked, asked);

    test("too many: always the same ones are left out");
    char first[LOOKUP_MAX_ADDRS * ADDR_TEXT_SIZE];
    strcpy(first, ask(loop, r, "many.test."));
    check(str_starts(str_of(first), STR("10.0.0.0:9000 10.0.0.1:9000 10.0.0.2:9000 ")));
    check(str_ends(str_of(first), STR(" 10.0.0.15:9000")));
    for (int i = 0; i < 5; i++)
        check_str(str_of(ask(loop, r, "many.test.")), first);

    test("an answer that needs TCP");
    check(str_ends(str_of(ask(loop, r, "large.test.")), STR(" 10.0.0.16:9000")));

    test("a name that is too long, and one with a NUL");
    char name[300];
    memset(name, 'a', sizeof name);
    name[299] = '\0';
    check(str_ends(str_of(ask(loop, r, name)), STR("a: not a host name")));
    struct asker a = {.calls = 0};
    lookup_start(r, &a.lookup, STR("four\0.test."), 1, done_cb);
    wait_calls(loop, &a, 1);
    check_str(str_of(a.text), "four: not a host name");
    resolver_free(r);
}

static void test_bad_answers(struct loop *loop)
{
    static const char *const names[] = {"broken.test.", "cut.test.", "noise.test.", "tiny.test."};
    struct asker askers[4] = {0};
    struct resolver *r = quick(loop, 2);
    for (size_t i = 0; i < 4; i++) {
        test(names[i]);
        start(r, &askers[i], names[i]);
    }
    for (size_t i = 0; i < 4; i++) {
        test(names[i]);
        wait_calls(loop, &askers[i], 1);
        check_int(askers[i].count, 0);
        check(str_starts(str_of(askers[i].text), str_of(names[i])));
        check(strlen(askers[i].text) > strlen(names[i]) + 2);
    }
    resolver_free(r);
}

static void test_silence(struct loop *loop)
{
    struct asker a = {.calls = 0};
    struct resolver *r = quick(loop, 0);
    test("a question that was lost is asked again");
    dns.silent = 0;
    check_str(str_of(ask(loop, r, "late.test.")), "10.0.0.5:9000 [2001:db8::5]:9000");
    check(dns.silent > 2);

    test("no answer at all");
    unsigned asked = dns.asked;
    check_str(str_of(ask(loop, r, "silent.test.")),
              "silent.test.: Timeout while contacting DNS servers");
    wait_count(loop, &dns.asked, asked + 4); /* A and AAAA, twice */
    resolver_free(r);

    test("our own limit comes first; the name servers' answer then finds nobody");
    r = quick(loop, 0.05);
    dns.silent = 0;
    start(r, &a, "late.test.");
    wait_calls(loop, &a, 1);
    check_str(str_of(a.text), "late.test.: no answer from the name servers in 0.05 s");
    struct asker second = {.calls = 0};
    wait_count(loop, &dns.silent, 4); /* by then the old question is answered */
    start(r, &second, "four.test.");
    wait_calls(loop, &second, 1);
    check_str(str_of(second.text), "10.0.0.4:9000");
    check_int(a.calls, 1);
    resolver_free(r);

    test("nobody listens");
    struct str nobody = STR("127.0.0.1:1");
    struct resolver_options options = {.servers = &nobody, .count = 1, .try_ms = 100};
    r = resolver_new(loop, &options);
    check(str_starts(str_of(ask(loop, r, "four.test.")), STR("four.test.: Could not contact DNS")));
    resolver_free(r);
}

static void test_cancel(struct loop *loop)
{
    struct asker a = {.calls = 0}, b = {.calls = 0}, c = {.calls = 0};
    struct resolver *r = quick(loop, 0);
    test("a look-up that is idle can be cancelled");
    lookup_cancel(&a.lookup);

    test("one of several is cancelled");
    start(r, &a, "two.test.");
    start(r, &b, "four.test.");
    start(r, &c, "silent.test.");
    lookup_cancel(&a.lookup);
    check(!lookup_is_waiting(&a.lookup));
    wait_calls(loop, &b, 1);
    lookup_cancel(&c.lookup);
    check_int(a.calls + c.calls, 0);

    test("and may ask again at once");
    start(r, &a, "none.test.");
    lookup_cancel(&a.lookup);
    start(r, &a, "six.test.");
    wait_calls(loop, &a, 1);
    check_str(str_of(a.text), "[2001:db8::6]:9000");

    test("an answer that waits to be handed out is cancelled");
    memset(&a, 0, sizeof a);
    memset(&b, 0, sizeof b);
    start(r, &a, "127.0.0.1");
    start(r, &b, "four.test.");
    lookup_cancel(&a.lookup);
    wait_calls(loop, &b, 1);
    check_int(a.calls, 0);

    test("one that is called back cancels another that is about to be");
    memset(&a, 0, sizeof a);
    memset(&b, 0, sizeof b);
    a.cancels = &b.lookup;
    start(r, &a, "127.0.0.1");
    start(r, &b, "127.0.0.1");
    wait_calls(loop, &a, 1);
    ask(loop, r, "four.test.");
    check_int(b.calls, 0);

    test("what was cancelled is forgotten when its answer has come");
    ask(loop, r, "four.test.");
    size_t used = mallinfo2().uordblks;
    for (int i = 0; i < 50; i++) {
        unsigned asked = dns.asked;
        memset(&a, 0, sizeof a);
        start(r, &a, "four.test.");
        lookup_cancel(&a.lookup);
        wait_count(loop, &dns.asked, asked + 2);
    }
    ask(loop, r, "four.test.");
    size_t now = mallinfo2().uordblks;
    check(now < used + 50 * sizeof(struct addr) * 4); /* a quarter of what the lists would take */

    test("one that is called back asks again");
    memset(&a, 0, sizeof a);
    a.asks_again = r;
    start(r, &a, "six.test.");
    wait_calls(loop, &a, 2);
    check_str(str_of(a.text), "10.0.0.4:9000");
    resolver_free(r);
}

static void test_free(struct loop *loop)
{
    struct asker a = {.calls = 0}, b = {.calls = 0}, c = {.calls = 0};
    test("a resolver that was never asked");
    resolver_free(quick(loop, 0));
    resolver_free(NULL);

    test("freed while questions are open, cancelled or about to be answered");
    struct resolver *r = quick(loop, 0);
    start(r, &a, "silent.test.");
    start(r, &b, "silent.test.");
    start(r, &c, "127.0.0.1");
    lookup_cancel(&b.lookup);
    resolver_free(r);
    check(!lookup_is_waiting(&a.lookup) && !lookup_is_waiting(&c.lookup));

    test("freed by one that is called back, while others wait");
    r = quick(loop, 0);
    struct asker d = {.frees = r};
    start(r, &d, "four.test.");
    start(r, &a, "silent.test.");
    start(r, &b, "large.test.");
    wait_calls(loop, &d, 1);
    check_str(str_of(d.text), "10.0.0.4:9000");
    check(!lookup_is_waiting(&a.lookup) && !lookup_is_waiting(&b.lookup));
    check_int(a.calls + b.calls + c.calls, 0);
}

/* The file is another one each time, as those see to it who write the system's. */
static void write_conf(const char *path, const char *server)
{
    char other[64];
    snprintf(other, sizeof other, "%s.new", path);
    FILE *f = fopen(other, "w");
    check(f != NULL);
    if (f == NULL)
        return;
    fprintf(f, "nameserver %s\n", server);
    fclose(f);
    check(rename(other, path) == 0);
}

static void test_conf(struct loop *loop)
{
    char path[256];
    const char *folder = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/resolve-XXXXXX", folder != NULL ? folder : "/tmp");
    close(mkstemp(path));
    struct resolver_options options = {.conf = path, .port = dns.port, .try_ms = 50};
    struct resolver *r = resolver_new(loop, &options);
    test("the servers of resolv.conf");
    write_conf(path, "127.0.0.1");
    check_str(str_of(ask(loop, r, "four.test.")), "10.0.0.4:9000");

    test("resolv.conf has changed");
    write_conf(path, "127.0.0.2");
    check(str_starts(str_of(ask(loop, r, "four.test.")), STR("four.test.: Could not contact DNS")));
    write_conf(path, "127.0.0.1");
    check_str(str_of(ask(loop, r, "four.test.")), "10.0.0.4:9000");

    test("resolv.conf changes while a question is open: that is still answered");
    struct asker a = {.calls = 0};
    start(r, &a, "six.test.");
    write_conf(path, "127.0.0.2");
    check_str(str_of(ask(loop, r, "four.test.")), "10.0.0.4:9000");
    wait_calls(loop, &a, 1);
    check_str(str_of(a.text), "[2001:db8::6]:9000");
    check(str_starts(str_of(ask(loop, r, "four.test.")), STR("four.test.: Could not contact DNS")));
    resolver_free(r);
    unlink(path);

    test("servers that are none are said to those who ask");
    struct str bad = STR("not an address");
    r = resolver_new(loop, &(struct resolver_options){.servers = &bad, .count = 1});
    check(strlen(ask(loop, r, "four.test.")) > strlen("four.test.: "));
    resolver_free(r);
}

int main(void)
{
    struct loop loop;
    struct ev_loop *ev = ev_loop_new(0);
    loop_init(&loop, ev);
    start_dns(&loop);
    test_answers(&loop);
    test_bad_answers(&loop);
    test_silence(&loop);
    test_cancel(&loop);
    test_free(&loop);
    test_conf(&loop);
    stop_dns(&loop);
    loop_fini(&loop);
    ev_loop_destroy(ev);
    return test_report();
}
