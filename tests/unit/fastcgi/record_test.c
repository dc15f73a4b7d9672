/*
 * fcgi_test - the record codec: every input at every split, both sides of every boundary. What is
 * encoded is read back by a strict reader of our own. Links fcgi, buf and str.
 */
#include "../test.h"
#include "fastcgi/record.h"

/* --- records by hand --- */

struct bytes {
    char *p;
    size_t n, room;
};

static void put(struct bytes *b, const void *bytes, size_t n)
{
    if (b->n + n > b->room) {
        b->room = (b->n + n) * 2;
        b->p = realloc(b->p, b->room);
        if (b->p == NULL)
            abort();
    }
    if (n > 0)
        memcpy(b->p + b->n, bytes, n);
    b->n += n;
}

static void put_record(struct bytes *b, int version, int type, int id, const char *content,
                       size_t n, int padding)
{
    unsigned char header[8] = {(unsigned char)version,   (unsigned char)type,
                               (unsigned char)(id >> 8), (unsigned char)id,
                               (unsigned char)(n >> 8),  (unsigned char)n,
                               (unsigned char)padding,   0xee /* reserved: may be anything */};
    char pad[255];
    memset(pad, 0x01, sizeof pad); /* would pass for a version, if it were read as a header */
    put(b, header, 8);
    put(b, content, n);
    put(b, pad, (size_t)padding);
}

static void put_text(struct bytes *b, int type, const char *content, int padding)
{
    put_record(b, 1, type, 1, content, strlen(content), padding);
}

static void put_end(struct bytes *b, int padding)
{
    /* The three bytes at the end are garbage in PHP-FPM. */
    put_record(b, 1, FCGI_END_REQUEST, 1, "\x81\x02\x03\x04\x02\xaa\xbb\xcc", 8, padding);
}

/* --- what the decoder tells --- */

struct trace {
    char text[2048]; /* one word per event; slices of one stream are joined */
    size_t n;
    int type, id;   /* of the event before; 0: none */
    uint64_t total; /* bytes of content */
    uint32_t sum;   /* over the content, in order */
    bool stop_at_end;
    bool stopped;
    int stop_after; /* slices; 0: never */
    int empty;      /* slices without content: there should be none */
};

static void say(struct trace *t, const char *bytes, size_t n)
{
    if (n > sizeof t->text - 1 - t->n)
        n = sizeof t->text - 1 - t->n;
    memcpy(t->text + t->n, bytes, n);
    t->n += n;
    t->text[t->n] = '\0';
}

static bool on_event(void *ctx, const struct fcgi_event *e)
{
    struct trace *t = ctx;
    char word[80];
    if (e->type == FCGI_END_REQUEST) {
        snprintf(word, sizeof word, " END:%d:%08x:%d", e->id, e->app_status, e->protocol_status);
        say(t, word, strlen(word));
        t->type = 0;
        t->stopped = t->stop_at_end;
        return !t->stopped;
    }
    if (e->content.n == 0)
        t->empty++;
    if (t->type != (int)e->type || t->id != e->id) {
        snprintf(word, sizeof word, " %d:%d:", e->type, e->id);
        say(t, word, strlen(word));
    }
    t->type = e->type;
    t->id = e->id;
    t->total += e->content.n;
    for (size_t i = 0; i < e->content.n; i++)
        t->sum = t->sum * 31 + (unsigned char)e->content.p[i];
    if (e->content.n < 100)
        say(t, e->content.p, e->content.n);
    return t->stop_after == 0 || --t->stop_after > 0;
}

struct run {
    struct trace trace;
    const char *err;
    size_t used; /* of the whole input */
    bool idle;
};

static bool feed_some(struct fcgi_decoder *d, struct run *run, const char *bytes, size_t n)
{
    char *copy = test_copy(bytes, n);
    size_t used = 12345;
    run->err = fcgi_feed(d, copy, n, &used, on_event, &run->trace);
    run->used += used;
    free(copy);
    return run->err == NULL && !run->trace.stopped && used == n;
}

/* Feeds the input in three parts, a and b being where it is cut. */
static struct run feed_split(const struct bytes *in, size_t a, size_t b, bool stop_at_end)
{
    struct fcgi_decoder d;
    struct run run = {.trace.stop_at_end = stop_at_end};
    fcgi_decoder_init(&d);
    if (feed_some(&d, &run, in->p, a) && feed_some(&d, &run, in->p + a, b - a))
        feed_some(&d, &run, in->p + b, in->n - b);
    run.idle = fcgi_decoder_idle(&d);
    return run;
}

static bool same(const struct run *x, const struct run *y)
{
    return (x->err == NULL) == (y->err == NULL) && x->trace.n == y->trace.n &&
           memcmp(x->trace.text, y->trace.text, x->trace.n) == 0 &&
           x->trace.total == y->trace.total && x->trace.sum == y->trace.sum && x->idle == y->idle;
}

/* Every split, every pair of splits where the input is small, and byte by byte. */
static void check_splits(const struct bytes *in, const char *want, bool good)
{
    struct run whole = feed_split(in, in->n, in->n, false);
    check_str(str_of(whole.trace.text), want);
    check_int(whole.err == NULL, good);
    check_int(whole.trace.empty, 0);
    if (good) {
        check_int((int64_t)whole.used, (int64_t)in->n);
        check(whole.idle);
    }
    for (size_t a = 0; a <= in->n; a++) {
        for (size_t b = in->n <= 300 ? a : in->n; b <= in->n; b++) {
            struct run run = feed_split(in, a, b, false);
            if (!check(same(&run, &whole)) || !check_int(run.trace.empty, 0)) {
                fprintf(stderr, "    cut at %zu and %zu: \"%s\", %s\n", a, b, run.trace.text,
                        run.err != NULL ? run.err : "no error");
                return;
            }
        }
    }
    struct fcgi_decoder d;
    struct run run = {.err = NULL};
    fcgi_decoder_init(&d);
    for (size_t i = 0; i < in->n && run.err == NULL; i++)
        feed_some(&d, &run, in->p + i, 1);
    run.idle = fcgi_decoder_idle(&d);
    check(same(&run, &whole));
    check_int(run.trace.empty, 0);
}

static void clear(struct bytes *b)
{
    free(b->p);
    *b = (struct bytes){0};
}

/* --- the decoder --- */

static void test_decode(void)
{
    struct bytes in = {0};
    test("decode: an answer");
    put_text(&in, FCGI_STDOUT, "hello ", 0);
    put_text(&in, FCGI_STDOUT, "world", 0);
    put_end(&in, 0);
    check_splits(&in, " 6:1:hello world END:1:81020304:2", true);
    clear(&in);

    test("decode: padding is dropped, even behind nothing");
    put_text(&in, FCGI_STDOUT, "a", 7);
    put_text(&in, FCGI_STDOUT, "", 8);
    put_text(&in, FCGI_STDERR, "b", 1);
    put_text(&in, FCGI_STDERR, "", 0);
    put_text(&in, FCGI_STDOUT, "", 255);
    put_end(&in, 3);
    check_splits(&in, " 6:1:a 7:1:b END:1:81020304:2", true);
    clear(&in);

    test("decode: 255 bytes of padding everywhere");
    put_text(&in, FCGI_STDOUT, "abc", 255);
    put_end(&in, 255);
    check_splits(&in, " 6:1:abc END:1:81020304:2", true);
    clear(&in);

    test("decode: ids, management records and types that nobody knows");
    put_record(&in, 1, FCGI_STDOUT, 65535, "x", 1, 0);
    put_record(&in, 1, FCGI_STDOUT, 256, "y", 1, 0);
    put_record(&in, 1, FCGI_GET_VALUES_RESULT, 0,
               "\x01\x01"
               "ab",
               4, 4);
    put_record(&in, 1, FCGI_UNKNOWN_TYPE, 0, "\x0c.......", 8, 0);
    put_record(&in, 1, 77, 0, "z", 1, 2);
    put_record(&in, 1, 0, 0, "0", 1, 0);
    put_record(&in, 1, 255, 1, "!", 1, 0);
    check_splits(&in,
                 " 6:65535:x 6:256:y 10:0:\x01\x01"
                 "ab 11:0:\x0c....... 77:0:z 0:0:0 255:1:!",
                 true);
    clear(&in);

    test("decode: one END_REQUEST after the other");
    put_end(&in, 0);
    put_record(&in, 1, FCGI_END_REQUEST, 2, "\0\0\0\0\0\0\0\0", 8, 0);
    check_splits(&in, " END:1:81020304:2 END:2:00000000:0", true);
    clear(&in);
}

static void test_bad_records(void)
{
    struct bytes in = {0};
    test("decode: not a record at all");
    put(&in, "HTTP/1.1 200 OK\r\n\r\n", 19);
    check_splits(&in, "", false);
    clear(&in);

    test("decode: a wrong version, at first and later");
    for (int version = 0; version < 256; version++) {
        if (version == 1)
            continue;
        put_record(&in, version, FCGI_STDOUT, 1, "hello", 5, 0);
        struct run run = feed_split(&in, in.n, in.n, false);
        bool ok = check(run.err != NULL) && check_str(str_of(run.trace.text), "");
        clear(&in);
        if (!ok)
            break;
    }
    put_text(&in, FCGI_STDOUT, "a", 3);
    put_record(&in, 2, FCGI_STDOUT, 1, "b", 1, 0);
    check_splits(&in, " 6:1:a", false);
    clear(&in);

    static const size_t sizes[] = {0, 1, 7, 9, 16, 300, 65535};
    char content[65535] = {0};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char name[80];
        snprintf(name, sizeof name, "decode: an END_REQUEST of %zu bytes", sizes[i]);
        test(name);
        put_text(&in, FCGI_STDOUT, "a", 0);
        put_record(&in, 1, FCGI_END_REQUEST, 1, content, sizes[i], 1);
        if (sizes[i] < 1000)
            check_splits(&in, " 6:1:a", false);
        struct run run = feed_split(&in, 10, 12, false);
        check(run.err != NULL);
        check_str(str_of(run.trace.text), " 6:1:a");
        clear(&in);
    }
}

static void test_incomplete(void)
{
    struct bytes in = {0};
    size_t used;
    test("decode: idle between records only");
    put_text(&in, FCGI_STDOUT, "ab", 2);
    put_end(&in, 1);
    for (size_t n = 0; n <= in.n; n++) {
        struct bytes part = {.p = in.p, .n = n};
        struct run run = feed_split(&part, n, n, false);
        if (!check(run.err == NULL) || !check_int(run.idle, n == 0 || n == 12 || n == in.n))
            fprintf(stderr, "    after %zu bytes\n", n);
    }
    clear(&in);

    test("decode: a record without content and padding leaves it idle");
    put_text(&in, FCGI_STDOUT, "", 0);
    struct run run = feed_split(&in, in.n, in.n, false);
    check(run.err == NULL && run.idle);
    clear(&in);

    test("decode: no bytes are no error");
    struct fcgi_decoder d;
    fcgi_decoder_init(&d);
    check(fcgi_feed(&d, "", 0, &used, on_event, &run.trace) == NULL);
    check_int((int64_t)used, 0);
    check(fcgi_decoder_idle(&d));
}

static void test_large(void)
{
    static const size_t sizes[] = {1, 7, 8, 9, 4096, 32768, 65534, 65535, 65536, 70000};
    struct bytes in = {0};
    char *content = malloc(65535);
    for (size_t i = 0; i < 65535; i++)
        content[i] = (char)(i * 7 % 251);
    test("decode: 65,535 bytes of content with 255 of padding");
    put_record(&in, 1, FCGI_STDOUT, 1, content, 65535, 255);
    put_record(&in, 1, FCGI_STDERR, 1, content, 65535, 0);
    put_record(&in, 1, FCGI_STDOUT, 1, content, 65528, 8);
    put_end(&in, 0);
    struct run whole = feed_split(&in, in.n, in.n, false);
    check(whole.err == NULL);
    check_int((int64_t)whole.trace.total, 65535 * 2 + 65528);
    check_str(str_of(whole.trace.text), " 6:1: 7:1: 6:1: END:1:81020304:2");
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct fcgi_decoder d;
        struct run run = {.err = NULL};
        fcgi_decoder_init(&d);
        for (size_t at = 0; at < in.n && run.err == NULL; at += sizes[i])
            feed_some(&d, &run, in.p + at, sizes[i] < in.n - at ? sizes[i] : in.n - at);
        check(run.err == NULL && fcgi_decoder_idle(&d));
        check(run.trace.total == whole.trace.total && run.trace.sum == whole.trace.sum);
        check_int(run.trace.empty, 0);
        check_int((int64_t)run.used, (int64_t)in.n);
    }
    /* Around the borders of header, content and padding, every cut. */
    static const size_t borders[] = {0, 8, 65543, 65798, 65806};
    for (size_t i = 0; i < sizeof borders / sizeof *borders; i++) {
        for (size_t a = borders[i] > 9 ? borders[i] - 9 : 0; a < borders[i] + 9; a++) {
            struct run run = feed_split(&in, a, a + 1, false);
            if (!check(run.err == NULL) || !check(run.trace.sum == whole.trace.sum))
                return;
        }
    }
    clear(&in);
    free(content);
}

static void test_stop(void)
{
    struct bytes in = {0};
    test("decode: END_REQUEST stops it, the bytes behind stay with the caller");
    put_text(&in, FCGI_STDOUT, "ab", 1);
    put_end(&in, 5);
    size_t end = in.n;
    put_text(&in, FCGI_STDOUT, "more", 0);
    put(&in, "garbage", 7);
    for (size_t a = 0; a <= in.n; a++) {
        for (size_t b = a; b <= in.n; b++) {
            struct run run = feed_split(&in, a, b, true);
            bool ok = check(run.err == NULL) && check(run.idle) &&
                      check_int((int64_t)run.used, (int64_t)end) &&
                      check_str(str_of(run.trace.text), " 6:1:ab END:1:81020304:2");
            if (!ok) {
                fprintf(stderr, "    cut at %zu and %zu\n", a, b);
                clear(&in);
                return;
            }
        }
    }

    test("decode: END_REQUEST is told once it is there, padding and all");
    for (size_t n = end - 13; n < end; n++) {
        struct bytes part = {.p = in.p, .n = n};
        struct run run = feed_split(&part, n, n, true);
        check(run.err == NULL && !run.idle);
        check_str(str_of(run.trace.text), " 6:1:ab");
    }

    test("decode: behind END_REQUEST it can be fed on");
    struct fcgi_decoder d;
    struct run run = {.trace.stop_at_end = true};
    fcgi_decoder_init(&d);
    feed_some(&d, &run, in.p, in.n);
    run.trace.stopped = false;
    feed_some(&d, &run, in.p + run.used, 12);
    check(run.err == NULL && fcgi_decoder_idle(&d));
    check_str(str_of(run.trace.text), " 6:1:ab END:1:81020304:2 6:1:more");
    clear(&in);

    test("decode: stopped at content, it tells nothing more");
    put_text(&in, FCGI_STDOUT, "abc", 4);
    end = in.n;
    put_text(&in, FCGI_STDOUT, "def", 0);
    run = (struct run){.trace.stop_after = 1};
    fcgi_decoder_init(&d);
    feed_some(&d, &run, in.p, in.n);
    check(run.err == NULL);
    check(run.used >= 11 && run.used <= end);
    check_str(str_of(run.trace.text), " 6:1:abc");
    clear(&in);
}

/* --- the encoder --- */

static void test_small_records(void)
{
    struct buf b;
    test("encode: BEGIN_REQUEST");
    buf_init(&b, 1000);
    fcgi_begin(&b, 0x1234, FCGI_RESPONDER, FCGI_KEEP_CONN);
    struct str s = buf_peek(&b);
    check(s.n == 16 && memcmp(s.p,
                              "\1\1\x12\x34\0\x08\0\0"
                              "\0\1\1\0\0\0\0\0",
                              16) == 0);
    buf_fini(&b);
    fcgi_begin(&b, 1, FCGI_FILTER, 0);
    s = buf_peek(&b);
    check(s.n == 16 && memcmp(s.p,
                              "\1\1\0\1\0\x08\0\0"
                              "\0\3\0\0\0\0\0\0",
                              16) == 0);
    buf_fini(&b);

    test("encode: the end of a stream");
    fcgi_empty(&b, FCGI_STDIN, 258);
    s = buf_peek(&b);
    check(s.n == 8 && memcmp(s.p, "\1\5\1\2\0\0\0\0", 8) == 0);
    buf_fini(&b);

    test("encode: headers");
    static const size_t sizes[] = {0, 1, 255, 256, 32768, 65534, 65535};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint8_t h[FCGI_HEADER_SIZE];
        fcgi_header(h, FCGI_STDIN, 65535, sizes[i]);
        check(h[0] == 1 && h[1] == FCGI_STDIN && h[2] == 255 && h[3] == 255 && h[6] == 0 &&
              h[7] == 0);
        check_int(h[4] * 256 + h[5], (int64_t)sizes[i]);
    }

    test("encode: the lengths of names and values on both sides of 128");
    struct fcgi_pairs p;
    char text[200];
    memset(text, 'v', sizeof text);
    fcgi_pairs_init(&p, &b, FCGI_PARAMS, 1);
    fcgi_pairs_add(&p, STR("N"), (struct str){text, 127});
    fcgi_pairs_add(&p, STR("M"), (struct str){text, 128});
    fcgi_pairs_add(&p, (struct str){text, 128}, STR(""));
    fcgi_pairs_add(&p, STR("E"), STR_NONE);
    fcgi_pairs_end(&p);
    s = buf_peek(&b);
    size_t content = 2 + 1 + 127 + 5 + 1 + 128 + 5 + 128 + 3;
    if (check_int((int64_t)s.n, (int64_t)(8 + content))) {
        const char *at = s.p + 8;
        check_int((uint8_t)s.p[4] * 256 + (uint8_t)s.p[5], (int64_t)content);
        check(memcmp(at, "\x01\x7fNvvv", 6) == 0);
        at += 2 + 1 + 127;
        check(memcmp(at, "\x01\x80\0\0\x80Mvvv", 9) == 0);
        at += 5 + 1 + 128;
        check(memcmp(at, "\x80\0\0\x80\0vvv", 8) == 0);
        at += 5 + 128;
        check(memcmp(at, "\x01\0E", 3) == 0);
    }
    buf_fini(&b);
}

/* A stream of PARAMS read back: every record whole, every pair within one record. */
struct pairs_read {
    unsigned pairs, records;
    size_t largest; /* record, in bytes of content */
    uint32_t sum;
    bool bad;
};

static uint32_t add_sum(uint32_t sum, struct str s)
{
    sum = sum * 31 + (uint32_t)s.n;
    for (size_t i = 0; i < s.n; i++)
        sum = sum * 31 + (unsigned char)s.p[i];
    return sum;
}

static struct pairs_read read_pairs(struct str in)
{
    struct pairs_read r = {0};
    while (in.n > 0) {
        const unsigned char *h = (const unsigned char *)in.p;
        size_t content = in.n >= 8 ? (size_t)h[4] << 8 | h[5] : 0;
        if (in.n < 8 || h[0] != 1 || h[1] != FCGI_PARAMS || h[6] != 0 || in.n - 8 < content ||
            content == 0) { /* an empty record would end the stream */
            r.bad = true;
            return r;
        }
        struct str rest = {in.p + 8, content}, name, value;
        unsigned before = r.pairs;
        while (fcgi_pair_next(&rest, &name, &value)) {
            r.sum = add_sum(add_sum(r.sum, name), value);
            r.pairs++;
        }
        if (rest.n > 0 || (content > FCGI_RECORD_MAX && r.pairs - before != 1))
            r.bad = true;
        if (content > r.largest)
            r.largest = content;
        r.records++;
        in = str_skip(in, 8 + content);
    }
    return r;
}

/* Encodes a pair of that name and value size between two small ones, and reads all back. */
static void check_pair(size_t name_size, size_t value_size, bool fits)
{
    struct fcgi_pairs p;
    struct buf b;
    char *text = malloc(140000);
    memset(text, 'x', 140000);
    struct str name = {text, name_size}, value = {text, value_size};
    uint32_t sum = add_sum(add_sum(0, STR("A")), STR("1"));
    buf_init(&b, 1 << 20);
    fcgi_pairs_init(&p, &b, FCGI_PARAMS, 1);
    fcgi_pairs_add(&p, STR("A"), STR("1"));
    fcgi_pairs_add(&p, name, value);
    fcgi_pairs_add(&p, STR("B"), STR("2"));
    fcgi_pairs_end(&p);
    if (fits)
        sum = add_sum(add_sum(sum, name), value);
    sum = add_sum(add_sum(sum, STR("B")), STR("2"));
    struct pairs_read r = read_pairs(buf_peek(&b));
    if (!(check(!r.bad) && check_int(p.too_large, !fits) && check_int(r.pairs, fits ? 3 : 2) &&
          check(r.sum == sum)))
        fprintf(stderr, "    name %zu, value %zu\n", name_size, value_size);
    buf_fini(&b);
    free(text);
}

static void test_pair_sizes(void)
{
    static const size_t sizes[] = {0,     1,     126,   127,   128,   129,   255,
                                   256,   16383, 32749, 32758, 32759, 32760, 32761,
                                   32762, 32767, 32768, 32769, 65500, 65524};
    test("encode: names and values of any size, read back");
    for (size_t i = 1; i < sizeof sizes / sizeof *sizes; i++)
        for (size_t j = 0; j < sizeof sizes / sizeof *sizes; j++) {
            size_t all = sizes[i] + sizes[j] + (sizes[i] < 128 ? 1 : 4) + (sizes[j] < 128 ? 1 : 4);
            check_pair(sizes[i], sizes[j], all <= 65535);
        }

    test("encode: a pair of 65,535 bytes fits, one of 65,536 does not and leaves no trace");
    for (size_t name = 1; name < 300; name++) {
        size_t rest = 65535 - (name < 128 ? 1 : 4) - 4 - name;
        check_pair(name, rest, true);
        check_pair(name, rest + 1, false);
    }
    check_pair(1, 65535, false);
    check_pair(1, 65536, false);
    check_pair(1, 131072, false); /* would be 0 in sixteen bits */
    check_pair(65536, 1, false);
    check_pair(70000, 70000, false);
}

static void test_records(void)
{
    struct fcgi_pairs p;
    struct buf b;
    char value[100];
    memset(value, 'v', sizeof value);
    test("encode: many pairs are packed into records of up to 32 KB");
    buf_init(&b, 1 << 20);
    fcgi_pairs_init(&p, &b, FCGI_PARAMS, 1);
    uint32_t sum = 0;
    for (int i = 0; i < 5000; i++) {
        char name[20];
        snprintf(name, sizeof name, "NAME_%d", i);
        struct str v = {value, (size_t)(i * 7 % 100)};
        fcgi_pairs_add(&p, str_of(name), v);
        sum = add_sum(add_sum(sum, str_of(name)), v);
    }
    fcgi_pairs_end(&p);
    struct pairs_read r = read_pairs(buf_peek(&b));
    check(!r.bad && r.sum == sum);
    check_int(r.pairs, 5000);
    check(r.largest <= FCGI_RECORD_MAX);
    check(r.largest > FCGI_RECORD_MAX - 200);
    check_int(r.records, (int64_t)((buf_len(&b) - 8 * r.records + 32767) / 32768));
    buf_fini(&b);

    test("encode: a record is filled to its last byte and not one more");
    for (size_t more = 0; more < 3; more++) {
        char *big = malloc(FCGI_RECORD_MAX);
        memset(big, 'b', FCGI_RECORD_MAX);
        fcgi_pairs_init(&p, &b, FCGI_PARAMS, 1);
        fcgi_pairs_add(&p, STR("A"), (struct str){big, 32760 - 1 - 5 + more}); /* 1 + 4 + 1 + n */
        fcgi_pairs_add(&p, STR("BB"), STR("CCCC"));                            /* 8 bytes */
        fcgi_pairs_end(&p);
        r = read_pairs(buf_peek(&b));
        check(!r.bad);
        check_int(r.pairs, 2);
        check_int(r.records, more > 0 ? 2 : 1);
        buf_fini(&b);
        free(big);
    }

    test("encode: pairs go behind what is in the buf, also where its head was consumed");
    for (int i = 0; i < 300; i++) {
        fcgi_begin(&b, 1, FCGI_RESPONDER, 0);
        if (i == 200)
            buf_consume(&b, 16 * 100);
    }
    buf_consume(&b, 16 * 200 - 16);
    fcgi_pairs_init(&p, &b, FCGI_PARAMS, 1);
    for (int i = 0; i < 3000; i++)
        fcgi_pairs_add(&p, STR("NAME"), STR("value"));
    fcgi_pairs_end(&p);
    struct str s = buf_peek(&b);
    check(s.n > 16 && s.p[1] == FCGI_BEGIN_REQUEST);
    r = read_pairs(str_skip(s, 16));
    check(!r.bad);
    check_int(r.pairs, 3000);
    buf_fini(&b);

    test("encode: no pairs, no record");
    fcgi_pairs_init(&p, &b, FCGI_PARAMS, 1);
    fcgi_pairs_end(&p);
    check_int((int64_t)buf_len(&b), 0);
    buf_fini(&b);

    test("encode: a buf that is too small overflows, wherever that happens");
    for (size_t max = 0; max < 700; max++) {
        buf_init(&b, max);
        fcgi_pairs_init(&p, &b, FCGI_PARAMS, 1);
        for (int i = 0; i < 100; i++)
            fcgi_pairs_add(&p, STR("NAME"), STR("value"));
        fcgi_pairs_end(&p);
        fcgi_empty(&b, FCGI_PARAMS, 1);
        bool ok = check(b.overflow) && check(buf_len(&b) <= max);
        buf_fini(&b);
        if (!ok)
            break;
    }
}

static void test_pair_next(void)
{
    struct str in, name, value;
    static const char two[] = "\x01\x02"
                              "Abc"
                              "\x80\0\0\x01\x00X"
                              "\x00\x00";
    test("pairs: read, a long length for a short name included");
    in = (struct str){two, sizeof two - 1};
    check(fcgi_pair_next(&in, &name, &value));
    check_str(name, "A");
    check_str(value, "bc");
    check(fcgi_pair_next(&in, &name, &value));
    check_str(name, "X");
    check_str(value, "");
    check(fcgi_pair_next(&in, &name, &value));
    check_str(name, "");
    check(!fcgi_pair_next(&in, &name, &value));

    test("pairs: cut short at every byte");
    static const char one[] = "\x80\0\0\x03\x80\0\0\x04nameval";
    for (size_t n = 0; n < sizeof one - 1; n++) {
        char *copy = test_copy(one, n);
        in = (struct str){copy, n};
        check(!fcgi_pair_next(&in, &name, &value));
        free(copy);
    }

    test("pairs: lengths up to 2^31 - 1 do not wrap around");
    static const char *const lies[] = {"\xff\xff\xff\xff\xff\xff\xff\xff", "\xff\xff\xff\xff\x01",
                                       "\x01\xff\xff\xff\xff", "\x7f\x7f", "\x02\xff\xff\xff\xfe"};
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        char text[20];
        snprintf(text, sizeof text, "%sab", lies[i]);
        char *copy = test_copy(text, strlen(text));
        in = (struct str){copy, strlen(text)};
        check(!fcgi_pair_next(&in, &name, &value));
        free(copy);
    }
}

/* --- records of a web server --- */

static bool on_accepted(void *ctx, const struct fcgi_event *e)
{
    struct trace *t = ctx;
    char word[80];
    if (!e->complete) {
        t->empty += e->content.n == 0;
        say(t, e->content.p, e->content.n);
        return true;
    }
    snprintf(word, sizeof word, "|%d:%d:%d:%d:%d ", e->type, e->id, e->size, e->role, e->flags);
    say(t, word, strlen(word));
    return !t->stop_at_end;
}

/* Feeds the input cut at n; where the callback stops the decoder, it is fed on. */
static const char *feed_accepted(struct trace *trace, const struct bytes *in, size_t n)
{
    struct fcgi_decoder d;
    const char *err = NULL;
    size_t at = 0, used;
    fcgi_decoder_accept(&d);
    while (at < in->n && err == NULL) {
        size_t some = at < n ? n - at : in->n - at;
        char *copy = test_copy(in->p + at, some);
        err = fcgi_feed(&d, copy, some, &used, on_accepted, trace);
        at += used;
        free(copy);
    }
    check(err != NULL || fcgi_decoder_idle(&d));
    return err;
}

static void test_accepted(void)
{
    struct bytes in = {0};
    put_record(&in, 1, FCGI_BEGIN_REQUEST, 258, "\0\2\1\0\0\0\0\0", 8, 3);
    put_record(&in, 1, FCGI_PARAMS, 258, "ab", 2, 0);
    put_record(&in, 1, FCGI_PARAMS, 258, "", 0, 5);
    put_record(&in, 1, FCGI_STDIN, 258, "", 0, 0);
    put_record(&in, 1, FCGI_ABORT_REQUEST, 1, "", 0, 0);
    put_record(&in, 1, FCGI_END_REQUEST, 1, "xyz", 3, 1); /* nonsense, and none of our business */

    test("accept: the end of each record is told, empty ones too, at every split");
    for (int stop = 0; stop < 2; stop++)
        for (size_t n = 1; n <= in.n; n++) {
            struct trace trace = {.stop_at_end = stop};
            check(feed_accepted(&trace, &in, n) == NULL);
            check_str(((struct str){trace.text, trace.n}),
                      "|1:258:8:2:1 ab|4:258:2:0:0 |4:258:0:0:0 |5:258:0:0:0 |2:1:0:0:0 "
                      "xyz|3:1:3:0:0 ");
            check_int(trace.empty, 0);
        }

    test("accept: a BEGIN_REQUEST of another size ends it");
    struct trace trace = {0};
    in.n = 0;
    put_record(&in, 1, FCGI_BEGIN_REQUEST, 1, "\0\1\1", 3, 0);
    check(feed_accepted(&trace, &in, in.n) != NULL);
    free(in.p);

    test("END_REQUEST and UNKNOWN_TYPE are written as they are read");
    struct buf out;
    buf_init(&out, 100);
    fcgi_end(&out, 258, 0x01020304, FCGI_OVERLOADED);
    check(str_eq(buf_peek(&out), STR("\1\3\1\2\0\10\0\0\1\2\3\4\2\0\0\0")));
    buf_consume(&out, buf_len(&out));
    fcgi_unknown_type(&out, 99);
    check(str_eq(buf_peek(&out), STR("\1\13\0\0\0\10\0\0c\0\0\0\0\0\0\0")));
    buf_fini(&out);
}

int main(void)
{
    test_accepted();
    test_decode();
    test_bad_records();
    test_incomplete();
    test_large();
    test_stop();
    test_small_records();
    test_pair_sizes();
    test_records();
    test_pair_next();
    return test_report();
}
