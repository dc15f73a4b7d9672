/* Any stream of FastCGI records, from an application or from a web server. */
#include "fastcgi/record.h"
#include "fuzz.h"

struct told {
    struct digest digest;
    int type, id; /* of the event before; slices of one stream are one */
    const char *err;
    size_t used;
    bool idle;
};

static bool records_event(void *ctx, const struct fcgi_event *event)
{
    struct told *told = ctx;
    if (event->type == FCGI_END_REQUEST) {
        digest_number(&told->digest, event->id);
        digest_number(&told->digest, event->app_status);
        digest_number(&told->digest, event->protocol_status);
        told->type = 0;
        return true;
    }
    must(event->content.n > 0);
    if (told->type != (int)event->type || told->id != event->id)
        digest_number(&told->digest, (uint64_t)event->type << 16 | event->id);
    told->type = event->type;
    told->id = event->id;
    digest_bytes(&told->digest, event->content);
    return true;
}

static struct told records_feed(struct pieces p)
{
    struct told told = {0};
    struct fcgi_decoder decoder;
    struct str piece;
    fcgi_decoder_init(&decoder);
    while (told.err == NULL && pieces_next(&p, &piece)) {
        size_t used = SIZE_MAX;
        told.err = fcgi_feed(&decoder, piece.p, piece.n, &used, records_event, &told);
        must(used <= piece.n && (told.err != NULL || used == piece.n));
        told.used += used;
    }
    told.idle = fcgi_decoder_idle(&decoder);
    pieces_end(&p);
    return told;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct told whole = records_feed(pieces_of(data, size, true));
    struct told cut = records_feed(pieces_of(data, size, false));
    must((whole.err == NULL) == (cut.err == NULL));
    must(whole.digest.sum == cut.digest.sum);
    must(whole.err != NULL || whole.idle == cut.idle);
    return 0;
}
