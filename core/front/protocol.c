/* protocol - see protocol.h. */
#include "front/protocol.h"

#include "front/client.h"

#include <string.h>

static const struct protocol protocols[] = {
    {.name = "http", .begin = client_new},
};

const struct protocol *protocol_find(const char *name)
{
    for (unsigned i = 0; i < sizeof protocols / sizeof *protocols; i++)
        if (strcmp(protocols[i].name, name) == 0)
            return &protocols[i];
    return NULL;
}
