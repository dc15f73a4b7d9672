/*
 * finding - what lookup has found on the disk, kept by its place: a root, a path and `within`.
 *
 * A table of a fixed size, out of which the oldest go. What a finding means, and for how long it
 * holds, is lookup's business.
 */
#ifndef MG_BASE_FINDING_H
#define MG_BASE_FINDING_H

#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

/* What a look is known by: the texts of root, path and `within`, each with a NUL behind it. */
#define PLACE_SIZE 212
struct place {
    uint32_t hash;
    uint16_t size;
    char text[PLACE_SIZE];
};
/* False where that is too long to be kept. A path that is STR_NONE: the root itself. */
bool place_make(struct place *p, struct str root, struct str path, const struct str *within,
                unsigned count);
/* Is it the place of that root itself, which has no NUL? */
static inline bool place_is_root(const struct place *p, struct str root)
{
    return p->size == root.n + 2 && memcmp(p->text, root.p, root.n) == 0;
}
bool place_same(const struct place *a, const struct place *b);

/* Which file or folder it is, and that nothing has happened to it: an inode that is used again has
 * another ctime, and so has a folder with another entry. */
struct identity {
    dev_t device;
    ino_t inode;
    struct timespec changed; /* its ctime */
};
struct identity identity_of(const struct stat *st);
bool identity_same(const struct identity *a, const struct identity *b);

/* How a finding is known to hold in a later turn. */
enum finding_proof {
    PROOF_NONE, /* not at all */
    PROOF_OWN,  /* stat of the path says that it leads to the same file or folder */
    PROOF_ROOT, /* it is an entry of its root, and stat of the root says that no entry changed */
};

struct finding {
    uint64_t turn; /* the last one in which it held; 0: an empty slot */
    struct identity identity;
    uint8_t kind; /* enum lookup_kind */
    uint8_t proof;
    bool needs_own;      /* PROOF_ROOT won't do: its content is asked for, or it is a symlink */
    bool has_sure_times; /* a root on a file system where a folder's ctime can be relied on */
    uint16_t real_size;  /* of a root behind a symlink: its real path, behind the place's text */
    struct place place;
};

/* The finding of that place, or NULL. Valid until the next finding_slot. */
struct finding *finding_get(const struct place *p);
/* The finding of that place; an empty one where there was none. */
struct finding *finding_slot(const struct place *p);

#endif
