/* observed - see observed.h. */
#include "http/observed.h"

#include <zlib.h>

void observed_begin(struct observed *o)
{
    o->status = 0;
    o->headers = (struct headers){0};
    o->length = o->crc32 = 0;
    o->whole = false;
    o->messages_size = 0;
}

void observed_head(struct observed *o, struct arena *a, const struct response *response)
{
    o->status = response->status;
    o->headers = (struct headers){0};
    for (unsigned i = 0; i < response->headers.count; i++) {
        const struct header *h = &response->headers.list[i];
        headers_add_known(a, &o->headers, h->id, h->name, h->value);
    }
}

void observed_body(struct observed *o, struct str bytes)
{
    o->length += bytes.n;
    o->crc32 = crc32_z(o->crc32, (const unsigned char *)bytes.p, bytes.n);
}

void observed_stderr(struct observed *o, struct str bytes)
{
    size_t room = sizeof o->messages - o->messages_size;
    size_t n = bytes.n < room ? bytes.n : room;
    memcpy(o->messages + o->messages_size, bytes.p, n);
    o->messages_size += n;
}
