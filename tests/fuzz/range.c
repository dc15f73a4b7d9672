/* Any Range header, for a file of any size: the first eight bytes of the input. */
#include "http/range.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t file_size;
    if (size < sizeof file_size)
        return 0;
    memcpy(&file_size, data, sizeof file_size);
    file_size >>= data[0] & 63;
    size -= sizeof file_size;
    char *copy = malloc(size + 1);
    memcpy(copy, data + sizeof file_size, size);

    struct range ranges[RANGE_MAX];
    unsigned count = 0;
    if (range_parse((struct str){copy, size}, file_size, ranges, &count) == RANGE_SOME) {
        must(count >= 1 && count <= RANGE_MAX);
        for (unsigned i = 0; i < count; i++) {
            must(ranges[i].first <= ranges[i].last && ranges[i].last < file_size);
            must(i == 0 || (ranges[i].first > ranges[i - 1].last &&
                            ranges[i].first - ranges[i - 1].last > 1));
        }
    }
    free(copy);
    return 0;
}
