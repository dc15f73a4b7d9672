/* front - see front.h. */
#include "exchange/front.h"

#include <unistd.h>

#define GIVE_MAX (1u << 20) /* bytes of a file in one turn */

/* --- a file for a front that needs its bytes --- */

/* The next bytes of the current piece: its text, or bytes of the file. n = 0: the file can't be
 * read. */
static struct str front_next_bytes(struct front_file *f, char *scratch, size_t size)
{
    const struct file_piece *piece = f->pieces;
    if (f->at < piece->before.n)
        return str_skip(piece->before, (size_t)f->at);
    uint64_t done = f->at - piece->before.n, left = piece->size - done;
    if (f->source->content != NULL)
        return (struct str){f->source->content + piece->at + done,
                            left < size ? (size_t)left : size};
    ssize_t n =
        pread(f->source->fd, scratch, left < size ? (size_t)left : size, (off_t)(piece->at + done));
    return (struct str){scratch, n > 0 ? (size_t)n : 0};
}

enum front_file_result front_file_give(struct front_file *file, struct front *front, char *scratch,
                                       size_t size)
{
    size_t given = 0;
    while (file->count > 0) {
        const struct file_piece *piece = file->pieces;
        if (file->at == piece->before.n + piece->size) {
            file->pieces++;
            file->count--;
            file->at = 0;
            continue;
        }
        size_t room = front->ops->room(front);
        if (room == 0)
            return FRONT_FILE_FULL;
        if (given >= GIVE_MAX)
            return FRONT_FILE_MORE;
        struct str bytes = front_next_bytes(file, scratch, room < size ? room : size);
        if (bytes.n == 0)
            return FRONT_FILE_BAD;
        front->ops->body(front, bytes);
        front->ops->flush(front); /* `scratch` is used again */
        file->at += bytes.n;
        given += bytes.n;
    }
    return FRONT_FILE_DONE;
}

void front_file_end(struct front_file *file)
{
    if (file->source != NULL)
        file_source_drop(file->source);
    file->source = NULL;
}
