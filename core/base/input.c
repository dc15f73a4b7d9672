/* input - see input.h. */
#include "base/input.h"

#include <stdlib.h>

struct input {
    struct input *next; /* in the list of spare ones */
    size_t filled;
    char bytes[INPUT_HELD + INPUT_SIZE];
};

static struct input *input_new(struct inputs *all)
{
    struct input *input = malloc(sizeof *input);
    if (input == NULL)
        abort();
    input->filled = 0;
    all->count++;
    return input;
}

void inputs_init(struct inputs *all)
{
    *all = (struct inputs){0};
    all->now = input_new(all);
}

void inputs_fini(struct inputs *all)
{
    free(all->now);
    while (all->spare != NULL) {
        struct input *next = all->spare->next;
        free(all->spare);
        all->spare = next;
    }
}

char *inputs_room(const struct inputs *all)
{
    return all->now->bytes + all->held;
}

void inputs_filled(struct inputs *all, ssize_t n)
{
    all->now->filled = all->held + (n > 0 ? (size_t)n : 0);
}

bool inputs_hold(struct inputs *all, size_t n)
{
    if (INPUT_LINES(n) > INPUT_HELD - all->held)
        return false;
    all->held += INPUT_LINES(n);
    return true;
}

void inputs_release(struct inputs *all)
{
    all->held = 0;
}

/* A spare one, the last that was used first: it is in the processor's cache. NULL: none may be
 * made any more. */
static struct input *input_take(struct inputs *all)
{
    struct input *input = all->spare;
    if (input != NULL) {
        all->spare = input->next;
        input->filled = 0;
        return input;
    }
    return all->count < INPUTS_MAX ? input_new(all) : NULL;
}

struct input *input_keep(struct inputs *all, struct str bytes)
{
    struct input *kept = all->now;
    if (all->held > 0 || bytes.n < INPUT_KEEP_MIN || bytes.n > kept->filled ||
        bytes.p != kept->bytes + kept->filled - bytes.n)
        return NULL;
    struct input *next = input_take(all);
    if (next == NULL)
        return NULL;
    all->now = next;
    return kept;
}

void input_give_back(struct inputs *all, struct input *input)
{
    input->next = all->spare;
    all->spare = input;
}
