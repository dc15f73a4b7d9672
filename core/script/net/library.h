/*
 * library - all functions of scripts' sockets, as one addition to moongate.core.
 */
#ifndef MG_SCRIPT_NET_LIBRARY_H
#define MG_SCRIPT_NET_LIBRARY_H

extern const struct script_library script_net_library;

#endif
