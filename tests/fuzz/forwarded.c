/* Any X-Forwarded-For or Forwarded, as the proxies before us may send it. */
#include "http/forwarded.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = malloc(size + 1);
    memcpy(copy, data, size);
    struct str list = {copy, size}, element;
    for (size_t before = list.n; forwarded_last(&list, &element); before = list.n) {
        struct peer peer;
        must(list.n < before && element.n > 0 && element.n <= size);
        if (forwarded_node(element, &peer) && peer_has_ip(&peer)) {
            char text[PEER_TEXT_SIZE];
            struct peer again;
            must(peer_parse(&again, (struct str){text, peer_text(&peer, text)}));
            must(peer_same_ip(&peer, &again));
        }
    }
    list = (struct str){copy, size};
    struct forwarded_hop hop;
    for (size_t before = list.n; forwarded_last_hop(&list, &hop); before = list.n) {
        must(list.n < before && hop.proto.n <= size && hop.host.n <= size);
        must(!hop.malformed || hop.peer.family == 0);
    }
    free(copy);
    return 0;
}
