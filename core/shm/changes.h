/*
 * changes - what an operator has changed about servers of backends while the route serves: weights,
 * servers added and removed. Shared by all workers; it outlives workers and reloads.
 *
 * One mapping, made by the master before it forks. Workers write and read it; the master does not
 * read it. One change for each server of a backend, and a bounded number of them. A worker copies
 * the list when `version` has changed (changes_read).
 */
#ifndef MG_SHM_CHANGES_H
#define MG_SHM_CHANGES_H

#include "base/addr.h"

#define CHANGES_MOST    64
#define CHANGES_BACKEND 128 /* bytes of a backend's name, with a NUL */

enum change_kind { CHANGE_WEIGHT, CHANGE_ADD, CHANGE_REMOVE };

struct change {
    enum change_kind kind;
    char backend[CHANGES_BACKEND];
    char address[ADDR_TEXT_SIZE]; /* as addr_text writes it */
    double weight;                /* of WEIGHT and ADD */
    double at;                    /* seconds since the epoch */
};

struct changes;

/* A worker's copy. */
struct change_list {
    unsigned version;
    unsigned count;
    struct change list[CHANGES_MOST];
};

/* Makes the mapping. NULL: no memory. */
struct changes *changes_new(void);
/* True when the copy is not of the latest version. One load, without the lock. */
bool changes_are_newer(const struct changes *c, const struct change_list *copy);
/* Copies the list. */
void changes_read(struct changes *c, struct change_list *copy);
/* Puts the change in the place of an earlier one of the same backend and address. False: there are
 * CHANGES_MOST already. */
bool changes_put(struct changes *c, const struct change *change);
/* Drops the changes of the server; of all of the backend where `address` is empty; all where
 * `backend` is empty, too. Returns how many there were. */
unsigned changes_forget(struct changes *c, struct str backend, struct str address);

/* The change of the server in the copy; NULL: none. */
const struct change *changes_find(const struct change_list *copy, struct str backend,
                                  struct str address);

#endif
