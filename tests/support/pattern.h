/* pattern - the body that responder.c sends and load.c compares: lines of 16 bytes, each its own
 * number. */
#ifndef MG_TESTS_PATTERN_H
#define MG_TESTS_PATTERN_H

#include <stdio.h>
#include <string.h>

#define PATTERN_SIZE (1024 * 1024) /* 65536 lines */

static char pattern[PATTERN_SIZE];

/* Makes the pattern, before it is used. */
static void pattern_fill(void)
{
    for (unsigned i = 0; i < PATTERN_SIZE / 16; i++) {
        char line[17];
        snprintf(line, sizeof(line), "%015u\n", i);
        memcpy(pattern + (size_t)i * 16, line, 16);
    }
}

#endif
