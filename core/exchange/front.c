/* front - see front.h. */
#include "exchange/front.h"

#include <sys/uio.h>
#include <unistd.h>

#define GIVE_MAX (1u << 20) /* bytes of a file in one turn */

/* --- a file for a front that needs its bytes --- */

/* Passes over pieces that have been given whole. */
static void front_skip_given(struct front_file *f)
{
    while (f->count > 0 && f->at == f->pieces->before.n + f->pieces->size) {
        f->pieces++;
        f->count--;
        f->at = 0;
    }
}

struct str front_file_peek(struct front_file *f, char *scratch, size_t size)
{
    front_skip_given(f);
    const struct file_piece *piece = f->pieces;
    if (f->at < piece->before.n) {
        struct str text = str_skip(piece->before, (size_t)f->at);
        return (struct str){text.p, text.n < size ? text.n : size};
    }
    uint64_t done = f->at - piece->before.n, left = piece->size - done;
    if (f->source->content != NULL)
        return (struct str){f->source->content + piece->at + done,
                            left < size ? (size_t)left : size};
    ssize_t n =
        pread(f->source->fd, scratch, left < size ? (size_t)left : size, (off_t)(piece->at + done));
    return (struct str){scratch, n > 0 ? (size_t)n : 0};
}

size_t front_file_read(struct front_file *f, char *out, size_t size, size_t step, size_t gap)
{
    struct iovec places[FRONT_FILE_STEPS];
    int count = 0;
    front_skip_given(f);
    const struct file_piece *piece = f->pieces;
    if (f->count == 0 || f->at < piece->before.n || f->source->content != NULL)
        return 0;
    uint64_t done = f->at - piece->before.n, left = piece->size - done;
    if (left < size)
        size = (size_t)left;
    for (; size > 0 && count < FRONT_FILE_STEPS; count++) {
        size_t some = size < step ? size : step;
        places[count] = (struct iovec){out, some};
        out += some + gap;
        size -= some;
    }
    ssize_t n = preadv(f->source->fd, places, count, (off_t)(piece->at + done));
    return n > 0 ? (size_t)n : 0;
}

enum front_file_result front_file_give(struct front_file *file, struct front *front, char *scratch,
                                       size_t size)
{
    size_t given = 0;
    for (front_skip_given(file); file->count > 0; front_skip_given(file)) {
        size_t room = front->ops->room(front);
        if (room == 0)
            return FRONT_FILE_FULL;
        if (given >= GIVE_MAX)
            return FRONT_FILE_MORE;
        struct str bytes = front_file_peek(file, scratch, room < size ? room : size);
        if (bytes.n == 0)
            return FRONT_FILE_BAD;
        front->ops->body(front, bytes);
        front->ops->flush(front); /* `scratch` is used again */
        front_file_consume(file, bytes.n);
        given += bytes.n;
    }
    return FRONT_FILE_DONE;
}

void front_file_consume(struct front_file *file, size_t n)
{
    file->at += n;
    front_skip_given(file);
}

uint64_t front_file_left(const struct front_file *file)
{
    uint64_t left = 0;
    for (unsigned i = 0; i < file->count; i++)
        left += file->pieces[i].before.n + file->pieces[i].size;
    return left - (file->count > 0 ? file->at : 0);
}

void front_file_end(struct front_file *file)
{
    if (file->source != NULL)
        file_source_drop(file->source);
    file->source = NULL;
}
