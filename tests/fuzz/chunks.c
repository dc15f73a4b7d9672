/* Any body in chunks. */
#include "fuzz.h"
#include "http/chunked.h"

struct told {
    enum chunked_result result;
    struct digest body;
    uint64_t size, announced;
    size_t used;
};

static struct told chunks_feed(struct pieces p)
{
    struct told told = {.result = CHUNKED_MORE};
    struct chunked chunked;
    struct str piece;
    chunked_init(&chunked, 200, 4);
    while (told.result != CHUNKED_END && told.result != CHUNKED_ERROR && pieces_next(&p, &piece)) {
        struct str in = piece;
        do {
            const char *err = NULL;
            struct str data = STR_NONE;
            size_t before = in.n;
            told.result = chunked_feed(&chunked, &in, &data, &err);
            must(in.n <= before);
            switch (told.result) {
            case CHUNKED_SIZE:
                must(chunked.left > 0);
                told.announced += chunked.left;
                break;
            case CHUNKED_DATA:
                must(data.n > 0 && data.n <= before);
                digest_bytes(&told.body, data);
                told.size += data.n;
                must(told.size <= told.announced);
                break;
            case CHUNKED_MORE:
                must(in.n == 0);
                break;
            case CHUNKED_END:
                must(told.size == told.announced);
                break;
            case CHUNKED_ERROR:
                must(err != NULL);
                break;
            }
        } while (told.result == CHUNKED_SIZE || told.result == CHUNKED_DATA);
        told.used += piece.n - in.n;
    }
    pieces_end(&p);
    return told;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct told whole = chunks_feed(pieces_of(data, size, true));
    struct told cut = chunks_feed(pieces_of(data, size, false));
    must(whole.result == cut.result);
    must(whole.result == CHUNKED_ERROR || whole.used == cut.used);
    must(whole.size == cut.size && whole.body.sum == cut.body.sum);
    return 0;
}
