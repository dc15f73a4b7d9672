/*
 * front_test - filters before a front, and a file for a front that has to see the bytes. The front
 * keeps what it gets, and has as much room as the test says. Links exchange/front and filter alone.
 */
#include "../test.h"
#include "exchange/filter.h"

#include <fcntl.h>
#include <unistd.h>

static char got[1 << 22];
static size_t got_size, room, counted;
static const char *dropped;
static unsigned responds, flushes, ends, cuts, wants, files;

static void fake_want_body(struct front *front, bool want)
{
    (void)front;
    wants += want;
}

static void fake_respond(struct front *front)
{
    (void)front;
    responds++;
}

static void fake_body(struct front *front, struct str bytes)
{
    (void)front;
    memcpy(got + got_size, bytes.p, bytes.n);
    got_size += bytes.n;
    room -= bytes.n < room ? bytes.n : room;
}

static bool fake_file(struct front *front, struct file_source *source,
                      const struct file_piece *pieces, unsigned count)
{
    (void)front;
    (void)source;
    (void)pieces;
    (void)count;
    files++;
    return true;
}

static void fake_flush(struct front *front)
{
    (void)front;
    flushes++;
}

static void fake_end(struct front *front)
{
    (void)front;
    ends++;
}

static bool fake_retract(struct front *front)
{
    (void)front;
    return true;
}

static void fake_cut(struct front *front)
{
    (void)front;
    cuts++;
}

static void fake_drop(struct front *front, const char *why)
{
    (void)front;
    dropped = why;
}

static size_t fake_room(struct front *front)
{
    (void)front;
    return room;
}

static const struct front_ops fake_ops = {
    .want_body = fake_want_body,
    .respond = fake_respond,
    .body = fake_body,
    .file = fake_file,
    .flush = fake_flush,
    .end = fake_end,
    .retract = fake_retract,
    .cut = fake_cut,
    .drop = fake_drop,
    .room = fake_room,
};

/* A filter that counts what passes, so it has to see the bytes of files as well. */
static void count_body(struct front *front, struct str bytes)
{
    counted += bytes.n;
    filter_body(front, bytes);
}

static const struct front_ops count_ops = {
    .want_body = filter_want_body,
    .respond = filter_respond,
    .body = count_body,
    .flush = filter_flush,
    .end = filter_end,
    .retract = filter_retract,
    .cut = filter_cut,
    .drop = filter_drop,
    .room = filter_room,
};

/* One that changes nothing, and needs no bytes. */
static const struct front_ops plain_ops = {
    .want_body = filter_want_body,
    .respond = filter_respond,
    .body = filter_body,
    .file = filter_file,
    .flush = filter_flush,
    .end = filter_end,
    .retract = filter_retract,
    .cut = filter_cut,
    .drop = filter_drop,
    .room = filter_room,
};

static void free_source(struct file_source *source)
{
    close(source->fd);
    free(source);
}

/* A file of `size` letters, without a name. */
static struct file_source *make_file(size_t size)
{
    struct file_source *source = malloc(sizeof *source);
    static char bytes[1 << 22];
    int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (char)('a' + i % 26);
    if (source == NULL || fd < 0 || write(fd, bytes, size) != (ssize_t)size)
        abort();
    *source = (struct file_source){.fd = fd, .users = 1, .free = free_source};
    return source;
}

static void forget(void)
{
    got_size = counted = 0;
    responds = flushes = ends = cuts = wants = files = 0;
    room = SIZE_MAX;
}

static void test_chain(void)
{
    struct front front = {&fake_ops}, *first = &front;
    struct filter plain, count;
    forget();
    filter_add(&first, &count, &count_ops);
    filter_add(&first, &plain, &plain_ops);

    test("all calls pass through two filters, and one counts");
    first->ops->want_body(first, true);
    first->ops->respond(first);
    first->ops->body(first, STR("hello "));
    first->ops->body(first, STR("world"));
    first->ops->flush(first);
    first->ops->end(first);
    first->ops->cut(first);
    check(first->ops->retract(first));
    check(first->ops->room(first) == SIZE_MAX - 11);
    check_str(((struct str){got, got_size}), "hello world");
    check(counted == 11);
    check(wants == 1 && responds == 1 && flushes == 1 && ends == 1 && cuts == 1);

    test("a file is refused where one behind has to see the bytes");
    check(!first->ops->file(first, NULL, NULL, 0));
    check(count.front.ops->file == NULL);

    test("a file goes to the front where nobody has to");
    first = &front;
    filter_add(&first, &plain, &plain_ops);
    check(first->ops->file(first, NULL, NULL, 0));
    check(files == 1);
}

static void test_file(void)
{
    struct front front = {&fake_ops};
    static char scratch[4096];
    const struct file_piece pieces[] = {
        {STR("<"), 0, 5}, {STR("|"), 24, 4}, {STR("|"), 30, 0}, {STR(">"), 0, 0}};
    struct front_file file = {make_file(100), pieces, 4, 0};
    forget();

    test("pieces of a file with their texts");
    check(front_file_give(&file, &front, scratch, sizeof scratch) == FRONT_FILE_DONE);
    check_str(((struct str){got, got_size}), "<abcde|yzab|>");
    front_file_end(&file);
    check(file.source == NULL);

    test("no more than there is room for, and on from there");
    forget();
    room = 3;
    file = (struct front_file){make_file(100), pieces, 1, 0};
    check(front_file_give(&file, &front, scratch, sizeof scratch) == FRONT_FILE_FULL);
    check_str(((struct str){got, got_size}), "<ab");
    room = 3;
    check(front_file_give(&file, &front, scratch, sizeof scratch) == FRONT_FILE_DONE);
    check_str(((struct str){got, got_size}), "<abcde");
    front_file_end(&file);

    test("a large file in more than one turn");
    const struct file_piece all = {STR_NONE, 0, 3 << 20};
    forget();
    file = (struct front_file){make_file(3 << 20), &all, 1, 0};
    unsigned turns = 1;
    while (front_file_give(&file, &front, scratch, sizeof scratch) == FRONT_FILE_MORE)
        turns++;
    check(turns == 3);
    check(got_size == 3 << 20);
    check(got[got_size - 1] == (char)('a' + ((3 << 20) - 1) % 26));
    front_file_end(&file);

    test("a file that has shrunk");
    forget();
    file = (struct front_file){make_file(1000), &all, 1, 0};
    check(front_file_give(&file, &front, scratch, sizeof scratch) == FRONT_FILE_BAD);
    check(got_size == 1000);
    front_file_end(&file);
}

static void test_read(void)
{
    static char out[4096];
    const struct file_piece pieces[] = {{STR("<"), 2, 50}, {STR_NONE, 90, 20}};
    struct front_file file = {make_file(100), pieces, 2, 0};

    test("bytes of a file are read in steps with gaps");
    check(front_file_read(&file, out, 30, 10, 2) == 0); /* the text comes first */
    front_file_consume(&file, 1);
    memset(out, '.', sizeof out);
    check(front_file_read(&file, out, 25, 10, 2) == 25);
    check_str(((struct str){out, 31}), "cdefghijkl..mnopqrstuv..wxyza..");
    front_file_consume(&file, 45);

    test("to the end of the piece, and no more than there is");
    check(front_file_read(&file, out, 25, 10, 2) == 5);
    front_file_consume(&file, 5);
    check(front_file_read(&file, out, 25, 10, 2) == 10); /* the file has shrunk */
    front_file_consume(&file, 20);
    check(front_file_read(&file, out, 25, 10, 2) == 0);
    front_file_end(&file);

    test("so many steps at most");
    file =
        (struct front_file){make_file(1000), &(const struct file_piece){STR_NONE, 0, 1000}, 1, 0};
    check(front_file_read(&file, out, 1000, 10, 1) == 10 * FRONT_FILE_STEPS);
    front_file_end(&file);
}

int main(void)
{
    test_chain();
    test_file();
    test_read();
    return test_report();
}
