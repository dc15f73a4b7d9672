/*
 * pem - files of certificates and keys: their blocks of PEM (RFC 7468), and no other byte of them.
 *
 * Who reads a file may have more rights than who gets its bytes. So what is no certificate and no
 * private key stays behind: by naming a file nobody gets it read.
 */
#ifndef MG_TLS_PEM_H
#define MG_TLS_PEM_H

#include "base/str.h"

enum { PEM_BYTES = 1u << 20 }; /* of one file, at most */

/* Moves the blocks of certificates and private keys to the beginning of the text. Returns their
 * bytes. */
size_t pem_filter(char *text, size_t size);
/* Reads a regular file whole into `text` (PEM_BYTES of room), and filters it: *size bytes. Reads
 * without waiting for anything but the disk. NULL, or the reason in words for a message. */
const char *pem_read(const char *path, char *text, size_t *size);

#endif
