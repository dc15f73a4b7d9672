/* pem - see pem.h. */
#include "tls/pem.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* True for the label of a block that may pass (RFC 7468 sections 5, 10 and 11, and the
 * forms of keys before it). */
static bool pem_may_pass(struct str label)
{
    static const char *const labels[] = {
        "CERTIFICATE",           "TRUSTED CERTIFICATE", "X509 CERTIFICATE", "PRIVATE KEY",
        "ENCRYPTED PRIVATE KEY", "RSA PRIVATE KEY",     "EC PRIVATE KEY"};
    for (unsigned i = 0; i < sizeof labels / sizeof *labels; i++)
        if (str_eq(label, str_of(labels[i])))
            return true;
    return false;
}

size_t pem_filter(char *text, size_t size)
{
    struct str rest = {text, size}, line;
    const char *begin = NULL;
    size_t kept = 0;
    while ((line = str_cut(&rest, '\n')).p != NULL) {
        const char *end = rest.p != NULL ? rest.p : text + size;
        struct str trimmed = line;
        if (trimmed.n > 0 && trimmed.p[trimmed.n - 1] == '\r')
            trimmed.n--;
        if (str_starts(trimmed, STR("-----BEGIN ")) && str_ends(trimmed, STR("-----")) &&
            trimmed.n > 16) {
            struct str label = {trimmed.p + 11, trimmed.n - 16};
            begin = pem_may_pass(label) ? line.p : NULL;
        } else if (begin != NULL && str_starts(trimmed, STR("-----END "))) {
            size_t n = (size_t)(end - begin);
            memmove(text + kept, begin, n);
            kept += n;
            begin = NULL;
        }
    }
    return kept;
}

const char *pem_read(const char *path, char *text, size_t *size)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return strerror(errno);
    const char *bad = NULL;
    *size = 0;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        bad = "it is no regular file";
    while (bad == NULL && *size < PEM_BYTES) {
        ssize_t n = read(fd, text + *size, PEM_BYTES - *size);
        if (n < 0 && errno != EINTR)
            bad = strerror(errno);
        if (n == 0)
            break;
        *size += n > 0 ? (size_t)n : 0;
    }
    close(fd);
    if (bad == NULL && *size == PEM_BYTES)
        bad = "it is too large for a certificate or a key";
    if (bad == NULL && (*size = pem_filter(text, *size)) == 0)
        bad = "there is no certificate and no private key in PEM in it";
    return bad;
}
