/* protocol - see protocol.h. */
#include "front/protocol.h"

#include "front/gateway.h"
#include "front/http1.h"

#include <string.h>

static const struct protocol *const protocols[] = {&http1_protocol, &gateway_protocol};

const struct protocol *protocol_find(const char *name)
{
    for (unsigned i = 0; i < sizeof protocols / sizeof *protocols; i++)
        if (strcmp(protocols[i]->name, name) == 0)
            return protocols[i];
    return NULL;
}
