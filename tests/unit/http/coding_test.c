/* coding_test - the choice of a content coding by Accept-Encoding. Links coding and str. */
#include "../test.h"
#include "http/coding.h"

static const uint8_t all[] = {CODING_ZSTD, CODING_BR, CODING_GZIP};

/* The chosen coding, with '!' where a response without one is refused. */
static void expect(const char *header, const char *want)
{
    char text[16];
    bool must;
    size_t n = strlen(header);
    char *copy = test_copy(header, n);
    enum coding coding = coding_choose((struct str){copy, n}, all, 3, &must);
    free(copy);
    snprintf(text, sizeof text, "%s%s", coding_name(coding).p, must ? "!" : "");
    test(header);
    check_str(str_of(text), want);
    test_close();
}

static void test_weights(void)
{
    expect("gzip", "gzip");
    expect("gzip, br", "br");
    expect("gzip, br, zstd", "zstd");
    expect("gzip;q=1.0, br;q=0.9, zstd;q=0.1", "gzip");
    expect("gzip;q=0.5, br;q=0.5", "br");
    expect("gzip;q=0", "identity");
    expect("gzip;q=0.000", "identity");
    expect("gzip;q=0.001", "gzip");
    expect("gzip; q=1", "gzip");
    expect("gzip ;q=1.000", "gzip");
    expect("gzip;Q=1", "gzip");
    expect("GZip", "gzip");
    expect("x-gzip", "gzip");
    expect("deflate, compress", "identity");
    expect("", "identity");
    expect(" , ,, gzip ,", "gzip");
    expect("gzipped", "identity");
}

static void test_any(void)
{
    expect("*", "zstd");
    expect("*;q=0.1", "zstd");
    expect("*, zstd;q=0", "br");
    expect("*;q=0.3, gzip;q=0.4", "gzip");
    expect("*;q=0", "identity!");
    expect("gzip, *;q=0", "gzip!");
}

static void test_identity(void)
{
    expect("identity", "identity");
    expect("identity;q=0", "identity!");
    expect("identity;q=0, gzip", "gzip!");
    expect("identity, gzip", "gzip");
    expect("identity;q=1, gzip;q=0.9", "identity");
    expect("identity;q=0.5, gzip;q=0.9", "gzip");
    expect("identity;q=0.5, *;q=0", "identity");
    expect("identity;q=0.5, gzip;q=0.5", "gzip");
}

static void test_malformed(void)
{
    expect("gzip;q", "identity");
    expect("gzip;q=", "identity");
    expect("gzip;q=2", "identity");
    expect("gzip;q=1.001", "identity");
    expect("gzip;q=0.1234", "identity");
    expect("gzip;q=-1", "identity");
    expect("gzip;q=0,5", "identity");
    expect("gzip;q=01", "identity");
    expect("gzip;level=9", "identity");
    expect("gzip;q=0.5;q=1", "identity");
    expect(";q=1", "identity");
    expect("gzip;", "identity");
}

static void test_names(void)
{
    test("names");
    for (int i = CODING_GZIP; i < CODINGS; i++)
        check(coding_of(coding_name((enum coding)i)) == (enum coding)i);
    check(coding_of(STR("identity")) == CODING_IDENTITY);
    check(coding_of(STR("")) == CODING_IDENTITY);
    test_close();
}

int main(void)
{
    test_weights();
    test_any();
    test_identity();
    test_malformed();
    test_names();
    return test_report();
}
