/* Any content of PARAMS: what can be read of it can be written, and is read again as it was. */
#include "fastcgi/record.h"
#include "fuzz.h"

struct collected {
    char *bytes;
    size_t n;
    size_t records;
};

static bool params_event(void *ctx, const struct fcgi_event *event)
{
    struct collected *content = ctx;
    must(event->type == FCGI_PARAMS && event->id == 7);
    memcpy(content->bytes + content->n, event->content.p, event->content.n);
    content->n += event->content.n;
    return true;
}

/* No record ends inside a pair: PHP-FPM resets the connection where one does. */
static void params_check_records(struct str written)
{
    while (written.n > 0) {
        must(written.n >= FCGI_HEADER_SIZE);
        const uint8_t *head = (const uint8_t *)written.p;
        size_t content = (size_t)head[4] << 8 | head[5],
               size = FCGI_HEADER_SIZE + content + head[6];
        must(content > 0 && content + head[6] <= FCGI_CONTENT_MAX && size <= written.n);
        struct str pairs = {written.p + FCGI_HEADER_SIZE, content}, name, value;
        while (fcgi_pair_next(&pairs, &name, &value))
            continue;
        must(pairs.n == 0);
        written = (struct str){written.p + size, written.n - size};
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str in = {(const char *)data, size}, name, value;
    struct buf out;
    struct fcgi_pairs pairs;
    struct digest before = {0}, after = {0};
    buf_init(&out, 2 * size + 1024 * 1024);
    fcgi_pairs_init(&pairs, &out, FCGI_PARAMS, 7);
    while (fcgi_pair_next(&in, &name, &value)) {
        must(name.n + value.n <= size);
        digest_text(&before, name);
        digest_text(&before, value);
        fcgi_pairs_add(&pairs, name, value);
    }
    fcgi_pairs_end(&pairs);
    must(!out.overflow);
    if (!pairs.too_large) {
        struct str written = buf_peek(&out);
        struct collected content = {.bytes = malloc(written.n + 1)};
        struct fcgi_decoder decoder;
        size_t used;
        params_check_records(written);
        fcgi_decoder_init(&decoder);
        must(fcgi_feed(&decoder, written.p, written.n, &used, params_event, &content) == NULL);
        must(fcgi_decoder_idle(&decoder));
        struct str again = {content.bytes, content.n};
        while (fcgi_pair_next(&again, &name, &value)) {
            digest_text(&after, name);
            digest_text(&after, value);
        }
        must(again.n == 0 && before.sum == after.sum);
        free(content.bytes);
    }
    buf_fini(&out);
    return 0;
}
