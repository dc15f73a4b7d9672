/*
 * server_test - the certificate of a name: exact names, wildcards, two kinds of keys, the first
 * one; what is refused. Links server and what it needs.
 */
#include "../test.h"
#include "make.h"
#include "tls/server.h"

static const struct tls_settings both = {.tls12 = true, .tls13 = true};
static const char *err;

static struct certificate *issue(const char *names, int rsa)
{
    static struct pem cert, key;
    struct made m = make(&(struct make){.common = "x", .names = names, .rsa = rsa});
    cert.n = key.n = 0;
    pem_add(&cert, &m);
    pem_add_key(&key, &m, NULL);
    struct certificate *c = certificate_new(pem_str(&cert), pem_str(&key), names, "key", &err);
    if (c == NULL)
        abort();
    made_free(&m);
    return c;
}

/* The names of the certificate that serves a name, and how many there are for it. */
static const char *found(const struct tls_server *s, const char *name, unsigned *count)
{
    const struct tls_name *f = tls_server_find(s, name, count);
    return f != NULL ? f->certificate->source : "none";
}

static void finds(const struct tls_server *s, const char *name, const char *wanted)
{
    unsigned count;
    check_str(str_of(found(s, name, &count)), wanted);
}

static void test_names(void)
{
    unsigned count;
    struct certificate *list[] = {issue("DNS:site.test,DNS:www.site.test", 0),
                                  issue("DNS:*.site.test", 0), issue("DNS:a.b.site.test", 0),
                                  issue("DNS:both.test", 0), issue("DNS:both.test", 2048)};
    struct tls_server *s = tls_server_new(&both, &err);
    test("an exact name comes before a wildcard");
    if (!check(s != NULL && tls_server_use(s, list, 5) == NULL))
        return;
    finds(s, "site.test", "DNS:site.test,DNS:www.site.test");
    finds(s, "www.site.test", "DNS:site.test,DNS:www.site.test");
    finds(s, "img.site.test", "DNS:*.site.test");

    test("a wildcard is one label");
    finds(s, "a.b.site.test", "DNS:a.b.site.test");
    finds(s, "x.b.site.test", "none");
    finds(s, ".site.test", "DNS:*.site.test");
    finds(s, "*.site.test", "DNS:*.site.test");
    finds(s, "test", "none");

    test("letters are of any case, and a dot may be at the end");
    finds(s, "SITE.Test", "DNS:site.test,DNS:www.site.test");
    finds(s, "site.test.", "DNS:site.test,DNS:www.site.test");
    finds(s, "IMG.site.test.", "DNS:*.site.test");

    test("no name is longer than DNS has them");
    char name[400];
    memset(name, 'a', sizeof name);
    name[sizeof name - 1] = '\0';
    finds(s, name, "none");
    finds(s, "", "none");
    finds(s, ".", "none");

    test("two kinds of keys for one name are both there, the first of the list first");
    check_str(str_of(found(s, "both.test", &count)), "DNS:both.test");
    check_int(count, 2);
    check(tls_server_find(s, "both.test", &count)->certificate == list[3]);
    tls_server_drop(s);
    for (unsigned i = 0; i < 5; i++)
        certificate_drop(list[i]);
}

static void test_refusals(void)
{
    test("a listener has a certificate, or a script that has some");
    struct tls_settings settings = both;
    struct tls_server *s = tls_server_new(&settings, &err);
    check(s != NULL && tls_server_use(s, NULL, 0) != NULL);
    tls_server_drop(s);
    settings.asks = true;
    s = tls_server_new(&settings, &err);
    check(s != NULL && tls_server_use(s, NULL, 0) == NULL);
    tls_server_drop(s);

    test("a key that is too small is refused");
    struct certificate *small = issue("DNS:small.test", 1024);
    s = tls_server_new(&both, &err);
    const char *why = tls_server_use(s, &small, 1);
    check(why != NULL && strstr(why, "too small") != NULL);
    why = tls_server_refusal(small);
    check(why != NULL && strstr(why, "too small") != NULL);
    tls_server_drop(s);
    certificate_drop(small);
    struct certificate *good = issue("DNS:good.test", 0);
    check(tls_server_refusal(good) == NULL);
    certificate_drop(good);

    test("ciphers that nobody knows are refused");
    settings = (struct tls_settings){.tls12 = true, .tls13 = true, .ciphers = "NONSENSE"};
    check(tls_server_new(&settings, &err) == NULL && strstr(err, "NONSENSE") != NULL);

    test("authorities without a certificate are refused");
    settings = (struct tls_settings){.tls12 = true,
                                     .verify = TLS_VERIFY_REQUIRED,
                                     .client_ca = STR("no PEM"),
                                     .client_ca_source = "ca.pem"};
    check(tls_server_new(&settings, &err) == NULL && strstr(err, "ca.pem") != NULL);
}

int main(void)
{
    test_names();
    test_refusals();
    return test_report();
}
