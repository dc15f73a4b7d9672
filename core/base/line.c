/* line - see line.h. */
#include "base/line.h"

#include <stdio.h>
#include <unistd.h>

#define LINE_TAIL_SIZE (2 + LOG_ABOUT_SIZE + LINE_COUNT_SIZE)

static const char *const level_names[] = {"debug", "info", "warn", "error"};

int log_level_parse(const char *name)
{
    for (int i = 0; i < 4; i++)
        if (strcmp(name, level_names[i]) == 0)
            return i;
    return -1;
}

const char *log_level_name(enum log_level level)
{
    return level_names[level];
}

/* Makes text safe for a log; returns the bytes used of out. */
static size_t line_escape(const char *text, size_t n, char *out, size_t room)
{
    size_t used = 0;
    for (size_t i = 0; i < n && used + 5 < room; i++) {
        unsigned char c = (unsigned char)text[i];
        size_t shown = str_shown(text + i, n - i);
        if (c == '\n') {
            if (i + 1 < n) {
                out[used++] = '\n';
                out[used++] = '\t';
            }
        } else if (shown > 0 || c == '\t') {
            out[used++] = (char)c;
            for (; shown > 1; shown--)
                out[used++] = text[++i];
        } else {
            used += (size_t)snprintf(out + used, room - used, "\\x%02x", c);
        }
    }
    return used;
}

/* --- the request that a line is about --- */

/* Writes a word and the text. `also`: bytes that are escaped although they can be shown. A text of
 * more than `most` bytes is cut. */
static size_t line_about_part(char *out, const char *word, struct str text, const char *also,
                              size_t most)
{
    size_t used = 0;
    if (text.n == 0)
        return 0;
    for (; *word != '\0'; word++)
        out[used++] = *word;
    size_t end = used + most;
    while (text.n > 0 && used + 4 <= end) {
        size_t shown = strchr(also, text.p[0]) != NULL ? 0 : str_shown(text.p, text.n);
        if (shown > 0)
            memcpy(out + used, text.p, shown);
        else
            snprintf(out + used, 5, "\\x%02x", (unsigned char)text.p[0]);
        used += shown > 0 ? shown : 4;
        text = str_skip(text, shown > 0 ? shown : 1);
    }
    if (text.n > 0) {
        memcpy(out + used, "...", 3);
        used += 3;
    }
    return used;
}

size_t log_about_text(const struct log_about *about, char out[LOG_ABOUT_SIZE])
{
    static const char ends[] = ",;\\\""; /* of a part; strchr finds NUL, too */
    size_t n = 0;
    n += line_about_part(out + n, "", about->method, " ,;", 64);
    n += line_about_part(out + n, n > 0 ? " " : "", about->uri, " ", 1024);
    n += line_about_part(out + n, n > 0 ? ", request " : "request ", about->id, ends, 128);
    n += line_about_part(out + n, ", host ", about->host, ends, 320);
    n += line_about_part(out + n, ", tenant ", about->tenant, ends, 160);
    out[n] = '\0';
    return n;
}

/* --- lines of the error log --- */

/* Bytes of the line's end: "; GET /, request ..." and the count. */
static size_t line_tail(const struct log_line *l, char out[LINE_TAIL_SIZE])
{
    size_t n = 0;
    if (l->about != NULL) {
        memcpy(out, "; ", 2);
        n = 2 + log_about_text(l->about, out + 2);
    }
    size_t count = strlen(l->count);
    memcpy(out + n, l->count, count);
    return n + count;
}

/* The line as text. The end has its place also where the text must be cut. */
static size_t line_compose(char *line, size_t size, const struct log_line *l)
{
    char tail[LINE_TAIL_SIZE];
    size_t end = line_tail(l, tail);
    time_t now = time(NULL);
    struct tm tm;
    localtime_r(&now, &tm);
    size_t used = strftime(line, 64, "%Y/%m/%d %H:%M:%S ", &tm);
    used += (size_t)snprintf(line + used, 64, "[%s] %d: ", level_names[l->level], (int)getpid());
    used += line_escape(l->text.p, l->text.n, line + used, size - used - end - 1);
    memcpy(line + used, tail, end);
    used += end;
    line[used++] = '\n';
    return used;
}

/* --- datagrams, and streams to the journal --- */

static const int severities[] = {[LOG_DEBUG] = 7, [LOG_INFO] = 6, [LOG_WARN] = 4, [LOG_ERROR] = 3};

/* The text of a line that gets its time, its level and the process from elsewhere. */
static size_t line_text(char *out, size_t size, const struct log_line *l)
{
    char tail[LINE_TAIL_SIZE];
    size_t end = line_tail(l, tail), used = line_escape(l->text.p, l->text.n, out, size - end);
    memcpy(out + used, tail, end);
    return used + end;
}

/* A message of several lines becomes as many datagrams, since few programs keep them together. The
 * head is before each. Returns the number of bytes in out. */
static size_t line_split(char *out, size_t size, struct str text, struct str head)
{
    size_t used = 0;
    const char *indent = "";
    while (text.p != NULL) {
        struct str part = str_cut(&text, '\n');
        if (*indent != '\0' && part.n > 0 && part.p[0] == '\t')
            part = str_skip(part, 1);
        if (head.n + strlen(indent) + part.n + 2 > size - used)
            break;
        used += (size_t)sprintf(out + used, "%.*s%s%.*s\n", STR_FMT(head), indent, STR_FMT(part));
        indent = "    ";
    }
    return used;
}

/* Of a message that is longer than a datagram the text is cut, not its end. */
static size_t line_syslog(const struct datagram *to, const struct log_line *l, char *out)
{
    char head[DATAGRAM_HEAD + 16], text[DATAGRAM_MOST];
    size_t n = datagram_head(to, severities[l->level], head);
    n += (size_t)sprintf(head + n, "[%s] ", level_names[l->level]);
    size_t bytes = line_text(text, sizeof text - n - 4, l);
    return line_split(out, LINE_SIZE, (struct str){text, bytes}, (struct str){head, n});
}

/* Adds a field of at most `most` bytes, on one line. */
static size_t line_put_field(char *out, const char *name, struct str value, size_t most)
{
    if (value.n == 0)
        return 0;
    size_t n = (size_t)sprintf(out, "%cMOONGATE_%s=", DATAGRAM_FIELD, name);
    size_t bytes = line_escape(value.p, value.n, out + n, most);
    for (size_t i = n; i < n + bytes; i++)
        if (out[i] == '\n')
            out[i] = ' ';
    return n + bytes;
}

static size_t line_journal(const struct datagram *to, const struct log_line *l, char *out)
{
    const struct log_about *about = l->about;
    size_t n = datagram_head(to, severities[l->level], out);
    n += line_text(out + n, LINE_SIZE - 4096, l); /* the rest has room for the fields */
    n += line_put_field(out + n, "LOG", STR("error"), 16);
    if (about != NULL) {
        n += line_put_field(out + n, "METHOD", about->method, 80);
        n += line_put_field(out + n, "URI", about->uri, 2000);
        n += line_put_field(out + n, "REQUEST_ID", about->id, 200);
        n += line_put_field(out + n, "HOST", about->host, 400);
        n += line_put_field(out + n, "TENANT", about->tenant, 200);
    }
    for (size_t i = 0; i < n; i++)
        if (out[i] == '\n')
            out[i] = DATAGRAM_NEWLINE;
    out[n++] = '\n';
    return n;
}

/* A stream to the journal: each line is an entry of its own, with its level (sd-daemon(3)). */
static size_t line_stream(const struct log_line *l, char *out)
{
    char plain[LINE_SIZE / 2];
    size_t used = 0;
    struct str rest = {plain, line_compose(plain, sizeof plain, l) - 1};
    while (rest.p != NULL) {
        struct str part = str_cut(&rest, '\n');
        if (part.n + 5 > LINE_SIZE - used)
            break;
        used += (size_t)sprintf(out + used, "<%d>%.*s\n", severities[l->level], STR_FMT(part));
    }
    return used;
}

size_t line_render(const struct outlet *o, const struct log_line *l, char out[LINE_SIZE])
{
    switch (o->to.form) {
    case DATAGRAM_SYSLOG:
        return line_syslog(&o->to, l, out);
    case DATAGRAM_JOURNAL:
        return line_journal(&o->to, l, out);
    default:
        return o->journal ? line_stream(l, out) : line_compose(out, LINE_SIZE, l);
    }
}
