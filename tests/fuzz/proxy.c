/* Any bytes where a header of the PROXY protocol is expected: the answer is the same whether all of
 * them have come or no more than the header. */
#include "front/proxyproto.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxyproto whole = {0};
    char *copy = malloc(size + 1);
    memcpy(copy, data, size);
    enum proxyproto_result result = proxyproto_read((struct str){copy, size}, &whole);
    free(copy);
    must(result != PROXYPROTO_MORE || size < PROXYPROTO_MAX);
    must(result != PROXYPROTO_ERROR || whole.err != NULL);
    must(result != PROXYPROTO_DONE || (whole.size > 0 && whole.size <= size));

    for (size_t n = 0; n < size && n < 600; n++) {
        struct proxyproto part = {0};
        copy = malloc(n + 1);
        memcpy(copy, data, n);
        enum proxyproto_result early = proxyproto_read((struct str){copy, n}, &part);
        free(copy);
        if (early == PROXYPROTO_MORE) {
            must(result != PROXYPROTO_DONE || n < whole.size);
            continue;
        }
        must(early == result);
        if (result == PROXYPROTO_DONE) {
            must(n >= whole.size && part.size == whole.size);
            must(part.announced == whole.announced && part.unknown == whole.unknown);
            must(peer_same_ip(&part.client, &whole.client));
            must(part.client.port == whole.client.port);
        }
        break;
    }
    return 0;
}
