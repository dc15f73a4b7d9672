/*
 * datagram_test - targets, the heads of lines, and datagrams to a socket of this test.
 * Links datagram, addr, date and str.
 */
#include "../test.h"

#include "base/datagram.h"

#include <errno.h>
#include <unistd.h>

static char folder[] = "/tmp/moongate-datagram-XXXXXX";
static char path[100], target[200];

static void test_targets(void)
{
    static const char *const bad[] = {
        "",
        "stderr",
        "/var/log/x",
        "syslog",
        "syslog 24 6 rfc3164 0 tag unix:/dev/log",
        "syslog 23 8 rfc3164 0 tag unix:/dev/log",
        "syslog -1 6 rfc3164 0 tag unix:/dev/log",
        "syslog 23 6 rfc3164 0 tag",
        "syslog 23 6 rfc3164 0 tag name.test:514",
        "syslog 23 6 rfc3164 0 a-tag-that-is-longer-than-32-bytes-is unix:/dev/log",
        "journal",
        "journal unix:",
        "journal 127.0.0.1:514",
    };
    struct datagram d;
    test("targets are read, and others are refused");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        check(!datagram_parse(bad[i], &d) && d.form == DATAGRAM_NONE);
    check(datagram_parse("syslog 19 5 rfc5424 1 web 127.0.0.1:514", &d));
    check(d.form == DATAGRAM_SYSLOG && d.facility == 19 && d.severity == 5 && d.rfc5424);
    check(d.has_host && strcmp(d.tag, "web") == 0 && d.to.in.sin_port == htons(514));
    check(datagram_parse("syslog 19 5 rfc3164 0 web unix:/run/a b", &d) && !d.rfc5424);
    check(strcmp(d.to.un.sun_path, "/run/a b") == 0);
    check(datagram_parse("journal unix:/run/journal", &d) && d.form == DATAGRAM_JOURNAL);
}

static void test_heads(void)
{
    struct datagram d;
    char head[DATAGRAM_HEAD + 1], month[4], zone;
    int pri, day, hour, minute, second, pid, year, number, at = 0;
    long micros;
    test("heads are those of RFC 3164 and RFC 5424");
    check(datagram_parse("syslog 23 6 rfc3164 0 web unix:/dev/log", &d));
    head[datagram_head(&d, 3, head)] = '\0';
    check(sscanf(head, "<%d>%3s %2d %2d:%2d:%2d web[%d]: %n", &pri, month, &day, &hour, &minute,
                 &second, &pid, &at) == 7);
    check(pri == 187 && pid == getpid() && head[at] == '\0' && strlen(head) > 25);
    check(head[8] == ' ' && (head[9] == ' ') == (day < 10));
    check(datagram_parse("syslog 0 6 rfc5424 1 web 127.0.0.1:514", &d));
    memcpy(d.host, "host.test", sizeof "host.test");
    head[datagram_head(&d, 6, head)] = '\0';
    at = 0;
    check(sscanf(head, "<%d>1 %4d-%2d-%2dT%2d:%2d:%2d.%6ld%c%2d:%2d host.test web %d - - %n", &pri,
                 &year, &number, &day, &hour, &minute, &second, &micros, &zone, &hour, &minute,
                 &pid, &at) == 12);
    check(pri == 6 && pid == getpid() && head[at] == '\0' && (zone == '+' || zone == '-'));
    check(datagram_parse("syslog 23 6 rfc3164 1 web 127.0.0.1:514", &d));
    memcpy(d.host, "host.test", sizeof "host.test");
    head[datagram_head(&d, 6, head)] = '\0';
    check(strstr(head, " host.test web[") != NULL);
    /* the longest that there is */
    memset(d.host, 'h', sizeof d.host - 1);
    memset(d.tag, 't', sizeof d.tag - 1);
    d.rfc5424 = true;
    check(datagram_head(&d, 7, head) < DATAGRAM_HEAD - 8);
    check(datagram_parse("journal unix:/run/journal", &d));
    check(datagram_head(&d, 4, head) == 1 && head[0] == '4');
}

static int listen_at(void)
{
    struct addr a;
    snprintf(target, sizeof target, "unix:%s", path);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    unlink(path);
    if (addr_resolve(target, &a) != NULL || bind(fd, &a.sa, a.len) != 0)
        exit(1);
    return fd;
}

static void test_absence(void)
{
    struct datagram d;
    char got[100];
    test("a receiver that is not there, has no room, or was restarted");
    snprintf(target, sizeof target, "syslog 23 6 rfc3164 0 web unix:%s", path);
    check(datagram_parse(target, &d));
    int fd = datagram_open(&d);
    check(fd >= 0 && datagram_send(&d, fd, "one", 3) == ENOENT);
    int reader = listen_at();
    check(datagram_send(&d, fd, "two", 3) == 0);
    check(recv(reader, got, sizeof got, 0) == 3 && memcmp(got, "two", 3) == 0);
    int err = 0;
    unsigned sent = 0;
    while (sent < 1000000 && (err = datagram_send(&d, fd, "full", 4)) == 0)
        sent++;
    check(sent > 0 && err == EAGAIN);
    close(reader);
    check(datagram_send(&d, fd, "four", 4) == ECONNREFUSED);
    reader = listen_at();
    check(datagram_send(&d, fd, "five", 4) == 0);
    check(recv(reader, got, sizeof got, 0) == 4 && memcmp(got, "five", 4) == 0);
    close(reader);
    close(fd);
}

static void check_journal(const char *line, size_t n, const char *expected, size_t size)
{
    static char got[100000];
    struct datagram d;
    int reader = listen_at();
    snprintf(target, sizeof target, "journal unix:%s", path);
    check(datagram_parse(target, &d));
    int fd = datagram_open(&d);
    check(datagram_send(&d, fd, line, n) == 0);
    ssize_t came = recv(reader, got, sizeof got, 0);
    check(came == (ssize_t)size && memcmp(got, expected, size) == 0);
    close(reader);
    close(fd);
}

#define CHECK_JOURNAL(line, expected)                                                              \
    check_journal(line, sizeof line - 1, expected, sizeof expected - 1)

static void test_journal(void)
{
    static char much[99000];
    test("lines for the journal are fields, with those of several lines by their length");
    CHECK_JOURNAL("6hello", "PRIORITY=6\nSYSLOG_IDENTIFIER=moongate\nMESSAGE=hello\n");
    CHECK_JOURNAL("3a=b\x1fMOONGATE_STATUS=200\x1f=x\x1fnothing\x1fMOONGATE_URI=/=",
                  "PRIORITY=3\nSYSLOG_IDENTIFIER=moongate\nMESSAGE=a=b\nMOONGATE_STATUS=200\n"
                  "MOONGATE_URI=/=\n");
    CHECK_JOURNAL("3one\x1etwo\x1fMOONGATE_LOG=error",
                  "PRIORITY=3\nSYSLOG_IDENTIFIER=moongate\nMESSAGE\n\7\0\0\0\0\0\0\0one\ntwo\n"
                  "MOONGATE_LOG=error\n");
    CHECK_JOURNAL("6", "PRIORITY=6\nSYSLOG_IDENTIFIER=moongate\nMESSAGE=\n");
    CHECK_JOURNAL("", "PRIORITY=\nSYSLOG_IDENTIFIER=moongate\nMESSAGE=\n");
    /* a field that does not fit is left out whole */
    memset(much, 'x', sizeof much);
    memcpy(much,
           "6text\x1f"
           "A=",
           8);
    memcpy(much + sizeof much - 4,
           "\x1f"
           "B=1",
           4);
    check_journal(much, sizeof much, "PRIORITY=6\nSYSLOG_IDENTIFIER=moongate\nMESSAGE=text\nB=1\n",
                  sizeof "PRIORITY=6\nSYSLOG_IDENTIFIER=moongate\nMESSAGE=text\nB=1\n" - 1);
}

static void test_clean(void)
{
    char text[] = "a\nb\x1f"
                  "c\td\x1e\x80\x7f";
    test("no byte of a text is taken for the end of a line or a field");
    datagram_clean(text, sizeof text - 1);
    check(memcmp(text, "a b c\td \x80\x7f", sizeof text) == 0);
}

int main(void)
{
    if (mkdtemp(folder) == NULL)
        return 1;
    snprintf(path, sizeof path, "%s/log", folder);
    test_targets();
    test_heads();
    test_absence();
    test_journal();
    test_clean();
    unlink(path);
    rmdir(folder);
    return test_report();
}
