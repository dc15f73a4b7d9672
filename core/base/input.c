/* input - see input.h. */
#include "base/input.h"

#include <stdlib.h>

struct input {
    struct input *next;      /* in the list of spare ones */
    struct input *next_held; /* in the list of those in which reads wait */
    unsigned references;
    bool held;
    size_t used;   /* bytes of reads that wait, or that are kept behind such */
    size_t filled; /* the end of the last read */
    char bytes[INPUT_HELD + INPUT_SIZE];
};

/* A buffer to read into, with a reference: the spare one that was used last, since it is in the
 * processor's cache, or one that was never used. NULL: there is none. */
static struct input *input_take(struct inputs *all)
{
    struct input *input = all->spare;
    if (input != NULL)
        all->spare = input->next;
    else if (all->count < INPUTS_MAX)
        input = &all->buffers[all->count++];
    else
        return NULL;
    input->references = 1;
    input->used = input->filled = 0;
    return input;
}

void input_give_back(struct inputs *all, struct input *input)
{
    if (--input->references > 0)
        return;
    input->next = all->spare;
    all->spare = input;
}

/* The next read goes into another buffer. False: there is none. */
static bool inputs_turn(struct inputs *all)
{
    struct input *full = all->now, *next = input_take(all);
    if (next == NULL)
        return false;
    all->now = next;
    input_give_back(all, full);
    return true;
}

void inputs_init(struct inputs *all)
{
    *all = (struct inputs){.buffers = calloc(INPUTS_MAX, sizeof(struct input))};
    if (all->buffers == NULL)
        abort();
    all->now = input_take(all);
}

void inputs_fini(struct inputs *all)
{
    free(all->buffers);
}

char *inputs_room(const struct inputs *all)
{
    return all->now->bytes + all->now->used;
}

void inputs_filled(struct inputs *all, ssize_t n)
{
    all->now->filled = all->now->used + (n > 0 ? (size_t)n : 0);
}

bool inputs_hold(struct inputs *all)
{
    struct input *now = all->now;
    size_t used = INPUT_LINES(now->filled);
    if (!now->held) {
        now->held = true;
        now->references++;
        now->next_held = all->held;
        all->held = now;
    }
    if (used > INPUT_HELD)
        return inputs_turn(all);
    now->used = used;
    return true;
}

void inputs_release(struct inputs *all)
{
    struct input *input;
    while ((input = all->held) != NULL) {
        all->held = input->next_held;
        input->held = false;
        input_give_back(all, input);
    }
    all->now->used = 0; /* nothing of it is kept: input_keep takes another one at once */
}

/* The buffer in which these bytes were read. NULL: none, or it has been given back: a read that was
 * kept in part, for a request that is over, is behind that part the end of a spare buffer. */
static struct input *input_of(const struct inputs *all, struct str bytes)
{
    size_t at = (size_t)((uintptr_t)bytes.p - (uintptr_t)all->buffers) / sizeof(struct input);
    if (at >= all->count)
        return NULL;
    struct input *input = &all->buffers[at];
    if (input->references == 0 || bytes.p < input->bytes ||
        bytes.p > input->bytes + input->filled ||
        bytes.n > (size_t)(input->bytes + input->filled - bytes.p))
        return NULL;
    return input;
}

struct input *input_keep(struct inputs *all, struct str bytes)
{
    struct input *input = bytes.n < INPUT_KEEP_MIN ? NULL : input_of(all, bytes);
    if (input == NULL)
        return NULL;
    input->references++;
    if (input != all->now || inputs_turn(all))
        return input;
    input->references--;
    return NULL;
}
