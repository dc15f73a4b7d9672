/* repeats - see repeats.h. */
#include "script/repeats.h"

#include "base/log.h"

#include <stdio.h>
#include <string.h>

#define KINDS 8 /* different errors that are remembered */

struct log_quota *script_repeats_quota(const char *text)
{
    static struct repeated {
        char text[256]; /* errors with the same first 255 bytes are the same kind */
        struct log_quota quota;
    } errors[KINDS];
    static unsigned oldest;
    unsigned i = 0;
    while (i < KINDS && strncmp(errors[i].text, text, sizeof errors[i].text - 1) != 0)
        i++;
    if (i == KINDS) {
        i = oldest++ % KINDS;
        log_end_quota(&errors[i].quota);
        errors[i].quota.most = 1;
        snprintf(errors[i].text, sizeof errors[i].text, "%s", text);
    }
    return &errors[i].quota;
}
