/*
 * tickets_test - the keys of session tickets: their order, what a rotation keeps and drops, and
 * what is read while they change. Links tickets.
 */
#include "../test.h"
#include "shm/tickets.h"

#include <pthread.h>

static bool same(const struct ticket_key *a, const struct ticket_key *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

static void test_rotation(void)
{
    struct ticket_key before[TICKETS_KEYS], after[TICKETS_KEYS];
    struct tickets *t = tickets_new();
    if (t == NULL)
        abort();

    test("all keys differ, from the first moment on");
    tickets_read(t, before);
    for (unsigned i = 0; i < TICKETS_KEYS; i++)
        for (unsigned j = 0; j < i; j++)
            check(!same(&before[i], &before[j]) &&
                  memcmp(before[i].name, before[j].name, TICKETS_NAME) != 0);

    test("a rotation puts a new key before the others, and drops the oldest");
    tickets_rotate(t);
    tickets_read(t, after);
    check(same(&after[1], &before[0]) && same(&after[2], &before[1]));
    for (unsigned i = 0; i < TICKETS_KEYS; i++)
        check(!same(&after[0], &before[i]));

    test("a key opens tickets for at least their life, and is gone one rotation later");
    for (unsigned i = 0; i < TICKETS_KEYS - 1; i++) {
        struct ticket_key now[TICKETS_KEYS];
        tickets_read(t, now);
        check(same(&now[i], &after[0]));
        tickets_rotate(t);
    }
    tickets_read(t, before);
    check(same(&before[TICKETS_KEYS - 1], &after[0]));
    _Static_assert((TICKETS_KEYS - 1) * TICKETS_PERIOD >= TICKETS_LIFE,
                   "keys are kept for the life of their tickets");
    tickets_rotate(t);
    tickets_read(t, before);
    for (unsigned i = 0; i < TICKETS_KEYS; i++)
        check(!same(&before[i], &after[0]));
    tickets_free(t);
    tickets_free(NULL);
}

#define ROTATIONS 20000

static struct ticket_key newest[ROTATIONS + 1];
static bool over;

static void *rotate(void *ctx)
{
    struct tickets *t = ctx;
    for (unsigned i = 1; i <= ROTATIONS; i++) {
        tickets_rotate(t);
        newest[i] = t->keys[0];
    }
    __atomic_store_n(&over, true, __ATOMIC_RELEASE);
    return NULL;
}

/* Keys that were read while another thread changed them. */
#define LOOKS 5000
static struct ticket_key looks[LOOKS][TICKETS_KEYS];

static void test_reading(void)
{
    pthread_t thread;
    unsigned count = 0, torn = 0; /* the last looks stand in the last place */
    struct tickets *t = tickets_new();
    if (t == NULL)
        abort();
    test("what is read while keys change is the keys of one moment");
    newest[0] = t->keys[0];
    if (pthread_create(&thread, NULL, rotate, t) != 0)
        abort();
    /* A look fails where the other thread has lost its processor in the middle of a change. */
    while (!__atomic_load_n(&over, __ATOMIC_ACQUIRE))
        count += tickets_read(t, looks[count]) && LOOKS - 1 - count > 0;
    pthread_join(thread, NULL);
    check(tickets_read(t, looks[count++]));
    for (unsigned i = 0; i < count; i++) {
        unsigned at = 0;
        while (at <= ROTATIONS && !same(&newest[at], &looks[i][0]))
            at++;
        torn += at > ROTATIONS || (at > 0 && !same(&newest[at - 1], &looks[i][1]));
    }
    check_int(torn, 0);

    test("a master that died while it changed them stops nobody");
    struct ticket_key keys[TICKETS_KEYS];
    t->version |= 1;
    check(!tickets_read(t, keys));
    check(same(&keys[0], &newest[ROTATIONS]));
    tickets_free(t);
}

int main(void)
{
    test_rotation();
    test_reading();
    return test_report();
}
