/*
 * password - does a password fit a hash of an htpasswd file? crypt(3) of libcrypt knows bcrypt,
 * SHA-crypt and their kin; apr1, which only Apache's tools make, is 1,000 rounds of MD5.
 *
 * Slow on purpose: milliseconds to seconds, so it is for a thread beside the loop.
 */
#ifndef MG_BASE_PASSWORD_H
#define MG_BASE_PASSWORD_H

#include <stdbool.h>

/* What a check needs beside the stack: 32 KB. One for each thread; NULL where there is no memory.
 */
struct password_room;
struct password_room *password_room_new(void);

/* Loads what checks need. Before the first one, in the thread that will end the process: OpenSSL
 * takes its memory away then, so a check that runs meanwhile is waited for. */
void password_init(void);

/* Whether they fit: false, too, where the hash is of no known kind. Both end in a zero byte. How
 * long the comparison takes says nothing of the result. What the check has left in the room is
 * cleared. */
bool password_fits(struct password_room *room, const char *password, const char *hash);

#endif
