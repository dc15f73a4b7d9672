/*
 * certificates - the files of TLS, which the master reads, since workers may not read keys: it puts
 * their bytes into a sealed file in memory, of which workers make their servers (tls/store).
 *
 * The route names the files, so nothing of them but blocks of PEM with certificates and private
 * keys goes to the workers: a route can't have the master read it another file. Nothing is parsed
 * here; what a certificate or a key is not, workers and `moongate check` say.
 *
 * The master also asks the kernel for its TLS (tls/ktls), once and where a listener may use it.
 */
#ifndef MG_PROCESS_CERTIFICATES_H
#define MG_PROCESS_CERTIFICATES_H

#include "process/plan.h"

/* Writes the file of the plan's certificates. *file: its descriptor, the caller's; 0: the plan has
 * no TLS. *folders: the state of the folders before they were read, for certificates_watch_begin.
 * NULL, or the error, valid until the next call: a file can't be read or has no PEM, or a listener
 * would have no certificate. */
const char *certificates_open(const struct plan *plan, int *file, uint64_t *folders);

/* A sentence about the next listener of the plan whose route asks for the kernel's TLS, which this
 * machine does not offer: it is served without. *at is 0 for the first one. NULL: there is none;
 * else valid until the next call. */
const char *certificates_without_ktls(const struct plan *plan, unsigned *at);

/* The looks at the folders of a plan. */
struct certificates_watch {
    uint64_t seen, used; /* the state of the folders at the last look; the one that is served */
    double look_at;      /* monotonic seconds; 0: no folder is watched */
};

/* Watches the folders of the plan, whose certificates are served as they were in this state. */
void certificates_watch_begin(struct certificates_watch *w, const struct plan *plan, uint64_t state,
                              double now);
/* Looks at the folders when that is due. True: certificates have been added, removed or renewed,
 * and no further change has come since the look before. */
bool certificates_watch_look(struct certificates_watch *w, const struct plan *plan, double now);

#endif
