/* json - see json.h. */
#include "base/json.h"

#include <stdio.h>

void json_init(struct json *j, char *out, size_t size)
{
    *j = (struct json){.out = out, .size = size};
}

size_t json_room(const struct json *j)
{
    return j->full ? 0 : j->size - j->used;
}

static void json_put(struct json *j, const char *p, size_t n)
{
    if (n > json_room(j)) {
        j->full = true;
        return;
    }
    memcpy(j->out + j->used, p, n);
    j->used += n;
}

static void json_separate(struct json *j)
{
    if (j->follows)
        json_put(j, ",", 1);
    j->follows = true;
}

void json_open(struct json *j, char bracket)
{
    json_separate(j);
    json_put(j, &bracket, 1);
    j->follows = false;
}

void json_close(struct json *j, char bracket)
{
    json_put(j, &bracket, 1);
    j->follows = true;
}

void json_name(struct json *j, const char *name)
{
    json_text(j, str_of(name), SIZE_MAX);
    json_put(j, ":", 1);
    j->follows = false;
}

void json_text(struct json *j, struct str text, size_t most)
{
    size_t end = text.n < most ? text.n : most;
    char escape[8];
    json_separate(j);
    json_put(j, "\"", 1);
    for (size_t i = 0; i < end && !j->full;) {
        size_t shown = str_shown(text.p + i, text.n - i);
        if (shown > 0 && text.p[i] != '"' && text.p[i] != '\\') {
            json_put(j, text.p + i, shown); /* a character may end beyond `most` */
            i += shown;
            continue;
        }
        int n = snprintf(escape, sizeof escape, "\\u%04x", (unsigned char)text.p[i]);
        json_put(j, escape, (size_t)n);
        i++;
    }
    json_put(j, "\"", 1);
}

void json_number(struct json *j, double value)
{
    char text[48];
    int n = snprintf(text, sizeof text, "%.6f", value);
    while (n > 0 && text[n - 1] == '0')
        n--;
    if (n > 0 && text[n - 1] == '.')
        n--;
    json_separate(j);
    json_put(j, text, (size_t)n);
}
