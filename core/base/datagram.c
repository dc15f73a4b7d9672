/* datagram - see datagram.h. */
#include "base/datagram.h"

#include "base/date.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define JOURNAL_MOST (96u << 10) /* bytes of a datagram for the journal */

/* --- targets --- */

static bool datagram_find(struct datagram *d, const char *address)
{
    /* the loader has looked names up: the master waits for no name server */
    return !addr_is_name(address, NULL, NULL) && addr_resolve(address, &d->to) == NULL;
}

static void datagram_name_host(char host[65])
{
    if (gethostname(host, 65) != 0 || host[0] == '\0')
        memcpy(host, "localhost", sizeof "localhost");
    host[64] = '\0';
    for (char *at = host; *at != '\0'; at++)
        if (*at <= ' ' || *at > '~')
            *at = '-';
}

static bool datagram_parse_syslog(const char *text, struct datagram *d)
{
    char format[8];
    int host, at = 0;
    if (sscanf(text, "syslog %d %d %7s %d %32s %n", &d->facility, &d->severity, format, &host,
               d->tag, &at) != 5 ||
        at == 0 || d->facility < 0 || d->facility > 23 || d->severity < 0 || d->severity > 7)
        return false;
    d->rfc5424 = strcmp(format, "rfc5424") == 0;
    d->has_host = host != 0;
    datagram_name_host(d->host);
    return datagram_find(d, text + at);
}

bool datagram_parse(const char *target, struct datagram *out)
{
    *out = (struct datagram){.form = DATAGRAM_NONE};
    if (strncmp(target, "journal unix:", sizeof "journal unix:" - 1) == 0) {
        memcpy(out->tag, "moongate", sizeof "moongate");
        out->severity = 6;
        if (datagram_find(out, target + sizeof "journal " - 1))
            out->form = DATAGRAM_JOURNAL;
    } else if (datagram_parse_syslog(target, out)) {
        out->form = DATAGRAM_SYSLOG;
    }
    return out->form != DATAGRAM_NONE;
}

int datagram_open(const struct datagram *d)
{
    return socket(d->to.sa.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

/* --- lines in the buffer --- */

/* RFC 3164 §4.1.2, as syslog(3) writes it: "Oct  9 22:33:20 ". */
static size_t datagram_put_stamp(char *out, const struct timespec *now)
{
    static time_t made;
    static char text[24];
    if (made != now->tv_sec || text[0] == '\0') {
        struct tm tm;
        localtime_r(&now->tv_sec, &tm);
        snprintf(text, sizeof text, "%s %2d %02d:%02d:%02d ", date_month(tm.tm_mon),
                 tm.tm_mday % 100, tm.tm_hour % 100, tm.tm_min % 100, tm.tm_sec % 100);
        made = now->tv_sec;
    }
    size_t n = strlen(text);
    memcpy(out, text, n);
    return n;
}

/* RFC 5424 §6.2.3: "2003-10-11T22:14:15.000003-07:00 ". */
static size_t datagram_put_time(char *out, size_t size, const struct timespec *now)
{
    struct tm tm;
    localtime_r(&now->tv_sec, &tm);
    size_t n = strftime(out, size, "%Y-%m-%dT%H:%M:%S", &tm);
    long minutes = labs(tm.tm_gmtoff) / 60;
    return n + (size_t)snprintf(out + n, size - n, ".%06ld%c%02ld:%02ld ", now->tv_nsec / 1000,
                                tm.tm_gmtoff < 0 ? '-' : '+', minutes / 60 % 100, minutes % 60);
}

size_t datagram_head(const struct datagram *d, int severity, char out[DATAGRAM_HEAD])
{
    struct timespec now;
    if (d->form == DATAGRAM_JOURNAL) {
        out[0] = (char)('0' + severity);
        return 1;
    }
    clock_gettime(CLOCK_REALTIME, &now);
    size_t n = (size_t)snprintf(out, 16, "<%d>", d->facility * 8 + severity);
    if (d->rfc5424) {
        n += (size_t)snprintf(out + n, 3, "1 ");
        n += datagram_put_time(out + n, 48, &now);
        return n + (size_t)snprintf(out + n, DATAGRAM_HEAD - n, "%s %s %d - - ", d->host, d->tag,
                                    (int)getpid());
    }
    n += datagram_put_stamp(out + n, &now);
    return n + (size_t)snprintf(out + n, DATAGRAM_HEAD - n,
                                "%s%s%s[%d]: ", d->has_host ? d->host : "", d->has_host ? " " : "",
                                d->tag, (int)getpid());
}

void datagram_clean(char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] < ' ' && text[i] != '\t')
            text[i] = ' ';
}

/* --- sending --- */

struct datagram_out {
    char *bytes;
    size_t used, size;
};

static bool datagram_put(struct datagram_out *out, const char *p, size_t n)
{
    if (n > out->size - out->used)
        return false;
    memcpy(out->bytes + out->used, p, n);
    out->used += n;
    return true;
}

/* Adds a field as in systemd's JOURNAL_NATIVE_PROTOCOL: "NAME=VALUE\n", or where the value has a
 * newline, "NAME\n", its length as 64 bits with the lowest byte first, the value, "\n". A field
 * that has no room is left out, so that no part of one is taken for another. */
static void datagram_put_field(struct datagram_out *out, struct str name, struct str value)
{
    size_t before = out->used;
    bool lines = memchr(value.p, DATAGRAM_NEWLINE, value.n) != NULL, fits;
    fits = datagram_put(out, name.p, name.n) && datagram_put(out, lines ? "\n" : "=", 1);
    for (unsigned i = 0; lines && fits && i < 8; i++) {
        char byte = (char)((uint64_t)value.n >> (8 * i));
        fits = datagram_put(out, &byte, 1);
    }
    size_t from = out->used;
    if (!fits || !datagram_put(out, value.p, value.n) || !datagram_put(out, "\n", 1)) {
        out->used = before;
        return;
    }
    for (size_t i = 0; lines && i < value.n; i++)
        if (out->bytes[from + i] == DATAGRAM_NEWLINE)
            out->bytes[from + i] = '\n';
}

/* The line as the journal reads it. */
static size_t datagram_encode(const struct datagram *d, const char *line, size_t n, char *bytes,
                              size_t size)
{
    struct datagram_out out = {.bytes = bytes, .size = size};
    struct str rest = {line, n};
    datagram_put_field(&out, STR("PRIORITY"), (struct str){rest.p, rest.n > 0});
    rest = str_skip(rest, rest.n > 0);
    datagram_put_field(&out, STR("SYSLOG_IDENTIFIER"), str_of(d->tag));
    datagram_put_field(&out, STR("MESSAGE"), str_cut(&rest, DATAGRAM_FIELD));
    while (rest.p != NULL) {
        struct str value = str_cut(&rest, DATAGRAM_FIELD);
        struct str name = str_cut(&value, '=');
        if (value.p != NULL && name.n > 0)
            datagram_put_field(&out, name, value);
    }
    return out.used;
}

int datagram_send(const struct datagram *d, int fd, const char *line, size_t n)
{
    static char encoded[JOURNAL_MOST];
    if (d->form == DATAGRAM_JOURNAL) {
        n = datagram_encode(d, line, n, encoded, sizeof encoded);
        line = encoded;
    }
    for (;;) {
        if (sendto(fd, line, n, MSG_DONTWAIT | MSG_NOSIGNAL, &d->to.sa, d->to.len) >= 0)
            return 0;
        if (errno != EINTR)
            return errno;
    }
}
