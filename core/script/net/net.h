/*
 * net - what TCP and UDP sockets of a script share (script/net/tcp.c, script/net/udp.c).
 */
#ifndef MG_SCRIPT_NET_NET_H
#define MG_SCRIPT_NET_NET_H

#include "script/task.h"

#include "script/net/pool.h"
#include "script/net/sock.h"

#define NET_SECONDS 60.0 /* each limit of time, unless the script sets it */

/* The sockets of one generation in one worker; made with the first socket. */
struct script_net {
    struct loop *loop;
    struct sock_pools pools;
    struct resolver *resolver; /* NULL before the first name */
    double collect_at;         /* earliest time of the next collection for want of sockets */
    unsigned open;             /* sockets that are not closed; the kept ones come on top */
};

/* An operation of a socket that a task waits for: connecting or sending, or receiving. The wait is
 * part of the socket, which is anchored until the operation is over. */
struct net_op {
    struct script_wait wait;
    bool active;
    int anchor;
};

struct script_net *script_net(struct script *s);
/* Whether one more socket may be opened; open and kept ones are counted. False: too many are open
 * even after a garbage collection has closed the unreferenced ones. */
bool script_net_room(struct script *s, lua_State *L);

/* Anchors the socket at 1, and waits. */
int script_net_wait(lua_State *L, struct net_op *op);
/* Ends an operation and drops the anchor. Called after the results have been pushed, and from
 * cancel. */
void script_net_over(struct script *s, struct net_op *op);

/* The socket at 1, which a method was called on; `type` is the name of its metatable. */
void *script_net_self(lua_State *L, const char *type);
/* The same; the error about a value that is no such socket names the function at that level. */
void *script_net_self_at(lua_State *L, const char *type, int level);
/* The milliseconds at idx as seconds; nil and 0 are the default. */
double script_net_seconds(lua_State *L, int idx, const char *who);
/* Begins to connect to what stands at 2 (a host, or "unix:/path") and 3 (a port). Raises an error
 * for what is no such thing. */
enum sock_result script_net_connect(lua_State *L, struct script *s, struct sock *sock,
                                    double seconds);
/* The text of a string, number, boolean, nil or nested list of them at idx. Uses *out, which is
 * cleared before and which the caller frees, unless it is a string; out->overflow: more than fits.
 */
struct str script_net_flatten(lua_State *L, int idx, struct buf *out, const char *who);

/* Adds tcp and udp to the module on the stack's top. */
void script_tcp_open(lua_State *L);
void script_udp_open(lua_State *L);
/* Adds gate and null to the module on the stack's top. */
void script_ngx_open(lua_State *L);
/* Adds pattern. */
void script_regex_open(lua_State *L);
/* Closes the kept connections, since another generation serves. */
void script_net_retire(struct script *s);
/* Called after the Lua state has been closed. */
void script_net_free(struct script *s);

#endif
