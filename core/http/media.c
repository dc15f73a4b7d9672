/* media - see media.h. */
#include "http/media.h"

#include <stdlib.h>

/* Made by the Makefile from the system's mime.types: sorted by extension, lower case. */
struct mime {
    const char *extension;
    const char *type;
};
extern const struct mime mime_types[];
extern const size_t mime_count;

static int media_compare(const void *extension, const void *entry)
{
    return strcmp(extension, ((const struct mime *)entry)->extension);
}

struct str media_type(struct str name)
{
    char extension[16];
    const char *dot = name.n > 0 ? memrchr(name.p, '.', name.n) : NULL;
    size_t n = dot != NULL ? (size_t)(name.p + name.n - dot) - 1 : 0;
    if (n > 0 && n < sizeof extension) {
        for (size_t i = 0; i < n; i++)
            extension[i] = char_lower(dot[1 + i]);
        extension[n] = '\0';
        const struct mime *found =
            bsearch(extension, mime_types, mime_count, sizeof *mime_types, media_compare);
        if (found != NULL)
            return str_of(found->type);
    }
    return STR("application/octet-stream");
}
