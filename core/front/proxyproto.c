/* proxyproto - see proxyproto.h. */
#include "front/proxyproto.h"

#define V1_MAX       107 /* bytes of the longest line, with its CRLF */
#define V2_SIZE      16  /* bytes before the addresses */
#define V2_LOCAL     0x20
#define V2_PROXY     0x21
#define INET_SIZE    12 /* two addresses, two ports */
#define INET6_SIZE   36
#define UNIX_SIZE    216
#define FAMILY(byte) ((byte) >> 4)

static const char signature[12] = {'\r', '\n', '\r', '\n', '\0', '\r',
                                   '\n', 'Q',  'U',  'I',  'T',  '\n'};

static enum proxyproto_result proxyproto_fail(struct proxyproto *out, const char *err)
{
    out->err = err;
    return PROXYPROTO_ERROR;
}

/* --- version 1: a line of text --- */

static bool proxyproto_read_port(struct str text, uint16_t *port)
{
    uint64_t value;
    if (text.n == 0 || text.n > 5 || (text.n > 1 && text.p[0] == '0') ||
        !str_to_u64(text, &value) || value > UINT16_MAX)
        return false;
    *port = (uint16_t)value;
    return true;
}

/* Reads an address: IPv4 of "TCP4", IPv6 of "TCP6", which may be a mapped one. */
static bool proxyproto_read_v1_address(struct str text, bool v6, struct peer *out)
{
    return text.p != NULL && (memchr(text.p, ':', text.n) != NULL) == v6 && peer_parse(out, text);
}

static enum proxyproto_result proxyproto_read_v1_line(struct str line, struct proxyproto *out)
{
    str_cut(&line, ' '); /* "PROXY" */
    struct str family = str_cut(&line, ' ');
    if (str_eq(family, STR("UNKNOWN"))) { /* the rest of the line has no meaning */
        out->unknown = true;
        return PROXYPROTO_DONE;
    }
    bool v6 = str_eq(family, STR("TCP6"));
    if (!v6 && !str_eq(family, STR("TCP4")))
        return proxyproto_fail(out, "a PROXY line that is neither of TCP4, TCP6 nor UNKNOWN");
    struct str fields[4];
    for (int i = 0; i < 4; i++)
        fields[i] = line.p != NULL ? str_cut(&line, ' ') : STR_NONE;
    if (line.p != NULL || !proxyproto_read_v1_address(fields[0], v6, &out->client) ||
        !proxyproto_read_v1_address(fields[1], v6, &out->local) ||
        !proxyproto_read_port(fields[2], &out->client.port) ||
        !proxyproto_read_port(fields[3], &out->local.port))
        return proxyproto_fail(out, "a PROXY line without two addresses and two ports");
    out->announced = true;
    return PROXYPROTO_DONE;
}

static enum proxyproto_result proxyproto_read_v1(struct str in, struct proxyproto *out)
{
    size_t looked_at = in.n < V1_MAX ? in.n : V1_MAX;
    const char *end = memmem(in.p, looked_at, "\r\n", 2);
    if (end == NULL && in.n < V1_MAX)
        return PROXYPROTO_MORE;
    if (end == NULL)
        return proxyproto_fail(out, "a PROXY line of more than 107 bytes");
    out->size = (size_t)(end - in.p) + 2;
    return proxyproto_read_v1_line((struct str){in.p, out->size - 2}, out);
}

/* --- version 2: binary --- */

static uint16_t proxyproto_number16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static void proxyproto_read_addresses(const uint8_t *at, int family, size_t size,
                                      struct proxyproto *out)
{
    peer_set_ip(&out->client, family, at);
    peer_set_ip(&out->local, family, at + size);
    out->client.port = proxyproto_number16(at + 2 * size);
    out->local.port = proxyproto_number16(at + 2 * size + 2);
    out->announced = true;
}

/* Reads the addresses of a version 2 header. The lower half of the family byte is stream or
 * datagram; both are accepted, since a balancer that terminates HTTP/3 announces clients with
 * datagrams. */
static enum proxyproto_result proxyproto_read_v2_addresses(uint8_t family, const uint8_t *at,
                                                           size_t size, struct proxyproto *out)
{
    static const size_t least[] = {0, INET_SIZE, INET6_SIZE, UNIX_SIZE};
    if (FAMILY(family) > 3 || (family & 0xf) > 2 || (FAMILY(family) == 0) != ((family & 0xf) == 0))
        return proxyproto_fail(out, "a PROXY header of an unknown family");
    if (size < least[FAMILY(family)])
        return proxyproto_fail(out, "a PROXY header that is shorter than its addresses");
    out->unknown = FAMILY(family) == 0;
    if (FAMILY(family) == 1) {
        proxyproto_read_addresses(at, AF_INET, 4, out);
    } else if (FAMILY(family) == 2) {
        proxyproto_read_addresses(at, AF_INET6, 16, out);
    } else if (FAMILY(family) == 3) {
        out->client = out->local = (struct peer){.family = AF_UNIX};
        out->announced = true;
    }
    return PROXYPROTO_DONE;
}

static enum proxyproto_result proxyproto_read_v2(struct str in, struct proxyproto *out)
{
    const uint8_t *bytes = (const uint8_t *)in.p;
    if (in.n < V2_SIZE)
        return PROXYPROTO_MORE;
    uint8_t command = bytes[12];
    size_t size = proxyproto_number16(bytes + 14);
    if (command != V2_LOCAL && command != V2_PROXY)
        return proxyproto_fail(out, "a PROXY header of an unknown version or command");
    if (V2_SIZE + size > PROXYPROTO_MAX)
        return proxyproto_fail(out, "a PROXY header of more than 4096 bytes");
    if (in.n < V2_SIZE + size)
        return PROXYPROTO_MORE;
    out->size = V2_SIZE + size;
    if (command == V2_LOCAL)
        return PROXYPROTO_DONE;
    return proxyproto_read_v2_addresses(bytes[13], bytes + V2_SIZE, size, out);
}

/* --- either --- */

/* True when the bytes of `in`, as far as they have come, begin with `what`. */
static bool proxyproto_begins_with(struct str in, struct str what)
{
    return memcmp(in.p, what.p, in.n < what.n ? in.n : what.n) == 0;
}

enum proxyproto_result proxyproto_read(struct str in, struct proxyproto *out)
{
    struct str v1 = STR("PROXY "), v2 = {signature, sizeof signature};
    *out = (struct proxyproto){.size = 0};
    if (in.n == 0)
        return PROXYPROTO_MORE;
    if (proxyproto_begins_with(in, v1))
        return in.n < v1.n ? PROXYPROTO_MORE : proxyproto_read_v1(in, out);
    if (proxyproto_begins_with(in, v2))
        return in.n < v2.n ? PROXYPROTO_MORE : proxyproto_read_v2(in, out);
    return proxyproto_fail(out, "no PROXY header, which this listener requires");
}
