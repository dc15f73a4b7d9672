/*
 * forwarded - the two ways in which proxies name the hops before them: X-Forwarded-For, a list of
 * addresses, and Forwarded, a list of elements (RFC 7239). Both are read from their end, since that
 * is what the nearest proxy has added: whatever a client has put in front of it can't disturb that.
 * Pure.
 */
#ifndef MG_HTTP_FORWARDED_H
#define MG_HTTP_FORWARDED_H

#include "base/addr.h"

struct forwarded_hop {
    struct peer peer; /* family 0: no address ("unknown", a name, garbage) */
    struct str proto; /* n = 0: not said */
    struct str host;  /* likewise; without its quotes, not checked */
    bool malformed;   /* an element that is none of RFC 7239: nothing of it counts */
};

/* Cuts the last element off a comma-separated list; empty ones are skipped (RFC 9110 §5.6.1).
 * False: there is none. */
bool forwarded_last(struct str *list, struct str *element);

/* "1.2.3.4", "1.2.3.4:80", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:80" or "unix:". False,
 * and the family is 0, for anything else. */
bool forwarded_node(struct str text, struct peer *peer);

/* The same as forwarded_last for Forwarded: commas in quotes part nothing. */
bool forwarded_last_hop(struct str *list, struct forwarded_hop *hop);

#endif
