/*
 * finding - a cache of what lookup has found on the disk, by place: a root, a path and `within`.
 *
 * A table of a fixed size, in which new findings replace the oldest ones. lookup decides how long a
 * finding is valid.
 */
#ifndef MG_BASE_FINDING_H
#define MG_BASE_FINDING_H

#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

/* The key of a finding: the texts of root, path and `within`, each followed by a NUL. */
#define PLACE_SIZE 212
struct place {
    uint32_t hash;
    uint16_t size;
    char text[PLACE_SIZE];
};
/* Makes the place of a path; STR_NONE: of the root itself. False: the texts are too long. */
bool place_make(struct place *p, struct str root, struct str path, const struct str *within,
                unsigned count);
/* True for the place of that root itself. The root has no NUL. */
static inline bool place_is_root(const struct place *p, struct str root)
{
    return p->size == root.n + 2 && memcmp(p->text, root.p, root.n) == 0;
}
bool place_same(const struct place *a, const struct place *b);

/* The identity of an unchanged file or folder. A reused inode has another ctime, and so has a
 * folder with a new entry. */
struct identity {
    dev_t device;
    ino_t inode;
    struct timespec changed; /* its ctime */
};
struct identity identity_of(const struct stat *st);
bool identity_same(const struct identity *a, const struct identity *b);

/* How a later turn checks that a finding is still valid. */
enum finding_proof {
    PROOF_NONE, /* the finding is not valid in a later turn */
    PROOF_OWN,  /* stat of the path finds the same identity */
    PROOF_ROOT, /* stat of the root finds that none of its entries has changed */
};

struct finding {
    uint64_t turn; /* last turn in which the finding was valid; 0: empty slot */
    struct identity identity;
    uint8_t kind; /* enum lookup_kind */
    uint8_t proof;
    bool needs_own;      /* PROOF_ROOT is not enough: the content counts, or it is a symlink */
    bool has_sure_times; /* a root on a file system with reliable ctimes of folders */
    uint16_t real_size;  /* size of a root's real path, which follows the place's text */
    struct place place;
};

/* The finding of that place, or NULL. Valid until the next finding_slot. */
struct finding *finding_get(const struct place *p);
/* The finding of that place, or an empty slot for it. */
struct finding *finding_slot(const struct place *p);

#endif
