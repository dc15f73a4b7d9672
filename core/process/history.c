/* history - see history.h. */
#include "process/history.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static void history_show(const struct history *h)
{
    for (unsigned i = 0; i < h->count; i++) {
        h->board->loads[i] = h->list[i].shown;
        h->board->loads[i].kept = h->list[i].snapshot > 0;
    }
    h->board->load_count = h->count;
}

static void history_drop_snapshot(struct history_load *load)
{
    if (load->snapshot > 0)
        close(load->snapshot);
    load->snapshot = 0;
    load->size = 0;
}

/* The load that gives its place to another one: a failed one where these are more than half, so
 * that a script that is saved again and again does not push out what has served. */
static unsigned history_victim(const struct history *h)
{
    unsigned failed = 0, first_failed = 0, first_over = 0;
    for (unsigned i = h->count; i-- > 0;) {
        if (h->list[i].shown.outcome == LOAD_FAILED) {
            failed++;
            first_failed = i;
        } else if (h->list[i].shown.outcome == LOAD_OVER) {
            first_over = i;
        }
    }
    bool is_over = h->list[first_over].shown.outcome == LOAD_OVER;
    return failed > BOARD_LOADS / 2 || !is_over ? first_failed : first_over;
}

static struct history_load *history_add(struct history *h, const struct history_of *of)
{
    if (h->count == BOARD_LOADS) {
        unsigned victim = history_victim(h);
        history_drop_snapshot(&h->list[victim]);
        h->count--;
        memmove(&h->list[victim], &h->list[victim + 1], (h->count - victim) * sizeof *h->list);
    }
    struct history_load *load = &h->list[h->count++];
    *load = (struct history_load){.shown = {.at = of->now}};
    snprintf(load->shown.reason, sizeof load->shown.reason, "%s", of->reason);
    snprintf(load->shown.hash, sizeof load->shown.hash, "%s", of->hash);
    return load;
}

static void history_bound_bytes(struct history *h)
{
    size_t sum = 0;
    for (unsigned i = 0; i < h->count; i++)
        sum += h->list[i].size;
    for (unsigned i = 0; i < h->count && sum > HISTORY_BYTES; i++) {
        if (h->list[i].shown.outcome == LOAD_SERVES)
            continue;
        sum -= h->list[i].size;
        history_drop_snapshot(&h->list[i]);
    }
}

void history_serves(struct history *h, const struct history_of *of, unsigned generation,
                    int snapshot)
{
    struct stat st;
    for (unsigned i = 0; i < h->count; i++)
        if (h->list[i].shown.outcome == LOAD_SERVES) {
            h->list[i].shown.outcome = LOAD_OVER;
            h->list[i].shown.until = of->now;
        }
    struct history_load *load = history_add(h, of);
    load->shown.outcome = LOAD_SERVES;
    load->shown.number = generation;
    int kept = snapshot > 0 ? fcntl(snapshot, F_DUPFD_CLOEXEC, 3) : -1;
    load->snapshot = kept > 0 ? kept : 0;
    load->size = kept > 0 && fstat(kept, &st) == 0 ? (size_t)st.st_size : 0;
    history_bound_bytes(h);
    history_show(h);
}

void history_failed(struct history *h, const struct history_of *of, const char *why)
{
    struct history_load *load = history_add(h, of);
    load->shown.outcome = LOAD_FAILED;
    snprintf(load->shown.error, sizeof load->shown.error, "%s", why);
    history_show(h);
}

const struct history_load *history_find(const struct history *h, unsigned generation)
{
    for (unsigned i = 0; i < h->count; i++)
        if (h->list[i].shown.number == generation && h->list[i].snapshot > 0)
            return &h->list[i];
    return NULL;
}

void history_close(struct history *h)
{
    for (unsigned i = 0; i < h->count; i++)
        history_drop_snapshot(&h->list[i]);
}
