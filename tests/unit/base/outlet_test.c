/*
 * outlet_test - both logs as datagrams: what a line becomes, and lines whose reader is slow,
 * absent, or that are in another form than the log. Links log, line, outlet, datagram, writer,
 * addr, date and str.
 */
#include "../test.h"

#include "base/log.h"

#include "base/datagram.h"

#include <errno.h>
#include <stdarg.h>
#include <unistd.h>

static char folder[] = "/tmp/moongate-log-XXXXXX";
static char path[100], syslog[200], journal[200], got[100000];
static int reader = -1, sender = -1;

static void listen_again(void)
{
    struct addr a;
    char text[120];
    snprintf(text, sizeof text, "unix:%s", path);
    if (reader >= 0)
        close(reader);
    unlink(path);
    reader = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    if (addr_resolve(text, &a) != NULL || bind(reader, &a.sa, a.len) != 0)
        exit(1);
}

/* The next datagram, or "". */
static const char *next(void)
{
    ssize_t n = recv(reader, got, sizeof got - 1, 0);
    got[n > 0 ? n : 0] = '\0';
    return got;
}

static bool ends_in(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

static bool begins_with(const char *text, const char *begin)
{
    return strncmp(text, begin, strlen(begin)) == 0;
}

static void access_line(const char *text, const char *fields)
{
    size_t n = strlen(text), m = strlen(fields);
    char *room = log_access_reserve(n + 1 + m + 1);
    if (room == NULL)
        return;
    sprintf(room, "%s%s\n", text, fields);
    log_access_commit(n + 1, m);
}

/* A line about a request, as it is written for one. */
static void about(const struct log_about *a, enum log_level level, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    log_vabout(a, NULL, level, fmt, args);
    va_end(args);
}

static void test_syslog(void)
{
    static char much[30000];
    test("lines are messages for a syslog server");
    listen_again();
    log_setup(sender, syslog, LOG_INFO, sender, syslog);
    check(!log_access_has_fields());
    log_error("it failed");
    check(begins_with(next(), "<187>") && ends_in(got, ": [error] it failed"));
    log_warn("one\ntwo\nthree\n");
    check(begins_with(next(), "<188>") && ends_in(got, ": [warn] one"));
    check(begins_with(next(), "<188>") && ends_in(got, ": [warn]     two"));
    check(ends_in(next(), ": [warn]     three"));
    log_info("it is");
    check(begins_with(next(), "<190>"));
    log_debug("not at this level");
    check(*next() == '\0');
    about(&(struct log_about){.uri = STR("/x"), .id = STR("77")}, LOG_ERROR, "bad\033");
    check(ends_in(next(), "[error] bad\\x1b; /x, request 77"));
    access_line("GET / 200", "");
    check(begins_with(next(), "<190>") && ends_in(got, "]: GET / 200"));
    access_line("a\nb\x1f", "");
    check(ends_in(next(), "]: a b "));
    memset(much, 'x', sizeof much - 1);
    access_line(much, "");
    check(strlen(next()) == DATAGRAM_MOST && !log_waiting());
    about(&(struct log_about){.id = STR("78")}, LOG_ERROR, "%s", much);
    check(strlen(next()) <= DATAGRAM_MOST && ends_in(got, "xx; request 78"));
    char *room = log_access_reserve(100);
    check(room != NULL);
    log_access_commit(0, 0); /* a line that did not fit */
    check(*next() == '\0' && !log_waiting());
}

static void test_journal(void)
{
    test("lines have fields for the journal");
    listen_again();
    log_setup(sender, journal, LOG_INFO, sender, journal);
    check(log_access_has_fields());
    access_line("GET / 200", "\x1fMOONGATE_STATUS=200");
    check(strcmp(next(), "PRIORITY=6\nSYSLOG_IDENTIFIER=moongate\nMESSAGE=GET / 200\n"
                         "MOONGATE_STATUS=200\n") == 0);
    log_warn("plain");
    check(strcmp(next(), "PRIORITY=4\nSYSLOG_IDENTIFIER=moongate\nMESSAGE=plain\n"
                         "MOONGATE_LOG=error\n") == 0);
    about(&(struct log_about){.method = STR("GET"),
                              .uri = STR("/a\nMESSAGE=forged\x1fPRIORITY=0"),
                              .id = STR("77"),
                              .host = STR("a.test"),
                              .tenant = STR("blue")},
          LOG_ERROR, "bad");
    next();
    check(strstr(got, "\nMESSAGE=forged") == NULL && strstr(got, "\nPRIORITY=0") == NULL);
    check(strstr(got, "\nMOONGATE_METHOD=GET\n") != NULL);
    check(strstr(got, "\nMOONGATE_REQUEST_ID=77\nMOONGATE_HOST=a.test\n") != NULL);
    check(ends_in(got, "\nMOONGATE_TENANT=blue\n"));
    log_error("one\ntwo");
    ssize_t n = recv(reader, got, sizeof got, 0);
    static const char expected[] = "PRIORITY=3\nSYSLOG_IDENTIFIER=moongate\nMESSAGE\n"
                                   "\10\0\0\0\0\0\0\0one\n\ttwo\nMOONGATE_LOG=error\n";
    check(n == sizeof expected - 1 && memcmp(got, expected, sizeof expected - 1) == 0);
}

static unsigned said_lost; /* lines that are lost, as the log says */

/* Reads lines "line NUMBER" in their order from `from` on; returns the next number. */
static unsigned count_from(unsigned from)
{
    while (*next() != '\0') {
        const char *at = strstr(got, "line "), *lost = strstr(got, "in time (");
        if (lost != NULL)
            said_lost += (unsigned)atoi(lost + sizeof "in time (" - 1);
        else if (at != NULL && (unsigned)atoi(at + sizeof "line " - 1) == from)
            from++;
        else
            break;
    }
    return from;
}

static void test_full(void)
{
    test("a reader that has no room gets the lines later, and the log says how many are lost");
    listen_again();
    log_setup(sender, syslog, LOG_INFO, -1, "");
    for (unsigned i = 0; i < 20000; i++)
        log_info("line %u", i);
    check(log_waiting());
    unsigned came = 0;
    for (int turn = 0; log_waiting() && turn < 100000; turn++) {
        came = count_from(came);
        usleep(1000);
        log_flush();
    }
    came = count_from(came);
    check(came > 100 && came < 20000 && said_lost == 20000 - came);
}

static void test_absent(void)
{
    test("a reader that comes again gets the lines that have waited for it");
    listen_again();
    log_setup(sender, syslog, LOG_INFO, -1, "");
    close(reader);
    reader = -1;
    for (unsigned i = 0; i < 100; i++)
        log_info("line %u", i);
    unlink(path);
    log_info("line 100");
    check(log_waiting());
    listen_again();
    unsigned came = 0;
    for (int turn = 0; came < 101 && turn < 30000; turn++) {
        log_flush();
        came = count_from(came);
        usleep(1000);
    }
    check(came == 101 && !log_waiting());
}

static void test_rescue(void)
{
    static struct log_lines lines;
    test("lines of a process that was killed are sent, unless they are for another kind of log");
    listen_again();
    log_setup(sender, syslog, LOG_INFO, sender, journal);
    lines.access.form = DATAGRAM_JOURNAL;
    memcpy(lines.access_bytes, "6one\n6two\n6cut", 14);
    lines.access.used = 14;
    lines.access.written = 0;
    log_rescue(&lines);
    check(strstr(next(), "\nMESSAGE=one\n") != NULL && strstr(next(), "\nMESSAGE=two\n") != NULL);
    check(*next() == '\0' && lines.access.used == 0);
    lines.access.form = DATAGRAM_SYSLOG;
    lines.access.used = 14;
    log_rescue(&lines);
    log_flush();
    check(strstr(next(), "lines of the access log are lost") != NULL);
    lines.access.used = UINT32_MAX;
    log_rescue(&lines);
    check(lines.access.used == 0 && *next() == '\0');
}

static void test_change(void)
{
    test("lines that wait for a syslog server are not written to a file");
    listen_again();
    log_setup(sender, syslog, LOG_INFO, sender, syslog);
    close(reader);
    reader = -1;
    unlink(path);
    access_line("one", "");
    log_info("two");
    check(log_waiting());
    FILE *file = tmpfile();
    log_setup(fileno(file), "/error", LOG_INFO, fileno(file), "/access");
    access_line("three", "");
    log_info("four");
    log_flush();
    ssize_t n = pread(fileno(file), got, sizeof got - 1, 0);
    got[n > 0 ? n : 0] = '\0';
    check(strstr(got, "<190>") == NULL && strstr(got, "one") == NULL);
    check(strstr(got, "three\n") != NULL && strstr(got, "four\n") != NULL);
    check(strstr(got, "lines of the error log are lost: ") != NULL);
    fclose(file);
}

int main(void)
{
    struct datagram d;
    if (mkdtemp(folder) == NULL)
        return 1;
    snprintf(path, sizeof path, "%s/log", folder);
    snprintf(syslog, sizeof syslog, "syslog 23 6 rfc3164 0 web unix:%s", path);
    snprintf(journal, sizeof journal, "journal unix:%s", path);
    if (!datagram_parse(syslog, &d) || (sender = datagram_open(&d)) < 0)
        return 1;
    test_syslog();
    test_journal();
    test_full();
    test_absent();
    test_rescue();
    test_change();
    log_setup(STDERR_FILENO, "stderr", LOG_ERROR, -1, "");
    close(sender);
    unlink(path);
    rmdir(folder);
    return test_report();
}
