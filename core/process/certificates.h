/*
 * certificates - the files of TLS, which the master reads, since workers may not read keys: it puts
 * their bytes into a sealed file in memory, of which workers make their servers (tls/store).
 *
 * The route names the files, so nothing of them but blocks of PEM with certificates and private
 * keys goes to the workers: a route can't have the master read it another file. Nothing is parsed
 * here; what a certificate or a key is not, workers and `moongate check` say.
 */
#ifndef MG_PROCESS_CERTIFICATES_H
#define MG_PROCESS_CERTIFICATES_H

#include "process/plan.h"

/* Writes the file of the plan's certificates. *file: its descriptor, the caller's; 0: the plan has
 * no TLS. NULL, or the error, valid until the next call: a file can't be read, or has no PEM. */
const char *certificates_open(const struct plan *plan, int *file);

#endif
