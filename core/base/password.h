/*
 * password - checks a password against a hash of an htpasswd file. crypt(3) of libcrypt has bcrypt,
 * SHA-crypt and other kinds; apr1, which only Apache's tools make, is 1,000 rounds of MD5.
 *
 * A check is slow on purpose: milliseconds to seconds. So it runs on a thread beside the loop.
 */
#ifndef MG_BASE_PASSWORD_H
#define MG_BASE_PASSWORD_H

#include <stdbool.h>

/* The memory of a check, 32 KB; one for each thread. */
struct password_room;
struct password_room *password_room_new(void);

/* Initializes checks. Called before the first check, in the thread that will end the process:
 * OpenSSL frees its memory at exit, which then waits for a running check. */
void password_init(void);

/* True when the password fits the hash; false also for a hash of an unknown kind. Both are
 * NUL-terminated. The time of the comparison does not depend on the result. The room is cleared
 * after the check. */
bool password_fits(struct password_room *room, const char *password, const char *hash);

#endif
