/*
 * digest - see digest.h.
 *
 * Each function blocks the worker until the whole text is done, so the size of a text is bounded.
 * Results are written to a userdata, which Lua frees even where pushing the result fails.
 */
#include "script/digest.h"

#include "script/value.h"

#include <ctype.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>
#include <sys/random.h>
#include <zlib.h>

#define TEXT_MAX   (64u << 20)
#define RANDOM_MAX (1u << 20)

static struct str digest_check_text(lua_State *L, int idx)
{
    struct str text = script_check_str(L, idx);
    luaL_argcheck(L, text.n <= TEXT_MAX, idx, "expected at most 64 MB");
    return text;
}

/* The algorithm that the name at idx stands for. A process looks each algorithm up in OpenSSL once,
 * since that takes longer than the digest of a short text. */
static const EVP_MD *digest_check_algorithm(lua_State *L, int idx)
{
    static const char *const names[] = {"md5", "sha1", "sha256", "sha384", "sha512", NULL};
    static EVP_MD *algorithms[sizeof names / sizeof *names];
    int i = luaL_checkoption(L, idx, NULL, names);
    if (algorithms[i] == NULL && (algorithms[i] = EVP_MD_fetch(NULL, names[i], NULL)) == NULL)
        luaL_error(L, "the system's OpenSSL has no %s", names[i]);
    return algorithms[i];
}

/* core.digest(algorithm, text) -> bytes */
static int digest_digest(lua_State *L)
{
    const EVP_MD *algorithm = digest_check_algorithm(L, 1);
    struct str text = digest_check_text(L, 2);
    unsigned char out[EVP_MAX_MD_SIZE];
    unsigned n;
    if (EVP_Digest(text.p, text.n, out, &n, algorithm, NULL) != 1)
        return luaL_error(L, "OpenSSL has failed to make a digest");
    lua_pushlstring(L, (char *)out, n);
    return 1;
}

/* core.hmac(algorithm, key, text) -> bytes (RFC 2104) */
static int digest_hmac(lua_State *L)
{
    const EVP_MD *algorithm = digest_check_algorithm(L, 1);
    struct str key = digest_check_text(L, 2), text = digest_check_text(L, 3);
    unsigned char out[EVP_MAX_MD_SIZE];
    unsigned n;
    if (HMAC(algorithm, key.p, (int)key.n, (const unsigned char *)text.p, text.n, out, &n) == NULL)
        return luaL_error(L, "OpenSSL has failed to make an HMAC");
    lua_pushlstring(L, (char *)out, n);
    return 1;
}

/* core.equal(a, b) -> whether two texts are equal; the time does not depend on where they differ */
static int digest_equal(lua_State *L)
{
    struct str a = script_check_str(L, 1), b = script_check_str(L, 2);
    lua_pushboolean(L, a.n == b.n && CRYPTO_memcmp(a.p, b.p, a.n) == 0);
    return 1;
}

/* core.crc32(text) -> number */
static int digest_crc32(lua_State *L)
{
    struct str text = digest_check_text(L, 1);
    lua_pushnumber(L, (lua_Number)crc32_z(0, (const unsigned char *)text.p, text.n));
    return 1;
}

/* core.base64(text) -> text, padded (RFC 4648 §4) */
static int digest_base64(lua_State *L)
{
    struct str text = digest_check_text(L, 1);
    unsigned char *out = lua_newuserdata(L, text.n / 3 * 4 + 5);
    int n = EVP_EncodeBlock(out, (const unsigned char *)text.p, (int)text.n);
    lua_pushlstring(L, (char *)out, (size_t)n);
    return 1;
}

/* core.unbase64(text) -> bytes; nil where the text is not base64, with its padding or without any.
 * EVP_DecodeBlock would skip white space and take padding anywhere. */
static int digest_unbase64(lua_State *L)
{
    struct str text = digest_check_text(L, 1);
    size_t n = 0, bytes;
    while (n < text.n &&
           (isalnum((unsigned char)text.p[n]) || text.p[n] == '+' || text.p[n] == '/'))
        n++;
    size_t padding = text.n - n;
    bool ends = padding == 0 ||
                (text.n % 4 == 0 && padding <= 2 && text.p[n] == '=' && text.p[text.n - 1] == '=');
    lua_pushnil(L);
    if (n % 4 == 1 || !ends)
        return 1;
    bytes = n / 4 * 3 + (n % 4 == 0 ? 0 : n % 4 - 1);
    unsigned char *in = lua_newuserdata(L, n + 4), *out = lua_newuserdata(L, n + 4);
    memcpy(in, text.p, n);
    memcpy(in + n, "===", 3);
    if (EVP_DecodeBlock(out, in, (int)((n + 3) / 4 * 4)) >= 0)
        lua_pushlstring(L, (char *)out, bytes);
    else
        lua_pushnil(L);
    return 1;
}

/* core.random_bytes(n) -> n bytes from the kernel */
static int digest_random_bytes(lua_State *L)
{
    lua_Integer n = luaL_checkinteger(L, 1);
    luaL_argcheck(L, n >= 0 && n <= RANDOM_MAX, 1, "expected 0 to 1048576 bytes");
    unsigned char *out = lua_newuserdata(L, (size_t)n + 1);
    for (size_t have = 0; have < (size_t)n;) {
        ssize_t got = getrandom(out + have, (size_t)n - have, 0);
        if (got < 0 && errno != EINTR)
            return luaL_error(L, "the kernel gives no random bytes: %s", strerror(errno));
        have += got > 0 ? (size_t)got : 0;
    }
    lua_pushlstring(L, (char *)out, (size_t)n);
    return 1;
}

void script_digest_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"base64", digest_base64},     {"crc32", digest_crc32},
        {"digest", digest_digest},     {"equal", digest_equal},
        {"hmac", digest_hmac},         {"random_bytes", digest_random_bytes},
        {"unbase64", digest_unbase64}, {NULL, NULL},
    };
    luaL_register(L, NULL, functions);
}
