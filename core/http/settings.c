/* settings - see settings.h. This file: backends are found by their names. */
#include "http/settings.h"

/* FNV-1a. */
static uint32_t settings_hash(struct str name)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < name.n; i++)
        hash = (hash ^ (unsigned char)name.p[i]) * 16777619u;
    return hash;
}

void settings_index_backends(struct settings *s)
{
    uint32_t slots = 1;
    while (slots < 2 * s->backend_count)
        slots *= 2;
    s->backend_mask = slots - 1;
    s->backend_slots = arena_alloc(&s->arena, slots * sizeof *s->backend_slots);
    memset(s->backend_slots, 0, slots * sizeof *s->backend_slots);
    for (unsigned i = 0; i < s->backend_count; i++) {
        uint32_t at = settings_hash(s->backends[i].name) & s->backend_mask;
        while (s->backend_slots[at] != 0)
            at = (at + 1) & s->backend_mask;
        s->backend_slots[at] = i + 1;
    }
}

int settings_find_backend(const struct settings *s, struct str name)
{
    if (s->backend_count == 0)
        return -1;
    uint32_t at = settings_hash(name) & s->backend_mask;
    for (uint32_t i; (i = s->backend_slots[at]) != 0; at = (at + 1) & s->backend_mask)
        if (str_eq(s->backends[i - 1].name, name))
            return (int)i - 1;
    return -1;
}
