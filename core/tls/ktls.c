/* ktls - see ktls.h. */
#include "tls/ktls.h"

#include <errno.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/opensslconf.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef SOL_TLS
#    define SOL_TLS 282
#endif
#define RECORD_ALERT 21 /* RFC 8446 section 5.1 */

/* Asks the kernel by a socket without a connection: where there is TLS it says ENOTCONN, since TLS
 * begins on connections alone (tls_init of its net/tls/tls_main.c); where there is none, ENOENT. */
static int ktls_probe(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 && errno == EAFNOSUPPORT)
        fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    int err = setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", sizeof "tls") == 0 ? 0 : errno;
    close(fd);
    return err == ENOTCONN ? 0 : err;
}

/* Makes a connection over the loopback. Returns one end, or -1; *other is the other one. */
static int ktls_connect(int *other)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof at;
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fd = -1;
    *other = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(listening, (struct sockaddr *)&at, size) == 0 && listen(listening, 1) == 0 &&
        getsockname(listening, (struct sockaddr *)&at, &size) == 0 &&
        connect(*other, (struct sockaddr *)&at, size) == 0)
        fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
    close(listening);
    return fd;
}

/* Has the kernel use a cipher once. */
static void ktls_try(const void *info, size_t size)
{
    int other, fd = ktls_connect(&other);
    if (fd >= 0 && setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", sizeof "tls") == 0)
        setsockopt(fd, SOL_TLS, TLS_TX, info, (socklen_t)size);
    close(fd);
    close(other);
}

/* Has the kernel load what its ciphers need, lest a worker wait for that in its first handshakes. A
 * cipher that is not there is none that connections get. */
static void ktls_load_ciphers(void)
{
    struct tls12_crypto_info_aes_gcm_128 aes128 = {
        .info = {TLS_1_3_VERSION, TLS_CIPHER_AES_GCM_128}};
    struct tls12_crypto_info_aes_gcm_256 aes256 = {
        .info = {TLS_1_3_VERSION, TLS_CIPHER_AES_GCM_256}};
    struct tls12_crypto_info_chacha20_poly1305 chacha = {
        .info = {TLS_1_3_VERSION, TLS_CIPHER_CHACHA20_POLY1305}};
    ktls_try(&aes128, sizeof aes128);
    ktls_try(&aes256, sizeof aes256);
    ktls_try(&chacha, sizeof chacha);
}

const char *ktls_problem(void)
{
#ifdef OPENSSL_NO_KTLS
    return "OpenSSL was built without it";
#else
    static char text[160];
    static bool asked;
    if (!asked) {
        int err = ktls_probe();
        asked = true;
        if (err == ENOENT)
            snprintf(text, sizeof text,
                     "the kernel has no TLS: as root `modprobe tls`, and `echo tls "
                     ">/etc/modules-load.d/tls.conf` for the next boot");
        else if (err != 0)
            snprintf(text, sizeof text, "the kernel refuses TLS: %s", strerror(err));
        else
            ktls_load_ciphers();
    }
    return text[0] != '\0' ? text : NULL;
#endif
}

bool ktls_send_alert(int fd, enum ktls_alert alert)
{
    /* close_notify is a warning, every other one is fatal (RFC 8446 section 6) */
    unsigned char bytes[2] = {alert == KTLS_CLOSE_NOTIFY ? 1 : 2, (unsigned char)alert};
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(1)];
    } control = {.bytes = {0}};
    struct iovec v = {bytes, sizeof bytes};
    struct msghdr msg = {
        .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = CMSG_LEN(1)};
    struct cmsghdr *type = CMSG_FIRSTHDR(&msg);
    type->cmsg_level = SOL_TLS;
    type->cmsg_type = TLS_SET_RECORD_TYPE;
    type->cmsg_len = CMSG_LEN(1);
    *CMSG_DATA(type) = RECORD_ALERT;
    return sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)sizeof bytes;
}
