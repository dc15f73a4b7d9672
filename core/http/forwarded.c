/* forwarded - see forwarded.h. */
#include "http/forwarded.h"

bool forwarded_last(struct str *list, struct str *element)
{
    while (list->n > 0) {
        const char *comma = memrchr(list->p, ',', list->n);
        size_t start = comma != NULL ? (size_t)(comma - list->p) + 1 : 0;
        *element = str_trim(str_skip(*list, start));
        list->n = comma != NULL ? start - 1 : 0;
        if (element->n > 0)
            return true;
    }
    return false;
}

/* --- an address --- */

static bool forwarded_read_port(struct str text, uint16_t *port)
{
    uint64_t value;
    if (text.n > 5 || !str_to_u64(text, &value) || value > UINT16_MAX)
        return false;
    *port = (uint16_t)value;
    return true;
}

bool forwarded_node(struct str text, struct peer *peer)
{
    struct str ip = text, port = STR_NONE;
    const char *colon = text.n > 0 ? memchr(text.p, ':', text.n) : NULL;
    bool bracketed = text.n > 0 && text.p[0] == '[';
    *peer = (struct peer){0};
    if (str_eq(text, STR("unix:"))) {
        peer->family = AF_UNIX;
        return true;
    }
    if (bracketed) {
        const char *close = memchr(text.p, ']', text.n);
        size_t end = close != NULL ? (size_t)(close - text.p) : 0;
        if (close == NULL || (end + 1 < text.n && close[1] != ':'))
            return false;
        ip = (struct str){text.p + 1, end - 1};
        if (end + 1 < text.n)
            port = str_skip(text, end + 2);
    } else if (colon != NULL &&
               memchr(colon + 1, ':', text.n - 1 - (size_t)(colon - text.p)) == NULL) {
        ip.n = (size_t)(colon - text.p); /* a single colon begins a port */
        port = str_skip(text, ip.n + 1);
    }
    uint16_t number = 0;
    if ((port.p != NULL && !forwarded_read_port(port, &number)) ||
        (bracketed && memchr(ip.p, ':', ip.n) == NULL) || !peer_parse(peer, ip)) {
        *peer = (struct peer){0};
        return false;
    }
    peer->port = number;
    return true;
}

/* --- an element of Forwarded --- */

/* The index of the opening quote for the closing quote at `end`; `end` itself where there is no
 * opening quote. */
static size_t forwarded_quote_start(struct str s, size_t end)
{
    for (size_t i = end; i-- > 0;) {
        size_t slashes = 0;
        if (s.p[i] != '"')
            continue;
        while (slashes < i && s.p[i - 1 - slashes] == '\\')
            slashes++;
        if (slashes % 2 == 0)
            return i;
        i -= slashes;
    }
    return end;
}

/* The last element, as forwarded_last. A quoted string without its opening quote is part of a
 * malformed element, which ends at the next comma. */
static bool forwarded_last_element(struct str *list, struct str *element)
{
    while (list->n > 0) {
        size_t i = list->n;
        bool broken = false; /* an opening quote is missing, so earlier strings have none, too */
        while (i > 0 && list->p[i - 1] != ',') {
            size_t quote = --i;
            if (list->p[quote] == '"' && !broken)
                broken = (i = forwarded_quote_start(*list, quote)) == quote;
        }
        *element = str_trim(str_skip(*list, i));
        list->n = i > 0 ? i - 1 : 0;
        if (element->n > 0)
            return true;
    }
    return false;
}

/* Parses a token or a quoted string at the front of *s. Quotes are removed; escapes in them stay,
 * since no address, scheme or host holds one. A quote inside a token is malformed: the element ends
 * the walk, so that forwarded_last_element searches for the beginning of a quoted string in vain
 * only once in a header. */
static bool forwarded_parse_value(struct str *s, struct str *value)
{
    size_t n = 0;
    if (s->n > 0 && s->p[0] == '"') {
        for (n = 1; n < s->n && s->p[n] != '"'; n++)
            if (s->p[n] == '\\')
                n++;
        if (n >= s->n)
            return false;
        *value = (struct str){s->p + 1, n - 1};
        *s = str_skip(*s, n + 1);
        return true;
    }
    while (n < s->n && s->p[n] != ';')
        n++;
    *value = str_trim((struct str){s->p, n});
    *s = str_skip(*s, n);
    return value->n == 0 || memchr(value->p, '"', value->n) == NULL;
}

/* One "name=value"; a param that is there twice makes the element malformed (RFC 7239 §4). */
static bool forwarded_parse_pair(struct str *s, struct forwarded_hop *hop, struct str *node)
{
    const char *equals = memchr(s->p, '=', s->n);
    if (equals == NULL)
        return false;
    struct str name = str_trim((struct str){s->p, (size_t)(equals - s->p)}), value;
    *s = str_skip(*s, (size_t)(equals - s->p) + 1);
    if (!str_is_token(name) || !forwarded_parse_value(s, &value))
        return false;
    struct str *field = str_ieq(name, STR("for"))     ? node
                        : str_ieq(name, STR("proto")) ? &hop->proto
                        : str_ieq(name, STR("host"))  ? &hop->host
                                                      : NULL;
    if (field != NULL && field->p != NULL)
        return false;
    if (field != NULL)
        *field = value;
    *s = str_trim(*s);
    if (s->n == 0)
        return true;
    if (s->p[0] != ';')
        return false;
    *s = str_trim(str_skip(*s, 1));
    return true;
}

bool forwarded_last_hop(struct str *list, struct forwarded_hop *hop)
{
    struct str element, node = STR_NONE;
    *hop = (struct forwarded_hop){.malformed = false};
    if (!forwarded_last_element(list, &element))
        return false;
    while (element.n > 0 && !hop->malformed)
        hop->malformed = !forwarded_parse_pair(&element, hop, &node);
    if (hop->malformed)
        *hop = (struct forwarded_hop){.malformed = true};
    else if (node.p != NULL)
        forwarded_node(node, &hop->peer);
    return true;
}
