/*
 * coder_test - each coder fed in slices of many sizes, with flushes between them: what comes is
 * decoded by the library of that coding, after each flush and at the end. Links the coders.
 */
#include "../test.h"
#include "http/coder.h"

#include <zlib.h>
#ifdef MG_BROTLI
#    include <brotli/decode.h>
#endif
#ifdef MG_ZSTD
#    include <zstd.h>
#endif

#define SIZE (1u << 18)

static char text[SIZE], made[2 * SIZE], back[2 * SIZE];
static size_t made_size;

static size_t decode_gzip(bool *whole)
{
    z_stream z = {.next_in = (unsigned char *)made, .avail_in = (unsigned)made_size};
    z.next_out = (unsigned char *)back;
    z.avail_out = sizeof back;
    if (inflateInit2(&z, 15 + 16) != Z_OK)
        abort();
    *whole = inflate(&z, Z_SYNC_FLUSH) == Z_STREAM_END;
    inflateEnd(&z);
    return sizeof back - z.avail_out;
}

#ifdef MG_BROTLI
static size_t decode_br(bool *whole)
{
    BrotliDecoderState *state = BrotliDecoderCreateInstance(NULL, NULL, NULL);
    const uint8_t *in = (const uint8_t *)made;
    uint8_t *out = (uint8_t *)back;
    size_t left = made_size, room = sizeof back;
    *whole = BrotliDecoderDecompressStream(state, &left, &in, &room, &out, NULL) ==
             BROTLI_DECODER_RESULT_SUCCESS;
    BrotliDecoderDestroyInstance(state);
    return sizeof back - room;
}
#endif

#ifdef MG_ZSTD
static size_t decode_zstd(bool *whole)
{
    ZSTD_DCtx *state = ZSTD_createDCtx();
    ZSTD_inBuffer in = {made, made_size, 0};
    ZSTD_outBuffer out = {back, sizeof back, 0};
    size_t left = 1;
    while (in.pos < in.size && !ZSTD_isError(left))
        left = ZSTD_decompressStream(state, &out, &in);
    *whole = left == 0;
    ZSTD_freeDCtx(state);
    return out.pos;
}
#endif

static size_t (*const decoders[CODINGS])(bool *whole) = {
    [CODING_GZIP] = decode_gzip,
#ifdef MG_BROTLI
    [CODING_BR] = decode_br,
#endif
#ifdef MG_ZSTD
    [CODING_ZSTD] = decode_zstd,
#endif
};

static void run(struct coder *coder, enum coder_order order, struct str in)
{
    bool more;
    do {
        more = coder_run(coder, order, &in);
        struct str out = coder_output(coder);
        if (made_size + out.n > sizeof made)
            abort();
        memcpy(made + made_size, out.p, out.n);
        made_size += out.n;
        if (more)
            check(out.n == CODER_OUT); /* the buffer was full, so each call gets on */
        coder_clear(coder);
    } while (more);
    check_int((int64_t)in.n, 0);
}

/* Codes `size` bytes in slices, with a flush behind each `flush` of these; 0: none. */
static void code(enum coding coding, unsigned level, size_t size, size_t slice, unsigned flush)
{
    struct coder *coder = coder_open(coding, level);
    bool whole;
    unsigned n = 0;
    made_size = 0;
    for (size_t at = 0; at < size; at += slice) {
        run(coder, CODER_FEED, (struct str){text + at, size - at < slice ? size - at : slice});
        if (flush == 0 || ++n % flush > 0)
            continue;
        run(coder, CODER_FLUSH, STR(""));
        size_t so_far = at + slice < size ? at + slice : size;
        check(decoders[coding](&whole) == so_far && !whole);
        check(memcmp(back, text, so_far) == 0);
    }
    run(coder, CODER_FINISH, STR(""));
    check(decoders[coding](&whole) == size && whole);
    check(memcmp(back, text, size) == 0);
    coder_close(coder);
}

static void fill(bool random)
{
    uint32_t state = 1;
    for (size_t i = 0; i < SIZE; i++) {
        state = state * 1664525 + 1013904223;
        text[i] =
            random ? (char)(state >> 24) : "some words, again and again\n"[i % 28 ^ state >> 31];
    }
}

static void test_coding(enum coding coding)
{
    static const size_t slices[] = {1, 7, 1000, 32768, 65536, SIZE};
    for (int random = 0; random < 2; random++) {
        fill(random);
        for (unsigned level = 1; level <= CODER_LEVELS; level += 4)
            for (size_t i = 0; i < sizeof slices / sizeof *slices; i++) {
                size_t size = slices[i] < 1000 ? 3000 : slices[i] * 9 < SIZE ? slices[i] * 9 : SIZE;
                code(coding, level, size, slices[i], 0);
                code(coding, level, size, slices[i], slices[i] < 1000 ? 100 : 2);
            }
        code(coding, 5, 0, 1, 0);
    }
}

static void test_memory(enum coding coding)
{
    struct coder *coders[1024];
    unsigned count = 0;
    while (count < 1024 && (coders[count] = coder_open(coding, 5)) != NULL)
        count++;
    check(count > 20 && count < 1024);
    check(coder_memory() <= CODER_MEMORY);
    while (count > 0)
        coder_close(coders[--count]);
    check(coder_memory() <= 17 * (3u << 20));
    code(coding, 5, 100000, 4096, 3); /* one that was used before */
}

int main(void)
{
    for (int i = CODING_GZIP; i < CODINGS; i++) {
        check(coder_knows((enum coding)i) == (decoders[i] != NULL));
        if (decoders[i] == NULL)
            continue;
        test(coding_name((enum coding)i).p);
        test_coding((enum coding)i);
        test("the memory of all");
        test_memory((enum coding)i);
    }
    return test_report();
}
