/* coding - see coding.h. */
#include "http/coding.h"

static const struct str names[CODINGS] = {
    [CODING_IDENTITY] = STR("identity"),
    [CODING_GZIP] = STR("gzip"),
    [CODING_BR] = STR("br"),
    [CODING_ZSTD] = STR("zstd"),
};

struct str coding_name(enum coding coding)
{
    return names[coding];
}

enum coding coding_of(struct str name)
{
    for (int i = CODING_GZIP; i < CODINGS; i++)
        if (str_ieq(name, names[i]))
            return (enum coding)i;
    return str_ieq(name, STR("x-gzip")) ? CODING_GZIP : CODING_IDENTITY; /* §8.4.1.3 */
}

/* The weight of an element's parameters in thousandths (RFC 9110 §12.4.2); 0 for a malformed one,
 * so that a coding is used only where the client surely takes it. */
static int coding_weight(struct str params)
{
    struct str name = str_trim(str_cut(&params, '=')), value = str_trim(params);
    if (params.p == NULL || !str_ieq(name, STR("q")) || value.n == 0 || value.n > 5)
        return 0;
    int weight = (value.p[0] - '0') * 1000, unit = 100;
    if ((value.p[0] != '0' && value.p[0] != '1') || (value.n > 1 && value.p[1] != '.'))
        return 0;
    for (size_t i = 2; i < value.n; i++, unit /= 10) {
        if (value.p[i] < '0' || value.p[i] > '9')
            return 0;
        weight += (value.p[i] - '0') * unit;
    }
    return weight <= 1000 ? weight : 0;
}

enum coding coding_choose(struct str accept, const uint8_t *order, unsigned count, bool *must)
{
    int weights[CODINGS] = {-1, -1, -1, -1}, any = -1;
    *must = false;
    while (accept.p != NULL) {
        struct str element = str_cut(&accept, ',');
        struct str name = str_trim(str_cut(&element, ';'));
        int weight = element.p != NULL ? coding_weight(element) : 1000;
        enum coding coding = coding_of(name);
        if (str_eq(name, STR("*")))
            any = weight;
        else if (coding != CODING_IDENTITY || str_ieq(name, names[CODING_IDENTITY]))
            weights[coding] = weight;
    }
    enum coding best = CODING_IDENTITY;
    /* A response without a coding is acceptable unless it is refused, and is preferred to a coding
     * only where the client says so. */
    int most = weights[CODING_IDENTITY] > 0 ? weights[CODING_IDENTITY] : 1;
    for (unsigned i = 0; i < count; i++) {
        int weight = weights[order[i]] >= 0 ? weights[order[i]] : any;
        if (weight > most || (weight == most && best == CODING_IDENTITY)) {
            best = (enum coding)order[i];
            most = weight;
        }
    }
    *must = weights[CODING_IDENTITY] == 0 || (weights[CODING_IDENTITY] < 0 && any == 0);
    return best;
}
