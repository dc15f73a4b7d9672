/*
 * password_test - hashes that htpasswd, openssl passwd and PHP's password_hash have made. Links
 * password, libcrypt and libcrypto.
 */
#include "../test.h"
#include "base/password.h"

static struct password_room *room;

static const char *const LONG = "a very long password that is longer than sixteen bytes";

static void test_kinds(void)
{
    static const struct {
        const char *name, *password, *hash;
    } cases[] = {
        {"bcrypt", "secret", "$2y$04$LddgyU.ho67aRjDapEvdpuJaq/Lj9FES3DbcxHcOCEew8tBQeI1eu"},
        {"bcrypt of UTF-8", "p\303\244ssword",
         "$2y$04$TobpMQXdyDYTlQyATqPhIume9/9G/2aJhURjqy.xy2HG7xU9wtGIO"},
        {"bcrypt of nothing", "", "$2y$04$cx6eF9yj6JMVh99QpPGL.uVta3KB1s7ywG64xH2.iUHyGCyjUIpwm"},
        {"apr1", "secret", "$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/"},
        {"apr1 of nothing", "", "$apr1$abcdefgh$L.PT565ESX4Tp2bqNs7Ie."},
        {"apr1 of one character", "a", "$apr1$abcdefgh$G8IsPsylW5ROvIKsQMRG61"},
        {"apr1 of more than a digest", LONG, "$apr1$abcdefgh$bDOmTwwtVoDP5VlM5D6VI."},
        {"SHA-256", "secret", "$5$abcdefgh$gruCpC7VkOTspMQTTSAR8mtlO9Upms.fwqE5y16JVM."},
        {"SHA-512", LONG,
         "$6$ab$MePwAUakVEN41LHZJVxkySED5mdHTdhfXr/"
         "8FMkXqYVKBLbmHnfUi8tlBgx6mCdVnb4ngXeLv3F.x7XhIgwHQ."},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char longer[128], cut[128];
        test(cases[i].name);
        check(password_fits(room, cases[i].password, cases[i].hash));
        snprintf(longer, sizeof longer, "%sx", cases[i].password);
        check(!password_fits(room, longer, cases[i].hash));
        check(!password_fits(room, "Secret", cases[i].hash));
        snprintf(cut, sizeof cut, "%.*s", (int)strlen(cases[i].hash) - 1, cases[i].hash);
        check(!password_fits(room, cases[i].password, cut));
        snprintf(longer, sizeof longer, "%s.", cases[i].hash);
        check(!password_fits(room, cases[i].password, longer));
    }
}

static void test_none(void)
{
    static const char *const hashes[] = {"",        "*",       "*0",         "secret",       "$",
                                         "$apr1$",  "$apr1$a", "$apr1$abc$", "$apr1$$$$$$$", "$2y$",
                                         "$2y$99$", "$7$",     "{SHA}abc"};
    test("what is no hash fits nothing, itself neither");
    for (size_t i = 0; i < sizeof hashes / sizeof *hashes; i++) {
        check(!password_fits(room, "secret", hashes[i]));
        check(!password_fits(room, hashes[i], hashes[i]));
        check(!password_fits(room, "", hashes[i]));
    }
}

int main(void)
{
    password_init();
    password_init();
    room = password_room_new();
    test_kinds();
    test_none();
    free(room);
    return test_report();
}
