/*
 * certificate_test - pairs are read with their names, refused for what is wrong with them, and have
 * the problems that clients would have. Links certificate, pem and error.
 */
#include "../test.h"
#include "make.h"
#include "tls/certificate.h"

static const char *err;

/* The pair of a made certificate, with certificates behind it. */
static struct certificate *read_pair(const struct made *m, const struct made *const *chain)
{
    static struct pem cert, key;
    cert.n = key.n = 0;
    pem_add(&cert, m);
    for (; chain != NULL && *chain != NULL; chain++)
        pem_add(&cert, *chain);
    pem_add_key(&key, m, NULL);
    return certificate_new(pem_str(&cert), pem_str(&key), "site.pem", "site.key", &err);
}

static bool says(const char *text, const char *words)
{
    if (text != NULL && strstr(text, words) != NULL)
        return true;
    fprintf(stderr, "    said: %s\n", text != NULL ? text : "nothing");
    return false;
}

static void test_names(void)
{
    test("names are those of the certificate, in lower case");
    struct made m = make(&(struct make){
        .common = "left.out", .names = "DNS:A.Test,DNS:*.wild.test,IP:127.0.0.1,email:a@b.test"});
    struct certificate *c = read_pair(&m, NULL);
    if (check(c != NULL) && check_int(c->name_count, 2)) {
        check_str(str_of(c->names[0]), "a.test");
        check_str(str_of(c->names[1]), "*.wild.test");
    }
    certificate_drop(c);
    made_free(&m);

    test("a certificate without names has its common name");
    m = make(&(struct make){.common = "Common.Test"});
    c = read_pair(&m, NULL);
    if (check(c != NULL) && check_int(c->name_count, 1))
        check_str(str_of(c->names[0]), "common.test");
    certificate_drop(c);
    made_free(&m);

    test("a name that no client can ask for is left out");
    m = make(&(struct make){.common = "a b"});
    c = read_pair(&m, NULL);
    check(c != NULL && c->name_count == 0);
    certificate_drop(c);
    made_free(&m);

    test("a certificate has so many names and no more");
    char list[32768];
    size_t used = 0;
    for (int i = 0; i < CERTIFICATE_NAMES + 50; i++)
        used += (size_t)snprintf(list + used, sizeof list - used, "%sDNS:n%d.test",
                                 i > 0 ? "," : "", i);
    m = make(&(struct make){.common = "many", .names = list});
    c = read_pair(&m, NULL);
    check(c != NULL && c->name_count == CERTIFICATE_NAMES);
    certificate_drop(c);
    made_free(&m);
}

static void test_refusals(void)
{
    static struct pem cert, key, text;
    struct made m = make(&(struct make){.common = "site.test"});
    struct made other = make(&(struct make){.common = "other.test"});
    char phrase[] = "secret";

    test("a key of another certificate is refused");
    pem_add(&cert, &m);
    pem_add_key(&key, &other, NULL);
    check(certificate_new(pem_str(&cert), pem_str(&key), "c", "k", &err) == NULL &&
          says(err, "k: the key does not fit the certificate c"));

    test("an encrypted key is refused, and says how to write it");
    key.n = 0;
    pem_add_key(&key, &m, phrase);
    check(certificate_new(pem_str(&cert), pem_str(&key), "c", "k", &err) == NULL &&
          says(err, "k: the key is encrypted") && says(err, "openssl pkey"));

    test("what is no PEM is refused");
    check(certificate_new(STR("no PEM"), pem_str(&key), "c", "k", &err) == NULL &&
          says(err, "c: there is no certificate in PEM in it"));
    check(certificate_new(pem_str(&cert), STR("no PEM"), "c", "k", &err) == NULL &&
          says(err, "k: there is no private key in PEM in it"));
    check(certificate_new(pem_str(&cert), STR(""), "c", "k", &err) == NULL);
    check(certificate_new(STR(""), STR(""), "c", "k", &err) == NULL);

    test("a certificate that is cut short is refused, also behind the first one");
    key.n = 0;
    pem_add_key(&key, &m, NULL);
    check(certificate_new((struct str){cert.text, cert.n / 2}, pem_str(&key), "c", "k", &err) ==
          NULL);
    text = cert;
    pem_add(&text, &other);
    check(certificate_new((struct str){text.text, text.n - 100}, pem_str(&key), "c", "k", &err) ==
              NULL &&
          says(err, "c: a certificate behind the first one can't be read"));

    test("a chain has so many certificates and no more");
    text = cert;
    for (int i = 0; i < CERTIFICATE_CHAIN; i++)
        pem_add(&text, &other);
    struct certificate *c = certificate_new(pem_str(&text), pem_str(&key), "c", "k", &err);
    check(c != NULL);
    certificate_drop(c);
    pem_add(&text, &other);
    check(certificate_new(pem_str(&text), pem_str(&key), "c", "k", &err) == NULL &&
          says(err, "more than 10 certificates of issuers"));

    test("a file of megabytes is refused");
    struct str long_one = {cert.text, PEM_BYTES + 1}; /* not read */
    check(certificate_new(long_one, pem_str(&key), "c", "k", &err) == NULL && says(err, "larger"));
    made_free(&m);
    made_free(&other);
}

static void test_life(void)
{
    test("the digest is that of both texts, and the last holder frees a pair");
    struct made m = make(&(struct make){.common = "site.test"});
    struct certificate *c = read_pair(&m, NULL), *again = read_pair(&m, NULL);
    uint8_t digest[32];
    if (check(c != NULL && again != NULL)) {
        check(memcmp(c->digest, again->digest, sizeof c->digest) == 0);
        certificate_digest(STR("a"), STR("b"), digest);
        check(memcmp(c->digest, digest, sizeof digest) != 0);
        check(certificate_hold(c) == c);
        certificate_drop(c);
        check_str(str_of(c->source), "site.pem");
    }
    certificate_drop(c);
    certificate_drop(again);
    certificate_drop(NULL);
    made_free(&m);
}

static void test_times(void)
{
    bool certain = false;
    test("a certificate that has expired is a problem for every client");
    struct made m = make(&(struct make){.common = "old.test", .from = -30, .to = -1});
    struct certificate *c = read_pair(&m, NULL);
    check(c != NULL && says(certificate_problem(c, &certain), "the certificate has expired on 2") &&
          certain);
    certificate_drop(c);
    made_free(&m);

    test("one that is not valid yet is one, too");
    certain = false;
    m = make(&(struct make){.common = "new.test", .from = 2, .to = 30});
    c = read_pair(&m, NULL);
    check(c != NULL && says(certificate_problem(c, &certain), "not valid before 2") && certain);
    certificate_drop(c);
    made_free(&m);
}

static void test_chains(void)
{
    bool certain = true;
    struct made root = make(&(struct make){.common = "Root", .authority = true});
    struct made middle = make(&(struct make){.common = "Middle", .authority = true, .by = &root});
    struct made site = make(&(struct make){.common = "site.test", .by = &middle});
    struct made named = make(&(struct make){
        .common = "site.test", .by = &middle, .access = "caIssuers;URI:http://ca.test/ca.der"});

    test("a certificate that signs itself has no problem");
    struct certificate *c = read_pair(&root, NULL);
    check(c != NULL && certificate_problem(c, &certain) == NULL);
    certificate_drop(c);

    test("a whole chain has none");
    c = read_pair(&site, (const struct made *[]){&middle, &root, NULL});
    check(c != NULL && certificate_problem(c, &certain) == NULL);
    certificate_drop(c);

    test("a chain without its issuer may be known to clients of a private authority");
    certain = true;
    c = read_pair(&site, NULL);
    check(c != NULL && says(certificate_problem(c, &certain), "the chain is incomplete") &&
          !certain);
    check(says(certificate_problem(c, &certain), "the issuer /CN=Middle is not in the file"));
    certificate_drop(c);

    test("one of a public authority is known to none");
    c = read_pair(&named, NULL);
    check(c != NULL && says(certificate_problem(c, &certain), "fullchain.pem") && certain);
    certificate_drop(c);

    test("issuers in a wrong order are a problem");
    certain = false;
    c = read_pair(&site, (const struct made *[]){&root, &middle, NULL});
    check(c != NULL && certain == false);
    check(says(certificate_problem(c, &certain), "number 2 is not the issuer of the one before") &&
          certain);
    certificate_drop(c);
    made_free(&root);
    made_free(&middle);
    made_free(&site);
    made_free(&named);
}

int main(void)
{
    test_names();
    test_refusals();
    test_life();
    test_times();
    test_chains();
    return test_report();
}
