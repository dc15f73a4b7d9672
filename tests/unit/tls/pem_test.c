/*
 * pem_test - of a file only blocks of certificates and keys pass. Links pem and str.
 */
#include "../test.h"
#include "tls/pem.h"

#include <sys/stat.h>
#include <unistd.h>

#define CERT "-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n"
#define KEY  "-----BEGIN EC PRIVATE KEY-----\nQUJD\n-----END EC PRIVATE KEY-----\n"

static void passes(const char *text, const char *wanted)
{
    char *copy = test_copy(text, strlen(text));
    size_t n = pem_filter(copy, strlen(text));
    check_str(((struct str){copy, n}), wanted);
    free(copy);
}

static void test_filter(void)
{
    test("blocks of certificates and keys pass, in their order");
    passes(CERT KEY, CERT KEY);
    passes("words\n" CERT "between\n" KEY "behind\n", CERT KEY);

    test("a last line without an end and lines with CR pass");
    passes("-----BEGIN PRIVATE KEY-----\r\nQUJD\r\n-----END PRIVATE KEY-----",
           "-----BEGIN PRIVATE KEY-----\r\nQUJD\r\n-----END PRIVATE KEY-----");

    test("nothing else passes");
    passes("root:x:0:0:root:/root:/bin/sh\n", "");
    passes("", "");
    passes("-----BEGIN SECRETS-----\nQUJD\n-----END SECRETS-----\n", "");
    passes("-----BEGIN CERTIFICATE REQUEST-----\nQUJD\n-----END CERTIFICATE REQUEST-----\n", "");
    passes("-----BEGIN CERTIFICATE-----\nQUJD\n", "");
    passes("-----END CERTIFICATE-----\n" CERT, CERT);
    passes("-----BEGIN -----\n-----BEGIN CERTIFICATE----\nQUJD\n", "");

    test("a block that is not ended is dropped at the next one");
    passes(
        "-----BEGIN CERTIFICATE-----\nsecret\n-----BEGIN OTHER-----\nx\n-----END OTHER-----\n" CERT,
        CERT);
}

static const char *read_file(const char *path, size_t *size)
{
    static char text[PEM_BYTES];
    return pem_read(path, text, size);
}

static void write_file(const char *path, const char *text, size_t n)
{
    FILE *file = fopen(path, "w");
    if (file == NULL || fwrite(text, 1, n, file) != n || fclose(file) != 0)
        abort();
}

static void test_read(void)
{
    char dir[] = "/tmp/pem_test.XXXXXX", path[64];
    size_t size = 0;
    if (mkdtemp(dir) == NULL)
        abort();
    snprintf(path, sizeof path, "%s/file", dir);

    test("a file is read whole, and filtered");
    write_file(path, "x\n" CERT, strlen("x\n" CERT));
    check(read_file(path, &size) == NULL);
    check_int((int64_t)size, (int64_t)strlen(CERT));

    test("a file without PEM is refused");
    write_file(path, "x\n", 2);
    check_str(str_of(read_file(path, &size)),
              "there is no certificate and no private key in PEM in it");

    test("a file that is too large is refused");
    char *large = calloc(1, PEM_BYTES);
    if (large == NULL)
        abort();
    write_file(path, large, PEM_BYTES);
    free(large);
    check_str(str_of(read_file(path, &size)), "it is too large for a certificate or a key");

    test("what is no file is refused without waiting for it");
    unlink(path);
    check_str(str_of(read_file(path, &size)), "No such file or directory");
    if (mkfifo(path, 0600) != 0)
        abort();
    check_str(str_of(read_file(path, &size)), "it is no regular file");
    check_str(str_of(read_file(dir, &size)), "it is no regular file");
    unlink(path);
    rmdir(dir);
}

int main(void)
{
    test_filter();
    test_read();
    return test_report();
}
