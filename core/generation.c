/* generation - see generation.h. */
#include "generation.h"

#include <stdlib.h>

struct generation *generation_new(const struct route *route, struct loop *loop, unsigned number,
                                  char **err)
{
    struct script *script = script_new(route, err);
    if (script == NULL)
        return NULL;
    if (script_notify(script, HOOK_START) != SCRIPT_DONE) {
        *err = strdup("on_start failed: see the error log");
        script_free(script);
        return NULL;
    }
    struct generation *g = calloc(1, sizeof *g);
    if (g == NULL)
        abort();
    g->script = script;
    g->settings = script_settings(script);
    g->loop = loop;
    g->number = number;
    g->count = 1;
    g->backends = calloc(g->settings->backend_count + 1, sizeof *g->backends);
    if (g->backends == NULL)
        abort();
    for (unsigned i = 0; i < g->settings->backend_count; i++)
        g->backends[i] = backend_new(&g->settings->backends[i], loop);
    return g;
}

struct generation *generation_hold(struct generation *g)
{
    g->count++;
    return g;
}

void generation_drop(struct generation *g)
{
    if (--g->count > 0)
        return;
    script_notify(g->script, HOOK_STOP);
    for (unsigned i = 0; i < g->settings->backend_count; i++)
        backend_free(g->backends[i]);
    free(g->backends);
    script_free(g->script);
    free(g);
}
