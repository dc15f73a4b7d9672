/* date - see date.h. */
#include "base/date.h"

#include <stdio.h>

static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                 "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
static const char days[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};

#define FIRST (-62135596800) /* 0001-01-01 00:00:00 */
#define LAST  253402300799   /* 9999-12-31 23:59:59 */

const char *date_month(int month)
{
    return months[month];
}

static char *date_put_digits(char *at, unsigned value, unsigned digits)
{
    for (unsigned i = digits; i-- > 0; value /= 10)
        at[i] = (char)('0' + value % 10);
    return at + digits;
}

static char *date_put_name(char *at, const char name[4], char behind)
{
    memcpy(at, name, 3);
    at[3] = behind;
    return at + 4;
}

void date_format(time_t at, char out[DATE_LENGTH + 1])
{
    struct tm tm;
    at = at < FIRST ? FIRST : at > LAST ? LAST : at;
    gmtime_r(&at, &tm);
    char *p = date_put_name(out, days[tm.tm_wday], ',');
    *p++ = ' ';
    p = date_put_digits(p, (unsigned)tm.tm_mday, 2);
    *p++ = ' ';
    p = date_put_name(p, months[tm.tm_mon], ' ');
    p = date_put_digits(p, (unsigned)tm.tm_year + 1900, 4);
    *p++ = ' ';
    p = date_put_digits(p, (unsigned)tm.tm_hour, 2);
    *p++ = ':';
    p = date_put_digits(p, (unsigned)tm.tm_min, 2);
    *p++ = ':';
    p = date_put_digits(p, (unsigned)tm.tm_sec, 2);
    memcpy(p, " GMT", 5);
}

/* --- reading --- */

/* Skips the text at the front of *s; false: s begins with another text. */
static bool date_skip(struct str *s, struct str text)
{
    if (!str_starts(*s, text))
        return false;
    *s = str_skip(*s, text.n);
    return true;
}

static bool date_parse_number(struct str *s, unsigned digits, int *out)
{
    if (s->n < digits)
        return false;
    *out = 0;
    for (unsigned i = 0; i < digits; i++) {
        if (s->p[i] < '0' || s->p[i] > '9')
            return false;
        *out = *out * 10 + (s->p[i] - '0');
    }
    *s = str_skip(*s, digits);
    return true;
}

static bool date_parse_month(struct str *s, int *out)
{
    for (*out = 0; *out < 12; ++*out)
        if (date_skip(s, (struct str){months[*out], 3}))
            return true;
    return false;
}

static bool date_parse_time(struct str *s, struct tm *tm)
{
    return date_parse_number(s, 2, &tm->tm_hour) && date_skip(s, STR(":")) &&
           date_parse_number(s, 2, &tm->tm_min) && date_skip(s, STR(":")) &&
           date_parse_number(s, 2, &tm->tm_sec) && tm->tm_hour < 24 && tm->tm_min < 60 &&
           tm->tm_sec <= 60;
}

/* "06 Nov 1994 08:49:37 GMT" */
static bool date_parse_fixdate(struct str s, struct tm *tm)
{
    return date_parse_number(&s, 2, &tm->tm_mday) && date_skip(&s, STR(" ")) &&
           date_parse_month(&s, &tm->tm_mon) && date_skip(&s, STR(" ")) &&
           date_parse_number(&s, 4, &tm->tm_year) && date_skip(&s, STR(" ")) &&
           date_parse_time(&s, tm) && str_eq(s, STR(" GMT"));
}

/* "06-Nov-94 08:49:37 GMT", of RFC 850 */
static bool date_parse_rfc850(struct str s, struct tm *tm, time_t now)
{
    struct tm today;
    if (!(date_parse_number(&s, 2, &tm->tm_mday) && date_skip(&s, STR("-")) &&
          date_parse_month(&s, &tm->tm_mon) && date_skip(&s, STR("-")) &&
          date_parse_number(&s, 2, &tm->tm_year) && date_skip(&s, STR(" ")) &&
          date_parse_time(&s, tm) && str_eq(s, STR(" GMT"))))
        return false;
    gmtime_r(&now, &today);
    int year = today.tm_year + 1900;
    tm->tm_year += year / 100 * 100;
    if (tm->tm_year > year + 50)
        tm->tm_year -= 100;
    return true;
}

/* "Nov  6 08:49:37 1994", of asctime() */
static bool date_parse_asctime(struct str s, struct tm *tm)
{
    return date_parse_month(&s, &tm->tm_mon) && date_skip(&s, STR(" ")) &&
           date_parse_number(&s, date_skip(&s, STR(" ")) ? 1 : 2, &tm->tm_mday) &&
           date_skip(&s, STR(" ")) && date_parse_time(&s, tm) && date_skip(&s, STR(" ")) &&
           date_parse_number(&s, 4, &tm->tm_year) && s.n == 0;
}

/* Skips the name of the day, which is not compared with the date. */
static bool date_parse_day(struct str *s)
{
    size_t n = 0;
    while (n < s->n && char_lower(s->p[n]) >= 'a' && char_lower(s->p[n]) <= 'z')
        n++;
    *s = str_skip(*s, n);
    return n >= 3;
}

time_t date_parse(struct str text, time_t now)
{
    struct tm tm = {0};
    if (!date_parse_day(&text))
        return DATE_NONE;
    bool found = date_skip(&text, STR(", "))
                     ? date_parse_fixdate(text, &tm) || date_parse_rfc850(text, &tm, now)
                     : date_skip(&text, STR(" ")) && date_parse_asctime(text, &tm);
    int day = tm.tm_mday;
    if (!found || day < 1 || day > 31)
        return DATE_NONE;
    tm.tm_year -= 1900;
    bool leap = tm.tm_sec == 60;
    if (leap)
        tm.tm_sec = 59;
    time_t at = timegm(&tm);
    return tm.tm_mday == day
               ? at + leap
               : DATE_NONE; /* timegm makes 30 February another day, which is refused */
}
