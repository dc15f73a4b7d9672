/* password - see password.h. */
#include "base/password.h"

#include <crypt.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define APR1       "$apr1$"
#define APR1_SALT  8 /* characters that count */
#define APR1_TURNS 1000
#define MD5_SIZE   16

struct password_room {
    struct crypt_data data;
};

static pthread_mutex_t md5_lock = PTHREAD_MUTEX_INITIALIZER; /* held while OpenSSL is used */
static EVP_MD *md5;

/* Takes the lock for good at the end of the process, since OpenSSL frees its memory next. */
static void password_end(void)
{
    pthread_mutex_lock(&md5_lock);
}

void password_init(void)
{
    if (md5 != NULL)
        return;
    /* so that OpenSSL's exit handler is registered before this one */
    md5 = EVP_MD_fetch(NULL, "MD5", NULL);
    atexit(password_end);
}

struct password_room *password_room_new(void)
{
    return calloc(1, sizeof(struct password_room));
}

/* --- apr1 --- */

/* Digests of pieces; `ok` is false once OpenSSL has failed. */
struct md5_run {
    EVP_MD_CTX *ctx;
    bool ok;
};

static void password_md5_begin(struct md5_run *run)
{
    run->ok = run->ok && EVP_DigestInit_ex2(run->ctx, md5, NULL) == 1;
}

static void password_md5_add(struct md5_run *run, const void *bytes, size_t n)
{
    run->ok = run->ok && EVP_DigestUpdate(run->ctx, bytes, n) == 1;
}

static void password_md5_end(struct md5_run *run, unsigned char out[MD5_SIZE])
{
    run->ok = run->ok && EVP_DigestFinal_ex(run->ctx, out, NULL) == 1;
}

/* The digest that the rounds begin with. */
static void password_apr1_first(struct md5_run *run, const char *password, const char *salt,
                                size_t salt_len, unsigned char out[MD5_SIZE])
{
    size_t len = strlen(password);
    unsigned char inner[MD5_SIZE];
    password_md5_begin(run);
    password_md5_add(run, password, len);
    password_md5_add(run, salt, salt_len);
    password_md5_add(run, password, len);
    password_md5_end(run, inner);
    password_md5_begin(run);
    password_md5_add(run, password, len);
    password_md5_add(run, APR1, strlen(APR1));
    password_md5_add(run, salt, salt_len);
    for (size_t left = len; left > 0; left -= left < MD5_SIZE ? left : MD5_SIZE)
        password_md5_add(run, inner, left < MD5_SIZE ? left : MD5_SIZE);
    for (size_t bits = len; bits > 0; bits >>= 1)
        password_md5_add(run, (bits & 1) != 0 ? "" : password, 1);
    password_md5_end(run, out);
}

static void password_apr1_round(struct md5_run *run, unsigned turn, const char *password,
                                const char *salt, size_t salt_len, unsigned char digest[MD5_SIZE])
{
    size_t len = strlen(password);
    bool odd = turn % 2 != 0;
    password_md5_begin(run);
    password_md5_add(run, odd ? (const void *)password : digest, odd ? len : MD5_SIZE);
    if (turn % 3 != 0)
        password_md5_add(run, salt, salt_len);
    if (turn % 7 != 0)
        password_md5_add(run, password, len);
    password_md5_add(run, odd ? (const void *)digest : password, odd ? MD5_SIZE : len);
    password_md5_end(run, digest);
}

/* The digest as 22 characters of crypt's alphabet, and a zero byte. */
static void password_apr1_write(const unsigned char d[MD5_SIZE], char out[23])
{
    static const char alphabet[] =
        "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    static const unsigned char order[][3] = {
        {0, 6, 12}, {1, 7, 13}, {2, 8, 14}, {3, 9, 15}, {4, 10, 5}};
    for (unsigned group = 0; group < 6; group++) {
        const unsigned char *at = order[group % 5];
        unsigned long bits =
            group == 5 ? d[11]
                       : (unsigned long)d[at[0]] << 16 | (unsigned long)d[at[1]] << 8 | d[at[2]];
        for (unsigned i = 0; i < (group == 5 ? 2u : 4u); i++, bits >>= 6)
            *out++ = alphabet[bits & 63];
    }
    *out = '\0';
}

static bool password_apr1_fits(const char *password, const char *hash)
{
    const char *salt = hash + strlen(APR1);
    size_t salt_len = strcspn(salt, "$");
    unsigned char digest[MD5_SIZE] = {0};
    char text[23] = "";
    if (salt[salt_len] != '$' || strlen(salt + salt_len + 1) != sizeof text - 1)
        return false;
    const char *expected = salt + salt_len + 1;
    if (salt_len > APR1_SALT)
        salt_len = APR1_SALT;
    pthread_mutex_lock(&md5_lock);
    struct md5_run run = {.ctx = EVP_MD_CTX_new()};
    run.ok = run.ctx != NULL && md5 != NULL;
    password_apr1_first(&run, password, salt, salt_len, digest);
    for (unsigned turn = 0; turn < APR1_TURNS; turn++)
        password_apr1_round(&run, turn, password, salt, salt_len, digest);
    EVP_MD_CTX_free(run.ctx);
    pthread_mutex_unlock(&md5_lock);
    password_apr1_write(digest, text);
    return run.ok && CRYPTO_memcmp(text, expected, sizeof text - 1) == 0;
}

bool password_fits(struct password_room *room, const char *password, const char *hash)
{
    if (strncmp(hash, APR1, strlen(APR1)) == 0)
        return password_apr1_fits(password, hash);
    const char *made = crypt_r(password, hash, &room->data);
    /* A result that begins with an asterisk is an error of crypt, never a hash. */
    bool fits = made != NULL && made[0] != '*' && strlen(made) == strlen(hash) &&
                CRYPTO_memcmp(made, hash, strlen(hash)) == 0;
    explicit_bzero(&room->data, sizeof room->data);
    return fits;
}
