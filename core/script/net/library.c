/* library - see library.h. */
#include "script/net/library.h"

#include "script/net/net.h"

static void library_open(lua_State *L)
{
    script_tcp_open(L);
    script_udp_open(L);
    script_ngx_open(L);
}

static void library_retire(struct script *s)
{
    script_net_retire(s);
    script_ngx_retire(s);
}

const struct script_library script_net_library = {
    .open = library_open, .retire = library_retire, .free = script_net_free};
