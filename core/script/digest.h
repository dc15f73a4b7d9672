/*
 * digest - what moongate.hash and moongate.random need: a thin door to OpenSSL's libcrypto, to
 * zlib's checksum and to the kernel's random numbers.
 */
#ifndef MG_SCRIPT_DIGEST_H
#define MG_SCRIPT_DIGEST_H

struct lua_State;

/* Adds base64, crc32, digest, equal, hmac, random_bytes and unbase64 to the module on the stack's
 * top. */
void script_digest_open(struct lua_State *L);

#endif
