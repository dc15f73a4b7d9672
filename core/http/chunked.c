/* chunked - see chunked.h. */
#include "http/chunked.h"

const char *const CHUNKED_TRAILERS = "more trailers than limits.headers";
const char *const CHUNKED_EXTRA = "chunk extensions and trailers larger than limits.header";

enum state {
    SIZE,      /* hex digits */
    BLANK,     /* spaces after the digits */
    EXTENSION, /* up to the CR */
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    LINE,  /* first byte after the last chunk or after a trailer */
    NAME,  /* of a trailer */
    VALUE, /* of a trailer */
    VALUE_LF,
    LAST_LF,
    DONE,
};

void chunked_init(struct chunked *c, size_t extra_max, unsigned trailers_max)
{
    *c = (struct chunked){.extra_max = extra_max, .trailers_max = trailers_max, .state = SIZE};
}

static int chunked_hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = char_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool chunked_is_text(char byte)
{
    unsigned char c = (unsigned char)byte;
    return c == '\t' || (c >= 0x20 && c != 0x7f);
}

/* Parses a byte after the digits of a size: BWS, an extension, or the line's end (§7.1.1). */
static const char *chunked_parse_blank(struct chunked *c, char byte)
{
    c->state = BLANK;
    if (byte == '\r') {
        c->state = SIZE_LF;
        return NULL;
    }
    if (++c->extra > c->extra_max)
        return CHUNKED_EXTRA;
    if (byte == ';')
        c->state = EXTENSION;
    else if (byte != ' ' && byte != '\t')
        return "a chunk size that is not hexadecimal";
    return NULL;
}

static const char *chunked_parse_size(struct chunked *c, char byte)
{
    int digit = chunked_hex(byte);
    if (digit >= 0) {
        if (c->digits == 15)
            return "a chunk size with more than 15 digits";
        c->digits++;
        c->left = c->left << 4 | (unsigned)digit;
        return NULL;
    }
    if (c->digits == 0)
        return "a chunk without a size";
    return chunked_parse_blank(c, byte);
}

static const char *chunked_parse_extension(struct chunked *c, char byte)
{
    if (++c->extra > c->extra_max)
        return CHUNKED_EXTRA;
    if (byte == '\r')
        c->state = SIZE_LF;
    else if (!chunked_is_text(byte))
        return "a control byte in a chunk extension";
    return NULL;
}

static const char *chunked_parse_trailer(struct chunked *c, char byte)
{
    if (++c->extra > c->extra_max)
        return CHUNKED_EXTRA;
    if (c->state == LINE) {
        if (byte == '\r') {
            c->state = LAST_LF;
            return NULL;
        }
        if (++c->trailers > c->trailers_max)
            return CHUNKED_TRAILERS;
        c->state = NAME;
        return str_is_token((struct str){&byte, 1}) ? NULL : "a malformed trailer";
    }
    if (c->state == NAME) {
        if (byte == ':')
            c->state = VALUE;
        else if (!str_is_token((struct str){&byte, 1}))
            return "a malformed trailer";
        return NULL;
    }
    if (byte == '\r')
        c->state = VALUE_LF;
    else if (!chunked_is_text(byte))
        return "a control byte in a trailer";
    return NULL;
}

/* Checks a byte that has only one right value, and sets the next state. */
static const char *chunked_expect(struct chunked *c, char byte, char wanted, enum state next)
{
    c->state = (uint8_t)next;
    return byte == wanted ? NULL : "chunk framing that does not end in CRLF";
}

static const char *chunked_take(struct chunked *c, char byte)
{
    switch (c->state) {
    case SIZE:
        return chunked_parse_size(c, byte);
    case BLANK:
        return chunked_parse_blank(c, byte);
    case EXTENSION:
        return chunked_parse_extension(c, byte);
    case SIZE_LF:
        c->digits = 0;
        return chunked_expect(c, byte, '\n', c->left > 0 ? DATA : LINE);
    case DATA_CR:
        return chunked_expect(c, byte, '\r', DATA_LF);
    case DATA_LF:
        return chunked_expect(c, byte, '\n', SIZE);
    case VALUE_LF:
        return chunked_expect(c, byte, '\n', LINE);
    case LAST_LF:
        return chunked_expect(c, byte, '\n', DONE);
    default:
        return chunked_parse_trailer(c, byte);
    }
}

enum chunked_result chunked_feed(struct chunked *c, struct str *in, struct str *data,
                                 const char **err)
{
    while (in->n > 0 && c->state != DONE) {
        if (c->state == DATA) {
            size_t n = in->n < c->left ? in->n : (size_t)c->left;
            *data = (struct str){in->p, n};
            *in = str_skip(*in, n);
            c->left -= n;
            if (c->left == 0)
                c->state = DATA_CR;
            return CHUNKED_DATA;
        }
        *err = chunked_take(c, in->p[0]);
        if (*err != NULL)
            return CHUNKED_ERROR;
        *in = str_skip(*in, 1);
        if (c->state == DATA)
            return CHUNKED_SIZE;
    }
    return c->state == DONE ? CHUNKED_END : CHUNKED_MORE;
}
